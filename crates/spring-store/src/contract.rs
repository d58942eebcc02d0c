//! The tests that every backend has to pass: what the rules of [`Store`] make of its rows.
//!
//! A crate with a backend of its own names a [`Subject`] and calls the macro:
//!
//! ```
//! use spring_store::{MemoryStore, Settings, Store, contract::Subject};
//!
//! #[derive(Default)]
//! struct InMemory;
//!
//! impl Subject for InMemory {
//!     fn create(&self, settings: &Settings) -> Box<Store> {
//!         Box::new(MemoryStore::in_memory(settings).unwrap())
//!     }
//!
//!     fn again(&self, store: &Store) -> Option<Box<Store>> {
//!         // This value cannot reach the same rows a second time.
//!         let _ = store;
//!         None
//!     }
//! }
//!
//! spring_store::contract_tests!(InMemory);
//! ```

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)]

mod damage;
pub mod faults;
mod forgetting;
mod generations;
mod history;
mod keys;
mod leases;
mod periods;
mod priors;
mod replicas;
mod rows;
pub mod samples;
mod transfer;

pub use self::{
    damage::*, faults::a_fault_anywhere_leaves_the_state_before_or_after, forgetting::*,
    generations::*, history::*, keys::*, leases::*, periods::*, priors::*, replicas::*, rows::*,
    transfer::*,
};
use crate::{Settings, Store};

/// How the tests come by states of a backend.
pub trait Subject {
    /// A new state of these settings, apart from all others.
    fn create(&self, settings: &Settings) -> Box<Store>;

    /// Another value over the rows of a state, as another process would have it; `None` where there
    /// is no such thing.
    fn again(&self, store: &Store) -> Option<Box<Store>>;

    /// Whether a write that is undone gives back the keys that it took.
    fn gives_keys_back(&self) -> bool {
        true
    }
}

/// One `#[test]` for each case of the contract, over a [`Subject`] that has a default. With
/// `contract_tests!(Subject, unless is_missing())` they pass without a look where that holds, such
/// as where there is no server; let it say so.
#[macro_export]
macro_rules! contract_tests {
    ($subject:ty) => {
        $crate::contract_tests!($subject, unless false);
    };
    ($subject:ty, unless $is_missing:expr) => {
        $crate::contract_tests! {
            $subject; $is_missing;
            // Rows.
            a_write_that_fails_changes_nothing
            a_reader_sees_the_rows_as_of_its_call
            keys_and_names_are_one_to_one
            a_lease_is_swapped_by_its_token
            // Texts.
            every_field_comes_back
            equal_times_keep_the_order_of_arrival
            equal_texts_are_skipped
            another_text_of_the_same_id_undoes_the_ingest
            a_source_that_fails_undoes_the_ingest
            a_source_that_panics_undoes_the_ingest
            meta_that_would_not_read_back_is_refused
            users_share_nothing
            a_number_that_is_not_there_is_named
            an_unknown_user_is_named
            users_come_in_pages
            a_summary_counts
            a_slow_source_keeps_nobody_from_writing
            embeddings_are_kept_with_their_text
            // Periods.
            the_first_periods_get_the_remainder
            the_latest_are_held_out_rounded_down
            a_cut_is_a_partition_in_order
            a_second_cut_takes_what_came_since
            a_part_out_of_range_is_refused
            a_period_that_is_not_there_is_named
            what_there_is_to_learn_is_read_at_once
            // Generations.
            a_commit_comes_back
            a_bank_of_the_history_is_what_was_learned
            only_the_generation_it_started_from_takes_a_commit
            a_commit_that_does_not_fit_changes_nothing
            what_was_learned_is_what_lies_on_the_path
            answers_come_newest_first
            everything_of_a_user_hangs_on_one_row
            the_pointer_goes_back_and_forward
            the_last_ones_and_the_one_in_use_are_kept
            what_nobody_has_judged_waits_for_it
            who_has_something_unjudged_is_listed
            what_was_judged_meanwhile_stays_judged
            a_judgement_moves_with_a_user_who_is_there_already
            periods_are_stored_with_what_was_learned_from_the_first
            settings_come_back
            settings_are_kept_with_the_first_period_learned_with_them
            log_likelihoods_of_another_cut_are_neither_kept_nor_used
            a_snapshot_is_of_one_point_in_time
            equal_states_have_equal_digests
            // Leases.
            one_at_a_time_trains_a_user
            a_lease_that_ended_can_be_taken_and_commits_no_more
            a_clock_that_was_ahead_keeps_nobody_from_a_user
            a_user_can_be_unlocked
            a_renewed_lease_lasts_longer
            tokens_only_grow
            a_forgotten_user_takes_the_lease_along
            users_with_something_to_learn_are_listed
            whoever_claims_gets_a_user_whom_nobody_has
            a_period_that_is_left_to_learn_is_claimed
            who_is_damaged_is_named_and_can_be_passed_over
            a_lease_is_renewed_while_the_work_goes_on
            the_second_to_learn_a_period_is_told
            // Forgetting.
            a_forgotten_user_is_gone
            one_interaction_goes_with_what_was_made_of_it
            what_nobody_learned_only_leaves_the_counts
            a_label_or_a_template_is_not_a_quotation
            a_quotation_in_part_goes_too
            what_was_made_before_a_removal_is_not_kept_after_it
            // Keys and consent.
            keys_are_found_by_their_hash_and_changed_by_their_id
            a_key_opens_until_it_is_revoked
            a_key_goes_with_its_user_and_moves_with_the_state
            the_keys_of_a_user_who_is_replaced_open_nothing_new
            a_key_that_was_revoked_there_does_not_open_what_comes_from_there
            a_copy_revokes_the_keys_that_open_it_and_no_others
            a_user_who_only_got_answers_is_not_mixed_with_another
            an_import_keeps_the_key_of_a_user_without_texts
            consent_is_no_until_it_is_said_and_travels
            a_conversation_is_kept_with_consent_alone
            // Servers.
            who_announces_itself_is_found_until_it_withdraws
            who_is_not_heard_of_is_gone
            an_announcement_that_is_undone_was_none
            // Priors.
            a_prior_is_kept_with_its_record_and_its_adapter
            who_has_learned_nothing_starts_from_the_prior
            a_prior_is_learned_from_those_who_agree
            a_prior_is_told_by_whoever_forgets_what_it_knows
            who_started_from_a_prior_takes_it_along
            users_move_onto_another_start
            a_prior_that_is_not_what_was_written_is_told
            a_damaged_prior_keeps_up_only_whom_it_may_know
            // Damage and faults.
            a_row_that_is_not_what_was_written_is_told
            a_fault_anywhere_leaves_the_state_before_or_after
            // Export and import.
            a_user_moves_whole
            an_imported_adapter_is_what_a_user_begins_with
            a_user_with_an_imported_adapter_alone_is_not_mixed_with_another
            an_import_that_is_stopped_or_late_leaves_nothing
            what_no_export_wrote_is_refused
            an_export_that_was_cut_short_or_changed_is_noticed
        }
    };
    ($subject:ty; $is_missing:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                if !$is_missing {
                    $crate::contract::$case(&<$subject>::default());
                }
            }
        )*
    };
}

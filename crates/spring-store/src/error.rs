//! What can go wrong in a state.

use std::{path::PathBuf, time::Duration};

use spring_memory::{InteractionId, JsonlError, SettingError, UserId};
use spring_numerics::words;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a state refuses something: one line that names the state or the user and says what to do.
///
/// `state` is the [label](crate::Backend::label) of the state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no state of that name.
    #[error("state {state}: there is no such file")]
    Missing {
        /// The state.
        state: String,
    },
    /// The state cannot be used: there already, locked, read-only, damaged or of another program.
    #[error("state {state}: {reason}")]
    State {
        /// The state.
        state: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The state cannot be reached now, such as while its database starts again; nothing was
    /// changed.
    #[error("state {state}: {reason}")]
    Unreachable {
        /// The state.
        state: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Something in the state is not what was written there.
    #[error(
        "state {state}: damaged in table {table}{}: {detail}; restore it from a copy{}",
        user.as_ref().map_or(String::new(), |user| format!(", user {user}")),
        if user.is_some() { ", or forget this user and ingest the texts again" } else { "" }
    )]
    Damaged {
        /// The state.
        state: String,
        /// The table.
        table: &'static str,
        /// Whose row it is; `None` where it is nobody's or cannot be known.
        user: Option<UserId>,
        /// Which row, and what is wrong with it.
        detail: String,
    },
    /// Somebody else keeps the state from being written, or from being changed in its form.
    #[error(
        "state {state}: another process is writing to it and did not finish within {} seconds; \
         wait for it, then run this again",
        waited.as_secs_f64()
    )]
    Busy {
        /// The state.
        state: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A text that was to be added has the id of another one with other content.
    #[error(
        "interaction {index}: user {user} already has an interaction {id} with other content; \
         give the new one an id of its own"
    )]
    DuplicateId {
        /// Its place among those that were to be added, from 0.
        index: u64,
        /// Whose interaction.
        user: UserId,
        /// The id that is taken.
        id: InteractionId,
    },
    /// The state has no such user.
    #[error("user {user} is not in state {state}")]
    UnknownUser {
        /// The user asked for.
        user: String,
        /// The state.
        state: String,
    },
    /// The state has no such key.
    #[error("key {id} is not in state {state}")]
    UnknownKey {
        /// The id asked for.
        id: String,
        /// The state.
        state: String,
    },
    /// The user has no such generation or period.
    #[error("user {user} has no {what} {number}")]
    UnknownRecord {
        /// The user.
        user: UserId,
        /// "generation" or "period".
        what: &'static str,
        /// The number asked for.
        number: u32,
    },
    /// The generation is on record, but its adapter and buffer are not kept any more.
    #[error(
        "user {user}: generation {number} is no longer kept \
         (the last ones are, as state.keep_generations says)"
    )]
    Pruned {
        /// The user.
        user: UserId,
        /// The generation asked for.
        number: u32,
    },
    /// The user has no such interaction.
    #[error("user {user} has no interaction {id}")]
    UnknownInteraction {
        /// The user.
        user: UserId,
        /// The id asked for.
        id: InteractionId,
    },
    /// The user has said that nothing of theirs is to be learned for others.
    #[error("user {user} has said no to contributing to a prior, on {since}; nothing was changed")]
    Withheld {
        /// The user.
        user: UserId,
        /// When that was said.
        since: jiff::Timestamp,
    },
    /// What was learned started from a prior that the state does not have.
    #[error(
        "the state has no prior {id:.12}…; copy or import it with the users who started from it"
    )]
    UnknownPrior {
        /// The hash of its adapter.
        id: String,
    },
    /// Whether a prior was learned from the user cannot be told: its record is damaged, and
    /// something is on record that the user has said of contributing.
    #[error(
        "user {user}: prior {number} may have been learned from this user's texts, and what would \
         tell is damaged: {detail}; restore it from a copy, or replace or drop the prior and move \
         those who started from it, with whom it is removed"
    )]
    DamagedPrior {
        /// The user.
        user: UserId,
        /// The number of the prior.
        number: u32,
        /// What of it is damaged, and how.
        detail: String,
    },
    /// Somebody else is training the user.
    #[error(
        "user {user} is being updated by {holder}, until {until} at the latest; \
         wait for it, then run this again"
    )]
    Leased {
        /// The user.
        user: UserId,
        /// Who holds the lease.
        holder: String,
        /// When the lease ends unless it is renewed.
        until: jiff::Timestamp,
    },
    /// Somebody else updated the user in the meantime, or took over the lease; nothing was changed.
    #[error(
        "user {user}: another process updated this user meanwhile; nothing was changed, \
         run it again"
    )]
    Conflict {
        /// The user.
        user: UserId,
    },
    /// A text of the user was forgotten while something was computed from it; what was computed is
    /// not kept.
    #[error(
        "user {user}: a text was forgotten while this was made of what was there before, \
         so it is not kept; run it again"
    )]
    Outdated {
        /// The user.
        user: UserId,
    },
    /// A user is not copied from another state.
    #[error("state {state}: {source}")]
    Copy {
        /// The state that is copied to.
        state: String,
        /// Why.
        source: CopyError,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Settings are not understood.
    #[error("{origin}: {reason}")]
    Config {
        /// The text, change or argument it came from.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An adapter, or a setting of its training.
    #[error(transparent)]
    Model(#[from] spring_lm::ModelError),
    /// The folder of an export or import.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// Whether the message names the user already.
    pub fn names_user(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::Outdated { .. }
                | Self::UnknownUser { .. }
                | Self::UnknownRecord { .. }
                | Self::Pruned { .. }
                | Self::UnknownInteraction { .. }
                | Self::Leased { .. }
                | Self::Withheld { .. }
                | Self::DamagedPrior { .. }
                | Self::DuplicateId { .. }
                | Self::Damaged { user: Some(_), .. }
        )
    }

    /// Whether the state itself is the trouble, whoever the user.
    pub fn is_of_state(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::State { .. }
            | Self::Unreachable { .. }
            | Self::Busy { .. } => true,
            Self::Damaged { user, .. } => user.is_none(),
            _ => false,
        }
    }

    /// Whether the same call may end well later, without anybody doing anything about the state.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// Whether the caller asked to stop.
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped | Self::Model(spring_lm::ModelError::Stopped))
    }
}

/// What is wrong with a folder that a user is exported to or imported from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A file could not be read or written.
    #[error("{path}: {}", words::of_system(source), path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line of the history.
    #[error(transparent)]
    Jsonl(#[from] JsonlError),
    /// Something of a user cannot be exported so that it could be imported again.
    #[error("{path}: {reason}; nothing was exported", path = path.display())]
    Export {
        /// The file that was being written.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A folder that was to be imported is not what an export writes.
    #[error("{place}: {reason}; nothing was imported")]
    Import {
        /// The file, and the line in it.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state has the user already.
    #[error("{place}: the state has a user {user} already; nothing was imported")]
    Present {
        /// The file that names the user.
        place: String,
        /// The user.
        user: UserId,
    },
}

/// Why a user is not copied from one state to another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The states have different base models.
    #[error(
        "made for the base model {here}, and {from} for another one, {there}; only states of one \
         base can be moved into each other"
    )]
    OtherBase {
        /// The base of the state that is copied to.
        here: String,
        /// The other state.
        from: String,
        /// Its base.
        there: String,
    },
    /// The states have different settings.
    #[error("its settings differ from those of {from}, under which the users have learned")]
    OtherSettings {
        /// The other state.
        from: String,
    },
    /// Another version of the user is there already, and is not to be replaced.
    #[error("user {user} is there already and differs from the one in {from}")]
    Differs {
        /// The user.
        user: UserId,
        /// The other state.
        from: String,
    },
    /// The user changed meanwhile.
    #[error("user {user} changed in {from} while being copied")]
    Changed {
        /// The user.
        user: UserId,
        /// The other state.
        from: String,
    },
}

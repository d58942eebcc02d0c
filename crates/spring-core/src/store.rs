//! What is kept of every user, and the contract of whoever keeps it.

mod sqlite;

pub use sqlite::{Access, SqliteStore};

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spring_memory::{BufferItem, GraphStamp, Interaction, InteractionId, JsonlError, UserId};

use crate::{
    Config, EmbeddingMap, Result,
    record::{AnswerRecord, LearnedPeriod, PeriodRecord},
};

/// What a state was made with; fixed when it is created, but for the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The base model: a folder, or a name that the program knows.
    pub model: String,
    /// Fingerprint of base and tokenizer; adapters of another base are refused.
    pub fingerprint: String,
    /// The method's settings.
    pub config: Config,
}

/// An interaction as it lies in the state.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredInteraction {
    /// Ingest sequence: breaks ties between equal times, and is the key in indexes and records.
    pub seq: u64,
    /// The interaction.
    pub interaction: Interaction,
    /// Log-likelihood under the base in nats per token, once it has been computed.
    pub base: Option<f64>,
}

/// A member of a stored period.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The interaction.
    pub stored: StoredInteraction,
    /// Set aside: in no training, buffer, index, quantile or statistic.
    pub held_out: bool,
}

/// A text of a history, and the period that it is in.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The interaction.
    pub stored: StoredInteraction,
    /// Its period; `None` if it is in none yet.
    pub period: Option<u32>,
    /// Whether it is held out there.
    pub held_out: bool,
}

/// Where the graph over a user's embeddings may be kept: a cache beside the state, which may be deleted at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphPlace {
    /// The folder; it may be missing.
    pub folder: PathBuf,
    /// The files' name without their endings; it does not come from the user's.
    pub name: String,
    /// What the files must be to be read; `None` if none was kept.
    pub stamp: Option<GraphStamp>,
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserSummary {
    /// The user.
    pub user: UserId,
    /// Interactions in the state.
    pub interactions: u64,
    /// Interactions in no period yet.
    pub pending: u64,
    /// Time of the first interaction.
    pub first: Option<Timestamp>,
    /// Time of the last interaction.
    pub last: Option<Timestamp>,
    /// Periods stored.
    pub periods: u32,
    /// The generation in use; 0 when there is none yet.
    pub generation: u32,
    /// Items in the residual buffer of that generation.
    pub buffer: u64,
}

/// How much room a user takes, in bytes, without what indexes and half-filled pages take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UserSize {
    /// Prompts, responses, ids and `meta`.
    pub texts: u64,
    /// Adapters of all generations that are kept.
    pub adapters: u64,
    /// Buffers and calibration samples.
    pub buffers: u64,
    /// Records of periods and of generated texts.
    pub records: u64,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// New interactions.
    pub added: u64,
    /// Interactions that were there already, with equal content.
    pub skipped: u64,
    /// Users of the file that were not known before.
    pub new_users: u64,
}

/// The right to change one user's generations for a while, so that no two processes train the same user.
///
/// It ends when it is released, when it expires, or when the process that holds it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The user.
    pub user: UserId,
    /// Tells this lease from every other one of the user.
    pub token: i64,
    /// When it ends unless it is renewed.
    pub expires: Timestamp,
}

/// A period as it would be cut, not stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedPeriod {
    /// Its number.
    pub number: u32,
    /// Its members, ordered by (time, sequence).
    pub members: Vec<Member>,
}

/// Everything that one period changes: written together or not at all.
#[derive(Debug, Clone)]
pub struct PeriodCommit {
    /// The user.
    pub user: UserId,
    /// Periods to store first: the one that was learned, unless it is stored already, and those cut with it.
    pub cut: Vec<PlannedPeriod>,
    /// The period that was learned.
    pub period: u32,
    /// The generation it started from (0: none); the commit is refused if the user is elsewhere by now.
    pub parent: u32,
    /// The new adapter, as [`Adapter::to_bytes`](spring_lm::Adapter::to_bytes) wrote it.
    pub adapter: Vec<u8>,
    /// The residual buffer, best first.
    pub buffer: Vec<BufferItem>,
    /// The gate's calibration sample: each buffer item's best score in a corpus without it.
    pub calibration: Vec<f64>,
    /// Base log-likelihoods computed on the way, nats per token, by sequence number.
    pub base: Vec<(u64, f64)>,
    /// The record of every decision.
    pub record: PeriodRecord,
}

/// One immutable state of a user's memories.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u32,
    /// The period it learned.
    pub period: u32,
    /// The adapter's bytes.
    pub adapter: Vec<u8>,
    /// The residual buffer, best first.
    pub buffer: Vec<BufferItem>,
    /// The gate's calibration sample.
    pub calibration: Vec<f64>,
}

/// A generation in a list, without its contents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerationSummary {
    /// Its number, from 1.
    pub number: u32,
    /// The generation it started from; 0 for none.
    pub parent: u32,
    /// The period it learned.
    pub period: u32,
    /// Whether it is the one in use.
    pub current: bool,
    /// Whether the one in use came from it, or is it.
    pub on_path: bool,
    /// Bytes of its adapter; `None` once it was pruned.
    pub adapter_bytes: Option<u64>,
    /// Items of its buffer; `None` once it was pruned.
    pub buffer: Option<u64>,
}

/// Where the pointer to the generation in use was, and where it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rollback {
    /// The generation that was in use; 0 for none.
    pub from: u32,
    /// The generation in use now; 0 for none.
    pub to: u32,
}

/// One interaction to remove, and what its removal changes.
#[derive(Debug, Clone)]
pub struct Forgetting {
    /// The user.
    pub user: UserId,
    /// The interaction.
    pub seq: u64,
    /// The generations that saw it, learned again without it.
    pub relearned: Vec<Relearned>,
}

/// A generation that was learned again, to take the place of the one of its number.
#[derive(Debug, Clone)]
pub struct Relearned {
    /// Its number.
    pub number: u32,
    /// Adapter, buffer and calibration sample; `None` for a generation that was pruned.
    pub memories: Option<(Vec<u8>, Vec<BufferItem>, Vec<f64>)>,
    /// Base log-likelihoods of the period's texts, nats per token, by sequence number.
    pub base: Vec<(u64, f64)>,
    /// The record of every decision.
    pub record: PeriodRecord,
}

/// What a removal took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Interactions removed.
    pub interactions: u64,
    /// Generations removed.
    pub generations_removed: u64,
    /// Generations learned again without the interaction.
    pub generations_relearned: u64,
    /// Records of generated texts removed.
    pub answers: u64,
    /// Whether the file and its write-ahead log were rewritten, so that no free page holds what was removed. If not, it is
    /// done when the state is next opened for writing.
    pub scrubbed: bool,
    /// What kept the file from being rewritten: another process that reads it, a full disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_up: Option<String>,
}

/// A user who was exported or imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transferred {
    /// The user.
    pub user: UserId,
    /// Interactions.
    pub interactions: u64,
    /// Generations, those without adapter included.
    pub generations: u64,
    /// Records of generated texts.
    pub answers: u64,
    /// Whether the settings that came along differ from those of the state.
    pub settings_differ: bool,
}

/// Keeps the users' state. Each method is one transaction: after an error or a crash, all is as before the call.
///
/// Unknown users are [`Error::UnknownUser`](crate::Error::UnknownUser); a store that cannot be read or written is
/// [`Error::State`](crate::Error::State).
pub trait StateStore: Send {
    /// What the state was made with.
    fn settings(&self) -> &Settings;

    /// Adds interactions, all of them or none.
    ///
    /// The same id with equal content is skipped; `file` names the source in errors.
    ///
    /// # Errors
    ///
    /// What the iterator yields, or [`Error::DuplicateId`](crate::Error::DuplicateId).
    fn ingest(
        &mut self,
        file: &str,
        interactions: &mut dyn Iterator<Item = Result<(u64, Interaction), JsonlError>>,
    ) -> Result<IngestReport>;

    /// A page of users in the order of their names, after the one given.
    fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserSummary>>;

    /// One user.
    fn user(&self, user: &UserId) -> Result<UserSummary>;

    /// Interactions in no period yet, ordered by (time, sequence).
    fn pending(&self, user: &UserId) -> Result<Vec<StoredInteraction>>;

    /// Cuts the pending interactions into `periods` of equal count (the first ones get the remainder) and stores them.
    ///
    /// Of each, the latest `⌊hold_out · n⌋` are held out. Fewer pending interactions than `periods` give as many
    /// periods as there are interactions. Returns the numbers of the new periods, none if nothing is pending.
    fn cut_periods(&mut self, user: &UserId, periods: u32, hold_out: f64) -> Result<Vec<u32>>;

    /// The periods that [`cut_periods`](Self::cut_periods) would store now; changes nothing.
    fn plan_periods(&self, user: &UserId, periods: u32, hold_out: f64) -> Result<Vec<PlannedPeriod>>;

    /// A page of the users who have something to learn, in the order of their names, after the one given.
    fn users_to_adapt(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>>;

    /// Reserves a user for training.
    ///
    /// # Errors
    ///
    /// [`Error::Leased`](crate::Error::Leased) if another process, or another part of this one, holds the user.
    fn lease(&mut self, user: &UserId) -> Result<Lease>;

    /// Puts off the end of a lease.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) if it had ended and somebody else took the user.
    fn renew(&mut self, lease: &mut Lease) -> Result<()>;

    /// Renews a lease in the background until the value is dropped, however long a step of the work takes.
    fn keep(&self, lease: &Lease) -> Box<dyn Send>;

    /// Ends a lease; one that has ended already is no error.
    fn release(&mut self, lease: &Lease) -> Result<()>;

    /// Stored periods that no generation on the path to the current one has learned, in order.
    fn unlearned_periods(&self, user: &UserId) -> Result<Vec<u32>>;

    /// The members of a period, ordered by (time, sequence).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`](crate::Error::UnknownRecord) if there is no such period.
    fn members(&self, user: &UserId, period: u32) -> Result<Vec<Member>>;

    /// Interactions by sequence number, in the order asked for.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if this user has no interaction of such a number.
    fn interactions(&self, user: &UserId, seqs: &[u64]) -> Result<Vec<StoredInteraction>>;

    /// All interactions of a user, held-out ones too, ordered by (time, sequence).
    fn history(&self, user: &UserId) -> Result<Vec<HistoryEntry>>;

    /// The embeddings under the state's base that are kept of some interactions.
    fn embeddings(&self, user: &UserId, seqs: &[u64]) -> Result<EmbeddingMap>;

    /// A number that changes when a text of the user is removed, and when the user is removed and comes again.
    ///
    /// Read it before the texts: what was computed from them is kept only while it is the same, so that nothing of a text
    /// that was forgotten meanwhile comes back.
    fn removals(&self, user: &UserId) -> Result<u64>;

    /// Keeps embeddings under the state's base. They go with their interaction and are no part of an export.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if this user has no interaction of such a number, and
    /// [`Error::Outdated`](crate::Error::Outdated) if `removals` is no longer [what it was](Self::removals).
    fn set_embeddings(&mut self, user: &UserId, removals: u64, embeddings: &EmbeddingMap) -> Result<()>;

    /// Where the graph over a user's embeddings may be kept; `None` for a store without a file.
    fn graph_place(&self, user: &UserId) -> Result<Option<GraphPlace>>;

    /// Remembers what was kept at [`graph_place`](Self::graph_place).
    ///
    /// # Errors
    ///
    /// [`Error::Outdated`](crate::Error::Outdated) if `removals` is no longer [what it was](Self::removals); what was kept
    /// is deleted then.
    fn set_graph(&mut self, user: &UserId, removals: u64, stamp: &GraphStamp) -> Result<()>;

    /// Commits a period: its members, generation, base log-likelihoods, record and pointer in one transaction.
    ///
    /// Returns the number of the new generation. Of the earlier ones, adapter and buffer are kept for the newest
    /// `state.keep_generations` of the settings; the records of all are.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) if the lease has been lost, or the user's generation is no longer the
    /// commit's parent; [`Error::State`](crate::Error::State) if the adapter is of another base than the state's.
    fn commit(&mut self, lease: &Lease, commit: &PeriodCommit) -> Result<u32>;

    /// The current generation, or the one of that number; `None` for a user who has none yet.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`](crate::Error::UnknownRecord) if the number is not there,
    /// [`Error::Pruned`](crate::Error::Pruned) if it is no longer kept.
    fn generation(&self, user: &UserId, number: Option<u32>) -> Result<Option<Generation>>;

    /// All generations of a user, oldest first, those that were pruned or rolled back too.
    fn generations(&self, user: &UserId) -> Result<Vec<GenerationSummary>>;

    /// The record of one generation, whether or not the one in use came from it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`](crate::Error::UnknownRecord) if the number is not there.
    fn record(&self, user: &UserId, generation: u32) -> Result<LearnedPeriod>;

    /// Moves the pointer to another generation, or without a number to the one before; 0 is the base alone.
    ///
    /// # Errors
    ///
    /// [`Error::Leased`](crate::Error::Leased) while somebody trains the user,
    /// [`Error::UnknownRecord`](crate::Error::UnknownRecord) and [`Error::Pruned`](crate::Error::Pruned) for a generation
    /// that is not there.
    fn rollback(&mut self, user: &UserId, to: Option<u32>) -> Result<Rollback>;

    /// Removes a user with everything that is kept of them; training that is under way is not committed any more.
    fn forget(&mut self, user: &UserId) -> Result<Forgotten>;

    /// Removes one interaction, puts what was learned again without it in place, and removes the records of texts that
    /// were generated from it or that quote it. See [`forget_interaction`](crate::forget_interaction).
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) if the lease has been lost.
    fn forget_interaction(&mut self, lease: &Lease, forgetting: &Forgetting) -> Result<Forgotten>;

    /// The records of the periods learned, oldest first; of one period, or of all.
    fn period_records(&self, user: &UserId, period: Option<u32>) -> Result<Vec<LearnedPeriod>>;

    /// Keeps the record of one generated text.
    ///
    /// # Errors
    ///
    /// [`Error::Outdated`](crate::Error::Outdated) if `removals` is no longer [what it was](Self::removals) before the
    /// memories were read that it was generated with: it may quote what was forgotten since.
    fn record_answer(&mut self, user: &UserId, removals: u64, answer: &AnswerRecord) -> Result<()>;

    /// The latest `limit` records of generated texts, newest first.
    fn answers(&self, user: &UserId, limit: usize) -> Result<Vec<AnswerRecord>>;

    /// The newest record of a generated text that has `part` in it.
    fn find_answer(&self, user: &UserId, part: &str) -> Result<Option<AnswerRecord>>;

    /// Whether the user has an interaction of that id, and its sequence number.
    fn find(&self, user: &UserId, id: &InteractionId) -> Result<Option<u64>>;

    /// The period that an interaction is in, and whether it is held out there; `None` if it is in none.
    fn place(&self, user: &UserId, seq: u64) -> Result<Option<(u32, bool)>>;
}

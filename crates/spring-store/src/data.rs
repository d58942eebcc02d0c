//! What a state keeps of every user, as plain values.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spring_fuse::Calibration;
use spring_lm::Adapter;
use spring_memory::{BufferItem, GraphStamp, Interaction, UserId};

use crate::{
    Config, RetrievalConfig,
    record::{LearnedPeriod, PeriodRecord},
};

/// What a state was made with; fixed when it is created, but for the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The base model: a folder, or a name that the program knows.
    pub model: String,
    /// Fingerprint of base and tokenizer; adapters of another base are refused.
    pub fingerprint: String,
    /// The method's settings.
    pub config: Config,
}

impl Settings {
    /// Those of a state for a base model, with the fingerprint of base and tokenizer.
    pub fn new(model: impl Into<String>, fingerprint: impl Into<String>, config: Config) -> Self {
        Self { model: model.into(), fingerprint: fingerprint.into(), config }
    }
}

/// Embeddings of length 1 by sequence number.
pub type EmbeddingMap = HashMap<u64, Vec<f32>>;

/// An interaction as it lies in the state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredInteraction {
    /// Ingest sequence: breaks ties between equal times, and is the key in indexes and records.
    pub seq: u64,
    /// The interaction.
    pub interaction: Interaction,
    /// Log-likelihood under the base in nats per token, once it has been computed.
    pub base: Option<f64>,
}

impl StoredInteraction {
    /// One whose log-likelihood under the base has not been computed.
    pub fn new(seq: u64, interaction: Interaction) -> Self {
        Self { seq, interaction, base: None }
    }

    /// The same with another log-likelihood under the base.
    #[must_use]
    pub fn with_base(self, base: Option<f64>) -> Self {
        Self { base, ..self }
    }
}

/// A member of a stored period.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// The interaction.
    pub stored: StoredInteraction,
    /// Set aside: in no training, buffer, index, quantile or statistic.
    pub held_out: bool,
}

/// A text of a history, and the period that it is in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The interaction.
    pub stored: StoredInteraction,
    /// Its period; `None` if it is in none yet.
    pub period: Option<u32>,
    /// Whether it is held out there.
    pub held_out: bool,
}

/// All texts of a user at one point in time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// What [`Store::set_embeddings`](crate::Store::set_embeddings) asks for.
    pub version: UserVersion,
    /// The texts, held-out ones too, ordered by (time, sequence).
    pub entries: Vec<HistoryEntry>,
}

/// Which state of a user something was made from: it changes when a text of the user is removed,
/// when the user is removed and comes again, and when another generation comes into use, or another
/// prior for a user who has none.
///
/// What was computed from a user's texts is kept only while they are all still there, so that
/// nothing of a text that was forgotten meanwhile comes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserVersion {
    pub(crate) user: UserId,
    pub(crate) removals: u64,
    pub(crate) generation: u32,
    /// The hash of the prior that the user starts from, where there is no generation.
    pub(crate) prior: Option<String>,
}

impl UserVersion {
    /// The user.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The generation in use; 0 for none.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// That of the same texts after a commit has brought this generation into use.
    pub fn committed(&self, generation: u32) -> Self {
        let (user, removals) = (self.user.clone(), self.removals);
        Self { user, removals, generation, prior: None }
    }
}

/// A user's memories as they were at one point in time, with the texts that they name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UserSnapshot {
    /// What a commit, a record or embeddings made from this snapshot are handed in with.
    pub version: UserVersion,
    /// The generation in use, or the one that was asked for; `None` for a user who has none yet.
    pub generation: Option<Generation>,
    /// The prior in use, of a user without a generation: what they start from, and answer with.
    pub prior: Option<Arc<Prior>>,
    /// The settings of retrieval that its calibration sample was made under.
    pub calibrated: Option<RetrievalConfig>,
    /// The texts that are searched for a prompt: those of its buffer, in the buffer's order, or
    /// those of all periods that it has learned, in the order of time.
    pub texts: Vec<StoredInteraction>,
    /// Those of their embeddings under the state's base that are kept.
    pub embeddings: EmbeddingMap,
}

/// An adapter that was learned from several users, ready to start from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prior {
    /// Its number in the state, from 1.
    pub number: u32,
    /// The [hash](spring_lm::AdapterHash) of its adapter, in hexadecimal digits: what records name
    /// it by, in whichever state they are.
    pub id: String,
    /// The adapter.
    pub adapter: Arc<Adapter>,
}

/// Where the graph over a user's embeddings may be kept: a cache beside the state, which may be
/// deleted at any time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
#[non_exhaustive]
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
    /// Whether conversations with a server are kept.
    pub consent: bool,
}

/// What a user has said of conversations with a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Consent {
    /// Whether they are kept as interactions.
    pub keep_conversations: bool,
    /// When that was said; `None` if nothing was.
    pub since: Option<Timestamp>,
}

/// A server that answers for the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// The address under which it is reached: its name among the others.
    pub url: String,
    /// What it has to do, as a part of what it can do at once: 0 for nothing, above 1 where
    /// requests wait.
    pub load: f64,
}

/// How much room a user takes, in bytes, without what indexes and half-filled pages take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct IngestReport {
    /// New interactions.
    pub added: u64,
    /// Interactions that were there already, with equal content.
    pub skipped: u64,
    /// Users who were not known before.
    pub new_users: u64,
}

/// The right to change one user's generations for a while, so that no two processes train the same
/// user.
///
/// It ends when it is released, when it expires, or, where the backend can tell, when the process
/// that holds it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The user.
    pub user: UserId,
    /// The fencing token: larger than that of every earlier lease of the user. What is written
    /// under an older one is refused.
    pub token: i64,
    /// When it ends unless it is renewed, by the clock of this machine; what counts is that of the
    /// state.
    pub expires: Timestamp,
}

/// A period as it would be cut, not stored yet.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlannedPeriod {
    /// Its number.
    pub number: u32,
    /// Its members, ordered by (time, sequence).
    pub members: Vec<Member>,
}

impl PlannedPeriod {
    /// Of this number and these members.
    pub fn new(number: u32, members: Vec<Member>) -> Self {
        Self { number, members }
    }
}

/// What a user has to learn, and what it is learned on: all of one point in time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Backlog {
    /// Stored periods that nothing on the path to the generation in use has learned, in order: what
    /// an interrupted run left, or what was learned before a step back.
    pub unlearned: Vec<u32>,
    /// The periods that the pending texts are cut into, not stored yet.
    pub planned: Vec<PlannedPeriod>,
    /// The memories in use.
    pub snapshot: UserSnapshot,
    /// The records of the periods learned, oldest first.
    pub records: Vec<LearnedPeriod>,
}

/// Everything that one period changes: written together or not at all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeriodCommit {
    /// Periods to store first: the one that was learned, unless it is stored already, and those cut
    /// with it.
    pub cut: Vec<PlannedPeriod>,
    /// The new adapter, as [`Adapter::to_bytes`](spring_lm::Adapter::to_bytes) wrote it.
    pub adapter: Vec<u8>,
    /// The residual buffer, best first.
    pub buffer: Vec<BufferItem>,
    /// What the gate is calibrated on: each text's best score in a bank without it, and what
    /// reading along has gained where that was measured.
    pub calibration: Calibration,
    /// Base log-likelihoods computed on the way, nats per token, by sequence number.
    pub base: Vec<(u64, f64)>,
    /// The record of every decision; it names the period and the generation it started from.
    pub record: PeriodRecord,
}

impl PeriodCommit {
    /// Of an adapter and its record; nothing buffered, nothing cut and no log-likelihoods.
    pub fn new(adapter: Vec<u8>, record: PeriodRecord) -> Self {
        let (cut, buffer, calibration, base) = (vec![], vec![], Calibration::default(), vec![]);
        Self { cut, adapter, buffer, calibration, base, record }
    }

    /// With periods to store first.
    #[must_use]
    pub fn with_cut(self, cut: Vec<PlannedPeriod>) -> Self {
        Self { cut, ..self }
    }

    /// With a residual buffer, best first, and its calibration sample.
    #[must_use]
    pub fn with_buffer(self, buffer: Vec<BufferItem>, calibration: impl Into<Calibration>) -> Self {
        Self { buffer, calibration: calibration.into(), ..self }
    }

    /// With base log-likelihoods, nats per token, by sequence number.
    #[must_use]
    pub fn with_base(self, base: Vec<(u64, f64)>) -> Self {
        Self { base, ..self }
    }
}

/// What was learned and is in use, and of which nobody has said yet if it stays so.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Unjudged {
    /// The state of the user that it is about.
    pub version: UserVersion,
    /// The generation that comes back if it does not stay; 0 for the base alone.
    pub before: u32,
    /// The periods, oldest first; at least one.
    pub learned: Vec<LearnedPeriod>,
}

/// One immutable state of a user's memories.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Generation {
    /// Its number, from 1.
    pub number: u32,
    /// The period it learned.
    pub period: u32,
    /// The adapter's bytes.
    pub adapter: Vec<u8>,
    /// The residual buffer, best first.
    pub buffer: Vec<BufferItem>,
    /// What the gate is calibrated on.
    pub calibration: Calibration,
}

/// A generation in a list, without its contents.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct Rollback {
    /// The generation that was in use; 0 for none.
    pub from: u32,
    /// The generation in use now; 0 for none.
    pub to: u32,
}

/// One interaction to remove, and what its removal changes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Forgetting {
    /// The interaction.
    pub seq: u64,
    /// The generations that saw it, learned again without it.
    pub relearned: Vec<Relearned>,
}

impl Forgetting {
    /// Of an interaction, with the generations that saw it, learned again without it.
    pub fn new(seq: u64, relearned: Vec<Relearned>) -> Self {
        Self { seq, relearned }
    }
}

/// A generation that was learned again, to take the place of the one of its number.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Relearned {
    /// Its number.
    pub number: u32,
    /// Adapter, buffer and calibration sample; `None` for a generation that was pruned.
    pub memories: Option<(Vec<u8>, Vec<BufferItem>, Calibration)>,
    /// Base log-likelihoods of the period's texts, nats per token, by sequence number.
    pub base: Vec<(u64, f64)>,
    /// The record of every decision.
    pub record: PeriodRecord,
}

impl Relearned {
    /// Of a generation that was pruned.
    pub fn new(number: u32, record: PeriodRecord) -> Self {
        Self { number, memories: None, base: vec![], record }
    }

    /// With adapter, buffer and calibration sample, where they are kept.
    #[must_use]
    pub fn with_memories(self, memories: Option<(Vec<u8>, Vec<BufferItem>, Calibration)>) -> Self {
        Self { memories, ..self }
    }

    /// With base log-likelihoods, nats per token, by sequence number.
    #[must_use]
    pub fn with_base(self, base: Vec<(u64, f64)>) -> Self {
        Self { base, ..self }
    }
}

/// What a removal took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// Interactions removed.
    pub interactions: u64,
    /// Generations removed.
    pub generations_removed: u64,
    /// Generations learned again without the interaction.
    pub generations_relearned: u64,
    /// Records of generated texts removed.
    pub answers: u64,
    /// The priors that were learned from what was removed, by their numbers: they know it until
    /// they are learned again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priors: Vec<u32>,
    /// Whether nothing of what was removed is left where rows do not show it, such as in free
    /// pages. If not, that is finished when the state is next opened for writing.
    pub scrubbed: bool,
    /// What kept it from being finished: another process that reads it, a full disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_up: Option<String>,
}

/// A user who was exported or imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
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
    /// Whether the folder has checksums; those that older versions wrote have none, so that a file
    /// which was cut short may go unnoticed.
    pub has_checksums: bool,
}

//! What can go wrong in the loop and in the state.

use std::path::PathBuf;

use spring_memory::{InteractionId, JsonlError, UserId};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file is busy, and what to do.
pub(crate) const BUSY: &str =
    "another process is writing to it and did not finish within 30 seconds; wait for it, then run this again";

/// An error of this crate: one line that names the file and line or the user, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, its files or an adapter.
    #[error(transparent)]
    Model(#[from] spring_lm::ModelError),
    /// A model behind [`LanguageModel`](crate::LanguageModel) that gives what the trait does not allow: a defect of the
    /// model, not of its input.
    #[error("the language model does not keep its contract: {reason}")]
    Contract {
        /// What it gave, and what was needed.
        reason: String,
    },
    /// The drift score or the selection.
    #[error(transparent)]
    Drift(#[from] spring_drift::DriftError),
    /// The gate, the mixture or the sampler.
    #[error(transparent)]
    Fuse(#[from] spring_fuse::FuseError),
    /// A line of an interactions file.
    #[error(transparent)]
    Jsonl(#[from] JsonlError),
    /// The replay buffer.
    #[error(transparent)]
    Buffer(#[from] spring_memory::BufferError),
    /// The BM25 settings.
    #[error(transparent)]
    Bm25(#[from] spring_memory::Bm25ConfigError),
    /// The settings of search over a history.
    #[error(transparent)]
    History(#[from] spring_memory::HistoryConfigError),
    /// A search without what its mode needs.
    #[error(transparent)]
    Search(#[from] spring_memory::SearchError),
    /// An embedding.
    #[error(transparent)]
    Vector(#[from] spring_memory::VectorError),
    /// The graph over embeddings could not be kept.
    #[error(transparent)]
    Graph(#[from] spring_memory::GraphDumpError),
    /// A file could not be opened or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A configuration file or value is not understood.
    #[error("{origin}: {reason}")]
    Config {
        /// The file or flag it came from.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state file cannot be used: missing, there already, locked, read-only, damaged or of another program.
    #[error("state {path}: {reason}", path = path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The model is not the one that the state was made for.
    #[error(
        "made for another model or tokenizer than the one now in {model}: fingerprint {found:.12}… instead of \
         {expected:.12}…; put the old one back"
    )]
    OtherBase {
        /// The model that the state names.
        model: String,
        /// Its fingerprint when the state was made.
        expected: String,
        /// The fingerprint of the model at hand.
        found: String,
    },
    /// Another process keeps the state file from being written, or from being changed in its form.
    #[error("state {path}: {reason}", path = path.display(), reason = BUSY)]
    Busy {
        /// The state file.
        path: PathBuf,
    },
    /// The same id was seen before with other content.
    #[error(
        "{file}:{line}: user {user} already has an interaction {id} with other content; give the new one an id of its own"
    )]
    DuplicateId {
        /// The file being ingested.
        file: String,
        /// The line in it.
        line: u64,
        /// Whose interaction.
        user: UserId,
        /// The id that is taken.
        id: InteractionId,
    },
    /// The state has no such user.
    #[error("user {user} is not in state {path}; `spring users` lists those that are", path = path.display())]
    UnknownUser {
        /// The user asked for.
        user: String,
        /// The state file.
        path: PathBuf,
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
        "user {user}: generation {number} is no longer kept (the last ones are, as state.keep_generations says); `spring inspect` lists those that are"
    )]
    Pruned {
        /// The user.
        user: UserId,
        /// The generation asked for.
        number: u32,
    },
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
    /// The user has no such interaction.
    #[error("user {user} has no interaction {id}")]
    UnknownInteraction {
        /// The user.
        user: UserId,
        /// The id asked for.
        id: InteractionId,
    },
    /// Somebody else is training the user.
    #[error(
        "user {user} is being updated by {holder}, until {until} at the latest; wait for it, then run this again"
    )]
    Leased {
        /// The user.
        user: UserId,
        /// The process that holds the lease.
        holder: String,
        /// When the lease ends unless it is renewed.
        until: jiff::Timestamp,
    },
    /// Another process committed a period of this user in the meantime; nothing was changed.
    #[error("user {user}: another process updated this user meanwhile; nothing was changed, run it again")]
    Conflict {
        /// The user.
        user: UserId,
    },
    /// A text of the user was forgotten while something was computed from it; what was computed is not kept.
    #[error(
        "user {user}: a text was forgotten while this was made of what was there before, so it is not kept; run it again"
    )]
    Outdated {
        /// The user.
        user: UserId,
    },
    /// An error about one user, with the user's name in front.
    #[error("user {user}: {source}")]
    User {
        /// The user.
        user: UserId,
        /// What happened.
        source: Box<Error>,
    },
}

impl Error {
    /// Puts the user's name in front, unless the error already tells it.
    pub fn of_user(self, user: &UserId) -> Self {
        match self {
            named @ (Self::User { .. }
            | Self::Conflict { .. }
            | Self::Outdated { .. }
            | Self::UnknownUser { .. }
            | Self::UnknownRecord { .. }
            | Self::Pruned { .. }
            | Self::UnknownInteraction { .. }
            | Self::Leased { .. }
            | Self::DuplicateId { .. }) => named,
            other => Self::User { user: user.clone(), source: Box::new(other) },
        }
    }

    /// Whether the state file itself is the trouble, whoever the user.
    pub fn is_of_state(&self) -> bool {
        match self {
            Self::State { .. } | Self::Busy { .. } => true,
            Self::User { source, .. } => source.is_of_state(),
            _ => false,
        }
    }

    /// Whether the caller asked to stop.
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Model(spring_lm::ModelError::Stopped) => true,
            Self::User { source, .. } => source.is_stopped(),
            _ => false,
        }
    }
}

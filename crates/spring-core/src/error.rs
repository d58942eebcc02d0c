//! What can go wrong in the loop and in the state.

use std::path::PathBuf;

use spring_memory::{InteractionId, JsonlError, UserId};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: one line that names the file and line or the user, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state, or a setting.
    #[error(transparent)]
    Store(#[from] spring_store::Error),
    /// The model, its files or an adapter.
    #[error(transparent)]
    Model(#[from] spring_lm::ModelError),
    /// A model behind [`LanguageModel`](crate::LanguageModel) that gives what the trait does not
    /// allow: a defect of the model, not of its input.
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
    /// The residual buffer.
    #[error(transparent)]
    Buffer(#[from] spring_memory::BufferError),
    /// A setting that is out of range.
    #[error(transparent)]
    Setting(#[from] spring_memory::SettingError),
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
    #[error("{path}: {}", spring_numerics::words::of_system(source), path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The model is not the one that the state was made for.
    #[error(
        "state {state}: made for another model or tokenizer than the one now in {model}: \
         fingerprint {found:.12}… instead of {expected:.12}…; put the old one back"
    )]
    OtherBase {
        /// The state.
        state: String,
        /// The model that the state names.
        model: String,
        /// Its fingerprint when the state was made.
        expected: String,
        /// The fingerprint of the model at hand.
        found: String,
    },
    /// A line of a file has the id of an earlier text with other content.
    #[error(
        "{file}:{line}: user {user} already has an interaction {id} with other content; \
         give the new one an id of its own"
    )]
    DuplicateId {
        /// How the file is called.
        file: String,
        /// The line in it, from 1.
        line: u64,
        /// Whose interaction.
        user: UserId,
        /// The id that is taken.
        id: InteractionId,
    },
    /// A prompt that does not fit and may not be cut.
    #[error(
        "the prompt has {tokens} tokens, and the model reads {context} with its answer; shorten it"
    )]
    TooLong {
        /// Of the prompt, with what was said before it.
        tokens: usize,
        /// The longest sequence of the model.
        context: usize,
    },
    /// Novelty is measured against a population, and there is no adapter of one: none was given, or
    /// the user of a state did not start from a prior.
    #[error(
        "drift.reference = \"population\" measures novelty against an adapter that was trained on \
         other users' texts, and there is none; in a state it is the prior that the user started \
         from: train one, which everybody new starts from, and move whoever has learned already \
         onto it, or set drift.reference = \"base\""
    )]
    NoPopulation,
    /// An update that explains the texts that it was trained on worse than what it started from.
    #[error(
        "period {period}: the update explains the {texts} texts that it learned from worse than \
         before, {after:.3} nats per token instead of {before:.3}; nothing was committed, and the \
         generation before stays in use; lower training.learning_rate or training.epochs",
        texts = fit.texts, after = fit.after, before = fit.before
    )]
    Worse {
        /// The period.
        period: u32,
        /// Both losses.
        fit: crate::Fit,
    },
    /// A user who cannot be moved onto another start.
    #[error(
        "user {user} began with an adapter that was imported, which cannot be learned again from \
         another start; nothing was changed"
    )]
    Imported {
        /// The user.
        user: UserId,
    },
    /// There is nothing that a prior could be learned from.
    #[error(
        "{state}: nobody whom the prior may be learned from has a text to learn: name users or let \
         them agree, and learn their texts first, since what is in no period yet may still be held \
         out"
    )]
    NoContributors {
        /// The state.
        state: String,
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
            named @ (Self::User { .. } | Self::DuplicateId { .. } | Self::Imported { .. }) => named,
            Self::Store(error) if error.names_user() => Self::Store(error),
            other => Self::User { user: user.clone(), source: Box::new(other) },
        }
    }

    /// Whether the state itself is the trouble, whoever the user.
    pub fn is_of_state(&self) -> bool {
        match self {
            Self::Store(error) => error.is_of_state(),
            Self::User { source, .. } => source.is_of_state(),
            _ => false,
        }
    }

    /// Whether the same call may end well later, without anybody doing anything about the state.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => error.is_passing(),
            Self::User { source, .. } => source.is_passing(),
            _ => false,
        }
    }

    /// Whether the caller asked to stop.
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Model(spring_lm::ModelError::Stopped) => true,
            Self::Store(error) => error.is_stopped(),
            Self::User { source, .. } => source.is_stopped(),
            _ => false,
        }
    }
}

//! What can go wrong in an evaluation.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loop or the state.
    #[error(transparent)]
    Core(#[from] spring_core::Error),
    /// A data set.
    #[error(transparent)]
    Input(#[from] spring_data::Error),
    /// There is nothing to evaluate on.
    #[error("{0}")]
    NotEnough(String),
    /// A line of a file of results.
    #[error("{file}:{line}: {reason}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file as a whole: it cannot be opened, written, or used for this.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A plot could not be drawn.
    #[error("drawing {plot}: {reason}")]
    Plot {
        /// Which plot.
        plot: &'static str,
        /// The library's reason.
        reason: String,
    },
}

impl From<spring_core::spring_store::Error> for Error {
    fn from(error: spring_core::spring_store::Error) -> Self {
        Self::Core(error.into())
    }
}

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
    /// There is nothing to evaluate on.
    #[error("{0}")]
    NotEnough(String),
    /// A plot could not be drawn.
    #[error("drawing {plot}: {reason}")]
    Plot {
        /// Which plot.
        plot: &'static str,
        /// The library's reason.
        reason: String,
    },
}

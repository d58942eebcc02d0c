//! What can go wrong with a page.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A plot could not be drawn.
    #[error("drawing {plot}: {reason}")]
    Plot {
        /// Which plot.
        plot: &'static str,
        /// The library's reason.
        reason: String,
    },
    /// A table could not be written.
    #[error("writing the table: {0}")]
    Table(String),
    /// A picture could not be made of a plot.
    #[error("making a picture of {plot}: {reason}")]
    Picture {
        /// Which plot.
        plot: String,
        /// The library's reason.
        reason: String,
    },
}

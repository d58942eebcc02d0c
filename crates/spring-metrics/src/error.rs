//! What can be wrong with files of predictions and references.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate; everything else it computes cannot fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line of a file.
    #[error("{file}:{line}: record {row}: {reason}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The string, from 1: blank lines do not count.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file as a whole: it cannot be opened, is empty, or has fewer lines than the other.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

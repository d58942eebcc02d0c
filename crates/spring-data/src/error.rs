//! What can be wrong with a data file.

use spring_memory::JsonlError;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record of a data file.
    #[error("{file}:{line}: record {row}: {reason}")]
    Record {
        /// The file.
        file: String,
        /// The line on which the record begins, from 1.
        line: u64,
        /// The record, from 1; 0 before the first.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a file of interactions.
    #[error(transparent)]
    Line(#[from] JsonlError),
    /// A file as a whole: it cannot be opened.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting of the synthetic users that is out of range.
    #[error("{0}")]
    Setting(String),
}

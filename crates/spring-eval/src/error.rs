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
    /// A method that there is not, or that cannot have one of its settings.
    #[error("method {name:?}: {reason}")]
    Method {
        /// Its name as it was spelled.
        name: String,
        /// What is wrong, and what there is.
        reason: String,
    },
    /// A program of a suite that cannot be started, or that does not do what it should.
    #[error("program {program:?}{}{}: {reason}", of_line(.line), of_user(.user))]
    Program {
        /// Its name in the suite.
        program: String,
        /// The line of its standard output, from 1.
        line: Option<u64>,
        /// Whose texts it was given.
        user: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// A metric of a suite.
    #[error("metric {name:?}: {reason}")]
    Metric {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A table could not be written.
    #[error("a table cannot be written: {reason}")]
    Table {
        /// What the library says.
        reason: String,
    },
}

impl From<spring_core::spring_store::Error> for Error {
    fn from(error: spring_core::spring_store::Error) -> Self {
        Self::Core(error.into())
    }
}

fn of_line(line: &Option<u64>) -> String {
    line.map_or(String::new(), |line| format!(", line {line}"))
}

fn of_user(user: &Option<String>) -> String {
    user.as_ref().map_or(String::new(), |user| format!(", user {user}"))
}

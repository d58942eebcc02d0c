//! What can be wrong with people's files.

use std::fmt;

/// A result of reading people's texts.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file as a whole: it cannot be opened, read or unpacked, or is beyond a limit.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// What the file holds cannot be told.
    #[error("{file}: cannot tell what this is: {reason}; say it with --from ({formats})")]
    Unknown {
        /// The file.
        file: String,
        /// What was seen.
        reason: String,
        /// The names of all formats.
        formats: String,
    },
    /// Whose texts are to be learned is not obvious.
    #[error("{file}: whose texts are to be learned? Say it with {example}; it has {people}")]
    WhoseSide {
        /// The file.
        file: String,
        /// The option for the person with most texts.
        example: String,
        /// Who writes there, with the number of texts.
        people: String,
    },
    /// Nobody in the file is the person whose texts are to be learned.
    #[error("{file}: nothing by {me}; it has {people}")]
    NobodyLikeThat {
        /// The file.
        file: String,
        /// Who was looked for.
        me: String,
        /// Who writes there, with the number of texts.
        people: String,
    },
    /// A table without a column that is needed.
    #[error("{file}: which column is the {role}? Say it with {option} COLUMN; it has {columns}")]
    Column {
        /// The file.
        file: String,
        /// What the column is for.
        role: &'static str,
        /// The option that names it.
        option: &'static str,
        /// The columns.
        columns: String,
    },
    /// Records that cannot be read, all of them as far as they are shown.
    #[error("{}", Listed(.problems, .total))]
    Problems {
        /// The first of them.
        problems: Vec<Problem>,
        /// How many there are.
        total: u64,
    },
    /// An option that is out of range or does not fit the format.
    #[error("{0}")]
    Option(String),
    /// The caller asked to stop.
    #[error("interrupted")]
    Stopped,
}

/// One record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line on which the record begins, from 1; the row where a format has no lines.
    pub line: u64,
    /// The field, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// One problem a line.
struct Listed<'p>(&'p [Problem], &'p u64);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.1 - self.0.len() as u64 {
            0 if *self.1 > 1 => {
                write!(f, "\n{} problems; --skip-errors leaves these lines out", self.1)
            }
            0 => Ok(()),
            more => write!(f, "\nand {more} more problems; --skip-errors leaves these lines out"),
        }
    }
}

/// The first characters of a text of a file, fit for a message.
pub(crate) fn shown(text: &str) -> String {
    let clean: String = text.chars().take(60).collect();
    let more = if clean.len() < text.len() { "…" } else { "" };
    format!("{}{more}", clean.escape_debug())
}

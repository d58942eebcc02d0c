//! From what SQLite says to one line that says what to do.

use std::path::Path;

use rusqlite::ErrorCode;
use spring_memory::{JsonlError, UserId};

use crate::{Error, error::BUSY};

/// A result inside a transaction.
pub(super) type Outcome<T> = Result<T, Fault>;

/// What ends a transaction early. The store turns it into an [`Error`] with the path of its file.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The state cannot do this; the reason in words.
    State(String),
    /// There is no such user.
    UnknownUser(String),
    /// Complete as it is.
    Other(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<JsonlError> for Fault {
    fn from(error: JsonlError) -> Self {
        Self::Other(error.into())
    }
}

impl Fault {
    /// What is stored in this table does not read as what was once written there.
    pub(super) fn damaged(table: &str, user: Option<&UserId>, detail: impl std::fmt::Display) -> Self {
        let user = user.map_or(String::new(), |user| format!(", user {user}"));
        Self::State(format!("damaged in table {table}{user}: {detail}; restore the file from a copy"))
    }

    /// Of a query of this table: damaged if a value was not understood, else SQLite's failure.
    pub(super) fn of_query(error: rusqlite::Error, table: &str, user: Option<&UserId>) -> Self {
        use rusqlite::Error as E;
        match error {
            E::FromSqlConversionFailure(_, _, source) => Self::damaged(table, user, source),
            E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..) | E::Utf8Error(..) => {
                Self::damaged(table, user, error)
            }
            other => Self::Sqlite(other),
        }
    }

    /// Of a file of an older version that could not be brought up to date.
    pub(super) fn while_migrating(self, version: i64) -> Self {
        let reason = match self {
            Self::State(reason) => reason,
            Self::Sqlite(error) => explain(&error),
            other => return other,
        };
        Self::State(format!(
            "of the older format {version}, and not brought up to date: {reason} (any use that may write does it)"
        ))
    }

    /// Why a file was not rewritten without what was removed.
    pub(super) fn while_scrubbing(self) -> String {
        match self {
            Self::Sqlite(error) if is_busy(&error) => "another process is writing to it".into(),
            Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                "the disk is full: rewriting takes as much room again, in its folder and in the system's temporary one"
                    .into()
            }
            Self::Sqlite(error) => format!("rewriting it failed ({error}); check the disk"),
            Self::State(reason) => reason,
            Self::UnknownUser(user) => user,
            Self::Other(error) => error.to_string(),
        }
    }

    /// The error of the store at `path`.
    pub(super) fn at(self, path: &Path) -> Error {
        let reason = match self {
            Self::Other(error) => return error,
            Self::UnknownUser(user) => return Error::UnknownUser { user, path: path.into() },
            Self::State(reason) => reason,
            Self::Sqlite(error) if is_busy(&error) => return Error::Busy { path: path.into() },
            Self::Sqlite(error) => explain(&error),
        };
        Error::State { path: path.into(), reason }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What is wrong and what to do.
fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        _ if is_busy(error) => BUSY.into(),
        Some(ErrorCode::ReadOnly) => {
            "opened for reading only, or it may not be written any more; nothing was changed, open it for writing \
             and check the permissions of the file and its folder"
                .into()
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "cannot be opened; check the permissions of the file and that its folder may be written".into()
        }
        Some(ErrorCode::NotADatabase) => {
            "not a state, or its beginning is lost; name the right file, or restore this one from a copy".into()
        }
        Some(ErrorCode::DatabaseCorrupt) => "damaged or cut short; restore the file from a copy".into(),
        Some(ErrorCode::DiskFull) => "the disk is full; nothing was changed, free some space and run this again".into(),
        Some(ErrorCode::SystemIoFailure) => {
            format!("reading or writing failed ({error}); nothing was changed, check the disk and run this again")
        }
        _ => format!("unexpected contents ({error}); restore the file from a copy"),
    }
}

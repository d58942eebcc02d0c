//! From what SQLite says to one line that says what to do.

use std::time::Duration;

use rusqlite::{ErrorCode, types::Type};

use crate::backend::Fault;

/// How long a transaction waits for another process's, unless it is told otherwise.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A result inside this backend.
pub(super) type Outcome<T> = Result<T, Failure>;

/// What ends a call early.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The file cannot do this; the reason in words.
    State(String),
    /// Complete as it is.
    Fault(Fault),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => of_sqlite(&error),
            Failure::State(reason) => Self::Unusable(reason),
            Failure::Fault(fault) => fault,
        }
    }
}

impl Failure {
    /// Of a file of an older version that could not be brought up to date.
    pub(super) fn while_migrating(self, version: i64) -> Self {
        let reason = match self {
            Self::State(reason) => reason,
            Self::Sqlite(error) => explain(&error),
            other => return other,
        };
        Self::State(format!(
            "of the older format {version}, and not brought up to date: {reason} (any use that may \
             write does it)"
        ))
    }

    /// Why a file was not rewritten without what was removed.
    pub(super) fn while_scrubbing(self) -> String {
        match self {
            Self::Sqlite(error) if is_busy(&error) => "another process is writing to it".into(),
            Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                "the disk is full: rewriting takes as much room again, in its folder and in the \
                 system's temporary one"
                    .into()
            }
            Self::Sqlite(error) => format!("rewriting it failed ({error}); check the disk"),
            Self::State(reason) => reason,
            Self::Fault(fault) => fault.at("").to_string(),
        }
    }
}

/// Of a query of this table: damaged if a value was not understood, else SQLite's failure.
pub(super) fn of_query(error: &rusqlite::Error, table: &'static str) -> Fault {
    use rusqlite::Error as E;
    match error {
        E::FromSqlConversionFailure(_, _, source) => Fault::damaged(table, source),
        E::IntegralValueOutOfRange(_, number) => {
            Fault::damaged(table, format!("the number {number} is beyond what may stand there"))
        }
        E::InvalidColumnType(_, column, found) => {
            let found = match found {
                Type::Null => "nothing",
                Type::Integer => "a whole number",
                Type::Real => "a number",
                Type::Text => "a text",
                Type::Blob => "bytes",
            };
            Fault::damaged(table, format!("column {column} holds {found}, which it never does"))
        }
        E::Utf8Error(..) => Fault::damaged(table, "a text that is not UTF-8"),
        other => of_sqlite(other),
    }
}

fn of_sqlite(error: &rusqlite::Error) -> Fault {
    match is_busy(error) {
        true => Fault::Busy(BUSY_TIMEOUT),
        false => Fault::Unusable(explain(error)),
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What is wrong and what to do.
fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        _ if is_busy(error) => {
            "another process is writing to it; wait for it, then run this again".into()
        }
        Some(ErrorCode::ReadOnly) => {
            "opened for reading only, or it may not be written any more; nothing was changed, open \
             it for writing and check the permissions of the file and its folder"
                .into()
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "cannot be opened; check the permissions of the file and that its folder may be written"
                .into()
        }
        Some(ErrorCode::NotADatabase) => {
            "not a state, or its beginning is lost; name the right file, or restore this one from \
             a copy"
                .into()
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "damaged or cut short; restore the file from a copy".into()
        }
        Some(ErrorCode::DiskFull) => {
            "the disk is full; nothing was changed, free some space and run this again".into()
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!(
                "reading or writing failed ({error}); nothing was changed, check the disk and run \
                 this again"
            )
        }
        _ => format!("unexpected contents ({error}); restore the file from a copy"),
    }
}

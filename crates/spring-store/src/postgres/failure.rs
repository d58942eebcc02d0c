//! From what PostgreSQL says to one line that says what to do.

use std::time::Duration;

use tokio_postgres::{Error, error::SqlState};

use crate::backend::Fault;

/// How long a transaction waits for another one's rows and for a server that is gone, unless it is
/// told otherwise.
pub(super) const WAIT: Duration = Duration::from_secs(30);

/// Why a statement failed, and what may be done about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) kind: Kind,
}

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it would fail again.
    Final,
    /// Another transaction was in the way; the same one again may end well.
    Conflict,
    /// The connection is gone, or could not be made; another one may work.
    Lost,
    /// The server has no room left; it may have some later, and the connection is as good as any.
    Full,
}

impl Failure {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let fault = match kind {
            Kind::Lost | Kind::Full => Fault::Unreachable(reason),
            _ => Fault::Unusable(reason),
        };
        Self { fault, kind }
    }
}

/// Of a statement over this table: damaged if a value was not understood.
pub(super) fn of_value(error: &Error, table: &'static str) -> Fault {
    Fault::damaged(table, told(error))
}

/// What PostgreSQL, or the way to it, has refused.
pub(super) fn of(error: &Error) -> Failure {
    let Some(code) = error.code() else {
        let kind = if error.is_closed() || is_io(error) { Kind::Lost } else { Kind::Final };
        let said = told(error);
        let reason = match kind {
            Kind::Lost => format!(
                "cannot be reached ({said}); nothing of this was kept, see that the server runs \
                 and the address is right, then run this again"
            ),
            _ => format!("cannot be used ({said}); check the address, its password and sslmode"),
        };
        return Failure::new(kind, reason);
    };
    let said = told(error);
    let is = |codes: &[SqlState]| codes.contains(code);
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        return Failure { fault: Fault::Busy(WAIT), kind: Kind::Final };
    }
    if is(&[SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED]) {
        return Failure::new(
            Kind::Conflict,
            "other processes kept changing the same rows; run this again",
        );
    }
    if code.code().starts_with("08")
        || is(&[
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::TOO_MANY_CONNECTIONS,
        ])
        || code.code() == "57P05"
    {
        return Failure::new(
            Kind::Lost,
            format!(
                "the server ended or refused the connection ({said}); nothing of this was kept, \
                 run it again once the server takes connections"
            ),
        );
    }
    if *code == SqlState::DISK_FULL {
        return Failure::new(
            Kind::Full,
            "the disk of the server is full; nothing was changed, free some space there and run \
             this again",
        );
    }
    let reason = match code {
        _ if is(&[SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]) => {
            format!(
                "the server does not let this user in ({said}); give the right user, and the \
                 password in the address or in PGPASSWORD"
            )
        }
        _ if *code == SqlState::INVALID_CATALOG_NAME => {
            format!("{said}; create it, or name another one")
        }
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            "the server takes no changes: it is a standby, or read-only; nothing was changed, give \
             the address of the primary"
                .into()
        }
        _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            format!(
                "{said}; nothing was changed, grant this user what it needs on the schema and its \
                 tables"
            )
        }
        _ if is(&[SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME]) => {
            format!("its tables are not there or not whole ({said}); restore them from a backup")
        }
        _ => format!("the server refused a statement ({} {said})", code.code()),
    };
    Failure::new(Kind::Final, reason)
}

fn is_io(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            // A handshake that fails does so again.
            return io.kind() != std::io::ErrorKind::InvalidData;
        }
        cause = inner.source();
    }
    error.to_string().starts_with("timeout")
}

/// An error with its causes, in one line.
fn told(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return one_line(error.message());
    }
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_said = inner.to_string();
        if !said.contains(&inner_said) {
            said = format!("{said}: {inner_said}");
        }
        cause = inner.source();
    }
    one_line(&said)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

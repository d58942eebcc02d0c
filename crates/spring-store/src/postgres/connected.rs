//! A transaction of a client: how a statement is sent, and how a row of its answer is read.
//!
//! Every statement is one message with its parameters, in binary, and leaves nothing on the server:
//! a prepared one would be another connection's behind a pooler, and fails after a migration.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use jiff::Timestamp;
use tokio_postgres::{
    Client, Row,
    types::{FromSql, ToSql, Type},
};

use super::failure::{self, Failure};
use crate::backend::{Fault, Outcome, SettingsRow, Summed};

/// Statements that are sent before an answer is waited for.
const AHEAD: usize = 64;

/// Values with their types, for a statement.
macro_rules! values {
    ($($value:expr => $type:ident),* $(,)?) => {
        &[$((
            &$value as &(dyn tokio_postgres::types::ToSql + Sync),
            tokio_postgres::types::Type::$type
        )),*]
    };
}

/// The same, kept until the statement has been answered.
macro_rules! owned {
    ($($value:expr => $type:ident),* $(,)?) => {
        vec![$((
            Box::new($value) as Box<dyn tokio_postgres::types::ToSql + Sync>,
            tokio_postgres::types::Type::$type
        )),*]
    };
}

pub(super) use {owned, values};

type Sent<'c> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + 'c>>;

/// Rows inside a transaction.
pub(super) struct Connected<'c> {
    client: &'c Client,
    /// The server's clock when the transaction began.
    pub(super) now: Timestamp,
    /// Whether it may write: then what it reads of a user is locked.
    pub(super) writes: bool,
    /// What was sent and not answered yet.
    sent: RefCell<VecDeque<Sent<'c>>>,
    /// The first failure. PostgreSQL has undone the transaction then, whatever its caller makes of
    /// it: a COMMIT would be told to have worked.
    failed: RefCell<Option<Failure>>,
    is_failed: Cell<bool>,
}

impl<'c> Connected<'c> {
    /// Of a transaction that writes, and began at this time.
    pub(super) fn new(client: &'c Client, now: Timestamp) -> Self {
        Self {
            client,
            now,
            writes: true,
            sent: RefCell::default(),
            failed: RefCell::default(),
            is_failed: Cell::new(false),
        }
    }

    /// Of one that only reads.
    pub(super) fn reading(client: &'c Client, now: Timestamp) -> Self {
        Self { writes: false, ..Self::new(client, now) }
    }

    /// Waits for what was sent; gives the first failure of all.
    pub(super) fn finish(&self) -> Option<Failure> {
        let _ = self.settle(0);
        self.failed.borrow_mut().take()
    }

    /// The first row of the settings.
    pub(super) fn make_settings(&self, settings: &SettingsRow) -> Result<(), Failure> {
        let SettingsRow { model, fingerprint, config, removals: _, sum } = settings;
        let add = "INSERT INTO settings (one, model, fingerprint, config, sum)
                   VALUES (1, $1, $2, $3, $4)";
        let values = values![model => TEXT, fingerprint => TEXT, config => TEXT, sum => INT8];
        let added = pollster::block_on(self.client.execute_typed(add, values));
        added.map(drop).map_err(|error| failure::of(&error))
    }

    /// Notes a failure; gives what the caller is told of it.
    pub(super) fn fail(&self, failure: Failure) -> Fault {
        let told = match &failure.fault {
            Fault::Busy(waited) => Fault::Busy(*waited),
            Fault::Unusable(reason) => Fault::Unusable(reason.clone()),
            Fault::Unreachable(reason) => Fault::Unreachable(reason.clone()),
            other => Fault::Unusable(format!("{other:?}")),
        };
        if !self.is_failed.replace(true) {
            *self.failed.borrow_mut() = Some(failure);
        }
        told
    }

    /// Waits for the oldest of what was sent until `left` are.
    fn settle(&self, left: usize) -> Outcome<()> {
        loop {
            let oldest = {
                let mut sent = self.sent.borrow_mut();
                match sent.len() > left {
                    true => sent.pop_front(),
                    false => None,
                }
            };
            let Some(oldest) = oldest else { return Ok(()) };
            pollster::block_on(oldest).map_err(|error| self.fail(failure::of(&error)))?;
        }
    }

    /// Sends a statement whose outcome shows later.
    pub(super) fn send(
        &self,
        statement: &'static str,
        values: Vec<(Box<dyn ToSql + Sync>, Type)>,
    ) -> Outcome<()> {
        let client = self.client;
        let mut sent: Sent<'c> = Box::pin(async move {
            let values: Vec<(&(dyn ToSql + Sync), Type)> =
                values.iter().map(|(value, of)| (&**value, of.clone())).collect();
            client.execute_typed(statement, &values).await
        });
        // The first look at it sends it.
        match sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(self.fail(failure::of(&error))),
            Poll::Pending => self.sent.borrow_mut().push_back(sent),
        }
        self.settle(AHEAD)
    }

    /// Changes rows; gives their number.
    pub(super) fn change(
        &self,
        statement: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
    ) -> Outcome<u64> {
        self.settle(0)?;
        let changed = pollster::block_on(self.client.execute_typed(statement, values));
        changed.map_err(|error| self.fail(failure::of(&error)))
    }

    /// All rows of a query; `table` is where damage would be.
    pub(super) fn all<T>(
        &self,
        table: &'static str,
        query: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
        read: impl Fn(&Line<'_>) -> Outcome<T>,
    ) -> Outcome<Vec<T>> {
        self.settle(0)?;
        let rows = pollster::block_on(self.client.query_typed(query, values));
        let rows = rows.map_err(|error| self.fail(failure::of(&error)))?;
        rows.iter().map(|row| read(&Line { row, table })).collect()
    }

    /// The one row of a query, if there is one.
    pub(super) fn one<T>(
        &self,
        table: &'static str,
        query: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
        read: impl Fn(&Line<'_>) -> Outcome<T>,
    ) -> Outcome<Option<T>> {
        Ok(self.all(table, query, values, read)?.pop())
    }
}

/// A row of a table.
pub(super) struct Line<'r> {
    row: &'r Row,
    table: &'static str,
}

impl Line<'_> {
    pub(super) fn get<'r, T: FromSql<'r>>(&'r self, column: usize) -> Outcome<T> {
        self.row
            .try_get(column)
            .map_err(|error| failure::of_value(&error, self.table).of_item(self.label()))
    }

    /// A number that is not negative, and not above what it may be.
    pub(super) fn number<T: TryFrom<i64>>(&self, column: usize) -> Outcome<T> {
        let number: i64 = self.get(column)?;
        T::try_from(number).map_err(|_| self.out_of_range(number))
    }

    pub(super) fn number_if<T: TryFrom<i64>>(&self, column: usize) -> Outcome<Option<T>> {
        let number: Option<i64> = self.get(column)?;
        let fit = |number| T::try_from(number).map_err(|_| self.out_of_range(number));
        number.map(fit).transpose()
    }

    /// What a user wrote.
    pub(super) fn text(&self, column: usize) -> Outcome<String> {
        let bytes: &[u8] = self.get(column)?;
        let text = str::from_utf8(bytes)
            .map_err(|error| Fault::damaged(self.table, error).of_item(self.label()))?;
        Ok(text.to_owned())
    }

    pub(super) fn summed<T: for<'r> FromSql<'r>>(&self) -> Outcome<Summed<T>> {
        Ok(Summed { value: self.get(0)?, sum: self.get(1)? })
    }

    fn out_of_range(&self, number: i64) -> Fault {
        Fault::damaged(self.table, format!("{number} is out of range")).of_item(self.label())
    }

    /// Which row one is, as far as its first value tells.
    fn label(&self) -> String {
        match (self.row.columns().first(), self.row.try_get::<_, i64>(0)) {
            (Some(column), Ok(number)) => format!("{} {number}", column.name()),
            _ => "a row".into(),
        }
    }
}

/// A number as PostgreSQL has them; those beyond are nowhere in the state.
pub(super) fn number_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

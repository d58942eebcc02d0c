//! The rows of a transaction.
//!
//! Every statement is one message with its parameters, in binary, and leaves nothing on the server:
//! a prepared one would be another connection's behind a pooler, and fails after a migration.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use spring_memory::UserId;
use tokio_postgres::{
    Client, Row,
    types::{FromSql, ToSql, Type},
};

use super::failure::{self, Failure, Kind};
use crate::backend::{
    ConsentRow, Extent, Fault, GenerationRow, Holder, InteractionRow, InteractionSums, KeyRow,
    LearnedRow, LeaseRow, MemberRow, MemoriesRow, MemoriesSize, Outcome, Rows, RowsMut,
    SettingsRow, Summed, Text, Texts, UserRow, Users, Visit, Wanted,
};

/// Texts that are read at a time. (A stream would stand in the way of what is asked meanwhile.)
const TEXTS: i64 = 256;

/// Records of generated texts that are read at a time: some have a trace of every token.
const ANSWERS: i64 = 32;

/// Statements that are sent before an answer is waited for.
const AHEAD: usize = 64;

/// The columns of an interaction with its place, from tables `i` and `m`.
macro_rules! interactions {
    ($rest:literal) => {
        concat!(
            "SELECT i.seq, i.id, i.seconds, i.nanoseconds, i.base, i.meta, i.prompt, i.response,
             m.period, m.held_out, i.sum, i.base_sum, m.sum ",
            $rest
        )
    };
}

/// Values with their types, for a statement.
macro_rules! values {
    ($($value:expr => $type:ident),* $(,)?) => {
        &[$((&$value as &(dyn ToSql + Sync), Type::$type)),*]
    };
}

/// The same, kept until the statement has been answered.
macro_rules! owned {
    ($($value:expr => $type:ident),* $(,)?) => {
        vec![$((Box::new($value) as Box<dyn ToSql + Sync>, Type::$type)),*]
    };
}

type Sent<'c> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + 'c>>;

/// Rows inside a transaction.
pub(super) struct Connected<'c> {
    client: &'c Client,
    /// Whether it may write: then what it reads of a user is locked.
    writes: bool,
    /// What was sent and not answered yet.
    sent: RefCell<VecDeque<Sent<'c>>>,
    /// The first failure. PostgreSQL has undone the transaction then, whatever its caller makes of
    /// it: a COMMIT would be told to have worked.
    failed: RefCell<Option<Failure>>,
    is_failed: Cell<bool>,
}

impl<'c> Connected<'c> {
    /// Of a transaction that writes.
    pub(super) fn new(client: &'c Client) -> Self {
        Self {
            client,
            writes: true,
            sent: RefCell::default(),
            failed: RefCell::default(),
            is_failed: Cell::new(false),
        }
    }

    /// Of one that only reads.
    pub(super) fn reading(client: &'c Client) -> Self {
        Self { writes: false, ..Self::new(client) }
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
    fn fail(&self, failure: Failure) -> Fault {
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
    fn send(
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
    fn change(&self, statement: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Outcome<u64> {
        self.settle(0)?;
        let changed = pollster::block_on(self.client.execute_typed(statement, values));
        changed.map_err(|error| self.fail(failure::of(&error)))
    }

    /// All rows of a query; `table` is where damage would be.
    fn all<T>(
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
    fn one<T>(
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
struct Line<'r> {
    row: &'r Row,
    table: &'static str,
}

impl Line<'_> {
    fn get<'r, T: FromSql<'r>>(&'r self, column: usize) -> Outcome<T> {
        self.row
            .try_get(column)
            .map_err(|error| failure::of_value(&error, self.table).of_item(self.label()))
    }

    /// A number that is not negative, and not above what it may be.
    fn number<T: TryFrom<i64>>(&self, column: usize) -> Outcome<T> {
        let number: i64 = self.get(column)?;
        T::try_from(number).map_err(|_| self.out_of_range(number))
    }

    fn number_if<T: TryFrom<i64>>(&self, column: usize) -> Outcome<Option<T>> {
        let number: Option<i64> = self.get(column)?;
        let fit = |number| T::try_from(number).map_err(|_| self.out_of_range(number));
        number.map(fit).transpose()
    }

    /// What a user wrote.
    fn text(&self, column: usize) -> Outcome<String> {
        let bytes: &[u8] = self.get(column)?;
        let text = str::from_utf8(bytes)
            .map_err(|error| Fault::damaged(self.table, error).of_item(self.label()))?;
        Ok(text.to_owned())
    }

    fn summed<T: for<'r> FromSql<'r>>(&self) -> Outcome<Summed<T>> {
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
fn number_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

fn interaction(line: &Line<'_>) -> Outcome<InteractionRow> {
    let period: Option<u32> = line.number_if(8)?;
    let held_out: Option<bool> = line.get(9)?;
    Ok(InteractionRow {
        seq: line.number(0)?,
        id: line.get(1)?,
        seconds: line.get(2)?,
        nanoseconds: line.get(3)?,
        base: line.get(4)?,
        meta: line.get(5)?,
        prompt: line.text(6)?,
        response: line.text(7)?,
        place: period.zip(held_out),
        sums: InteractionSums { text: line.get(10)?, base: line.get(11)?, place: line.get(12)? },
    })
}

fn key(line: &Line<'_>) -> Outcome<KeyRow> {
    Ok(KeyRow {
        id: line.get(0)?,
        hash: line.get(1)?,
        user: line.get(2)?,
        record: line.get(3)?,
        sum: line.get(4)?,
    })
}

fn user_name(line: &Line<'_>, column: usize) -> Outcome<UserId> {
    let name: String = line.get(column)?;
    UserId::new(name).map_err(|error| Fault::damaged("users", error))
}

impl Rows for Connected<'_> {
    fn settings(&self) -> Outcome<SettingsRow> {
        // Who writes relies on them until the end.
        let query = match self.writes {
            true => "SELECT model, fingerprint, config, removals, sum FROM settings FOR SHARE",
            false => "SELECT model, fingerprint, config, removals, sum FROM settings",
        };
        let settings = self.one("settings", query, &[], |line| {
            Ok(SettingsRow {
                model: line.get(0)?,
                fingerprint: line.get(1)?,
                config: line.get(2)?,
                removals: line.number(3)?,
                sum: line.get(4)?,
            })
        })?;
        settings.ok_or_else(|| Fault::damaged("settings", "it is empty"))
    }

    fn users(&self, which: Users, after: Option<&UserId>, limit: usize) -> Outcome<Vec<UserId>> {
        let query = match which {
            Users::All => "SELECT name FROM users WHERE name > $1 ORDER BY name LIMIT $2",
            Users::Due => {
                "SELECT name FROM users u WHERE name > $1 AND (pending > 0 OR EXISTS (
                     SELECT 1 FROM periods p WHERE p.user_key = u.key AND p.number NOT IN (
                         WITH RECURSIVE path (parent, period) AS (
                             SELECT parent, period FROM generations
                             WHERE user_key = u.key AND number = u.generation
                             UNION ALL
                             SELECT g.parent, g.period
                             FROM path JOIN generations g
                             ON g.user_key = u.key AND g.number = path.parent
                         ) SELECT period FROM path)))
                 ORDER BY name LIMIT $2"
            }
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // No name is empty: all come after "".
        let after = after.map_or("", UserId::as_str);
        let values = values![after => TEXT, limit => INT8];
        self.all("users", query, values, |line| user_name(line, 0))
    }

    fn waiting(&self, wanted: &Wanted<'_>, limit: usize) -> Outcome<Vec<UserId>> {
        macro_rules! waiting {
            ($rest:literal) => {
                concat!(
                    "SELECT u.name FROM users u LEFT JOIN leases l ON l.user_key = u.key
                     WHERE u.due_since IS NOT NULL AND u.name <> ALL ($4)
                     AND (l.user_key IS NULL OR l.expires <= $1 OR l.expires > $2
                         OR ($3 <> '' AND l.place = $3))
                     ORDER BY u.due_since, u.pending DESC LIMIT $5",
                    $rest
                )
            };
        }
        // Two workers who ask at the same time get different users, at once.
        let query = match self.writes {
            true => waiting!(" FOR NO KEY UPDATE OF u SKIP LOCKED"),
            false => waiting!(""),
        };
        let except: Vec<&str> = wanted.except.iter().map(UserId::as_str).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = values![
            wanted.now => INT8, wanted.latest => INT8, wanted.place => TEXT,
            except => TEXT_ARRAY, limit => INT8
        ];
        self.all("users", query, values, |line| user_name(line, 0))
    }

    fn user(&self, name: &UserId) -> Outcome<Option<UserRow>> {
        // Who writes has the user alone until the end. (Not FOR UPDATE: rows that hang on the user
        // may be added meanwhile, as those who add them have the lock.)
        let query = match self.writes {
            true => {
                "SELECT key, name, next_seq, generation, pending, removals, sum FROM users
                 WHERE name = $1 FOR NO KEY UPDATE"
            }
            false => {
                "SELECT key, name, next_seq, generation, pending, removals, sum FROM users
                 WHERE name = $1"
            }
        };
        self.one("users", query, values![name.as_str() => TEXT], |line| {
            Ok(UserRow {
                key: line.get(0)?,
                name: user_name(line, 1)?,
                next_seq: line.number(2)?,
                generation: line.number(3)?,
                pending: line.number(4)?,
                removals: line.number(5)?,
                sum: line.get(6)?,
            })
        })
    }

    fn extent(&self, user: i64) -> Outcome<Extent> {
        let query = "SELECT (SELECT count(*) FROM interactions WHERE user_key = $1),
                            (SELECT count(*) FROM periods WHERE user_key = $1),
                            first.seconds, first.nanoseconds, last.seconds, last.nanoseconds
                     FROM (SELECT 1) one
                     LEFT JOIN (SELECT seconds, nanoseconds FROM interactions WHERE user_key = $1
                         ORDER BY seconds, nanoseconds LIMIT 1) first ON true
                     LEFT JOIN (SELECT seconds, nanoseconds FROM interactions WHERE user_key = $1
                         ORDER BY seconds DESC, nanoseconds DESC LIMIT 1) last ON true";
        let extent = self.one("interactions", query, values![user => INT8], |line| {
            let time = |at| -> Outcome<Option<(i64, i32)>> {
                let seconds: Option<i64> = line.get(at)?;
                Ok(seconds.zip(line.get(at + 1)?))
            };
            Ok(Extent {
                interactions: line.number(0)?,
                periods: line.number(1)?,
                first: time(2)?,
                last: time(4)?,
            })
        })?;
        Ok(extent.unwrap_or_default())
    }

    fn interactions(
        &self,
        user: i64,
        which: Texts,
        visit: Visit<'_, InteractionRow>,
    ) -> Outcome<()> {
        let query = match which {
            Texts::BySeq => interactions!(
                "FROM interactions i LEFT JOIN members m
                 ON m.user_key = i.user_key AND m.seq = i.seq
                 WHERE i.user_key = $1 AND i.seq > $4 ORDER BY i.seq LIMIT $5"
            ),
            Texts::ByTime => interactions!(
                "FROM interactions i LEFT JOIN members m
                 ON m.user_key = i.user_key AND m.seq = i.seq
                 WHERE i.user_key = $1 AND (i.seconds, i.nanoseconds, i.seq) > ($2, $3, $4)
                 ORDER BY i.seconds, i.nanoseconds, i.seq LIMIT $5"
            ),
            Texts::Pending => interactions!(
                "FROM interactions i LEFT JOIN members m
                 ON m.user_key = i.user_key AND m.seq = i.seq
                 WHERE i.user_key = $1 AND (i.seconds, i.nanoseconds, i.seq) > ($2, $3, $4)
                 AND m.seq IS NULL
                 ORDER BY i.seconds, i.nanoseconds, i.seq LIMIT $5"
            ),
            Texts::Period(_) => interactions!(
                "FROM members m JOIN interactions i
                 ON i.user_key = m.user_key AND i.seq = m.seq
                 WHERE m.user_key = $1 AND (i.seconds, i.nanoseconds, i.seq) > ($2, $3, $4)
                 AND m.period = $6
                 ORDER BY i.seconds, i.nanoseconds, i.seq LIMIT $5"
            ),
        };
        let period = match which {
            Texts::Period(number) => i64::from(number),
            _ => 0,
        };
        // Texts come in pages: after this one.
        let mut after = (i64::MIN, i32::MIN, i64::MIN);
        loop {
            let (seconds, nanoseconds, seq) = after;
            let values = values![
                user => INT8, seconds => INT8, nanoseconds => INT4, seq => INT8, TEXTS => INT8,
                period => INT8
            ];
            let values = match which {
                Texts::Period(_) => values.as_slice(),
                _ => &values[..5],
            };
            let page = self.all("interactions", query, values, interaction)?;
            let is_last = (page.len() as i64) < TEXTS;
            if let Some(row) = page.last() {
                after = (row.seconds, row.nanoseconds, number_of(row.seq));
            }
            page.into_iter().try_for_each(&mut *visit)?;
            if is_last {
                return Ok(());
            }
        }
    }

    fn interaction(&self, user: i64, which: Text<'_>) -> Outcome<Option<InteractionRow>> {
        match which {
            Text::Seq(seq) => {
                let query = interactions!(
                    "FROM interactions i LEFT JOIN members m
                     ON m.user_key = i.user_key AND m.seq = i.seq
                     WHERE i.user_key = $1 AND i.seq = $2"
                );
                let values = values![user => INT8, number_of(seq) => INT8];
                self.one("interactions", query, values, interaction)
            }
            Text::Id(id) => {
                let query = interactions!(
                    "FROM interactions i LEFT JOIN members m
                     ON m.user_key = i.user_key AND m.seq = i.seq
                     WHERE i.user_key = $1 AND i.id = $2"
                );
                self.one("interactions", query, values![user => INT8, id => TEXT], interaction)
            }
        }
    }

    fn periods(&self, user: i64) -> Outcome<Vec<u32>> {
        let query = "SELECT number FROM periods WHERE user_key = $1 ORDER BY number";
        self.all("periods", query, values![user => INT8], |line| line.number(0))
    }

    fn generations(&self, user: i64) -> Outcome<Vec<GenerationRow>> {
        let query = "SELECT g.number, g.parent, g.period, octet_length(g.record)::bigint,
                     m.buffered, octet_length(m.adapter)::bigint,
                     (octet_length(m.buffer) + octet_length(m.calibration))::bigint, g.sum
                     FROM generations g LEFT JOIN memories m
                     ON m.user_key = g.user_key AND m.generation = g.number
                     WHERE g.user_key = $1 ORDER BY g.number";
        self.all("generations", query, values![user => INT8], |line| {
            let sizes = (line.number_if(4)?, line.number_if(5)?, line.number_if(6)?);
            let memories = match sizes {
                (Some(buffered), Some(adapter), Some(buffer)) => {
                    Some(MemoriesSize { buffered, adapter, buffer })
                }
                _ => None,
            };
            Ok(GenerationRow {
                number: line.number(0)?,
                parent: line.number(1)?,
                period: line.number(2)?,
                record: line.number(3)?,
                memories,
                sum: line.get(7)?,
            })
        })
    }

    fn record(&self, user: i64, generation: u32) -> Outcome<Option<Summed<String>>> {
        let query =
            "SELECT record, record_sum FROM generations WHERE user_key = $1 AND number = $2";
        let values = values![user => INT8, i64::from(generation) => INT8];
        self.one("generations", query, values, |line| line.summed())
    }

    fn memories(&self, user: i64, generation: u32) -> Outcome<Option<MemoriesRow>> {
        let query = "SELECT buffered, buffer, calibration, adapter, sum FROM memories
                     WHERE user_key = $1 AND generation = $2";
        let values = values![user => INT8, i64::from(generation) => INT8];
        self.one("memories", query, values, |line| {
            Ok(MemoriesRow {
                buffered: line.number(0)?,
                buffer: line.get(1)?,
                calibration: line.get(2)?,
                adapter: line.get(3)?,
                sum: line.get(4)?,
            })
        })
    }

    fn answers(
        &self,
        user: i64,
        newest_first: bool,
        visit: &mut dyn FnMut(i64, Summed<String>) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<()> {
        let (query, mut after) = match newest_first {
            true => (
                "SELECT record, sum, key FROM answers WHERE user_key = $1 AND key < $2
                 ORDER BY key DESC LIMIT $3",
                i64::MAX,
            ),
            false => (
                "SELECT record, sum, key FROM answers WHERE user_key = $1 AND key > $2
                 ORDER BY key LIMIT $3",
                i64::MIN,
            ),
        };
        loop {
            let values = values![user => INT8, after => INT8, ANSWERS => INT8];
            let page = self
                .all("answers", query, values, |line| Ok((line.get::<i64>(2)?, line.summed()?)))?;
            let is_last = (page.len() as i64) < ANSWERS;
            for (key, record) in page {
                after = key;
                if visit(key, record)?.is_break() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn embedding(&self, user: i64, seq: u64, base: &str) -> Outcome<Option<Summed<Vec<u8>>>> {
        let query = "SELECT vector, sum FROM embeddings
                     WHERE user_key = $1 AND seq = $2 AND base = $3";
        let values = values![user => INT8, number_of(seq) => INT8, base => TEXT];
        self.one("embeddings", query, values, |line| line.summed())
    }

    fn lease(&self, user: i64) -> Outcome<Option<LeaseRow>> {
        let query = "SELECT token, holder, place, process, started, expires, sum FROM leases
                     WHERE user_key = $1";
        self.one("leases", query, values![user => INT8], |line| {
            let holder = Holder {
                name: line.get(1)?,
                place: line.get(2)?,
                process: line.number(3)?,
                started: line.get(4)?,
            };
            Ok(LeaseRow { token: line.get(0)?, holder, expires: line.get(5)?, sum: line.get(6)? })
        })
    }

    fn graph(&self, user: i64) -> Outcome<Option<Summed<String>>> {
        let query = "SELECT stamp, sum FROM graphs WHERE user_key = $1";
        self.one("graphs", query, values![user => INT8], |line| line.summed())
    }

    fn consent(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        let query = "SELECT keep, since, sum FROM consents WHERE user_key = $1";
        self.one("consents", query, values![user => INT8], |line| {
            Ok(ConsentRow { keep: line.get(0)?, since: line.get(1)?, sum: line.get(2)? })
        })
    }

    fn keys(&self) -> Outcome<Vec<KeyRow>> {
        let query = "SELECT id, hash, user_key, record, sum FROM keys ORDER BY id";
        self.all("keys", query, &[], key)
    }

    fn key(&self, hash: &[u8]) -> Outcome<Option<KeyRow>> {
        let query = "SELECT id, hash, user_key, record, sum FROM keys WHERE hash = $1";
        self.one("keys", query, values![hash => BYTEA], key)
    }
}

impl RowsMut for Connected<'_> {
    fn put_settings(&mut self, row: &SettingsRow) -> Outcome<()> {
        let put = "UPDATE settings
                   SET model = $1, fingerprint = $2, config = $3, removals = $4, sum = $5";
        let SettingsRow { model, fingerprint, config, removals, sum } = row;
        let removals = number_of(*removals);
        let values = values![
            model => TEXT, fingerprint => TEXT, config => TEXT, removals => INT8, sum => INT8
        ];
        match self.change(put, values)? {
            1 => Ok(()),
            _ => Err(Fault::damaged("settings", "it is empty")),
        }
    }

    fn forget_bases(&mut self) -> Outcome<()> {
        // Whoever relies on the settings is waited for first; their log-likelihoods are seen by
        // the next statement.
        self.change("SELECT 1 FROM settings FOR UPDATE", &[])?;
        let forget = "UPDATE interactions SET base = NULL, base_sum = NULL WHERE base IS NOT NULL";
        self.change(forget, &[])?;
        Ok(())
    }

    fn add_user(&mut self, name: &UserId, removals: u64) -> Outcome<UserRow> {
        let add = "INSERT INTO users (name, removals, sum) VALUES ($1, $2, 0)
                   ON CONFLICT (name) DO NOTHING RETURNING key";
        let values = values![name.as_str() => TEXT, number_of(removals) => INT8];
        match self.one("users", add, values, |line| line.get::<i64>(0))? {
            Some(key) => {
                let name = name.clone();
                Ok(UserRow { key, name, next_seq: 1, generation: 0, pending: 0, removals, sum: 0 })
            }
            // Somebody else may have added the user since it was looked for.
            None => Err(self.fail(Failure::new(
                Kind::Conflict,
                format!("there is a user {name} already; run this again"),
            ))),
        }
    }

    fn put_user(&mut self, user: &UserRow) -> Outcome<()> {
        let put = "UPDATE users u
                   SET next_seq = $2, generation = $3, pending = $4, removals = $5, sum = $6,
                   due_since = CASE WHEN $4 > 0 OR EXISTS (
                       SELECT 1 FROM periods p WHERE p.user_key = $1 AND p.number NOT IN (
                           WITH RECURSIVE path (parent, period) AS (
                               SELECT parent, period FROM generations
                               WHERE user_key = $1 AND number = $3
                               UNION ALL
                               SELECT g.parent, g.period FROM path JOIN generations g
                               ON g.user_key = $1 AND g.number = path.parent
                           ) SELECT period FROM path)
                   ) THEN coalesce(u.due_since, now()) END
                   WHERE key = $1";
        let values = owned![
            user.key => INT8, number_of(user.next_seq) => INT8,
            i64::from(user.generation) => INT8, number_of(user.pending) => INT8,
            number_of(user.removals) => INT8, user.sum => INT8
        ];
        self.send(put, values)
    }

    fn delete_user(&mut self, user: i64) -> Outcome<()> {
        self.send("DELETE FROM users WHERE key = $1", owned![user => INT8])
    }

    fn put_interaction(&mut self, user: i64, row: &InteractionRow) -> Outcome<()> {
        let put = "INSERT INTO interactions
                   (user_key, seq, id, seconds, nanoseconds, meta, prompt, response, sum, base,
                    base_sum) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let values = owned![
            user => INT8, number_of(row.seq) => INT8, row.id.clone() => TEXT,
            row.seconds => INT8, row.nanoseconds => INT4, row.meta.clone() => TEXT,
            row.prompt.clone().into_bytes() => BYTEA, row.response.clone().into_bytes() => BYTEA,
            row.sums.text => INT8, row.base => FLOAT8, row.sums.base => INT8
        ];
        self.send(put, values)
    }

    fn set_base(&mut self, user: i64, seq: u64, base: Summed<f64>) -> Outcome<bool> {
        let set = "UPDATE interactions SET base = $3, base_sum = $4
                   WHERE user_key = $1 AND seq = $2";
        let values = values![
            user => INT8, number_of(seq) => INT8, base.value => FLOAT8, base.sum => INT8
        ];
        Ok(self.change(set, values)? > 0)
    }

    fn delete_interaction(&mut self, user: i64, seq: u64) -> Outcome<()> {
        let delete = "DELETE FROM interactions WHERE user_key = $1 AND seq = $2";
        self.send(delete, owned![user => INT8, number_of(seq) => INT8])
    }

    fn put_period(&mut self, user: i64, number: u32, members: &[MemberRow]) -> Outcome<()> {
        let number = i64::from(number);
        let put = "INSERT INTO periods (user_key, number) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        self.send(put, owned![user => INT8, number => INT8])?;
        let put = "INSERT INTO members (user_key, seq, period, held_out, sum)
                   SELECT $1, seq, $2, held_out, sum
                   FROM unnest($3, $4, $5) AS member (seq, held_out, sum)";
        // Many in one statement, and not all: its size is bounded.
        for some in members.chunks(1000) {
            let seqs: Vec<i64> = some.iter().map(|member| number_of(member.seq)).collect();
            let held_out: Vec<bool> = some.iter().map(|member| member.held_out).collect();
            let sums: Vec<i64> = some.iter().map(|member| member.sum).collect();
            let values = owned![
                user => INT8, number => INT8, seqs => INT8_ARRAY, held_out => BOOL_ARRAY,
                sums => INT8_ARRAY
            ];
            self.send(put, values)?;
        }
        Ok(())
    }

    fn put_generation(&mut self, user: i64, row: &LearnedRow) -> Outcome<()> {
        let put =
            "INSERT INTO generations (user_key, number, parent, period, sum, record, record_sum)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (user_key, number) DO UPDATE
             SET record = excluded.record, record_sum = excluded.record_sum";
        let LearnedRow { number, parent, period, sum, record } = row.clone();
        let values = owned![
            user => INT8, i64::from(number) => INT8, i64::from(parent) => INT8,
            i64::from(period) => INT8, sum => INT8, record.value => TEXT, record.sum => INT8
        ];
        self.send(put, values)
    }

    fn put_memories(
        &mut self,
        user: i64,
        generation: u32,
        row: Option<&MemoriesRow>,
    ) -> Outcome<()> {
        let generation = i64::from(generation);
        let delete = "DELETE FROM memories WHERE user_key = $1 AND generation = $2";
        self.send(delete, owned![user => INT8, generation => INT8])?;
        let Some(row) = row.cloned() else { return Ok(()) };
        let put = "INSERT INTO memories
                   (user_key, generation, buffered, buffer, calibration, adapter, sum)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let values = owned![
            user => INT8, generation => INT8, number_of(row.buffered) => INT8,
            row.buffer => TEXT, row.calibration => TEXT, row.adapter => BYTEA, row.sum => INT8
        ];
        self.send(put, values)
    }

    fn put_answer(&mut self, user: i64, record: Summed<&str>) -> Outcome<()> {
        let put = "INSERT INTO answers (user_key, key, record, sum)
                   SELECT $1, coalesce(max(key), 0) + 1, $2, $3 FROM answers WHERE user_key = $1";
        let values = owned![user => INT8, record.value.to_owned() => TEXT, record.sum => INT8];
        self.send(put, values)
    }

    fn delete_answer(&mut self, user: i64, key: i64) -> Outcome<()> {
        let delete = "DELETE FROM answers WHERE user_key = $1 AND key = $2";
        self.send(delete, owned![user => INT8, key => INT8])
    }

    fn put_embedding(
        &mut self,
        user: i64,
        seq: u64,
        base: &str,
        vector: Summed<&[u8]>,
    ) -> Outcome<()> {
        let put = "INSERT INTO embeddings (user_key, seq, base, vector, sum)
                   VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (user_key, seq, base) DO UPDATE
                   SET vector = excluded.vector, sum = excluded.sum";
        let values = owned![
            user => INT8, number_of(seq) => INT8, base.to_owned() => TEXT,
            vector.value.to_owned() => BYTEA, vector.sum => INT8
        ];
        self.send(put, values)
    }

    fn swap_lease(&mut self, user: i64, expected: Option<i64>, lease: &LeaseRow) -> Outcome<bool> {
        let LeaseRow { token, holder, expires, sum } = lease;
        let Holder { name, place, process, started } = holder;
        let process = i64::from(*process);
        let changed = match expected {
            None => {
                let add = "INSERT INTO leases
                           (user_key, token, holder, place, process, started, expires, sum)
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                           ON CONFLICT (user_key) DO NOTHING";
                let values = values![
                    user => INT8, token => INT8, name => TEXT, place => TEXT, process => INT8,
                    started => INT8, expires => INT8, sum => INT8
                ];
                self.change(add, values)?
            }
            Some(expected) => {
                let swap = "UPDATE leases SET token = $3, holder = $4, place = $5, process = $6,
                            started = $7, expires = $8, sum = $9
                            WHERE user_key = $1 AND token = $2";
                let values = values![
                    user => INT8, expected => INT8, token => INT8, name => TEXT, place => TEXT,
                    process => INT8, started => INT8, expires => INT8, sum => INT8
                ];
                self.change(swap, values)?
            }
        };
        Ok(changed > 0)
    }

    fn put_graph(&mut self, user: i64, stamp: Option<Summed<&str>>) -> Outcome<()> {
        match stamp {
            Some(Summed { value, sum }) => {
                let put = "INSERT INTO graphs (user_key, stamp, sum) VALUES ($1, $2, $3)
                           ON CONFLICT (user_key) DO UPDATE
                           SET stamp = excluded.stamp, sum = excluded.sum";
                self.send(put, owned![user => INT8, value.to_owned() => TEXT, sum => INT8])
            }
            None => self.send("DELETE FROM graphs WHERE user_key = $1", owned![user => INT8]),
        }
    }

    fn put_consent(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        let put = "INSERT INTO consents (user_key, keep, since, sum) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (user_key) DO UPDATE
                   SET keep = excluded.keep, since = excluded.since, sum = excluded.sum";
        self.send(put, owned![user => INT8, row.keep => BOOL, row.since => INT8, row.sum => INT8])
    }

    fn put_key(&mut self, row: &KeyRow) -> Outcome<()> {
        let put = "INSERT INTO keys (id, hash, user_key, record, sum) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (id) DO UPDATE SET record = excluded.record, sum = excluded.sum";
        let KeyRow { id, hash, user, record, sum } = row.clone();
        let values = owned![id => TEXT, hash => BYTEA, user => INT8, record => TEXT, sum => INT8];
        self.send(put, values)
    }
}

//! The state in one SQLite file.

mod fault;
mod file;
#[cfg(test)]
mod tests;
mod value;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Params, Row, TransactionBehavior};
use spring_memory::{Interaction, InteractionId, JsonlError, UserId};

pub use self::file::Access;
use self::{
    fault::{Fault, Outcome},
    value::{Checked, Json, stored, time, to_json},
};
use super::{
    Generation, IngestReport, Member, PeriodCommit, Settings, StateStore, StoredInteraction, UserSummary,
};
use crate::{
    Config, Error, Result, period_ranges,
    record::{AnswerRecord, LearnedPeriod},
};

/// The users' state in one SQLite file, safe against crashes and against other processes that use it meanwhile.
///
/// Readers see the state as of their call and wait for nobody; a writer waits up to ten seconds for another one. While
/// the file is open, `-wal` and `-shm` files lie beside it and belong to it. What is deleted is overwritten with zeros.
/// Numbers come back to the last bit, but for the sign of a zero.
///
/// ```
/// use spring_core::{Config, Settings, SqliteStore, StateStore};
/// let settings = Settings { model: "base".into(), fingerprint: "f".into(), config: Config::default() };
/// let store = SqliteStore::in_memory(&settings)?;
/// assert!(store.users(None, 10)?.is_empty());
/// # Ok::<(), spring_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    settings: Settings,
}

impl SqliteStore {
    /// Makes a new file, which only its owner may read.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the path is taken or cannot be written; nothing is left behind then.
    pub fn create(path: impl AsRef<Path>, settings: &Settings) -> Result<Self> {
        let path = path.as_ref();
        let connection = file::create(path, settings).map_err(|fault| fault.at(path))?;
        Ok(Self { connection, path: path.into(), settings: settings.clone() })
    }

    /// Opens an existing file.
    ///
    /// [`Access::ReadOnly`] needs no permission to write the file or its folder. Without any, a file with no `-wal` beside
    /// it is read as one that does not change: let nobody with that permission write it at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if it is not there, not a state, of a newer version, damaged, or may not be written and should be.
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self> {
        let path = path.as_ref();
        let (connection, settings) = file::open(path, access).map_err(|fault| fault.at(path))?;
        Ok(Self { connection, path: path.into(), settings })
    }

    /// Makes a store that lasts as long as the value.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the settings cannot be stored.
    pub fn in_memory(settings: &Settings) -> Result<Self> {
        let path = PathBuf::from(":memory:");
        let connection = file::in_memory(settings).map_err(|fault| fault.at(&path))?;
        Ok(Self { connection, path, settings: settings.clone() })
    }

    /// The file; `:memory:` for a store without one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the method's settings, for this and every later use of the state.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the file cannot be written or the configuration not be stored.
    pub fn set_config(&mut self, config: &Config) -> Result<()> {
        let cut_elsewhere = config.training.max_tokens != self.settings.config.training.max_tokens;
        self.write(|connection| {
            let config = to_json("the configuration", config)?;
            connection.execute("UPDATE settings SET config = ?1", [config])?;
            if cut_elsewhere {
                // They are means over texts that were cut at the old length.
                connection.execute("UPDATE interactions SET base = NULL WHERE base IS NOT NULL", ())?;
            }
            Ok(())
        })?;
        self.settings.config = config.clone();
        Ok(())
    }

    /// Runs `work` on one state of the file.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        let run = || {
            let transaction = self.connection.unchecked_transaction()?;
            work(&transaction)
        };
        run().map_err(|fault: Fault| fault.at(&self.path))
    }

    /// Runs `work` alone among all writers; what it did is undone unless it ends well.
    fn write<T>(&mut self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        let run = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|fault: Fault| fault.at(&self.path))
    }
}

/// The generations from the current one to the first: user `?1`, current generation `?2`.
macro_rules! along_path {
    ($query:literal) => {
        concat!(
            "WITH RECURSIVE path (number, parent, period) AS (
                 SELECT number, parent, period FROM generations WHERE user = ?1 AND number = ?2
                 UNION ALL
                 SELECT g.number, g.parent, g.period
                 FROM path JOIN generations g ON g.user = ?1 AND g.number = path.parent
             ) ",
            $query
        )
    };
}

/// The columns of the interactions in no period, in order: user `?1`.
macro_rules! pending {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM interactions i WHERE user = ?1
              AND NOT EXISTS (SELECT 1 FROM members m WHERE m.user = i.user AND m.seq = i.seq)
              ORDER BY seconds, nanoseconds, seq"
        )
    };
}

/// A user's row, and the queries about that user.
struct User<'a> {
    connection: &'a Connection,
    name: &'a UserId,
    key: i64,
    generation: u32,
}

impl<'a> User<'a> {
    fn find(connection: &'a Connection, name: &'a UserId) -> Outcome<Option<Self>> {
        let mut statement = connection.prepare_cached("SELECT key, generation FROM users WHERE name = ?1")?;
        let read = |row: &Row<'_>| {
            Ok(Self { connection, name, key: row.get("key")?, generation: row.get("generation")? })
        };
        let found = statement.query_row([name.as_str()], read).optional();
        found.map_err(|error| Fault::of_query(error, "users", Some(name)))
    }

    fn get(connection: &'a Connection, name: &'a UserId) -> Outcome<Self> {
        Self::find(connection, name)?.ok_or_else(|| Fault::UnknownUser(name.to_string()))
    }

    fn add(connection: &'a Connection, name: &'a UserId) -> Outcome<Self> {
        connection.prepare_cached("INSERT INTO users (name) VALUES (?1)")?.execute([name.as_str()])?;
        Ok(Self { connection, name, key: connection.last_insert_rowid(), generation: 0 })
    }

    /// All rows of a query; `table` is where damage would be.
    fn rows<T>(
        &self,
        table: &str,
        query: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Vec<T>> {
        let rows = || {
            self.connection.prepare_cached(query)?.query_map(params, read)?.collect::<rusqlite::Result<_>>()
        };
        rows().map_err(|error| Fault::of_query(error, table, Some(self.name)))
    }

    /// The one row of a query, if there is one.
    fn row<T>(
        &self,
        table: &str,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Option<T>> {
        let row = || self.connection.prepare_cached(query)?.query_row(params, read).optional();
        row().map_err(|error| Fault::of_query(error, table, Some(self.name)))
    }

    fn execute(&self, statement: &str, params: impl Params) -> Outcome<usize> {
        Ok(self.connection.prepare_cached(statement)?.execute(params)?)
    }

    fn unknown(&self, what: &'static str, number: u32) -> Fault {
        Fault::Other(Error::UnknownRecord { user: self.name.clone(), what, number })
    }

    fn no_interaction(&self, seq: u64) -> Fault {
        Fault::State(format!("user {} has no interaction number {seq}", self.name))
    }

    fn stored(&self, row: &Row<'_>) -> rusqlite::Result<StoredInteraction> {
        stored(row, self.name)
    }

    fn summary(&self) -> Outcome<UserSummary> {
        let count = |table, query| {
            let count = self.row(table, query, [self.key], |row| row.get::<_, u64>(0))?;
            Ok::<_, Fault>(count.unwrap_or_default())
        };
        let end = |query| self.row("interactions", query, [self.key], time);
        let interactions = count("interactions", "SELECT count(*) FROM interactions WHERE user = ?1")?;
        let placed = count("members", "SELECT count(*) FROM members WHERE user = ?1")?;
        let periods = count("periods", "SELECT count(*) FROM periods WHERE user = ?1")?;
        let buffer = self.row(
            "memories",
            "SELECT buffered FROM memories WHERE user = ?1 AND generation = ?2",
            (self.key, self.generation),
            |row| row.get(0),
        )?;
        Ok(UserSummary {
            user: self.name.clone(),
            interactions,
            pending: interactions.saturating_sub(placed),
            first: end("SELECT seconds, nanoseconds FROM interactions WHERE user = ?1
                 ORDER BY seconds, nanoseconds LIMIT 1")?,
            last: end("SELECT seconds, nanoseconds FROM interactions WHERE user = ?1
                 ORDER BY seconds DESC, nanoseconds DESC LIMIT 1")?,
            periods: u32::try_from(periods).unwrap_or(u32::MAX),
            generation: self.generation,
            buffer: buffer.unwrap_or_default(),
        })
    }

    /// Refuses a period that is not there.
    fn check_period(&self, number: u32) -> Outcome<()> {
        let found = self.row(
            "periods",
            "SELECT 1 FROM periods WHERE user = ?1 AND number = ?2",
            (self.key, number),
            |_| Ok(()),
        )?;
        found.ok_or_else(|| self.unknown("period", number))
    }

    fn by_id(&self, id: &InteractionId) -> Outcome<Option<StoredInteraction>> {
        self.row(
            "interactions",
            "SELECT * FROM interactions WHERE user = ?1 AND id = ?2",
            (self.key, id.as_str()),
            |row| self.stored(row),
        )
    }

    fn insert(&self, interaction: &Interaction) -> Outcome<()> {
        let meta = interaction.meta.as_ref();
        let what = || format!("`meta` of interaction {} of user {}", interaction.id, self.name);
        let meta = meta.map(|meta| to_json(&what(), meta)).transpose()?;
        let seq = self.row(
            "users",
            "UPDATE users SET next_seq = next_seq + 1 WHERE key = ?1 RETURNING next_seq - 1",
            [self.key],
            |row| row.get::<_, i64>(0),
        )?;
        self.execute(
            "INSERT INTO interactions (user, seq, id, seconds, nanoseconds, meta, prompt, response)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                self.key,
                seq,
                interaction.id.as_str(),
                interaction.time.as_second(),
                interaction.time.subsec_nanosecond(),
                meta,
                &interaction.prompt,
                &interaction.response,
            ),
        )?;
        Ok(())
    }
}

impl StateStore for SqliteStore {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn ingest(
        &mut self,
        file: &str,
        interactions: &mut dyn Iterator<Item = Result<(u64, Interaction), JsonlError>>,
    ) -> Result<IngestReport> {
        self.write(|connection| {
            let mut report = IngestReport::default();
            for item in interactions {
                let (line, interaction) = item?;
                let user = match User::find(connection, &interaction.user)? {
                    Some(user) => user,
                    None => {
                        report.new_users += 1;
                        User::add(connection, &interaction.user)?
                    }
                };
                match user.by_id(&interaction.id)? {
                    None => {
                        user.insert(&interaction)?;
                        report.added += 1;
                    }
                    Some(known) if known.interaction == interaction => report.skipped += 1,
                    Some(_) => {
                        let Interaction { user, id, .. } = interaction;
                        return Err(Error::DuplicateId { file: file.into(), line, user, id }.into());
                    }
                }
            }
            Ok(report)
        })
    }

    fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserSummary>> {
        self.read(|connection| {
            let names = || {
                // No name is empty: all come after "".
                connection
                    .prepare_cached("SELECT name FROM users WHERE name > ?1 ORDER BY name LIMIT ?2")?
                    .query_map((after.map_or("", UserId::as_str), at_most(limit)), |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            };
            let names = names().map_err(|error| Fault::of_query(error, "users", None))?;
            names.iter().map(|Checked(name)| User::get(connection, name)?.summary()).collect()
        })
    }

    fn user(&self, user: &UserId) -> Result<UserSummary> {
        self.read(|connection| User::get(connection, user)?.summary())
    }

    fn pending(&self, user: &UserId) -> Result<Vec<StoredInteraction>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows("interactions", pending!("*"), [user.key], |row| user.stored(row))
        })
    }

    fn cut_periods(&mut self, user: &UserId, periods: u32, hold_out: f64) -> Result<Vec<u32>> {
        if !(0.0..1.0).contains(&hold_out) {
            let reason =
                format!("{hold_out} is not a part that can be held out; give a number from 0 to below 1");
            return Err(Error::Config { origin: "hold-out".into(), reason });
        }
        self.write(|connection| {
            let user = User::get(connection, user)?;
            let pending =
                user.rows("interactions", pending!("seq"), [user.key], |row| row.get::<_, i64>("seq"))?;
            let last = user.row(
                "periods",
                "SELECT coalesce(max(number), 0) FROM periods WHERE user = ?1",
                [user.key],
                |row| row.get::<_, u32>(0),
            )?;
            let ranges = period_ranges(pending.len(), periods, hold_out);
            let numbers: Vec<u32> = (last.unwrap_or_default() + 1..).take(ranges.len()).collect();
            for (number, (learned, held_out)) in numbers.iter().zip(ranges) {
                user.execute("INSERT INTO periods (user, number) VALUES (?1, ?2)", (user.key, number))?;
                for (part, is_held_out) in [(learned, false), (held_out, true)] {
                    for seq in &pending[part] {
                        user.execute(
                            "INSERT INTO members (user, seq, period, held_out) VALUES (?1, ?2, ?3, ?4)",
                            (user.key, seq, number, is_held_out),
                        )?;
                    }
                }
            }
            Ok(numbers)
        })
    }

    fn unlearned_periods(&self, user: &UserId) -> Result<Vec<u32>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows(
                "periods",
                along_path!(
                    "SELECT number FROM periods WHERE user = ?1 AND number NOT IN (SELECT period FROM path)
                     ORDER BY number"
                ),
                (user.key, user.generation),
                |row| row.get("number"),
            )
        })
    }

    fn members(&self, user: &UserId, period: u32) -> Result<Vec<Member>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.check_period(period)?;
            user.rows(
                "interactions",
                // CROSS: from the period's few members to the texts, not through all texts of the user.
                "SELECT i.*, m.held_out FROM members m CROSS JOIN interactions i USING (user, seq)
                 WHERE m.user = ?1 AND m.period = ?2 ORDER BY seconds, nanoseconds, seq",
                (user.key, period),
                |row| Ok(Member { stored: user.stored(row)?, held_out: row.get("held_out")? }),
            )
        })
    }

    fn interactions(&self, user: &UserId, seqs: &[u64]) -> Result<Vec<StoredInteraction>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            let get = |&seq: &u64| {
                let found = user.row(
                    "interactions",
                    "SELECT * FROM interactions WHERE user = ?1 AND seq = ?2",
                    (user.key, number_of(seq)),
                    |row| user.stored(row),
                )?;
                found.ok_or_else(|| user.no_interaction(seq))
            };
            seqs.iter().map(get).collect()
        })
    }

    fn commit(&mut self, commit: &PeriodCommit) -> Result<u32> {
        self.write(|connection| {
            let user = User::get(connection, &commit.user)?;
            if user.generation != commit.parent {
                return Err(Error::Conflict { user: commit.user.clone() }.into());
            }
            user.check_period(commit.period)?;
            let what = |what: &str| format!("the {what} of user {}, period {}", commit.user, commit.period);
            let record = to_json(&what("record"), &commit.record)?;
            let buffer = to_json(&what("buffer"), &commit.buffer)?;
            let calibration = to_json(&what("calibration sample"), &commit.calibration)?;
            let number = user.row(
                "generations",
                "SELECT coalesce(max(number), 0) + 1 FROM generations WHERE user = ?1",
                [user.key],
                |row| row.get::<_, u32>(0),
            )?;
            let number = number.unwrap_or(1);
            user.execute(
                "INSERT INTO generations (user, number, parent, period, record) VALUES (?1, ?2, ?3, ?4, ?5)",
                (user.key, number, commit.parent, commit.period, record),
            )?;
            user.execute(
                "INSERT INTO memories (user, generation, buffered, buffer, calibration, adapter)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (user.key, number, commit.buffer.len(), buffer, calibration, &commit.adapter),
            )?;
            for &(seq, base) in &commit.base {
                if !base.is_finite() {
                    let reason = format!(
                        "nothing was changed: the base's log-likelihood of interaction {seq} of user {} is {base}; \
                         score it again",
                        commit.user
                    );
                    return Err(Fault::State(reason));
                }
                let changed = user.execute(
                    "UPDATE interactions SET base = ?3 WHERE user = ?1 AND seq = ?2",
                    (user.key, number_of(seq), base),
                )?;
                if changed == 0 {
                    return Err(user.no_interaction(seq));
                }
            }
            user.execute("UPDATE users SET generation = ?2 WHERE key = ?1", (user.key, number))?;
            Ok(number)
        })
    }

    fn generation(&self, user: &UserId, number: Option<u32>) -> Result<Option<Generation>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            if number.is_none() && user.generation == 0 {
                return Ok(None);
            }
            let number = number.unwrap_or(user.generation);
            let found = user.row(
                "memories",
                "SELECT period, adapter, buffer, calibration FROM memories m
                 JOIN generations g ON g.user = m.user AND g.number = m.generation
                 WHERE m.user = ?1 AND m.generation = ?2",
                (user.key, number),
                |row| {
                    let (Json(buffer), Json(calibration)) = (row.get("buffer")?, row.get("calibration")?);
                    let (period, adapter) = (row.get("period")?, row.get("adapter")?);
                    Ok(Generation { number, period, adapter, buffer, calibration })
                },
            )?;
            found.map(Some).ok_or_else(|| user.unknown("generation", number))
        })
    }

    fn period_records(&self, user: &UserId, period: Option<u32>) -> Result<Vec<LearnedPeriod>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows(
                "generations",
                along_path!(
                    "SELECT g.number, g.record FROM path JOIN generations g ON g.user = ?1 AND g.number = path.number
                     WHERE ?3 IS NULL OR path.period = ?3 ORDER BY path.number"
                ),
                (user.key, user.generation, period),
                |row| Ok(LearnedPeriod { generation: row.get("number")?, record: row.get::<_, Json<_>>("record")?.0 }),
            )
        })
    }

    fn record_answer(&mut self, user: &UserId, answer: &AnswerRecord) -> Result<()> {
        self.write(|connection| {
            let user = User::get(connection, user)?;
            let record = to_json(&format!("the record of a text for user {}", user.name), answer)?;
            user.execute("INSERT INTO answers (user, record) VALUES (?1, ?2)", (user.key, record))?;
            Ok(())
        })
    }

    fn answers(&self, user: &UserId, limit: usize) -> Result<Vec<AnswerRecord>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows(
                "answers",
                "SELECT record FROM answers WHERE user = ?1 ORDER BY key DESC LIMIT ?2",
                (user.key, at_most(limit)),
                |row| row.get("record").map(|Json(record)| record),
            )
        })
    }

    fn find(&self, user: &UserId, id: &InteractionId) -> Result<Option<u64>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.row(
                "interactions",
                "SELECT seq FROM interactions WHERE user = ?1 AND id = ?2",
                (user.key, id.as_str()),
                |row| row.get("seq"),
            )
        })
    }
}

/// A number as SQLite has them; those beyond are nowhere in the state.
fn number_of(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(-1)
}

fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

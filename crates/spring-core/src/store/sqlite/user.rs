//! One user's rows.

use rusqlite::{Connection, OptionalExtension, Params, Row};
use spring_lm::Adapter;
use spring_memory::{BufferItem, Interaction, InteractionId, UserId};

use super::{
    fault::{Fault, Outcome},
    file,
    value::{stored, time, to_json},
};
use crate::{
    Error, Result, period_ranges,
    store::{Member, PlannedPeriod, StoredInteraction, UserSummary},
};

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
pub(super) struct User<'a> {
    pub(super) connection: &'a Connection,
    pub(super) name: &'a UserId,
    pub(super) key: i64,
    pub(super) generation: u32,
}

impl<'a> User<'a> {
    pub(super) fn find(connection: &'a Connection, name: &'a UserId) -> Outcome<Option<Self>> {
        let mut statement = connection.prepare_cached("SELECT key, generation FROM users WHERE name = ?1")?;
        let read = |row: &Row<'_>| {
            Ok(Self { connection, name, key: row.get("key")?, generation: row.get("generation")? })
        };
        let found = statement.query_row([name.as_str()], read).optional();
        found.map_err(|error| Fault::of_query(error, "users", Some(name)))
    }

    pub(super) fn get(connection: &'a Connection, name: &'a UserId) -> Outcome<Self> {
        Self::find(connection, name)?.ok_or_else(|| Fault::UnknownUser(name.to_string()))
    }

    pub(super) fn add(connection: &'a Connection, name: &'a UserId) -> Outcome<Self> {
        let add = "INSERT INTO users (name, removals) SELECT ?1, removals FROM settings";
        connection.prepare_cached(add)?.execute([name.as_str()])?;
        Ok(Self { connection, name, key: connection.last_insert_rowid(), generation: 0 })
    }

    /// All rows of a query; `table` is where damage would be.
    pub(super) fn rows<T>(
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

    /// Hands every row of a query to `take`, one at a time; gives their number.
    pub(super) fn each<T>(
        &self,
        table: &str,
        query: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        mut take: impl FnMut(T) -> Result<()>,
    ) -> Outcome<u64> {
        let failed = |error| Fault::of_query(error, table, Some(self.name));
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query(params)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(failed)? {
            take(read(row).map_err(failed)?)?;
            count += 1;
        }
        Ok(count)
    }

    /// The first row of a query that is the one looked for; the others are read one at a time.
    pub(super) fn first<T>(
        &self,
        table: &str,
        query: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        is_it: impl Fn(&T) -> bool,
    ) -> Outcome<Option<T>> {
        let failed = |error| Fault::of_query(error, table, Some(self.name));
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let row = read(row).map_err(failed)?;
            if is_it(&row) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The one row of a query, if there is one.
    pub(super) fn row<T>(
        &self,
        table: &str,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Option<T>> {
        let row = || self.connection.prepare_cached(query)?.query_row(params, read).optional();
        row().map_err(|error| Fault::of_query(error, table, Some(self.name)))
    }

    pub(super) fn execute(&self, statement: &str, params: impl Params) -> Outcome<usize> {
        Ok(self.connection.prepare_cached(statement)?.execute(params)?)
    }

    pub(super) fn unknown(&self, what: &'static str, number: u32) -> Fault {
        Fault::Other(Error::UnknownRecord { user: self.name.clone(), what, number })
    }

    pub(super) fn no_interaction(&self, seq: u64) -> Fault {
        Fault::State(format!("user {} has no interaction number {seq}", self.name))
    }

    pub(super) fn stored(&self, row: &Row<'_>) -> rusqlite::Result<StoredInteraction> {
        stored(row, self.name)
    }

    /// What [`StateStore::removals`](crate::StateStore::removals) tells.
    pub(super) fn removals(&self) -> Outcome<u64> {
        let removals =
            self.row("users", "SELECT removals FROM users WHERE key = ?1", [self.key], |row| row.get(0))?;
        Ok(removals.unwrap_or_default())
    }

    /// Refuses what was computed before a text was removed.
    pub(super) fn check_removals(&self, then: u64) -> Outcome<()> {
        match self.removals()? == then {
            true => Ok(()),
            false => Err(Error::Outdated { user: self.name.clone() }.into()),
        }
    }

    pub(super) fn summary(&self) -> Outcome<UserSummary> {
        let count = |table, query| {
            let count = self.row(table, query, [self.key], |row| row.get::<_, u64>(0))?;
            Ok::<_, Fault>(count.unwrap_or_default())
        };
        let end = |query| self.row("interactions", query, [self.key], time);
        let interactions = count("interactions", "SELECT count(*) FROM interactions WHERE user = ?1")?;
        let pending = count("users", "SELECT pending FROM users WHERE key = ?1")?;
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
            pending,
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
    pub(super) fn check_period(&self, number: u32) -> Outcome<()> {
        let found = self.row(
            "periods",
            "SELECT 1 FROM periods WHERE user = ?1 AND number = ?2",
            (self.key, number),
            |_| Ok(()),
        )?;
        found.ok_or_else(|| self.unknown("period", number))
    }

    /// The periods that the pending interactions would be cut into.
    pub(super) fn plan(
        &self,
        periods: u32,
        hold_out: f64,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<StoredInteraction>,
    ) -> Outcome<Vec<PlannedPeriod>> {
        if !(0.0..1.0).contains(&hold_out) {
            let reason =
                format!("{hold_out} is not a part that can be held out; give a number from 0 to below 1");
            return Err(Error::Config { origin: "hold-out".into(), reason }.into());
        }
        let pending = self.rows("interactions", pending!("*"), [self.key], read)?;
        let last = self.row(
            "periods",
            "SELECT coalesce(max(number), 0) FROM periods WHERE user = ?1",
            [self.key],
            |row| row.get::<_, u32>(0),
        )?;
        let ranges = period_ranges(pending.len(), periods, hold_out);
        let mut pending = pending.into_iter();
        let numbers = last.unwrap_or_default() + 1..;
        Ok(numbers
            .zip(ranges)
            .map(|(number, (learned, held_out))| {
                let member = |(at, stored)| Member { stored, held_out: at >= learned.len() };
                let count = learned.len() + held_out.len();
                PlannedPeriod {
                    number,
                    members: pending.by_ref().take(count).enumerate().map(member).collect(),
                }
            })
            .collect())
    }

    /// Stores periods.
    pub(super) fn add_periods(&self, periods: &[PlannedPeriod]) -> Outcome<()> {
        for period in periods {
            self.execute("INSERT INTO periods (user, number) VALUES (?1, ?2)", (self.key, period.number))?;
            for member in &period.members {
                self.execute(
                    "INSERT INTO members (user, seq, period, held_out) VALUES (?1, ?2, ?3, ?4)",
                    (self.key, number_of(member.stored.seq), period.number, member.held_out),
                )?;
            }
            self.execute(
                "UPDATE users SET pending = pending - ?2 WHERE key = ?1",
                (self.key, period.members.len()),
            )?;
        }
        Ok(())
    }

    /// The period that an interaction is in, and whether it is held out there.
    pub(super) fn place(&self, seq: u64) -> Outcome<Option<(u32, bool)>> {
        self.row(
            "members",
            "SELECT period, held_out FROM members WHERE user = ?1 AND seq = ?2",
            (self.key, number_of(seq)),
            |row| Ok((row.get("period")?, row.get("held_out")?)),
        )
    }

    /// What a generation generates with; refuses an adapter of another base than the state's.
    pub(super) fn insert_memories(
        &self,
        generation: u32,
        adapter: &[u8],
        buffer: &[BufferItem],
        calibration: &[f64],
    ) -> Outcome<()> {
        let what = |what: &str| format!("the {what} of user {}, generation {generation}", self.name);
        let base = Adapter::from_bytes(adapter).map_err(Error::from)?.base;
        if !self.is_base(&base)? {
            let reason = format!(
                "nothing was changed: {} was trained on another base model ({base:.12}…) than the state's",
                what("adapter")
            );
            return Err(Fault::State(reason));
        }
        let (count, buffer) = (buffer.len(), to_json(&what("buffer"), &buffer.to_vec())?);
        let calibration = to_json(&what("calibration sample"), &calibration.to_vec())?;
        self.execute(
            "INSERT INTO memories (user, generation, buffered, buffer, calibration, adapter)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (self.key, generation, count, buffer, calibration, adapter),
        )?;
        Ok(())
    }

    /// Whether a fingerprint is that of the base that the state was made for.
    pub(super) fn is_base(&self, fingerprint: &str) -> Outcome<bool> {
        let query = "SELECT fingerprint = ?1 FROM settings";
        Ok(self.row("settings", query, [fingerprint], |row| row.get(0))?.unwrap_or_default())
    }

    /// Whether the state cuts texts at so many tokens; it keeps log-likelihoods of no other cut.
    pub(super) fn is_cut_at(&self, max_tokens: usize) -> Outcome<bool> {
        Ok(file::read_settings(self.connection)?.config.training.max_tokens == max_tokens)
    }

    /// Keeps base log-likelihoods, nats per token, by sequence number, of texts cut at `max_tokens`; none if the state
    /// cuts elsewhere by now: another process may have changed its settings.
    pub(super) fn set_base(&self, base: &[(u64, f64)], max_tokens: usize) -> Outcome<()> {
        if !self.is_cut_at(max_tokens)? {
            return Ok(());
        }
        for &(seq, base) in base {
            if !base.is_finite() {
                let reason = format!(
                    "nothing was changed: the base's log-likelihood of interaction {seq} of user {} is {base}; \
                     score it again",
                    self.name
                );
                return Err(Fault::State(reason));
            }
            let changed = self.execute(
                "UPDATE interactions SET base = ?3 WHERE user = ?1 AND seq = ?2",
                (self.key, number_of(seq), base),
            )?;
            if changed == 0 {
                return Err(self.no_interaction(seq));
            }
        }
        Ok(())
    }

    /// Refuses a generation that is not there, or is no longer kept.
    pub(super) fn check_kept(&self, number: u32) -> Outcome<()> {
        let kept = self.row(
            "generations",
            "SELECT EXISTS (SELECT 1 FROM memories WHERE user = ?1 AND generation = ?2)
             FROM generations WHERE user = ?1 AND number = ?2",
            (self.key, number),
            |row| row.get(0),
        )?;
        match kept {
            Some(true) => Ok(()),
            Some(false) => Err(Error::Pruned { user: self.name.clone(), number }.into()),
            None => Err(self.unknown("generation", number)),
        }
    }

    /// Drops the memories of all but the newest generations and the one in use.
    pub(super) fn prune(&self, keep: u32, current: u32) -> Outcome<()> {
        self.execute(
            "DELETE FROM memories WHERE user = ?1 AND generation <> ?3 AND generation NOT IN
             (SELECT generation FROM memories WHERE user = ?1 ORDER BY generation DESC LIMIT ?2)",
            (self.key, keep, current),
        )?;
        Ok(())
    }

    pub(super) fn by_id(&self, id: &InteractionId) -> Outcome<Option<StoredInteraction>> {
        self.row(
            "interactions",
            "SELECT * FROM interactions WHERE user = ?1 AND id = ?2",
            (self.key, id.as_str()),
            |row| self.stored(row),
        )
    }

    pub(super) fn insert(&self, interaction: &Interaction) -> Outcome<()> {
        let seq = self.row(
            "users",
            "UPDATE users SET next_seq = next_seq + 1, pending = pending + 1 WHERE key = ?1
             RETURNING next_seq - 1",
            [self.key],
            |row| row.get::<_, i64>(0),
        )?;
        self.insert_at(seq.unwrap_or_default(), interaction, None)
    }

    /// Adds an interaction under a given number.
    pub(super) fn insert_at(&self, seq: i64, interaction: &Interaction, base: Option<f64>) -> Outcome<()> {
        let meta = interaction.meta.as_ref();
        let what = || format!("`meta` of interaction {} of user {}", interaction.id, self.name);
        let meta = meta.map(|meta| to_json(&what(), meta)).transpose()?;
        self.execute(
            "INSERT INTO interactions (user, seq, id, seconds, nanoseconds, meta, prompt, response, base)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (
                self.key,
                seq,
                interaction.id.as_str(),
                interaction.time.as_second(),
                interaction.time.subsec_nanosecond(),
                meta,
                &interaction.prompt,
                &interaction.response,
                base,
            ),
        )?;
        Ok(())
    }
}

/// A number as SQLite has them; those beyond are nowhere in the state.
pub(super) fn number_of(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(-1)
}

pub(super) fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) use {along_path, pending};

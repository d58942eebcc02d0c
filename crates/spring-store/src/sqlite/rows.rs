//! The rows of a connection.

use std::{ops::ControlFlow, time::Duration};

use rusqlite::{
    Connection, OptionalExtension, Params, Row,
    types::{FromSql, Type},
};
use spring_memory::UserId;

use super::failure::of_query;
use crate::backend::{
    ConsentRow, Extent, Fault, GenerationRow, Holder, InteractionRow, InteractionSums, KeyRow,
    LearnedRow, LeaseRow, MemberRow, MemoriesRow, MemoriesSize, Outcome, PriorRow, ReplicaRow,
    Rows, RowsMut, SettingsRow, Summed, Text, Texts, UserRow, Users, Visit,
};

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

/// Rows inside a transaction.
pub(super) struct Connected<'c>(pub(super) &'c Connection);

impl Connected<'_> {
    /// Hands every row of a query to `take`; `table` is where damage would be.
    fn each<T>(
        &self,
        table: &'static str,
        query: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        mut take: impl FnMut(T) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<()> {
        let failed = |error| of_query(&error, table);
        let mut statement = self.0.prepare_cached(query).map_err(failed)?;
        let mut rows = statement.query(params).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let of_row = |error| failed(error).of_item(label(row));
            if take(read(row).map_err(of_row)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All rows of a query.
    fn all<T>(
        &self,
        table: &'static str,
        query: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Vec<T>> {
        let mut all = Vec::new();
        self.each(table, query, params, read, |row| {
            all.push(row);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// The one row of a query, if there is one.
    fn one<T>(
        &self,
        table: &'static str,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Option<T>> {
        let row = || self.0.prepare_cached(query)?.query_row(params, read).optional();
        row().map_err(|error| of_query(&error, table))
    }

    /// Changes rows; gives their number.
    fn change(&self, table: &'static str, statement: &str, params: impl Params) -> Outcome<usize> {
        let change = || self.0.prepare_cached(statement)?.execute(params);
        change().map_err(|error| of_query(&error, table))
    }
}

/// Which row one is, as far as its first value tells.
fn label(row: &Row<'_>) -> String {
    match (row.as_ref().column_name(0), row.get::<_, i64>(0)) {
        (Ok(name), Ok(number)) => format!("{name} {number}"),
        _ => "a row".into(),
    }
}

/// A number as SQLite has them; those beyond are nowhere in the state.
fn number_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

/// A value and its checksum, the first two columns.
fn summed<T: FromSql>(row: &Row<'_>) -> rusqlite::Result<Summed<T>> {
    Ok(Summed { value: row.get(0)?, sum: row.get(1)? })
}

fn key(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        user: row.get(2)?,
        record: row.get(3)?,
        sum: row.get(4)?,
    })
}

fn interaction(row: &Row<'_>) -> rusqlite::Result<InteractionRow> {
    let period: Option<u32> = row.get(8)?;
    let held_out: Option<bool> = row.get(9)?;
    Ok(InteractionRow {
        seq: row.get(0)?,
        id: row.get(1)?,
        seconds: row.get(2)?,
        nanoseconds: row.get(3)?,
        base: row.get(4)?,
        meta: row.get(5)?,
        prompt: row.get(6)?,
        response: row.get(7)?,
        place: period.zip(held_out),
        sums: InteractionSums { text: row.get(10)?, base: row.get(11)?, place: row.get(12)? },
    })
}

impl Rows for Connected<'_> {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn settings(&self) -> Outcome<SettingsRow> {
        let query = "SELECT model, fingerprint, config, removals, sum FROM settings";
        let settings = self.one("settings", query, (), |row| {
            Ok(SettingsRow {
                model: row.get(0)?,
                fingerprint: row.get(1)?,
                config: row.get(2)?,
                removals: row.get(3)?,
                sum: row.get(4)?,
            })
        })?;
        settings.ok_or_else(|| Fault::damaged("settings", "it is empty"))
    }

    fn users(&self, which: Users, after: Option<&UserId>, limit: usize) -> Outcome<Vec<UserId>> {
        let query = match which {
            Users::All => "SELECT name FROM users WHERE name > ?1 ORDER BY name LIMIT ?2",
            Users::Due => {
                "SELECT name FROM users u WHERE name > ?1 AND (pending > 0 OR EXISTS (
                     SELECT 1 FROM periods p WHERE p.user = u.key AND p.number NOT IN (
                         WITH RECURSIVE path (parent, period) AS (
                             SELECT parent, period FROM generations
                             WHERE user = u.key AND number = u.generation
                             UNION ALL
                             SELECT g.parent, g.period
                             FROM path JOIN generations g
                             ON g.user = u.key AND g.number = path.parent
                         ) SELECT period FROM path)))
                 ORDER BY name LIMIT ?2"
            }
            Users::New => {
                "SELECT name FROM users u WHERE name > ?1 AND (pending > 0 OR EXISTS (
                     SELECT 1 FROM periods p WHERE p.user = u.key AND NOT EXISTS (
                         SELECT 1 FROM generations g
                         WHERE g.user = u.key AND g.period = p.number)))
                 ORDER BY name LIMIT ?2"
            }
            // Not by any other plan: it would read every user's newest record.
            Users::Unjudged => {
                "SELECT name FROM generations g INDEXED BY generations_unjudged
                 CROSS JOIN users u ON u.key = g.user AND u.generation = g.number
                 WHERE instr(g.record, '\"unjudged\":true') > 0 AND name > ?1
                 ORDER BY name LIMIT ?2"
            }
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // No name is empty: all come after "".
        let after = after.map_or("", UserId::as_str);
        let names = self.all("users", query, (after, limit), |row| row.get::<_, String>(0))?;
        let name = |name| UserId::new(name).map_err(|error| Fault::damaged("users", error));
        names.into_iter().map(name).collect()
    }

    fn user(&self, name: &UserId) -> Outcome<Option<UserRow>> {
        let query = "SELECT key, name, next_seq, generation, pending, removals, sum FROM users
                     WHERE name = ?1";
        self.one("users", query, [name.as_str()], |row| {
            let name: String = row.get(1)?;
            let name = UserId::new(name).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error))
            })?;
            Ok(UserRow {
                key: row.get(0)?,
                name,
                next_seq: row.get(2)?,
                generation: row.get(3)?,
                pending: row.get(4)?,
                removals: row.get(5)?,
                sum: row.get(6)?,
            })
        })
    }

    fn extent(&self, user: i64) -> Outcome<Extent> {
        let count = |table, query| -> Outcome<u64> {
            Ok(self.one(table, query, [user], |row| row.get(0))?.unwrap_or_default())
        };
        let end =
            |query| self.one("interactions", query, [user], |row| Ok((row.get(0)?, row.get(1)?)));
        let interactions = "SELECT count(*) FROM interactions WHERE user = ?1";
        Ok(Extent {
            interactions: count("interactions", interactions)?,
            periods: count("periods", "SELECT count(*) FROM periods WHERE user = ?1")?,
            first: end("SELECT seconds, nanoseconds FROM interactions WHERE user = ?1
                 ORDER BY seconds, nanoseconds LIMIT 1")?,
            last: end("SELECT seconds, nanoseconds FROM interactions WHERE user = ?1
                 ORDER BY seconds DESC, nanoseconds DESC LIMIT 1")?,
        })
    }

    fn interactions(
        &self,
        user: i64,
        which: Texts,
        visit: Visit<'_, InteractionRow>,
    ) -> Outcome<()> {
        let query = match which {
            Texts::BySeq => interactions!(
                "FROM interactions i LEFT JOIN members m ON m.user = i.user AND m.seq = i.seq
                 WHERE i.user = ?1 ORDER BY i.seq"
            ),
            Texts::ByTime => interactions!(
                "FROM interactions i LEFT JOIN members m ON m.user = i.user AND m.seq = i.seq
                 WHERE i.user = ?1 ORDER BY i.seconds, i.nanoseconds, i.seq"
            ),
            Texts::Pending => {
                "SELECT seq, id, seconds, nanoseconds, base, meta, prompt, response,
                 NULL, NULL, sum, base_sum, NULL FROM interactions i WHERE user = ?1
                 AND NOT EXISTS (SELECT 1 FROM members m WHERE m.user = i.user AND m.seq = i.seq)
                 ORDER BY seconds, nanoseconds, seq"
            }
            // CROSS: from the period's few members to the texts, not through all texts of the user.
            Texts::Period(_) => interactions!(
                "FROM members m CROSS JOIN interactions i ON i.user = m.user AND i.seq = m.seq
                 WHERE m.user = ?1 AND m.period = ?2 ORDER BY i.seconds, i.nanoseconds, i.seq"
            ),
        };
        let take = |row| {
            visit(row)?;
            Ok(ControlFlow::Continue(()))
        };
        match which {
            Texts::Period(number) => {
                self.each("interactions", query, (user, number), interaction, take)
            }
            _ => self.each("interactions", query, [user], interaction, take),
        }
    }

    fn interaction(&self, user: i64, which: Text<'_>) -> Outcome<Option<InteractionRow>> {
        match which {
            Text::Seq(seq) => {
                let query = interactions!(
                    "FROM interactions i LEFT JOIN members m ON m.user = i.user AND m.seq = i.seq
                     WHERE i.user = ?1 AND i.seq = ?2"
                );
                self.one("interactions", query, (user, number_of(seq)), interaction)
            }
            Text::Id(id) => {
                let query = interactions!(
                    "FROM interactions i LEFT JOIN members m ON m.user = i.user AND m.seq = i.seq
                     WHERE i.user = ?1 AND i.id = ?2"
                );
                self.one("interactions", query, (user, id), interaction)
            }
        }
    }

    fn periods(&self, user: i64) -> Outcome<Vec<u32>> {
        let query = "SELECT number FROM periods WHERE user = ?1 ORDER BY number";
        self.all("periods", query, [user], |row| row.get(0))
    }

    fn generations(&self, user: i64) -> Outcome<Vec<GenerationRow>> {
        let query = "SELECT g.number, g.parent, g.period, octet_length(g.record), m.buffered,
                     octet_length(m.adapter), octet_length(m.buffer) + octet_length(m.calibration),
                     g.sum
                     FROM generations g LEFT JOIN memories m
                     ON m.user = g.user AND m.generation = g.number
                     WHERE g.user = ?1 ORDER BY g.number";
        let read = |row: &Row<'_>| {
            let sizes: (Option<i64>, Option<u64>, Option<u64>) =
                (row.get(4)?, row.get(5)?, row.get(6)?);
            let generation = GenerationRow {
                number: row.get(0)?,
                parent: row.get(1)?,
                period: row.get(2)?,
                record: row.get(3)?,
                memories: None,
                sum: row.get(7)?,
            };
            Ok((generation, sizes))
        };
        let rows = self.all("generations", query, [user], read)?;
        let sized = |(row, sizes): (GenerationRow, _)| {
            let (Some(buffered), Some(adapter), Some(buffer)) = sizes else { return Ok(row) };
            let buffered =
                u64::try_from(buffered).map_err(|error| Fault::damaged("memories", error))?;
            Ok(GenerationRow { memories: Some(MemoriesSize { buffered, adapter, buffer }), ..row })
        };
        rows.into_iter().map(sized).collect()
    }

    fn record(&self, user: i64, generation: u32) -> Outcome<Option<Summed<String>>> {
        let query = "SELECT record, record_sum FROM generations WHERE user = ?1 AND number = ?2";
        self.one("generations", query, (user, generation), summed)
    }

    fn memories(&self, user: i64, generation: u32) -> Outcome<Option<MemoriesRow>> {
        let query = "SELECT buffered, buffer, calibration, adapter, sum FROM memories
                     WHERE user = ?1 AND generation = ?2";
        self.one("memories", query, (user, generation), |row| {
            Ok(MemoriesRow {
                buffered: row.get(0)?,
                buffer: row.get(1)?,
                calibration: row.get(2)?,
                adapter: row.get(3)?,
                sum: row.get(4)?,
            })
        })
    }

    fn answers(
        &self,
        user: i64,
        newest_first: bool,
        visit: &mut dyn FnMut(i64, Summed<String>) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<()> {
        let query = match newest_first {
            true => "SELECT record, sum, key FROM answers WHERE user = ?1 ORDER BY key DESC",
            false => "SELECT record, sum, key FROM answers WHERE user = ?1 ORDER BY key",
        };
        let read = |row: &Row<'_>| Ok((row.get(2)?, summed(row)?));
        self.each("answers", query, [user], read, |(key, record)| visit(key, record))
    }

    fn embedding(&self, user: i64, seq: u64, base: &str) -> Outcome<Option<Summed<Vec<u8>>>> {
        let query = "SELECT vector, sum FROM embeddings WHERE user = ?1 AND seq = ?2 AND base = ?3";
        self.one("embeddings", query, (user, number_of(seq), base), summed)
    }

    fn lease(&self, user: i64) -> Outcome<Option<LeaseRow>> {
        let query = "SELECT token, holder, place, process, started, expires, sum FROM leases
                     WHERE user = ?1";
        self.one("leases", query, [user], |row| {
            let holder = Holder {
                name: row.get(1)?,
                place: row.get(2)?,
                process: row.get(3)?,
                started: row.get(4)?,
            };
            Ok(LeaseRow { token: row.get(0)?, holder, expires: row.get(5)?, sum: row.get(6)? })
        })
    }

    fn graph(&self, user: i64) -> Outcome<Option<Summed<String>>> {
        self.one("graphs", "SELECT stamp, sum FROM graphs WHERE user = ?1", [user], summed)
    }

    fn consent(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        let query = "SELECT keep, since, sum FROM consents WHERE user = ?1";
        self.one("consents", query, [user], |row| {
            Ok(ConsentRow { keep: row.get(0)?, since: row.get(1)?, sum: row.get(2)? })
        })
    }

    fn contribution(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        let query = "SELECT may, since, sum FROM contributions WHERE user = ?1";
        self.one("contributions", query, [user], |row| {
            Ok(ConsentRow { keep: row.get(0)?, since: row.get(1)?, sum: row.get(2)? })
        })
    }

    fn priors(&self) -> Outcome<Vec<PriorRow>> {
        let query = "SELECT number, id, in_use, sum FROM priors ORDER BY number";
        self.all("priors", query, (), |row| {
            let (number, id) = (row.get(0)?, row.get(1)?);
            Ok(PriorRow { number, id, in_use: row.get(2)?, sum: row.get(3)? })
        })
    }

    fn prior_record(&self, number: u32) -> Outcome<Option<Summed<String>>> {
        let query = "SELECT record, record_sum FROM priors WHERE number = ?1";
        self.one("priors", query, [number], summed)
    }

    fn prior_adapter(&self, number: u32) -> Outcome<Option<Summed<Vec<u8>>>> {
        let query = "SELECT adapter, adapter_sum FROM priors WHERE number = ?1";
        self.one("priors", query, [number], summed)
    }

    fn users_with(&self, text: &str) -> Outcome<u64> {
        let query = "SELECT count(DISTINCT user) FROM generations
                     WHERE parent = 0 AND instr(record, ?1) > 0";
        Ok(self.one("generations", query, [text], |row| row.get(0))?.unwrap_or_default())
    }

    fn keys(&self) -> Outcome<Vec<KeyRow>> {
        self.all("keys", "SELECT id, hash, user, record, sum FROM keys ORDER BY id", (), key)
    }

    fn key(&self, hash: &[u8]) -> Outcome<Option<KeyRow>> {
        let query = "SELECT id, hash, user, record, sum FROM keys WHERE hash = ?1";
        self.one("keys", query, [hash], key)
    }

    fn replicas(&self, within: Duration) -> Outcome<Vec<ReplicaRow>> {
        let query = "SELECT url, load FROM replicas
                     WHERE abs(unixepoch('subsec') - seen) <= ?1 ORDER BY url";
        self.all("replicas", query, [within.as_secs_f64()], |row| {
            Ok(ReplicaRow { url: row.get(0)?, load: row.get(1)? })
        })
    }
}

impl RowsMut for Connected<'_> {
    fn put_settings(&mut self, row: &SettingsRow) -> Outcome<()> {
        // `scrub` in the same transaction as the removal, so that a crash before the file is
        // rewritten is made good later.
        let put = "UPDATE settings SET model = ?1, fingerprint = ?2, config = ?3,
                   scrub = max(scrub, removals < ?4), removals = ?4, sum = ?5";
        let SettingsRow { model, fingerprint, config, removals, sum } = row;
        let removals = number_of(*removals);
        match self.change("settings", put, (model, fingerprint, config, removals, sum))? {
            1 => Ok(()),
            _ => Err(Fault::damaged("settings", "it is empty")),
        }
    }

    fn forget_bases(&mut self) -> Outcome<()> {
        let forget = "UPDATE interactions SET base = NULL, base_sum = NULL WHERE base IS NOT NULL";
        self.change("interactions", forget, ())?;
        Ok(())
    }

    fn add_user(&mut self, name: &UserId, removals: u64) -> Outcome<UserRow> {
        let add = "INSERT INTO users (name, removals, sum) VALUES (?1, ?2, 0)";
        self.change("users", add, (name.as_str(), number_of(removals)))?;
        let key = self.0.last_insert_rowid();
        let name = name.clone();
        Ok(UserRow { key, name, next_seq: 1, generation: 0, pending: 0, removals, sum: 0 })
    }

    fn put_user(&mut self, user: &UserRow) -> Outcome<()> {
        let put = "UPDATE users SET next_seq = ?2, generation = ?3, pending = ?4, removals = ?5,
                   sum = ?6
                   WHERE key = ?1";
        let (next_seq, pending) = (number_of(user.next_seq), number_of(user.pending));
        let removals = number_of(user.removals);
        let values = (user.key, next_seq, user.generation, pending, removals, user.sum);
        self.change("users", put, values)?;
        Ok(())
    }

    fn delete_user(&mut self, user: i64) -> Outcome<()> {
        self.change("users", "DELETE FROM users WHERE key = ?1", [user])?;
        Ok(())
    }

    fn put_interaction(&mut self, user: i64, row: &InteractionRow) -> Outcome<()> {
        let put = "INSERT INTO interactions
                   (user, seq, id, seconds, nanoseconds, meta, prompt, response, sum, base,
                    base_sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let InteractionRow { id, seconds, nanoseconds, meta, prompt, response, base, .. } = row;
        let (seq, InteractionSums { text, base: base_sum, .. }) = (number_of(row.seq), row.sums);
        let values =
            (user, seq, id, seconds, nanoseconds, meta, prompt, response, text, base, base_sum);
        self.change("interactions", put, values)?;
        Ok(())
    }

    fn set_base(&mut self, user: i64, seq: u64, base: Summed<f64>) -> Outcome<bool> {
        let set = "UPDATE interactions SET base = ?3, base_sum = ?4 WHERE user = ?1 AND seq = ?2";
        let values = (user, number_of(seq), base.value, base.sum);
        Ok(self.change("interactions", set, values)? > 0)
    }

    fn delete_interaction(&mut self, user: i64, seq: u64) -> Outcome<()> {
        let delete = "DELETE FROM interactions WHERE user = ?1 AND seq = ?2";
        self.change("interactions", delete, (user, number_of(seq)))?;
        Ok(())
    }

    fn put_period(&mut self, user: i64, number: u32, members: &[MemberRow]) -> Outcome<()> {
        let put = "INSERT OR IGNORE INTO periods (user, number) VALUES (?1, ?2)";
        self.change("periods", put, (user, number))?;
        let put =
            "INSERT INTO members (user, seq, period, held_out, sum) VALUES (?1, ?2, ?3, ?4, ?5)";
        for &MemberRow { seq, held_out, sum } in members {
            self.change("members", put, (user, number_of(seq), number, held_out, sum))?;
        }
        Ok(())
    }

    fn put_generation(&mut self, user: i64, row: &LearnedRow) -> Outcome<()> {
        let put = "INSERT INTO generations (user, number, parent, period, sum, record, record_sum)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                   ON CONFLICT (user, number) DO UPDATE
                   SET record = excluded.record, record_sum = excluded.record_sum";
        let LearnedRow { number, parent, period, sum, record } = row;
        let values = (user, number, parent, period, sum, &record.value, record.sum);
        self.change("generations", put, values)?;
        Ok(())
    }

    fn put_memories(
        &mut self,
        user: i64,
        generation: u32,
        row: Option<&MemoriesRow>,
    ) -> Outcome<()> {
        let delete = "DELETE FROM memories WHERE user = ?1 AND generation = ?2";
        self.change("memories", delete, (user, generation))?;
        let Some(MemoriesRow { buffered, buffer, calibration, adapter, sum }) = row else {
            return Ok(());
        };
        let put =
            "INSERT INTO memories (user, generation, buffered, buffer, calibration, adapter, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let buffered = number_of(*buffered);
        let values = (user, generation, buffered, buffer, calibration, adapter, sum);
        self.change("memories", put, values)?;
        Ok(())
    }

    fn put_answer(&mut self, user: i64, record: Summed<&str>) -> Outcome<()> {
        let put = "INSERT INTO answers (user, record, sum) VALUES (?1, ?2, ?3)";
        self.change("answers", put, (user, record.value, record.sum))?;
        Ok(())
    }

    fn delete_answer(&mut self, user: i64, key: i64) -> Outcome<()> {
        self.change("answers", "DELETE FROM answers WHERE user = ?1 AND key = ?2", (user, key))?;
        Ok(())
    }

    fn put_embedding(
        &mut self,
        user: i64,
        seq: u64,
        base: &str,
        vector: Summed<&[u8]>,
    ) -> Outcome<()> {
        let put = "INSERT OR REPLACE INTO embeddings (user, seq, base, vector, sum)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = (user, number_of(seq), base, vector.value, vector.sum);
        self.change("embeddings", put, values)?;
        Ok(())
    }

    fn swap_lease(&mut self, user: i64, expected: Option<i64>, lease: &LeaseRow) -> Outcome<bool> {
        let LeaseRow { token, holder, expires, sum } = lease;
        let Holder { name, place, process, started } = holder;
        let changed = match expected {
            None => {
                let add = "INSERT INTO leases
                           (user, token, holder, place, process, started, expires, sum)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (user) DO NOTHING";
                let values = (user, token, name, place, process, started, expires, sum);
                self.change("leases", add, values)?
            }
            Some(expected) => {
                let swap = "UPDATE leases SET token = ?3, holder = ?4, place = ?5, process = ?6,
                            started = ?7, expires = ?8, sum = ?9 WHERE user = ?1 AND token = ?2";
                let values = (user, expected, token, name, place, process, started, expires, sum);
                self.change("leases", swap, values)?
            }
        };
        Ok(changed > 0)
    }

    fn put_graph(&mut self, user: i64, stamp: Option<Summed<&str>>) -> Outcome<()> {
        match stamp {
            Some(Summed { value, sum }) => {
                let put = "INSERT OR REPLACE INTO graphs (user, stamp, sum) VALUES (?1, ?2, ?3)";
                self.change("graphs", put, (user, value, sum))?;
            }
            None => {
                self.change("graphs", "DELETE FROM graphs WHERE user = ?1", [user])?;
            }
        }
        Ok(())
    }

    fn put_consent(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        let put = "INSERT OR REPLACE INTO consents (user, keep, since, sum)
                   VALUES (?1, ?2, ?3, ?4)";
        self.change("consents", put, (user, row.keep, row.since, row.sum))?;
        Ok(())
    }

    fn put_contribution(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        let put = "INSERT OR REPLACE INTO contributions (user, may, since, sum)
                   VALUES (?1, ?2, ?3, ?4)";
        self.change("contributions", put, (user, row.keep, row.since, row.sum))?;
        Ok(())
    }

    fn add_prior(
        &mut self,
        row: &PriorRow,
        record: Summed<&str>,
        adapter: Summed<&[u8]>,
    ) -> Outcome<()> {
        let add = "INSERT INTO priors
                   (number, id, in_use, sum, record, record_sum, adapter, adapter_sum)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let PriorRow { number, id, in_use, sum } = row;
        let (record, record_sum) = (record.value, record.sum);
        let values = (number, id, in_use, sum, record, record_sum, adapter.value, adapter.sum);
        self.change("priors", add, values)?;
        Ok(())
    }

    fn put_prior(&mut self, row: &PriorRow) -> Outcome<()> {
        let put = "UPDATE priors SET id = ?2, in_use = ?3, sum = ?4 WHERE number = ?1";
        self.change("priors", put, (row.number, &row.id, row.in_use, row.sum))?;
        Ok(())
    }

    fn put_prior_record(&mut self, number: u32, record: Summed<&str>) -> Outcome<()> {
        let put = "UPDATE priors SET record = ?2, record_sum = ?3 WHERE number = ?1";
        self.change("priors", put, (number, record.value, record.sum))?;
        Ok(())
    }

    fn delete_prior(&mut self, number: u32) -> Outcome<()> {
        self.change("priors", "DELETE FROM priors WHERE number = ?1", [number])?;
        Ok(())
    }

    fn put_key(&mut self, row: &KeyRow) -> Outcome<()> {
        let put = "INSERT INTO keys (id, hash, user, record, sum) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (id) DO UPDATE SET record = excluded.record, sum = excluded.sum";
        let KeyRow { id, hash, user, record, sum } = row;
        self.change("keys", put, (id, hash, user, record, sum))?;
        Ok(())
    }

    fn put_replica(&mut self, row: &ReplicaRow, lasts: Duration) -> Outcome<()> {
        let old = "DELETE FROM replicas WHERE abs(unixepoch('subsec') - seen) > ?1";
        self.change("replicas", old, [lasts.as_secs_f64()])?;
        let put = "INSERT OR REPLACE INTO replicas (url, load, seen)
                   VALUES (?1, ?2, unixepoch('subsec'))";
        self.change("replicas", put, (&row.url, row.load))?;
        Ok(())
    }

    fn delete_replica(&mut self, url: &str) -> Outcome<()> {
        self.change("replicas", "DELETE FROM replicas WHERE url = ?1", [url])?;
        Ok(())
    }
}

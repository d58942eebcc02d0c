//! The rows that a transaction reads.

use std::{ops::ControlFlow, time::Duration};

use jiff::Timestamp;
use spring_memory::UserId;

use super::connected::{Connected, Line, number_of, values};
use crate::backend::{
    ConsentRow, Extent, Fault, GenerationRow, Holder, InteractionRow, InteractionSums, KeyRow,
    LeaseRow, MemoriesRow, MemoriesSize, Outcome, PriorRow, ReplicaRow, Rows, SettingsRow, Summed,
    Text, Texts, UserRow, Users, Visit, Wanted,
};

/// Texts that are read at a time. (A stream would stand in the way of what is asked meanwhile.)
const TEXTS: i64 = 256;

/// Records of generated texts that are read at a time: some have a trace of every token.
const ANSWERS: i64 = 32;

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
    fn now(&self) -> Timestamp {
        self.now
    }

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
            Users::New => {
                "SELECT name FROM users u WHERE name > $1 AND (pending > 0 OR EXISTS (
                     SELECT 1 FROM periods p WHERE p.user_key = u.key AND NOT EXISTS (
                         SELECT 1 FROM generations g
                         WHERE g.user_key = u.key AND g.period = p.number)))
                 ORDER BY name LIMIT $2"
            }
            // The few that wait first: with a small limit, the planner would rather go through all
            // users by name.
            Users::Unjudged => {
                "WITH waiting AS MATERIALIZED (
                     SELECT user_key, number FROM generations WHERE unjudged)
                 SELECT u.name FROM waiting w
                 JOIN users u ON u.key = w.user_key AND u.generation = w.number
                 WHERE u.name > $1 ORDER BY u.name LIMIT $2"
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
                     -- Rows that an earlier version wrote count a rollback as something to learn.
                     AND (u.pending > 0 OR EXISTS (
                         SELECT 1 FROM periods p WHERE p.user_key = u.key AND NOT EXISTS (
                             SELECT 1 FROM generations g
                             WHERE g.user_key = u.key AND g.period = p.number)))
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

    fn contribution(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        let query = "SELECT may, since, sum FROM contributions WHERE user_key = $1";
        self.one("contributions", query, values![user => INT8], |line| {
            Ok(ConsentRow { keep: line.get(0)?, since: line.get(1)?, sum: line.get(2)? })
        })
    }

    fn priors(&self) -> Outcome<Vec<PriorRow>> {
        // Who writes starts from one of them: it must be there, and in use, until the end. Several
        // may rely on it at once.
        let query = match self.writes {
            true => "SELECT number, id, in_use, sum FROM priors ORDER BY number FOR SHARE",
            false => "SELECT number, id, in_use, sum FROM priors ORDER BY number",
        };
        self.all("priors", query, &[], |line| {
            let (number, id) = (line.number(0)?, line.get(1)?);
            Ok(PriorRow { number, id, in_use: line.get(2)?, sum: line.get(3)? })
        })
    }

    fn prior_record(&self, number: u32) -> Outcome<Option<Summed<String>>> {
        let query = "SELECT record, record_sum FROM priors WHERE number = $1";
        self.one("priors", query, values![i64::from(number) => INT8], |line| line.summed())
    }

    fn prior_adapter(&self, number: u32) -> Outcome<Option<Summed<Vec<u8>>>> {
        let query = "SELECT adapter, adapter_sum FROM priors WHERE number = $1";
        self.one("priors", query, values![i64::from(number) => INT8], |line| line.summed())
    }

    fn users_with(&self, text: &str) -> Outcome<u64> {
        let query = "SELECT count(DISTINCT user_key) FROM generations
                     WHERE parent = 0 AND strpos(record, $1) > 0";
        let count = self.one("generations", query, values![text => TEXT], |line| line.number(0))?;
        Ok(count.unwrap_or_default())
    }

    fn keys(&self) -> Outcome<Vec<KeyRow>> {
        let query = "SELECT id, hash, user_key, record, sum FROM keys ORDER BY id";
        self.all("keys", query, &[], key)
    }

    fn key(&self, hash: &[u8]) -> Outcome<Option<KeyRow>> {
        let query = "SELECT id, hash, user_key, record, sum FROM keys WHERE hash = $1";
        self.one("keys", query, values![hash => BYTEA], key)
    }

    fn replicas(&self, within: Duration) -> Outcome<Vec<ReplicaRow>> {
        let query = "SELECT url, load FROM replicas
                     WHERE seen BETWEEN now() - make_interval(secs => $1)
                     AND now() + make_interval(secs => $1) ORDER BY url";
        self.all("replicas", query, values![within.as_secs_f64() => FLOAT8], |line| {
            Ok(ReplicaRow { url: line.get(0)?, load: line.get(1)? })
        })
    }
}

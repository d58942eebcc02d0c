//! The rows that a transaction writes.

use std::time::Duration;

use spring_memory::UserId;

use super::{
    connected::{Connected, number_of, owned, values},
    failure::{Failure, Kind},
};
use crate::backend::{
    ConsentRow, Fault, Holder, InteractionRow, KeyRow, LearnedRow, LeaseRow, MemberRow,
    MemoriesRow, Outcome, PriorRow, ReplicaRow, RowsMut, SettingsRow, Summed, UserRow,
};

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
                       SELECT 1 FROM periods p WHERE p.user_key = $1 AND NOT EXISTS (
                           SELECT 1 FROM generations g
                           WHERE g.user_key = $1 AND g.period = p.number)
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

    fn put_contribution(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        let put = "INSERT INTO contributions (user_key, may, since, sum) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (user_key) DO UPDATE
                   SET may = excluded.may, since = excluded.since, sum = excluded.sum";
        self.send(put, owned![user => INT8, row.keep => BOOL, row.since => INT8, row.sum => INT8])
    }

    fn add_prior(
        &mut self,
        row: &PriorRow,
        record: Summed<&str>,
        adapter: Summed<&[u8]>,
    ) -> Outcome<()> {
        let add = "INSERT INTO priors
                   (number, id, in_use, sum, record, record_sum, adapter, adapter_sum)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let PriorRow { number, id, in_use, sum } = row;
        let (number, record_sum, adapter_sum) = (i64::from(*number), record.sum, adapter.sum);
        let (record, adapter) = (record.value, adapter.value);
        let values = values![
            number => INT8, id => TEXT, in_use => BOOL, sum => INT8, record => TEXT,
            record_sum => INT8, adapter => BYTEA, adapter_sum => INT8
        ];
        self.change(add, values)?;
        Ok(())
    }

    fn put_prior(&mut self, row: &PriorRow) -> Outcome<()> {
        let put = "UPDATE priors SET id = $2, in_use = $3, sum = $4 WHERE number = $1";
        let PriorRow { number, id, in_use, sum } = row;
        let number = i64::from(*number);
        self.change(put, values![number => INT8, id => TEXT, in_use => BOOL, sum => INT8])?;
        Ok(())
    }

    fn put_prior_record(&mut self, number: u32, record: Summed<&str>) -> Outcome<()> {
        let put = "UPDATE priors SET record = $2, record_sum = $3 WHERE number = $1";
        let (number, Summed { value, sum }) = (i64::from(number), record);
        self.change(put, values![number => INT8, value => TEXT, sum => INT8])?;
        Ok(())
    }

    fn delete_prior(&mut self, number: u32) -> Outcome<()> {
        self.send("DELETE FROM priors WHERE number = $1", owned![i64::from(number) => INT8])
    }

    fn put_key(&mut self, row: &KeyRow) -> Outcome<()> {
        let put = "INSERT INTO keys (id, hash, user_key, record, sum) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (id) DO UPDATE SET record = excluded.record, sum = excluded.sum";
        let KeyRow { id, hash, user, record, sum } = row.clone();
        let values = owned![id => TEXT, hash => BYTEA, user => INT8, record => TEXT, sum => INT8];
        self.send(put, values)
    }

    fn put_replica(&mut self, row: &ReplicaRow, lasts: Duration) -> Outcome<()> {
        let put = "INSERT INTO replicas (url, load, seen) VALUES ($1, $2, now())
                   ON CONFLICT (url) DO UPDATE SET load = excluded.load, seen = excluded.seen";
        self.send(put, owned![row.url.clone() => TEXT, row.load => FLOAT8])?;
        // Only after its own row, which a server may have to wait for: clearing up skips what
        // others hold, so that no two servers ever wait for each other.
        let old = "DELETE FROM replicas WHERE url IN (
                       SELECT url FROM replicas
                       WHERE seen NOT BETWEEN now() - make_interval(secs => $1)
                       AND now() + make_interval(secs => $1)
                       FOR UPDATE SKIP LOCKED)";
        self.send(old, owned![lasts.as_secs_f64() => FLOAT8])
    }

    fn delete_replica(&mut self, url: &str) -> Outcome<()> {
        self.send("DELETE FROM replicas WHERE url = $1", owned![url.to_owned() => TEXT])
    }
}

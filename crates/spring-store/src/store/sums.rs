//! Checksums: laid beside every row that is written, compared with every row that is read.
//!
//! They tell damage, not intent: who can write the state can compute them too. A row's sum covers
//! its table and the user's key, so that a row that got into other hands is told as well.

use std::{ops::ControlFlow, time::Duration};

use jiff::Timestamp;
use spring_memory::UserId;
use xxhash_rust::xxh3::Xxh3;

use super::value::Value;
use crate::backend::{
    ConsentRow, Extent, Fault, GenerationRow, InteractionRow, InteractionSums, KeyRow, LearnedRow,
    LeaseRow, MemberRow, MemoriesRow, Outcome, PriorRow, ReplicaRow, Rows, RowsMut, SettingsRow,
    Sum, Summed, Text, Texts, UserRow, Users, Visit, Wanted,
};

/// The checksum of a row's values: XXH3 of 64 bits over the table's name and each value with its
/// kind and length before it.
pub(crate) fn sum_of<'v>(table: &str, values: impl IntoIterator<Item = Value<'v>>) -> Sum {
    let mut hash = Xxh3::new();
    Value::Text(table).parts(|part| hash.update(part));
    for value in values {
        value.parts(|part| hash.update(part));
    }
    i64::from_ne_bytes(hash.digest().to_ne_bytes())
}

fn settings_sum(row: &SettingsRow) -> Sum {
    let SettingsRow { model, fingerprint, config, removals, sum: _ } = row;
    let texts = [model, fingerprint, config].map(|text| Value::Text(text));
    sum_of("settings", texts.into_iter().chain([(*removals).into()]))
}

/// The settings with their checksum.
pub(super) fn summed(row: SettingsRow) -> SettingsRow {
    SettingsRow { sum: settings_sum(&row), ..row }
}

fn user_sum(row: &UserRow) -> Sum {
    let UserRow { key, name, next_seq, generation, pending, removals, sum: _ } = row;
    let numbers = [*next_seq, (*generation).into(), *pending, *removals].map(Value::from);
    let name = [Value::Integer(*key), Value::Text(name.as_str())];
    sum_of("users", name.into_iter().chain(numbers))
}

fn text_sum(user: i64, row: &InteractionRow) -> Sum {
    let InteractionRow { seq, id, seconds, nanoseconds, meta, prompt, response, .. } = row;
    let meta = meta.as_deref().map_or(Value::Null, Value::Text);
    let numbers = [Value::Integer(*seconds), Value::Integer((*nanoseconds).into())];
    let [id, prompt, response] = [id, prompt, response].map(|text| Value::Text(text));
    let [seconds, nanoseconds] = numbers;
    let values =
        [Value::Integer(user), (*seq).into(), id, seconds, nanoseconds, meta, prompt, response];
    sum_of("interactions", values)
}

fn base_sum(user: i64, seq: u64, base: f64) -> Sum {
    sum_of("bases", [Value::Integer(user), seq.into(), Value::Real(base)])
}

fn place_sum(user: i64, seq: u64, (period, held_out): (u32, bool)) -> Sum {
    let held_out = Value::Integer(held_out.into());
    sum_of("members", [Value::Integer(user), seq.into(), period.into(), held_out])
}

fn generation_sum(user: i64, numbers: [u32; 3]) -> Sum {
    let [number, parent, period] = numbers.map(Value::from);
    sum_of("generations", [Value::Integer(user), number, parent, period])
}

fn record_sum(user: i64, generation: u32, record: &str) -> Sum {
    sum_of("records", [Value::Integer(user), generation.into(), Value::Text(record)])
}

fn memories_sum(user: i64, generation: u32, row: &MemoriesRow) -> Sum {
    let MemoriesRow { buffered, buffer, calibration, adapter, sum: _ } = row;
    let texts = [buffer, calibration].map(|text| Value::Text(text));
    let [buffer, calibration] = texts;
    let (of, buffered) = ([Value::Integer(user), generation.into()], (*buffered).into());
    let values = [buffered, buffer, calibration, Value::Bytes(adapter)];
    sum_of("memories", of.into_iter().chain(values))
}

fn answer_sum(user: i64, record: &str) -> Sum {
    sum_of("answers", [Value::Integer(user), Value::Text(record)])
}

fn embedding_sum(user: i64, seq: u64, base: &str, vector: &[u8]) -> Sum {
    let of = [Value::Integer(user), seq.into(), Value::Text(base)];
    sum_of("embeddings", of.into_iter().chain([Value::Bytes(vector)]))
}

fn lease_sum(user: i64, row: &LeaseRow) -> Sum {
    let LeaseRow { token, holder, expires, sum: _ } = row;
    let texts = [&holder.name, &holder.place].map(|text| Value::Text(text));
    let numbers = [holder.process.into(), holder.started, *expires].map(Value::Integer);
    let of = [Value::Integer(user), Value::Integer(*token)];
    sum_of("leases", of.into_iter().chain(texts).chain(numbers))
}

fn graph_sum(user: i64, stamp: &str) -> Sum {
    sum_of("graphs", [Value::Integer(user), Value::Text(stamp)])
}

fn consent_sum(user: i64, row: &ConsentRow) -> Sum {
    let ConsentRow { keep, since, sum: _ } = row;
    sum_of("consents", [user, i64::from(*keep), *since].map(Value::Integer))
}

fn contribution_sum(user: i64, row: &ConsentRow) -> Sum {
    let ConsentRow { keep, since, sum: _ } = row;
    sum_of("contributions", [user, i64::from(*keep), *since].map(Value::Integer))
}

fn prior_sum(row: &PriorRow) -> Sum {
    let PriorRow { number, id, in_use, sum: _ } = row;
    let in_use = Value::Integer((*in_use).into());
    sum_of("priors", [(*number).into(), Value::Text(id), in_use])
}

fn prior_record_sum(number: u32, record: &str) -> Sum {
    sum_of("prior records", [number.into(), Value::Text(record)])
}

fn prior_adapter_sum(number: u32, adapter: &[u8]) -> Sum {
    sum_of("prior adapters", [number.into(), Value::Bytes(adapter)])
}

fn key_sum(row: &KeyRow) -> Sum {
    let KeyRow { id, hash, user, record, sum: _ } = row;
    let user = user.map_or(Value::Null, Value::Integer);
    sum_of("keys", [Value::Text(id), Value::Bytes(hash), user, Value::Text(record)])
}

fn check_key(row: &KeyRow) -> Outcome<()> {
    check(key_sum(row) == row.sum, "keys")
        .map_err(|fault| fault.of_item(format!("key {:?}", row.id)))
}

/// Refuses what is not as it was written.
fn check(is: bool, table: &'static str) -> Outcome<()> {
    match is {
        true => Ok(()),
        false => Err(Fault::damaged(table, "it is not what was written (its checksum differs)")),
    }
}

fn check_text(user: i64, row: &InteractionRow) -> Outcome<()> {
    let InteractionRow { seq, id, base, place, sums, .. } = row;
    let base = base.map(|base| base_sum(user, *seq, base));
    let place = place.map(|place| place_sum(user, *seq, place));
    check(text_sum(user, row) == sums.text, "interactions")
        .map_err(|fault| fault.of_item(format!("text {seq} (id {id:?})")))?;
    check(base == sums.base, "interactions")
        .map_err(|fault| fault.of_item(format!("the log-likelihood of text {seq} (id {id:?})")))?;
    check(place == sums.place, "members")
        .map_err(|fault| fault.of_item(format!("the place of text {seq} (id {id:?})")))
}

/// Rows whose checksums are compared when they are read, and computed when they are written.
pub(crate) struct Checked<R>(pub(crate) R);

/// Who can be read from.
pub(crate) trait Readable {
    fn rows(&self) -> &dyn Rows;
}

impl Readable for &dyn Rows {
    fn rows(&self) -> &dyn Rows {
        *self
    }
}

impl Readable for &mut dyn RowsMut {
    fn rows(&self) -> &dyn Rows {
        &**self
    }
}

impl<R: Readable> Rows for Checked<R> {
    fn now(&self) -> Timestamp {
        self.0.rows().now()
    }

    fn settings(&self) -> Outcome<SettingsRow> {
        let row = self.0.rows().settings()?;
        check(settings_sum(&row) == row.sum, "settings")?;
        Ok(row)
    }

    fn users(&self, which: Users, after: Option<&UserId>, limit: usize) -> Outcome<Vec<UserId>> {
        self.0.rows().users(which, after, limit)
    }

    fn waiting(&self, wanted: &Wanted<'_>, limit: usize) -> Outcome<Vec<UserId>> {
        self.0.rows().waiting(wanted, limit)
    }

    fn user(&self, name: &UserId) -> Outcome<Option<UserRow>> {
        let row = self.0.rows().user(name)?;
        if let Some(row) = &row {
            check(row.name == *name && user_sum(row) == row.sum, "users")?;
        }
        Ok(row)
    }

    fn extent(&self, user: i64) -> Outcome<Extent> {
        self.0.rows().extent(user)
    }

    fn interactions(
        &self,
        user: i64,
        which: Texts,
        visit: Visit<'_, InteractionRow>,
    ) -> Outcome<()> {
        self.0.rows().interactions(user, which, &mut |row| {
            check_text(user, &row)?;
            visit(row)
        })
    }

    fn interaction(&self, user: i64, which: Text<'_>) -> Outcome<Option<InteractionRow>> {
        let row = self.0.rows().interaction(user, which)?;
        if let Some(row) = &row {
            check_text(user, row)?;
        }
        Ok(row)
    }

    /// They are numbered from 1 on, and none is ever removed: that is all there is to a period's
    /// own row.
    fn periods(&self, user: i64) -> Outcome<Vec<u32>> {
        let numbers = self.0.rows().periods(user)?;
        match numbers.iter().zip(1..).find(|(number, place)| *number != place) {
            None => Ok(numbers),
            Some((_, missing)) => {
                Err(Fault::damaged("periods", format!("there is no period {missing}")))
            }
        }
    }

    fn generations(&self, user: i64) -> Outcome<Vec<GenerationRow>> {
        let rows = self.0.rows().generations(user)?;
        for GenerationRow { number, parent, period, sum, .. } in &rows {
            check(generation_sum(user, [*number, *parent, *period]) == *sum, "generations")
                .map_err(|fault| fault.of_item(format!("generation {number}")))?;
        }
        Ok(rows)
    }

    fn record(&self, user: i64, generation: u32) -> Outcome<Option<Summed<String>>> {
        let checked = || {
            let record = self.0.rows().record(user, generation)?;
            if let Some(Summed { value, sum }) = &record {
                check(record_sum(user, generation, value) == *sum, "generations")?;
            }
            Ok(record)
        };
        checked().map_err(|fault: Fault| fault.of_item(format!("record {generation}")))
    }

    fn memories(&self, user: i64, generation: u32) -> Outcome<Option<MemoriesRow>> {
        let checked = || {
            let row = self.0.rows().memories(user, generation)?;
            if let Some(row) = &row {
                check(memories_sum(user, generation, row) == row.sum, "memories")?;
            }
            Ok(row)
        };
        checked().map_err(|fault: Fault| fault.of_item(format!("generation {generation}")))
    }

    fn answers(
        &self,
        user: i64,
        newest_first: bool,
        visit: &mut dyn FnMut(i64, Summed<String>) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<()> {
        self.0.rows().answers(user, newest_first, &mut |key, record| {
            check(answer_sum(user, &record.value) == record.sum, "answers")
                .map_err(|fault| fault.of_item(format!("record {key}")))?;
            visit(key, record)
        })
    }

    fn embedding(&self, user: i64, seq: u64, base: &str) -> Outcome<Option<Summed<Vec<u8>>>> {
        let checked = || {
            let vector = self.0.rows().embedding(user, seq, base)?;
            if let Some(Summed { value, sum }) = &vector {
                check(embedding_sum(user, seq, base, value) == *sum, "embeddings")?;
            }
            Ok(vector)
        };
        checked().map_err(|fault: Fault| fault.of_item(format!("that of text {seq}")))
    }

    fn lease(&self, user: i64) -> Outcome<Option<LeaseRow>> {
        let row = self.0.rows().lease(user)?;
        if let Some(row) = &row {
            check(lease_sum(user, row) == row.sum, "leases")?;
        }
        Ok(row)
    }

    fn graph(&self, user: i64) -> Outcome<Option<Summed<String>>> {
        let stamp = self.0.rows().graph(user)?;
        if let Some(Summed { value, sum }) = &stamp {
            check(graph_sum(user, value) == *sum, "graphs")?;
        }
        Ok(stamp)
    }

    fn consent(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        let row = self.0.rows().consent(user)?;
        if let Some(row) = &row {
            check(consent_sum(user, row) == row.sum, "consents")?;
        }
        Ok(row)
    }

    fn contribution(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        let row = self.0.rows().contribution(user)?;
        if let Some(row) = &row {
            check(contribution_sum(user, row) == row.sum, "contributions")?;
        }
        Ok(row)
    }

    fn priors(&self) -> Outcome<Vec<PriorRow>> {
        let rows = self.0.rows().priors()?;
        for row in &rows {
            check(prior_sum(row) == row.sum, "priors")
                .map_err(|fault| fault.of_item(format!("prior {}", row.number)))?;
        }
        Ok(rows)
    }

    fn prior_record(&self, number: u32) -> Outcome<Option<Summed<String>>> {
        let record = self.0.rows().prior_record(number)?;
        if let Some(Summed { value, sum }) = &record {
            check(prior_record_sum(number, value) == *sum, "priors")
                .map_err(|fault| fault.of_item(format!("the record of prior {number}")))?;
        }
        Ok(record)
    }

    fn prior_adapter(&self, number: u32) -> Outcome<Option<Summed<Vec<u8>>>> {
        let adapter = self.0.rows().prior_adapter(number)?;
        if let Some(Summed { value, sum }) = &adapter {
            check(prior_adapter_sum(number, value) == *sum, "priors")
                .map_err(|fault| fault.of_item(format!("the adapter of prior {number}")))?;
        }
        Ok(adapter)
    }

    fn users_with(&self, text: &str) -> Outcome<u64> {
        self.0.rows().users_with(text)
    }

    fn keys(&self) -> Outcome<Vec<KeyRow>> {
        let rows = self.0.rows().keys()?;
        rows.iter().try_for_each(check_key)?;
        Ok(rows)
    }

    fn key(&self, hash: &[u8]) -> Outcome<Option<KeyRow>> {
        let row = self.0.rows().key(hash)?;
        row.iter().try_for_each(check_key)?;
        Ok(row)
    }

    fn replicas(&self, within: Duration) -> Outcome<Vec<ReplicaRow>> {
        self.0.rows().replicas(within)
    }
}

impl RowsMut for Checked<&mut dyn RowsMut> {
    fn put_settings(&mut self, row: &SettingsRow) -> Outcome<()> {
        self.0.put_settings(&summed(row.clone()))
    }

    fn forget_bases(&mut self) -> Outcome<()> {
        self.0.forget_bases()
    }

    fn add_user(&mut self, name: &UserId, removals: u64) -> Outcome<UserRow> {
        let row = self.0.add_user(name, removals)?;
        self.put_user(&row)?;
        Ok(row)
    }

    fn put_user(&mut self, user: &UserRow) -> Outcome<()> {
        self.0.put_user(&UserRow { sum: user_sum(user), ..user.clone() })
    }

    fn delete_user(&mut self, user: i64) -> Outcome<()> {
        self.0.delete_user(user)
    }

    fn put_interaction(&mut self, user: i64, row: &InteractionRow) -> Outcome<()> {
        let sums = InteractionSums {
            text: text_sum(user, row),
            base: row.base.map(|base| base_sum(user, row.seq, base)),
            place: None,
        };
        self.0.put_interaction(user, &InteractionRow { sums, ..row.clone() })
    }

    fn set_base(&mut self, user: i64, seq: u64, base: Summed<f64>) -> Outcome<bool> {
        let sum = base_sum(user, seq, base.value);
        self.0.set_base(user, seq, Summed { sum, ..base })
    }

    fn delete_interaction(&mut self, user: i64, seq: u64) -> Outcome<()> {
        self.0.delete_interaction(user, seq)
    }

    fn put_period(&mut self, user: i64, number: u32, members: &[MemberRow]) -> Outcome<()> {
        let summed = |member: &MemberRow| {
            let sum = place_sum(user, member.seq, (number, member.held_out));
            MemberRow { sum, ..*member }
        };
        self.0.put_period(user, number, &members.iter().map(summed).collect::<Vec<_>>())
    }

    fn put_generation(&mut self, user: i64, row: &LearnedRow) -> Outcome<()> {
        let LearnedRow { number, parent, period, record, sum: _ } = row.clone();
        let sum = generation_sum(user, [number, parent, period]);
        let record = Summed { sum: record_sum(user, number, &record.value), ..record };
        self.0.put_generation(user, &LearnedRow { number, parent, period, sum, record })
    }

    fn put_memories(
        &mut self,
        user: i64,
        generation: u32,
        row: Option<&MemoriesRow>,
    ) -> Outcome<()> {
        let summed =
            row.map(|row| MemoriesRow { sum: memories_sum(user, generation, row), ..row.clone() });
        self.0.put_memories(user, generation, summed.as_ref())
    }

    fn put_answer(&mut self, user: i64, record: Summed<&str>) -> Outcome<()> {
        let sum = answer_sum(user, record.value);
        self.0.put_answer(user, Summed { sum, ..record })
    }

    fn delete_answer(&mut self, user: i64, key: i64) -> Outcome<()> {
        self.0.delete_answer(user, key)
    }

    fn put_embedding(
        &mut self,
        user: i64,
        seq: u64,
        base: &str,
        vector: Summed<&[u8]>,
    ) -> Outcome<()> {
        let sum = embedding_sum(user, seq, base, vector.value);
        self.0.put_embedding(user, seq, base, Summed { sum, ..vector })
    }

    fn swap_lease(&mut self, user: i64, expected: Option<i64>, lease: &LeaseRow) -> Outcome<bool> {
        let sum = lease_sum(user, lease);
        self.0.swap_lease(user, expected, &LeaseRow { sum, ..lease.clone() })
    }

    fn put_graph(&mut self, user: i64, stamp: Option<Summed<&str>>) -> Outcome<()> {
        let summed = stamp.map(|stamp| Summed { sum: graph_sum(user, stamp.value), ..stamp });
        self.0.put_graph(user, summed)
    }

    fn put_consent(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        self.0.put_consent(user, &ConsentRow { sum: consent_sum(user, row), ..*row })
    }

    fn put_contribution(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        let sum = contribution_sum(user, row);
        self.0.put_contribution(user, &ConsentRow { sum, ..*row })
    }

    fn add_prior(
        &mut self,
        row: &PriorRow,
        record: Summed<&str>,
        adapter: Summed<&[u8]>,
    ) -> Outcome<()> {
        let row = PriorRow { sum: prior_sum(row), ..row.clone() };
        let record = Summed { sum: prior_record_sum(row.number, record.value), ..record };
        let adapter = Summed { sum: prior_adapter_sum(row.number, adapter.value), ..adapter };
        self.0.add_prior(&row, record, adapter)
    }

    fn put_prior(&mut self, row: &PriorRow) -> Outcome<()> {
        self.0.put_prior(&PriorRow { sum: prior_sum(row), ..row.clone() })
    }

    fn put_prior_record(&mut self, number: u32, record: Summed<&str>) -> Outcome<()> {
        let sum = prior_record_sum(number, record.value);
        self.0.put_prior_record(number, Summed { sum, ..record })
    }

    fn delete_prior(&mut self, number: u32) -> Outcome<()> {
        self.0.delete_prior(number)
    }

    fn put_key(&mut self, row: &KeyRow) -> Outcome<()> {
        self.0.put_key(&KeyRow { sum: key_sum(row), ..row.clone() })
    }

    fn put_replica(&mut self, row: &ReplicaRow, lasts: Duration) -> Outcome<()> {
        self.0.put_replica(row, lasts)
    }

    fn delete_replica(&mut self, url: &str) -> Outcome<()> {
        self.0.delete_replica(url)
    }
}

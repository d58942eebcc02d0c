//! What tells two users' states apart: one number for all that is kept.

use jiff::Timestamp;
use serde::Serialize;
use spring_memory::UserId;
use spring_numerics::digest::Digest;

use super::{Store, answers, encode::from_json};
use crate::{
    Result,
    backend::{Backend, Fault, Outcome, Rows, Texts, UserRow},
    record::{AnswerRecord, PeriodRecord, UpdateRecord},
};

impl<B: Backend + ?Sized> Store<B> {
    /// SHA-256, as hexadecimal, of all that is kept of a user but the time of day at which it was
    /// computed: equal for equal texts, adapters, buffers and records, in whichever state and
    /// backend they lie.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if something is damaged.
    pub fn digest(&self, user: &UserId) -> Result<String> {
        self.read_user(user, |rows, row| digest(rows, user, row))
    }
}

/// A column's value.
enum Value<'v> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'v str),
    Bytes(&'v [u8]),
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

/// Numbers that no state can hold are as good as any other.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(-1))
    }
}

struct Hash(Digest);

impl Hash {
    /// A row's values, each with its type and length before it, so that none runs into the next.
    fn row<const N: usize>(&mut self, values: [Value<'_>; N]) {
        for value in values {
            match value {
                Value::Null => self.value(0, &[]),
                Value::Integer(number) => self.value(1, &number.to_le_bytes()),
                Value::Real(number) => self.value(2, &number.to_le_bytes()),
                Value::Text(text) => self.value(3, text.as_bytes()),
                Value::Bytes(bytes) => self.value(4, bytes),
            }
        }
    }

    fn value(&mut self, kind: u8, bytes: &[u8]) {
        self.0.update([kind]);
        self.0.update_part(bytes);
    }

    fn record(&mut self, table: &'static str, record: &impl Serialize) -> Outcome<()> {
        let json = serde_json::to_vec(record).map_err(|error| Fault::damaged(table, error))?;
        self.0.update(json);
        Ok(())
    }
}

fn digest(rows: &dyn Rows, name: &UserId, user: &UserRow) -> Outcome<String> {
    let mut hash = Hash(Digest::new());
    hash.0.update("users");
    let (next_seq, pending) = (user.next_seq.into(), user.pending.into());
    hash.row([Value::Text(name.as_str()), next_seq, user.generation.into(), pending]);
    hash.0.update("interactions");
    let mut members = Vec::new();
    rows.interactions(user.key, Texts::BySeq, &mut |row| {
        hash.row([
            row.seq.into(),
            Value::Text(&row.id),
            Value::Integer(row.seconds),
            Value::Integer(row.nanoseconds.into()),
            row.base.map_or(Value::Null, Value::Real),
            row.meta.as_deref().map_or(Value::Null, Value::Text),
            Value::Text(&row.prompt),
            Value::Text(&row.response),
        ]);
        members.extend(row.place.map(|(period, held_out)| (row.seq, period, held_out)));
        Ok(())
    })?;
    hash.0.update("periods");
    for number in rows.periods(user.key)? {
        hash.row([number.into()]);
    }
    hash.0.update("members");
    for (seq, period, held_out) in members {
        hash.row([seq.into(), period.into(), Value::Integer(held_out.into())]);
    }
    hash.0.update("generations");
    let generations = rows.generations(user.key)?;
    for row in &generations {
        hash.row([row.number.into(), row.parent.into(), row.period.into()]);
    }
    hash.0.update("memories");
    for row in &generations {
        let Some(memories) = rows.memories(user.key, row.number)? else { continue };
        hash.row([
            row.number.into(),
            memories.buffered.into(),
            Value::Text(&memories.buffer),
            Value::Text(&memories.calibration),
            Value::Bytes(&memories.adapter),
        ]);
    }
    // Records without what differs between two runs.
    for row in &generations {
        let Some(record) = rows.record(user.key, row.number)? else { continue };
        let record: PeriodRecord = from_json("generations", &record)?;
        let update = UpdateRecord { seconds: 0.0, ..record.update };
        let finished = Timestamp::UNIX_EPOCH;
        hash.record("generations", &PeriodRecord { finished, seconds: 0.0, update, ..record })?;
    }
    answers::each(rows, user.key, |_, record| {
        let answer: AnswerRecord = from_json("answers", record)?;
        hash.record("answers", &AnswerRecord { time: Timestamp::UNIX_EPOCH, ..answer })
    })?;
    Ok(hash.0.hex())
}

//! What tells two users' states apart: one number for all that is kept.

use jiff::Timestamp;
use serde::Serialize;
use spring_memory::UserId;
use spring_numerics::digest::Digest;

use super::{Store, answers, encode::from_json, value::Value};
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

struct Hash(Digest);

impl Hash {
    /// A row's values, each with its type and length before it, so that none runs into the next.
    fn row<const N: usize>(&mut self, values: [Value<'_>; N]) {
        for value in values {
            value.parts(|part| self.0.update(part));
        }
    }

    fn record(&mut self, table: &'static str, record: &impl Serialize) -> Outcome<()> {
        let json = serde_json::to_vec(record).map_err(|error| Fault::damaged(table, error))?;
        self.0.update(json);
        Ok(())
    }
}

pub(super) fn digest(rows: &dyn Rows, name: &UserId, user: &UserRow) -> Outcome<String> {
    let mut hash = Hash(Digest::new());
    hash.0.update("users");
    let (next_seq, pending) = (user.next_seq.into(), user.pending.into());
    hash.row([Value::Text(name.as_str()), next_seq, user.generation.into(), pending]);
    // Who has said nothing has the digest of a state that knew no such thing.
    if let Some(consent) = rows.consent(user.key)? {
        hash.0.update("consents");
        hash.row([Value::Integer(consent.keep.into()), Value::Integer(consent.since)]);
    }
    if let Some(said) = rows.contribution(user.key)? {
        hash.0.update("contributions");
        hash.row([Value::Integer(said.keep.into()), Value::Integer(said.since)]);
    }
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
    // Records without what differs between two runs, or will be gone soon.
    for row in &generations {
        let Some(record) = rows.record(user.key, row.number)? else { continue };
        let record: PeriodRecord = from_json("generations", &record.value)?;
        let update = UpdateRecord { seconds: 0.0, ..record.update };
        let (finished, unjudged) = (Timestamp::UNIX_EPOCH, false);
        let record = PeriodRecord { finished, seconds: 0.0, update, unjudged, ..record };
        hash.record("generations", &record)?;
    }
    answers::each(rows, user.key, |_, record| {
        let answer: AnswerRecord = from_json("answers", record)?;
        hash.record("answers", &AnswerRecord { time: Timestamp::UNIX_EPOCH, ..answer })
    })?;
    Ok(hash.0.hex())
}

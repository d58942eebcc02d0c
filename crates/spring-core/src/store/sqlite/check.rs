//! Whether a state is whole, and what tells two of them apart.

use jiff::Timestamp;
use rusqlite::{
    Connection, Row,
    types::{Type, ValueRef},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use spring_lm::Adapter;
use spring_memory::BufferItem;

use super::{
    fault::{Fault, Outcome},
    user::User,
    value::Json,
};
use crate::{
    Error,
    record::{AnswerRecord, PeriodRecord, UpdateRecord},
};

/// SQLite's own checks: pages, indexes, constraints, references.
pub(super) fn check_file(connection: &Connection) -> Outcome<()> {
    let mut query = connection.prepare("PRAGMA integrity_check(1)")?;
    let found: String = query.query_row((), |row| row.get(0))?;
    if found != "ok" {
        let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(Fault::State(format!("damaged: {found}; restore the file from a copy")));
    }
    let mut query = connection.prepare("PRAGMA foreign_key_check")?;
    let table: Option<String> = query.query_map((), |row| row.get(0))?.next().transpose()?;
    match table {
        Some(table) => Err(Fault::damaged(&table, None, "a row belongs to nothing")),
        None => Ok(()),
    }
}

/// What SQLite cannot know: that everything of a user reads back and fits together.
pub(super) fn check_user(user: &User<'_>) -> Outcome<()> {
    let damaged = |table, detail: String| Err(Fault::damaged(table, Some(user.name), detail));
    let summary = user.summary()?;
    let pending = user.row(
        "members",
        "SELECT ?2 - count(*) FROM members WHERE user = ?1",
        (user.key, summary.interactions),
        |row| row.get::<_, u64>(0),
    )?;
    if pending != Some(summary.pending) {
        return damaged("users", format!("{} pending, but there are {pending:?}", summary.pending));
    }
    if user.generation > 0 {
        user.check_kept(user.generation).or_else(|_| {
            damaged("users", format!("generation {} is in use but not there", user.generation))
        })?;
    }
    let generations = "SELECT record FROM generations WHERE user = ?1";
    user.each("generations", generations, [user.key], |row| row.get(0), |Json::<PeriodRecord>(_)| Ok(()))?;
    let answers = "SELECT record FROM answers WHERE user = ?1";
    user.each("answers", answers, [user.key], |row| row.get(0), |Json::<AnswerRecord>(_)| Ok(()))?;
    let numbers = "SELECT generation FROM memories WHERE user = ?1 ORDER BY generation";
    // One at a time: adapters are large.
    for generation in user.rows("memories", numbers, [user.key], |row| row.get(0))? {
        check_memories(user, generation).or_else(|fault| match fault {
            Fault::Other(Error::Model(error)) => {
                damaged("memories", format!("the adapter of generation {generation}: {error}"))
            }
            other => Err(other),
        })?;
    }
    Ok(())
}

/// That a generation can be generated with: its adapter, its buffer and the texts in it, and the calibration sample.
fn check_memories(user: &User<'_>, generation: u32) -> Outcome<()> {
    let damaged = |detail: String| {
        Err(Fault::damaged("memories", Some(user.name), format!("generation {generation}: {detail}")))
    };
    let memories = user.row(
        "memories",
        "SELECT buffered, buffer, calibration, adapter FROM memories WHERE user = ?1 AND generation = ?2",
        (user.key, generation),
        |row| {
            let Json::<Vec<BufferItem>>(buffer) = row.get("buffer")?;
            let Json::<Vec<f64>>(_) = row.get("calibration")?;
            Ok((row.get::<_, usize>("buffered")?, buffer, row.get::<_, Vec<u8>>("adapter")?))
        },
    )?;
    let Some((buffered, buffer, adapter)) = memories else { return Ok(()) };
    if buffer.len() != buffered {
        return damaged(format!("its buffer is said to hold {buffered} texts, and holds {}", buffer.len()));
    }
    for item in &buffer {
        match user.place(item.key)? {
            Some((_, false)) => {}
            _ => return damaged(format!("text {} cannot be in the buffer", item.key)),
        }
    }
    let adapter = Adapter::from_bytes(&adapter).map_err(Error::from)?;
    match user.is_base(&adapter.base)? {
        true => Ok(()),
        false => damaged("the adapter is of another base than the state".into()),
    }
}

/// A number for all that is kept of a user but the time of day at which it was computed: SHA-256, as hexadecimal.
pub(super) fn digest(user: &User<'_>) -> Outcome<String> {
    let mut hash = Sha256::new();
    for (table, query) in [
        ("users", "SELECT name, next_seq, generation, pending FROM users WHERE key = ?1"),
        (
            "interactions",
            "SELECT seq, id, seconds, nanoseconds, base, meta, prompt, response FROM interactions
             WHERE user = ?1 ORDER BY seq",
        ),
        ("periods", "SELECT number FROM periods WHERE user = ?1 ORDER BY number"),
        ("members", "SELECT seq, period, held_out FROM members WHERE user = ?1 ORDER BY seq"),
        ("generations", "SELECT number, parent, period FROM generations WHERE user = ?1 ORDER BY number"),
        (
            "memories",
            "SELECT generation, buffered, buffer, calibration, adapter FROM memories
             WHERE user = ?1 ORDER BY generation",
        ),
    ] {
        hash.update(table);
        user.each(table, query, [user.key], row_bytes, |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
    }
    hash_records(user, &mut hash, "generations", "number", |record: PeriodRecord| {
        let update = UpdateRecord { seconds: 0.0, ..record.update };
        PeriodRecord { finished: Timestamp::UNIX_EPOCH, seconds: 0.0, update, ..record }
    })?;
    hash_records(user, &mut hash, "answers", "key", |answer: AnswerRecord| AnswerRecord {
        time: Timestamp::UNIX_EPOCH,
        ..answer
    })?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A table's records in the order of a column, without what differs between two runs.
fn hash_records<R: DeserializeOwned + Serialize>(
    user: &User<'_>,
    hash: &mut Sha256,
    table: &str,
    order: &str,
    timeless: impl Fn(R) -> R,
) -> Outcome<()> {
    let query = format!("SELECT record FROM {table} WHERE user = ?1 ORDER BY {order}");
    let bytes = |row: &Row<'_>| {
        let Json(record) = row.get(0)?;
        let unwritable =
            |error: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into());
        serde_json::to_vec(&timeless(record)).map_err(unwritable)
    };
    user.each(table, &query, [user.key], bytes, |bytes| {
        hash.update(bytes);
        Ok(())
    })?;
    Ok(())
}

/// The columns of a row, each with its type and length before it, so that none runs into the next.
fn row_bytes(row: &Row<'_>) -> rusqlite::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut add = |kind: u8, value: &[u8]| {
        bytes.push(kind);
        bytes.extend((value.len() as u64).to_le_bytes());
        bytes.extend(value);
    };
    for column in 0..row.as_ref().column_count() {
        match row.get_ref(column)? {
            ValueRef::Null => add(0, &[]),
            ValueRef::Integer(value) => add(1, &value.to_le_bytes()),
            ValueRef::Real(value) => add(2, &value.to_le_bytes()),
            ValueRef::Text(value) => add(3, value),
            ValueRef::Blob(value) => add(4, value),
        }
    }
    Ok(bytes)
}

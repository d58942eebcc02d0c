//! Removing what a person wants forgotten, from tables and from the file's free pages.

use rusqlite::Connection;

use super::{
    fault::{Fault, Outcome},
    lease,
    user::{User, number_of},
    value::{Json, to_json},
};
use crate::{
    record::AnswerRecord,
    store::{Forgetting, Forgotten, Lease, Relearned, StoredInteraction},
};

/// Everything of a user: all rows hang on one.
pub(super) fn forget(user: &User<'_>) -> Outcome<Forgotten> {
    let count = |table, query| {
        Ok::<_, Fault>(user.row(table, query, [user.key], |row| row.get::<_, u64>(0))?.unwrap_or_default())
    };
    let forgotten = Forgotten {
        interactions: count("interactions", "SELECT count(*) FROM interactions WHERE user = ?1")?,
        generations_removed: count("generations", "SELECT count(*) FROM generations WHERE user = ?1")?,
        answers: count("answers", "SELECT count(*) FROM answers WHERE user = ?1")?,
        ..Forgotten::default()
    };
    user.execute("DELETE FROM users WHERE key = ?1", [user.key])?;
    ask_for_scrub(user.connection)?;
    Ok(forgotten)
}

/// One interaction, and what was learned from it.
pub(super) fn forget_interaction(
    user: &User<'_>,
    lease: &Lease,
    forgetting: &Forgetting,
) -> Outcome<Forgotten> {
    lease::check(user, lease)?;
    let seq = number_of(forgetting.seq);
    let text = user.row(
        "interactions",
        "SELECT * FROM interactions WHERE user = ?1 AND seq = ?2",
        (user.key, seq),
        |row| user.stored(row),
    )?;
    let text = text.ok_or_else(|| user.no_interaction(forgetting.seq))?;
    match user.place(forgetting.seq)? {
        None => {
            user.execute("UPDATE users SET pending = pending - 1 WHERE key = ?1", [user.key])?;
        }
        // No generation saw it; their records counted it.
        Some((period, true)) => {
            user.execute(
                "UPDATE generations SET record = json_set(record, '$.held_out', record ->> '$.held_out' - 1)
                 WHERE user = ?1 AND period = ?2",
                (user.key, period),
            )?;
        }
        Some((_, false)) => {}
    }
    user.execute("DELETE FROM interactions WHERE user = ?1 AND seq = ?2", (user.key, seq))?;
    // Its dump has the embedding in it.
    user.execute("DELETE FROM graphs WHERE user = ?1", [user.key])?;
    for relearned in &forgetting.relearned {
        replace(user, relearned)?;
    }
    let answers = forget_answers(user, &text, &forgetting.relearned)?;
    ask_for_scrub(user.connection)?;
    Ok(Forgotten {
        interactions: 1,
        generations_relearned: forgetting.relearned.len() as u64,
        answers,
        ..Forgotten::default()
    })
}

/// Puts a generation that was learned again in the place of the old one.
fn replace(user: &User<'_>, relearned: &Relearned) -> Outcome<()> {
    let number = relearned.number;
    let what = |what: &str| format!("the {what} of user {}, generation {number}", user.name);
    let record = to_json(&what("record"), &relearned.record)?;
    let known = user.execute(
        "UPDATE generations SET record = ?3 WHERE user = ?1 AND number = ?2",
        (user.key, number, record),
    )?;
    if known == 0 {
        return Err(user.unknown("generation", number));
    }
    user.execute("DELETE FROM memories WHERE user = ?1 AND generation = ?2", (user.key, number))?;
    if let Some((adapter, buffer, calibration)) = &relearned.memories {
        user.insert_memories(number, adapter, buffer, calibration)?;
    }
    user.set_base(&relearned.base)
}

/// Removes the records of texts that a generation wrote which had seen the interaction, or that found or quote it.
fn forget_answers(user: &User<'_>, text: &StoredInteraction, relearned: &[Relearned]) -> Outcome<u64> {
    let derived = |answer: &AnswerRecord| {
        relearned.iter().any(|generation| generation.number == answer.generation)
            || answer.retrieved.iter().any(|found| found.seq == text.seq)
            || [&answer.prompt, &answer.text].iter().any(|said| said.contains(&text.interaction.response))
    };
    let find = || {
        let mut query = user.connection.prepare_cached("SELECT key, record FROM answers WHERE user = ?1")?;
        let mut rows = query.query([user.key])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            let Json(answer) = row.get("record")?;
            if derived(&answer) {
                keys.push(row.get::<_, i64>("key")?);
            }
        }
        Ok(keys)
    };
    let keys = find().map_err(|error| Fault::of_query(error, "answers", Some(user.name)))?;
    for key in &keys {
        user.execute("DELETE FROM answers WHERE key = ?1", [key])?;
    }
    Ok(keys.len() as u64)
}

/// In the same transaction as the removal, so that a crash before the file is rewritten is made good later.
fn ask_for_scrub(connection: &Connection) -> Outcome<()> {
    connection.execute("UPDATE settings SET scrub = 1", ())?;
    Ok(())
}

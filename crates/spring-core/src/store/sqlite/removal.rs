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
    count_and_ask_for_scrub(user.connection)?;
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
    // Its links were made with the text's embedding.
    user.execute("DELETE FROM graphs WHERE user = ?1", [user.key])?;
    for relearned in &forgetting.relearned {
        replace(user, relearned)?;
    }
    let answers = forget_answers(user, &text, &forgetting.relearned)?;
    count_and_ask_for_scrub(user.connection)?;
    user.execute("UPDATE users SET removals = (SELECT removals FROM settings) WHERE key = ?1", [user.key])?;
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
    user.set_base(&relearned.base, relearned.record.config.training.max_tokens)
}

/// Removes the records of texts that a generation wrote which had seen the interaction, or that found or quote it.
///
/// Prompts and responses that another text of the user has as well, such as a template or a label, are not this one's.
fn forget_answers(user: &User<'_>, text: &StoredInteraction, relearned: &[Relearned]) -> Outcome<u64> {
    let mut own = Vec::new();
    for (said, query) in [
        (&text.interaction.prompt, "SELECT 1 FROM interactions WHERE user = ?1 AND prompt = ?2 LIMIT 1"),
        (&text.interaction.response, "SELECT 1 FROM interactions WHERE user = ?1 AND response = ?2 LIMIT 1"),
    ] {
        if user.row("interactions", query, (user.key, said), |_| Ok(()))?.is_none() {
            own.push(said.as_str());
        }
    }
    let derived = |answer: &AnswerRecord| {
        relearned.iter().any(|generation| generation.number == answer.generation)
            || answer.retrieved.iter().any(|found| found.seq == text.seq)
            || own.iter().any(|own| quotes(&answer.prompt, own) || quotes(&answer.text, own))
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

/// As few characters are said by chance: they quote a text only where they are all that is said.
const FEW: usize = 4;
/// As many characters quote a text also where they begin or end inside a word.
const MANY: usize = 16;

/// Whether something that was said has a text in it.
fn quotes(said: &str, text: &str) -> bool {
    let text = text.trim();
    let is_cut = |before: Option<char>, after: Option<char>| {
        [before, after].iter().all(|side| side.is_some_and(char::is_alphanumeric))
    };
    let mut found = said.match_indices(text);
    match text.chars().count() {
        0 => false,
        1..FEW => said.trim() == text,
        FEW..MANY => found.any(|(at, _)| {
            let (before, after) = (&said[..at], &said[at + text.len()..]);
            !is_cut(before.chars().next_back(), text.chars().next())
                && !is_cut(text.chars().next_back(), after.chars().next())
        }),
        MANY.. => found.next().is_some(),
    }
}

/// In the same transaction as the removal, so that a crash before the file is rewritten is made good later.
fn count_and_ask_for_scrub(connection: &Connection) -> Outcome<()> {
    connection.execute("UPDATE settings SET scrub = 1, removals = removals + 1", ())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_no_chance() {
        for (said, text, is_quoted) in [
            ("anything", "", false),
            ("anything", " ", false),
            ("5", "5", true),
            (" 5\n", "5", true),
            ("at 5 o'clock", "5", false),
            ("a comedy, then", "comedy", true),
            ("comedy", "comedy ", true),
            ("a comedy2", "comedy", false),
            ("tragicomedy, comedy", "comedy", true),
            ("Ünot", "not!", false),
            ("x(not!)x", "not!", true),
            ("notaries not", "nota", false),
            ("so he was a singular personalit", "he was a singular person", true),
        ] {
            assert_eq!(quotes(said, text), is_quoted, "{said:?} {text:?}");
        }
    }
}

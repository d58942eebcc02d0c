//! Removing what a person wants forgotten.

use spring_memory::UserId;

use super::{
    Store, answers,
    encode::{from_json, stored, to_json},
    generations::{put_memories, set_bases},
    lease, no_interaction, unknown,
};
use crate::{
    Forgetting, Forgotten, Lease, Relearned, Result, StoredInteraction,
    backend::{Backend, Durability, GenerationRow, Outcome, Rows, RowsMut, Text, Texts, UserRow},
    record::{AnswerRecord, PeriodRecord},
};

impl<B: Backend + ?Sized> Store<B> {
    /// Removes a user with everything that is kept of them; training that is under way is not
    /// committed any more.
    ///
    /// Where rows do not show it, such as in free pages, what was removed is wiped out after the
    /// transaction; see [`Forgotten::scrubbed`].
    pub fn forget(&self, user: &UserId) -> Result<Forgotten> {
        let forgotten = self.write_user(Durability::Power, user, |rows, row| {
            let mut count = 0;
            answers::each(rows, row.key, |_, _| {
                count += 1;
                Ok(())
            })?;
            let forgotten = Forgotten {
                interactions: rows.extent(row.key)?.interactions,
                generations_removed: rows.generations(row.key)?.len() as u64,
                answers: count,
                ..Forgotten::default()
            };
            rows.delete_user(row.key)?;
            rows.count_removal()?;
            Ok(forgotten)
        })?;
        Ok(self.finished(forgotten))
    }

    /// Removes one interaction, puts what was learned again without it in place, and removes the
    /// records of texts that were generated from it or that quote it.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) if the lease has been lost,
    /// [`Error::State`](crate::Error::State) if there is no such interaction.
    pub fn forget_interaction(&self, lease: &Lease, forgetting: &Forgetting) -> Result<Forgotten> {
        let name = &lease.user;
        let forgotten = self.write_user(Durability::Power, name, |rows, user| {
            lease::check(rows, user, lease)?;
            remove(rows, name, user, forgetting)
        })?;
        Ok(self.finished(forgotten))
    }

    fn finished(&self, forgotten: Forgotten) -> Forgotten {
        let held_up = self.backend.finish_removals();
        Forgotten { scrubbed: held_up.is_none(), held_up, ..forgotten }
    }
}

fn remove(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: &mut UserRow,
    forgetting: &Forgetting,
) -> Outcome<Forgotten> {
    let Forgetting { seq, relearned } = forgetting;
    let text = rows.interaction(user.key, Text::Seq(*seq))?;
    let (text, place) = stored(text.ok_or_else(|| no_interaction(name, *seq))?, name)?;
    match place {
        None => user.pending = user.pending.saturating_sub(1),
        // No generation saw it; their records counted it.
        Some((period, true)) => uncount_held_out(rows, name, user.key, period)?,
        Some((_, false)) => {}
    }
    rows.delete_interaction(user.key, *seq)?;
    // Its links were made with the text's embedding.
    rows.put_graph(user.key, None)?;
    for relearned in relearned {
        replace(rows, name, user.key, relearned)?;
    }
    let answers = remove_answers(rows, user.key, &text, relearned)?;
    user.removals = rows.count_removal()?;
    rows.put_user(user)?;
    let generations_relearned = relearned.len() as u64;
    Ok(Forgotten { interactions: 1, generations_relearned, answers, ..Forgotten::default() })
}

fn uncount_held_out(rows: &mut dyn RowsMut, name: &UserId, user: i64, period: u32) -> Outcome<()> {
    for row in rows.generations(user)?.iter().filter(|row| row.period == period) {
        let GenerationRow { number, parent, .. } = *row;
        let Some(record) = rows.record(user, number)? else { continue };
        let mut record: PeriodRecord = from_json("generations", &record)?;
        record.held_out = record.held_out.saturating_sub(1);
        let json = to_json(&format!("the record of user {name}, period {period}"), &record)?;
        rows.put_generation(user, number, parent, period, &json)?;
    }
    Ok(())
}

/// Puts a generation that was learned again in the place of the old one.
fn replace(rows: &mut dyn RowsMut, name: &UserId, user: i64, relearned: &Relearned) -> Outcome<()> {
    let Relearned { number, memories, base, record } = relearned;
    let generations = rows.generations(user)?;
    let known = generations.iter().find(|row| row.number == *number);
    let known = known.ok_or_else(|| unknown(name, "generation", *number))?;
    let json = to_json(&format!("the record of user {name}, generation {number}"), record)?;
    rows.put_generation(user, *number, known.parent, known.period, &json)?;
    match memories {
        Some((adapter, buffer, calibration)) => {
            put_memories(rows, name, user, *number, (adapter, buffer, calibration))?;
        }
        None => rows.put_memories(user, *number, None)?,
    }
    set_bases(rows, name, user, base, record.config.training.max_tokens)
}

/// Removes the records of texts that a generation wrote which had seen the interaction, or that
/// found or quote it.
///
/// Prompts and responses that another text of the user has as well, such as a template or a label,
/// are not this one's.
fn remove_answers(
    rows: &mut dyn RowsMut,
    user: i64,
    text: &StoredInteraction,
    relearned: &[Relearned],
) -> Outcome<u64> {
    let own = own_words(rows, user, text)?;
    let derived = |answer: &AnswerRecord| {
        relearned.iter().any(|generation| generation.number == answer.generation)
            || answer.retrieved.iter().any(|found| found.seq == text.seq)
            || own.iter().any(|own| quotes(&answer.prompt, own) || quotes(&answer.text, own))
    };
    let mut keys = Vec::new();
    answers::each(rows, user, |key, record| {
        if derived(&from_json("answers", record)?) {
            keys.push(key);
        }
        Ok(())
    })?;
    for key in &keys {
        rows.delete_answer(user, *key)?;
    }
    Ok(keys.len() as u64)
}

/// What of a text's prompt and response no other text of the user says too.
fn own_words<'t>(rows: &dyn Rows, user: i64, text: &'t StoredInteraction) -> Outcome<Vec<&'t str>> {
    let (prompt, response) = (&text.interaction.prompt, &text.interaction.response);
    let (mut own_prompt, mut own_response) = (true, true);
    rows.interactions(user, Texts::BySeq, &mut |other| {
        own_prompt &= other.prompt != *prompt;
        own_response &= other.response != *response;
        Ok(())
    })?;
    let own = [(own_prompt, prompt), (own_response, response)];
    Ok(own.into_iter().filter(|(is_own, _)| *is_own).map(|(_, said)| said.as_str()).collect())
}

/// Fewer characters than this are said by chance: they quote a text only where they are all that is
/// said.
const FEW: usize = 4;
/// This many characters quote a text also where they begin or end inside a word.
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

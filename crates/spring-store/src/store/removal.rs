//! Removing what a person wants forgotten.

use std::ops::ControlFlow;

use spring_memory::UserId;

use super::{
    Checked, Store, answers,
    commit::{put_memories, set_bases},
    count_removal,
    encode::{from_json, stored, to_json},
    keys, known, lease, no_interaction, prior,
    quotation::Quotable,
    unknown,
};
use crate::{
    Forgetting, Forgotten, Lease, Relearned, Result, StoredInteraction,
    backend::{Backend, Durability, LearnedRow, Outcome, RowsMut, Text, Texts, UserRow},
    record::{AnswerRecord, PeriodRecord},
};

impl<B: Backend + ?Sized> Store<B> {
    /// Removes a user with everything that is kept of them; training that is under way is not
    /// committed any more.
    ///
    /// Where rows do not show it, such as in free pages, what was removed is wiped out after the
    /// transaction; see [`Forgotten::scrubbed`]. Damage to what is removed does not keep it.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedPrior`](crate::Error::DamagedPrior) if it cannot be told whether a prior was
    /// learned from the user.
    pub fn forget(&self, user: &UserId) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        let done = self.backend.write(Durability::Power, &mut |rows| {
            let row = known(rows, user)?;
            let mut count = 0;
            rows.answers(row.key, false, &mut |_, _| {
                count += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            forgotten = Forgotten {
                interactions: rows.extent(row.key)?.interactions,
                generations_removed: rows.generations(row.key)?.len() as u64,
                answers: count,
                ..Forgotten::default()
            };
            let has_keys = !rows.keys()?.is_empty();
            let may_know = prior::may_know(&*rows, row.key)?;
            rows.delete_user(row.key)?;
            let mut rows = Checked(rows);
            if has_keys {
                keys::keep_asking(&mut rows)?;
            }
            forgotten.priors = prior::forget(&mut rows, user, may_know, None)?;
            count_removal(&mut rows)?;
            Ok(())
        });
        self.told(done, Some(()))?;
        Ok(self.finished(forgotten))
    }

    /// Removes one interaction, puts what was learned again without it in place, and removes the
    /// records of texts that were generated from it or that quote it.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) if the lease has been lost,
    /// [`Error::State`](crate::Error::State) if there is no such interaction,
    /// [`Error::DamagedPrior`](crate::Error::DamagedPrior) if it cannot be told whether a prior was
    /// learned from it.
    pub fn forget_interaction(&self, lease: &Lease, forgetting: &Forgetting) -> Result<Forgotten> {
        let name = &lease.user;
        let forgotten = self.write_user(Durability::Power, name, |rows, user| {
            lease::check(rows, user, lease)?;
            remove(rows, name, user, forgetting)
        })?;
        Ok(self.finished(forgotten))
    }

    /// Puts generations that were learned again from the prior in use, or from the base where there
    /// is none, in the place of those of their numbers. What removals leave in free pages is wiped
    /// out by [`sweep_priors`](Self::sweep_priors), or when the state is next opened for writing.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) if the lease has been lost, or another prior has
    /// come into use meanwhile.
    pub fn relearn(&self, lease: &Lease, relearned: &[Relearned]) -> Result<()> {
        let name = &lease.user;
        self.write_user(Durability::Power, name, |rows, user| {
            lease::check(rows, user, lease)?;
            let start = prior::in_use(&*rows)?.map(|row| row.id);
            for again in relearned {
                let is_first = again.record.parent == 0 && !again.record.imported;
                if is_first && again.record.prior != start {
                    return Err(crate::Error::Conflict { user: name.clone() }.into());
                }
                replace(rows, name, user.key, again)?;
            }
            // Whoever has a model of the user in hand is told by it.
            user.removals = count_removal(rows)?;
            rows.put_user(user)
        })
    }

    pub(super) fn finished(&self, forgotten: Forgotten) -> Forgotten {
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
    let may_know = prior::may_know(&*rows, user.key)?;
    let priors = prior::forget(rows, name, may_know, Some(*seq))?;
    user.removals = count_removal(rows)?;
    rows.put_user(user)?;
    let generations_relearned = relearned.len() as u64;
    let interactions = 1;
    Ok(Forgotten { interactions, generations_relearned, answers, priors, ..Forgotten::default() })
}

fn uncount_held_out(rows: &mut dyn RowsMut, name: &UserId, user: i64, period: u32) -> Outcome<()> {
    for row in rows.generations(user)?.iter().filter(|row| row.period == period) {
        let (number, parent) = (row.number, row.parent);
        let Some(record) = rows.record(user, number)? else { continue };
        let mut record: PeriodRecord = from_json("generations", &record.value)?;
        record.held_out = record.held_out.saturating_sub(1);
        let json = to_json(&format!("the record of user {name}, period {period}"), &record)?;
        let row = LearnedRow { number, parent, period, sum: 0, record: json.into() };
        rows.put_generation(user, &row)?;
    }
    Ok(())
}

/// Puts a generation that was learned again in the place of the old one.
pub(super) fn replace(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: i64,
    relearned: &Relearned,
) -> Outcome<()> {
    let Relearned { number, memories, base, record } = relearned;
    let generations = rows.generations(user)?;
    let known = generations.iter().find(|row| row.number == *number);
    let known = known.ok_or_else(|| unknown(name, "generation", *number))?;
    let json = to_json(&format!("the record of user {name}, generation {number}"), record)?;
    let row = LearnedRow {
        number: *number,
        parent: known.parent,
        period: known.period,
        sum: 0,
        record: json.into(),
    };
    rows.put_generation(user, &row)?;
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
/// What another text of the user says as well, such as a template or a label, is not this one's.
fn remove_answers(
    rows: &mut dyn RowsMut,
    user: i64,
    text: &StoredInteraction,
    relearned: &[Relearned],
) -> Outcome<u64> {
    let mut own = Quotable::of(&text.interaction.prompt, &text.interaction.response);
    rows.interactions(user, Texts::BySeq, &mut |other| {
        own.without(&other.prompt);
        own.without(&other.response);
        Ok(())
    })?;
    let derived = |answer: &AnswerRecord| {
        relearned.iter().any(|generation| generation.number == answer.generation)
            || answer.retrieved.iter().any(|found| found.seq == text.seq)
            || own.is_in(&answer.prompt)
            || own.is_in(&answer.text)
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

//! What a user's model was and is: generations, their records, and which one is in use.

use spring_memory::UserId;

use super::{
    Store,
    encode::{from_json, to_json},
    lease,
    path::{find, path},
    unknown,
    version::version,
};
use crate::{
    Error, Generation, GenerationSummary, Result, Rollback, Unjudged,
    backend::{Backend, Durability, GenerationRow, LearnedRow, Outcome, Rows, RowsMut, UserRow},
    record::{LearnedPeriod, PeriodRecord},
};

impl<B: Backend + ?Sized> Store<B> {
    /// The current generation, or the one of that number; `None` for a user who has none yet.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`] if the number is not there, [`Error::Pruned`] if it is no longer
    /// kept.
    pub fn generation(&self, user: &UserId, number: Option<u32>) -> Result<Option<Generation>> {
        self.read_user(user, |rows, row| get(rows, user, row, number))
    }

    /// All generations of a user, oldest first, those that were pruned or rolled back too.
    pub fn generations(&self, user: &UserId) -> Result<Vec<GenerationSummary>> {
        self.read_user(user, |rows, row| {
            let generations = rows.generations(row.key)?;
            let on_path: Vec<u32> = path(&generations, row.generation).map(|g| g.number).collect();
            let summary = |generation: &GenerationRow| GenerationSummary {
                number: generation.number,
                parent: generation.parent,
                period: generation.period,
                current: generation.number == row.generation,
                on_path: on_path.contains(&generation.number),
                adapter_bytes: generation.memories.map(|memories| memories.adapter),
                buffer: generation.memories.map(|memories| memories.buffered),
            };
            Ok(generations.iter().map(summary).collect())
        })
    }

    /// The record of one generation, whether or not the one in use came from it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`] if the number is not there.
    pub fn record(&self, user: &UserId, generation: u32) -> Result<LearnedPeriod> {
        self.read_user(user, |rows, row| record(rows, user, row.key, generation))
    }

    /// The records of the periods learned, oldest first; of one period, or of all.
    pub fn period_records(&self, user: &UserId, period: Option<u32>) -> Result<Vec<LearnedPeriod>> {
        self.read_user(user, |rows, row| records(rows, user, row, period))
    }

    /// The newest generations in use that were committed as [to be
    /// judged](super::PeriodPlan::to_be_judged) and have not been: whoever learned them may have
    /// ended first. `None` if there are none.
    pub fn unjudged(&self, user: &UserId) -> Result<Option<Unjudged>> {
        self.read_user(user, |rows, row| {
            let (before, learned) = unjudged(rows, user, row)?;
            let version = version(rows, user, row)?;
            Ok((!learned.is_empty()).then_some(Unjudged { version, before, learned }))
        })
    }

    /// Says whether what [`unjudged`](Self::unjudged) gave stays in use; else the generation before
    /// comes back. False, and nothing changes, if the user is in another state by now, or somebody
    /// judged or chose any of it meanwhile.
    ///
    /// # Errors
    ///
    /// As [`rollback`](Self::rollback).
    pub fn judge(&self, judged: &Unjudged, stays: bool) -> Result<bool> {
        let Unjudged { version: of, before, learned } = judged;
        let user = of.user();
        self.write_user(Durability::Power, user, |rows, row| {
            if version(&*rows, user, row)? != *of {
                return Ok(false);
            }
            // The version does not tell: who judged it, or went back to it, may have left the
            // pointer where it was.
            let (now_before, waits) = unjudged(rows, user, row)?;
            if now_before != *before || numbers(&waits) != numbers(learned) {
                return Ok(false);
            }
            lease::check_free(&self.backend, rows, user, row)?;
            if !stays {
                if *before > 0 {
                    check_kept(&rows.generations(row.key)?, user, *before)?;
                }
                row.generation = *before;
                rows.put_user(row)?;
            }
            settle(rows, user, row.key, &numbers(learned))?;
            Ok(true)
        })
    }

    /// Moves the pointer to another generation, or without a number to the one before; 0 is what
    /// everybody starts from: the [prior](Self::prior) in use, or the base alone. One that is
    /// chosen so needs no other judgement.
    ///
    /// # Errors
    ///
    /// [`Error::Leased`] while somebody trains the user, [`Error::UnknownRecord`] and
    /// [`Error::Pruned`] for a generation that is not there.
    pub fn rollback(&self, user: &UserId, to: Option<u32>) -> Result<Rollback> {
        self.write_user(Durability::Power, user, |rows, row| {
            lease::check_free(&self.backend, rows, user, row)?;
            let from = row.generation;
            let generations = rows.generations(row.key)?;
            let to = match to {
                Some(to) => to,
                None => {
                    find(&generations, from)
                        .ok_or_else(|| unknown(user, "generation", from))?
                        .parent
                }
            };
            if to > 0 {
                check_kept(&generations, user, to)?;
            }
            row.generation = to;
            rows.put_user(row)?;
            let (_, chosen) = unjudged(rows, user, row)?;
            settle(rows, user, row.key, &numbers(&chosen))?;
            Ok(Rollback { from, to })
        })
    }
}

/// The generation that comes back if nothing stays that nobody has judged, and what that is, oldest
/// first.
pub(super) fn unjudged(
    rows: &dyn Rows,
    name: &UserId,
    user: &UserRow,
) -> Outcome<(u32, Vec<LearnedPeriod>)> {
    let (mut before, mut learned) = (user.generation, Vec::new());
    for row in path(&rows.generations(user.key)?, user.generation) {
        let of = record(rows, name, user.key, row.number)?;
        if !of.record.unjudged {
            break;
        }
        before = row.parent;
        learned.push(of);
    }
    learned.reverse();
    Ok((before, learned))
}

fn numbers(learned: &[LearnedPeriod]) -> Vec<u32> {
    learned.iter().map(|learned| learned.generation).collect()
}

/// The generations of a user that nobody has judged, whether or not they are in use; or the others.
pub(super) fn marked(rows: &dyn Rows, user: &UserRow, unjudged: bool) -> Outcome<Vec<u32>> {
    let mut found = Vec::new();
    for row in rows.generations(user.key)? {
        let Some(record) = rows.record(user.key, row.number)? else { continue };
        let record: PeriodRecord = from_json("generations", &record.value)?;
        found.extend((record.unjudged == unjudged).then_some(row.number));
    }
    Ok(found)
}

/// Takes the marks of what has been judged away.
pub(super) fn settle(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: i64,
    judged: &[u32],
) -> Outcome<()> {
    let generations = rows.generations(user)?;
    for &number in judged {
        let known = find(&generations, number);
        let &GenerationRow { parent, period, .. } =
            known.ok_or_else(|| unknown(name, "generation", number))?;
        let LearnedPeriod { record, .. } = record(rows, name, user, number)?;
        let record = PeriodRecord { unjudged: false, ..record };
        let json = to_json(&format!("the record of user {name}, generation {number}"), &record)?;
        let row = LearnedRow { number, parent, period, sum: 0, record: json.into() };
        rows.put_generation(user, &row)?;
    }
    Ok(())
}

/// The current generation, or the one of that number.
pub(super) fn get(
    rows: &dyn Rows,
    name: &UserId,
    user: &UserRow,
    number: Option<u32>,
) -> Outcome<Option<Generation>> {
    let number = match number {
        None if user.generation == 0 => return Ok(None),
        None => user.generation,
        Some(number) => number,
    };
    let generations = rows.generations(user.key)?;
    let row = check_kept(&generations, name, number)?;
    let Some(memories) = rows.memories(user.key, number)? else {
        return Err(Error::Pruned { user: name.clone(), number }.into());
    };
    Ok(Some(Generation {
        number,
        period: row.period,
        adapter: memories.adapter,
        buffer: from_json("memories", &memories.buffer)?,
        calibration: from_json("memories", &memories.calibration)?,
    }))
}

/// Refuses a generation that is not there, or is no longer kept.
pub(super) fn check_kept<'g>(
    generations: &'g [GenerationRow],
    name: &UserId,
    number: u32,
) -> Outcome<&'g GenerationRow> {
    let row = find(generations, number).ok_or_else(|| unknown(name, "generation", number))?;
    match row.memories {
        Some(_) => Ok(row),
        None => Err(Error::Pruned { user: name.clone(), number }.into()),
    }
}

pub(super) fn record(
    rows: &dyn Rows,
    name: &UserId,
    user: i64,
    generation: u32,
) -> Outcome<LearnedPeriod> {
    let record = rows.record(user, generation)?;
    let record = record.ok_or_else(|| unknown(name, "generation", generation))?;
    let record: PeriodRecord = from_json("generations", &record.value)?;
    Ok(LearnedPeriod { generation, record })
}

/// The records on the path to the generation in use, oldest first; of one period, or of all.
pub(super) fn records(
    rows: &dyn Rows,
    name: &UserId,
    user: &UserRow,
    period: Option<u32>,
) -> Outcome<Vec<LearnedPeriod>> {
    let generations = rows.generations(user.key)?;
    let asked =
        |generation: &&GenerationRow| period.is_none_or(|period| generation.period == period);
    let mut numbers: Vec<u32> =
        path(&generations, user.generation).filter(asked).map(|g| g.number).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| record(rows, name, user.key, number)).collect()
}

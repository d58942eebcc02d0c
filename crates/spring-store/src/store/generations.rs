//! What a user's model was and is: generations, their records, and which one is in use.

use spring_lm::Adapter;
use spring_memory::{BufferItem, UserId};

use super::{
    Store,
    encode::{from_json, to_json},
    lease, no_interaction,
    path::{find, path},
    periods, put_config, stored_config, unknown,
};
use crate::{
    Error, Generation, GenerationSummary, Lease, PeriodCommit, Result, Rollback, UserVersion,
    backend::{
        Backend, Durability, Fault, GenerationRow, LearnedRow, MemoriesRow, Outcome, Rows, RowsMut,
        UserRow,
    },
    record::{LearnedPeriod, PeriodRecord},
};

impl<B: Backend + ?Sized> Store<B> {
    /// Commits a period: its members, generation, base log-likelihoods, record and pointer in one
    /// transaction.
    ///
    /// `version` is that of the memories it started from. Returns the number of the new generation.
    /// Of the earlier ones, adapter and buffer are kept for the newest `state.keep_generations` of
    /// the settings; the records of all are.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the lease has been lost, or the user's generation is no longer the
    /// one that the period started from; [`Error::State`] if the adapter is of another base than
    /// the state's.
    pub fn commit(
        &self,
        lease: &Lease,
        version: &UserVersion,
        commit: &PeriodCommit,
    ) -> Result<u32> {
        let name = &lease.user;
        let (keep, record) = (self.settings.config.state.keep_generations, &commit.record);
        let number = self.write_user(Durability::Power, name, |rows, user| {
            lease::check(rows, user, lease)?;
            let is_parent = |number| number == user.generation;
            if version.user != *name || !is_parent(version.generation) || !is_parent(record.parent)
            {
                return Err(Error::Conflict { user: name.clone() }.into());
            }
            if let Some(config) = self.tried_config() {
                put_config(rows, config)?;
            }
            periods::add(rows, name, user, &commit.cut)?;
            periods::check(rows, name, user.key, record.period)?;
            let what = format!("the record of user {name}, period {}", record.period);
            let json = to_json(&what, record)?;
            let last = rows.generations(user.key)?.last().map_or(0, |last| last.number);
            let number = last + 1;
            let (parent, period) = (record.parent, record.period);
            let row = LearnedRow { number, parent, period, sum: 0, record: json.into() };
            rows.put_generation(user.key, &row)?;
            let PeriodCommit { adapter, buffer, calibration, base, .. } = commit;
            put_memories(rows, name, user.key, number, (adapter, buffer, calibration))?;
            set_bases(rows, name, user.key, base, record.config.training.max_tokens)?;
            user.generation = number;
            rows.put_user(user)?;
            prune(rows, user.key, keep, number)?;
            Ok(number)
        })?;
        self.is_kept();
        Ok(number)
    }

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
        self.read_user(user, |rows, row| {
            let generations = rows.generations(row.key)?;
            let asked = |generation: &&GenerationRow| {
                period.is_none_or(|period| generation.period == period)
            };
            let mut numbers: Vec<u32> =
                path(&generations, row.generation).filter(asked).map(|g| g.number).collect();
            numbers.sort_unstable();
            numbers.into_iter().map(|number| record(rows, user, row.key, number)).collect()
        })
    }

    /// Moves the pointer to another generation, or without a number to the one before; 0 is the
    /// base alone.
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
                // Before the base there is nothing.
                None if from == 0 => 0,
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
            Ok(Rollback { from, to })
        })
    }
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

/// Stores what a generation generates with; refuses an adapter of another base than the state's.
pub(super) fn put_memories(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: i64,
    generation: u32,
    (adapter, buffer, calibration): (&[u8], &Vec<BufferItem>, &Vec<f64>),
) -> Outcome<()> {
    let what = |what: &str| format!("the {what} of user {name}, generation {generation}");
    let base = Adapter::from_bytes(adapter).map_err(Error::from)?.base;
    if base != rows.settings()?.fingerprint {
        let reason = format!(
            "nothing was changed: {} was trained on another base model ({base:.12}…) than the \
             state's",
            what("adapter")
        );
        return Err(Fault::Unusable(reason));
    }
    let row = MemoriesRow {
        buffered: buffer.len() as u64,
        buffer: to_json(&what("buffer"), buffer)?,
        calibration: to_json(&what("calibration sample"), calibration)?,
        adapter: adapter.to_vec(),
        sum: 0,
    };
    rows.put_memories(user, generation, Some(&row))
}

/// Keeps base log-likelihoods, nats per token, by sequence number, of texts cut at `max_tokens`;
/// none if the state cuts elsewhere by now: another process may have changed its settings.
pub(super) fn set_bases(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: i64,
    bases: &[(u64, f64)],
    max_tokens: usize,
) -> Outcome<()> {
    if stored_config(rows)?.training.max_tokens != max_tokens {
        return Ok(());
    }
    for &(seq, base) in bases {
        if !base.is_finite() {
            let reason = format!(
                "nothing was changed: the base's log-likelihood of interaction {seq} of user \
                 {name} is {base}; score it again"
            );
            return Err(Fault::Unusable(reason));
        }
        // Not every backend keeps the sign of a zero.
        if !rows.set_base(user, seq, (base + 0.0).into())? {
            return Err(no_interaction(name, seq));
        }
    }
    Ok(())
}

/// Drops the memories of all but the newest generations and the one in use.
fn prune(rows: &mut dyn RowsMut, user: i64, keep: u32, current: u32) -> Outcome<()> {
    let generations = rows.generations(user)?;
    let kept = generations.iter().rev().filter(|row| row.memories.is_some());
    for row in kept.skip(keep as usize).filter(|row| row.number != current) {
        rows.put_memories(user, row.number, None)?;
    }
    Ok(())
}

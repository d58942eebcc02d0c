//! The commit of a learned period: all that it changes, in one transaction.

use spring_fuse::Calibration;
use spring_lm::Adapter;
use spring_memory::{BufferItem, UserId};

use super::{
    Store, encode::to_json, generations, lease, no_interaction, periods, prior::start, put_config,
    stored_config,
};
use crate::{
    Error, Lease, PeriodCommit, Result, UserVersion,
    backend::{Backend, Durability, Fault, LearnedRow, MemoriesRow, Outcome, RowsMut},
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
    /// [`Error::Conflict`] if the lease has been lost, or the user's generation, or for a first
    /// period the prior in use, is no longer the one that the period started from;
    /// [`Error::State`] if the adapter is of another base than the state's.
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
            // What another prior was the start of would not be what is on record.
            let start = start(&*rows, user)?;
            let is_start = version.prior == start && record.prior == start;
            let is_of_parent = is_parent(version.generation) && is_parent(record.parent);
            if version.user != *name || !is_of_parent || !is_start {
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
            // What may come back is kept, however much was learned since.
            let before = match record.unjudged {
                true => generations::unjudged(rows, name, user)?.0,
                false => number,
            };
            prune(rows, name, user.key, keep, [number, before])?;
            Ok(number)
        })?;
        self.is_kept();
        Ok(number)
    }
}

/// Stores what a generation generates with; refuses an adapter of another base than the state's.
pub(super) fn put_memories(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: i64,
    generation: u32,
    (adapter, buffer, calibration): (&[u8], &Vec<BufferItem>, &Calibration),
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

/// Drops the memories of all but the newest generations, those that are in use or may be again, and
/// an adapter that was imported: it could not be learned again.
fn prune(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: i64,
    keep: u32,
    used: [u32; 2],
) -> Outcome<()> {
    let generations = rows.generations(user)?;
    let kept = generations.iter().rev().filter(|row| row.memories.is_some());
    for row in kept.skip(keep as usize).filter(|row| !used.contains(&row.number)) {
        if row.parent == 0 && generations::record(&*rows, name, user, row.number)?.record.imported {
            continue;
        }
        rows.put_memories(user, row.number, None)?;
    }
    Ok(())
}

//! `adapt`: closes periods over a user's new texts and learns them, one transaction each.

use spring_memory::UserId;

use crate::{
    LanguageModel, PeriodCommit, PeriodInput, Result, StateStore, StoredInteraction, learn_period, novelties,
    progress::{Event, Progress, tell},
    recall,
    record::LearnedPeriod,
};

/// How pending texts are cut into periods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Periods {
    /// Number of periods of equal count. Default 1.
    pub count: u32,
    /// Part of each period, its latest texts, that is set aside for evaluation. Default 0.
    pub hold_out: f64,
}

impl Default for Periods {
    fn default() -> Self {
        Self { count: 1, hold_out: 0.0 }
    }
}

/// Learns everything that a user has written since the last period.
///
/// Periods that an earlier, interrupted run had stored come first, as they were cut then. Returns the records of the
/// periods learned; none if there was nothing new.
///
/// # Errors
///
/// What stops a period; those committed before stay, and the state is that after the last of them.
pub fn adapt(
    model: &dyn LanguageModel,
    store: &mut dyn StateStore,
    user: &UserId,
    periods: Periods,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    adapt_pending(model, store, user, periods, progress).map_err(|error| error.of_user(user))
}

fn adapt_pending(
    model: &dyn LanguageModel,
    store: &mut dyn StateStore,
    user: &UserId,
    periods: Periods,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    let config = store.settings().config.clone();
    store.cut_periods(user, periods.count, periods.hold_out)?;
    let mut records = Vec::new();
    let learned = store.period_records(user, None)?;
    let mut earlier: Vec<f64> = learned.iter().flat_map(|period| novelties(&period.record)).collect();
    for period in store.unlearned_periods(user)? {
        let (memories, bank) = recall(store, user, None)?;
        let (held_out, learned): (Vec<_>, Vec<_>) =
            store.members(user, period)?.into_iter().partition(|member| member.held_out);
        let texts: Vec<StoredInteraction> = learned.into_iter().map(|member| member.stored).collect();
        let input = PeriodInput {
            user,
            period,
            texts: &texts,
            held_out: held_out.len(),
            buffered: bank.texts(),
            memories: &memories,
            earlier: &earlier,
        };
        let outcome = learn_period(model, &config, input, progress)?;
        let adapter = match &outcome.memories.adapter {
            Some(adapter) => adapter.to_bytes()?,
            None => Vec::new(),
        };
        let commit = PeriodCommit {
            user: user.clone(),
            period,
            parent: memories.generation,
            adapter,
            buffer: outcome.memories.buffer,
            calibration: outcome.memories.calibration,
            base: outcome.base,
            record: outcome.record,
        };
        let generation = store.commit(&commit)?;
        earlier.extend(novelties(&commit.record));
        records.push(LearnedPeriod { generation, record: commit.record });
        // Committed is committed: a request to stop takes effect before the next period.
        tell(progress, Event::Committed { user, period, generation })?;
    }
    Ok(records)
}

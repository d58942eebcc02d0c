//! Cutting what is pending into periods, which of them were learned, and what is to learn.

use std::ops::Range;

use spring_memory::{SettingError, UserId};
use spring_numerics::round::floor_of;

use super::{Store, generations, path::path, unknown};
use crate::{
    Backlog, Error, Member, PlannedPeriod, Result,
    backend::{Backend, Durability, MemberRow, Outcome, Rows, RowsMut, Texts, UserRow},
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

/// How many new texts are enough to hold some out.
const LEAST_TO_HOLD_OUT: usize = 12;

/// The part that is held out of them.
const HELD_OUT: f64 = 0.15;

/// How many new texts make a period of their own, at least.
const TEXTS_OF_A_PERIOD: usize = 40;

/// The most periods that new texts are cut into.
const MOST_PERIODS: usize = 8;

/// How pending texts are cut into periods, as far as it is not left to a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct PeriodPlan {
    /// Number of periods of equal count; `None`: one for every 40 texts, from 1 to 8, so that a
    /// small history is learned whole.
    pub count: Option<u32>,
    /// Part of each period that is set aside; `None`: 15 % of 12 texts or more, nothing of fewer.
    pub hold_out: Option<f64>,
    /// Whether somebody is to say of what is learned if it stays in use: its generations are marked
    /// as [unjudged](Store::unjudged) until then. Default false.
    pub to_be_judged: bool,
}

impl PeriodPlan {
    /// What becomes of this many new texts.
    pub fn of_texts(self, texts: usize) -> Periods {
        let count = (texts / TEXTS_OF_A_PERIOD).clamp(1, MOST_PERIODS) as u32;
        let hold_out = if texts < LEAST_TO_HOLD_OUT { 0.0 } else { HELD_OUT };
        Periods { count: self.count.unwrap_or(count), hold_out: self.hold_out.unwrap_or(hold_out) }
    }
}

spring_numerics::setters! {
    PeriodPlan {
        with_count(count: Option<u32>);
        with_hold_out(hold_out: Option<f64>);
        with_to_be_judged(to_be_judged: bool);
    }
}

impl From<Periods> for PeriodPlan {
    fn from(Periods { count, hold_out }: Periods) -> Self {
        Self { count: Some(count), hold_out: Some(hold_out), to_be_judged: false }
    }
}

impl<B: Backend + ?Sized> Store<B> {
    /// Cuts the pending interactions into `periods` of equal count (the first ones get the
    /// remainder) and stores them.
    ///
    /// Of each, the latest `⌊hold_out · n⌋` are held out. Fewer pending interactions than `periods`
    /// give as many periods as there are interactions. Returns the numbers of the new periods, none
    /// if nothing is pending.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a part that cannot be held out.
    pub fn cut_periods(&self, user: &UserId, periods: u32, hold_out: f64) -> Result<Vec<u32>> {
        self.write_user(Durability::Power, user, |rows, row| {
            let planned = self.plan(rows, user, row, periods, hold_out)?;
            add(rows, user, row, &planned)?;
            rows.put_user(row)?;
            Ok(planned.iter().map(|period| period.number).collect())
        })
    }

    /// The periods that [`cut_periods`](Self::cut_periods) would store now; changes nothing.
    ///
    /// # Errors
    ///
    /// As `cut_periods`.
    pub fn plan_periods(
        &self,
        user: &UserId,
        periods: u32,
        hold_out: f64,
    ) -> Result<Vec<PlannedPeriod>> {
        self.read_user(user, |rows, row| self.plan(rows, user, row, periods, hold_out))
    }

    /// Stored periods that no generation on the path to the current one has learned, in order.
    pub fn unlearned_periods(&self, user: &UserId) -> Result<Vec<u32>> {
        self.read_user(user, |rows, row| unlearned(rows, row))
    }

    /// All that a user has to learn, pending texts cut as `plan` says, with what it is learned on;
    /// `None` if there is nothing to learn. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`cut_periods`](Self::cut_periods) and [`recall`](Self::recall).
    pub fn backlog(&self, user: &UserId, plan: PeriodPlan) -> Result<Option<Backlog>> {
        self.read_user(user, |rows, row| {
            let unlearned = unlearned(rows, row)?;
            let Periods { count, hold_out } = plan.of_texts(row.pending as usize);
            let planned = self.plan(rows, user, row, count, hold_out)?;
            if unlearned.is_empty() && planned.is_empty() {
                return Ok(None);
            }
            let snapshot = self.snapshot(rows, user, row, None)?;
            let records = generations::records(rows, user, row, None)?;
            Ok(Some(Backlog { unlearned, planned, snapshot, records }))
        })
    }

    fn plan(
        &self,
        rows: &dyn Rows,
        name: &UserId,
        user: &UserRow,
        periods: u32,
        hold_out: f64,
    ) -> Outcome<Vec<PlannedPeriod>> {
        if !(0.0..1.0).contains(&hold_out) {
            let allowed = "a part that can be held out, from 0 to below 1";
            return Err(Error::from(SettingError::new("hold_out", hold_out, allowed)).into());
        }
        let pending = self.texts(rows, name, user, Texts::Pending)?;
        let last = rows.periods(user.key)?.last().copied().unwrap_or_default();
        let ranges = period_ranges(pending.len(), periods, hold_out);
        let mut pending = pending.into_iter();
        let numbers = last + 1..;
        let planned = numbers.zip(ranges).map(|(number, (learned, held_out))| {
            let member = |(at, stored)| Member { stored, held_out: at >= learned.len() };
            let count = learned.len() + held_out.len();
            let members = pending.by_ref().take(count).enumerate().map(member).collect();
            PlannedPeriod { number, members }
        });
        Ok(planned.collect())
    }
}

fn unlearned(rows: &dyn Rows, user: &UserRow) -> Outcome<Vec<u32>> {
    let generations = rows.generations(user.key)?;
    let mut periods = rows.periods(user.key)?;
    let learned: Vec<u32> =
        path(&generations, user.generation).map(|generation| generation.period).collect();
    periods.retain(|period| !learned.contains(period));
    Ok(periods)
}

/// Stores periods; refuses those that somebody else has cut meanwhile.
pub(super) fn add(
    rows: &mut dyn RowsMut,
    name: &UserId,
    user: &mut UserRow,
    periods: &[PlannedPeriod],
) -> Outcome<()> {
    if periods.is_empty() {
        return Ok(());
    }
    let stored = rows.periods(user.key)?;
    if periods.iter().any(|period| stored.contains(&period.number)) {
        return Err(Error::Conflict { user: name.clone() }.into());
    }
    for PlannedPeriod { number, members } in periods {
        let row = |member: &Member| MemberRow {
            seq: member.stored.seq,
            held_out: member.held_out,
            sum: 0,
        };
        let members: Vec<MemberRow> = members.iter().map(row).collect();
        rows.put_period(user.key, *number, &members)?;
        user.pending = user.pending.saturating_sub(members.len() as u64);
    }
    Ok(())
}

/// Refuses a period that is not there.
pub(super) fn check(rows: &dyn Rows, name: &UserId, user: i64, period: u32) -> Outcome<()> {
    match rows.periods(user)?.contains(&period) {
        true => Ok(()),
        false => Err(unknown(name, "period", period)),
    }
}

/// Positions of the training and the held-out part of each period, for `n` texts in the order of
/// time.
///
/// Periods have equal count, the first ones one more where it does not divide; fewer texts than
/// periods give as many periods as there are texts. The held-out part is the latest `⌊hold_out ·
/// count⌋`, never all of a period.
pub fn period_ranges(n: usize, periods: u32, hold_out: f64) -> Vec<(Range<usize>, Range<usize>)> {
    let parts = (periods as usize).clamp(1, n.max(1)).min(n);
    let mut start = 0;
    (0..parts)
        .map(|part| {
            let size = n / parts + usize::from(part < n % parts);
            let (from, end) = (start, start + size);
            start = end;
            let learned = size - floor_of(hold_out, size).min(size - 1);
            (from..from + learned, from + learned..end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_equal_and_the_latest_are_held_out() {
        assert_eq!(period_ranges(11, 2, 0.2), [(0..5, 5..6), (6..10, 10..11)]);
        assert_eq!(period_ranges(100, 1, 0.29), [(0..71, 71..100)]);
        assert_eq!(period_ranges(2, 5, 0.9), [(0..1, 1..1), (1..2, 2..2)]);
        assert_eq!(period_ranges(0, 5, 0.1), []);
        assert_eq!(period_ranges(3, 0, 0.0), [(0..3, 3..3)]);
    }
}

//! Cutting what is pending into periods, and which of them were learned.

use spring_memory::{SettingError, UserId};

use super::{Store, path::path, unknown};
use crate::{
    Error, Member, PlannedPeriod, Result,
    backend::{Backend, Durability, MemberRow, Outcome, Rows, RowsMut, Texts, UserRow},
    period_ranges,
};

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
        self.read_user(user, |rows, row| {
            let generations = rows.generations(row.key)?;
            let mut periods = rows.periods(row.key)?;
            let learned: Vec<u32> =
                path(&generations, row.generation).map(|generation| generation.period).collect();
            periods.retain(|period| !learned.contains(period));
            Ok(periods)
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

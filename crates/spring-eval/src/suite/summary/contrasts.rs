//! Which differences are tested: all, or those that a suite declares.

use serde::Serialize;
use spring_metrics::{Interval, PairedTest, holm};

use super::{Measure, SummaryRow, difference::Difference};
use crate::Suite;

/// Differences of a method that is not among the suite's contrasts, in the places where others have
/// their tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Untested {
    /// In the place of [`SummaryRow::difference`].
    pub difference: Option<Interval>,
    /// In the place of [`SummaryRow::adapter_difference`].
    pub adapter_difference: Option<Interval>,
    /// In the place of the attribution's `above_base`.
    pub attributed_above_base: Option<Interval>,
    /// In the place of the attribution's `above_other_user`.
    pub attributed_above_other_user: Option<Interval>,
}

impl SummaryRow {
    /// The difference to the method in `against`, tested or not.
    pub fn to_against(&self) -> Option<Difference> {
        self.either(self.difference, |untested| untested.difference)
    }

    /// The same of the adapters alone.
    pub fn adapters_to_against(&self) -> Option<Difference> {
        self.either(self.adapter_difference, |untested| untested.adapter_difference)
    }

    /// The share that is attributed to its user, less that of the base.
    pub fn attributed_above_base(&self) -> Option<Difference> {
        let test = self.attribution.and_then(|whose| whose.above_base);
        self.either(test, |untested| untested.attributed_above_base)
    }

    /// The same less that of another user's adapter.
    pub fn attributed_above_other_user(&self) -> Option<Difference> {
        let test = self.attribution.and_then(|whose| whose.above_other_user);
        self.either(test, |untested| untested.attributed_above_other_user)
    }

    fn either(
        &self,
        test: Option<PairedTest>,
        interval: impl Fn(&Untested) -> Option<Interval>,
    ) -> Option<Difference> {
        let untested = self.untested.as_ref().and_then(interval).map(Difference::Untested);
        test.map(Difference::Tested).or(untested)
    }

    /// Takes the tests away and keeps the differences.
    fn leave_untested(&mut self) {
        let interval = |test: Option<PairedTest>| test.map(|test| test.difference);
        let mut untested = Untested {
            difference: interval(self.difference.take()),
            adapter_difference: interval(self.adapter_difference.take()),
            ..Untested::default()
        };
        if let Some(whose) = &mut self.attribution {
            untested.attributed_above_base = interval(whose.above_base.take());
            untested.attributed_above_other_user = interval(whose.above_other_user.take());
        }
        self.untested = Some(untested);
        self.above_base = self.above_base.map(Difference::untested);
        for score in &mut self.measures {
            score.difference = score.difference.map(Difference::untested);
        }
    }
}

/// Holm's correction of a table's tests: each question is a family of its own, over the methods
/// that the suite declares, or over all.
pub(super) fn correct(suite: &Suite, rows: &mut [SummaryRow]) {
    let is_declared =
        |row: &SummaryRow| suite.contrasts.is_empty() || suite.contrasts.contains(&row.method);
    rows.iter_mut().filter(|row| !is_declared(row)).for_each(SummaryRow::leave_untested);
    holm(rows.iter_mut().filter_map(|row| row.difference.as_mut()));
    holm(rows.iter_mut().filter_map(|row| row.adapter_difference.as_mut()));
    holm(rows.iter_mut().filter_map(|row| row.above_base.as_mut()?.test_mut()));
    holm(rows.iter_mut().filter_map(|row| row.attribution.as_mut()?.above_base.as_mut()));
    holm(rows.iter_mut().filter_map(|row| row.attribution.as_mut()?.above_other_user.as_mut()));
    for measure in Measure::ALL {
        holm(rows.iter_mut().filter_map(|row| {
            let score = row.measures.iter_mut().find(|score| score.measure == measure)?;
            score.difference.as_mut()?.test_mut()
        }));
    }
}

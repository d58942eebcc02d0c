//! Settings that are chosen on one half of the users and reported on the other.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Suite, scores::primary_scores};
use crate::{Budget, Method, Result, RunLine};

/// Candidates of which the best on the choosing half is reported on the other half.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Choice {
    /// Its name in tables.
    pub name: String,
    /// The first candidates. Of equally good ones the first is taken.
    pub among: Vec<Method>,
    /// Then stage after stage: the best one so far with each of these settings, `key=value`,
    /// against itself. So a sum of values is tried and not their product.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Vec<String>>,
}

impl Choice {
    /// A choice of one stage.
    pub fn new(name: &str, among: Vec<Method>) -> Self {
        Self { name: name.to_owned(), among, then: vec![] }
    }

    /// With further stages.
    #[must_use]
    pub fn with_stages(self, then: Vec<Vec<String>>) -> Self {
        Self { then, ..self }
    }

    /// Refuses what a run could only refuse late.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.among.is_empty() {
            return Err("choose: a name, and at least one method among which to choose".into());
        }
        for (method, setting) in self
            .among
            .iter()
            .flat_map(|method| self.then.iter().flatten().map(move |s| (method, s)))
        {
            method.with(setting).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The candidates of all stages, if the first one is always the best.
    pub(super) fn expected(&self) -> Vec<Method> {
        let later = (1..=self.then.len()).flat_map(|stage| self.stage(stage, self.among.first()));
        self.among.iter().cloned().chain(later).collect()
    }

    /// The candidates of a stage, where `best` is the best one of the stage before.
    fn stage(&self, stage: usize, best: Option<&Method>) -> Vec<Method> {
        let (Some(before), Some(best)) = (stage.checked_sub(1), best) else {
            return self.among.clone();
        };
        let settings = self.then.get(before).into_iter().flatten();
        let changed = settings.filter_map(|setting| best.with(setting).ok());
        std::iter::once(best.clone()).chain(changed).collect()
    }
}

/// As many stages as the longest choice has.
pub(super) fn stages(suite: &Suite) -> usize {
    suite.choose.iter().map(|choice| 1 + choice.then.len()).max().unwrap_or(0)
}

/// The candidates of a stage under a budget, after the stages before it.
pub(super) fn stage(
    suite: &Suite,
    stage: usize,
    before: &[Candidate],
    budget: Budget,
) -> Vec<Method> {
    let of = |choice: &Choice| {
        let best = chosen(choice, before, budget);
        choice.stage(stage, best.as_ref())
    };
    suite.choose.iter().filter(|choice| stage <= choice.then.len()).flat_map(of).collect()
}

/// A candidate on the choosing half.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The choice's name.
    pub choice: String,
    /// The stage, from 1.
    pub stage: usize,
    /// The budget; each has a choice of its own.
    pub budget: Budget,
    /// The candidate; its name in files.
    pub method: Method,
    /// Its name in tables.
    pub label: String,
    /// Nats per byte after the first period: mean over the data sets of the mean over their
    /// choosing users, seeds averaged first.
    pub per_byte: f64,
    /// Choosing users.
    pub users: usize,
    /// Whether it was the best of its stage; that of the last stage is what was chosen.
    pub best: bool,
}

/// Every candidate of one stage; `before` are those of the stages before it, and `lines` those of
/// the choosing half.
pub(super) fn candidates(
    suite: &Suite,
    stage: usize,
    before: &[Candidate],
    lines: &[RunLine],
) -> Vec<Candidate> {
    let mut all = Vec::new();
    for choice in suite.choose.iter().filter(|choice| stage <= choice.then.len()) {
        for &budget in &suite.budgets {
            let first = all.len();
            for method in choice.stage(stage, chosen(choice, before, budget).as_ref()) {
                let (per_byte, users) = mean_of_sets(lines, &method, budget);
                all.push(Candidate {
                    choice: choice.name.clone(),
                    stage: stage + 1,
                    budget,
                    label: method.label().to_owned(),
                    method,
                    per_byte,
                    users,
                    best: false,
                });
            }
            let finite = all[first..].iter_mut().filter(|candidate| candidate.per_byte.is_finite());
            // Of equal ones `reduce` keeps the first.
            if let Some(best) = finite.reduce(|a, b| if b.per_byte < a.per_byte { b } else { a }) {
                best.best = true;
            }
        }
    }
    all
}

/// The mean over data sets of the mean over users, and how many users there are. What one of the
/// sets could not run has no mean: it was not tried on the same texts.
fn mean_of_sets(lines: &[RunLine], method: &Method, budget: Budget) -> (f64, usize) {
    let mut sets: BTreeMap<&str, Vec<&RunLine>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.key.budget == budget) {
        sets.entry(&line.key.data).or_default().push(line);
    }
    let scores = sets.values().map(|lines| primary_scores(lines, method.name()));
    let scores: Vec<_> = scores.collect();
    let means = scores.iter().map(|users| users.values().sum::<f64>() / users.len() as f64);
    (means.sum::<f64>() / scores.len() as f64, scores.iter().map(BTreeMap::len).sum())
}

/// What a choice fell on under a budget, by the candidates of all stages so far.
pub(super) fn chosen(choice: &Choice, candidates: &[Candidate], budget: Budget) -> Option<Method> {
    let mut own = candidates.iter().filter(|candidate| candidate.choice == choice.name);
    let best = own.rfind(|candidate| candidate.best && candidate.budget == budget)?;
    Some(best.method.clone())
}

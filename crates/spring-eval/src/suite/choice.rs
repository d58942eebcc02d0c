//! Settings that are chosen on one half of the users and reported on the other.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Suite, scores::primary_scores};
use crate::{Budget, Error, Method, RunLine};

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
    /// Whether every data set has a best one of its own, in place of one that is best on their
    /// mean.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub per_data: bool,
    /// Methods that are reported beside what is chosen, each with the settings that were chosen as
    /// far as it has them and says nothing else. One with `+retrieval` reads the same bank in the
    /// same way, so that what was selected is all that differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paired: Vec<Method>,
}

impl Choice {
    /// A choice of one stage.
    pub fn new(name: &str, among: Vec<Method>) -> Self {
        Self { name: name.to_owned(), among, then: vec![], per_data: false, paired: vec![] }
    }

    /// With further stages.
    #[must_use]
    pub fn with_stages(self, then: Vec<Vec<String>>) -> Self {
        Self { then, ..self }
    }

    /// With a best one of every data set's own.
    #[must_use]
    pub fn with_per_data(self, per_data: bool) -> Self {
        Self { per_data, ..self }
    }

    /// With methods that are reported beside what is chosen.
    #[must_use]
    pub fn with_paired(self, paired: Vec<Method>) -> Self {
        Self { paired, ..self }
    }

    /// The name in tables of a method that is reported beside what is chosen.
    pub(super) fn paired_name(&self, paired: &Method) -> String {
        format!("{}: {}", self.name, paired.name())
    }

    /// The names of its rows: its own, and those of the paired methods.
    pub(super) fn rows(&self) -> impl Iterator<Item = String> {
        let paired = self.paired.iter().map(|paired| self.paired_name(paired));
        std::iter::once(self.name.clone()).chain(paired)
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
            let with = method.with(setting).map_err(|error| error.to_string())?;
            self.beside(&with)?;
        }
        self.among.iter().try_for_each(|method| self.beside(method).map(drop))
    }

    /// The paired methods beside a candidate.
    fn beside(&self, method: &Method) -> Result<Vec<Method>, String> {
        let fail = |error: Error| format!("choose {:?}: paired: {error}", self.name);
        if let Some(other) = self.paired.iter().find(|paired| !paired.is_paired()) {
            let reason = format!(
                "choose {:?}: paired: {other} is run with the adapters of others, or is a program; \
                 expected a method that learns, such as random+retrieval",
                self.name
            );
            return Err(reason);
        }
        self.paired.iter().map(|paired| paired.paired_with(method).map_err(fail)).collect()
    }

    /// The candidates of all stages, if the first one is always the best.
    pub(super) fn expected(&self) -> Vec<Method> {
        let later = (1..=self.then.len()).flat_map(|stage| self.stage(stage, self.among.first()));
        self.among.iter().cloned().chain(later).collect()
    }

    /// What may be run at all, if the first candidate is always the best: the candidates, and what
    /// would be reported beside each.
    pub(super) fn methods(&self) -> Vec<Method> {
        let candidates = self.expected();
        let paired = candidates.iter().flat_map(|candidate| self.beside(candidate));
        let paired: Vec<Method> = paired.flatten().collect();
        candidates.into_iter().chain(paired).collect()
    }

    /// What is reported, if the first candidate is the best.
    pub(super) fn reported_first(&self) -> Vec<Method> {
        let Some(first) = self.among.first() else { return vec![] };
        std::iter::once(first.clone()).chain(self.beside(first).unwrap_or_default()).collect()
    }

    /// The data sets on which it chooses apart; `None` for the mean of all.
    fn sets<'s>(&self, suite: &'s Suite) -> Vec<Option<&'s str>> {
        match self.per_data {
            true => suite.data.iter().map(|data| Some(data.name.as_str())).collect(),
            false => vec![None],
        }
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

/// The candidates of a stage on a data set under a budget, after the stages before it.
pub(super) fn stage(
    suite: &Suite,
    stage: usize,
    before: &[Candidate],
    data: &str,
    budget: Budget,
) -> Vec<Method> {
    let of = |choice: &Choice| {
        let best = chosen(choice, before, data, budget);
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
    /// The data set that it was tried on; `None` where the mean over all of them counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The budget; each has a choice of its own.
    pub budget: Budget,
    /// The candidate; its name in files.
    pub method: Method,
    /// Its name in tables.
    pub label: String,
    /// Nats per byte after the first period: mean over the data sets, or of the one alone, of the
    /// mean over their choosing users, seeds averaged first.
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
        let sets = choice.sets(suite);
        for (budget, set) in
            suite.budgets.iter().flat_map(|budget| sets.iter().map(move |set| (*budget, *set)))
        {
            let first = all.len();
            let best = best_of(choice, before, set, budget);
            for method in choice.stage(stage, best.as_ref()) {
                let (per_byte, users) = mean_of_sets(lines, &method, set, budget);
                all.push(Candidate {
                    choice: choice.name.clone(),
                    stage: stage + 1,
                    data: set.map(str::to_owned),
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

/// The mean over data sets, or over the one set, of the mean over users, and how many users there
/// are. What one of the sets could not run has no mean: it was not tried on the same texts.
fn mean_of_sets(
    lines: &[RunLine],
    method: &Method,
    set: Option<&str>,
    budget: Budget,
) -> (f64, usize) {
    let mut sets: BTreeMap<&str, Vec<&RunLine>> = BTreeMap::new();
    let counts =
        |line: &&RunLine| line.key.budget == budget && set.is_none_or(|set| line.key.data == set);
    for line in lines.iter().filter(counts) {
        sets.entry(&line.key.data).or_default().push(line);
    }
    let scores = sets.values().map(|lines| primary_scores(lines, method.name()));
    let scores: Vec<_> = scores.collect();
    let means = scores.iter().map(|users| users.values().sum::<f64>() / users.len() as f64);
    (means.sum::<f64>() / scores.len() as f64, scores.iter().map(BTreeMap::len).sum())
}

/// What a choice fell on for a data set under a budget, by the candidates of all stages so far.
pub(super) fn chosen(
    choice: &Choice,
    candidates: &[Candidate],
    data: &str,
    budget: Budget,
) -> Option<Method> {
    best_of(choice, candidates, choice.per_data.then_some(data), budget)
}

fn best_of(
    choice: &Choice,
    candidates: &[Candidate],
    set: Option<&str>,
    budget: Budget,
) -> Option<Method> {
    let mut own = candidates.iter().filter(|candidate| candidate.choice == choice.name);
    let best = own.rfind(|candidate| {
        candidate.best && candidate.budget == budget && candidate.data.as_deref() == set
    })?;
    Some(best.method.clone())
}

/// A row that a choice has in a table.
pub(super) struct Reported {
    /// The choice's name, or that of a method paired with it.
    pub(super) name: String,
    /// In tables.
    pub(super) label: String,
    /// The method whose runs it shows.
    pub(super) method: Method,
}

/// What the choices of a suite report of a data set under a budget: what they fell on, and beside
/// each the methods that are paired with it.
pub(super) fn reported(
    suite: &Suite,
    candidates: &[Candidate],
    data: &str,
    budget: Budget,
) -> Vec<Reported> {
    let mut all = Vec::new();
    for choice in &suite.choose {
        let Some(method) = chosen(choice, candidates, data, budget) else { continue };
        // Checked when the suite was read.
        let paired = choice.beside(&method).unwrap_or_default();
        let methods = std::iter::once(method).chain(paired);
        all.extend(choice.rows().zip(methods).map(|(name, method)| Reported {
            label: format!("{}: {}", choice.name, method.label()),
            name,
            method,
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use spring_core::spring_memory::UserId;

    use super::*;
    use crate::{Loss, MethodRun, RunKey, UserRun};

    const SUITE: &str = "name = 's'\nmethods = ['base']\n\
        [[choose]]\nname = 'best'\namong = ['spring', 'spring:alpha=2']\n\
        then = [['gate=always', 'bank=history,gate=always']]\nPER_DATA\nPAIRED\n\
        [[data]]\nname = 'a'\npath = 'a.jsonl'\n[[data]]\nname = 'b'\npath = 'b.jsonl'\n";

    fn suite(per_data: &str, paired: &str) -> Suite {
        let text = SUITE.replace("PER_DATA", per_data).replace("PAIRED", paired);
        Suite::from_toml(&text, "s.toml").unwrap()
    }

    /// A user of each data set with a loss for each method.
    fn lines(losses: &[(&str, f64, f64)]) -> Vec<RunLine> {
        let line = |data: &str, of: fn(&(&str, f64, f64)) -> f64| {
            let user = UserId::new("ada").unwrap();
            let methods: BTreeMap<String, MethodRun> = losses
                .iter()
                .map(|method| {
                    let loss = Loss::new(of(method), 1, 1, 1);
                    let run = MethodRun { matrix: vec![vec![loss]], ..MethodRun::default() };
                    (method.0.to_owned(), run)
                })
                .collect();
            let key =
                RunKey { data: data.into(), budget: Budget::Epochs, seed: 0, user: user.clone() };
            let run = UserRun { user, periods: vec![], methods, detection: None, turn: None };
            RunLine { key, run }
        };
        vec![line("a", |method| method.1), line("b", |method| method.2)]
    }

    /// What a suite reports of each data set, by names and by the methods behind them.
    fn fallen(suite: &Suite) -> [Vec<(String, String)>; 2] {
        let lines = lines(&[
            ("spring", 1.0, 3.0),
            ("spring:alpha=2", 2.0, 1.0),
            ("spring:gate=always", 0.5, 9.0),
            ("spring:bank=history,gate=always", 0.7, 9.0),
            ("spring:alpha=2,gate=always", 2.0, 0.9),
            ("spring:alpha=2,bank=history,gate=always", 1.5, 0.8),
        ]);
        let mut tried = Vec::new();
        for at in 0..stages(suite) {
            tried.extend(candidates(suite, at, &tried, &lines));
        }
        ["a", "b"].map(|data| {
            let rows = reported(suite, &tried, data, Budget::Epochs);
            rows.into_iter().map(|row| (row.name, row.method.name().to_owned())).collect()
        })
    }

    #[test]
    fn each_data_set_has_a_best_of_its_own_where_that_is_asked_for() {
        let row = |method: &str| vec![("best".to_owned(), method.to_owned())];
        // The means are 2 and 1.5, then 1.45 and 1.15.
        let mean = "spring:alpha=2,bank=history,gate=always";
        assert_eq!(fallen(&suite("", "")), [row(mean), row(mean)]);
        let own = suite("per_data = true", "");
        assert_eq!(fallen(&own), [row("spring:gate=always"), row(mean)]);
        // What is run of a later stage goes on from a data set's own best.
        let first =
            candidates(&own, 0, &[], &lines(&[("spring", 1.0, 3.0), ("spring:alpha=2", 2.0, 1.0)]));
        assert_eq!(first.len(), 4);
        let second = |data: &str| stage(&own, 1, &first, data, Budget::Epochs)[0].name().to_owned();
        assert_eq!((second("a").as_str(), second("b").as_str()), ("spring", "spring:alpha=2"));
        let again = Suite::from_toml(&toml::to_string(&own).unwrap(), "again.toml").unwrap();
        assert_eq!(again, own);
    }

    #[test]
    fn pairs_are_reported_beside_what_was_chosen() {
        let paired = suite(
            "per_data = true",
            "paired = ['random+retrieval', 'everything+retrieval:epochs=1']",
        );
        let [of_a, of_b] = fallen(&paired);
        let row = |name: &str, method: &str| (name.to_owned(), method.to_owned());
        assert_eq!(
            of_a,
            [
                row("best", "spring:gate=always"),
                row("best: random+retrieval", "random+retrieval:like=(spring:gate=always)"),
                row(
                    "best: everything+retrieval:epochs=1",
                    "everything+retrieval:epochs=1,like=(spring:gate=always)"
                ),
            ]
        );
        let random = "random+retrieval:like=(spring:alpha=2,bank=history,gate=always)";
        assert_eq!(of_b[1], row("best: random+retrieval", random));
        let again = Suite::from_toml(&toml::to_string(&paired).unwrap(), "again.toml").unwrap();
        assert_eq!(again, paired);
        let one = suite("", "paired = 'random+retrieval'");
        assert_eq!(one.choose[0].paired.len(), 1);
        // A row can be tested against by its name.
        assert_eq!(
            one.clone().tested_against("best: random+retrieval").unwrap().reference(),
            "best: random+retrieval"
        );
        let error = one.tested_against("random+retrieval").unwrap_err().to_string();
        assert!(error.contains("no such row; it has base, best, best: random"), "{error}");
        // The candidates alone are tried; all that may be run is known before.
        let choice = &paired.choose[0];
        assert_eq!(choice.methods().len(), 3 * choice.expected().len());
    }

    #[test]
    fn pairs_that_cannot_be_run_are_refused_at_once() {
        for (paired, reason) in [
            ("'other_user+retrieval'", "adapters of others"),
            ("'radnom'", "there is no such method"),
        ] {
            let text =
                SUITE.replace("PER_DATA", "").replace("PAIRED", &format!("paired = {paired}"));
            let error = Suite::from_toml(&text, "s.toml").unwrap_err().to_string();
            assert!(error.contains(reason), "{paired}: {error}");
        }
    }
}

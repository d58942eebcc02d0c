//! What the methods cost for a user, before they are run.

use std::collections::HashMap;

use spring_core::{Config, spring_drift::Selection, spring_fuse::GateConfig};

use super::{
    MethodSpec,
    method::{Beside, Learn},
};
use crate::{Budget, Start, Suite};

/// Tokens that are handled for a user, prompts included.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) train: f64,
    pub(crate) score: f64,
}

/// What some methods cost for a user of a suite, whose periods have this many tokens of training and
/// of test parts, over all seeds and budgets; roughly. What is the same for several methods,
/// budgets or seeds counts once, as [`Memo`](super::Memo) makes it.
pub(crate) fn cost_of(methods: &[MethodSpec], suite: &Suite, periods: &[(usize, usize)]) -> Cost {
    let seeds = suite.seeds.len() as f64;
    let mut parts = Parts::default();
    // The base's scores of all that is learned, whatever the seed.
    parts.score("base", periods.iter().map(|period| period.0 as f64).sum());
    for &budget in &suite.budgets {
        // The reference is always learned, and evaluated only where it is one of the methods.
        one(&MethodSpec::spring(), false, budget, suite, periods, seeds, &mut parts);
        for method in methods {
            one(method, true, budget, suite, periods, seeds, &mut parts);
        }
    }
    let mut cost = Cost { train: parts.train.values().sum(), score: parts.score.values().sum() };
    // A token at a time costs many times as much as a text at once.
    let generated = (suite.generation.texts * suite.generation.tokens * periods.len()) as f64;
    cost.score += 20.0 * generated * (methods.len() * suite.budgets.len()) as f64 * seeds;
    cost
}

/// Costs by what they are for.
#[derive(Default)]
struct Parts {
    train: HashMap<String, f64>,
    score: HashMap<String, f64>,
}

impl Parts {
    fn train(&mut self, what: &str, tokens: f64) {
        self.train.insert(what.into(), tokens);
    }

    fn score(&mut self, what: &str, tokens: f64) {
        self.score.insert(what.into(), tokens);
    }
}

/// Adds what one method costs under one budget.
fn one(
    method: &MethodSpec,
    evaluated: bool,
    budget: Budget,
    suite: &Suite,
    periods: &[(usize, usize)],
    seeds: f64,
    parts: &mut Parts,
) {
    let own = method.configure(&suite.config).unwrap_or_else(|_| suite.config.clone());
    let Config { drift, buffer, bm25, training, .. } = &own;
    let equal_steps = budget == Budget::Steps;
    let share = match drift.selection {
        Selection::TopFraction { fraction } => fraction,
        Selection::Adaptive { calm, .. } => calm,
        _ => 1.0,
    };
    let start = method.start().unwrap_or(suite.start);
    // What trains alike under both budgets.
    let name = match (method.learn, equal_steps) {
        (Learn::Everything | Learn::Pulled | Learn::First | Learn::Cumulative, true) => Budget::Epochs.name(),
        _ => budget.name(),
    };
    let learner = match method.learn {
        Learn::Spring => format!("{drift:?} {buffer:?} {bm25:?}"),
        _ => method.name().split(':').next().unwrap_or("").trim_end_matches("+retrieval").to_owned(),
    };
    let alike = format!("{name} {learner} {training:?} {start:?} {share}");
    let tests: f64 = periods.iter().map(|period| period.1 as f64).sum();
    let mut so_far = 0.0;
    for (t, (train, _)) in periods.iter().enumerate() {
        let train = *train as f64;
        so_far += train;
        let part = match method.learn {
            Learn::Nothing | Learn::Domain | Learn::OtherUser => 0.0,
            Learn::First if t > 0 => 0.0,
            Learn::Spring | Learn::Random if t == 0 && start == Start::Domain => share,
            _ if t == 0 => 1.0,
            Learn::First | Learn::Everything | Learn::Pulled => 1.0,
            Learn::Replay => 2.0,
            Learn::Cumulative => so_far / train,
            Learn::Random | Learn::RandomTokens | Learn::Spring => share,
        };
        // Nearly all learn the first period whole, from the same start.
        let what = match t == 0 && part == 1.0 {
            true => format!("first {training:?} {start:?}"),
            false => format!("{alike} {t}"),
        };
        if part > 0.0 {
            let once = if equal_steps { suite.config.training.epochs } else { training.epochs } as f64;
            let trained = if equal_steps && method.learn != Learn::Cumulative { 1.0 } else { part };
            parts.train(&what, seeds * once * train * trained);
        }
        if method.is_spring() {
            // All of the period before it is learned, and after it what may enter the buffer.
            let before = if t > 0 || start == Start::Domain { train } else { 0.0 };
            parts.score(&format!("before {what}"), seeds * before);
            parts.score(&format!("after {what}"), seeds * part * so_far);
        }
        if evaluated {
            let row = match method.beside {
                Beside::Nothing if part > 0.0 => what,
                Beside::Nothing => method.name().to_owned(),
                Beside::Search | Beside::Latest => format!("{} {t}", method.name()),
                Beside::Gated => format!("{} {} {t}", method.name(), budget.name()),
            };
            let (often, tokens) = match (method.learn, method.beside) {
                (Learn::OtherUser, _) => (seeds, 3.0 * tests),
                // The base, which no seed changes.
                (Learn::Nothing, Beside::Nothing) => (1.0, tests),
                (Learn::Nothing, Beside::Search | Beside::Latest) => (1.0, 3.0 * tests),
                (_, Beside::Nothing) if part == 0.0 && t > 0 => (0.0, 0.0),
                (_, Beside::Nothing) => (seeds, tests),
                (_, Beside::Search | Beside::Latest) => (seeds, 3.0 * tests),
                // Alone where the gate is closed; where it opens, two branches and a mixture.
                (_, Beside::Gated) => (seeds, (1.0 + 4.0 * open_share(&own.gate)) * tests),
            };
            parts.score(&format!("row {row}"), often * tokens);
        }
    }
}

/// How often a gate may open.
fn open_share(gate: &GateConfig) -> f64 {
    match gate {
        GateConfig::Quantile { quantile, .. } => 1.0 - quantile,
        GateConfig::Never {} => 0.0,
        GateConfig::Always { .. } => 1.0,
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(methods: &[&str], more: &str) -> Cost {
        let names = methods.join("', '");
        let toml = format!("name = 'x'\nmethods = ['{names}']\n{more}\n[[data]]\nname = 'd'\npath = 'd'\n");
        let suite = Suite::from_toml(&toml, "x.toml").unwrap();
        cost_of(&suite.methods, &suite, &[(100, 10), (200, 10)])
    }

    #[test]
    fn what_is_shared_counts_once() {
        // Two epochs of the first period, and of 30 % of the second.
        let (first, spring) = (2.0 * 100.0, 2.0 * 0.3 * 200.0);
        assert_eq!(cost(&["base"], "").train, first + spring);
        assert_eq!(cost(&["spring", "spring_adapter", "no_gate", "static"], "").train, first + spring);
        assert_eq!(cost(&["spring:rho=0.5"], "").train, first + spring + 2.0 * 0.5 * 200.0);
        assert_eq!(cost(&["everything", "everything+retrieval"], "").train, first + spring + 2.0 * 200.0);
        assert_eq!(cost(&["cumulative"], "").train, first + spring + 2.0 * 300.0);
        assert_eq!(cost(&["spring:epochs=4"], "").train, first + spring + 4.0 * (100.0 + 60.0));
        // Under both budgets the first period and everything are the same training.
        let both = "budgets = ['epochs', 'steps']";
        assert_eq!(cost(&["everything"], both).train, first + spring + 2.0 * 200.0 + 2.0 * 200.0);
        let steps = "budgets = ['steps']";
        assert_eq!(cost(&["cumulative"], steps).train, first + 2.0 * 200.0 + 2.0 * 300.0);
        assert_eq!(cost(&["static"], "seeds = [0, 1, 2]").train, 3.0 * (first + spring));
    }

    #[test]
    fn rows_that_no_seed_changes_are_scored_once() {
        let none = cost(&["spring"], "").score - 2.0 * 2.0 * 20.0;
        assert_eq!(cost(&["spring", "base"], "").score, none + 2.0 * 2.0 * 20.0 + 20.0);
        let with = |more: &str| cost(&["base"], more).score;
        let three = "seeds = [0, 1, 2]";
        // Only SPRInG's own scores grow with the seeds: the base's of 300 tokens and its row do
        // not.
        assert_eq!(with(three) - 320.0, 3.0 * (with("") - 320.0));
        assert_eq!(cost(&["static"], "").score - none, 20.0);
    }
}

//! What the methods cost for a user, before they are run.

use std::collections::HashMap;

use spring_core::{
    BankKind, Config, NoveltyReference,
    spring_drift::{ScorerConfig, Selection},
    spring_fuse::GateConfig,
};
use spring_lm::TokenWeights;

use super::Suite;
use crate::{Budget, Method, Reads, Result, Start, Trains};

/// Tokens that are handled for a user, prompts included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) train: f64,
    pub(super) score: f64,
    /// Tokens of generated texts, one after the other, at most.
    pub(super) write: f64,
    /// Rows beside the first that take part in writing them, summed over those tokens.
    pub(super) beside: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.train += other.train;
        self.score += other.score;
        self.write += other.write;
        self.beside += other.beside;
    }
}

/// One period of a user.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeriodSize {
    /// Tokens of the part that is learned.
    pub(super) train: usize,
    /// Tokens of the test part.
    pub(super) test: usize,
    /// Texts of the test part.
    pub(super) tests: usize,
}

/// What some methods cost for a user of a suite over all seeds and budgets, roughly. What is the
/// same for several methods, budgets or seeds counts once, as [`Memo`](crate::Memo) makes it;
/// writing is remembered by nobody.
pub(super) fn cost_of(methods: &[Method], suite: &Suite, periods: &[PeriodSize]) -> Result<Cost> {
    let seeds = suite.seeds.len() as f64;
    let mut parts = Parts::default();
    // The base's scores of all that is learned, whatever the seed.
    parts.score("base", periods.iter().map(|period| period.train as f64).sum());
    for &budget in &suite.budgets {
        // The reference is always learned, and evaluated only where it is one of the methods.
        one(&Method::spring()?, false, budget, suite, periods, seeds, &mut parts);
        for method in methods.iter().filter(|method| method.program().is_none()) {
            // So is a variant of it whose bank is read; a whole history is nobody's.
            if let Some(lender) = method.lender()?
                && (method.like().is_some()
                    || lender.configure(&suite.config)?.buffer.bank == BankKind::Buffer)
            {
                one(&lender, false, budget, suite, periods, seeds, &mut parts);
            }
            one(method, true, budget, suite, periods, seeds, &mut parts);
        }
    }
    let mut cost = Cost {
        train: parts.train.values().sum(),
        score: parts.score.values().sum(),
        ..Cost::default()
    };
    let times = seeds * suite.budgets.len() as f64;
    for method in methods.iter().filter(|method| method.program().is_none()) {
        written(method, suite, periods, times, &mut cost);
    }
    Ok(cost)
}

/// Adds what the texts of one method cost that are generated `times` for each test part.
fn written(method: &Method, suite: &Suite, periods: &[PeriodSize], times: f64, cost: &mut Cost) {
    let own = method.configure(&suite.config).unwrap_or_else(|_| suite.config.clone());
    let is_contrasted = own.fusion.contrasting().is_some() && !is_fixed(method, suite);
    let open = match method.reads() {
        Reads::Buffer => open_share(&own.gate),
        _ => 0.0,
    };
    // Of the prompt, and of it behind retrieved texts.
    let contexts = match method.reads() {
        Reads::Prompt => 3.0,
        _ => 1.0 + f64::from(u8::from(is_contrasted)) + 3.0 * open,
    };
    for period in periods {
        // No more than there are to answer.
        let texts = times * suite.generation.texts.min(period.tests) as f64;
        cost.score += texts * contexts * period.test as f64 / period.tests.max(1) as f64;
        let tokens = texts * suite.generation.tokens as f64;
        cost.write += tokens;
        cost.beside += tokens * (open + f64::from(u8::from(is_contrasted)));
    }
}

/// Whether a method answers with the base alone, whatever is learned.
fn is_fixed(method: &Method, suite: &Suite) -> bool {
    method.kind().trains == Trains::Nothing && !method.starts_at_domain(suite.start)
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
    method: &Method,
    evaluated: bool,
    budget: Budget,
    suite: &Suite,
    periods: &[PeriodSize],
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
    let trains = method.kind().trains;
    let name = match (trains, equal_steps) {
        (Trains::Everything | Trains::First | Trains::SoFar, true) => Budget::Epochs.name(),
        _ => budget.name(),
    };
    let learner = match trains {
        Trains::Selection => format!("{drift:?} {buffer:?} {bm25:?}"),
        _ => method.kind().name.clone(),
    };
    // A first adapter has no last one to be held to.
    let first = training.clone().with_anchor(0.0);
    let is_fixed = is_fixed(method, suite);
    let alike = format!("{name} {learner} {training:?} {start:?} {share}");
    let tests: f64 = periods.iter().map(|period| period.test as f64).sum();
    let mut so_far = 0.0;
    for (t, period) in periods.iter().enumerate() {
        let train = period.train as f64;
        so_far += train;
        let part = match trains {
            Trains::Nothing => 0.0,
            Trains::First if t > 0 => 0.0,
            Trains::Selection | Trains::AsManyTexts if t == 0 && start == Start::Domain => share,
            _ if t == 0 => 1.0,
            Trains::First | Trains::Everything => 1.0,
            Trains::Replay => 2.0,
            Trains::SoFar => so_far / train,
            Trains::AsManyTexts | Trains::AsManyTokens | Trains::Selection => share,
        };
        // Nearly all learn the first period whole, from the same start.
        let what = match t == 0 && part == 1.0 {
            true => format!("first {first:?} {start:?}"),
            false => format!("{alike} {t}"),
        };
        if part > 0.0 {
            let once =
                if equal_steps { suite.config.training.epochs } else { training.epochs } as f64;
            let trained = if equal_steps && trains != Trains::SoFar { 1.0 } else { part };
            parts.train(&what, seeds * once * train * trained);
            if training.token_weights != TokenWeights::Equal {
                parts.score(&format!("weights {what}"), seeds * part * train);
            }
        }
        if method.is_spring() {
            // All of the period before it is learned, and after it what may enter the buffer.
            let before = if t > 0 || start == Start::Domain { train } else { 0.0 };
            parts.score(&format!("before {what}"), seeds * before);
            parts.score(&format!("after {what}"), seeds * part * so_far);
            if drift.reference == NoveltyReference::Population {
                // The same texts under one adapter more.
                parts.score(&format!("population {what}"), seeds * (before + part * so_far));
            }
            if let ScorerConfig::Lookahead { steps, recent } = drift.scorer {
                parts.train(&format!("ahead {what}"), seeds * steps as f64 * before);
                parts.score(&format!("ahead {what}"), seeds * recent as f64 * before);
            }
        }
        if evaluated {
            // A second branch, of the base, for a method that has an adapter.
            let contrast = own.fusion.contrasting().filter(|_| !is_fixed);
            let row = match method.reads() {
                Reads::Nothing if contrast.is_some() => format!("{} {what}", method.name()),
                Reads::Nothing if part > 0.0 => what,
                Reads::Nothing => method.name().to_owned(),
                Reads::Prompt => format!("{} {t}", method.name()),
                Reads::Buffer => format!("{} {} {t}", method.name(), budget.name()),
            };
            let (often, tokens) = match method.reads() {
                Reads::Nothing | Reads::Prompt if method.is_of_others() => (seeds, 3.0 * tests),
                // Three adapters, and each as a method of its own.
                Reads::Buffer if method.is_of_others() => {
                    (seeds, 3.0 * (1.0 + 4.0 * open_share(&own.gate)) * tests)
                }
                // No seed changes them.
                Reads::Nothing if is_fixed => (1.0, tests),
                Reads::Prompt if is_fixed => (1.0, 3.0 * tests),
                Reads::Nothing if part == 0.0 && t > 0 => (0.0, 0.0),
                Reads::Nothing if contrast.is_some() => (seeds, 5.0 * tests),
                Reads::Nothing => (seeds, tests),
                Reads::Prompt => (seeds, 3.0 * tests),
                // Two branches and the contrast at least, with retrieved texts three.
                Reads::Buffer if contrast.is_some() => {
                    (seeds, (5.0 + 3.0 * open_share(&own.gate)) * tests)
                }
                // Alone where the gate is closed; where it opens, two branches and a mixture.
                Reads::Buffer => (seeds, (1.0 + 4.0 * open_share(&own.gate)) * tests),
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
        GateConfig::Always { .. } | GateConfig::Calibrated { .. } => 1.0,
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(methods: &[&str], more: &str) -> Cost {
        let names = methods.join("', '");
        let toml = format!(
            "name = 'x'\nmethods = ['{names}']\n{more}\n[[data]]\nname = 'd'\npath = 'd'\n"
        );
        let suite = Suite::from_toml(&toml, "x.toml").unwrap();
        let period = |train| PeriodSize { train, test: 10, tests: 2 };
        cost_of(&suite.methods, &suite, &[period(100), period(200)]).unwrap()
    }

    #[test]
    fn a_text_is_written_once_for_each_that_is_there_to_be_answered() {
        let of = |methods: &[&str], texts: usize, more: &str| {
            cost(methods, &format!("generation = {{ texts = {texts}, tokens = 30 }}\n{more}"))
        };
        let written = |cost: Cost| (cost.write, cost.beside);
        assert_eq!(written(cost(&["base", "spring"], "")), (0.0, 0.0));
        // Of two periods; each has two texts.
        assert_eq!(written(of(&["base"], 1, "")), (2.0 * 30.0, 0.0));
        assert_eq!(written(of(&["base"], 2, "")), (4.0 * 30.0, 0.0));
        assert_eq!(written(of(&["base"], 9, "")), (4.0 * 30.0, 0.0));
        let twice = "budgets = ['epochs', 'steps']\nseeds = [0, 1]";
        assert_eq!(written(of(&["base", "everything"], 9, twice)), (8.0 * 4.0 * 30.0, 0.0));
        // A second row where the gate may open, and one more of the base for a contrast.
        let open = of(&["spring:gate=always"], 2, "");
        assert_eq!(written(open), (4.0 * 30.0, 4.0 * 30.0));
        assert_eq!(of(&["no_gate"], 2, "").beside, 4.0 * 30.0);
        let contrast = of(&["everything:contrast=0.5", "base"], 2, "");
        assert_eq!(written(contrast), (8.0 * 30.0, 4.0 * 30.0));
        // Their prompts are read, at most as long as the test texts of five tokens each.
        assert_eq!(of(&["base"], 9, "").score - cost(&["base"], "").score, 4.0 * 5.0);
    }

    #[test]
    fn what_is_shared_counts_once() {
        // Two epochs of the first period, and of 30 % of the second.
        let (first, spring) = (2.0 * 100.0, 2.0 * 0.3 * 200.0);
        assert_eq!(cost(&["base"], "").train, first + spring);
        assert_eq!(
            cost(&["spring", "spring_adapter", "no_gate", "static"], "").train,
            first + spring
        );
        assert_eq!(cost(&["spring:rho=0.5"], "").train, first + spring + 2.0 * 0.5 * 200.0);
        assert_eq!(
            cost(&["everything", "everything+retrieval"], "").train,
            first + spring + 2.0 * 200.0
        );
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
    fn a_bank_of_another_variant_is_learned_once_and_a_history_by_nobody() {
        let plain = cost(&["everything+retrieval"], "").train;
        assert_eq!(cost(&["everything+retrieval:bank=history"], "").train, plain);
        // 30 % of the second period, with other settings than the comparison's.
        let variant = plain + 2.0 * 0.3 * 200.0;
        assert_eq!(cost(&["everything+retrieval:capacity=20"], "").train, variant);
        let like = "everything+retrieval:like=(spring:alpha=2)";
        assert_eq!(cost(&[like], "").train, variant);
        assert_eq!(cost(&[like, "spring:alpha=2"], "").train, variant);
    }

    #[test]
    fn what_is_measured_beside_counts() {
        let plain = cost(&["spring"], "");
        // The second period, as the first one is learned whole: one step on each of its texts, and
        // four others scored for each.
        let ahead = cost(&["spring:scorer=lookahead"], "");
        let second = 2.0 * 0.3 * 200.0;
        assert_eq!(ahead.train - plain.train, second + 200.0);
        let own = cost(&["spring:alpha=1"], "");
        assert_eq!(ahead.score - own.score, 4.0 * 200.0);
        // The second period before it is learned, and what may be in the buffer after each.
        let population = cost(&["spring:reference=population"], "");
        assert_eq!(population.score - own.score, 100.0 + 200.0 + 0.3 * 300.0);
        // 30 % of the second period, and the first one anew.
        let weights = cost(&["spring:weights=unrecalled"], "");
        assert_eq!(weights.train - plain.train, 2.0 * 100.0 + second);
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
        // A contrast is learned for nothing and is a row of its own, with the base's branch.
        let (plain, both) = (cost(&["everything"], ""), ["everything", "everything:contrast=0.5"]);
        let both = cost(&both, "");
        assert_eq!((both.train, both.score - plain.score), (plain.train, 2.0 * 5.0 * 20.0));
    }
}

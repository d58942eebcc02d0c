//! What the methods cost for a user, before they are run.

use std::collections::HashSet;

use spring_core::{Config, spring_drift::Selection};

use super::{
    Generation, MethodSpec,
    method::{Beside, Learn},
};

/// Tokens that are handled for a user, prompts included.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) train: f64,
    pub(crate) score: f64,
}

/// What some methods cost for a user whose periods have so many tokens of training and of test parts; roughly. The first
/// period is learned once for all, and SPRInG once for all variants that learn alike.
pub(crate) fn cost_of(
    methods: &[MethodSpec],
    config: &Config,
    equal_steps: bool,
    periods: &[(usize, usize)],
    generation: Generation,
) -> Cost {
    let (epochs, tests) = (config.training.epochs as f64, periods.iter().map(|p| p.1 as f64).sum::<f64>());
    let first = periods.first().map_or(0.0, |period| period.0 as f64);
    let mut cost = Cost { train: epochs * first, score: first };
    let reference = MethodSpec::spring();
    let mut learned = HashSet::new();
    // The reference is always learned, and evaluated only where it is one of the methods.
    for (method, evaluated) in std::iter::once((&reference, false)).chain(methods.iter().map(|m| (m, true))) {
        let own = method.configure(config).unwrap_or_else(|_| config.clone());
        let share = match own.drift.selection {
            Selection::TopFraction { fraction } => fraction,
            Selection::Adaptive { calm, .. } => calm,
            _ => 1.0,
        };
        let key = if method.is_spring() {
            format!("{:?} {:?} {:?}", own.drift, own.buffer, own.bm25)
        } else {
            method.name().trim_end_matches("+retrieval").to_owned()
        };
        let is_new = learned.insert(key);
        let mut so_far = first;
        for (t, (train, _)) in periods.iter().enumerate() {
            let train = *train as f64;
            so_far += if t > 0 { train } else { 0.0 };
            let part = match method.learn {
                Learn::Nothing | Learn::Domain | Learn::OtherUser | Learn::First => 0.0,
                _ if t == 0 => 0.0,
                Learn::Everything | Learn::Pulled => 1.0,
                Learn::Replay => 2.0,
                Learn::Cumulative => so_far / train,
                Learn::Random | Learn::RandomTokens | Learn::Spring => share,
            };
            let learns = part > 0.0;
            if learns && is_new {
                cost.train += epochs * train * if equal_steps { 1.0 } else { part };
                // SPRInG scores all of the period before it learns, and after it what may enter the buffer.
                cost.score += if method.is_spring() { train + part * so_far } else { 0.0 };
            }
            if evaluated {
                cost.score += tests
                    * match method.beside {
                        Beside::Nothing if method.learn == Learn::OtherUser => 3.0,
                        Beside::Nothing => f64::from(u8::from(learns || t == 0)),
                        Beside::Search | Beside::Latest => 3.0,
                        Beside::Gated => 5.0,
                    };
                // A token at a time costs many times as much as a text at once.
                cost.score += 20.0 * (generation.texts * generation.tokens) as f64;
            }
        }
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(methods: &[&str], equal_steps: bool) -> Cost {
        let methods: Vec<MethodSpec> = methods.iter().map(|name| name.parse().unwrap()).collect();
        cost_of(&methods, &Config::default(), equal_steps, &[(100, 10), (200, 10)], Generation::default())
    }

    #[test]
    fn what_is_shared_counts_once() {
        // Two epochs of the first period, and of 30 % of the second.
        let spring = 2.0 * 100.0 + 2.0 * 0.3 * 200.0;
        assert_eq!(cost(&["base"], false).train, spring);
        assert_eq!(cost(&["spring", "spring_adapter", "no_gate"], false).train, spring);
        assert_eq!(cost(&["spring:rho=0.5"], false).train, spring + 2.0 * 0.5 * 200.0);
        assert_eq!(cost(&["everything", "everything+retrieval"], false).train, spring + 2.0 * 200.0);
        assert_eq!(cost(&["cumulative"], false).train, spring + 2.0 * 300.0);
        assert_eq!(cost(&["cumulative"], true).train, 2.0 * 100.0 + 2.0 * 2.0 * 200.0);
        // The base is scored once, whatever the period.
        assert_eq!(cost(&["base"], false).score + 2.0 * 5.0 * 20.0, cost(&["base", "spring"], false).score);
    }
}

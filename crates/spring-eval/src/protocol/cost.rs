//! What a method costs, before it is run.

use spring_core::{Config, spring_drift::Selection};

use super::{
    Generation, MethodSpec,
    method::{Beside, Learn},
};

/// Tokens that a method handles for a user, prompts included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) train: f64,
    pub(crate) score: f64,
}

/// What a method costs for a user whose periods have so many tokens of training and of test parts; roughly, and without
/// what methods share but the first period.
pub(crate) fn cost_of(
    method: &MethodSpec,
    config: &Config,
    equal_steps: bool,
    periods: &[(usize, usize)],
    generation: Generation,
) -> Cost {
    let share = match method.configure(config).map(|config| config.drift.selection) {
        Ok(Selection::TopFraction { fraction }) => fraction,
        Ok(Selection::Adaptive { calm, .. }) => calm,
        _ => 1.0,
    };
    let (epochs, tests) = (config.training.epochs as f64, periods.iter().map(|p| p.1 as f64).sum::<f64>());
    let (mut cost, mut so_far) = (Cost { train: 0.0, score: 0.0 }, 0.0);
    for (t, (train, _)) in periods.iter().enumerate() {
        let train = *train as f64;
        so_far += train;
        let part = match method.learn {
            Learn::Nothing | Learn::Domain | Learn::OtherUser => 0.0,
            _ if t == 0 => 0.0,
            Learn::First => 0.0,
            Learn::Everything | Learn::Pulled => 1.0,
            Learn::Replay => 2.0,
            Learn::Cumulative => so_far / train,
            Learn::Random | Learn::RandomTokens | Learn::Spring => share,
        };
        let learns = part > 0.0;
        cost.train += epochs * train * if learns && equal_steps { 1.0 } else { part };
        // SPRInG scores all of the period before it learns, and after it what may enter the buffer.
        if learns && method.is_spring() && *method != MethodSpec::spring() {
            cost.score += train + part * so_far;
        }
        cost.score += tests
            * match method.beside {
                Beside::Nothing => f64::from(u8::from(learns || t == 0)),
                Beside::Search | Beside::Latest => 3.0,
                Beside::Gated => 5.0,
            };
        // A token at a time costs many times as much as a text at once.
        cost.score += 20.0 * (generation.texts * generation.tokens) as f64;
    }
    cost
}

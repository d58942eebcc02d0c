//! How long a suite will take, from its tokens and a short measurement of the model's speed.

use std::{collections::HashSet, ops::ControlFlow, time::Instant};

use serde::Serialize;
use spring_core::{Config, LanguageModel, prompt::Encoded};
use spring_lm::TrainRequest;

use super::{Choice, Suite, cost::cost_of, load::LoadedData};
use crate::{Half, Method, Result, loss::encode};

/// What a suite costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Estimate {
    /// Users times seeds times budgets, over all data sets.
    pub jobs: usize,
    /// Tokens to train on, prompts included, in millions.
    pub train_millions: f64,
    /// Tokens to score, in millions.
    pub score_millions: f64,
    /// Seconds that this takes at the measured speed, roughly: a factor of two either way.
    pub seconds: f64,
}

/// Texts that the speed is measured on.
const SAMPLE: usize = 8;

pub(super) fn estimate(
    model: &dyn LanguageModel,
    suite: &Suite,
    data: &[LoadedData],
) -> Result<Estimate> {
    let mut estimate = Estimate::default();
    let mut sample: Vec<Encoded> = Vec::new();
    let (mut train, mut score) = (0.0, 0.0);
    for loaded in data {
        for (place, (_, splits)) in loaded.users.iter().enumerate() {
            let mut periods = Vec::new();
            for split in splits {
                let texts = encode(model, &suite.config, &split.train)?;
                let tests = encode(model, &suite.config, &split.test)?;
                periods.push((tokens(&texts), tokens(&tests)));
                let room = SAMPLE - sample.len();
                sample.extend(texts.into_iter().take(room));
            }
            let methods = expected_methods(suite, suite.half(place));
            let cost = cost_of(&methods, suite, &periods)?;
            train += cost.train;
            score += cost.score;
            estimate.jobs += suite.seeds.len() * suite.budgets.len();
        }
        if suite.needs_domain() {
            let epochs = suite.config.training.epochs * suite.seeds.len();
            train += (tokens(&encode(model, &suite.config, &loaded.domain)?) * epochs) as f64;
        }
    }
    let (per_train, per_score) = speed(model, &suite.config, &sample)?;
    estimate.seconds = train * per_train + score * per_score;
    (estimate.train_millions, estimate.score_millions) = (train / 1e6, score / 1e6);
    Ok(estimate)
}

/// What a user of a half will run; which candidates will be the best is not known yet, so the first
/// ones stand for them.
fn expected_methods(suite: &Suite, half: Option<Half>) -> Vec<Method> {
    let candidates = suite.choose.iter().flat_map(Choice::expected);
    let methods = match half {
        None => suite.methods.clone(),
        Some(Half::Choosing) => candidates.collect(),
        Some(Half::Reporting) => {
            let first = suite.choose.iter().filter_map(|choice| choice.among.first());
            suite.methods.iter().chain(first).cloned().collect()
        }
    };
    let mut names = HashSet::new();
    methods.into_iter().filter(|method| names.insert(method.name().to_owned())).collect()
}

fn tokens(texts: &[Encoded]) -> usize {
    texts.iter().map(|text| text.sequence.len()).sum()
}

/// Seconds per token of training and of scoring; the first call of each is warm-up.
fn speed(model: &dyn LanguageModel, config: &Config, sample: &[Encoded]) -> Result<(f64, f64)> {
    let core = spring_core::Error::from;
    let rows: Vec<_> = sample.iter().map(|text| (&text.sequence, None)).collect();
    let examples: Vec<_> = sample.iter().map(|text| text.sequence.clone()).collect();
    let training = config.training.clone().with_epochs(1);
    let (mut scoring, mut learning) = (0.0, 0.0);
    for _ in 0..2 {
        let started = Instant::now();
        model.score(&rows).map_err(core)?;
        scoring = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let request = TrainRequest::new(&config.lora, &examples, &training, 0);
        model.train(request, &mut |_| ControlFlow::Continue(())).map_err(core)?;
        learning = started.elapsed().as_secs_f64();
    }
    let count = tokens(sample).max(1) as f64;
    Ok((learning / count, scoring / count))
}

//! How long a suite will take, from its tokens and a short measurement of the model's speed.

use std::{collections::HashSet, ops::ControlFlow, sync::Arc, time::Instant};

use serde::Serialize;
use spring_core::{Config, LanguageModel, prompt::Encoded};
use spring_lm::{Adapter, TrainRequest};

use super::{
    Choice, Suite,
    cost::{Cost, PeriodSize, cost_of},
    load::LoadedData,
};
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
    /// Tokens to write in generated texts, in millions, as if each text took as many as it may.
    pub write_millions: f64,
    /// Seconds that this takes at the measured speed, with nothing else on the machine: of eight
    /// texts at once, and of one text that is written.
    pub seconds: f64,
}

/// Texts that the speed is measured on.
const SAMPLE: usize = 8;

/// Tokens that are written to measure the speed.
const WRITTEN: usize = 16;

pub(super) fn estimate(
    model: &dyn LanguageModel,
    suite: &Suite,
    data: &[LoadedData],
) -> Result<Estimate> {
    let mut estimate = Estimate::default();
    let mut sample: Vec<Encoded> = Vec::new();
    let mut all = Cost::default();
    for loaded in data {
        for (place, (_, splits)) in loaded.users.iter().enumerate() {
            let mut periods = Vec::new();
            for split in splits {
                let texts = encode(model, &suite.config, &split.train)?;
                let tests = encode(model, &suite.config, &split.test)?;
                let (train, test) = (tokens(&texts), tokens(&tests));
                periods.push(PeriodSize { train, test, tests: tests.len() });
                let room = SAMPLE - sample.len();
                sample.extend(texts.into_iter().take(room));
            }
            let methods = expected_methods(suite, suite.half(place));
            all += cost_of(&methods, suite, &periods)?;
            estimate.jobs += suite.seeds.len() * suite.budgets.len();
        }
        if suite.needs_domain() {
            let epochs = suite.config.training.epochs * suite.seeds.len();
            all.train += (tokens(&encode(model, &suite.config, &loaded.domain)?) * epochs) as f64;
        }
    }
    let speed = Speed::measured(model, &suite.config, &sample, all)?;
    estimate.seconds = speed.seconds(all);
    (estimate.train_millions, estimate.score_millions) = (all.train / 1e6, all.score / 1e6);
    estimate.write_millions = all.write / 1e6;
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
            let first = suite.choose.iter().flat_map(Choice::reported_first);
            suite.methods.iter().cloned().chain(first).collect()
        }
    };
    let mut names = HashSet::new();
    methods.into_iter().filter(|method| names.insert(method.name().to_owned())).collect()
}

fn tokens(texts: &[Encoded]) -> usize {
    texts.iter().map(|text| text.sequence.len()).sum()
}

/// Seconds per token.
#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    train: f64,
    score: f64,
    /// Of a text that is written in one row.
    write: f64,
    /// What each row more adds.
    beside: f64,
}

impl Speed {
    /// Measures what the cost has any of; the first call of each is warm-up.
    fn measured(
        model: &dyn LanguageModel,
        config: &Config,
        sample: &[Encoded],
        cost: Cost,
    ) -> Result<Self> {
        let core = spring_core::Error::from;
        let rows: Vec<_> = sample.iter().map(|text| (&text.sequence, None)).collect();
        let examples: Vec<_> = sample.iter().map(|text| text.sequence.clone()).collect();
        let training = config.training.clone().with_epochs(1);
        let (mut speed, mut adapter) = (Self::default(), None);
        let count = tokens(sample).max(1) as f64;
        for _ in 0..2 {
            let started = Instant::now();
            model.score(&rows).map_err(core)?;
            speed.score = started.elapsed().as_secs_f64() / count;
            let started = Instant::now();
            let request = TrainRequest::new(&config.lora, &examples, &training, 0);
            let trained = model.train(request, &mut |_| ControlFlow::Continue(())).map_err(core)?;
            speed.train = started.elapsed().as_secs_f64() / count;
            adapter = Some(Arc::new(trained.adapter));
        }
        let longest = sample.iter().max_by_key(|text| text.sequence.context.len());
        let context = longest.map(|text| &text.sequence.context[..]).unwrap_or_default();
        if cost.write > 0.0 && !context.is_empty() {
            speed.write = writing(model, context, adapter.as_ref(), 1)?;
            if cost.beside > 0.0 {
                let both = writing(model, context, adapter.as_ref(), 2)?;
                speed.beside = (both - speed.write).max(0.0);
            }
        }
        Ok(speed)
    }

    fn seconds(&self, cost: Cost) -> f64 {
        cost.train * self.train
            + cost.score * self.score
            + cost.write * self.write
            + cost.beside * self.beside
    }
}

/// Seconds per token that is written behind a context, in as many rows; reading the context and
/// the first token are warm-up.
fn writing(
    model: &dyn LanguageModel,
    context: &[u32],
    adapter: Option<&Arc<Adapter>>,
    rows: usize,
) -> Result<f64> {
    let core = spring_core::Error::from;
    let room = WRITTEN + 1;
    // As much of it as the model reads with what is written.
    let longest = model.info().context.saturating_sub(room).max(1);
    let context = &context[context.len().saturating_sub(longest)..];
    let mut session = model.session().map_err(core)?;
    let rows = session.join_branches(&vec![context; rows], adapter, room).map_err(core)?;
    let mut started = Instant::now();
    for step in 0..room {
        if step == 1 {
            started = Instant::now();
        }
        let tokens: Vec<_> =
            rows.iter().map(|row| (*row, likeliest(session.log_probs(*row)))).collect();
        session.step(&tokens).map_err(core)?;
    }
    Ok(started.elapsed().as_secs_f64() / WRITTEN as f64)
}

/// The likeliest token of a row, whichever it is.
fn likeliest(log_probs: Option<&[f32]>) -> u32 {
    let tokens = (0u32..).zip(log_probs.unwrap_or_default());
    tokens.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_takes_its_own_time() {
        let speed = Speed { train: 3.0, score: 1.0, write: 200.0, beside: 50.0 };
        let cost = Cost { train: 2.0, score: 10.0, write: 4.0, beside: 2.0 };
        assert_eq!(speed.seconds(cost), 6.0 + 10.0 + 800.0 + 100.0);
        assert_eq!(likeliest(Some(&[-3.0, -0.5, f32::NEG_INFINITY, -1.0])), 1);
        assert_eq!(likeliest(None), 0);
    }
}

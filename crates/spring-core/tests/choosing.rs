//! Novelty against a population, and selection by what a look ahead measures, on a tiny real model.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{config, model, texts, user};
use spring_core::{
    Config, Error, Learner, NoveltyReference, Period, Score, StoredInteraction, Train, UserModel,
    key, mean_log_likelihood, prompt::encode_pair, record::PeriodRecord,
    spring_drift::ScorerConfig,
};
use spring_lm::{AdaptOutcome, Adapter, ModelError, Sequence, TrainRequest, TrainStep};

fn stored(name: &str, ids: std::ops::Range<usize>) -> Vec<StoredInteraction> {
    let first = ids.start as u64;
    let lines = texts(name, ids);
    let read = |line: &str| serde_json::from_str(line).unwrap();
    (first..)
        .zip(lines.lines())
        .map(|(seq, line)| StoredInteraction::new(seq, read(line)))
        .collect()
}

fn learner(config: &Config) -> Learner<'static> {
    let fresh = UserModel::fresh(model(), config.clone(), None).unwrap();
    Learner::new(user("ada"), fresh, vec![])
}

fn learn(learner: &mut Learner<'_>, number: u32) -> PeriodRecord {
    let first = 8 * (number as usize - 1);
    let texts = stored("ada", first..first + 8);
    learner.learn(Period::new(number, &texts), &mut ()).unwrap().record
}

/// What is learned of somebody in a period.
fn adapter_of(name: &str) -> Adapter {
    let mut other = learner(&config());
    other.learn(Period::new(1, &stored(name, 0..8)), &mut ()).unwrap();
    other.model().adapter().unwrap().clone()
}

fn against_population() -> Config {
    let mut config = config();
    config.drift.reference = NoveltyReference::Population;
    config
}

#[test]
fn novelty_against_a_population_is_by_its_adapter() {
    let population = Arc::new(adapter_of("bob"));
    let config = against_population();
    let mut ada = learner(&config).with_population(population.clone());
    let (first, second) = (learn(&mut ada, 1), learn(&mut ada, 2));
    // Without an adapter there is no novelty, and all is learned.
    assert!(first.scores.iter().all(|s| s.population.is_none() && s.score.novelty == 0.0));
    let rows: Vec<Sequence> = stored("ada", 8..16)
        .iter()
        .map(|text| {
            let text = &text.interaction;
            encode_pair(model(), &text.prompt, &text.response, 768).unwrap().sequence
        })
        .collect();
    let rows: Vec<_> = rows.iter().map(|row| (row, Some(population.as_ref()))).collect();
    for (score, tokens) in second.scores.iter().zip(model().score(&rows).unwrap()) {
        let known = score.population.unwrap();
        assert!((known - mean_log_likelihood(&tokens)).abs() < 1e-5);
        assert_eq!(score.score.novelty, known - score.adapter.unwrap());
        assert_eq!(score.score.quality, score.base);
    }
    // The buffer, too, is ranked by it.
    let mut against_base = learner(&common::config());
    learn(&mut against_base, 1);
    learn(&mut against_base, 2);
    let novelties = |learner: &Learner<'_>| -> Vec<(u64, f64)> {
        learner.model().memories().buffer.iter().map(|item| (item.key, item.novelty)).collect()
    };
    assert_ne!(novelties(&ada), novelties(&against_base));
}

#[test]
fn to_who_is_the_population_nothing_is_novel() {
    let own = Arc::new(adapter_of("ada"));
    let mut ada = learner(&against_population()).with_population(own.clone());
    learn(&mut ada, 1);
    assert_eq!(ada.model().adapter(), Some(own.as_ref()));
    assert!(learn(&mut ada, 2).scores.iter().all(|score| score.score.novelty == 0.0));
}

#[test]
fn a_population_that_is_not_asked_for_changes_nothing_and_one_that_is_missing_is_an_error() {
    let (mut with, mut without) =
        (learner(&config()).with_population(Arc::new(adapter_of("bob"))), learner(&config()));
    for number in [1, 2] {
        let (with, without) = (learn(&mut with, number), learn(&mut without, number));
        assert_eq!(with.scores, without.scores);
    }
    assert_eq!(with.model().memories(), without.model().memories());

    let mut missing = learner(&against_population());
    let error = missing.learn(Period::new(1, &stored("ada", 0..8)), &mut ()).unwrap_err();
    assert!(matches!(error, Error::NoPopulation), "{error}");
    assert!(error.to_string().contains("drift.reference"), "{error}");
}

fn by_lookahead(steps: usize, recent: usize) -> Config {
    let mut config = config();
    config.drift.scorer = ScorerConfig::Lookahead { steps, recent };
    config
}

#[test]
fn a_text_is_worth_what_a_step_on_it_gains_on_the_latest_others() {
    let config = by_lookahead(1, 2);
    let mut ada = learner(&config);
    let first = learn(&mut ada, 1);
    // All of it is learned, so nothing has to be known of it.
    assert!(first.scores.iter().all(|score| score.lookahead.is_none()));
    let before = ada.model().adapter().unwrap().clone();
    let second = learn(&mut ada, 2);
    assert_eq!(second.selection.selected, 3);

    let texts: Vec<Sequence> = stored("ada", 8..16)
        .iter()
        .map(|text| {
            let text = &text.interaction;
            encode_pair(model(), &text.prompt, &text.response, 768).unwrap().sequence
        })
        .collect();
    let seed = key::seed(config.seed, "ada", 2, "adapter");
    let step = config.training.clone().with_epochs(1).with_batch_size(1).with_warmup(0.0);
    for (place, score) in second.scores.iter().enumerate() {
        assert_eq!(score.lookahead, Some(score.score.score));
        let alone = std::slice::from_ref(&texts[place]);
        let request =
            TrainRequest::new(&config.lora, alone, &step, seed).starting_from(Some(&before));
        let ahead = model().train(request, &mut |_| ControlFlow::Continue(())).unwrap().adapter;
        let others = match place {
            7 => [6, 5],
            6 => [7, 5],
            _ => [7, 6],
        };
        let mut gain = 0.0;
        for other in others {
            let rows = [(&texts[other], Some(&before)), (&texts[other], Some(&ahead))];
            let scores = model().score(&rows).unwrap();
            gain += (mean_log_likelihood(&scores[1]) - mean_log_likelihood(&scores[0])) / 2.0;
        }
        let found = score.lookahead.unwrap();
        assert!((found - gain).abs() < 1e-4, "{place}: {found} {gain}");
        assert!(found != 0.0);
    }
    // The buffer holds what the adapter explains badly.
    let item = ada.model().memories().buffer[0];
    assert!((item.score - (item.novelty + 0.5 * item.quality)).abs() < 1e-12);
}

/// Counts, and trains as the model does.
struct Counting(AtomicUsize);

impl Train for Counting {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome, ModelError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Train::train(model(), request, progress)
    }
}

/// A budget is of the update, and a step ahead is one step.
#[test]
fn looking_ahead_is_not_the_trainers() {
    let mut ada = learner(&by_lookahead(2, 4));
    let counting = Counting(AtomicUsize::new(0));
    for (number, texts) in [(1, stored("ada", 0..8)), (2, stored("ada", 8..16))] {
        ada.learn_by(&counting, Period::new(number, &texts), &mut ()).unwrap();
        assert_eq!(counting.0.load(Ordering::Relaxed), number as usize);
    }
}

#[test]
fn the_only_text_of_a_period_is_taken_without_looking() {
    let mut ada = learner(&by_lookahead(1, 4));
    learn(&mut ada, 1);
    let record = ada.learn(Period::new(2, &stored("ada", 8..9)), &mut ()).unwrap().record;
    assert_eq!((record.selection.selected, record.scores[0].lookahead), (1, Some(0.0)));
}

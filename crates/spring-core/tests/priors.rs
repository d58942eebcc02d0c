//! Priors: everybody new starts from one, and everything that is learned again does, too.

#![allow(clippy::unwrap_used)]

mod common;

use std::ops::ControlFlow;

use common::{config, id, ingest, model, settings, texts, timeless, user};
use spring_core::{
    Config, Contributors, Error, Event, Generation, MemoryStore, NoveltyReference, Periods,
    PriorPlan, Score, UserModel, adapt, apply_prior, forget_interaction, mean_log_likelihood,
    prompt::encode_pair,
    record::{LearnedPeriod, PeriodRecord, ScoredText},
    spring_store::Error as StoreError,
    train_prior,
};
use spring_lm::Adapter;

const TWO: Periods = Periods { count: 2, hold_out: 0.2 };

/// Ada and Bob with a period each, and Cy with texts that nothing was learned of.
fn store() -> MemoryStore {
    store_of(config())
}

fn store_of(config: Config) -> MemoryStore {
    let store = MemoryStore::in_memory(&settings(config)).unwrap();
    for name in ["ada", "bob"] {
        ingest(&store, &texts(name, 0..12));
        store.cut_periods(&user(name), 1, 0.0).unwrap();
    }
    ingest(&store, &texts("cy", 0..20));
    store
}

fn against_population() -> Config {
    let mut config = config();
    config.drift.reference = NoveltyReference::Population;
    config
}

fn train(store: &MemoryStore, names: &[&str]) -> u32 {
    let from = Contributors::Named(names.iter().map(|name| user(name)).collect());
    let plan = PriorPlan::default().with_from(from);
    train_prior(model(), store, &plan, &mut ()).unwrap().0.number.unwrap()
}

fn learn(store: &MemoryStore) {
    adapt(model(), store, &user("cy"), TWO, &mut ()).unwrap();
}

fn forget(store: &MemoryStore, name: &str) {
    forget_interaction(model(), store, &user("cy"), &id(name), &mut ()).unwrap();
}

fn apply(store: &MemoryStore) -> u64 {
    apply_prior(model(), store, &user("cy"), &mut ()).unwrap()
}

/// What Cy has learned: the generations with their adapters, and the records.
fn learned(store: &MemoryStore) -> (Vec<Generation>, Vec<LearnedPeriod>) {
    let (cy, mut generations, mut records) = (user("cy"), Vec::new(), Vec::new());
    for summary in store.generations(&cy).unwrap() {
        generations.extend(store.generation(&cy, Some(summary.number)).unwrap());
        records.push(store.record(&cy, summary.number).unwrap());
    }
    (generations, timeless(records))
}

#[test]
fn everybody_new_answers_with_the_prior_and_starts_from_it() {
    let store = store();
    let of_cy = |store: &MemoryStore| UserModel::recall(model(), store, &user("cy"), None).unwrap();
    assert!(of_cy(&store).adapter().is_none());
    assert_eq!(train(&store, &["ada", "bob"]), 1);
    let prior = store.prior().unwrap().unwrap();
    assert!(!prior.adapter.changes_nothing());
    let before = of_cy(&store);
    assert_eq!(before.adapter(), Some(&*prior.adapter));
    assert_eq!((before.memories().generation, before.memories().buffer.len()), (0, 0));

    learn(&store);
    let (generations, records) = learned(&store);
    let first = &records[0].record;
    assert_eq!((first.parent, first.prior.as_ref()), (0, Some(&prior.id)));
    // All of it is learned, though there is something to be novel to.
    assert_eq!(first.selection.selected, first.scores.len());
    assert!(first.selection.reason.contains("starts from the prior"));
    assert!(first.scores.iter().all(|score| score.adapter.is_some()));
    assert_eq!((records[1].record.parent, &records[1].record.prior), (1, &None));
    assert_eq!(of_cy(&store).memories().prior, None);

    // Without it, another adapter comes of the same texts.
    let without = self::store();
    learn(&without);
    let (others, records) = learned(&without);
    assert_ne!(others[0].adapter, generations[0].adapter);
    assert_eq!(records[0].record.prior, None);
    assert!(!serde_json::to_string(&records[0].record).unwrap().contains("prior"));
}

#[test]
fn the_same_users_and_texts_give_the_same_prior() {
    let (one, other) = (store(), store());
    train(&one, &["ada", "bob"]);
    train(&other, &["bob", "ada"]);
    let id_of = |store: &MemoryStore| store.prior().unwrap().unwrap().id.clone();
    assert_eq!(id_of(&one), id_of(&other));
    // Again without naming anybody: the same users, and so the same prior under its number.
    let (change, texts) = train_prior(model(), &one, &PriorPlan::default(), &mut ()).unwrap();
    assert_eq!((change.number, texts.contributors.len()), (Some(1), 2));
    forget_interaction(model(), &one, &user("ada"), &id("3"), &mut ()).unwrap();
    let (change, texts) = train_prior(model(), &one, &PriorPlan::default(), &mut ()).unwrap();
    assert_eq!((change.number, change.removed), (Some(2), vec![1]));
    assert_eq!(texts.contributors[0].1.len(), 11);
    // It is the one of a run in which the text never was.
    forget_interaction(model(), &other, &user("ada"), &id("3"), &mut ()).unwrap();
    train(&other, &["ada", "bob"]);
    assert_eq!(id_of(&one), id_of(&other));
}

#[test]
fn what_is_forgotten_is_learned_again_from_where_it_started() {
    for config in [config(), against_population()] {
        let forgetting = store_of(config.clone());
        train(&forgetting, &["ada", "bob"]);
        learn(&forgetting);
        let with = learned(&forgetting);
        // Whatever is in use by now.
        assert_eq!(train(&forgetting, &["bob"]), 2);
        forget(&forgetting, "3");
        assert_ne!(learned(&forgetting), with);
        let never = store_of(config);
        train(&never, &["ada", "bob"]);
        never.cut_periods(&user("cy"), TWO.count, TWO.hold_out).unwrap();
        forget(&never, "3");
        learn(&never);
        assert_eq!(learned(&forgetting), learned(&never));
    }
}

/// Log-likelihoods of the texts of a record under an adapter.
fn likelihoods(store: &MemoryStore, record: &PeriodRecord, adapter: &Adapter) -> Vec<f64> {
    let history = store.history(&user("cy")).unwrap();
    let of = |score: &ScoredText| {
        let text = history.entries.iter().find(|entry| entry.stored.seq == score.seq).unwrap();
        let text = &text.stored.interaction;
        let encoded = encode_pair(model(), &text.prompt, &text.response, 768).unwrap();
        let scored = model().score(&[(&encoded.sequence, Some(adapter))]).unwrap();
        mean_log_likelihood(&scored[0])
    };
    record.scores.iter().map(of).collect()
}

/// Whether novelty was measured against an adapter.
fn is_against(store: &MemoryStore, record: &PeriodRecord, population: &Adapter) -> bool {
    let expected = likelihoods(store, record, population);
    record.scores.iter().zip(expected).all(|(score, expected)| {
        score.population.is_some_and(|found| {
            let novelty = found - score.adapter.unwrap();
            (found - expected).abs() < 1e-5 && score.score.novelty == novelty
        })
    })
}

#[test]
fn a_population_is_the_prior_that_a_user_started_from() {
    let store = store_of(against_population());
    let missing = adapt(model(), &store, &user("cy"), TWO, &mut ()).unwrap_err();
    assert!(
        matches!(&missing, Error::User { source, .. } if matches!(**source, Error::NoPopulation)),
        "{missing}"
    );
    assert!(missing.to_string().contains("it is the prior"), "{missing}");
    assert!(learned(&store).0.is_empty());
    train(&store, &["ada", "bob"]);
    let prior = store.prior().unwrap().unwrap();
    learn(&store);
    // Whatever is in use by now.
    assert_eq!(train(&store, &["bob"]), 2);
    let other = store.prior().unwrap().unwrap();
    ingest(&store, &texts("cy", 20..30));
    adapt(model(), &store, &user("cy"), Periods::default(), &mut ()).unwrap();
    let (_, records) = learned(&store);
    assert_eq!(records.len(), 3);
    for learned in &records {
        assert!(is_against(&store, &learned.record, &prior.adapter), "{}", learned.generation);
        assert!(!is_against(&store, &learned.record, &other.adapter), "{}", learned.generation);
    }
    // To what it starts from, nothing is novel yet.
    assert!(records[0].record.scores.iter().all(|score| score.score.novelty == 0.0));
    assert!(records[1].record.scores.iter().any(|score| score.score.novelty != 0.0));

    // Who is moved is measured against what they are moved onto.
    assert_eq!(apply(&store), 3);
    let (_, moved) = learned(&store);
    for learned in &moved {
        assert!(is_against(&store, &learned.record, &other.adapter), "{}", learned.generation);
    }
    // Onto the base there is nothing to measure them against.
    store.drop_prior().unwrap();
    let refused = apply_prior(model(), &store, &user("cy"), &mut ()).unwrap_err();
    assert!(refused.to_string().contains("drift.reference"), "{refused}");
    assert_eq!(learned(&store).1, moved);
}

#[test]
fn who_learned_against_the_base_can_be_moved_onto_a_population() {
    let mut store = store();
    learn(&store);
    store.set_config(&against_population()).unwrap();
    ingest(&store, &texts("cy", 20..30));
    let go_on = |store: &MemoryStore| {
        adapt(model(), store, &user("cy"), Periods::default(), &mut ()).map(drop)
    };
    assert!(go_on(&store).unwrap_err().to_string().contains("drift.reference"));
    // A prior alone does not help whoever started elsewhere.
    train(&store, &["ada", "bob"]);
    assert!(go_on(&store).unwrap_err().to_string().contains("drift.reference"));
    assert_eq!(apply(&store), 2);
    go_on(&store).unwrap();
    let (_, records) = learned(&store);
    // What was learned before keeps its settings.
    let measured = |of: &LearnedPeriod| of.record.scores[0].population.is_some();
    assert_eq!(records.iter().map(measured).collect::<Vec<_>>(), [false, false, true]);
    let prior = store.prior().unwrap().unwrap();
    assert!(is_against(&store, &records[2].record, &prior.adapter));
}

#[test]
fn who_is_moved_is_as_if_they_had_started_there() {
    let moved = store();
    learn(&moved);
    let of_base = learned(&moved);
    assert_eq!(apply(&moved), 0, "there is no prior");
    train(&moved, &["ada", "bob"]);
    assert_eq!(learned(&moved), of_base);
    let version = moved.version(&user("cy")).unwrap();
    assert_eq!((apply(&moved), apply(&moved)), (2, 0));
    assert_ne!(moved.version(&user("cy")).unwrap(), version);
    let started = store();
    train(&started, &["ada", "bob"]);
    learn(&started);
    assert_eq!(learned(&moved), learned(&started));
    // And back.
    assert_eq!(moved.drop_prior().unwrap().removed, Vec::<u32>::new());
    assert_eq!(apply(&moved), 2);
    assert_eq!(learned(&moved), of_base);
    assert_eq!(moved.sweep_priors().unwrap().removed, [1]);
}

#[test]
fn what_is_stopped_or_has_no_texts_changes_nothing() {
    let store = store();
    learn(&store);
    let mut stop = |event: Event<'_>| match event {
        Event::Training { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let ada = Contributors::Named(vec![user("ada")]);
    let plan = PriorPlan::default().with_from(ada);
    assert!(train_prior(model(), &store, &plan, &mut stop).unwrap_err().is_stopped());
    assert_eq!((store.prior().unwrap(), store.priors().unwrap().len()), (None, 0));
    assert!(!store.contribution(&user("ada")).unwrap().contributes);
    let nobody = train_prior(model(), &store, &PriorPlan::default(), &mut ()).unwrap_err();
    assert!(matches!(nobody, Error::NoContributors { .. }), "{nobody}");
    train(&store, &["ada"]);
    let before = learned(&store);
    let stopped = apply_prior(model(), &store, &user("cy"), &mut stop).unwrap_err();
    assert!(stopped.is_stopped());
    assert_eq!(learned(&store), before);
    // Who says no is not asked again, whoever names them.
    store.set_contribution(&user("ada"), false, jiff::Timestamp::UNIX_EPOCH).unwrap();
    let refused = train_prior(model(), &store, &plan, &mut ()).unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Withheld { .. })), "{refused}");
}

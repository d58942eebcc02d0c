//! Forgetting one text: what is left is what a run without it would have made, to the last bit.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{config, id, ingest, model, settings, texts, timeless, user};
use spring_core::{
    Config, Generation, Member, Periods, SqliteStore, StoredInteraction, UserModel, adapt,
    forget_interaction, record::LearnedPeriod, spring_store::Error as StoreError,
};

const FOUR: Periods = Periods { count: 4, hold_out: 0.2 };

fn store(config: Config, count: usize) -> SqliteStore {
    let store = SqliteStore::in_memory(&settings(config)).unwrap();
    ingest(&store, &texts("ada", 0..count));
    store
}

fn learn(store: &SqliteStore) {
    adapt(model(), store, &user("ada"), FOUR, &mut ()).unwrap();
}

fn forget(store: &SqliteStore, name: &str) -> spring_core::Forgotten {
    forget_interaction(model(), store, &user("ada"), &id(name), &mut ()).unwrap()
}

type Everything =
    (Vec<Vec<Member>>, Vec<Option<Generation>>, Vec<LearnedPeriod>, Vec<StoredInteraction>);

/// All that is kept of Ada: texts with the base's scores, generations with their adapters, records,
/// pending texts.
fn everything(store: &SqliteStore) -> Everything {
    let ada = user("ada");
    let generations = store.generations(&ada).unwrap();
    let memories = |number| match store.generation(&ada, Some(number)) {
        Err(StoreError::Pruned { .. }) => None,
        other => other.unwrap(),
    };
    let periods = store.user(&ada).unwrap().periods;
    (
        (1..=periods).map(|period| store.members(&ada, period).unwrap()).collect(),
        generations.iter().map(|generation| memories(generation.number)).collect(),
        timeless(generations.iter().map(|g| store.record(&ada, g.number).unwrap()).collect()),
        store.pending(&ada).unwrap(),
    )
}

/// The same boundaries, but the text was taken out before anything was learned.
fn never_was(config: Config, name: &str) -> SqliteStore {
    let store = store(config, 40);
    store.cut_periods(&user("ada"), FOUR.count, FOUR.hold_out).unwrap();
    assert_eq!(forget(&store, name).generations_relearned, 0);
    learn(&store);
    store
}

#[test]
fn what_is_left_is_a_run_in_which_it_never_was() {
    // Of the first period, of a later one, held out (the last two of each ten), of the last.
    for (name, relearned) in [("3", 4), ("14", 3), ("19", 0), ("30", 1)] {
        let store = store(config(), 40);
        learn(&store);
        let before = everything(&store);
        assert_eq!(forget(&store, name).generations_relearned, relearned, "text {name}");
        assert_ne!(everything(&store), before);
        assert_eq!(everything(&store), everything(&never_was(config(), name)), "text {name}");
        let error =
            forget_interaction(model(), &store, &user("ada"), &id(name), &mut ()).unwrap_err();
        assert_eq!(error.to_string(), format!("user ada has no interaction {name}"));
    }
}

/// Also where more is made of the texts than adapters and buffers.
#[test]
fn nothing_of_it_is_left_in_a_bank_of_the_history_nor_in_gains() {
    let config = config().with_changes(&["buffer.bank=history", "gate=calibrated"]).unwrap();
    // Those of the last period are among the latest, on which gains are measured.
    for (name, relearned) in [("14", 3), ("30", 1)] {
        let store = store(config.clone(), 40);
        learn(&store);
        let of_bank = |store: &SqliteStore| {
            let ada = UserModel::recall(model(), store, &user("ada"), None).unwrap();
            let gains = ada.memories().calibration.gains.clone().unwrap();
            let texts: Vec<String> = ada
                .bank()
                .texts()
                .iter()
                .map(|text| text.interaction.id.as_str().to_owned())
                .collect();
            (texts, gains)
        };
        let before = of_bank(&store);
        assert!(before.0.iter().any(|id| id == name));
        assert_eq!(forget(&store, name).generations_relearned, relearned);
        let after = of_bank(&store);
        assert!(after.0.len() == before.0.len() - 1 && !after.0.iter().any(|id| id == name));
        assert_ne!(after.1, before.1);
        let without = never_was(config.clone(), name);
        assert_eq!(everything(&store), everything(&without), "text {name}");
        assert_eq!(of_bank(&without), after);
    }
}

/// Each period by the settings that it was learned with, whatever they are by now.
#[test]
fn banks_of_two_kinds_forget_as_they_were_learned() {
    let learn = |without: Option<&str>| {
        let history = config().with_changes(&["buffer.bank=history", "gate=calibrated"]).unwrap();
        let mut store = store(config(), 40);
        store.cut_periods(&user("ada"), FOUR.count, FOUR.hold_out).unwrap();
        if let Some(name) = without {
            forget(&store, name);
        }
        store.set_config(&history).unwrap();
        adapt(model(), &store, &user("ada"), FOUR, &mut ()).unwrap();
        // Nothing is learned by these any more.
        store.set_config(&config()).unwrap();
        store
    };
    let forgetting = learn(None);
    assert_eq!(forget(&forgetting, "14").generations_relearned, 3);
    assert_eq!(everything(&forgetting), everything(&learn(Some("14"))));
}

#[test]
fn a_fresh_state_without_the_text_learns_the_same_adapter() {
    // 41 texts are cut into 11, 10, 10, 10: without one of the first eleven the boundaries are
    // those of 40.
    let periods = Periods { count: 4, hold_out: 0.0 };
    let adapter =
        |store: &SqliteStore| store.generation(&user("ada"), None).unwrap().unwrap().adapter;
    let forgetting = store(config(), 41);
    adapt(model(), &forgetting, &user("ada"), periods, &mut ()).unwrap();
    let with = adapter(&forgetting);
    forget(&forgetting, "5");
    let fresh = SqliteStore::in_memory(&settings(config())).unwrap();
    ingest(&fresh, &texts("ada", (0..41).filter(|i| *i != 5)));
    adapt(model(), &fresh, &user("ada"), periods, &mut ()).unwrap();
    assert_ne!(with, adapter(&fresh));
    assert_eq!(adapter(&forgetting), adapter(&fresh));
}

#[test]
fn pruned_and_abandoned_generations_forget_too() {
    let mut config = config();
    config.state.keep_generations = 2;
    let branched = |store: &SqliteStore| {
        learn(store);
        // The last period is learned a second time, from the same parent.
        store.rollback(&user("ada"), None).unwrap();
        learn(store);
    };
    let forgetting = store(config.clone(), 40);
    branched(&forgetting);
    // Text 22 is of period 3: its generation is pruned, and so is the one that it started from.
    assert_eq!(everything(&forgetting).1.iter().filter(|kept| kept.is_none()).count(), 3);
    assert_eq!(forget(&forgetting, "22").generations_relearned, 3);
    let without = store(config, 40);
    without.cut_periods(&user("ada"), FOUR.count, FOUR.hold_out).unwrap();
    forget(&without, "22");
    branched(&without);
    assert_eq!(everything(&forgetting), everything(&without));
}

/// Each change of the length makes the state forget what the base makes of all texts.
#[test]
fn texts_that_were_cut_at_other_lengths_are_measured_as_they_were_then() {
    let learn = |mut without: Option<&str>| {
        let mut store = SqliteStore::in_memory(&settings(config())).unwrap();
        for (new, periods, max_tokens) in [(0..10, 1, 768), (10..30, 2, 16), (30..40, 1, 768)] {
            let mut config = config();
            config.training.max_tokens = max_tokens;
            store.set_config(&config).unwrap();
            ingest(&store, &texts("ada", new));
            let periods = Periods { count: periods, hold_out: 0.2 };
            if let Some(name) = without.take() {
                store.cut_periods(&user("ada"), periods.count, periods.hold_out).unwrap();
                forget(&store, name);
            }
            adapt(model(), &store, &user("ada"), periods, &mut ()).unwrap();
        }
        store
    };
    let forgetting = learn(None);
    let records = forgetting.period_records(&user("ada"), None).unwrap();
    let is_cut =
        |learned: &LearnedPeriod| learned.record.scores.iter().any(|score| !score.cuts.is_empty());
    assert_eq!(records.iter().map(is_cut).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(forget(&forgetting, "3").generations_relearned, 4);
    assert_eq!(everything(&forgetting), everything(&learn(Some("3"))));
}

#[test]
fn a_period_may_lose_all_its_texts() {
    let two = Periods { count: 2, hold_out: 0.0 };
    let store = store(config(), 3);
    adapt(model(), &store, &user("ada"), two, &mut ()).unwrap();
    for name in ["0", "1"] {
        forget(&store, name);
    }
    let records = store.period_records(&user("ada"), None).unwrap();
    assert_eq!(records[0].record.scores.len(), 0);
    assert_eq!(records[1].record.scores.len(), 1);
    assert_eq!(store.user(&user("ada")).unwrap().interactions, 1);
}

/// Who has learned nothing yet is at the beginning, though there is an adapter.
#[test]
fn what_follows_a_period_without_texts_is_learned_as_a_first() {
    let two = Periods { count: 2, hold_out: 0.0 };
    let learned = |first_forget: bool| {
        let store = store(config(), 10);
        store.cut_periods(&user("ada"), two.count, two.hold_out).unwrap();
        let learn = || adapt(model(), &store, &user("ada"), two, &mut ()).unwrap();
        if !first_forget {
            assert_eq!(learn()[1].record.selection.selected, 2);
        }
        for name in ["0", "1", "2", "3", "4"] {
            forget(&store, name);
        }
        if first_forget {
            learn();
        }
        store
    };
    let [late, early] = [learned(false), learned(true)];
    assert_eq!(everything(&late), everything(&early));
    let records = late.period_records(&user("ada"), None).unwrap();
    let record = &records[1].record;
    assert_eq!((record.scores.len(), record.selection.selected), (5, 5));
    assert!(record.scores.iter().all(|text| text.adapter.is_none() && text.selected.is_some()));
    assert!(record.selection.reason.contains("learned nothing yet"), "{}", record.selection.reason);
}

#[test]
fn texts_generated_from_it_are_not_on_record_any_more() {
    let mut config = config();
    config.decoding.max_new_tokens = Some(4);
    let store = store(config.clone(), 40);
    let ada = user("ada");
    let write = |store: &SqliteStore| {
        let version = store.version(&ada).unwrap();
        let model = UserModel::recall(model(), store, &ada, None).unwrap();
        let answer = model.generate("About trams", &mut ()).unwrap();
        store.record_answer(&version, &answer).unwrap();
    };
    write(&store);
    learn(&store);
    write(&store);
    assert_eq!(forget(&store, "3").answers, 1);
    assert_eq!(store.answers(&ada, 9).unwrap().len(), 1);
}

#[test]
fn a_training_that_is_stopped_forgets_nothing() {
    let store = store(config(), 40);
    learn(&store);
    let before = everything(&store);
    let mut stop = |event: spring_core::Event<'_>| match event {
        spring_core::Event::Training { .. } => std::ops::ControlFlow::Break(()),
        _ => std::ops::ControlFlow::Continue(()),
    };
    let error = forget_interaction(model(), &store, &user("ada"), &id("3"), &mut stop).unwrap_err();
    assert!(error.is_stopped());
    assert_eq!(everything(&store), before);
    // The lease has ended.
    store.rollback(&user("ada"), None).unwrap();
}

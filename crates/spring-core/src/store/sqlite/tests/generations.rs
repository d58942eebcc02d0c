use super::*;
use crate::store::{Forgetting, Generation, Relearned};

fn store() -> SqliteStore {
    let mut store = in_memory();
    with_periods(&mut store, &["ada", "bob"], 3);
    store
}

/// Ada's learned periods: generation and record.
fn records(store: &SqliteStore, period: Option<u32>) -> Vec<(u32, PeriodRecord)> {
    let learned = store.period_records(&user("ada"), period).unwrap();
    learned.into_iter().map(|learned| (learned.generation, learned.record)).collect()
}

#[test]
fn a_commit_comes_back() {
    let mut store = store();
    let ada = user("ada");
    assert_eq!(store.generation(&ada, None).unwrap(), None);
    let first = commit("ada", 1, 0);
    let mut second = commit("ada", 2, 1);
    second.buffer.truncate(1);
    second.base = vec![(3, HARD[1])];
    assert_eq!(put(&mut store, &first).unwrap(), 1);
    assert_eq!(put(&mut store, &second).unwrap(), 2);
    let generation = |number, commit: &PeriodCommit| Generation {
        number,
        period: commit.period,
        adapter: commit.adapter.clone(),
        buffer: commit.buffer.clone(),
        calibration: commit.calibration.clone(),
    };
    assert_eq!(store.generation(&ada, Some(1)).unwrap(), Some(generation(1, &first)));
    assert_eq!(store.generation(&ada, None).unwrap(), Some(generation(2, &second)));
    assert_eq!(store.generation(&ada, None).unwrap(), store.generation(&ada, Some(2)).unwrap());
    for number in [0, 3] {
        let error = store.generation(&ada, Some(number)).unwrap_err();
        assert_eq!(error.to_string(), format!("user ada has no generation {number}"));
    }
    let bases = store.interactions(&ada, &[1, 2, 3]).unwrap();
    let bases: Vec<_> = bases.iter().map(|stored| stored.base.unwrap().to_bits()).collect();
    assert_eq!(bases, [HARD[0], HARD[3], HARD[1]].map(f64::to_bits));
    assert_eq!(records(&store, None), [(1, first.record.clone()), (2, second.record)]);
    assert_eq!(records(&store, Some(1)), [(1, first.record)]);
    assert!(store.period_records(&ada, Some(3)).unwrap().is_empty());
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [3]);
}

#[test]
fn only_the_generation_it_started_from_takes_a_commit() {
    let mut store = store();
    put(&mut store, &commit("ada", 1, 0)).unwrap();
    let before = dump(&store);
    for parent in [0, 2] {
        let error = put(&mut store, &commit("ada", 2, parent)).unwrap_err();
        assert!(matches!(&error, Error::Conflict { user: of } if *of == user("ada")), "{error:?}");
        assert_eq!(dump(&store), before);
    }
}

#[test]
fn a_commit_that_does_not_fit_changes_nothing() {
    let mut store = store();
    ingest(&mut store, history("cy", 4)).unwrap();
    store.cut_periods(&user("cy"), 4, 0.0).unwrap();
    let before = dump(&store);
    // Period 4 and interaction 4 are another user's.
    let error = put(&mut store, &commit("ada", 4, 0)).unwrap_err();
    assert_eq!(error.to_string(), "user ada has no period 4");
    let mut refused = |change: fn(&mut PeriodCommit)| {
        let mut changed = commit("ada", 1, 0);
        change(&mut changed);
        let reason = reason(put(&mut store, &changed));
        assert_eq!(dump(&store), before);
        reason
    };
    assert_eq!(refused(|c| c.base.push((4, 0.0))), "user ada has no interaction number 4");
    assert!(
        refused(|c| c.adapter = adapter("beef"))
            .contains("user ada, generation 1 was trained on another base")
    );
    assert!(refused(|c| c.base[0].1 = f64::NAN).contains("interaction 1 of user ada is NaN"));
    assert!(
        refused(|c| c.calibration.push(f64::NAN)).contains("calibration sample of user ada, generation 1")
    );
    assert!(refused(|c| c.buffer[0].score = f64::INFINITY).contains("the buffer of user ada"));
    assert!(refused(|c| c.record.update.losses.push(f32::NAN)).contains("the record of user ada"));
    assert!(refused(|c| c.record.gate_threshold = Some(f64::NAN)).contains("the record of user ada"));
    assert_eq!(put(&mut store, &commit("ada", 1, 0)).unwrap(), 1);
}

#[test]
fn what_was_learned_is_what_lies_on_the_path() {
    let mut store = store();
    let ada = user("ada");
    for period in 1..=3 {
        put(&mut store, &commit("ada", period, period - 1)).unwrap();
    }
    put(&mut store, &commit("bob", 3, 0)).unwrap();
    assert!(store.unlearned_periods(&ada).unwrap().is_empty());
    assert_eq!(store.unlearned_periods(&user("bob")).unwrap(), [1, 2]);
    // The pointer goes back to the first generation; the others stay, off the path.
    store.connection.execute("UPDATE users SET generation = 1 WHERE name = 'ada'", ()).unwrap();
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [2, 3]);
    assert_eq!(records(&store, None), [(1, record(1, 0))]);
    assert!(store.period_records(&ada, Some(2)).unwrap().is_empty());
    assert_eq!(put(&mut store, &commit("ada", 3, 1)).unwrap(), 4);
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [2]);
    assert_eq!(records(&store, None), [(1, record(1, 0)), (4, record(3, 1))]);
    assert_eq!(store.generation(&ada, Some(3)).unwrap().unwrap().period, 3);
}

#[test]
fn answers_come_newest_first() {
    let mut store = store();
    let ada = user("ada");
    for text in ["one", "two", "three"] {
        store.record_answer(&ada, 0, &answer(text)).unwrap();
        store.record_answer(&user("bob"), 0, &answer("bob's")).unwrap();
    }
    assert_eq!(store.answers(&ada, 2).unwrap(), [answer("three"), answer("two")]);
    assert_eq!(store.answers(&ada, usize::MAX).unwrap().len(), 3);
    assert_eq!(store.find_answer(&ada, "t").unwrap(), Some(answer("three")));
    assert_eq!(store.find_answer(&ada, "w").unwrap(), Some(answer("two")));
    assert_eq!(store.find_answer(&ada, "bob").unwrap(), None);
    let mut odd = answer("odd");
    odd.trace[0].lambda = f32::NAN;
    let before = dump(&store);
    assert!(reason(store.record_answer(&ada, 0, &odd)).contains("a text for user ada cannot be stored"));
    assert_eq!(dump(&store), before);
}

#[test]
fn everything_of_a_user_hangs_on_one_row() {
    let mut store = store();
    let alone = {
        let mut store = in_memory();
        with_periods(&mut store, &["bob"], 3);
        dump(&store).len()
    };
    put(&mut store, &commit("ada", 1, 0)).unwrap();
    store.record_answer(&user("ada"), 0, &answer("x")).unwrap();
    store.connection.execute("DELETE FROM users WHERE name = 'ada'", ()).unwrap();
    assert_eq!(dump(&store).len(), alone);
}

#[test]
fn the_pointer_goes_back_and_forward() {
    let mut store = store();
    let ada = user("ada");
    assert!(matches!(store.rollback(&ada, None), Err(Error::UnknownRecord { .. })), "nothing was learned");
    for period in 1..=3 {
        put(&mut store, &commit("ada", period, period - 1)).unwrap();
    }
    let kept = [1, 2, 3].map(|number| store.generation(&ada, Some(number)).unwrap());
    let mut go = |to| {
        let moved = store.rollback(&ada, to).unwrap();
        assert_eq!(store.user(&ada).unwrap().generation, moved.to);
        (moved.from, moved.to)
    };
    assert_eq!(
        [go(None), go(None), go(Some(3)), go(Some(0)), go(Some(2))],
        [(3, 2), (2, 1), (1, 3), (3, 0), (0, 2)]
    );
    assert_eq!([1, 2, 3].map(|number| store.generation(&ada, Some(number)).unwrap()), kept);
    assert_eq!(store.rollback(&ada, Some(4)).unwrap_err().to_string(), "user ada has no generation 4");
    let list = store.generations(&ada).unwrap();
    let list: Vec<_> = list.iter().map(|g| (g.number, g.parent, g.current, g.on_path)).collect();
    assert_eq!(list, [(1, 0, false, true), (2, 1, true, true), (3, 2, false, false)]);
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [3]);
    assert_eq!(store.record(&ada, 3).unwrap().record, record(3, 2));
}

#[test]
fn the_last_ones_and_the_one_in_use_are_kept() {
    let mut store = in_memory();
    let mut config = Config::default();
    config.state.keep_generations = 2;
    store.set_config(&config).unwrap();
    with_periods(&mut store, &["ada"], 5);
    let ada = user("ada");
    for period in 1..=3 {
        put(&mut store, &commit("ada", period, period - 1)).unwrap();
    }
    let kept = |store: &SqliteStore| {
        let list = store.generations(&ada).unwrap();
        list.iter().filter(|g| g.adapter_bytes.is_some()).map(|g| g.number).collect::<Vec<_>>()
    };
    assert_eq!(kept(&store), [2, 3]);
    let error = store.generation(&ada, Some(1)).unwrap_err().to_string();
    assert!(error.contains("generation 1 is no longer kept"), "{error}");
    assert!(matches!(store.rollback(&ada, Some(1)), Err(Error::Pruned { number: 1, .. })));
    assert_eq!(store.record(&ada, 1).unwrap().record, record(1, 0));
    store.rollback(&ada, Some(2)).unwrap();
    put(&mut store, &commit("ada", 3, 2)).unwrap();
    assert_eq!(kept(&store), [3, 4]);
    // Its parent is gone by then, and it is itself an old one: it is in use.
    store.rollback(&ada, Some(3)).unwrap();
    config.state.keep_generations = 1;
    store.set_config(&config).unwrap();
    put(&mut store, &commit("ada", 4, 3)).unwrap();
    assert_eq!(kept(&store), [5]);
    assert_eq!(store.generations(&ada).unwrap()[0].adapter_bytes, None);
}

#[test]
fn periods_are_stored_with_what_was_learned_from_the_first() {
    let mut store = in_memory();
    let ada = user("ada");
    ingest(&mut store, history("ada", 6)).unwrap();
    let before = dump(&store);
    let planned = store.plan_periods(&ada, 3, 0.5).unwrap();
    assert_eq!(
        planned.iter().map(|p| (p.number, p.members.len())).collect::<Vec<_>>(),
        [(1, 2), (2, 2), (3, 2)]
    );
    assert_eq!(dump(&store), before);
    let first = PeriodCommit { cut: planned.clone(), ..commit("ada", 1, 0) };
    assert!(
        reason(put(&mut store, &PeriodCommit { base: vec![(9, 0.0)], ..first.clone() })).contains("number 9")
    );
    assert_eq!(dump(&store), before);
    put(&mut store, &first).unwrap();
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [2, 3]);
    assert_eq!(store.members(&ada, 2).unwrap(), planned[1].members);
    assert_eq!(store.user(&ada).unwrap().pending, 0);
}

#[test]
fn settings_are_kept_with_the_first_period_learned_with_them() {
    let (_folder, mut store) = on_file();
    let ada = user("ada");
    with_periods(&mut store, &["ada"], 3);
    put(&mut store, &commit("ada", 1, 0)).unwrap();
    let mut tried = Config { seed: 9, ..Config::default() };
    tried.training.max_tokens = 5;
    store.try_config(&tried).unwrap();
    assert_eq!(store.settings().config, tried);
    let stored = |store: &SqliteStore| SqliteStore::open(store.path(), Access::ReadOnly).unwrap();
    let bases = |store: &SqliteStore| {
        let texts = store.interactions(&ada, &[1, 2, 3]).unwrap();
        texts.iter().map(|text| text.base).collect::<Vec<_>>()
    };
    // They are of texts cut elsewhere.
    assert_eq!(bases(&store), [None; 3]);
    assert!(store.members(&ada, 1).unwrap()[0].stored.base.is_none());
    assert_eq!(bases(&stored(&store)), [Some(HARD[0]), Some(HARD[3]), None]);
    let mut second = PeriodCommit { base: vec![(2, -1.0)], ..commit("ada", 2, 1) };
    second.record.config = tried.clone();
    assert!(put(&mut store, &PeriodCommit { base: vec![(9, 0.0)], ..second.clone() }).is_err());
    assert_eq!(stored(&store).settings(), &settings());
    put(&mut store, &second).unwrap();
    assert_eq!(stored(&store).settings().config, tried);
    for store in [&store, &stored(&store)] {
        assert_eq!(bases(store), [None, Some(-1.0), None]);
    }
    // Kept once: what others set since stays.
    let other = Config { seed: 10, ..tried };
    SqliteStore::open(store.path(), Access::ReadWrite).unwrap().set_config(&other).unwrap();
    put(&mut store, &PeriodCommit { base: vec![], ..commit("ada", 3, 2) }).unwrap();
    assert_eq!(stored(&store).settings().config, other);
}

#[test]
fn log_likelihoods_of_another_cut_are_neither_kept_nor_used() {
    let (_folder, mut store) = on_file();
    let ada = user("ada");
    with_periods(&mut store, &["ada"], 3);
    put(&mut store, &commit("ada", 1, 0)).unwrap();
    let mut other = SqliteStore::open(store.path(), Access::ReadWrite).unwrap();
    let mut shorter = Config::default();
    shorter.training.max_tokens = 5;
    other.set_config(&shorter).unwrap();
    let bases = |store: &SqliteStore, seqs: &[u64]| {
        let texts = store.interactions(&ada, seqs).unwrap();
        texts.iter().map(|text| text.base).collect::<Vec<_>>()
    };
    // The first value still has the settings that it was opened with.
    assert_eq!(put(&mut store, &commit("ada", 2, 1)).unwrap(), 2);
    assert_eq!(bases(&other, &[1, 2, 3]), [None; 3]);
    let mut third = PeriodCommit { base: vec![(3, HARD[0])], ..commit("ada", 3, 2) };
    third.record.config = shorter;
    assert_eq!(put(&mut other, &third).unwrap(), 3);
    assert_eq!(bases(&other, &[1, 2, 3]), [None, None, Some(HARD[0])]);
    assert_eq!(bases(&store, &[1, 2, 3]), [None; 3]);
    assert_eq!(store.members(&ada, 3).unwrap()[0].stored.base, None);
    assert!(store.history(&ada).unwrap().iter().all(|entry| entry.stored.base.is_none()));
    let again = Relearned { number: 1, memories: None, base: vec![(1, HARD[0])], record: record(1, 0) };
    let lease = store.lease(&ada).unwrap();
    let forgetting = Forgetting { user: ada.clone(), seq: 2, relearned: vec![again] };
    store.forget_interaction(&lease, &forgetting).unwrap();
    assert_eq!(bases(&other, &[1, 3]), [None, Some(HARD[0])]);
}

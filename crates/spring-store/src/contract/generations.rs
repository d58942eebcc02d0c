//! Generations: committed under a parent, kept or pruned, gone back to.

use std::ops::ControlFlow;

use super::{Subject, samples::*};
use crate::{
    BankKind, Config, Copied, Error, Forgetting, Generation, PeriodCommit, Relearned, Settings,
    Store,
    backend::{UNJUDGED, Users},
    record::PeriodRecord,
};

fn filled(subject: &dyn Subject) -> Box<Store> {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 3);
    store
}

/// Ada's learned periods: generation and record.
fn records(store: &Store, period: Option<u32>) -> Vec<(u32, PeriodRecord)> {
    let learned = store.period_records(&user("ada"), period).unwrap();
    learned.into_iter().map(|learned| (learned.generation, learned.record)).collect()
}

fn bases(store: &Store, seqs: &[u64]) -> Vec<Option<f64>> {
    let texts = store.interactions(&user("ada"), seqs).unwrap();
    texts.iter().map(|text| text.base).collect()
}

pub fn a_commit_comes_back(subject: &dyn Subject) {
    let store = filled(subject);
    let ada = user("ada");
    assert_eq!(store.generation(&ada, None).unwrap(), None);
    let first = commit(1, 0);
    let mut second = commit(2, 1);
    second.buffer.truncate(1);
    second.base = vec![(3, HARD[1])];
    second.calibration.gains = Some(gains(1));
    second.record.scores[0].population = Some(HARD[0]);
    second.record.scores[0].lookahead = Some(HARD[4]);
    assert_eq!(put(&store, "ada", &first).unwrap(), 1);
    assert_eq!(put(&store, "ada", &second).unwrap(), 2);
    let generation = |number, commit: &PeriodCommit| Generation {
        number,
        period: commit.record.period,
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
    let bits: Vec<_> =
        bases(&store, &[1, 2, 3]).into_iter().map(|base| base.unwrap().to_bits()).collect();
    assert_eq!(bits, [HARD[0], HARD[3], HARD[1]].map(f64::to_bits));
    assert_eq!(records(&store, None), [(1, first.record.clone()), (2, second.record)]);
    assert_eq!(records(&store, Some(1)), [(1, first.record)]);
    assert!(store.period_records(&ada, Some(3)).unwrap().is_empty());
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [3]);
}

pub fn a_bank_of_the_history_is_what_was_learned(subject: &dyn Subject) {
    let mut settings = settings();
    settings.config.buffer.bank = BankKind::History;
    let store = subject.create(&settings);
    let ada = user("ada");
    store.ingest(history("ada", 9)).unwrap();
    store.cut_periods(&ada, 3, 0.4).unwrap();
    let seqs = |generation| -> Vec<u64> {
        let snapshot = store.recall(&ada, generation).unwrap();
        snapshot.texts.iter().map(|text| text.seq).collect()
    };
    assert_eq!(seqs(None), [] as [u64; 0]);
    put(&store, "ada", &commit(1, 0)).unwrap();
    put(&store, "ada", &commit(2, 1)).unwrap();
    // 3 and 6 are held out, and the third period is not learned yet.
    assert_eq!((seqs(Some(1)), seqs(None)), (vec![1, 2], vec![1, 2, 4, 5]));
    let learned = store.learned_until(&ada, 2).unwrap();
    assert_eq!(learned, store.interactions(&ada, &[1, 2, 4, 5]).unwrap());
    assert!(store.learned_until(&ada, 0).unwrap().is_empty());
    store.rollback(&ada, None).unwrap();
    assert_eq!(seqs(None), [1, 2]);
}

pub fn only_the_generation_it_started_from_takes_a_commit(subject: &dyn Subject) {
    let store = filled(subject);
    let ada = user("ada");
    let early = store.version(&ada).unwrap();
    put(&store, "ada", &commit(1, 0)).unwrap();
    let before = dump(&store);
    let now = store.version(&ada).unwrap();
    let lease = store.lease(&ada).unwrap();
    let of_bob = store.version(&user("bob")).unwrap();
    for (version, parent) in [(&early, 0), (&now, 0), (&now, 2), (&early, 1), (&of_bob, 0)] {
        let error = store.commit(&lease, version, &commit(2, parent)).unwrap_err();
        assert!(matches!(&error, Error::Conflict { user } if *user == ada), "{error:?}");
    }
    store.release(&lease).unwrap();
    assert_eq!(dump(&store), before);
    assert_eq!(put(&store, "ada", &commit(2, 1)).unwrap(), 2);
}

pub fn a_commit_that_does_not_fit_changes_nothing(subject: &dyn Subject) {
    let store = filled(subject);
    store.ingest(history("cy", 4)).unwrap();
    store.cut_periods(&user("cy"), 4, 0.0).unwrap();
    let before = dump(&store);
    // Period 4 and interaction 4 are another user's.
    let error = put(&store, "ada", &commit(4, 0)).unwrap_err();
    assert_eq!(error.to_string(), "user ada has no period 4");
    let refused = |change: fn(&mut PeriodCommit)| {
        let mut changed = commit(1, 0);
        change(&mut changed);
        let reason = reason(put(&store, "ada", &changed));
        assert_eq!(dump(&store), before);
        reason
    };
    assert_eq!(refused(|c| c.base.push((4, 0.0))), "user ada has no interaction number 4");
    let other_base = refused(|c| c.adapter = adapter("beef"));
    assert!(other_base.contains("user ada, generation 1 was trained on another base"));
    assert!(refused(|c| c.base[0].1 = f64::NAN).contains("interaction 1 of user ada is NaN"));
    let sample = refused(|c| c.calibration.sample.push(f64::NAN));
    assert!(sample.contains("calibration sample of user ada, generation 1"));
    let buffer = refused(|c| c.buffer[0].score = f64::INFINITY);
    assert!(buffer.contains("the buffer of user ada"));
    let record = "the record of user ada";
    assert!(refused(|c| c.record.update.losses.push(f32::NAN)).contains(record));
    assert!(refused(|c| c.record.gate_threshold = Some(f64::NAN)).contains(record));
    // A period that somebody else has cut meanwhile.
    let planned = store.plan_periods(&user("cy"), 1, 0.0).unwrap();
    assert!(planned.is_empty());
    let stale = crate::PlannedPeriod { number: 1, members: vec![] };
    let stale = PeriodCommit { cut: vec![stale], ..commit(1, 0) };
    assert!(matches!(put(&store, "ada", &stale), Err(Error::Conflict { .. })));
    assert_eq!(dump(&store), before);
    assert_eq!(put(&store, "ada", &commit(1, 0)).unwrap(), 1);
}

pub fn what_was_learned_is_what_lies_on_the_path(subject: &dyn Subject) {
    let store = filled(subject);
    let ada = user("ada");
    for period in 1..=3 {
        put(&store, "ada", &commit(period, period - 1)).unwrap();
    }
    put(&store, "bob", &commit(3, 0)).unwrap();
    assert!(store.unlearned_periods(&ada).unwrap().is_empty());
    assert_eq!(store.unlearned_periods(&user("bob")).unwrap(), [1, 2]);
    // The pointer goes back to the first generation; the others stay, off the path.
    store.rollback(&ada, Some(1)).unwrap();
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [2, 3]);
    assert_eq!(records(&store, None), [(1, record(1, 0))]);
    assert!(store.period_records(&ada, Some(2)).unwrap().is_empty());
    assert_eq!(put(&store, "ada", &commit(3, 1)).unwrap(), 4);
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [2]);
    assert_eq!(records(&store, None), [(1, record(1, 0)), (4, record(3, 1))]);
    assert_eq!(store.generation(&ada, Some(3)).unwrap().unwrap().period, 3);
}

pub fn answers_come_newest_first(subject: &dyn Subject) {
    let store = filled(subject);
    let ada = user("ada");
    for text in ["one", "two", "three"] {
        keep(&store, "ada", &answer(text)).unwrap();
        keep(&store, "bob", &answer("bob's")).unwrap();
    }
    assert_eq!(store.answers(&ada, 2).unwrap(), [answer("three"), answer("two")]);
    assert_eq!(store.answers(&ada, usize::MAX).unwrap().len(), 3);
    assert!(store.answers(&ada, 0).unwrap().is_empty());
    assert_eq!(store.find_answer(&ada, "t").unwrap(), Some(answer("three")));
    assert_eq!(store.find_answer(&ada, "w").unwrap(), Some(answer("two")));
    assert_eq!(store.find_answer(&ada, "bob").unwrap(), None);
    let mut odd = answer("odd");
    odd.trace[0].lambda = f32::NAN;
    let before = dump(&store);
    assert!(reason(keep(&store, "ada", &odd)).contains("a text for user ada cannot be stored"));
    assert_eq!(dump(&store), before);
}

pub fn everything_of_a_user_hangs_on_one_row(subject: &dyn Subject) {
    let store = filled(subject);
    let alone = {
        let store = subject.create(&settings());
        with_periods(&store, &["bob"], 3);
        dump(&store).len()
    };
    put(&store, "ada", &commit(1, 0)).unwrap();
    keep(&store, "ada", &answer("x")).unwrap();
    let deleted = store.backend().write(crate::backend::Durability::Power, &mut |rows| {
        let key = rows.user(&user("ada"))?.unwrap().key;
        rows.delete_user(key)?;
        // Whatever asks for the key finds nothing.
        assert_eq!(rows.extent(key)?, crate::backend::Extent::default());
        assert!(rows.generations(key)?.is_empty() && rows.periods(key)?.is_empty());
        assert_eq!(rows.users(Users::All, None, 9)?, [user("bob")]);
        Ok(())
    });
    deleted.unwrap();
    assert_eq!(dump(&store).len(), alone);
}

pub fn the_pointer_goes_back_and_forward(subject: &dyn Subject) {
    let store = filled(subject);
    let ada = user("ada");
    let nothing = store.rollback(&ada, None);
    assert!(matches!(nothing, Err(Error::UnknownRecord { .. })), "nothing was learned");
    for period in 1..=3 {
        put(&store, "ada", &commit(period, period - 1)).unwrap();
    }
    let kept = [1, 2, 3].map(|number| store.generation(&ada, Some(number)).unwrap());
    let go = |to| {
        let moved = store.rollback(&ada, to).unwrap();
        assert_eq!(store.user(&ada).unwrap().generation, moved.to);
        (moved.from, moved.to)
    };
    assert_eq!(
        [go(None), go(None), go(Some(3)), go(Some(0)), go(Some(2))],
        [(3, 2), (2, 1), (1, 3), (3, 0), (0, 2)]
    );
    assert_eq!([1, 2, 3].map(|number| store.generation(&ada, Some(number)).unwrap()), kept);
    let error = store.rollback(&ada, Some(4)).unwrap_err();
    assert_eq!(error.to_string(), "user ada has no generation 4");
    let list = store.generations(&ada).unwrap();
    let list: Vec<_> = list.iter().map(|g| (g.number, g.parent, g.current, g.on_path)).collect();
    assert_eq!(list, [(1, 0, false, true), (2, 1, true, true), (3, 2, false, false)]);
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [3]);
    assert_eq!(store.record(&ada, 3).unwrap().record, record(3, 2));
}

pub fn the_last_ones_and_the_one_in_use_are_kept(subject: &dyn Subject) {
    let mut store = subject.create(&settings());
    let mut config = Config::default();
    config.state.keep_generations = 2;
    store.set_config(&config).unwrap();
    with_periods(&store, &["ada"], 5);
    let ada = user("ada");
    for period in 1..=3 {
        put(&store, "ada", &commit(period, period - 1)).unwrap();
    }
    let kept = |store: &Store| {
        let list = store.generations(&ada).unwrap();
        let kept = list.iter().filter(|g| g.adapter_bytes.is_some());
        kept.map(|g| g.number).collect::<Vec<_>>()
    };
    assert_eq!(kept(&store), [2, 3]);
    let error = store.generation(&ada, Some(1)).unwrap_err().to_string();
    assert!(error.contains("generation 1 is no longer kept"), "{error}");
    let pruned = store.rollback(&ada, Some(1));
    assert!(matches!(pruned, Err(Error::Pruned { number: 1, .. })));
    assert_eq!(store.record(&ada, 1).unwrap().record, record(1, 0));
    store.rollback(&ada, Some(2)).unwrap();
    put(&store, "ada", &commit(3, 2)).unwrap();
    assert_eq!(kept(&store), [3, 4]);
    // Its parent is gone by then, and it is itself an old one: it is in use.
    store.rollback(&ada, Some(3)).unwrap();
    config.state.keep_generations = 1;
    store.set_config(&config).unwrap();
    put(&store, "ada", &commit(4, 3)).unwrap();
    assert_eq!(kept(&store), [5]);
    assert_eq!(store.generations(&ada).unwrap()[0].adapter_bytes, None);
}

pub fn what_nobody_has_judged_waits_for_it(subject: &dyn Subject) {
    let mut store = subject.create(&settings());
    let mut config = Config::default();
    config.state.keep_generations = 1;
    store.set_config(&config).unwrap();
    with_periods(&store, &["ada"], 6);
    let ada = user("ada");
    let learn = |period, parent, unjudged| {
        let mut commit = commit(period, parent);
        commit.record.unjudged = unjudged;
        put(&store, "ada", &commit).unwrap()
    };
    let waits = || {
        let found = store.unjudged(&ada).unwrap()?;
        let numbers = found.learned.iter().map(|learned| learned.generation);
        Some((found.before, numbers.collect::<Vec<_>>()))
    };
    let judge = |stays| store.judge(&store.unjudged(&ada).unwrap().unwrap(), stays).unwrap();
    assert_eq!(learn(1, 0, false), 1);
    assert_eq!(waits(), None);
    assert_eq!((learn(2, 1, true), learn(3, 2, true)), (2, 3));
    assert_eq!(waits(), Some((1, vec![2, 3])));
    // It is no part of what was learned, and what may come back is kept.
    let (digest, first) = (store.digest(&ada).unwrap(), store.unjudged(&ada).unwrap().unwrap());
    assert!(judge(true));
    assert_eq!(waits(), None);
    assert_eq!(store.digest(&ada).unwrap(), digest);
    assert_eq!(store.record(&ada, 3).unwrap().record, record(3, 2));
    assert_eq!(store.user(&ada).unwrap().generation, 3);

    assert_eq!((learn(4, 3, true), learn(5, 4, true)), (4, 5));
    assert!(!store.judge(&first, false).unwrap(), "that was of another state");
    let lease = store.lease(&ada).unwrap();
    let leased = store.judge(&store.unjudged(&ada).unwrap().unwrap(), false);
    assert!(matches!(leased, Err(Error::Leased { .. })), "{leased:?}");
    store.release(&lease).unwrap();
    assert_eq!(waits(), Some((3, vec![4, 5])));
    assert!(judge(false));
    assert_eq!((store.user(&ada).unwrap().generation, waits()), (3, None));
    // Whoever goes back to it has judged it.
    store.rollback(&ada, Some(5)).unwrap();
    assert_eq!(waits(), None);
    assert_eq!(learn(6, 5, true), 6);
    store.rollback(&ada, Some(5)).unwrap();
    assert_eq!(waits(), None);
    store.rollback(&ada, Some(6)).unwrap();
    assert_eq!(waits(), None);
    store.check(&mut |_| ControlFlow::Continue(())).unwrap();
}

pub fn who_has_something_unjudged_is_listed(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob", "cy", "dan", "eve"], 2);
    let learn = |name, period, unjudged, reason: &str| {
        let mut commit = commit(period, period - 1);
        commit.record.unjudged = unjudged;
        commit.record.selection.reason = reason.into();
        put(&store, name, &commit).unwrap();
    };
    let found = |store: &Store, after: Option<&str>, limit| {
        let after = after.map(user);
        let found = store.users_with_something_unjudged(after.as_ref(), limit).unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(found(&store, None, 9).is_empty());
    // What a text says is no mark.
    learn("ada", 1, false, UNJUDGED);
    for name in ["bob", "cy", "eve"] {
        learn(name, 1, name == "bob", "");
        learn(name, 2, true, "");
    }
    assert_eq!(found(&store, None, 9), ["bob", "cy", "eve"]);
    assert_eq!(found(&store, None, 2), ["bob", "cy"]);
    assert_eq!(found(&store, Some("cy"), 2), ["eve"]);
    // What is not in use is not judged.
    store.rollback(&user("cy"), Some(1)).unwrap();
    assert_eq!(found(&store, None, 9), ["bob", "eve"]);
    let other = subject.create(&settings());
    other.copy_user(&store, &user("bob"), false).unwrap();
    assert_eq!(found(&other, None, 9), ["bob"]);
    for name in ["bob", "eve"] {
        let waiting = store.unjudged(&user(name)).unwrap().unwrap();
        assert!(store.judge(&waiting, name == "eve").unwrap());
    }
    assert!(found(&store, None, 9).is_empty());
    store.check(&mut |_| ControlFlow::Continue(())).unwrap();
}

/// A judge takes its time: what others said of the same generations since then counts.
pub fn what_was_judged_meanwhile_stays_judged(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 3);
    let ada = user("ada");
    let learn = |period, parent| {
        let mut commit = commit(period, parent);
        commit.record.unjudged = true;
        put(&store, "ada", &commit).unwrap()
    };
    let waiting = || store.unjudged(&ada).unwrap().unwrap();
    let late = |judged: &crate::Unjudged| {
        let before = dump(&store);
        for stays in [false, true] {
            assert!(!store.judge(judged, stays).unwrap());
            assert_eq!(dump(&store), before);
        }
    };
    // Another judge said that it stays.
    assert_eq!(learn(1, 0), 1);
    let judged = waiting();
    assert!(store.judge(&judged, true).unwrap());
    late(&judged);
    // A person chose it: as it was in use, or after a look at the one before.
    assert_eq!(learn(2, 1), 2);
    let judged = waiting();
    store.rollback(&ada, Some(2)).unwrap();
    late(&judged);
    assert_eq!(learn(3, 2), 3);
    let judged = waiting();
    for to in [2, 3] {
        store.rollback(&ada, Some(to)).unwrap();
    }
    late(&judged);
    assert_eq!(store.user(&ada).unwrap().generation, 3);
    assert_eq!(store.unjudged(&ada).unwrap(), None);
    store.check(&mut |_| ControlFlow::Continue(())).unwrap();
}

pub fn a_judgement_moves_with_a_user_who_is_there_already(subject: &dyn Subject) {
    let (here, there) = (subject.create(&settings()), subject.create(&settings()));
    with_periods(&there, &["ada"], 2);
    let ada = user("ada");
    for period in [1, 2] {
        let mut commit = commit(period, period - 1);
        commit.record.unjudged = true;
        put(&there, "ada", &commit).unwrap();
    }
    assert_eq!(here.copy_user(&there, &ada, false).unwrap(), Copied::Added);
    let waiting = here.unjudged(&ada).unwrap().unwrap();
    assert_eq!((waiting.before, waiting.learned.len()), (0, 2));
    // Nobody has said anything yet.
    assert_eq!(here.copy_user(&there, &ada, false).unwrap(), Copied::Equal);
    assert_eq!(here.unjudged(&ada).unwrap(), Some(waiting));
    let judged = there.unjudged(&ada).unwrap().unwrap();
    assert!(there.judge(&judged, true).unwrap());
    assert_eq!(here.copy_user(&there, &ada, false).unwrap(), Copied::Equal);
    assert_eq!(here.unjudged(&ada).unwrap(), None);
    assert_eq!(here.user(&ada).unwrap().generation, 2);
    assert_eq!(here.record(&ada, 2).unwrap(), there.record(&ada, 2).unwrap());
    here.check(&mut |_| ControlFlow::Continue(())).unwrap();
}

pub fn periods_are_stored_with_what_was_learned_from_the_first(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    store.ingest(history("ada", 6)).unwrap();
    let before = dump(&store);
    let planned = store.plan_periods(&ada, 3, 0.5).unwrap();
    let sizes: Vec<_> = planned.iter().map(|p| (p.number, p.members.len())).collect();
    assert_eq!(sizes, [(1, 2), (2, 2), (3, 2)]);
    assert_eq!(dump(&store), before);
    let first = PeriodCommit { cut: planned.clone(), ..commit(1, 0) };
    let bad = PeriodCommit { base: vec![(9, 0.0)], ..first.clone() };
    assert!(reason(put(&store, "ada", &bad)).contains("number 9"));
    assert_eq!(dump(&store), before);
    put(&store, "ada", &first).unwrap();
    assert_eq!(store.unlearned_periods(&ada).unwrap(), [2, 3]);
    assert_eq!(store.members(&ada, 2).unwrap(), planned[1].members);
    assert_eq!(store.user(&ada).unwrap().pending, 0);
}

pub fn settings_come_back(subject: &dyn Subject) {
    let mut store = subject.create(&settings());
    let config = Config { seed: u64::MAX, ..Config::default() };
    store.set_config(&config).unwrap();
    let expected = Settings { config, ..settings() };
    assert_eq!(store.settings(), &expected);
    if let Some(other) = subject.again(&store) {
        assert_eq!(other.settings(), &expected);
    }
    let before = dump(&store);
    let mut odd = Config::default();
    odd.retrieval.template_share = Some(f64::NAN);
    assert!(reason(store.set_config(&odd)).contains("the configuration cannot be stored"));
    assert_eq!(dump(&store), before);
    assert_eq!(store.settings(), &expected);
}

pub fn settings_are_kept_with_the_first_period_learned_with_them(subject: &dyn Subject) {
    let mut store = subject.create(&settings());
    with_periods(&store, &["ada"], 3);
    put(&store, "ada", &commit(1, 0)).unwrap();
    let mut tried = Config { seed: 9, ..Config::default() };
    tried.training.max_tokens = 5;
    store.try_config(&tried).unwrap();
    assert_eq!(store.settings().config, tried);
    // They are of texts cut elsewhere.
    assert_eq!(bases(&store, &[1, 2, 3]), [None; 3]);
    assert!(store.members(&user("ada"), 1).unwrap()[0].stored.base.is_none());
    let Some(other) = subject.again(&store) else { return };
    assert_eq!(bases(&other, &[1, 2, 3]), [Some(HARD[0]), Some(HARD[3]), None]);
    let mut second = PeriodCommit { base: vec![(2, -1.0)], ..commit(2, 1) };
    second.record.config = tried.clone();
    let bad = PeriodCommit { base: vec![(9, 0.0)], ..second.clone() };
    assert!(put(&store, "ada", &bad).is_err());
    let stored = |store: &Store| subject.again(store).unwrap();
    assert_eq!(stored(&store).settings(), &settings());
    put(&store, "ada", &second).unwrap();
    assert_eq!(stored(&store).settings().config, tried);
    for store in [&*store, &*stored(&store)] {
        assert_eq!(bases(store, &[1, 2, 3]), [None, Some(-1.0), None]);
    }
    // Kept once: what others set since stays.
    let config = Config { seed: 10, ..tried };
    stored(&store).set_config(&config).unwrap();
    put(&store, "ada", &PeriodCommit { base: vec![], ..commit(3, 2) }).unwrap();
    assert_eq!(stored(&store).settings().config, config);
}

pub fn log_likelihoods_of_another_cut_are_neither_kept_nor_used(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    with_periods(&store, &["ada"], 3);
    put(&store, "ada", &commit(1, 0)).unwrap();
    let Some(mut other) = subject.again(&store) else { return };
    let mut shorter = Config::default();
    shorter.training.max_tokens = 5;
    other.set_config(&shorter).unwrap();
    // The first value still has the settings that it was opened with.
    assert_eq!(put(&store, "ada", &commit(2, 1)).unwrap(), 2);
    assert_eq!(bases(&other, &[1, 2, 3]), [None; 3]);
    let mut third = PeriodCommit { base: vec![(3, HARD[0])], ..commit(3, 2) };
    third.record.config = shorter;
    assert_eq!(put(&other, "ada", &third).unwrap(), 3);
    assert_eq!(bases(&other, &[1, 2, 3]), [None, None, Some(HARD[0])]);
    assert_eq!(bases(&store, &[1, 2, 3]), [None; 3]);
    assert_eq!(store.members(&ada, 3).unwrap()[0].stored.base, None);
    let history = store.history(&ada).unwrap().entries;
    assert!(history.iter().all(|entry| entry.stored.base.is_none()));
    let again =
        Relearned { number: 1, memories: None, base: vec![(1, HARD[0])], record: record(1, 0) };
    let lease = store.lease(&ada).unwrap();
    let forgetting = Forgetting { seq: 2, relearned: vec![again] };
    store.forget_interaction(&lease, &forgetting).unwrap();
    assert_eq!(bases(&other, &[1, 3]), [None, Some(HARD[0])]);
}

pub fn a_snapshot_is_of_one_point_in_time(subject: &dyn Subject) {
    let store = filled(subject);
    let ada = user("ada");
    let none = store.recall(&ada, None).unwrap();
    assert!(none.generation.is_none() && none.texts.is_empty());
    put(&store, "ada", &commit(1, 0)).unwrap();
    put(&store, "ada", &PeriodCommit { buffer: vec![], ..commit(2, 1) }).unwrap();
    let first = store.recall(&ada, Some(1)).unwrap();
    assert_eq!(first.generation, store.generation(&ada, Some(1)).unwrap());
    let seqs: Vec<u64> = first.texts.iter().map(|text| text.seq).collect();
    assert_eq!(seqs, [2, 1], "in the order of the buffer");
    assert_eq!(first.texts, store.interactions(&ada, &[2, 1]).unwrap());
    assert_eq!(first.version, store.version(&ada).unwrap());
    assert_eq!((first.version.user(), first.version.generation()), (&ada, 2));
    assert_ne!(none.version, first.version);
    // It tells of every change that matters to whoever keeps it.
    store.rollback(&ada, None).unwrap();
    assert_ne!(store.version(&ada).unwrap(), first.version);
    store.rollback(&ada, Some(2)).unwrap();
    assert_eq!(store.version(&ada).unwrap(), first.version);
    keep(&store, "ada", &answer("x")).unwrap();
    store.ingest(history("ada", 5)).unwrap();
    assert_eq!(store.version(&ada).unwrap(), first.version);
    let missing = store.recall(&ada, Some(9));
    assert!(matches!(missing, Err(Error::UnknownRecord { number: 9, .. })));
}

/// Also those of another backend: the number is the one that the program gave when SQLite was its
/// only store.
pub fn equal_states_have_equal_digests(subject: &dyn Subject) {
    let store = filled(subject);
    let ada = user("ada");
    let mut odd = history("ada", 4).remove(3);
    odd.meta = Some(serde_json::json!({"b": [1.5, null], "a": "\0"}));
    store.ingest([odd]).unwrap();
    put(&store, "ada", &commit(1, 0)).unwrap();
    put(&store, "ada", &commit(2, 1)).unwrap();
    keep(&store, "ada", &answer("x")).unwrap();
    let digest = store.digest(&ada).unwrap();
    assert_eq!(digest, "154be7acea957b8668e558cf5282d1bcf1c57bbd6926f6363d9f29346af12e70");
    let again = filled(subject);
    assert_ne!(again.digest(&ada).unwrap(), digest);
    assert_eq!(again.digest(&user("bob")).unwrap(), store.digest(&user("bob")).unwrap());
    // The time of day counts in no record.
    let mut timed = answer("x");
    timed.time = jiff::Timestamp::UNIX_EPOCH;
    let mut odd = history("ada", 4).remove(3);
    odd.meta = Some(serde_json::json!({"a": "\0", "b": [1.5, null]}));
    again.ingest([odd]).unwrap();
    put(&again, "ada", &commit(1, 0)).unwrap();
    let mut second = commit(2, 1);
    second.record.seconds = 9.0;
    put(&again, "ada", &second).unwrap();
    keep(&again, "ada", &timed).unwrap();
    assert_eq!(again.digest(&ada).unwrap(), digest);
    let mut steps = Vec::new();
    again
        .check(&mut |done| {
            steps.push(done);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(steps, [1, 2]);
    let stopped = again.check(&mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Stopped)));
}

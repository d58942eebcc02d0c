//! One at a time trains a user, and whoever lost the lease writes nothing.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{Subject, samples::*};
use crate::{
    Error, PeriodCommit, Store,
    backend::{Durability, UserRow},
};

pub fn one_at_a_time_trains_a_user(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 2);
    let other = subject.again(&store);
    let other: &Store = other.as_ref().unwrap_or(&store);
    let ada = user("ada");
    let lease = store.lease(&ada).unwrap();
    let error = other.lease(&ada).unwrap_err().to_string();
    assert!(error.starts_with("user ada is being updated by "), "{error}");
    assert!(error.contains("at the latest"), "{error}");
    assert!(matches!(other.rollback(&ada, Some(0)), Err(Error::Leased { .. })));
    // Another user is free.
    assert_eq!(put(other, "bob", &commit(1, 0)).unwrap(), 1);
    let version = store.version(&ada).unwrap();
    assert_eq!(store.commit(&lease, &version, &commit(1, 0)).unwrap(), 1);
    store.release(&lease).unwrap();
    store.release(&lease).unwrap();
    assert_eq!(put(other, "ada", &commit(2, 1)).unwrap(), 2);
    // Released is released.
    let version = store.version(&ada).unwrap();
    let late = store.commit(&lease, &version, &commit(2, 2));
    assert!(matches!(late, Err(Error::Conflict { .. })));
}

pub fn a_lease_that_ended_can_be_taken_and_commits_no_more(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 2);
    let ada = user("ada");
    let mut lease = store.lease(&ada).unwrap();
    end_lease(&store, "ada", 1);
    let taken = store.lease(&ada).unwrap();
    let before = dump(&store);
    let version = store.version(&ada).unwrap();
    let late = store.commit(&lease, &version, &commit(1, 0));
    assert!(matches!(late, Err(Error::Conflict { .. })));
    assert!(matches!(store.renew(&mut lease), Err(Error::Conflict { .. })));
    let forgetting = crate::Forgetting { seq: 1, relearned: vec![] };
    let late = store.forget_interaction(&lease, &forgetting);
    assert!(matches!(late, Err(Error::Conflict { .. })));
    store.release(&lease).unwrap();
    assert_eq!(dump(&store), before);
    assert_eq!(store.commit(&taken, &version, &commit(1, 0)).unwrap(), 1);
}

pub fn a_clock_that_was_ahead_keeps_nobody_from_a_user(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 1);
    let ada = user("ada");
    let now = Timestamp::now().as_second();
    let late = store.lease(&ada).unwrap();
    // As long as two clocks may differ, it counts.
    end_lease(&store, "ada", now + 15 * 60);
    assert!(matches!(store.lease(&ada), Err(Error::Leased { .. })));
    for years_ahead in [now + 365 * 86_400, i64::MAX] {
        end_lease(&store, "ada", years_ahead);
        let lease = store.lease(&ada).unwrap();
        assert!(lease.token > late.token);
        assert!(stored_lease(&store, "ada").unwrap().expires < now + 3600);
    }
}

pub fn a_user_can_be_unlocked(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 1);
    let ada = user("ada");
    assert_eq!(store.unlock(&ada).unwrap(), None);
    let held = store.lease(&ada).unwrap();
    let stored = stored_lease(&store, "ada").unwrap();
    let (holder, until) = store.unlock(&ada).unwrap().unwrap();
    assert!(holder.starts_with("process ") && until.as_second() == stored.expires);
    assert_eq!(store.unlock(&ada).unwrap(), None);
    // Who held it writes nothing any more.
    let version = store.version(&ada).unwrap();
    let late = store.commit(&held, &version, &commit_of_one(1, 0));
    assert!(matches!(late, Err(Error::Conflict { .. })));
    let lease = store.lease(&ada).unwrap();
    assert!(lease.token > held.token);
    assert_eq!(store.commit(&lease, &version, &commit_of_one(1, 0)).unwrap(), 1);
    assert!(matches!(store.unlock(&user("eve")), Err(Error::UnknownUser { .. })));
}

pub fn a_renewed_lease_lasts_longer(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 1);
    let mut lease = store.lease(&user("ada")).unwrap();
    end_lease(&store, "ada", 1);
    lease.expires = Timestamp::UNIX_EPOCH;
    store.renew(&mut lease).unwrap();
    let left = lease.expires.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_mins(1));
    assert!(matches!(store.lease(&user("ada")), Err(Error::Leased { .. })));
}

pub fn tokens_only_grow(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    let mut last = i64::MIN;
    for round in 0..3 {
        with_periods(&store, &["ada"], 2);
        for _ in 0..3 {
            let lease = store.lease(&ada).unwrap();
            assert!(lease.token > last, "round {round}: {} after {last}", lease.token);
            last = lease.token;
            // Released or run out, the next one is larger.
            match last % 2 {
                0 => store.release(&lease).unwrap(),
                _ => end_lease(&store, "ada", 1),
            }
        }
        // A user of the same name is another one.
        store.forget(&ada).unwrap();
    }
}

pub fn a_forgotten_user_takes_the_lease_along(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 1);
    let ada = user("ada");
    let lease = store.lease(&ada).unwrap();
    let version = store.version(&ada).unwrap();
    store.forget(&ada).unwrap();
    let gone = store.commit(&lease, &version, &commit(1, 0));
    assert!(matches!(gone, Err(Error::UnknownUser { .. })));
    with_periods(&store, &["ada"], 1);
    let version = store.version(&ada).unwrap();
    let stale = store.commit(&lease, &version, &commit(1, 0));
    assert!(matches!(stale, Err(Error::Conflict { .. })));
    let taken = store.lease(&ada).unwrap();
    let stale = store.commit(&lease, &version, &commit(1, 0));
    assert!(matches!(stale, Err(Error::Conflict { .. })));
    store.release(&taken).unwrap();
}

pub fn users_with_something_to_learn_are_listed(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob", "cy"], 2);
    store.ingest(history("dan", 1)).unwrap();
    let names = |after: Option<&str>, limit| {
        let after = after.map(user);
        let users = store.users_to_adapt(after.as_ref(), limit).unwrap();
        users.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let learned = [("ada", 1, 0), ("ada", 2, 1), ("bob", 1, 0), ("cy", 1, 0), ("cy", 2, 1)];
    for (name, period, parent) in learned {
        put(&store, name, &commit(period, parent)).unwrap();
    }
    assert_eq!(names(None, 9), ["bob", "dan"]);
    assert_eq!(names(None, 1), ["bob"]);
    assert_eq!(names(Some("bob"), 9), ["dan"]);
    assert!(names(None, 0).is_empty());
    // Going back makes what was learned since unlearned; a new text is something new.
    store.rollback(&user("cy"), None).unwrap();
    store.ingest(history("ada", 3)).unwrap();
    assert_eq!(names(None, 9), ["ada", "bob", "cy", "dan"]);
}

pub fn a_lease_is_renewed_while_the_work_goes_on(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 1);
    let ada = user("ada");
    let lease = store.lease(&ada).unwrap();
    let expires = || stored_lease(&store, "ada").unwrap().expires;
    let keeping = |lease: &crate::Lease, work: &mut dyn FnMut()| {
        thread::scope(|scope| {
            let (stop, stopped) = mpsc::channel::<()>();
            let lease = lease.clone();
            let store = &*store;
            scope.spawn(move || store.keep(lease, Duration::from_millis(5), &stopped));
            work();
            drop(stop);
        });
    };
    end_lease(&store, "ada", 1);
    keeping(&lease, &mut || {
        let begin = Instant::now();
        while expires() == 1 {
            assert!(begin.elapsed().as_secs() < 60, "never renewed");
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(expires() > Timestamp::now().as_second() + 60);
    // Somebody else's is left alone.
    end_lease(&store, "ada", 1);
    let taken = store.lease(&ada).unwrap();
    end_lease(&store, "ada", 7);
    keeping(&lease, &mut || thread::sleep(Duration::from_millis(50)));
    assert_eq!(expires(), 7);
    store.release(&taken).unwrap();
    // And with the work it ends.
    let done: Result<u32, Error> = store.with_lease(&ada, |held| {
        assert!(matches!(store.lease(&ada), Err(Error::Leased { .. })));
        store.commit(held, &store.version(&ada)?, &commit_of_one(1, 0))
    });
    assert_eq!(done.unwrap(), 1);
    let failed: Result<(), Error> = store.with_lease(&ada, |_| Err(Error::Stopped));
    assert!(matches!(failed, Err(Error::Stopped)));
    store.release(&store.lease(&ada).unwrap()).unwrap();
}

/// A commit that names one text alone.
fn commit_of_one(period: u32, parent: u32) -> PeriodCommit {
    let mut commit = commit(period, parent);
    commit.base.truncate(1);
    commit.buffer.truncate(0);
    commit
}

pub fn the_second_to_learn_a_period_is_told(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 2);
    let Some(other) = subject.again(&store) else { return };
    let version = other.version(&user("ada")).unwrap();
    assert_eq!(put(&store, "ada", &commit(1, 0)).unwrap(), 1);
    let lease = other.lease(&user("ada")).unwrap();
    let second = other.commit(&lease, &version, &commit(1, 0));
    assert!(matches!(second, Err(Error::Conflict { .. })));
    other.release(&lease).unwrap();
    assert_eq!(put(&other, "bob", &commit(1, 0)).unwrap(), 1);
}

pub fn whoever_claims_gets_a_user_whom_nobody_has(subject: &dyn Subject) {
    let store = subject.create(&settings());
    assert_eq!(store.claim(&[]).unwrap(), None);
    for name in ["ada", "bob", "cy"] {
        store.ingest(history(name, 3)).unwrap();
    }
    let held = store.lease(&user("bob")).unwrap();
    let mut claimed = Vec::new();
    while let Some(lease) = store.claim(&[]).unwrap() {
        claimed.push(lease);
    }
    let mut names: Vec<_> = claimed.iter().map(|lease| lease.user.clone()).collect();
    names.sort();
    assert_eq!(names, [user("ada"), user("cy")]);
    assert!(!store.is_claimable(&[]).unwrap());
    // A claim is a lease like any other.
    let ada = claimed.iter().find(|lease| lease.user == user("ada")).unwrap();
    let version = store.version(&ada.user).unwrap();
    let cut = store.plan_periods(&ada.user, 3, 0.0).unwrap();
    store.commit(ada, &version, &PeriodCommit { cut, ..commit(1, 0) }).unwrap();
    for lease in claimed.iter().chain([&held]) {
        store.release(lease).unwrap();
    }
    assert!(store.is_claimable(&[]).unwrap());
    let except = [user("ada"), user("bob")];
    assert_eq!(store.claim(&except).unwrap().unwrap().user, user("cy"));
    assert_eq!(store.claim(&except).unwrap(), None);
    // One whose time is up can be claimed from it, and whose clock was far ahead too.
    for expires in [1, Timestamp::now().as_second() + 100_000] {
        end_lease(&store, "cy", expires);
        assert_eq!(store.claim(&except).unwrap().unwrap().user, user("cy"));
    }
}

pub fn a_period_that_is_left_to_learn_is_claimed(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 2);
    let claim = || {
        let lease = store.claim(&[]).unwrap();
        lease.iter().for_each(|lease| store.release(lease).unwrap());
        lease.map(|lease| lease.user)
    };
    // Nothing is pending, and two periods are cut.
    assert_eq!(claim(), Some(user("ada")));
    put(&store, "ada", &commit(1, 0)).unwrap();
    assert_eq!(claim(), Some(user("ada")));
    put(&store, "ada", &commit(2, 1)).unwrap();
    assert_eq!(claim(), None);
    // What was taken back is not learned again by who is not asked to.
    let (due, new) = (
        || store.users_to_adapt(None, 9).unwrap(),
        || store.users_with_something_new(None, 9).unwrap(),
    );
    for (to, left) in [(1, vec![user("ada")]), (0, vec![user("ada")]), (2, vec![])] {
        store.rollback(&user("ada"), Some(to)).unwrap();
        assert_eq!((due(), new()), (left, vec![]), "{to}");
        assert_eq!(claim(), None, "{to}");
        assert!(!store.is_claimable(&[]).unwrap());
    }
    store.rollback(&user("ada"), Some(1)).unwrap();
    store.ingest([interaction("ada", "new", "2024-01-01T00:00:00Z")]).unwrap();
    assert_eq!((due(), new()), (vec![user("ada")], vec![user("ada")]));
    assert_eq!(claim(), Some(user("ada")));
    store.forget(&user("ada")).unwrap();
    assert_eq!(claim(), None);
}

pub fn who_is_damaged_is_named_and_can_be_passed_over(subject: &dyn Subject) {
    let store = subject.create(&settings());
    for name in ["ada", "bob"] {
        store.ingest(history(name, if name == "ada" { 5 } else { 2 })).unwrap();
    }
    let damaged = store.backend().write(Durability::Power, &mut |rows| {
        let row = rows.user(&user("ada"))?.unwrap();
        rows.put_user(&UserRow { next_seq: 77, ..row })
    });
    damaged.unwrap();
    let error = store.claim(&[user("bob")]).unwrap_err();
    assert!(matches!(&error, Error::Damaged { user: Some(name), .. } if *name == user("ada")));
    assert_eq!(store.claim(&[user("ada")]).unwrap().unwrap().user, user("bob"));
}

//! Many users side by side: results that depend on nothing but the user, and nobody in another's
//! way.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Barrier, Mutex},
    thread,
    time::Duration,
};

use common::{config, id, ingest, model, settings, texts, timeless, user};
use spring_core::{
    Access, Attend, Error, Event, Follow, Generation, Jobs, Periods, Progress, SqliteStore,
    UserModel, Worker, adapt, adapt_users, check_base, forget_interaction, record::LearnedPeriod,
    spring_memory::UserId, spring_store::Error as StoreError, work,
};

const TWO: Periods = Periods { count: 2, hold_out: 0.1 };
const USERS: [&str; 5] = ["ada", "bob", "cy", "dan", "eve"];

fn on_file(path: &Path) -> SqliteStore {
    let store = SqliteStore::create(path, &settings(config())).unwrap();
    for (i, name) in USERS.iter().enumerate() {
        ingest(&store, &texts(name, 0..6 + 3 * i));
    }
    store
}

/// Notes who is done.
#[derive(Default)]
struct Notes(Mutex<Vec<(String, Result<usize, String>)>>);

impl Follow for Notes {
    fn progress(&self) -> Box<dyn Progress + '_> {
        Box::new(())
    }

    fn done(
        &self,
        user: &UserId,
        learned: spring_core::Result<Vec<LearnedPeriod>>,
    ) -> ControlFlow<()> {
        let learned = learned.map(|records| records.len()).map_err(|error| error.to_string());
        self.0.lock().unwrap().push((user.to_string(), learned));
        ControlFlow::Continue(())
    }
}

impl Attend for Notes {
    fn idle(&self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn away(&self, error: &Error, _: Duration) {
        panic!("{error}");
    }
}

/// Learns with so many jobs on rayon pools of so many threads.
fn learn(jobs: Jobs, threads: usize) -> Vec<(Option<Generation>, Vec<LearnedPeriod>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let store = on_file(&path);
    let notes = Notes::default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| adapt_users(model(), &store, jobs, TWO, &notes)).unwrap();
    let mut done = notes.0.into_inner().unwrap();
    done.sort();
    assert_eq!(done, USERS.map(|name| (name.to_owned(), Ok(2))));
    let store = SqliteStore::open(&path, Access::ReadOnly).unwrap();
    assert!(store.users_to_adapt(None, 9).unwrap().is_empty());
    let of = |name: &&str| {
        let user = user(name);
        (
            store.generation(&user, None).unwrap(),
            timeless(store.period_records(&user, None).unwrap()),
        )
    };
    USERS.iter().map(of).collect()
}

#[test]
fn jobs_and_threads_change_no_result() {
    let alone = learn(Jobs::default(), 1);
    assert_eq!(alone, learn(Jobs::from(3), 1));
    assert_eq!(alone, learn(Jobs::from(2), 4));
}

#[test]
fn company_in_a_batch_changes_no_result() {
    let alone = learn(Jobs::default(), 1);
    for (jobs, batch) in [(1, 2), (1, 8), (2, 2)] {
        assert_eq!(alone, learn(Jobs::from(jobs).with_batch(batch), 2), "{jobs} × {batch}");
    }
}

/// A request to stop ends one training, and the others of the batch go on.
#[test]
fn who_is_told_to_stop_stops_nobody_in_the_batch() {
    struct Stops(Mutex<bool>, Notes);

    impl Follow for Stops {
        fn progress(&self) -> Box<dyn Progress + '_> {
            let mut is_first = std::mem::take(&mut *self.0.lock().unwrap());
            Box::new(move |event: Event<'_>| match event {
                Event::Training { done: 1, .. } if std::mem::take(&mut is_first) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            })
        }

        fn done(
            &self,
            user: &UserId,
            learned: spring_core::Result<Vec<LearnedPeriod>>,
        ) -> ControlFlow<()> {
            self.1.done(user, learned)
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let store = on_file(&folder.path().join("state.db"));
    let stops = Stops(Mutex::new(true), Notes::default());
    adapt_users(model(), &store, Jobs::default().with_batch(5), TWO, &stops).unwrap();
    let done = stops.1.0.into_inner().unwrap();
    assert_eq!(done.len(), 5);
    assert_eq!(done.iter().filter(|(_, learned)| *learned == Ok(2)).count(), 4, "{done:?}");
    // Whoever was stopped has nothing of it, and learns it again.
    assert_eq!(store.users_to_adapt(None, 9).unwrap().len(), 1);
}

#[test]
fn two_train_different_users_and_the_same_one_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    drop(on_file(&path));
    let middle = Barrier::new(2);
    let train = |name: &str| {
        let store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
        let mut met = false;
        let mut meet = |event: Event<'_>| {
            // Both are in the middle of their training before either goes on.
            if matches!(event, Event::Training { .. }) && !met {
                met = true;
                middle.wait();
            }
            ControlFlow::Continue(())
        };
        adapt(model(), &store, &user(name), TWO, &mut meet).unwrap().len()
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| train("ada"));
        assert_eq!(train("bob"), 2);
        assert_eq!(other.join().unwrap(), 2);
    });

    let first = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    let second = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    let mut refused = 0;
    let mut meanwhile = |event: Event<'_>| {
        if matches!(event, Event::Training { done: 1, .. }) {
            let error = adapt(model(), &second, &user("cy"), TWO, &mut ()).unwrap_err();
            let Error::Store(StoreError::Leased { holder, .. }) = &error else {
                panic!("{error}");
            };
            assert!(holder.starts_with("process "), "{error}");
            refused += 1;
        }
        ControlFlow::Continue(())
    };
    assert_eq!(adapt(model(), &first, &user("cy"), TWO, &mut meanwhile).unwrap().len(), 2);
    assert_eq!(refused, 2);
    assert!(adapt(model(), &second, &user("cy"), TWO, &mut ()).unwrap().is_empty());
}

#[test]
fn what_stops_one_user_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let store = on_file(&path);
    let lease = store.lease(&user("bob")).unwrap();
    let notes = Notes::default();
    let other = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    // In one batch with those whom it does not stop.
    adapt_users(model(), &other, Jobs::default().with_batch(5), TWO, &notes).unwrap();
    let done = notes.0.into_inner().unwrap();
    let failed: Vec<_> =
        done.iter().filter(|(_, learned)| learned.is_err()).map(|(name, _)| name).collect();
    assert_eq!((done.len(), failed), (5, vec![&"bob".to_owned()]));
    store.release(&lease).unwrap();
    assert_eq!(store.users_to_adapt(None, 9).unwrap(), [user("bob")]);
}

#[test]
fn a_worker_does_not_learn_again_what_was_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = on_file(&folder.path().join("state.db"));
    let worked = || {
        let notes = Notes::default();
        let once = Worker::default().with_once(true).with_batch(3).with_plan(TWO.into());
        work(model(), &store, once, &notes).unwrap();
        let mut done = notes.0.into_inner().unwrap();
        done.sort();
        done
    };
    assert_eq!(worked(), USERS.map(|name| (name.to_owned(), Ok(2))));
    store.rollback(&user("ada"), Some(1)).unwrap();
    store.rollback(&user("bob"), Some(0)).unwrap();
    assert_eq!(worked(), []);
    assert_eq!(store.user(&user("ada")).unwrap().generation, 1);
    assert_eq!(store.user(&user("bob")).unwrap().generation, 0);
    // With something new it is learned, too, and so it is by whoever asks.
    ingest(&store, &texts("ada", 40..46));
    assert_eq!(worked(), [("ada".to_owned(), Ok(3))]);
    assert_eq!(adapt(model(), &store, &user("bob"), TWO, &mut ()).unwrap().len(), 2);
}

#[test]
fn a_loss_that_explodes_keeps_the_generation_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut store = SqliteStore::create(&path, &settings(config())).unwrap();
    ingest(&store, &texts("ada", 0..8));
    adapt(model(), &store, &user("ada"), Periods::default(), &mut ()).unwrap();
    let before = store.generation(&user("ada"), None).unwrap();
    ingest(&store, &texts("ada", 8..30));
    let mut wild = config();
    wild.training.learning_rate = 1e30;
    wild.training.max_grad_norm = 1e30;
    store.try_config(&wild).unwrap();
    let error =
        adapt(model(), &store, &user("ada"), Periods::default(), &mut ()).unwrap_err().to_string();
    assert!(
        error.starts_with("user ada: the loss was") && error.contains("lower the learning rate"),
        "{error}"
    );
    assert_eq!(store.generation(&user("ada"), None).unwrap(), before);
    assert_eq!(store.user(&user("ada")).unwrap().pending, 22);
    // What was tried is in no use, but by this value.
    drop(store);
    let mut store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    assert_eq!(store.settings().config, config());
    let mut calm = config();
    calm.training.epochs = 1;
    store.try_config(&calm).unwrap();
    assert_eq!(adapt(model(), &store, &user("ada"), Periods::default(), &mut ()).unwrap().len(), 1);
    assert_eq!(SqliteStore::open(&path, Access::ReadOnly).unwrap().settings().config, calm);
}

#[test]
fn another_base_is_refused() {
    let mut settings = settings(config());
    let store = SqliteStore::in_memory(&settings).unwrap();
    check_base(model(), &store).unwrap();
    settings.fingerprint = "f00d".into();
    let store = SqliteStore::in_memory(&settings).unwrap();
    let error = check_base(model(), &store).unwrap_err().to_string();
    assert!(error.starts_with("state :memory:: made for another model or tokenizer"), "{error}");
    // Nor by whoever did not ask.
    ingest(&store, &texts("ada", 0..8));
    let ada = user("ada");
    for refused in [
        adapt(model(), &store, &ada, TWO, &mut ()).map(drop),
        UserModel::recall(model(), &store, &ada, None).map(drop),
        forget_interaction(model(), &store, &ada, &id("3"), &mut ()).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::OtherBase { .. })), "{refused:?}");
    }
    assert_eq!(store.user(&ada).unwrap().pending, 8);
}

#[test]
fn what_was_trained_waits_for_a_busy_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let store = on_file(&path);
    store.backend().set_wait(Duration::from_millis(1));
    let other = rusqlite::Connection::open(&path).unwrap();
    let (mut waited, mut stopping) = (0, false);
    let mut follow = |event: Event<'_>| {
        let free = || other.execute_batch("COMMIT").unwrap();
        match event {
            Event::Rescoring { .. } => other.execute_batch("BEGIN IMMEDIATE").unwrap(),
            Event::Waiting if stopping => {
                // Not against a request to stop.
                free();
                return ControlFlow::Break(());
            }
            Event::Waiting => {
                waited += 1;
                if waited == 3 {
                    free();
                }
            }
            Event::Committed { .. } => stopping = true,
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let error = adapt(model(), &store, &user("ada"), TWO, &mut follow).unwrap_err();
    assert!(error.is_stopped(), "{error}");
    assert_eq!(waited, 3);
    // The first period was worth the wait, the second is learned again.
    assert_eq!(store.user(&user("ada")).unwrap().generation, 1);
    assert_eq!(adapt(model(), &store, &user("ada"), TWO, &mut ()).unwrap().len(), 1);
}

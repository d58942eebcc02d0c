//! A fault at any write, and at the end of any transaction, leaves the state before or after.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use spring_lm::Adapter;

use super::{Subject, samples::*};
use crate::{
    ApiKey, Contributors, EmbeddingMap, Forgetting, MemoryStore, PeriodCommit, PriorPlan,
    Relearned, Result, Store,
    backend::{
        Backend, ConsentRow, Durability, Extent, Fault, GenerationRow, Holder, InteractionRow,
        KeyRow, LearnedRow, LeaseRow, MemberRow, MemoriesRow, Outcome, PriorRow, ReplicaRow, Rows,
        RowsMut, SettingsRow, Summed, Text, Texts, UserRow, Users, Visit, Wanted,
    },
};

/// A backend of which every write but the first few fails.
struct Failing {
    /// Whose rows it keeps.
    store: Arc<Store>,
    /// Writes that succeed still; the end of a transaction is one too.
    left: AtomicU64,
}

impl Failing {
    fn tick(&self) -> Outcome<()> {
        let spend = |left: u64| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::Unusable("a fault, as planned".into())),
        }
    }
}

impl Backend for Failing {
    fn label(&self) -> &str {
        self.store.backend().label()
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Outcome<()>) -> Outcome<()> {
        self.store.backend().read(work)
    }

    fn write(
        &self,
        durability: Durability,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>,
    ) -> Outcome<()> {
        self.store.backend().write(durability, &mut |rows| {
            work(&mut FailingRows { rows, backend: self })?;
            self.tick()
        })
    }

    fn scratch(&self, settings: &SettingsRow) -> Outcome<Box<dyn Backend>> {
        self.store.backend().scratch(settings)
    }

    fn holder(&self) -> Holder {
        self.store.backend().holder()
    }

    fn finish_removals(&self) -> Option<String> {
        self.store.backend().finish_removals()
    }
}

struct FailingRows<'r> {
    rows: &'r mut dyn RowsMut,
    backend: &'r Failing,
}

/// Methods that hand on what they are given; those that write fail in their turn.
macro_rules! hand_on {
    (read: $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Outcome<$result> {
            self.rows.$name($($argument),*)
        })*
    };
    (write: $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Outcome<$result> {
            self.backend.tick()?;
            self.rows.$name($($argument),*)
        })*
    };
}

impl Rows for FailingRows<'_> {
    fn now(&self) -> jiff::Timestamp {
        self.rows.now()
    }

    hand_on! { read:
        fn settings() -> SettingsRow;
        fn users(
            which: Users, after: Option<&spring_memory::UserId>, limit: usize
        ) -> Vec<spring_memory::UserId>;
        fn waiting(wanted: &Wanted<'_>, limit: usize) -> Vec<spring_memory::UserId>;
        fn user(name: &spring_memory::UserId) -> Option<UserRow>;
        fn extent(user: i64) -> Extent;
        fn interactions(user: i64, which: Texts, visit: Visit<'_, InteractionRow>) -> ();
        fn interaction(user: i64, which: Text<'_>) -> Option<InteractionRow>;
        fn periods(user: i64) -> Vec<u32>;
        fn generations(user: i64) -> Vec<GenerationRow>;
        fn record(user: i64, generation: u32) -> Option<Summed<String>>;
        fn memories(user: i64, generation: u32) -> Option<MemoriesRow>;
        fn answers(
            user: i64,
            newest_first: bool,
            visit: &mut dyn FnMut(i64, Summed<String>) -> Outcome<ControlFlow<()>>
        ) -> ();
        fn embedding(user: i64, seq: u64, base: &str) -> Option<Summed<Vec<u8>>>;
        fn lease(user: i64) -> Option<LeaseRow>;
        fn graph(user: i64) -> Option<Summed<String>>;
        fn consent(user: i64) -> Option<ConsentRow>;
        fn contribution(user: i64) -> Option<ConsentRow>;
        fn priors() -> Vec<PriorRow>;
        fn prior_record(number: u32) -> Option<Summed<String>>;
        fn prior_adapter(number: u32) -> Option<Summed<Vec<u8>>>;
        fn users_with(text: &str) -> u64;
        fn keys() -> Vec<KeyRow>;
        fn key(hash: &[u8]) -> Option<KeyRow>;
        fn replicas(within: Duration) -> Vec<ReplicaRow>;
    }
}

impl RowsMut for FailingRows<'_> {
    hand_on! { write:
        fn put_settings(row: &SettingsRow) -> ();
        fn forget_bases() -> ();
        fn add_user(name: &spring_memory::UserId, removals: u64) -> UserRow;
        fn put_user(user: &UserRow) -> ();
        fn delete_user(user: i64) -> ();
        fn put_interaction(user: i64, row: &InteractionRow) -> ();
        fn set_base(user: i64, seq: u64, base: Summed<f64>) -> bool;
        fn delete_interaction(user: i64, seq: u64) -> ();
        fn put_period(user: i64, number: u32, members: &[MemberRow]) -> ();
        fn put_generation(user: i64, row: &LearnedRow) -> ();
        fn put_memories(user: i64, generation: u32, row: Option<&MemoriesRow>) -> ();
        fn put_answer(user: i64, record: Summed<&str>) -> ();
        fn delete_answer(user: i64, key: i64) -> ();
        fn put_embedding(user: i64, seq: u64, base: &str, vector: Summed<&[u8]>) -> ();
        fn swap_lease(user: i64, expected: Option<i64>, lease: &LeaseRow) -> bool;
        fn put_graph(user: i64, stamp: Option<Summed<&str>>) -> ();
        fn put_consent(user: i64, row: &ConsentRow) -> ();
        fn put_contribution(user: i64, row: &ConsentRow) -> ();
        fn add_prior(row: &PriorRow, record: Summed<&str>, adapter: Summed<&[u8]>) -> ();
        fn put_prior(row: &PriorRow) -> ();
        fn put_prior_record(number: u32, record: Summed<&str>) -> ();
        fn delete_prior(number: u32) -> ();
        fn put_key(row: &KeyRow) -> ();
        fn put_replica(row: &ReplicaRow, lasts: Duration) -> ();
        fn delete_replica(url: &str) -> ();
    }
}

/// Something that changes a state.
pub type Operation = Box<dyn Fn(&Store) -> Result<()>>;

/// Ada with something of everything, and Bob with texts.
pub fn prepare(store: &Store) {
    with_periods(store, &["ada"], 3);
    store.ingest(history("bob", 4)).unwrap();
    put(store, "ada", &commit(1, 0)).unwrap();
    keep(store, "ada", &answer("x")).unwrap();
    store.set_consent(&user("ada"), true, at(5)).unwrap();
    store.add_key(&[1; 32], &key_of("ada"), at(6)).unwrap();
    let version = store.version(&user("ada")).unwrap();
    store.set_embeddings(&version, &EmbeddingMap::from([(1, vec![1.0]), (2, vec![0.5])])).unwrap();
}

/// Every kind of change, by its name, each on a state that was [prepared](prepare). `folder` is a
/// place for an export.
pub fn operations(folder: &std::path::Path) -> Vec<(&'static str, Operation)> {
    let dan = MemoryStore::in_memory(&settings()).unwrap();
    with_periods(&dan, &["dan"], 2);
    put(&dan, "dan", &PeriodCommit { buffer: vec![], ..only_text_of(1) }).unwrap();
    let export = folder.join("dan");
    dan.export(&user("dan"), &export, &mut |_| ControlFlow::Continue(())).unwrap();
    let relearned = || {
        let PeriodCommit { adapter, record, .. } = commit(1, 0);
        let memories = Some((adapter, vec![], vec![].into()));
        Relearned { number: 1, memories, base: vec![(1, HARD[0])], record }
    };
    vec![
        (
            "ingest",
            Box::new(|store| {
                store.ingest(history("ada", 6).into_iter().chain(history("cy", 2))).map(drop)
            }),
        ),
        ("cut", Box::new(|store| store.cut_periods(&user("bob"), 2, 0.5).map(drop))),
        ("commit", Box::new(|store| put(store, "ada", &commit(2, 1)).map(drop))),
        (
            "commit with a new period",
            Box::new(|store| {
                let bob = user("bob");
                let cut = store.plan_periods(&bob, 2, 0.0)?;
                put(store, "bob", &PeriodCommit { cut, ..commit(1, 0) }).map(drop)
            }),
        ),
        ("answer", Box::new(|store| keep(store, "ada", &answer("y")))),
        (
            "embeddings",
            Box::new(|store| {
                let embeddings = EmbeddingMap::from([(2, vec![1.5]), (3, vec![2.5])]);
                store.set_embeddings(&store.version(&user("ada"))?, &embeddings)
            }),
        ),
        ("consent", Box::new(|store| store.set_consent(&user("bob"), true, at(7)).map(drop))),
        (
            "a conversation is kept",
            Box::new(|store| {
                let version = store.version(&user("ada"))?;
                store
                    .keep_conversation(&version, &interaction("ada", "c", "2026-03-01T00:00:00Z"))
                    .map(drop)
            }),
        ),
        (
            "a key for a new user",
            Box::new(|store| store.add_key(&[7; 32], &key_of("cy"), at(8)).map(drop)),
        ),
        (
            "a key is revoked",
            Box::new(|store| store.revoke_key(&ApiKey::id_of(&[1; 32]), at(9)).map(drop)),
        ),
        (
            "contribution",
            Box::new(|store| store.set_contribution(&user("bob"), true, at(7)).map(drop)),
        ),
        (
            "a prior",
            Box::new(|store| {
                let from = Contributors::Named(vec![user("ada")]);
                let texts = store.prior_texts(&PriorPlan::default().with_from(from))?;
                let adapter = Adapter::from_bytes(&adapter_of("f00d", 1))?;
                store.commit_prior(&texts, &adapter, &record(1, 0).update, at(9)).map(drop)
            }),
        ),
        ("rollback", Box::new(|store| store.rollback(&user("ada"), Some(0)).map(drop))),
        (
            "forget a text",
            Box::new(move |store| {
                let forgetting = Forgetting { seq: 2, relearned: vec![relearned()] };
                store.with_lease(&user("ada"), |lease| {
                    store.forget_interaction(lease, &forgetting).map(drop)
                })
            }),
        ),
        ("forget a user", Box::new(|store| store.forget(&user("ada")).map(drop))),
        (
            "import",
            Box::new(move |store| {
                let step = &mut |_| ControlFlow::Continue(());
                store.import(&export, &|_| Ok(()), step).map(drop)
            }),
        ),
    ]
}

/// A commit of the first text of a period, which is all that there is.
pub(super) fn only_text_of(period: u32) -> PeriodCommit {
    let mut commit = trained(commit(period, 0));
    commit.record.scores.truncate(1);
    commit.record.held_out = 0;
    commit.base.truncate(1);
    commit
}

/// All rows, once nobody holds a lease.
pub fn at_rest(store: &Store) -> Vec<String> {
    free_all(store);
    dump(store)
}

fn free_all(store: &Store) {
    for summary in store.users(None, usize::MAX).unwrap() {
        store.unlock(&summary.user).unwrap();
    }
}

pub fn a_fault_anywhere_leaves_the_state_before_or_after(subject: &dyn Subject) {
    let folder = tempfile::tempdir().unwrap();
    let at_rest = |store: &Store| match subject.gives_keys_back() {
        true => at_rest(store),
        false => {
            free_all(store);
            dump_without_keys(store)
        }
    };
    let fresh = || {
        let store: Arc<Store> = subject.create(&settings()).into();
        prepare(&store);
        store
    };
    for (name, operation) in operations(folder.path()) {
        let mut store = fresh();
        let before = at_rest(&store);
        operation(&store).unwrap();
        let after = at_rest(&store);
        assert_ne!(before, after, "{name}");
        store = fresh();
        assert_eq!(at_rest(&store), before, "{name}");
        for writes in 0.. {
            let left = AtomicU64::new(writes);
            let failing = Store::new(Failing { store: Arc::clone(&store), left }).unwrap();
            let done = operation(&failing);
            let found = at_rest(&store);
            let is_after = found == after;
            assert!(is_after || found == before, "{name}, after {writes} writes: {found:?}");
            store.check(&mut |_| ControlFlow::Continue(())).unwrap();
            match done {
                Ok(()) => {
                    assert!(is_after, "{name}: it is told that all went well");
                    break;
                }
                Err(error) => {
                    assert!(error.to_string().contains("a fault, as planned"), "{name}: {error}");
                }
            }
            // What came after the change itself, such as the end of a lease, has failed.
            if is_after {
                store = fresh();
            }
        }
    }
}

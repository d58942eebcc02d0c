//! Learning while answers are written.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/slow.rs"]
mod slow;

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use common::{alone, ask, collect, engine, ingest, store, texts, user, wait_for};
use slow::Slow;
use spring_core::{
    Contributors, NoveltyReference, PriorPlan, Store,
    spring_lm::Sequence,
    spring_memory::UserId,
    spring_store::backend::{
        Backend, ConsentRow, Durability, Extent, Fault, GenerationRow, Holder, InteractionRow,
        KeyRow, LeaseRow, MemoriesRow, Outcome, PriorRow, ReplicaRow, Rows, RowsMut, SettingsRow,
        Summed, Text, Texts, UserRow, Users, Visit,
    },
};
use spring_engine::{
    AdaptationState, Asker, Engine, EngineConfig, Input, Judge, LearningPolicy, Request, channel,
};

fn of(name: &str) -> Request {
    Request::new(Input::prompt("About soup")).of_user(user(name))
}

fn ended(engine: &Engine, name: &str) -> AdaptationState {
    wait_for("the adaptation", || {
        let all = engine.adaptations(Some(&user(name)));
        all.first().is_some_and(|latest| latest.state.is_over())
    });
    engine.adaptations(Some(&user(name))).remove(0).state
}

#[test]
fn a_new_generation_answers_the_next_request_and_a_running_answer_keeps_its_own() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    let before = ask(&engine, of("ada"));
    assert_eq!(before.records[0].generation, 1);
    let (sink, running) = channel(1);
    engine.submit(of("ada"), sink).unwrap();

    ingest(&store, &texts("ada", 20..32));
    let asked = engine.adapt(&user("ada")).unwrap();
    assert_eq!(engine.adapt(&user("ada")).unwrap().id, asked.id, "one at a time");
    let learned = ended(&engine, "ada");
    assert_eq!(learned, AdaptationState::Learned { generations: vec![2], kept: true });

    let (sink, next) = channel(64);
    let receipt = engine.submit(of("ada"), sink).unwrap();
    assert_eq!((receipt.generation, receipt.version.unwrap().generation()), (2, 2));
    let next = collect(next, 1).unwrap();
    assert_eq!(next.records, [alone(&store, "ada", "About soup", |_| {})]);
    assert_ne!(next.texts, before.texts);
    assert_eq!(collect(running, 1).unwrap(), before);

    // The same as what adapting without an engine learns, with nobody asking meanwhile.
    let other = common::store();
    ingest(&other, &texts("ada", 20..32));
    let model = common::model();
    let plan = spring_core::PeriodPlan::default();
    spring_core::adapt(&*model, &other, &user("ada"), plan, &mut ()).unwrap();
    assert_eq!(next.records, [alone(&other, "ada", "About soup", |_| {})]);
    // Another process that goes back is seen, too.
    store.rollback(&user("ada"), Some(1)).unwrap();
    assert_eq!(ask(&engine, of("ada")), before);
    let stats = engine.stats();
    assert_eq!((stats.adaptations, stats.failed_adaptations), (1, 0));
    assert!(stats.cache.hits > 0 && stats.cache.misses > 0, "{stats:?}");
}

#[test]
fn who_has_enough_new_texts_is_adapted_unasked_and_others_when_nobody_asks() {
    let store = store();
    let policy = LearningPolicy::default()
        .with_pending(10)
        .with_idle(Duration::from_secs(3600))
        .with_every(Duration::from_millis(5));
    let config = EngineConfig::default().with_learning(Some(policy));
    let busy = engine(&store, config.clone());
    ingest(&store, &texts("bob", 20..30));
    assert_eq!(ended(&busy, "bob"), AdaptationState::Learned { generations: vec![2], kept: true });
    assert!(!busy.adaptations(None)[0].asked);
    // Dan has three, and three are too few.
    assert_eq!(busy.adaptations(Some(&user("dan"))), []);
    drop(busy);

    let policy = policy.with_idle(Duration::ZERO);
    let idle = engine(&store, config.with_learning(Some(policy)));
    assert_eq!(ended(&idle, "dan"), AdaptationState::Learned { generations: vec![1], kept: true });
    assert_eq!(ask(&idle, of("dan")).records[0].generation, 1);
}

#[test]
fn a_population_is_the_prior_that_a_user_started_from_in_the_background_too() {
    let mut store = store();
    let from = Contributors::Named(["ada", "bob"].map(user).to_vec());
    let plan = PriorPlan::default().with_from(from);
    spring_core::train_prior(&*common::model(), &store, &plan, &mut ()).unwrap();
    let mut config = common::config();
    config.drift.reference = NoveltyReference::Population;
    Arc::get_mut(&mut store).unwrap().set_config(&config).unwrap();
    let engine = engine(&store, EngineConfig::default());
    engine.adapt(&user("dan")).unwrap();
    assert_eq!(
        ended(&engine, "dan"),
        AdaptationState::Learned { generations: vec![1], kept: true }
    );
    let learned = store.record(&user("dan"), 1).unwrap().record;
    assert_eq!(learned.prior, Some(store.prior().unwrap().unwrap().id.clone()));
    assert!(learned.scores.iter().all(|score| score.population == score.adapter));
    assert!(learned.scores.iter().all(|score| score.population.is_some()));
    // Cy started from the base.
    ingest(&store, &texts("cy", 20..23));
    engine.adapt(&user("cy")).unwrap();
    match ended(&engine, "cy") {
        AdaptationState::Failed { reason } => {
            assert!(reason.contains("it is the prior"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.version(&user("cy")).unwrap().generation(), 1);
}

#[test]
fn what_the_judge_does_not_keep_is_rolled_back_and_not_tried_again() {
    let store = store();
    let before = alone(&store, "cy", "About soup", |_| {});
    let judge = Judge::new(|user, before, learned| {
        assert_eq!((user.as_str(), before, learned.len()), ("cy", 1, 1));
        Ok(false)
    });
    let policy = LearningPolicy::default()
        .with_pending(5)
        .with_idle(Duration::ZERO)
        .with_every(Duration::from_millis(5));
    store.forget(&user("dan")).unwrap();
    let config = EngineConfig::default().with_judge(Some(judge)).with_learning(Some(policy));
    let engine = engine(&store, config);
    ingest(&store, &texts("cy", 20..27));
    let rolled_back = AdaptationState::Learned { generations: vec![2], kept: false };
    assert_eq!(ended(&engine, "cy"), rolled_back);
    assert_eq!(ask(&engine, of("cy")).records, [before]);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(engine.adaptations(None).len(), 1);
}

/// As where an engine ended between the commit and the judgement.
#[test]
fn what_nobody_has_judged_is_judged_after_the_next_start() {
    let store = store();
    let model = common::model();
    let before = alone(&store, "cy", "About soup", |_| {});
    for (name, texts) in [("bob", texts("bob", 20..26)), ("cy", texts("cy", 20..27))] {
        ingest(&store, &texts);
        let plan = spring_core::PeriodPlan::default().with_count(Some(2)).with_to_be_judged(true);
        spring_core::adapt(&*model, &store, &user(name), plan, &mut ()).unwrap();
    }
    let generations =
        || ["ada", "bob", "cy"].map(|name| store.user(&user(name)).unwrap().generation);
    assert_eq!(generations(), [1, 3, 3]);
    let judged = Arc::new(Mutex::new(Vec::new()));
    let seen = judged.clone();
    let judge = Judge::new(move |user, before, learned| {
        let learned: Vec<u32> = learned.iter().map(|learned| learned.generation).collect();
        seen.lock().unwrap().push((user.to_string(), before, learned));
        Ok(user.as_str() != "cy")
    });
    let waits = |name: &str| store.unjudged(&user(name)).unwrap().is_some();
    // Somebody else may go on from there as long as they hold the user.
    let lease = store.lease(&user("bob")).unwrap();
    let config = EngineConfig::default().with_judge(Some(judge));
    let engine = engine(&store, config.clone());
    wait_for("the judgement", || !waits("cy"));
    assert_eq!(generations(), [1, 3, 1]);
    assert_eq!(ask(&engine, of("cy")).records, [before]);
    assert!(waits("bob"));
    store.release(&lease).unwrap();
    wait_for("the judgement", || !waits("bob"));
    assert_eq!(generations(), [1, 3, 1]);
    drop(engine);
    let mut seen = judged.lock().unwrap().clone();
    seen.sort();
    let both = [("bob".to_owned(), 1, vec![2, 3]), ("cy".to_owned(), 1, vec![2, 3])];
    assert_eq!(seen, both, "once, though bob was held; and not who has been judged");

    // Nobody is judged twice.
    judged.lock().unwrap().clear();
    let engine = common::engine(&store, config);
    ask(&engine, of("bob"));
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(*judged.lock().unwrap(), []);
}

/// Who was judged says so; what somebody else has made of it meanwhile is told as it is.
#[test]
fn what_somebody_takes_back_before_it_is_judged_is_not_told_as_kept() {
    for (to, expected) in [
        (1, AdaptationState::TakenBack { generations: vec![2] }),
        (2, AdaptationState::Learned { generations: vec![2], kept: true }),
    ] {
        let store = store();
        let of = store.clone();
        let judge = Judge::new(move |user, _, _| {
            of.rollback(user, Some(to)).unwrap();
            Ok(to == 1)
        });
        let engine = engine(&store, EngineConfig::default().with_judge(Some(judge)));
        ingest(&store, &texts("cy", 20..27));
        engine.adapt(&user("cy")).unwrap();
        assert_eq!(ended(&engine, "cy"), expected);
        assert_eq!(store.user(&user("cy")).unwrap().generation, to);
        assert_eq!((engine.stats().adaptations, engine.stats().failed_adaptations), (1, 0));
    }
}

#[test]
fn an_adaptation_is_the_work_of_whoever_asked_for_it_while_it_runs() {
    struct Work(Arc<AtomicUsize>);
    impl Drop for Work {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (open, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (of, count) = (open.clone(), begun.clone());
    let asker = Asker::new(move || {
        of.fetch_add(1, Ordering::SeqCst);
        count.fetch_add(1, Ordering::SeqCst);
        Work(of.clone())
    });
    let counted = || (open.load(Ordering::SeqCst), begun.load(Ordering::SeqCst));
    let store = store();
    let (tell, judging) = mpsc::sync_channel(0);
    let (go_on, may_go_on) = mpsc::sync_channel(0);
    let waits = Mutex::new((tell, may_go_on));
    let judge = Judge::new(move |_, _, _| {
        let (tell, may_go_on) = &*waits.lock().unwrap();
        tell.send(()).unwrap();
        may_go_on.recv().unwrap();
        Ok(true)
    });
    let policy = LearningPolicy::default()
        .with_pending(10)
        .with_idle(Duration::from_secs(3600))
        .with_every(Duration::from_millis(5));
    let config = EngineConfig::default().with_judge(Some(judge)).with_learning(Some(policy));
    let engine = engine(&store, config);
    ingest(&store, &texts("ada", 20..27));
    let lease = store.lease(&user("ada")).unwrap();
    engine.adapt_for(&user("ada"), Some(asker.clone())).unwrap();
    let latest = |name: &str| engine.adaptations(Some(&user(name))).remove(0);
    // What waits again is not counted, though it has begun.
    wait_for("the first attempt", || latest("ada").held_up.is_some() && counted().0 == 0);
    assert!(counted().1 > 0);
    // It stays the first one's.
    engine.adapt_for(&user("ada"), Some(Asker::new(|| ()))).unwrap();
    engine.adapt(&user("ada")).unwrap();
    store.release(&lease).unwrap();
    judging.recv().unwrap();
    assert_eq!(counted().0, 1);
    go_on.send(()).unwrap();
    ended(&engine, "ada");
    let before = counted().1;
    assert_eq!(counted().0, 0);
    // What the policy begins is nobody's, until somebody asks for it.
    ingest(&store, &texts("bob", 20..30));
    judging.recv().unwrap();
    assert_eq!((counted(), latest("bob").asked), ((0, before), false));
    engine.adapt_for(&user("bob"), Some(asker)).unwrap();
    assert_eq!((counted(), latest("bob").asked), ((1, before + 1), true));
    assert!(engine.asker(&user("bob")).is_some());
    go_on.send(()).unwrap();
    ended(&engine, "bob");
    assert_eq!(counted(), (0, before + 1));
    assert!(engine.asker(&user("bob")).is_none());
}

#[test]
fn what_is_learned_is_told_though_another_process_has_the_user_before_it_is_judged() {
    let store = store();
    let (asked, lease) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(None)));
    let (of, count, taken) = (store.clone(), asked.clone(), lease.clone());
    let judge = Judge::new(move |user, _, _| {
        *count.lock().unwrap() += 1;
        *taken.lock().unwrap() = Some(of.lease(user).unwrap());
        Ok(false)
    });
    let engine = engine(&store, EngineConfig::default().with_judge(Some(judge)));
    ingest(&store, &texts("cy", 20..27));
    engine.adapt(&user("cy")).unwrap();
    let learned = AdaptationState::Learned { generations: vec![2], kept: true };
    assert_eq!(ended(&engine, "cy"), learned);
    assert_eq!(store.user(&user("cy")).unwrap().generation, 2);
    store.release(&lease.lock().unwrap().take().unwrap()).unwrap();
    wait_for("the judgement", || store.user(&user("cy")).unwrap().generation == 1);
    assert_eq!((*asked.lock().unwrap(), engine.stats().failed_adaptations), (1, 0));
}

/// A state that cannot be reached as long as it is away.
struct Remote {
    of: Arc<Store>,
    away: Arc<AtomicBool>,
}

impl Remote {
    fn reached(&self) -> Outcome<&dyn Backend> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(Fault::Unreachable("it is away".into())),
            false => Ok(self.of.backend()),
        }
    }
}

impl Backend for Remote {
    fn label(&self) -> &str {
        "remote"
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Outcome<()>) -> Outcome<()> {
        self.reached()?.read(work)
    }

    fn write(
        &self,
        durability: Durability,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>,
    ) -> Outcome<()> {
        self.reached()?.write(durability, work)
    }

    fn scratch(&self, settings: &SettingsRow) -> Outcome<Box<dyn Backend>> {
        self.reached()?.scratch(settings)
    }

    fn holder(&self) -> Holder {
        self.of.backend().holder()
    }
}

/// A state that notes of whom records are read.
struct Noting {
    of: Arc<Store>,
    read: Arc<Mutex<Vec<i64>>>,
}

impl Backend for Noting {
    fn label(&self) -> &str {
        "noting"
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Outcome<()>) -> Outcome<()> {
        self.of.backend().read(&mut |rows| work(&NotingRows { rows, read: &self.read }))
    }

    fn write(
        &self,
        durability: Durability,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>,
    ) -> Outcome<()> {
        self.of.backend().write(durability, work)
    }

    fn scratch(&self, settings: &SettingsRow) -> Outcome<Box<dyn Backend>> {
        self.of.backend().scratch(settings)
    }

    fn holder(&self) -> Holder {
        self.of.backend().holder()
    }
}

struct NotingRows<'r> {
    rows: &'r dyn Rows,
    read: &'r Mutex<Vec<i64>>,
}

impl Rows for NotingRows<'_> {
    fn now(&self) -> jiff::Timestamp {
        self.rows.now()
    }

    fn settings(&self) -> Outcome<SettingsRow> {
        self.rows.settings()
    }

    fn users(&self, which: Users, after: Option<&UserId>, limit: usize) -> Outcome<Vec<UserId>> {
        self.rows.users(which, after, limit)
    }

    fn user(&self, name: &UserId) -> Outcome<Option<UserRow>> {
        self.rows.user(name)
    }

    fn extent(&self, user: i64) -> Outcome<Extent> {
        self.rows.extent(user)
    }

    fn interactions(
        &self,
        user: i64,
        which: Texts,
        visit: Visit<'_, InteractionRow>,
    ) -> Outcome<()> {
        self.rows.interactions(user, which, visit)
    }

    fn interaction(&self, user: i64, which: Text<'_>) -> Outcome<Option<InteractionRow>> {
        self.rows.interaction(user, which)
    }

    fn periods(&self, user: i64) -> Outcome<Vec<u32>> {
        self.rows.periods(user)
    }

    fn generations(&self, user: i64) -> Outcome<Vec<GenerationRow>> {
        self.rows.generations(user)
    }

    fn record(&self, user: i64, generation: u32) -> Outcome<Option<Summed<String>>> {
        self.read.lock().unwrap().push(user);
        self.rows.record(user, generation)
    }

    fn memories(&self, user: i64, generation: u32) -> Outcome<Option<MemoriesRow>> {
        self.rows.memories(user, generation)
    }

    fn answers(
        &self,
        user: i64,
        newest_first: bool,
        visit: &mut dyn FnMut(i64, Summed<String>) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<()> {
        self.rows.answers(user, newest_first, visit)
    }

    fn embedding(&self, user: i64, seq: u64, base: &str) -> Outcome<Option<Summed<Vec<u8>>>> {
        self.rows.embedding(user, seq, base)
    }

    fn lease(&self, user: i64) -> Outcome<Option<LeaseRow>> {
        self.rows.lease(user)
    }

    fn contribution(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        self.rows.contribution(user)
    }

    fn priors(&self) -> Outcome<Vec<PriorRow>> {
        self.rows.priors()
    }

    fn prior_record(&self, number: u32) -> Outcome<Option<Summed<String>>> {
        self.rows.prior_record(number)
    }

    fn prior_adapter(&self, number: u32) -> Outcome<Option<Summed<Vec<u8>>>> {
        self.rows.prior_adapter(number)
    }

    fn users_with(&self, text: &str) -> Outcome<u64> {
        self.rows.users_with(text)
    }

    fn graph(&self, user: i64) -> Outcome<Option<Summed<String>>> {
        self.rows.graph(user)
    }

    fn consent(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        self.rows.consent(user)
    }

    fn keys(&self) -> Outcome<Vec<KeyRow>> {
        self.rows.keys()
    }

    fn key(&self, hash: &[u8]) -> Outcome<Option<KeyRow>> {
        self.rows.key(hash)
    }

    fn replicas(&self, within: Duration) -> Outcome<Vec<ReplicaRow>> {
        self.rows.replicas(within)
    }
}

/// A start costs what there is to judge, however many users there are.
#[test]
fn after_a_start_only_the_records_of_who_waits_for_the_judge_are_read() {
    let store = store();
    ingest(&store, &texts("cy", 20..27));
    let plan = spring_core::PeriodPlan::default().with_to_be_judged(true);
    spring_core::adapt(&*common::model(), &store, &user("cy"), plan, &mut ()).unwrap();
    let in_use = ["ada", "bob", "cy"].map(|name| store.user(&user(name)).unwrap().generation);
    assert_eq!(in_use, [1, 1, 2]);
    let read = Arc::new(Mutex::new(Vec::new()));
    let noting = Store::new(Noting { of: store.clone(), read: read.clone() }).unwrap();
    let noting: Arc<Store> = Arc::new(noting);
    let judge = Judge::new(|_, _, _| Ok(true));
    let engine = engine(&noting, EngineConfig::default().with_judge(Some(judge)));
    wait_for("the judgement", || store.unjudged(&user("cy")).unwrap().is_none());
    drop(engine);
    let mut cy = 0;
    let find = &mut |rows: &dyn Rows| {
        cy = rows.user(&user("cy"))?.unwrap().key;
        Ok(())
    };
    store.backend().read(find).unwrap();
    // The one that waits, and the one before, which does not.
    assert_eq!(*read.lock().unwrap(), [cy, cy]);
}

#[test]
fn neither_a_damaged_user_nor_a_state_that_was_away_keeps_the_others_from_the_judge() {
    let store = store();
    ingest(&store, &texts("cy", 20..27));
    let plan = spring_core::PeriodPlan::default().with_to_be_judged(true);
    spring_core::adapt(&*common::model(), &store, &user("cy"), plan, &mut ()).unwrap();
    let damage = |rows: &mut dyn RowsMut| {
        let row = rows.user(&user("bob"))?.unwrap();
        rows.put_user(&UserRow { sum: row.sum ^ 1, ..row })
    };
    store.backend().write(Durability::Process, &mut |rows| damage(rows)).unwrap();
    assert!(store.users(None, 9).is_err());
    let away = Arc::new(AtomicBool::new(false));
    let remote = Arc::new(Store::new(Remote { of: store.clone(), away: away.clone() }).unwrap());
    away.store(true, Ordering::Relaxed);
    let remote: Arc<Store> = remote;
    let judge = Judge::new(|_, _, _| Ok(false));
    let _engine = engine(&remote, EngineConfig::default().with_judge(Some(judge)));
    std::thread::sleep(Duration::from_millis(200));
    away.store(false, Ordering::Relaxed);
    wait_for("the judgement", || store.user(&user("cy")).unwrap().generation == 1);
}

#[test]
fn what_a_judge_could_not_say_is_asked_again_after_the_next_start() {
    let store = store();
    let engine_with = |judge| {
        let config = EngineConfig::default().with_judge(Some(judge));
        engine(&store, config)
    };
    let first = engine_with(Judge::new(|_, _, _| Err("there is no room".into())));
    ingest(&store, &texts("cy", 20..27));
    first.adapt(&user("cy")).unwrap();
    let failed = AdaptationState::Failed { reason: "there is no room".into() };
    assert_eq!(ended(&first, "cy"), failed);
    assert_eq!(store.user(&user("cy")).unwrap().generation, 2);
    drop(first);
    let _second = engine_with(Judge::new(|_, before, _| Ok(before != 1)));
    wait_for("the judgement", || store.user(&user("cy")).unwrap().generation == 1);
    assert_eq!(store.unjudged(&user("cy")).unwrap(), None);
}

#[test]
fn what_was_asked_for_waits_until_another_process_lets_go_of_the_user() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    ingest(&store, &texts("ada", 20..30));
    ingest(&store, &texts("bob", 20..30));
    let lease = store.lease(&user("ada")).unwrap();
    let asked = engine.adapt(&user("ada")).unwrap();
    let latest = |name: &str| engine.adaptations(Some(&user(name))).remove(0);
    wait_for("the first attempt", || latest("ada").held_up.is_some());
    let put_off = latest("ada");
    assert_eq!((put_off.state, put_off.asked), (AdaptationState::Waiting, true));
    // It is in nobody's way, and is the one that whoever asks again is told of.
    engine.adapt(&user("bob")).unwrap();
    let learned = AdaptationState::Learned { generations: vec![2], kept: true };
    assert_eq!(ended(&engine, "bob"), learned);
    assert_eq!(engine.adapt(&user("ada")).unwrap().id, asked.id);
    store.release(&lease).unwrap();
    assert_eq!(ended(&engine, "ada"), learned);
    assert_eq!((latest("ada").id, latest("ada").held_up), (asked.id, None));
    assert_eq!(engine.stats().failed_adaptations, 0);

    // It goes with the user, and with the engine.
    ingest(&store, &texts("ada", 30..40));
    let _lease = store.lease(&user("ada")).unwrap();
    engine.adapt(&user("ada")).unwrap();
    wait_for("the attempt", || latest("ada").held_up.is_some());
    engine.forget(&user("ada"));
    assert_eq!(engine.adaptations(Some(&user("ada"))), []);
    engine.adapt(&user("ada")).unwrap();
    engine.drain(Duration::from_secs(10));
}

#[test]
fn an_adaptation_ends_with_the_engine_and_with_its_user_and_leaves_nothing_half_done() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    ingest(&store, &texts("ada", 20..60));
    engine.adapt(&user("ada")).unwrap();
    let is_running = |engine: &Engine| {
        let all = engine.adaptations(Some(&user("ada")));
        all.first().is_some_and(|a| !matches!(a.state, AdaptationState::Waiting))
    };
    wait_for("its begin", || is_running(&engine));
    engine.drain(Duration::from_secs(10));
    let state = engine.adaptations(Some(&user("ada"))).remove(0).state;
    // It may have been quick.
    let stopped = state == AdaptationState::Stopped;
    assert!(stopped || matches!(state, AdaptationState::Learned { .. }), "{state:?}");
    assert_eq!(store.user(&user("ada")).unwrap().generation, if stopped { 1 } else { 2 });

    let engine = common::engine(&store, EngineConfig::default());
    engine.adapt(&user("ada")).unwrap();
    store.forget(&user("ada")).unwrap();
    engine.forget(&user("ada"));
    assert_eq!(engine.adaptations(Some(&user("ada"))), []);
    assert!(store.user(&user("ada")).is_err());
    assert!(engine.adapt(&user("ada")).is_err());
}

/// What a person wants now does not wait for the end of a scoring either.
#[test]
fn an_adaptation_is_stopped_in_the_middle_of_scoring() {
    let (store, model) = (store(), Slow::new(common::model()));
    let engine = Engine::start(model.clone(), store.clone(), EngineConfig::default()).unwrap();
    ingest(&store, &texts("ada", 20..40));
    engine.adapt(&user("ada")).unwrap();
    let passes = || model.passes.load(Ordering::SeqCst);
    wait_for("the scoring", || passes() > 3);
    let stopped = engine.stop_adapting(&user("ada")).unwrap();
    assert!(matches!(stopped.state, AdaptationState::Running { .. }), "{stopped:?}");
    assert_eq!(ended(&engine, "ada"), AdaptationState::Stopped);
    assert!(passes() < slow::PASSES, "{}", passes());
    assert_eq!(store.user(&user("ada")).unwrap().generation, 1);

    // Nor do forgetting and the engine's end.
    let before = passes();
    engine.adapt(&user("ada")).unwrap();
    wait_for("the scoring", || passes() > before + 3);
    engine.forget(&user("ada"));
    engine.adapt(&user("ada")).unwrap();
    let before = passes();
    wait_for("the scoring", || passes() > before + 3);
    engine.drain(Duration::ZERO);
    assert_eq!(ended(&engine, "ada"), AdaptationState::Stopped);
    assert!(passes() < slow::PASSES, "{}", passes());
}

#[test]
fn a_judge_is_stopped_in_the_middle_of_its_scoring_and_asked_again() {
    let store = store();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let judge = Judge::with_model(move |model, user, before, _| {
        assert_eq!((user.as_str(), before), ("cy", 1));
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            return Ok(false);
        }
        let sequence = Sequence { context: vec![1], response: vec![40, 2] };
        // Far more than there is time for.
        for _ in 0..slow::PASSES {
            model.score(&[(&sequence, None)]).map_err(|error| error.to_string())?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    });
    let engine = engine(&store, EngineConfig::default().with_judge(Some(judge)));
    ingest(&store, &texts("cy", 20..27));
    engine.adapt(&user("cy")).unwrap();
    wait_for("the judge", || asked.load(Ordering::SeqCst) == 1);
    let stopped = engine.stop_adapting(&user("cy")).unwrap();
    assert!(matches!(stopped.state, AdaptationState::Running { .. }), "{stopped:?}");
    assert_eq!(ended(&engine, "cy"), AdaptationState::Stopped);
    // It was committed, and goes once the judge has said so.
    wait_for("the judgement", || store.user(&user("cy")).unwrap().generation == 1);
    assert_eq!((asked.load(Ordering::SeqCst), engine.stats().failed_adaptations), (2, 0));
}

#[test]
fn answers_that_are_written_while_somebody_is_adapted_are_the_same() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    let expected = ask(&engine, of("bob"));
    ingest(&store, &texts("ada", 20..60));
    engine.adapt(&user("ada")).unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&engine, of("bob")), expected);
    }
    ended(&engine, "ada");
}

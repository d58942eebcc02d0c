//! The thread that learns while answers are written.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use spring_core::{
    Error, Event, LanguageModel, PeriodPlan, Store, UserVersion, adapt, spring_memory::UserId,
    spring_store::Error as StoreError,
};

use crate::{
    Judge, LearningPolicy,
    patient::{Patience, Patient},
    people::People,
    shared::Shared,
};

/// One adaptation of one user.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Adaptation {
    /// Its number since the engine started, from 1.
    pub id: u64,
    /// The user.
    pub user: UserId,
    /// Whether somebody asked for it; else it is the policy's.
    pub asked: bool,
    /// When it was asked for.
    pub queued: Timestamp,
    /// When it began.
    pub began: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it stands.
    pub state: AdaptationState,
    /// Why it waits again though it has begun before: what was in its way then.
    pub held_up: Option<String>,
}

/// How an adaptation stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum AdaptationState {
    /// Others come first.
    Waiting,
    /// It is being made.
    Running {
        /// Periods that are learned.
        learned: u32,
        /// The period that is being learned; 0 before the first.
        period: u32,
        /// Steps of its training that are done.
        done: usize,
        /// Steps in all; 0 before the training.
        steps: usize,
    },
    /// It is made.
    Learned {
        /// The new generations, none if there was nothing new.
        generations: Vec<u32>,
        /// Whether they stayed in use, or are in use until that can be said, as while another
        /// process has the user.
        kept: bool,
    },
    /// It is made, and not in use: somebody else has gone back from it meanwhile.
    TakenBack {
        /// The new generations.
        generations: Vec<u32>,
    },
    /// It failed; what was committed before stays.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was stopped; what was committed before stays.
    Stopped,
}

impl AdaptationState {
    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Running { .. })
    }
}

/// Whose work an adaptation is that was asked for: for whoever counts what is done for whom.
#[derive(Clone)]
pub struct Asker(Arc<Begin>);

type Begin = dyn Fn() -> Box<dyn Send> + Send + Sync;

impl Asker {
    /// `begin` is called when the adaptation begins; what it gives is dropped when that ends. One
    /// that is put off begins anew later, and one that only waits is no work yet.
    pub fn new<W: Send + 'static>(begin: impl Fn() -> W + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Box::new(begin())))
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker(…)")
    }
}

/// Ended adaptations that are remembered.
const REMEMBERED: usize = 1000;

/// After how long an adaptation that somebody asked for is tried again, if another process has the
/// user; then after twice as long, and so on.
const SOON: Duration = Duration::from_secs(1);
/// After how long at most.
const LATE: Duration = Duration::from_secs(30);
/// For how long: twice as long as a lease outlives a holder who has gone without a word.
const PATIENCE: Duration = Duration::from_secs(40 * 60);

/// When an adaptation that was put off is tried again.
struct Retry {
    at: Instant,
    wait: Duration,
    until: Instant,
}

/// All adaptations that wait, run, or ended lately.
#[derive(Default)]
pub(crate) struct Board {
    state: Mutex<BoardState>,
    /// Told when something changes.
    changed: Condvar,
}

#[derive(Default)]
struct BoardState {
    all: VecDeque<Adaptation>,
    last: u64,
    /// The one that is to stop.
    stop: Option<u64>,
    /// Those that were put off, by their numbers.
    retries: HashMap<u64, Retry>,
    /// What those that are not over have committed, by their numbers: one that is tried again may
    /// have come halfway before.
    committed: HashMap<u64, Vec<u32>>,
    /// Whose work those are that are not over, by their numbers.
    askers: HashMap<u64, Asker>,
    /// The work of the one that runs, for whoever asked for it.
    work: Option<(u64, Box<dyn Send>)>,
    is_ending: bool,
}

impl BoardState {
    /// The one that is next, and how long there is none if all were put off.
    fn next(&self, now: Instant) -> (Option<usize>, Option<Duration>) {
        let wait = |a: &Adaptation| match self.retries.get(&a.id) {
            Some(retry) => retry.at.saturating_duration_since(now),
            None => Duration::ZERO,
        };
        let waiting = || {
            let all = self.all.iter().enumerate();
            all.filter(|(_, a)| a.state == AdaptationState::Waiting)
        };
        // What somebody asked for comes first.
        let ready = || waiting().filter(|(_, a)| wait(a).is_zero());
        let next = ready().find(|(_, a)| a.asked).or_else(|| ready().next());
        (next.map(|(at, _)| at), waiting().map(|(_, a)| wait(a)).min())
    }

    /// Counts one that runs as the work of whoever asked for it, if anybody did.
    fn begin(&mut self, id: u64) {
        if self.work.as_ref().is_none_or(|(of, _)| *of != id) {
            self.work = self.askers.get(&id).map(|asker| (id, (asker.0)()));
        }
    }

    /// One of them does not run any more.
    fn end(&mut self, id: u64) {
        self.work.take_if(|(of, _)| *of == id);
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an adaptation; one that waits or runs already is that one.
    pub(crate) fn ask(&self, user: &UserId, asked: bool, asker: Option<Asker>) -> Adaptation {
        let mut state = self.lock();
        let open = |a: &&mut Adaptation| a.user == *user && !a.state.is_over();
        if let Some(open) = state.all.iter_mut().find(open) {
            open.asked |= asked;
            let open = open.clone();
            if let Some(asker) = asker {
                // Whoever asked first.
                state.askers.entry(open.id).or_insert(asker);
                if open.state != AdaptationState::Waiting {
                    state.begin(open.id);
                }
            }
            return open;
        }
        state.last += 1;
        let last = state.last;
        state.askers.extend(asker.map(|asker| (last, asker)));
        let new = Adaptation {
            id: state.last,
            user: user.clone(),
            asked,
            queued: Timestamp::now(),
            began: None,
            ended: None,
            state: AdaptationState::Waiting,
            held_up: None,
        };
        state.all.push_back(new.clone());
        if state.all.len() > REMEMBERED
            && let Some(oldest) = state.all.iter().position(|a| a.state.is_over())
        {
            state.all.remove(oldest);
        }
        self.changed.notify_all();
        new
    }

    /// The adaptations, latest first.
    pub(crate) fn list(&self, user: Option<&UserId>) -> Vec<Adaptation> {
        let state = self.lock();
        let of_user = |a: &&Adaptation| user.is_none_or(|user| a.user == *user);
        state.all.iter().rev().filter(of_user).cloned().collect()
    }

    /// Lets an adaptation that somebody asked for wait, to be tried again later; says whether it
    /// does: not if it is to stop, or has been tried for too long.
    fn put_off(&self, id: u64, reason: &str) -> bool {
        let mut state = self.lock();
        let state = &mut *state;
        let own = state.all.iter_mut().find(|a| a.id == id && a.asked);
        let Some(own) = own.filter(|_| !state.is_ending && state.stop != Some(id)) else {
            return false;
        };
        let now = Instant::now();
        let new = || Retry { at: now, wait: SOON, until: now + PATIENCE };
        let retry = state.retries.entry(id).or_insert_with(new);
        if retry.at >= retry.until {
            return false;
        }
        retry.at = now + retry.wait;
        retry.wait = LATE.min(2 * retry.wait);
        own.state = AdaptationState::Waiting;
        own.held_up = Some(reason.into());
        state.end(id);
        self.changed.notify_all();
        true
    }

    /// Takes a user's adaptations away: one that runs is stopped, and it is waited for that.
    pub(crate) fn forget(&self, user: &UserId) {
        let mut state = self.lock();
        loop {
            state
                .all
                .retain(|a| a.user != *user || matches!(a.state, AdaptationState::Running { .. }));
            let BoardState { all, retries, committed, askers, .. } = &mut *state;
            retries.retain(|id, _| all.iter().any(|a| a.id == *id));
            committed.retain(|id, _| all.iter().any(|a| a.id == *id));
            askers.retain(|id, _| all.iter().any(|a| a.id == *id));
            let Some(running) = state.all.iter().find(|a| a.user == *user).map(|a| a.id) else {
                return;
            };
            state.stop = Some(running);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whose work a user's adaptation is that waits or runs.
    pub(crate) fn asker(&self, user: &UserId) -> Option<Asker> {
        let state = self.lock();
        let open = state.all.iter().find(|a| a.user == *user && !a.state.is_over())?;
        state.askers.get(&open.id).cloned()
    }

    /// Stops a user's adaptation if one runs, waits for that, and gives it as it was.
    pub(crate) fn stop(&self, user: &UserId) -> Option<Adaptation> {
        let mut state = self.lock();
        let runs =
            |a: &&Adaptation| a.user == *user && matches!(a.state, AdaptationState::Running { .. });
        let running = state.all.iter().find(runs).cloned()?;
        state.stop = Some(running.id);
        while state.all.iter().any(|a| a.id == running.id && !a.state.is_over()) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(running)
    }

    /// From now on nothing is begun, and what runs stops at its next step.
    pub(crate) fn end(&self) {
        self.lock().is_ending = true;
        self.changed.notify_all();
    }

    fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// Changes one of them.
    fn set(&self, id: u64, change: impl FnOnce(&mut Adaptation)) {
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(own) = state.all.iter_mut().find(|a| a.id == id) {
            change(own);
            if own.state.is_over() {
                state.retries.remove(&id);
                state.committed.remove(&id);
                state.askers.remove(&id);
                state.end(id);
            }
        }
        self.changed.notify_all();
    }

    fn note(&self, id: u64, generation: u32) {
        self.lock().committed.entry(id).or_default().push(generation);
    }

    /// The generations that an adaptation has committed so far.
    fn committed(&self, id: u64) -> Vec<u32> {
        self.lock().committed.get(&id).cloned().unwrap_or_default()
    }

    fn is_to_stop(&self, id: u64) -> bool {
        let state = self.lock();
        state.is_ending || state.stop == Some(id)
    }

    /// Takes the next one that waits, or waits for one, but no longer than this.
    fn next(&self, most: Duration) -> Option<Adaptation> {
        let until = Instant::now() + most;
        let mut state = self.lock();
        loop {
            if state.is_ending {
                return None;
            }
            let now = Instant::now();
            let (next, wait) = state.next(now);
            if let Some(next) = next.and_then(|at| state.all.get_mut(at)) {
                next.began = Some(Timestamp::now());
                next.state = AdaptationState::Running { learned: 0, period: 0, done: 0, steps: 0 };
                next.held_up = None;
                let next = next.clone();
                state.begin(next.id);
                return Some(next);
            }
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return None;
            }
            let left = wait.map_or(left, |wait| wait.min(left));
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// When it is tried again what another one's work on a user, or the database, is in the way of;
/// then after twice as long, and so on.
const AGAIN: Duration = Duration::from_secs(5);
/// After how long at most.
const SELDOM: Duration = Duration::from_secs(5 * 60);

/// Users that are looked at in one go.
const PAGE: usize = 256;

/// The most users whose last attempt is remembered.
const TRIED: usize = 10_000;

/// Learns, one user after the other.
pub(crate) struct Learner {
    pub(crate) model: Arc<dyn LanguageModel>,
    pub(crate) store: Arc<Store>,
    pub(crate) people: Arc<People>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) board: Arc<Board>,
    pub(crate) policy: Option<LearningPolicy>,
    pub(crate) judge: Option<Judge>,
}

impl Learner {
    /// Works until the board says that it is to end.
    pub(crate) fn run(self) {
        step_back();
        let every = self.policy.map_or(Duration::from_secs(3600), |policy| policy.every);
        let mut due = Due::default();
        let mut left = Left::new(self.judge.is_some());
        while !self.board.is_ending() {
            let most = left.wait().map_or(every, |wait| wait.min(every));
            if let Some(next) = self.board.next(most) {
                match self.adapt(&next, &mut left) {
                    true => due.note(&self, &next.user),
                    false => due.forget(&next.user),
                }
                continue;
            }
            if left.wait() == Some(Duration::ZERO) {
                left.judge_some(&self);
                continue;
            }
            if let Some(policy) = self.policy {
                due.look(&self, policy);
            }
        }
    }

    /// Adapts a user; false if somebody else has the user, such as who forgets a text.
    fn adapt(&self, adaptation: &Adaptation, left: &mut Left) -> bool {
        let Adaptation { id, user, .. } = adaptation;
        let mut is_free = true;
        // A bug in one person's adaptation ends neither the others' nor the wait for this one.
        let state = match catch_unwind(AssertUnwindSafe(|| self.learn(*id, user, left))) {
            Ok(Ok(state)) => state,
            Ok(Err(error)) if error.is_stopped() => AdaptationState::Stopped,
            Ok(Err(error)) => {
                is_free = !matches!(error, Error::Store(StoreError::Leased { .. }));
                let is_others = matches!(
                    error,
                    Error::Store(StoreError::Leased { .. } | StoreError::Conflict { .. })
                );
                let held_up = "another process has this user; it is tried again until that is over";
                if is_others && self.board.put_off(*id, held_up) {
                    tracing::info!("user {user}: not adapted yet: {error}");
                    return is_free;
                }
                AdaptationState::Failed { reason: error.to_string() }
            }
            Err(_) => AdaptationState::Failed {
                reason: "an internal error, which is a bug; the log says more".into(),
            },
        };
        self.renew(user);
        {
            let mut counted = self.shared.counters.lock();
            match &state {
                AdaptationState::Failed { reason } => {
                    tracing::warn!("user {user}: not adapted: {reason}");
                    counted.stats.failed_adaptations += 1;
                }
                AdaptationState::Learned { generations, .. }
                | AdaptationState::TakenBack { generations }
                    if !generations.is_empty() =>
                {
                    counted.stats.adaptations += 1;
                }
                _ => {}
            }
        }
        self.board.set(*id, |own| {
            own.state = state;
            own.ended = Some(Timestamp::now());
        });
        is_free
    }

    /// Whoever is answered next is answered by what is in use now.
    fn renew(&self, user: &UserId) {
        self.people.refresh(user);
        self.shared.inbox().renewed.push(user.clone());
    }

    fn learn(
        &self,
        id: u64,
        user: &UserId,
        left: &mut Left,
    ) -> spring_core::Result<AdaptationState> {
        let is_to_stop = || self.board.is_to_stop(id);
        let patience = Patience::new(&self.shared.activity, &is_to_stop);
        let patient = Patient { model: &*self.model, patience: &patience };
        let model = patient.parts();
        let mut follow = |event: Event<'_>| {
            self.note(id, event);
            patience.pause()
        };
        let plan = PeriodPlan::default().with_to_be_judged(self.judge.is_some());
        let learned = adapt(&model, &self.store, user, plan, &mut follow);
        // Until it is said, it waits for it.
        left.add(user);
        learned?;
        let generations = self.board.committed(id);
        let mut said = left.said(user);
        let judged = match self.judge(user, &mut said, &patient) {
            // It is committed and in use; what is in the way of saying more passes.
            Err(error) if passes(&error) => {
                tracing::info!("user {user}: what was learned is judged later: {error}");
                left.put_back(user, said);
                return Ok(AdaptationState::Learned { generations, kept: true });
            }
            judged => judged?,
        };
        left.remove(user);
        Ok(match judged {
            Ok(Judged::Goes) => AdaptationState::Learned { generations, kept: false },
            Ok(Judged::ByOthers) if !self.is_in_use(user, &generations)? => {
                AdaptationState::TakenBack { generations }
            }
            Ok(Judged::Stays | Judged::ByOthers) => {
                AdaptationState::Learned { generations, kept: true }
            }
            Err(reason) => AdaptationState::Failed { reason },
        })
    }

    /// Whether a user is answered by the last of some generations, or by one that came from it.
    fn is_in_use(&self, user: &UserId, generations: &[u32]) -> spring_core::Result<bool> {
        let Some(last) = generations.last() else { return Ok(true) };
        match self.store.generations(user).map_err(Error::from) {
            Ok(all) => Ok(all.iter().any(|of| of.number == *last && of.on_path)),
            // It was committed, and that is all that can be said now.
            Err(error) if passes(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Says of what a user has learned and nobody has judged whether it stays, and gives that. Or
    /// why the judge cannot say it. What the judge has `said` outlasts a write that fails: judging
    /// takes long, and is not done twice for that.
    fn judge(
        &self,
        user: &UserId,
        said: &mut Option<Said>,
        patient: &Patient<'_>,
    ) -> spring_core::Result<Result<Judged, String>> {
        let Some(judge) = &self.judge else { return Ok(Ok(Judged::ByOthers)) };
        loop {
            let Some(unjudged) = self.store.unjudged(user)? else {
                return Ok(Ok(Judged::ByOthers));
            };
            let stays = match said {
                Some(said) if said.of == unjudged.version => said.stays,
                _ => {
                    match judge.keeps(&patient.parts(), user, unjudged.before, &unjudged.learned) {
                        Ok(stays) => {
                            *said = Some(Said { of: unjudged.version.clone(), stays });
                            stays
                        }
                        // What it could not say for that reason is no failure.
                        Err(_) if patient.patience.is_stopped() => {
                            return Err(spring_core::spring_lm::ModelError::Stopped.into());
                        }
                        Err(reason) => return Ok(Err(reason)),
                    }
                }
            };
            // Somebody may have forgotten a text of it meanwhile.
            if self.store.judge(&unjudged, stays)? {
                return Ok(Ok(if stays { Judged::Stays } else { Judged::Goes }));
            }
            if self.board.is_ending() {
                return Ok(Ok(Judged::ByOthers));
            }
        }
    }

    /// Notes how far an adaptation is.
    fn note(&self, id: u64, event: Event<'_>) {
        match event {
            Event::Period { period, .. } => self.board.set(id, |own| {
                if let AdaptationState::Running { learned, period: last, .. } = own.state {
                    let learned = learned + u32::from(last > 0);
                    own.state = AdaptationState::Running { learned, period, done: 0, steps: 0 };
                }
            }),
            Event::Training { done, steps, .. } => self.board.set(id, |own| {
                if let AdaptationState::Running { learned, period, .. } = own.state {
                    own.state = AdaptationState::Running { learned, period, done, steps };
                }
            }),
            Event::Committed { generation, .. } => self.board.note(id, generation),
            _ => {}
        }
    }
}

/// Lets answers have the processor before this thread and those that it starts: on Linux, where a
/// priority is a thread's own.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(19) {
        tracing::debug!("the learner keeps its priority: {error}");
    }
}

/// What became of what a user has learned.
enum Judged {
    /// It stays in use.
    Stays,
    /// The generation before is in use again.
    Goes,
    /// There was nothing to be said: others have judged or chosen meanwhile, or there is no judge.
    ByOthers,
}

/// What the judge said of a state of a user.
struct Said {
    of: UserVersion,
    stays: bool,
}

/// Whether what stopped a judgement passes: somebody else is at work on the user, or the database
/// is away for a while.
fn passes(error: &Error) -> bool {
    error.is_passing() || matches!(error, Error::Store(StoreError::Leased { .. }))
}

/// When something is tried, and how long it waits if that fails.
struct Turn {
    at: Instant,
    wait: Duration,
}

impl Turn {
    fn now() -> Self {
        Self { at: Instant::now(), wait: AGAIN }
    }

    /// Waits, and longer each time.
    fn later(&mut self) {
        self.at = Instant::now() + self.wait;
        self.wait = SELDOM.min(2 * self.wait);
    }
}

/// A user who waits for the judge.
struct Waiting {
    turn: Turn,
    /// What only has to be written.
    said: Option<Said>,
}

/// A search for all users who wait for the judge.
struct Search {
    /// The last of them who was found.
    last: Option<UserId>,
    turn: Turn,
}

/// Users with generations that are to be judged and may not have been: those of before the start,
/// whose judge ended too soon, and those whose adaptation did not come to its end.
struct Left {
    /// Where it is still to be looked for all of them.
    all: Option<Search>,
    users: HashMap<UserId, Waiting>,
    has_judge: bool,
}

impl Left {
    fn new(has_judge: bool) -> Self {
        let search = || Search { last: None, turn: Turn::now() };
        Self { all: has_judge.then(search), users: HashMap::new(), has_judge }
    }

    /// How long there is nothing to do; `None` where nothing is left.
    fn wait(&self) -> Option<Duration> {
        let turns = self.users.values().map(|waiting| waiting.turn.at);
        let next = turns.chain(self.all.as_ref().map(|search| search.turn.at)).min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// Lets a user wait for the judge; who waits already keeps the place.
    fn add(&mut self, user: &UserId) {
        if self.has_judge {
            let new = || Waiting { turn: Turn::now(), said: None };
            self.users.entry(user.clone()).or_insert_with(new);
        }
    }

    /// What was said of a user and is to be written.
    fn said(&mut self, user: &UserId) -> Option<Said> {
        self.users.get_mut(user).and_then(|waiting| waiting.said.take())
    }

    /// Lets a user wait longer, with what was said of the user.
    fn put_back(&mut self, user: &UserId, said: Option<Said>) {
        self.add(user);
        if let Some(waiting) = self.users.get_mut(user) {
            waiting.turn.later();
            waiting.said = said;
        }
    }

    fn remove(&mut self, user: &UserId) {
        self.users.remove(user);
    }

    /// Judges one of the users who are known, or looks for more.
    fn judge_some(&mut self, learner: &Learner) {
        let now = Instant::now();
        let next = self.users.iter().find(|(_, waiting)| waiting.turn.at <= now);
        if let Some(user) = next.map(|(user, _)| user.clone()) {
            return self.judge_one(learner, &user);
        }
        if let Some(search) = self.all.take_if(|search| search.turn.at <= now) {
            self.all = self.look(learner, search);
        }
    }

    /// Looks for the next users who wait, and gives how it goes on.
    fn look(&mut self, learner: &Learner, mut search: Search) -> Option<Search> {
        let page = match learner.store.users_with_something_unjudged(search.last.as_ref(), PAGE) {
            Ok(page) => page,
            Err(error) if error.is_passing() => {
                tracing::warn!("whose newest generation nobody has judged is read later: {error}");
                search.turn.later();
                return Some(search);
            }
            Err(error) => {
                tracing::warn!(
                    "whose newest generation nobody has judged cannot be read, so it stays until \
                     the next start: {error}"
                );
                return None;
            }
        };
        page.iter().for_each(|user| self.add(user));
        let is_full = page.len() == PAGE;
        search = Search { last: page.into_iter().next_back(), turn: Turn::now() };
        is_full.then_some(search)
    }

    fn judge_one(&mut self, learner: &Learner, user: &UserId) {
        let mut said = self.said(user);
        let is_to_stop = || learner.board.is_ending();
        let patience = Patience::new(&learner.shared.activity, &is_to_stop);
        let patient = Patient { model: &*learner.model, patience: &patience };
        let judged = catch_unwind(AssertUnwindSafe(|| learner.judge(user, &mut said, &patient)));
        if let Ok(Err(error)) = &judged
            && (passes(error) || error.is_stopped())
        {
            tracing::debug!("user {user}: what was learned last is judged later: {error}");
            return self.put_back(user, said);
        }
        self.users.remove(user);
        match judged {
            Ok(Ok(Ok(Judged::Stays | Judged::ByOthers))) => return,
            Ok(Ok(Ok(Judged::Goes))) => tracing::info!(
                "user {user}: what was learned last and not judged then does not stay; the \
                 generation before is in use again"
            ),
            // Who was removed meanwhile has nothing to judge.
            Ok(Err(Error::Store(StoreError::UnknownUser { .. }))) => return,
            Ok(Err(error)) => {
                tracing::warn!("user {user}: what was learned last is not judged: {error}");
            }
            Ok(Ok(Err(reason))) => {
                tracing::warn!("user {user}: what was learned last is not judged: {reason}");
            }
            Err(_) => tracing::warn!("user {user}: the judge ended with a bug"),
        }
        learner.renew(user);
    }
}

/// Looks for users with new texts.
#[derive(Default)]
struct Due {
    last: Option<UserId>,
    /// What there was left to learn, and the generation, after a user's last turn: what failed, or
    /// was not kept, is not tried again before something changes.
    tried: HashMap<UserId, (u64, u32)>,
}

impl Due {
    /// Remembers what is left of a user whose turn it was.
    fn note(&mut self, learner: &Learner, user: &UserId) {
        if self.tried.len() >= TRIED {
            self.tried.clear();
        }
        match learner.store.user(user) {
            Ok(left) => drop(self.tried.insert(user.clone(), (left.pending, left.generation))),
            Err(_) => drop(self.tried.remove(user)),
        }
    }

    /// Lets a user be looked at again.
    fn forget(&mut self, user: &UserId) {
        self.tried.remove(user);
    }

    fn look(&mut self, learner: &Learner, policy: LearningPolicy) {
        let store = &learner.store;
        let is_idle = learner.shared.activity.idle_for() >= policy.idle;
        let page = match store.users_with_something_new(self.last.as_ref(), PAGE) {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!("who has new texts cannot be read: {error}");
                return;
            }
        };
        self.last = if page.len() == PAGE { page.last().cloned() } else { None };
        for user in page {
            // A user who is removed meanwhile is none to learn.
            let Ok(summary) = store.user(&user) else { continue };
            let (pending, generation) = (summary.pending, summary.generation);
            if self.tried.get(&user) == Some(&(pending, generation)) {
                continue;
            }
            if pending >= policy.pending || is_idle {
                learner.board.ask(&user, false, None);
            }
        }
    }
}

//! `adapt`: closes periods over a user's new texts and learns them, one transaction each.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    thread,
};

use jiff::{SignedDuration, Timestamp};
use spring_memory::UserId;

use crate::{
    Config, EmbeddingMap, Error, LanguageModel, Lease, Member, PeriodCommit, PeriodInput, PlannedPeriod,
    Result, Settings, Store, StoredInteraction, embedding, learn_period,
    memories::remember,
    novelties,
    progress::{Event, Progress, tell},
    record::LearnedPeriod,
};

/// How pending texts are cut into periods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Periods {
    /// Number of periods of equal count. Default 1.
    pub count: u32,
    /// Part of each period, its latest texts, that is set aside for evaluation. Default 0.
    pub hold_out: f64,
}

impl Default for Periods {
    fn default() -> Self {
        Self { count: 1, hold_out: 0.0 }
    }
}

/// Refuses a model that a state was not made for.
///
/// # Errors
///
/// [`Error::OtherBase`] if base or tokenizer are others.
pub fn check_base(model: &dyn LanguageModel, store: &Store) -> Result<()> {
    check_fingerprint(model, store.settings(), store.backend().label())
}

pub(crate) fn check_fingerprint(model: &dyn LanguageModel, settings: &Settings, state: &str) -> Result<()> {
    let found = &model.info().fingerprint;
    if *found == settings.fingerprint {
        return Ok(());
    }
    let (model, expected) = (settings.model.clone(), settings.fingerprint.clone());
    Err(Error::OtherBase { state: state.into(), model, expected, found: found.clone() })
}

/// Learns everything that a user has written since the last period.
///
/// Periods that an earlier, interrupted run had stored come first, as they were cut then. Training happens under a
/// [`Lease`] outside any transaction; each period is committed on its own. Returns the records of the periods learned;
/// none if there was nothing new.
///
/// # Errors
///
/// [`Error::OtherBase`] for a model that the state was not made for,
/// [`Leased`](spring_store::Error::Leased) while somebody else trains this user, or what stops a period; those committed before stay, and the state is that after the last of them.
pub fn adapt(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    periods: Periods,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    check_base(model, store)?;
    store.with_lease(user, |lease| {
        adapt_leased(model, store, lease, periods, progress).map_err(|error| error.of_user(user))
    })
}

fn adapt_leased(
    model: &dyn LanguageModel,
    store: &Store,
    lease: &mut Lease,
    periods: Periods,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    let user = lease.user.clone();
    let learned = store.period_records(&user, None)?;
    let mut earlier: Vec<f64> = learned.iter().flat_map(|period| novelties(&period.record)).collect();
    let mut records = Vec::new();
    for period in store.unlearned_periods(&user)? {
        let stored = PlannedPeriod { number: period, members: store.members(&user, period)? };
        records.push(learn_one(
            model,
            store,
            lease,
            stored.number,
            &stored.members,
            vec![],
            &mut earlier,
            progress,
        )?);
    }
    // They become part of the state with the first of them that is learned.
    let planned = store.plan_periods(&user, periods.count, periods.hold_out)?;
    let mut cut = planned.clone();
    for PlannedPeriod { number, members } in planned {
        let cut = std::mem::take(&mut cut);
        records.push(learn_one(model, store, lease, number, &members, cut, &mut earlier, progress)?);
    }
    Ok(records)
}

#[allow(clippy::too_many_arguments)]
fn learn_one(
    model: &dyn LanguageModel,
    store: &Store,
    lease: &mut Lease,
    period: u32,
    members: &[Member],
    cut: Vec<PlannedPeriod>,
    earlier: &mut Vec<f64>,
    progress: &mut dyn Progress,
) -> Result<LearnedPeriod> {
    let user = lease.user.clone();
    let config = store.settings().config.clone();
    let snapshot = store.recall(&user, None)?;
    let version = snapshot.version.clone();
    let (memories, bank) = remember(model, store.settings(), snapshot)?;
    let texts: Vec<StoredInteraction> =
        members.iter().filter(|member| !member.held_out).map(|member| member.stored.clone()).collect();
    let embeddings = known_embeddings(store, &user, &config, &[bank.texts(), &texts])?;
    let input = PeriodInput {
        user: &user,
        period,
        texts: &texts,
        held_out: members.len() - texts.len(),
        buffered: bank.texts(),
        memories: &memories,
        earlier,
        embeddings: &embeddings,
    };
    let mut renewing = Renewing { store, lease, inner: progress, lost: None };
    let outcome = match (learn_period(model, &config, input, &mut renewing), renewing.lost) {
        (_, Some(lost)) => return Err(lost),
        (outcome, None) => outcome?,
    };
    let adapter = match &outcome.memories.adapter {
        Some(adapter) => adapter.to_bytes()?,
        None => Vec::new(),
    };
    let commit = PeriodCommit {
        cut,
        adapter,
        buffer: outcome.memories.buffer,
        calibration: outcome.memories.calibration,
        base: outcome.base,
        record: outcome.record,
    };
    let generation = patiently(patience(lease), progress, || Ok(store.commit(lease, &version, &commit)?))?;
    if !outcome.embeddings.is_empty() {
        embedding::keep(store, &version, &outcome.embeddings);
    }
    earlier.extend(novelties(&commit.record));
    // Committed is committed: a request to stop takes effect before the next period.
    tell(progress, Event::Committed { user: &user, period, generation })?;
    Ok(LearnedPeriod { generation, record: commit.record })
}

/// How long it is tried at least to write what was trained.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Until when it is tried to write what was trained. A lease is renewed in the background too, so it may last longer than
/// is known here; if it has ended after all, the write itself is refused.
pub(crate) fn patience(lease: &Lease) -> Timestamp {
    lease.expires.max(Timestamp::now() + PATIENCE)
}

/// Writes what was trained, as often as it takes while another process keeps the state busy: what took long to make is not
/// thrown away for that. It gives up at a point in time, or when it is asked to stop.
pub(crate) fn patiently<T>(
    until: Timestamp,
    progress: &mut dyn Progress,
    mut write: impl FnMut() -> Result<T>,
) -> Result<T> {
    loop {
        match write() {
            Err(Error::Store(spring_store::Error::Busy { .. })) if Timestamp::now() < until => {
                tell(progress, Event::Waiting)?;
            }
            done => return done,
        }
    }
}

/// The embeddings that a period can use, where the settings need any.
pub(crate) fn known_embeddings(
    store: &Store,
    user: &UserId,
    config: &Config,
    texts: &[&[StoredInteraction]],
) -> Result<EmbeddingMap> {
    if !config.needs_embeddings() {
        return Ok(EmbeddingMap::new());
    }
    let seqs: Vec<u64> = texts.iter().copied().flatten().map(|text| text.seq).collect();
    Ok(store.embeddings(user, &seqs)?)
}

/// Renews a lease as the work goes on as well, and stops the work if it was lost.
pub(crate) struct Renewing<'a> {
    pub(crate) store: &'a Store,
    pub(crate) lease: &'a mut Lease,
    pub(crate) inner: &'a mut dyn Progress,
    pub(crate) lost: Option<Error>,
}

/// A lease that ends sooner than this is renewed.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(8);

impl Progress for Renewing<'_> {
    fn on(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if self.lease.expires.duration_since(Timestamp::now()) < RENEW_BEFORE {
            match self.store.renew(self.lease) {
                Ok(()) => {}
                // Another process may be writing for long; there is time to try again.
                Err(error) if error.is_of_state() => {}
                Err(lost) => {
                    self.lost = Some(lost.into());
                    return ControlFlow::Break(());
                }
            }
        }
        self.inner.on(event)
    }
}

/// Follows the work on many users.
pub trait Follow: Sync {
    /// Follows one job, which takes one user after the other.
    fn progress(&self) -> Box<dyn Progress + '_>;

    /// Called when a user is done; `Break` keeps further users from being begun.
    fn done(&self, user: &UserId, learned: Result<Vec<LearnedPeriod>>) -> ControlFlow<()>;
}

/// Learns everything that all users have written since their last periods: `jobs` at a time, each with
/// one user.
///
/// A user's result depends neither on the number of jobs nor on the order of users. What stops one user
/// is handed to `follow` and stops no other.
///
/// # Errors
///
/// If the list of users cannot be read.
pub fn adapt_users(
    model: &dyn LanguageModel,
    store: &Store,
    jobs: usize,
    periods: Periods,
    follow: &dyn Follow,
) -> Result<()> {
    let queue = Mutex::new(Queue::default());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next(store);
    let end = || queue.lock().unwrap_or_else(PoisonError::into_inner).is_ended = true;
    let work = || -> Result<()> {
        let mut progress = follow.progress();
        while let Some(user) = next().inspect_err(|_| end())? {
            let learned = adapt(model, store, &user, periods, progress.as_mut());
            if follow.done(&user, learned).is_break() {
                end();
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let results: Vec<_> = jobs
            .into_iter()
            .map(|job| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        results.into_iter().collect()
    })
}

/// Users that wait for a job, read page by page.
#[derive(Default)]
struct Queue {
    page: VecDeque<UserId>,
    last: Option<UserId>,
    is_ended: bool,
}

impl Queue {
    /// Users read at a time: however many there are, no more are held.
    const PAGE: usize = 1000;

    fn next(&mut self, store: &Store) -> Result<Option<UserId>> {
        if self.is_ended {
            return Ok(None);
        }
        if self.page.is_empty() {
            self.page = store.users_to_adapt(self.last.as_ref(), Self::PAGE)?.into();
            self.last = self.page.back().cloned();
            self.is_ended = self.page.is_empty();
        }
        Ok(self.page.pop_front())
    }
}

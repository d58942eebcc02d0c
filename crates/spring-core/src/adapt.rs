//! `adapt`: closes periods over a user's new texts and learns them, one transaction each.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use spring_lm::{Adapter, Train};
use spring_memory::UserId;

use crate::{
    Backlog, Config, EmbeddingMap, Error, LanguageModel, Learned, Learner, Lease, Memories,
    NoveltyReference, Period, PeriodCommit, PeriodPlan, PlannedPeriod, Result, Store,
    StoredInteraction, UserModel, UserVersion, check_base, embedding,
    jobs::{Jobs, side_by_side},
    novelties,
    progress::{Event, Progress, tell},
    record::{LearnedPeriod, PeriodRecord},
    together::{Table, in_batches},
};

/// Learns everything that a user has written since the last period.
///
/// Periods that an earlier, interrupted run had stored come first, as they were cut then. Training
/// happens under a [`Lease`] outside any transaction; each period is committed on its own. Returns
/// the records of the periods learned; none if there was nothing new.
///
/// # Errors
///
/// [`Error::OtherBase`] for a model that the state was not made for,
/// [`Leased`](spring_store::Error::Leased) while somebody else trains this user,
/// [`Error::NoPopulation`] for a user who started from no prior where novelty is measured against
/// one, or what stops a period; those committed before stay, and the state is that after the last
/// of them.
pub fn adapt(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    periods: impl Into<PeriodPlan>,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    adapt_by(model, model, store, user, periods.into(), progress)
}

/// The same, with the updates trained by `trainer`.
fn adapt_by(
    model: &dyn LanguageModel,
    trainer: &dyn Train,
    store: &Store,
    user: &UserId,
    plan: PeriodPlan,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    check_base(model, store)?;
    store.with_lease(user, |lease| {
        let learned = adapt_leased((model, trainer), store, lease, plan, progress);
        learned.map_err(|error| error.of_user(user))
    })
}

/// The same under a lease that was taken already; it ends with the work.
///
/// # Errors
///
/// As [`adapt`].
pub fn adapt_held(
    model: &dyn LanguageModel,
    store: &Store,
    lease: Lease,
    periods: impl Into<PeriodPlan>,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    adapt_held_by(model, model, store, lease, periods.into(), progress)
}

/// The same, with the updates trained by `trainer`.
pub(crate) fn adapt_held_by(
    model: &dyn LanguageModel,
    trainer: &dyn Train,
    store: &Store,
    lease: Lease,
    plan: PeriodPlan,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    let user = lease.user.clone();
    check_base(model, store)?;
    store.holding(lease, |lease| {
        let learned = adapt_leased((model, trainer), store, lease, plan, progress);
        learned.map_err(|error| error.of_user(&user))
    })
}

fn adapt_leased(
    (model, trainer): (&dyn LanguageModel, &dyn Train),
    store: &Store,
    lease: &mut Lease,
    plan: PeriodPlan,
    progress: &mut dyn Progress,
) -> Result<Vec<LearnedPeriod>> {
    let user = lease.user.clone();
    let Some(backlog) = store.backlog(&user, plan)? else { return Ok(Vec::new()) };
    let Backlog { unlearned, planned, snapshot, records: learned, .. } = backlog;
    let (version, embeddings) = (snapshot.version.clone(), snapshot.embeddings.clone());
    let earlier = learned.iter().flat_map(|period| novelties(&period.record)).collect();
    // The oldest record is of what came from no generation.
    let start = match learned.first() {
        Some(first) => first.record.prior.as_deref(),
        None => snapshot.prior.as_ref().map(|prior| &*prior.id),
    };
    let population = population(store, &store.settings().config, start)?;
    let person = UserModel::of_snapshot(model, store.settings(), snapshot)?;
    let mut learner = Learner::new(user.clone(), person, earlier);
    if let Some(population) = population {
        learner = learner.with_population(population);
    }
    learner.know(embeddings);
    let to_be_judged = plan.to_be_judged;
    let mut adapting = Adapting { store, lease, learner, trainer, version, to_be_judged };
    let mut records = Vec::new();
    for number in unlearned {
        let members = adapting.store.members(&user, number)?;
        records.push(adapting.learn(&PlannedPeriod::new(number, members), vec![], progress)?);
    }
    // They become part of the state with the first of them that is learned.
    let mut cut = planned.clone();
    for period in planned {
        records.push(adapting.learn(&period, std::mem::take(&mut cut), progress)?);
    }
    Ok(records)
}

/// One user's new periods on their way into a state.
struct Adapting<'a> {
    store: &'a Store,
    lease: &'a mut Lease,
    learner: Learner<'a>,
    /// Of the updates.
    trainer: &'a dyn Train,
    /// Of what the learner holds.
    version: UserVersion,
    /// Whether the generations are marked as such.
    to_be_judged: bool,
}

impl Adapting<'_> {
    /// Learns a period and commits it, with the periods that were `cut` for it.
    fn learn(
        &mut self,
        planned: &PlannedPeriod,
        cut: Vec<PlannedPeriod>,
        progress: &mut dyn Progress,
    ) -> Result<LearnedPeriod> {
        let Self { store, lease, learner, trainer, version, to_be_judged } = self;
        let user = lease.user.clone();
        let kept = planned.members.iter().filter(|member| !member.held_out);
        let texts: Vec<StoredInteraction> = kept.map(|member| member.stored.clone()).collect();
        learner.know(known_embeddings(store, &user, learner.model().config(), &texts)?);
        let period =
            Period::new(planned.number, &texts).holding_out(planned.members.len() - texts.len());
        let mut renewing = Renewing { store, lease, inner: progress, lost: None };
        let Learned { base, embeddings, fit, record } =
            match (learner.learn_by(*trainer, period, &mut renewing), renewing.lost) {
                (_, Some(lost)) => return Err(lost),
                (learned, None) => learned?,
            };
        if fit.is_worse() {
            return Err(Error::Worse { period: planned.number, fit });
        }
        let Memories { adapter, buffer, calibration, .. } = learner.model().memories();
        let adapter = adapter.as_ref().map_or(Ok(Vec::new()), |adapter| adapter.to_bytes())?;
        let record = PeriodRecord { unjudged: *to_be_judged, ..record };
        let commit = PeriodCommit::new(adapter, record)
            .with_cut(cut)
            .with_buffer(buffer.clone(), calibration.clone())
            .with_base(base);
        let generation =
            patiently(patience(lease), progress, || Ok(store.commit(lease, version, &commit)?))?;
        learner.commit(generation);
        *version = version.committed(generation);
        if !embeddings.is_empty() {
            embedding::keep(store, version, &embeddings);
        }
        // Committed is committed: a request to stop takes effect before the next period.
        tell(progress, Event::Committed { user: &user, period: planned.number, generation })?;
        Ok(LearnedPeriod { generation, record: commit.record })
    }
}

/// How long it is tried at least to write what was trained.
pub(crate) const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Until when it is tried to write what was trained. A lease is renewed in the background too, so
/// it may last longer than is known here; if it has ended after all, the write itself is refused.
pub(crate) fn patience(lease: &Lease) -> Timestamp {
    lease.expires.max(Timestamp::now() + PATIENCE)
}

/// Writes what was trained, as often as it takes while another process keeps the state busy: what
/// took long to make is not thrown away for that. It gives up at a point in time, or when it is
/// asked to stop.
pub(crate) fn patiently<T>(
    until: Timestamp,
    progress: &mut dyn Progress,
    mut write: impl FnMut() -> Result<T>,
) -> Result<T> {
    loop {
        match write() {
            Err(Error::Store(error)) if error.is_passing() && Timestamp::now() < until => {
                tell(progress, Event::Waiting)?;
            }
            done => return done,
        }
    }
}

/// The embeddings that are kept of some texts, where the settings need any.
pub(crate) fn known_embeddings(
    store: &Store,
    user: &UserId,
    config: &Config,
    texts: &[StoredInteraction],
) -> Result<EmbeddingMap> {
    if !config.needs_embeddings() {
        return Ok(EmbeddingMap::new());
    }
    let seqs: Vec<u64> = texts.iter().map(|text| text.seq).collect();
    Ok(store.embeddings(user, &seqs)?)
}

/// The adapter that novelty is measured against under some settings, where that is a population's:
/// the prior that what a user has learned started from, by its [id](crate::Prior::id).
///
/// It is there for as long as anything that started from it, so what is learned again later is
/// measured against the same.
pub(crate) fn population(
    store: &Store,
    config: &Config,
    start: Option<&str>,
) -> Result<Option<Arc<Adapter>>> {
    match config.drift.reference {
        NoveltyReference::Base => Ok(None),
        NoveltyReference::Population => {
            let id = start.ok_or(Error::NoPopulation)?;
            let unknown = || spring_store::Error::UnknownPrior { id: id.to_owned() };
            let prior = store.prior_by_id(id)?.ok_or_else(unknown)?;
            Ok(Some(Arc::clone(&prior.adapter)))
        }
    }
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

/// Learns everything that all users have written since their last periods: so many at a time as
/// `jobs` says.
///
/// A user's result depends neither on the number of jobs, nor on who is in a batch with them, nor
/// on the order of users. What stops one user is handed to `follow` and stops no other.
///
/// # Errors
///
/// [`Error::Setting`] for more than 256 users at a time, or if the list of users cannot be read.
pub fn adapt_users(
    model: &dyn LanguageModel,
    store: &Store,
    jobs: impl Into<Jobs>,
    periods: impl Into<PeriodPlan>,
    follow: &dyn Follow,
) -> Result<()> {
    let (plan, at_a_time): (PeriodPlan, Jobs) = (periods.into(), jobs.into());
    at_a_time.check()?;
    let Jobs { jobs, batch } = at_a_time;
    let queue = Mutex::new(Queue::default());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next(store);
    let end = || queue.lock().unwrap_or_else(PoisonError::into_inner).is_ended = true;
    let work = |table: &Table<'_>| -> Result<()> {
        let mut progress = follow.progress();
        while let Some(user) = next().inspect_err(|_| end())? {
            let learned = table
                .seat(|trainer| adapt_by(model, trainer, store, &user, plan, progress.as_mut()));
            if follow.done(&user, learned).is_break() {
                end();
            }
        }
        Ok(())
    };
    side_by_side(jobs, || in_batches(model, batch, work))
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

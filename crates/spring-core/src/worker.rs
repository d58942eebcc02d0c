//! Learning whatever users have written, as long as it lasts: any number of workers on any number
//! of machines share one state.

use std::{
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use spring_memory::UserId;
use spring_store::{Error as StoreError, Store};

use crate::{
    Error, Follow, LanguageModel, Lease, PeriodPlan, Result,
    adapt::adapt_held_by,
    jobs::{Jobs, side_by_side},
    together::{Table, in_batches},
};

/// How a worker works.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Worker {
    /// Batches at a time.
    pub jobs: usize,
    /// Users of a batch, whose updates are trained side by side. With `jobs` it makes 256 users at
    /// most.
    pub batch: usize,
    /// Whether it ends once nobody waits who can be taken.
    pub once: bool,
    /// How long it waits where there is nothing to learn, before it looks again.
    pub poll: Duration,
    /// How the new texts are cut.
    pub plan: PeriodPlan,
}

impl Default for Worker {
    /// One user at a time, until it is told to end, with a look for new texts every second.
    fn default() -> Self {
        let (poll, plan) = (Duration::from_secs(1), PeriodPlan::default());
        Self { jobs: 1, batch: 1, once: false, poll, plan }
    }
}

spring_numerics::setters! {
    Worker {
        with_jobs(jobs: usize);
        with_batch(batch: usize);
        with_once(once: bool);
        with_poll(poll: Duration);
        with_plan(plan: PeriodPlan);
    }
}

/// Follows a worker.
pub trait Attend: Follow {
    /// Called while there is nothing to do, every so often; `Break` ends the worker.
    fn idle(&self) -> ControlFlow<()>;

    /// The state cannot be reached; the worker tries again after that time.
    fn away(&self, error: &Error, wait: Duration);
}

/// After a failure, a user is left to others, or to themselves, for that long.
const AFTER_A_FAILURE: Duration = Duration::from_secs(600);

/// The longest time between two attempts to reach a state.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How soon a request to stop is seen.
const LOOK: Duration = Duration::from_millis(50);

/// Takes one user after the other who has something to learn, under a lease, until it is told to
/// end, or with `once` until nobody waits whom it can take.
///
/// A user's result is that of [`adapt`](crate::adapt). What is lost on the way, such as a database
/// that starts again or a lease that was taken over, is not learned twice: the commit is refused
/// where it would be.
///
/// # Errors
///
/// [`Error::Setting`] for more than 256 users at a time, or what makes the state unusable; with
/// `once`, also that it cannot be reached.
pub fn work(
    model: &dyn LanguageModel,
    store: &Store,
    worker: Worker,
    attend: &dyn Attend,
) -> Result<()> {
    Jobs { jobs: worker.jobs, batch: worker.batch }.check()?;
    crate::check_base(model, store)?;
    let shared = Shared::default();
    let job = |table: &Table<'_>| -> Result<()> {
        let worked = Job { model, table, store, worker, attend, shared: &shared }.run();
        // Neither do the others go on with a state that cannot be used.
        if worked.is_err() {
            shared.locked().is_ended = true;
        }
        worked
    };
    side_by_side(worker.jobs, || in_batches(model, worker.batch, job))
}

/// What the jobs of a worker know in common.
#[derive(Default)]
struct Shared(Mutex<Common>);

#[derive(Default)]
struct Common {
    /// Who failed, and when.
    failed: Vec<(UserId, Instant)>,
    is_ended: bool,
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Common> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Job<'a> {
    model: &'a dyn LanguageModel,
    table: &'a Table<'a>,
    store: &'a Store,
    worker: Worker,
    attend: &'a dyn Attend,
    shared: &'a Shared,
}

impl Job<'_> {
    fn run(&self) -> Result<()> {
        let mut progress = self.attend.progress();
        let mut wait = Duration::from_secs(1);
        while !self.is_ended() {
            let except = self.except();
            let lease = match self.claim(&except) {
                Ok(Some(lease)) => lease,
                // Who is held by another one is theirs.
                Ok(None) if self.worker.once && !self.store.is_claimable(&except)? => {
                    return Ok(());
                }
                Ok(None) => {
                    self.pause(self.worker.poll);
                    continue;
                }
                Err(StoreError::Damaged { user: Some(user), state, table, detail }) => {
                    let error =
                        StoreError::Damaged { user: Some(user.clone()), state, table, detail };
                    self.fail(&user);
                    self.end_if(self.attend.done(&user, Err(error.into())));
                    continue;
                }
                Err(error) if error.is_passing() && !self.worker.once => {
                    self.attend.away(&error.into(), wait);
                    self.pause(wait);
                    wait = (wait * 2).min(LONGEST_WAIT);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            wait = Duration::from_secs(1);
            let user = lease.user.clone();
            let (model, store, plan) = (self.model, self.store, self.worker.plan);
            let learned = self.table.seat(|trainer| {
                adapt_held_by(model, trainer, store, lease, plan, progress.as_mut())
            });
            match &learned {
                Ok(records) if !records.is_empty() => {}
                // Somebody else has the user, or the state is away: neither is the user's failure.
                Err(error) if error.is_passing() => {}
                Err(Error::Store(
                    StoreError::Conflict { .. }
                    | StoreError::Leased { .. }
                    | StoreError::Outdated { .. }
                    | StoreError::UnknownUser { .. },
                )) => {}
                _ => self.fail(&user),
            }
            self.end_if(self.attend.done(&user, learned));
        }
        Ok(())
    }

    /// Looks first, without writing: every place of every batch asks every so often, and a claim is
    /// a transaction that writes even if it finds nobody.
    fn claim(&self, except: &[UserId]) -> Result<Option<Lease>, StoreError> {
        match self.store.is_claimable(except)? {
            true => self.store.claim(except),
            false => Ok(None),
        }
    }

    fn is_ended(&self) -> bool {
        self.shared.locked().is_ended
    }

    fn end_if(&self, flow: ControlFlow<()>) {
        if flow.is_break() {
            self.shared.locked().is_ended = true;
        }
    }

    fn fail(&self, user: &UserId) {
        self.shared.locked().failed.push((user.clone(), Instant::now()));
    }

    /// Who is not to be taken now.
    fn except(&self) -> Vec<UserId> {
        let mut common = self.shared.locked();
        if !self.worker.once {
            common.failed.retain(|(_, at)| at.elapsed() < AFTER_A_FAILURE);
        }
        common.failed.iter().map(|(user, _)| user.clone()).collect()
    }

    /// Waits, unless it is told to end meanwhile.
    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.is_ended() {
            self.end_if(self.attend.idle());
            thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

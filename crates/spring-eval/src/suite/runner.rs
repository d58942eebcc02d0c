//! Jobs side by side, and what they give into the folder.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use spring_core::{Event, LanguageModel, spring_memory::UserId};
use spring_lm::Adapter;

use super::{
    Suite,
    folder::save_adapters,
    job::{Banks, Job, adapters_of, keep_banks, known_banks},
    runs::Runs,
    watch::{SuiteEvent, Watch, stop_if},
};
use crate::{Error, Memo, Method, Protocol, Result, RunKey, RunLine, UserInput, run_user};

/// A user's jobs, all seeds and budgets, with what is known of them while they run: what they share
/// is computed once.
pub(super) struct User<'a> {
    jobs: Vec<&'a Job<'a>>,
    memo: Memo,
}

impl<'a> User<'a> {
    pub(super) fn group(jobs: &[&'a Job<'a>]) -> Vec<Self> {
        let mut users: Vec<Self> = Vec::new();
        for job in jobs {
            let whose = |job: &Job<'_>| (job.key.data.clone(), job.key.user.clone());
            match users.iter_mut().find(|user| whose(user.jobs[0]) == whose(job)) {
                Some(user) => user.jobs.push(job),
                None => users.push(Self { jobs: vec![job], memo: Memo::default() }),
            }
        }
        users
    }
}

/// Runs jobs and writes what they give.
pub(super) struct Runner<'a> {
    pub(super) model: &'a dyn LanguageModel,
    pub(super) suite: &'a Suite,
    pub(super) folder: &'a Path,
    pub(super) watch: Watch<'a>,
    pub(super) domains: HashMap<(String, u64), Adapter>,
    pub(super) lends: bool,
    pub(super) runs: Runs,
    pub(super) jobs: usize,
    pub(super) started: Instant,
    /// Jobs that are done, and those of them that this run has done.
    pub(super) finished: Mutex<(usize, usize)>,
}

impl Runner<'_> {
    /// Users side by side, each with all seeds and budgets one after the other; methods that were
    /// run before are not run again. Where the users go on after this, what is known of them is
    /// kept.
    pub(super) fn run(
        &self,
        users: &mut [User<'_>],
        goes_on: bool,
        methods: &(dyn Fn(&RunKey) -> Vec<Method> + Sync),
    ) -> Result<()> {
        let has_adapters = |key: &RunKey| adapters_of(self.folder, key).join("0").exists();
        side_by_side(users, |user| {
            user.jobs.iter().try_for_each(|job| {
                let is_whole = !self.lends || has_adapters(&job.key);
                let banks = match self.lends {
                    true => known_banks(self.folder, &job.key)?,
                    false => Banks::new(),
                };
                let is_known = |method: &Method| match method.is_of_others() {
                    true => !method.has_lent_bank() || banks.contains_key(method.name()),
                    false => is_whole && self.runs.has_method(&job.key, method.name()),
                };
                let has_domain = self.domains.contains_key(&(job.key.data.clone(), job.key.seed));
                let Suite { start, config, .. } = self.suite;
                let mut missing = methods(&job.key);
                missing.retain(|method| {
                    !is_known(method) && (has_domain || !method.needs_domain(*start, config))
                });
                match missing.is_empty() && is_whole && self.runs.has(&job.key) {
                    true => self.count(|count| count.0 += 1),
                    false => return self.run_one(job, missing, &user.memo),
                };
                Ok(())
            })?;
            if !goes_on {
                user.memo = Memo::default();
            }
            Ok(())
        })
    }

    /// Changes the jobs that are done, and those of them that this run has done, and says how many
    /// they are then.
    fn count(&self, change: impl FnOnce(&mut (usize, usize))) -> (usize, usize) {
        self.finished.lock().map_or((0, 1), |mut count| {
            change(&mut count);
            *count
        })
    }

    fn run_one(&self, job: &Job<'_>, methods: Vec<Method>, memo: &Memo) -> Result<()> {
        let config = self.suite.config_on(&job.key.data).with_seed(job.key.seed);
        let protocol = Protocol::new(config, methods)
            .with_budget(job.key.budget)
            .with_generation(self.suite.generation);
        let domain = self.domains.get(&(job.key.data.clone(), job.key.seed));
        let input = UserInput::new(&job.key.user, job.splits).with_domain(domain, self.suite.start);
        let mut progress = |_: Event<'_>| (self.watch)(SuiteEvent::Step);
        let outcome = run_user(self.model, &protocol, input, memo, &mut progress)
            .map_err(|error| named(error, &job.key.user))?;
        if self.lends {
            save_adapters(&adapters_of(self.folder, &job.key), &outcome.adapters)?;
            if !outcome.banks.is_empty() {
                keep_banks(self.folder, &job.key, outcome.banks)?;
            }
        }
        self.runs.add(RunLine { key: job.key.clone(), run: outcome.run })?;
        let (done, here) = self.count(|count| *count = (count.0 + 1, count.1 + 1));
        let left = self.jobs.saturating_sub(done) as f64;
        let seconds_left = self.started.elapsed().as_secs_f64() / here as f64 * left;
        let name = job.key.name();
        stop_if((self.watch)(SuiteEvent::Job { name: &name, done, jobs: self.jobs, seconds_left }))
    }
}

/// Runs something for each item, as many at a time as rayon has threads; after an error no new one
/// begins. Not by rayon's own iterators: a thread that waits for the model's threads would begin
/// another item in the meantime, inside the first one.
fn side_by_side<T: Send>(items: &mut [T], run: impl Fn(&mut T) -> Result<()> + Sync) -> Result<()> {
    let threads = rayon::current_num_threads().min(items.len());
    let (waiting, failed) = (Mutex::new(items.iter_mut()), AtomicBool::new(false));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { break };
            run(item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // Where no more threads can be started, the others do the work.
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let started: Vec<_> = (0..threads).filter_map(start).collect();
        if started.is_empty() {
            return work();
        }
        let ended = started.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect()
    })
}

/// An error that says whose it is.
pub(super) fn named(error: Error, user: &UserId) -> Error {
    match error {
        Error::Core(error) if !error.is_stopped() => Error::Core(error.of_user(user)),
        Error::NotEnough(reason) => Error::NotEnough(format!("user {user}: {reason}")),
        other => other,
    }
}

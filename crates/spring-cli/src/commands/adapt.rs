//! `spring adapt`

mod change;

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use spring_core::{
    Access, Error, Follow, Jobs, PeriodPlan, Progress, Store, adapt, adapt_users,
    record::LearnedPeriod, spring_memory::UserId, spring_store,
};

use crate::{
    args::{AdaptArgs, Args},
    hints,
    interrupt::{self, Interrupted},
    log::Logged,
    output,
    progress::Bars,
    session,
};

pub fn run(args: &Args, command: &AdaptArgs) -> Result<()> {
    let path = &command.state.state;
    let mut store = session::open(path, Access::ReadWrite)?;
    let config = command.settings.over(&store.settings().config)?;
    let periods = PeriodPlan::default().with_count(command.periods).with_hold_out(command.hold_out);
    if let Some(part) = command.hold_out {
        ensure!(
            (0.0..1.0).contains(&part),
            "--hold-out {part}: a part that can be held out, from 0 to below 1"
        );
    }
    at_a_time(command.jobs, command.batch)?;
    let one = match &command.user {
        Some(name) => Some(session::user_id(name, path)?),
        // Nobody else is known, so it is about them.
        None => <[_; 1]>::try_from(store.users(None, 2)?).ok().map(|[only]| only.user),
    };
    if let Some(user) = &one {
        store.user(user)?;
    }
    let model = session::model_of(&store, args)?;
    // Kept with the first period that is learned with it.
    store.try_config(&config)?;
    let learned = match &one {
        Some(user) => {
            let before = store.user(user)?.generation;
            // It is judged below. Should this end first, the next one to judge the user does it: a
            // server after its start, or this command. What nobody is about to judge has no mark:
            // that of --keep, of all users at once, and of `spring worker`. A server that is
            // started some day would go back behind all of that at one blow.
            let periods = periods.with_to_be_judged(!command.keep);
            let mut progress = Logged::new(Bars::new(args.quiet), command.log.as_deref());
            let records =
                interrupt::or_interrupted(adapt(&model, &store, user, periods, &mut progress))?;
            drop(progress);
            records.iter().try_for_each(|record| print(args, user, record))?;
            if !records.is_empty() || (!command.keep && store.unjudged(user)?.is_some()) {
                change::tell(args, &model, &store, user, before, &records, command.keep)?;
            }
            records.len()
        }
        None => everyone(args, command, &model, &store, periods)?,
    };
    if learned > 0 {
        return Ok(());
    }
    let mut store = session::open(path, Access::ReadWrite)?;
    let is_new = config != store.settings().config;
    if is_new && (one.is_some() || store.users_to_adapt(None, 1)?.is_empty()) {
        // Nothing was learned, so the settings cannot have failed.
        store.set_config(&config)?;
    }
    if args.json {
        Ok(())
    } else {
        output::line("nothing new to learn; `spring ingest` adds interactions")
    }
}

/// Refuses more users at a time than the program takes.
pub(super) fn at_a_time(jobs: u16, batch: u16) -> Result<()> {
    let users = u32::from(jobs) * u32::from(batch);
    ensure!(
        users <= 256,
        "--jobs {jobs} with --batch {batch} makes {users} users at a time: 256 at most"
    );
    Ok(())
}

/// Learns the new texts of all users; gives the number of periods learned.
fn everyone(
    args: &Args,
    command: &AdaptArgs,
    model: &dyn spring_core::LanguageModel,
    store: &Store,
    periods: PeriodPlan,
) -> Result<usize> {
    let jobs = Jobs::default().with_jobs(command.jobs.into()).with_batch(command.batch.into());
    let log = command.log.as_deref();
    let printing =
        Printing { args, log, is_alone: jobs == Jobs::default(), done: Mutex::default() };
    adapt_users(model, store, jobs, periods, &printing)?;
    let done = printing.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = done.stopped {
        return Err(error);
    }
    if interrupt::requested() {
        return Err(Interrupted.into());
    }
    match done.failed {
        0 => Ok(done.periods),
        1 => bail!("one user was not updated, as said above; what the others learned is kept"),
        failed => {
            bail!("{failed} users were not updated, as said above; what the others learned is kept")
        }
    }
}

/// Prints what each user learned as soon as it is known.
struct Printing<'a> {
    args: &'a Args,
    log: Option<&'a Path>,
    is_alone: bool,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    periods: usize,
    failed: usize,
    stopped: Option<anyhow::Error>,
}

impl Follow for Printing<'_> {
    fn progress(&self) -> Box<dyn Progress + '_> {
        // Bars of several jobs would draw over each other.
        let bars = Bars::new(self.args.quiet || !self.is_alone);
        Box::new(Logged::new(bars, self.log))
    }

    fn done(
        &self,
        user: &UserId,
        learned: spring_core::Result<Vec<LearnedPeriod>>,
    ) -> ControlFlow<()> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        match learned {
            Ok(records) => {
                done.periods += records.len();
                if let Err(error) =
                    records.iter().try_for_each(|record| print(self.args, user, record))
                {
                    done.stopped = Some(error);
                    return ControlFlow::Break(());
                }
            }
            Err(error) if error.is_stopped() => return ControlFlow::Break(()),
            // Whoever holds the user learns what is new.
            Err(Error::Store(error @ spring_store::Error::Leased { .. })) => {
                output::say(&format!("spring: warning: skipped: {error}"));
            }
            // A state that cannot be read or written stops everyone.
            Err(error) if error.is_of_state() => {
                done.stopped = Some(error.into());
                return ControlFlow::Break(());
            }
            Err(error) => {
                output::say(&format!("spring: {}", hints::told(&error)));
                done.failed += 1;
            }
        }
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

pub(super) fn print(args: &Args, user: &UserId, learned: &LearnedPeriod) -> Result<()> {
    if args.json {
        return output::json(&json!({"user": user, "learned": learned}));
    }
    let record = &learned.record;
    let losses = &record.update.losses;
    let loss = match losses.as_slice() {
        [first, .., last] => format!("loss {first:.3} → {last:.3} nats/token"),
        // Too few steps for two means.
        [mean] => format!("mean loss {mean:.3} nats/token"),
        [] => "nothing to train on".into(),
    };
    output::line(&format!(
        "{}, period {}: {} of {} texts learned ({} held out) in {} steps, {loss}; {:.1} s",
        output::excerpt(user.as_str(), 40),
        record.period,
        record.selection.selected,
        record.scores.len(),
        record.held_out,
        record.update.steps,
        record.seconds
    ))
}

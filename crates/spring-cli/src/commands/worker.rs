//! `spring worker`

use std::{
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use spring_core::{
    Access, Attend, Error, Follow, PeriodPlan, Progress, Worker, record::LearnedPeriod,
    spring_memory::UserId, spring_store, work,
};

use super::adapt::{at_a_time, print};
use crate::{
    args::{Args, WorkerArgs},
    hints,
    interrupt::{self, Interrupted},
    log::Logged,
    output,
    progress::Bars,
    session,
};

pub fn run(args: &Args, command: &WorkerArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadWrite)?;
    if let Some(part) = command.hold_out {
        ensure!(
            (0.0..1.0).contains(&part),
            "--hold-out {part}: a part that can be held out, from 0 to below 1"
        );
    }
    at_a_time(command.jobs, command.batch)?;
    let model = session::model_of(&store, args)?;
    // Nothing is marked as to be judged: nobody is about to judge it, see `spring adapt`.
    let plan = PeriodPlan::default().with_count(command.periods).with_hold_out(command.hold_out);
    let worker = Worker::default()
        .with_jobs(command.jobs.into())
        .with_batch(command.batch.into())
        .with_once(command.once)
        .with_poll(Duration::from_secs_f64(command.poll.clamp(0.05, 3600.0)))
        .with_plan(plan);
    let is_alone = command.jobs <= 1 && command.batch <= 1 && command.once;
    let working = Working { args, is_alone, done: Mutex::default() };
    if !args.quiet && !command.once {
        let users = u32::from(command.jobs) * u32::from(command.batch);
        output::say(&format!(
            "spring: working on {} with {}; Ctrl-C or SIGTERM ends it",
            command.state.state,
            match users {
                1 => "one user at a time".to_owned(),
                _ => format!("{users} users at a time"),
            }
        ));
    }
    let worked = work(&model, &store, worker, &working);
    let done = working.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = done.unprinted {
        return Err(error);
    }
    match worked {
        // A worker is there to be stopped: that is not a failure.
        _ if interrupt::requested() => Err(Interrupted.into()),
        Err(error) => Err(error.into()),
        Ok(()) if done.failed > 0 => bail!(
            "{} users were not updated, as said above; what the others learned is kept",
            done.failed
        ),
        Ok(()) if done.periods == 0 && !args.json => {
            output::line("nothing new to learn; `spring ingest` adds interactions")
        }
        Ok(()) => Ok(()),
    }
}

/// Prints what each user learned as soon as it is known.
struct Working<'a> {
    args: &'a Args,
    is_alone: bool,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    periods: usize,
    failed: usize,
    unprinted: Option<anyhow::Error>,
}

impl Follow for Working<'_> {
    fn progress(&self) -> Box<dyn Progress + '_> {
        // Bars of several jobs would draw over each other, and a worker has nobody who looks.
        Box::new(Logged::new(Bars::new(self.args.quiet || !self.is_alone), None))
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
                let mut printed = records.iter();
                if let Err(error) = printed.try_for_each(|record| print(self.args, user, record)) {
                    done.unprinted = Some(error);
                    return ControlFlow::Break(());
                }
            }
            Err(error) if error.is_stopped() => return ControlFlow::Break(()),
            Err(error) => {
                let is_others = matches!(
                    &error,
                    Error::Store(
                        spring_store::Error::Leased { .. }
                            | spring_store::Error::Conflict { .. }
                            | spring_store::Error::Outdated { .. }
                            | spring_store::Error::UnknownUser { .. }
                    )
                ) || error.is_of_state();
                let warning = if is_others { "warning: " } else { "" };
                output::say(&format!("spring: {warning}{}", hints::told(&error)));
                done.failed += usize::from(!is_others);
            }
        }
        self.idle()
    }
}

impl Attend for Working<'_> {
    fn idle(&self) -> ControlFlow<()> {
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn away(&self, error: &Error, wait: Duration) {
        output::say(&format!(
            "spring: warning: {error}; trying again in {} s",
            wait.as_secs_f64().round()
        ));
    }
}

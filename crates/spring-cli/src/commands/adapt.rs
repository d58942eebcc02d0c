//! `spring adapt`

use anyhow::Result;
use serde_json::json;
use spring_core::{
    Access, Config, Periods, SqliteStore, StateStore, adapt, record::LearnedPeriod, spring_memory::UserId,
};

use crate::{
    args::{AdaptArgs, Args},
    interrupt::{self, Interrupted},
    output,
    progress::Bars,
    session,
};

/// Users read at a time.
const PAGE: usize = 1000;

pub fn run(args: &Args, command: &AdaptArgs) -> Result<()> {
    let path = &command.state.state;
    let mut store = session::open(path, Access::ReadWrite)?;
    let config = command.config.as_ref().map(Config::load).transpose()?;
    let periods = Periods { count: command.periods, hold_out: command.hold_out };
    let one = command.user.as_ref().map(|name| session::user_id(name, path)).transpose()?;
    if let Some(user) = &one {
        store.user(user)?;
    }
    let model = session::model_of(&store, path, args)?;
    if let Some(config) = config {
        store.set_config(&config)?;
    }
    let mut learned = 0;
    let mut learn = |store: &mut SqliteStore, user: &UserId| -> Result<()> {
        let mut bars = Bars::new(args.quiet);
        let records = interrupt::or_interrupted(adapt(&model, store, user, periods, &mut bars))?;
        bars.finish();
        learned += records.len();
        records.iter().try_for_each(|record| print(args, user, record))?;
        if interrupt::requested() { Err(Interrupted.into()) } else { Ok(()) }
    };
    match one {
        Some(user) => learn(&mut store, &user)?,
        None => {
            let mut page = store.users(None, PAGE)?;
            while let Some(last) = page.last().map(|summary| summary.user.clone()) {
                for summary in &page {
                    learn(&mut store, &summary.user)?;
                }
                page = store.users(Some(&last), PAGE)?;
            }
        }
    }
    if learned == 0 && !args.json {
        output::line("nothing new to learn; `spring ingest` adds interactions")?;
    }
    Ok(())
}

fn print(args: &Args, user: &UserId, learned: &LearnedPeriod) -> Result<()> {
    if args.json {
        return output::json(&json!({"user": user, "learned": learned}));
    }
    let record = &learned.record;
    let losses = &record.update.losses;
    let loss = match (losses.first(), losses.last()) {
        (Some(first), Some(last)) => format!("loss {first:.3} → {last:.3} nats/token"),
        _ => "nothing to train on".into(),
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

//! `spring move`

use std::ops::ControlFlow;

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, Copied, Store, reading, spring_memory::UserId};

use crate::{
    args::{Args, MoveArgs},
    files,
    interrupt::{self, Interrupted},
    output,
    progress::Bars,
    session,
};

/// Users read at a time.
const PAGE: usize = 1000;

pub fn run(args: &Args, command: &MoveArgs) -> Result<()> {
    let (from, to) = (&command.from, &command.to);
    let source = session::open(from, Access::ReadOnly)?;
    let mut target = match to.exists()? {
        true => session::open(to, Access::ReadWrite)?,
        false => {
            to.file().map_or(Ok(()), files::plain)?;
            to.create(source.settings())?
        }
    };
    // An empty one has nothing that was learned under other settings.
    if target.settings().config != source.settings().config && target.users(None, 1)?.is_empty() {
        target.set_config(&source.settings().config)?;
    }
    let mut bars = Bars::new(args.quiet);
    bars.say("moving");
    let mut step = reading(&mut bars);
    // First: of users who are there already, no copy is made that would take them along.
    let mut keys = target.copy_revocations(&source)?;
    // Before who started from them.
    let priors = target.copy_priors(&source)?;
    let (mut added, mut equal, mut revoked, mut done) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut last: Option<UserId> = None;
    loop {
        let page = source.users(last.as_ref(), PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.user.clone());
        for summary in &page {
            done += 1;
            if step(done) == ControlFlow::Break(()) || interrupt::requested() {
                return Err(Interrupted.into());
            }
            match target.copy_user(&source, &summary.user, command.replace)? {
                Copied::Equal => equal += 1,
                Copied::Added => added += 1,
                Copied::Replaced { keys_revoked } => {
                    added += 1;
                    revoked += keys_revoked;
                }
            }
        }
    }
    keys += target.copy_keys(&source)?;
    let own = own_keys(&source, &target)?;
    drop(step);
    bars.finish();
    if args.json {
        return output::json(&json!({
            "copied": added, "there_already": equal, "keys": keys, "keys_revoked": revoked,
            "keys_of_its_own": own, "priors": priors,
        }));
    }
    output::line(&format!(
        "{to} has all {} users of {from}, each compared by digest: {added} copied, {equal} were \
         there already; its keys open it, too; {from} is as it was, delete it yourself once \
         nothing uses it",
        added + equal
    ))?;
    if priors > 0 {
        output::line(&format!("copied {}", output::count(priors, "prior")))?;
    }
    if revoked > 0 {
        let keys = output::count(revoked, "key");
        output::line(&format!(
            "revoked {keys} of users who were replaced: none of them opens {from}"
        ))?;
    }
    if !own.is_empty() {
        output::line(&format!(
            "keys that {to} has and {from} has not still open it: {}; `spring key revoke` takes \
             one away",
            own.join(", ")
        ))?;
    }
    Ok(())
}

/// The keys that open the target and are not the source's.
fn own_keys(source: &Store, target: &Store) -> Result<Vec<String>> {
    let theirs = source.keys()?;
    let own = target.keys()?.into_iter().filter(|key| {
        key.record.revoked.is_none() && theirs.iter().all(|theirs| theirs.id != key.id)
    });
    Ok(own.map(|key| key.id).collect())
}

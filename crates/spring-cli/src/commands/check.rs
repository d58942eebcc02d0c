//! `spring check`

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, reading, spring_memory::UserId, spring_store::Error};

use crate::{
    args::{Args, CheckArgs},
    interrupt::{self, Interrupted},
    output,
    progress::Bars,
    session,
};

/// Users read at a time.
const PAGE: usize = 1000;

pub fn run(args: &Args, command: &CheckArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadOnly)?;
    let mut bars = Bars::new(args.quiet);
    bars.say("checking");
    interrupt::or_interrupted(store.check(&mut reading(&mut bars)))?;
    bars.finish();
    let mut last: Option<UserId> = None;
    let mut count = 0;
    loop {
        let page = store.users(last.as_ref(), PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.user.clone());
        count += page.len();
        for summary in page.iter().filter(|_| args.json) {
            if interrupt::requested() {
                return Err(Interrupted.into());
            }
            match store.digest(&summary.user) {
                Ok(digest) => output::json(&json!({"user": summary.user, "sha256": digest}))?,
                // Forgotten since the page was read.
                Err(Error::UnknownUser { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    if args.json { Ok(()) } else { output::line(&format!("the state is whole: {count} users")) }
}

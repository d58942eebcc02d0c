//! `spring users`

use anyhow::Result;
use spring_core::{Access, spring_memory::UserId};

use crate::{
    args::{Args, UsersArgs},
    output, session,
};

/// Users read at a time: however many there are, no more are held.
const PAGE: usize = 1000;

pub fn run(args: &Args, command: &UsersArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadOnly)?;
    // `inspect` has the rest.
    let headings = ["user", "texts", "to learn", "first", "last", "periods"];
    let mut last: Option<UserId> = None;
    let mut any = false;
    loop {
        let page = store.users(last.as_ref(), PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.user.clone());
        any = true;
        if args.json {
            // A line per user, so that a long list can be read as a stream.
            page.iter().try_for_each(output::json)?;
            continue;
        }
        let mut table = output::table(&headings, &[0]);
        for user in &page {
            let day = |time: Option<jiff::Timestamp>| {
                time.map_or("–".into(), |t| t.strftime("%Y-%m-%d").to_string())
            };
            table.add_row([
                output::excerpt(user.user.as_str(), 40),
                user.interactions.to_string(),
                user.pending.to_string(),
                day(user.first),
                day(user.last),
                user.periods.to_string(),
            ]);
        }
        output::line(&table.to_string())?;
    }
    if !any && !args.json {
        output::line("no users yet; `spring ingest` adds interactions")?;
    }
    Ok(())
}

//! `spring consent`

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use spring_core::Access;

use crate::{
    args::{Args, ConsentArgs, Said},
    output,
    serve::acted,
    session,
};

pub fn run(args: &Args, command: &ConsentArgs) -> Result<()> {
    let path = &command.state.state;
    let access = if command.set.is_some() { Access::ReadWrite } else { Access::ReadOnly };
    let store = session::open(path, access)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let consent = match command.set {
        None => store.consent(&user)?,
        Some(said) => {
            let (keep, log) = (said == Said::Yes, command.audit.audit.as_deref());
            acted(log, "consent.set", Some(user.as_str()), |event| {
                event.object = Some(keep.to_string());
                Ok(store.set_consent(&user, keep, Timestamp::now())?)
            })?
        }
    };
    if args.json {
        return output::json(&json!({"user": user, "consent": consent}));
    }
    let since = consent.since.map_or_else(String::new, |since| format!(", since {since}"));
    output::line(&match consent.keep_conversations {
        true => format!("{user}: conversations with a server are kept and learned from{since}"),
        false => format!("{user}: conversations with a server are not kept{since}"),
    })
}

//! `spring consent`

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use spring_core::{Access, spring_store::Error as StoreError};

use super::prior;
use crate::{
    args::{Args, ConsentArgs, Said},
    hints, output,
    serve::acted,
    session,
};

pub fn run(args: &Args, command: &ConsentArgs) -> Result<()> {
    let path = &command.state.state;
    let is_said = command.set.is_some() || command.contribute.is_some();
    let access = if is_said { Access::ReadWrite } else { Access::ReadOnly };
    let store = session::open(path, access)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let log = command.audit.audit.as_deref();
    let consent = match command.set {
        None => store.consent(&user)?,
        Some(said) => {
            let keep = said == Said::Yes;
            acted(log, "consent.set", Some(user.as_str()), |event| {
                event.object = Some(keep.to_string());
                Ok(store.set_consent(&user, keep, Timestamp::now())?)
            })?
        }
    };
    let contribution = match command.contribute {
        None => store.contribution(&user)?,
        Some(said) => {
            let contributes = said == Said::Yes;
            acted(log, "contribution.set", Some(user.as_str()), |event| {
                event.object = Some(contributes.to_string());
                Ok(store.set_contribution(&user, contributes, Timestamp::now())?)
            })?
        }
    };
    // Whose record is damaged: nobody can say then which priors know the user.
    let mut damaged = None;
    let uses = match command.contribute {
        Some(Said::No) => match store.priors_from(&user, None) {
            // What was said counts all the same.
            Err(error @ StoreError::DamagedPrior { number, .. }) => {
                output::say(&format!("spring: {}", hints::told(&error)));
                damaged = Some(number);
                Vec::new()
            }
            uses => uses?,
        },
        _ => Vec::new(),
    };
    let since = |since: Option<Timestamp>| {
        since.map_or_else(String::new, |since| format!(", since {since}"))
    };
    // Where nobody asks for it, what was never said is not shown.
    let is_shown = contribution.since.is_some() || command.contribute.is_some();
    if args.json {
        let mut value = json!({"user": user, "consent": consent});
        if is_shown {
            value["contribution"] = json!(contribution);
            value["priors"] = json!(uses);
            if let Some(number) = damaged {
                value["priors"] = json!(null);
                value["damaged_prior"] = json!(number);
            }
        }
        return output::json(&value);
    }
    if command.set.is_some() || command.contribute.is_none() {
        let since = since(consent.since);
        output::line(&match consent.keep_conversations {
            true => format!("{user}: conversations with a server are kept and learned from{since}"),
            false => format!("{user}: conversations with a server are not kept{since}"),
        })?;
    }
    if is_shown {
        let since = since(contribution.since);
        output::line(&match contribution.contributes {
            true => format!("{user}: priors may be learned from the user's texts{since}"),
            false => format!("{user}: no prior is learned from the user's texts{since}"),
        })?;
    }
    prior::knows(&uses).map_or(Ok(()), |told| output::line(&told))
}

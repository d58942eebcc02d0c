//! `spring rollback`

use anyhow::Result;
use serde_json::json;
use spring_core::Access;

use crate::{
    args::{Args, RollbackArgs},
    output,
    serve::acted,
    session,
};

pub fn run(args: &Args, command: &RollbackArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    // Before the base there is nothing, unless nothing was ever learned.
    let is_at_base = store.user(&user)?.generation == 0 && !store.generations(&user)?.is_empty();
    let to = command.to.or(is_at_base.then_some(0));
    let log = command.audit.audit.as_deref();
    let moved = acted(log, "rollback", Some(user.as_str()), |event| {
        let moved = store.rollback(&user, to)?;
        event.object = Some(moved.to.to_string());
        Ok(moved)
    })?;
    if args.json {
        return output::json(&json!({"user": user, "rollback": moved}));
    }
    let prior = store.prior()?;
    let name = |generation| match generation {
        0 => match &prior {
            Some(prior) => format!("prior {} alone", prior.number),
            None => "the base alone".to_owned(),
        },
        number => format!("generation {number}"),
    };
    let go_on = match moved.from {
        0 => format!("; `spring inspect --user {user}` lists the generations for --to"),
        from => format!("; `spring rollback --to {from}` goes back to it"),
    };
    output::line(&match moved.from == moved.to {
        true => format!("{user}: {} was in use already{go_on}", name(moved.to)),
        false => format!("{user}: from {} to {}{go_on}", name(moved.from), name(moved.to)),
    })?;
    if store.unlearned_periods(&user)?.is_empty() {
        return Ok(());
    }
    output::line(
        "the next `spring adapt` learns the later periods again; `spring forget --interaction` \
         removes what it should not learn",
    )
}

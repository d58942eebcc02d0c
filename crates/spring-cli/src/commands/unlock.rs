//! `spring unlock`

use anyhow::Result;
use serde_json::json;
use spring_core::Access;

use crate::{
    args::{Args, UnlockArgs},
    output, session,
};

pub fn run(args: &Args, command: &UnlockArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let ended = store.unlock(&user)?;
    if args.json {
        let (holder, until) = ended.unzip();
        return output::json(&json!({"user": user, "holder": holder, "until": until}));
    }
    output::line(&match ended {
        Some((holder, until)) => {
            format!("{user}: no longer reserved for {holder}, as it would have been until {until}")
        }
        None => format!("{user}: was not reserved"),
    })
}

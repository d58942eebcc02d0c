//! `spring forget`

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, forget_interaction};

use crate::{
    args::{Args, ForgetArgs},
    interrupt, output,
    progress::Bars,
    session,
};

pub fn run(args: &Args, command: &ForgetArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let user = session::user_id(&command.user, path)?;
    let forgotten = match &command.interaction {
        None => store.forget(&user)?,
        Some(id) => {
            let id = session::interaction_id(id, &user)?;
            let model = session::model_of(&store, args)?;
            let mut bars = Bars::new(args.quiet);
            let forgotten = forget_interaction(&model, &store, &user, &id, &mut bars);
            bars.finish();
            interrupt::or_interrupted(forgotten)?
        }
    };
    if args.json {
        return output::json(
            &json!({"user": user, "interaction": command.interaction, "forgotten": forgotten}),
        );
    }
    output::line(&match &command.interaction {
        None => format!(
            "removed user {user}: {} interactions, {} generations, {} records of generated texts",
            forgotten.interactions, forgotten.generations_removed, forgotten.answers
        ),
        Some(_) => format!(
            "removed one interaction of user {user}: {} generations learned again without it, {} \
             records of generated texts removed",
            forgotten.generations_relearned, forgotten.answers
        ),
    })?;
    if let Some(reason) = &forgotten.held_up {
        output::line(&format!(
            "the file's free pages still hold what was removed: {reason}; they are rewritten the \
             next time the state is opened for writing",
        ))?;
    }
    output::line("delete earlier exports and copies of this state yourself")
}

//! `spring forget`

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Result, bail};
use indicatif::HumanDuration;
use serde_json::json;
use spring_core::{
    Access, Error, Store, forget_interaction, forgetting_cost,
    spring_memory::{InteractionId, UserId},
    spring_store::Error as StoreError,
};

use super::prior;
use crate::{
    args::{Args, ForgetArgs},
    interrupt, output,
    progress::Bars,
    serve::acted,
    session,
};

/// Ids that are named in place of one that nobody has.
const ALIKE: usize = 3;

pub fn run(args: &Args, command: &ForgetArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let id = command.interaction.as_deref();
    let id = id.map(|id| session::interaction_id(id, &user)).transpose()?;
    let consequence = consequence(&store, &user, id.as_ref());
    let mut consequence = consequence.map_err(|error| with_alike(&store, &user, error))?;
    let seq = id.as_ref().map(|id| store.find(&user, id)).transpose()?.flatten();
    let uses = store.priors_from(&user, seq)?;
    if let Some(told) = prior::knows(&uses) {
        consequence = format!("{consequence} Of priors: {told}.");
    }
    if command.dry_run {
        return match args.json {
            true => output::json(&json!({
                "user": user, "interaction": command.interaction, "dry_run": true,
                "consequence": consequence, "priors": uses,
            })),
            false => output::line(&format!("{consequence} Nothing was changed.")),
        };
    }
    if !command.yes {
        confirm(&consequence)?;
    }
    let act = if id.is_some() { "interaction.delete" } else { "user.delete" };
    let log = command.audit.audit.as_deref();
    let forgotten = acted(log, act, Some(user.as_str()), |event| {
        event.object = command.interaction.clone();
        Ok(match &id {
            None => store.forget(&user)?,
            Some(id) => {
                let model = session::model_of(&store, args)?;
                let mut bars = Bars::new(args.quiet);
                let forgotten = forget_interaction(&model, &store, &user, id, &mut bars);
                bars.finish();
                interrupt::or_interrupted(forgotten)?
            }
        })
    })?;
    if args.json {
        return output::json(
            &json!({"user": user, "interaction": command.interaction, "forgotten": forgotten}),
        );
    }
    let records = output::count(forgotten.answers, "record");
    output::line(&match &command.interaction {
        None => format!(
            "removed user {user}: {}, {}, {records} of generated texts",
            output::count(forgotten.interactions, "interaction"),
            output::count(forgotten.generations_removed, "generation"),
        ),
        Some(_) => format!(
            "removed one interaction of user {user}: {} learned again without it, {records} of \
             generated texts removed",
            output::count(forgotten.generations_relearned, "generation"),
        ),
    })?;
    if !forgotten.priors.is_empty() {
        let numbers: Vec<String> = forgotten.priors.iter().map(u32::to_string).collect();
        output::line(&format!(
            "learned from what was removed, and knowing it still: prior {}; `spring prior train` \
             learns it again, and `spring prior apply --all` moves those who started from it",
            numbers.join(", ")
        ))?;
    }
    if let Some(reason) = &forgotten.held_up {
        output::line(&format!(
            "the file's free pages still hold what was removed: {reason}; they are rewritten the \
             next time the state is opened for writing",
        ))?;
    }
    if path.file().is_none() {
        output::line(
            "the database's dead rows, write-ahead log and backups hold what was removed until a \
             VACUUM has run and they are replaced: see \"More than one machine\" in the guide",
        )?;
    }
    output::line(
        "delete earlier exports and copies of this state yourself, and take the text out of the \
         file it came from: `spring ingest` of that file would add it again",
    )
}

/// The error, with ids like the one that nobody has.
fn with_alike(store: &Store, user: &UserId, error: anyhow::Error) -> anyhow::Error {
    let of_store = match error.downcast_ref() {
        Some(Error::Store(error)) => Some(error),
        _ => error.downcast_ref(),
    };
    let Some(StoreError::UnknownInteraction { id, .. }) = of_store else { return error };
    let Ok(history) = store.history(user) else { return error };
    // As a table may have cut it.
    let asked = id.as_str().trim_end_matches('…').to_lowercase();
    let ids = history.entries.iter().map(|entry| entry.stored.interaction.id.as_str());
    let alike: Vec<String> = ids
        .filter(|id| id.to_lowercase().contains(&asked))
        .take(ALIKE)
        .map(|id| output::excerpt(id, 80))
        .collect();
    match alike.is_empty() {
        true => error,
        false => anyhow::anyhow!("{error}; did you mean {}?", alike.join(" or ")),
    }
}

/// What would happen, and how long it would take.
fn consequence(store: &Store, user: &UserId, id: Option<&InteractionId>) -> Result<String> {
    let user_shown = output::excerpt(user.as_str(), 40);
    let Some(id) = id else {
        let summary = store.user(user)?;
        return Ok(format!(
            "This deletes user {user_shown}: {} interactions and all that was learned from them.",
            summary.interactions
        ));
    };
    let cost = forgetting_cost(store, user, id)?;
    let id_shown = output::excerpt(id.as_str(), 40);
    let removal = format!("This deletes interaction {id_shown} of user {user_shown}");
    Ok(match cost.generations {
        0 => format!("{removal}, from which nothing was learned."),
        generations => format!(
            "{removal} and learns {generations} generation{} again without it: about {}.",
            if generations == 1 { "" } else { "s" },
            HumanDuration(Duration::from_secs_f64(cost.seconds.clamp(1.0, 1e9)))
        ),
    })
}

/// Asks at a terminal; elsewhere the command line has to say it.
fn confirm(consequence: &str) -> Result<()> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!("{consequence} --yes confirms it; nothing was changed");
    }
    output::say(consequence);
    let _ = write!(io::stderr(), "Go on? [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}

//! `spring prior`

use anyhow::{Result, bail};
use serde_json::json;
use spring_core::{
    Access, Contributors, Error, PriorChange, PriorPlan, PriorSummary, PriorUse, StatePlace, Store,
    apply_prior, spring_memory::UserId, train_prior,
};

use crate::{
    args::{Args, PriorApplyArgs, PriorDropArgs, PriorShowArgs, PriorTrainArgs},
    hints,
    interrupt::{self, Interrupted},
    output::{self, count, excerpt},
    progress::Bars,
    serve::acted,
    session,
};

/// Users read at a time.
const PAGE: usize = 1000;

/// As many users are named in a line.
const NAMED: usize = 8;

pub fn train(args: &Args, command: &PriorTrainArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let names = |names: &[String]| -> Result<Vec<UserId>> {
        names.iter().map(|name| session::user_id(name, path)).collect()
    };
    let whom = &command.whom;
    let from = match (whom.users.is_empty(), whom.consenting, whom.all) {
        (false, ..) => Contributors::Named(names(&whom.users)?),
        (_, true, _) => Contributors::Consenting,
        (.., true) => Contributors::All,
        _ => Contributors::Same,
    };
    check_agreement(&store, path, &from)?;
    let plan = PriorPlan::default()
        .with_from(from)
        .with_except(names(&command.exclude)?)
        .with_most(usize::try_from(command.texts)?);
    let model = session::model_of(&store, args)?;
    let mut bars = Bars::new(args.quiet);
    let log = command.audit.audit.as_deref();
    let (change, texts) = acted(log, "prior.train", None, |event| {
        let trained = train_prior(&model, &store, &plan, &mut bars);
        let (change, texts) = interrupt::or_interrupted(trained)?;
        event.object = change.number.map(|number| number.to_string());
        Ok((change, texts))
    })?;
    bars.finish();
    let prior = change.number.map(|number| store.prior_summary(number)).transpose()?.flatten();
    let Some(prior) = prior else {
        bail!("{path}: another prior has come into use meanwhile; `spring prior show` lists them")
    };
    if args.json {
        return output::json(&json!({
            "prior": prior, "removed": change.removed, "refused": texts.refused,
            "silent": texts.silent,
        }));
    }
    let record = &prior.record;
    let losses = match record.update.losses.as_slice() {
        [first, .., last] => format!(", loss {first:.3} → {last:.3} nats/token"),
        [mean] => format!(", mean loss {mean:.3} nats/token"),
        [] => String::new(),
    };
    output::line(&format!(
        "prior {}: learned from {} of {} in {}{losses}; {:.1} s",
        prior.number,
        count(record.texts as u64, "text"),
        count(record.users as u64, "user"),
        count(record.update.steps as u64, "step"),
        record.update.seconds,
    ))?;
    if !texts.refused.is_empty() {
        output::line(&format!("left out, as they have said no: {}", named(&texts.refused)))?;
    }
    if !texts.silent.is_empty() {
        output::line(&format!("left out, without a text to learn: {}", named(&texts.silent)))?;
    }
    removed(&change)?;
    output::line(
        "who has learned nothing yet starts from it; `spring prior apply --all` moves the others",
    )
}

/// Whoever runs the program speaks for the users of a file, and not for those of a database that
/// others use, too.
fn check_agreement(store: &Store, path: &StatePlace, from: &Contributors) -> Result<()> {
    let names = match from {
        _ if path.file().is_some() => return Ok(()),
        Contributors::Named(names) => names,
        Contributors::All => bail!(
            "{path}: --all is for state files; in a database users agree by `spring consent \
             --contribute yes`, and --consenting takes them"
        ),
        _ => return Ok(()),
    };
    for name in names {
        if !store.contribution(name)?.contributes {
            bail!(
                "{path}: user {name} has not agreed, and to name one says so only of a state file; \
                 `spring consent --user {name} --contribute yes` puts it on record"
            );
        }
    }
    Ok(())
}

/// Some users in one line.
fn named(users: &[UserId]) -> String {
    let names: Vec<String> =
        users.iter().take(NAMED).map(|user| excerpt(user.as_str(), 40)).collect();
    match users.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Says which priors are gone.
fn removed(change: &PriorChange) -> Result<()> {
    for number in &change.removed {
        output::line(&format!(
            "prior {number} is removed: nothing that was learned starts from it"
        ))?;
    }
    if let Some(reason) = &change.held_up {
        output::line(&format!(
            "the file's free pages still hold what was removed: {reason}; they are rewritten the \
             next time the state is opened for writing",
        ))?;
    }
    Ok(())
}

pub fn show(args: &Args, command: &PriorShowArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadOnly)?;
    let priors = store.priors()?;
    if args.json {
        return priors.iter().try_for_each(output::json);
    }
    if priors.is_empty() {
        return output::line(
            "there is no prior: everybody new starts from the base alone; `spring prior train` \
             learns one",
        );
    }
    let headings = ["prior", "learned on", "users", "texts", "forgotten", "started", ""];
    let mut table = output::table(&headings, &[6]);
    for PriorSummary { number, record, started, in_use, .. } in &priors {
        table.add_row([
            number.to_string(),
            record.finished.strftime("%Y-%m-%d %H:%M").to_string(),
            record.users.to_string(),
            record.texts.to_string(),
            record.forgotten.to_string(),
            started.to_string(),
            if *in_use { "in use".into() } else { String::new() },
        ]);
    }
    output::line(&table.to_string())?;
    output::line("started: users who have learned something from there")?;
    for prior in priors.iter().filter(|prior| prior.in_use) {
        let mut table = output::table(&["user", "agreed", "texts"], &[0]);
        for contributor in &prior.record.contributors {
            table.add_row([
                excerpt(contributor.user.as_str(), 40),
                contributor.agreed.strftime("%Y-%m-%d").to_string(),
                contributor.texts.len().to_string(),
            ]);
        }
        output::line(&format!(
            "\nPrior {}, {:.12}…: learned from, at most {} of each",
            prior.number,
            prior.id,
            count(prior.record.most as u64, "text")
        ))?;
        output::line(&table.to_string())?;
        if prior.record.forgotten > 0 {
            output::line(&format!(
                "{} of its texts were forgotten since, and it knows them; `spring prior train` \
                 learns it again without them",
                prior.record.forgotten
            ))?;
        }
    }
    Ok(())
}

pub fn apply(args: &Args, command: &PriorApplyArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let one = match command.all {
        true => None,
        false => Some(session::user_of(&store, command.user.as_deref(), path)?),
    };
    let onto = match store.prior()? {
        Some(prior) => format!("prior {}", prior.number),
        None => "the base".to_owned(),
    };
    let model = session::model_of(&store, args)?;
    let log = command.audit.audit.as_deref();
    let move_one = |user: &UserId| -> Result<u64> {
        let mut bars = Bars::new(args.quiet);
        let moved = acted(log, "prior.apply", Some(user.as_str()), |event| {
            event.object = Some(onto.clone());
            interrupt::or_interrupted(apply_prior(&model, &store, user, &mut bars))
        });
        bars.finish();
        let moved = moved?;
        match (args.json, moved) {
            (true, _) => output::json(&json!({"user": user, "relearned": moved}))?,
            (false, 0) => {}
            (false, moved) => output::line(&format!(
                "{}: {} learned again from {onto}",
                excerpt(user.as_str(), 40),
                count(moved, "generation")
            ))?,
        }
        Ok(moved)
    };
    let (mut moved, mut failed) = (0, 0);
    match &one {
        Some(user) => moved += move_one(user)?,
        None => {
            let mut last: Option<UserId> = None;
            loop {
                let page = store.users(last.as_ref(), PAGE)?;
                let Some(end) = page.last() else { break };
                last = Some(end.user.clone());
                for summary in &page {
                    if interrupt::requested() {
                        return Err(Interrupted.into());
                    }
                    match move_one(&summary.user) {
                        Ok(generations) => moved += generations,
                        Err(error) => match error.downcast_ref::<Error>() {
                            // Of one user: it stops no other.
                            Some(of_user) if !of_user.is_of_state() => {
                                output::say(&format!("spring: {}", hints::told(of_user)));
                                failed += 1;
                            }
                            _ => return Err(error),
                        },
                    }
                }
            }
        }
    }
    let change = store.sweep_priors()?;
    if failed > 0 {
        bail!(
            "{} not moved, as said above; the others are",
            if failed == 1 { "one user was".to_owned() } else { format!("{failed} users were") }
        );
    }
    if args.json {
        return Ok(());
    }
    if moved == 0 {
        output::line(&format!("nothing to move: all that was learned starts from {onto}"))?;
    }
    removed(&change)
}

pub fn drop(args: &Args, command: &PriorDropArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadWrite)?;
    let change = acted(command.audit.audit.as_deref(), "prior.drop", None, |event| {
        let change = store.drop_prior()?;
        event.object = change.number.map(|number| number.to_string());
        Ok(change)
    })?;
    if args.json {
        return output::json(&json!({"dropped": change.number, "removed": change.removed}));
    }
    let Some(number) = change.number else {
        output::line("there is no prior in use")?;
        return removed(&change);
    };
    output::line(&format!(
        "prior {number} is out of use: everybody new starts from the base alone"
    ))?;
    if !change.removed.contains(&number) {
        output::line(
            "it stays with the users who started from it; `spring prior apply --all` moves them \
             onto the base",
        )?;
    }
    removed(&change)
}

/// What becomes of priors that were learned from what is to be forgotten, in words.
pub(super) fn knows(uses: &[PriorUse]) -> Option<String> {
    let told: Vec<String> = uses
        .iter()
        .map(|used| {
            format!(
                "prior {} was learned from {} of this, and {} started from it",
                used.number,
                count(used.texts as u64, "text"),
                count(used.started, "user")
            )
        })
        .collect();
    (!told.is_empty()).then(|| {
        format!(
            "{}; it knows what it learned until `spring prior train` learns it again and `spring \
             prior apply --all` moves those users",
            told.join("; ")
        )
    })
}

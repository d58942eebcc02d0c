//! `spring ingest`

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use spring_core::{
    Access, Error, Store,
    spring_memory::UserId,
    spring_store::{Error as StoreError, IngestReport},
};
use spring_data::people::{self, Reading, Text};

use crate::{
    args::{Args, IngestArgs},
    files,
    interrupt::{self, Interrupted},
    output::{self, excerpt},
    session,
};

/// Pairs that a dry run shows.
const SHOWN: usize = 10;

pub fn run(args: &Args, command: &IngestArgs) -> Result<()> {
    let options = command.options(interrupt::requested);
    let store = match (&command.state, command.dry_run) {
        (Some(state), false) => Some(session::open(state, Access::ReadWrite)?),
        _ => None,
    };
    let mut reports = Vec::new();
    for path in &command.files {
        files::plain_or_stream(path)?;
        let readings = match people::read(path, &options) {
            Err(people::Error::Stopped) => return Err(Interrupted.into()),
            other => other?,
        };
        for reading in readings {
            if !args.quiet {
                tell(&reading);
            }
            let report = match &store {
                Some(store) => add(args, command, store, reading)?,
                None => preview(args, command, &reading)?,
            };
            reports.push(report);
        }
    }
    if args.json { output::json(&reports) } else { Ok(()) }
}

/// How a file was read, where that was not said by the caller.
fn tell(reading: &Reading) {
    let Reading { source, format, .. } = reading;
    // The program's own format leaves nothing open.
    let is_own = *format == "json" && reading.texts.iter().all(|text| text.user.is_some());
    let say = |text: &str| output::say(&format!("spring: {}: {text}", excerpt(source, 200)));
    if reading.recognised && !is_own {
        say(&format!("read as {format}; --from overrides"));
    }
    if let Some(me) = &reading.me {
        say(&format!("the person is {}; --me overrides", excerpt(me, 200)));
    }
    for note in &reading.notes {
        say(&excerpt(note, 600));
    }
    for problem in &reading.problems {
        output::say(&format!("spring: left out: {problem}"));
    }
}

/// Adds what was read to the state.
fn add(args: &Args, command: &IngestArgs, store: &Store, reading: Reading) -> Result<Value> {
    let (user, why) = user_of(command, Some(store), &reading)?;
    let Reading { source, format, me, left_out, texts, .. } = reading;
    let places: Vec<(String, u64)> =
        texts.iter().map(|text| (text.file.clone(), text.line)).collect();
    let is_named = command.user.is_some();
    let read = texts.len();
    let interactions = texts.into_iter().map(|mut text| {
        if is_named {
            text.user = None;
        }
        text.into_interaction(&user)
    });
    let report: IngestReport = match store.ingest(interactions) {
        Ok(report) => report,
        Err(StoreError::DuplicateId { index, user, id }) => {
            let place = usize::try_from(index).ok().and_then(|index| places.get(index));
            let (file, line) = place.cloned().unwrap_or((source, 0));
            return Err(Error::DuplicateId { file, line, user, id }.into());
        }
        Err(error) => return Err(error.into()),
    };
    if interrupt::requested() {
        // It was added before anybody could stop it.
        output::say(&format!("spring: {source} was added"));
    }
    if !args.json {
        output::line(&format!(
            "{source}: {} added, {} known already, {}{}",
            output::count(report.added, "interaction"),
            report.skipped,
            output::count(report.new_users, "new user"),
            why.map_or(String::new(), |why| format!("; user {user} ({why}; --user overrides)"))
        ))?;
        print_left_out(&left_out)?;
        if read == 0 {
            output::line("  nothing in it can be learned; `spring ingest --dry-run` shows more")?;
        }
    }
    Ok(json!({
        "file": source, "format": format, "me": me, "report": report, "left_out": left_out
    }))
}

/// Shows what would be added.
fn preview(args: &Args, command: &IngestArgs, reading: &Reading) -> Result<Value> {
    let (user, why) = user_of(command, None, reading)?;
    let texts = &reading.texts;
    let named = |text: &Text| match (&command.user, &text.user) {
        (None, Some(user)) => user.to_string(),
        _ => user.to_string(),
    };
    let mut users: Vec<String> = texts.iter().map(named).collect();
    users.sort();
    users.dedup();
    let (first, last) = (texts.first().map(|t| t.time), texts.last().map(|t| t.time));
    let mut words: Vec<usize> =
        texts.iter().map(|text| text.response.split_whitespace().count()).collect();
    words.sort_unstable();
    let median = words.get(words.len() / 2).copied().unwrap_or(0);
    // From all of the time, not the beginning alone.
    let count = texts.len().min(SHOWN);
    let shown: Vec<&Text> = (0..count).map(|place| &texts[place * texts.len() / count]).collect();
    if !args.json {
        let days = |time: Option<jiff::Timestamp>| {
            time.map_or("–".into(), |time| time.strftime("%Y-%m-%d").to_string())
        };
        let whose = match (users.as_slice(), why) {
            ([one], Some(why)) => format!("user {one} ({why}; --user overrides)"),
            ([one], None) => format!("user {one}"),
            (many, _) => format!("{} users", many.len()),
        };
        output::line(&format!(
            "{}: {}, {whose}, {} to {}, median {median} words; nothing was added",
            reading.source,
            if texts.len() == 1 { "1 text".into() } else { format!("{} texts", texts.len()) },
            days(first),
            days(last)
        ))?;
        print_left_out(&reading.left_out)?;
        for (number, text) in (1..).zip(&shown) {
            let day = text.time.strftime("%Y-%m-%d");
            output::line(&format!("{number:>3}  {day}  {}", excerpt(&text.prompt, 62)))?;
            output::line(&format!("       writes →  {}", excerpt(&text.response, 62)))?;
        }
    }
    Ok(json!({
        "file": reading.source, "format": reading.format, "me": reading.me, "users": users,
        "texts": texts.len(), "first": first, "last": last, "median_words": median,
        "left_out": reading.left_out, "problems": reading.problems, "notes": reading.notes,
        "pairs": shown
    }))
}

fn print_left_out(left_out: &[people::LeftOut]) -> Result<()> {
    for (parts, heading) in [(false, "left out"), (true, "cut off")] {
        for found in left_out.iter().filter(|found| found.reason.is_part() == parts) {
            let line = if found.line > 0 { format!(":{}", found.line) } else { String::new() };
            let file = Path::new(&found.file).file_name().unwrap_or_default().to_string_lossy();
            let place = excerpt(&format!("{file}{line}"), 60);
            output::line(&format!(
                "  {heading}: {}, {} (first: {place})",
                found.reason, found.count
            ))?;
        }
    }
    Ok(())
}

/// The user for texts that name none, and how it was chosen if nobody said it.
fn user_of(
    command: &IngestArgs,
    store: Option<&Store>,
    reading: &Reading,
) -> Result<(UserId, Option<String>)> {
    if let Some(name) = &command.user {
        let mut named = reading.texts.iter().filter_map(|text| text.user.as_ref());
        if let Some(first) = named.next()
            && let Some(other) = named.find(|other| *other != first)
        {
            bail!(
                "{}: it has texts of several users, {first} and {other} among them; choose one \
                 with --me {first}, or leave out --user",
                reading.source
            );
        }
        return Ok((UserId::new(name.clone())?, None));
    }
    if reading.texts.iter().all(|text| text.user.is_some()) {
        return Ok((UserId::new("me")?, None));
    }
    let known = store.map(|store| store.users(None, 2)).transpose()?.unwrap_or_default();
    if let Some(name) = &reading.user {
        let user = UserId::new(name.clone())?;
        let why = match known.first() {
            Some(other) if known.len() == 1 && other.user != user => {
                format!("from the person's name; the state also has {}", other.user)
            }
            _ => "from the person's name".into(),
        };
        return Ok((user, Some(why)));
    }
    if let [only] = known.as_slice() {
        return Ok((only.user.clone(), Some("the only one of the state".into())));
    }
    Ok((UserId::new("me")?, Some("the file names nobody".into())))
}

//! A user from one installation to another, by a folder.

use std::iter;

use rusqlite::{Connection, params_from_iter, types::Value};
use spring_lm::Adapter;
use spring_memory::{Interaction, JsonlReader, UserId};

use super::{
    fault::{Fault, Outcome},
    file,
    folder::{
        ANSWERS, Bank, FORMAT, Folder, GENERATIONS, HISTORY, Header, Line, MAX_GENERATION, MAX_PERIODS,
        MAX_SEQ, PLACES, Place, SETTINGS, USER,
    },
    user::User,
    value::{Json, to_json},
};
use crate::{
    Config, Error, Result,
    record::AnswerRecord,
    store::{Settings, Transferred},
};

/// Writes all that is kept of a user.
pub(super) fn export(
    user: &User<'_>,
    settings: &Settings,
    folder: &Folder,
    step: &mut dyn FnMut() -> Result<()>,
) -> Outcome<Transferred> {
    let toml = toml::to_string(&settings.config)
        .map_err(|error| Fault::State(format!("the settings cannot be written as TOML: {error}")))?;
    folder.write(SETTINGS, &toml)?;
    let next_seq =
        user.row("users", "SELECT next_seq FROM users WHERE key = ?1", [user.key], |row| row.get(0))?;
    let periods = user.row(
        "periods",
        "SELECT coalesce(max(number), 0) FROM periods WHERE user = ?1",
        [user.key],
        |row| row.get(0),
    )?;
    let header = Header {
        format: FORMAT,
        user: user.name.clone(),
        model: settings.model.clone(),
        fingerprint: settings.fingerprint.clone(),
        next_seq: next_seq.unwrap_or(1),
        periods: periods.unwrap_or_default(),
        generation: user.generation,
    };
    let transferred = Transferred {
        user: user.name.clone(),
        interactions: export_history(user, folder, step)?,
        generations: export_generations(user, folder, step)?,
        answers: export_answers(user, folder, step)?,
        settings_differ: false,
    };
    // Last: without it a folder is no export, so that one cut short is not taken for a whole one.
    let mut lines = folder.lines(USER)?;
    lines.add(|| "the header".into(), &header)?;
    lines.end()?;
    folder.sync()?;
    Ok(transferred)
}

fn export_history(user: &User<'_>, folder: &Folder, step: &mut dyn FnMut() -> Result<()>) -> Outcome<u64> {
    let (mut history, mut places) = (folder.lines(HISTORY)?, folder.lines(PLACES)?);
    let query = "SELECT i.*, m.period, m.held_out FROM interactions i LEFT JOIN members m USING (user, seq)
                 WHERE i.user = ?1 ORDER BY i.seq";
    let count = user.each(
        "interactions",
        query,
        [user.key],
        |row| {
            let stored = user.stored(row)?;
            let held_out: Option<bool> = row.get("held_out")?;
            let place = Place {
                seq: row.get("seq")?,
                base: stored.base,
                period: row.get("period")?,
                held_out: held_out.unwrap_or_default(),
            };
            Ok((stored.interaction, place))
        },
        |(interaction, place)| {
            step()?;
            let what = || format!("interaction {}", interaction.id);
            history.add(what, &interaction)?;
            places.add(what, &place)
        },
    )?;
    history.end()?;
    places.end()?;
    Ok(count)
}

fn export_generations(
    user: &User<'_>,
    folder: &Folder,
    step: &mut dyn FnMut() -> Result<()>,
) -> Outcome<u64> {
    let mut lines = folder.lines(GENERATIONS)?;
    let query = "SELECT g.*, m.buffer, m.calibration, m.adapter FROM generations g
                 LEFT JOIN memories m ON m.user = g.user AND m.generation = g.number
                 WHERE g.user = ?1 ORDER BY g.number";
    let count = user.each(
        "generations",
        query,
        [user.key],
        |row| {
            let buffer: Option<Json<_>> = row.get("buffer")?;
            let calibration: Option<Json<_>> = row.get("calibration")?;
            let memories =
                buffer.zip(calibration).map(|(Json(buffer), Json(calibration))| Bank { buffer, calibration });
            let Json(record) = row.get("record")?;
            let (number, parent, period) = (row.get("number")?, row.get("parent")?, row.get("period")?);
            let adapter: Option<Vec<u8>> = row.get("adapter")?;
            Ok((Line { number, parent, period, memories, record }, adapter))
        },
        |(line, adapter)| {
            step()?;
            if let Some(adapter) = adapter {
                Adapter::from_bytes(&adapter)?.save_peft(folder.adapter(line.number))?;
                folder.sync_adapter(line.number)?;
            }
            lines.add(|| format!("generation {}", line.number), &line)
        },
    )?;
    lines.end()?;
    Ok(count)
}

fn export_answers(user: &User<'_>, folder: &Folder, step: &mut dyn FnMut() -> Result<()>) -> Outcome<u64> {
    let mut lines = folder.lines(ANSWERS)?;
    let query = "SELECT record FROM answers WHERE user = ?1 ORDER BY key";
    let read = |row: &rusqlite::Row<'_>| row.get("record").map(|Json::<AnswerRecord>(record)| record);
    let count = user.each("answers", query, [user.key], read, |record| {
        step()?;
        lines.add(|| format!("the record of a text of {}", record.time), &record)
    })?;
    lines.end()?;
    Ok(count)
}

/// Whose folder it is, and whether this version and a state of these settings can take it.
pub(super) fn header(folder: &Folder, settings: &Settings) -> Result<Header> {
    let wrong = |reason: String| folder.wrong(USER, None, reason);
    let header: Header = serde_json::from_str(&folder.text(USER)?).map_err(|e| wrong(e.to_string()))?;
    if header.format != FORMAT {
        let reason = format!(
            "of the format {}; this version reads {FORMAT}, so update the older program",
            header.format
        );
        return Err(wrong(reason));
    }
    if header.fingerprint != settings.fingerprint {
        return Err(wrong(format!(
            "learned on another base model or tokenizer ({}, fingerprint {:.12}…) than this state's ({}, {:.12}…)",
            header.model, header.fingerprint, settings.model, settings.fingerprint
        )));
    }
    if !(1..=MAX_SEQ).contains(&header.next_seq) || header.periods > MAX_PERIODS {
        return Err(wrong(format!(
            "next_seq is at least 1 and at most {MAX_SEQ}, and periods at most {MAX_PERIODS}"
        )));
    }
    Ok(header)
}

/// Refuses a user whom the state has.
pub(super) fn check_is_new(connection: &Connection, folder: &Folder, user: &UserId) -> Outcome<()> {
    if User::find(connection, user)?.is_none() {
        return Ok(());
    }
    let reason = format!("the state has a user {user} already; `spring forget` removes them");
    Err(folder.wrong(USER, None, reason).into())
}

/// Adds the user of a folder to a store of their own, which takes over the folder's settings; `check` refuses adapters
/// that do not fit the model.
pub(super) fn import(
    connection: &Connection,
    settings: &Settings,
    folder: &Folder,
    header: &Header,
    check: &dyn Fn(&Adapter) -> Result<()>,
    step: &mut dyn FnMut() -> Result<()>,
) -> Outcome<Transferred> {
    let wrong = |reason: String| folder.wrong(USER, None, reason);
    let config = Config::from_toml(&folder.text(SETTINGS)?, &folder.label(SETTINGS))?;
    // What the log-likelihoods were computed under.
    file::set_config(connection, &config)?;
    let user = User::add(connection, &header.user)?;
    for number in 1..=header.periods {
        user.execute("INSERT INTO periods (user, number) VALUES (?1, ?2)", (user.key, number))?;
    }
    let interactions = import_history(&user, header, folder, step)?;
    let generations = import_generations(&user, header, folder, check, step)?;
    let mut answers = 0;
    for line in folder.values::<AnswerRecord>(ANSWERS)? {
        step()?;
        let (number, answer) = line?;
        let record =
            to_json("the record", &answer).map_err(|_| folder.wrong(ANSWERS, Some(number), "not finite"))?;
        user.execute("INSERT INTO answers (user, record) VALUES (?1, ?2)", (user.key, record))?;
        answers += 1;
    }
    if header.generation > 0 && user.check_kept(header.generation).is_err() {
        return Err(wrong(format!("generation {} is in use but not there", header.generation)).into());
    }
    user.execute(
        "UPDATE users SET next_seq = ?2, generation = ?3 WHERE key = ?1",
        (user.key, header.next_seq, header.generation),
    )?;
    let settings_differ = config != settings.config;
    Ok(Transferred { user: header.user.clone(), interactions, generations, answers, settings_differ })
}

/// What hangs on a user: table, columns, and the one that orders them; each after those that it refers to.
const TABLES: [(&str, &str, &str); 6] = [
    ("periods", "number", "number"),
    ("interactions", "seq, id, seconds, nanoseconds, base, meta, prompt, response", "seq"),
    ("members", "seq, period, held_out", "seq"),
    ("generations", "number, parent, period, record", "number"),
    ("memories", "generation, buffered, buffer, calibration, adapter", "generation"),
    ("answers", "record", "key"),
];

/// Gives a new user all that the only user of another store has, but for log-likelihoods of texts that are cut elsewhere
/// here.
pub(super) fn copy(from: &Connection, user: &User<'_>) -> Outcome<()> {
    for (table, columns, order) in TABLES {
        let places: Vec<String> = (2..).take(columns.split(',').count()).map(|n| format!("?{n}")).collect();
        let add = format!("INSERT INTO {table} (user, {columns}) VALUES (?1, {})", places.join(", "));
        let mut add = user.connection.prepare(&add)?;
        let mut query = from.prepare(&format!("SELECT {columns} FROM {table} ORDER BY {order}"))?;
        let mut rows = query.query(())?;
        while let Some(row) = rows.next()? {
            let values = (0..places.len()).map(|column| row.get(column));
            let values: Vec<Value> =
                iter::once(Ok(user.key.into())).chain(values).collect::<Result<_, _>>()?;
            add.execute(params_from_iter(values))?;
        }
    }
    if !user.is_cut_at(file::read_settings(from)?.config.training.max_tokens)? {
        user.execute("UPDATE interactions SET base = NULL WHERE user = ?1", [user.key])?;
    }
    let query = "SELECT next_seq, generation, pending FROM users";
    let (next_seq, generation, pending): (i64, u32, i64) =
        from.query_row(query, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    user.execute(
        "UPDATE users SET next_seq = ?2, generation = ?3, pending = ?4 WHERE key = ?1",
        (user.key, next_seq, generation, pending),
    )?;
    Ok(())
}

fn import_history(
    user: &User<'_>,
    header: &Header,
    folder: &Folder,
    step: &mut dyn FnMut() -> Result<()>,
) -> Outcome<u64> {
    let mut history = JsonlReader::new(folder.read(HISTORY, u64::MAX)?, folder.label(HISTORY));
    let (mut last, mut count) = (0, 0);
    for place in folder.values::<Place>(PLACES)? {
        step()?;
        let (line, place) = place?;
        let wrong = |reason: String| folder.wrong(PLACES, Some(line), reason);
        let (_, interaction) =
            history.next().ok_or_else(|| wrong(format!("there is no such line in {HISTORY}")))??;
        check_place(user.name, header, &interaction, &place, last).map_err(wrong)?;
        if user.by_id(&interaction.id)?.is_some() {
            return Err(wrong(format!("interaction {} is there twice", interaction.id)).into());
        }
        user.insert_at(place.seq, &interaction, place.base)?;
        match place.period {
            Some(period) => user.execute(
                "INSERT INTO members (user, seq, period, held_out) VALUES (?1, ?2, ?3, ?4)",
                (user.key, place.seq, period, place.held_out),
            )?,
            None => user.execute("UPDATE users SET pending = pending + 1 WHERE key = ?1", [user.key])?,
        };
        (last, count) = (place.seq, count + 1);
    }
    match history.next() {
        None => Ok(count),
        Some(_) => Err(folder.wrong(PLACES, None, format!("has fewer lines than {HISTORY}")).into()),
    }
}

fn check_place(
    user: &UserId,
    header: &Header,
    interaction: &Interaction,
    place: &Place,
    last: i64,
) -> std::result::Result<(), String> {
    if interaction.user != *user {
        return Err(format!("the interaction is of {}, not of {user}", interaction.user));
    }
    if place.seq <= last || place.seq >= header.next_seq {
        return Err(format!("seq {} is not above {last} and below {}", place.seq, header.next_seq));
    }
    if place.base.is_some_and(|base| !base.is_finite()) {
        return Err("base is no finite number".into());
    }
    match place.period {
        Some(period) if !(1..=header.periods).contains(&period) => {
            Err(format!("there is no period {period}"))
        }
        None if place.held_out => Err("held out of no period".into()),
        _ => Ok(()),
    }
}

fn import_generations(
    user: &User<'_>,
    header: &Header,
    folder: &Folder,
    check: &dyn Fn(&Adapter) -> Result<()>,
    step: &mut dyn FnMut() -> Result<()>,
) -> Outcome<u64> {
    let mut known = std::collections::BTreeSet::from([0]);
    for line in folder.values::<Line>(GENERATIONS)? {
        step()?;
        let (at, line) = line?;
        let wrong = |reason: String| Fault::from(folder.wrong(GENERATIONS, Some(at), reason));
        let Line { number, parent, period, memories, record } = line;
        if number > MAX_GENERATION {
            return Err(wrong(format!(
                "generation {number} is above the {MAX_GENERATION} that there may be"
            )));
        }
        if known.last().is_some_and(|last| *last >= number) || !known.contains(&parent) {
            return Err(wrong(format!("generation {number} from {parent} is not in order")));
        }
        if !(1..=header.periods).contains(&period) || (record.period, record.parent) != (period, parent) {
            return Err(wrong(format!("generation {number} and its record do not fit each other")));
        }
        for score in &record.scores {
            if user.place(score.seq)? != Some((period, false)) {
                return Err(wrong(format!("text {} is not one that period {period} learns from", score.seq)));
            }
        }
        let record = to_json("the record", &record).map_err(|_| wrong("a number is not finite".into()))?;
        user.execute(
            "INSERT INTO generations (user, number, parent, period, record) VALUES (?1, ?2, ?3, ?4, ?5)",
            (user.key, number, parent, period, record),
        )?;
        if let Some(Bank { buffer, calibration }) = memories {
            for item in &buffer {
                if !matches!(user.place(item.key)?, Some((_, false))) {
                    return Err(wrong(format!("text {} cannot be in a buffer", item.key)));
                }
            }
            let adapter = Adapter::load_peft(folder.check_adapter(number)?).map_err(Error::from)?;
            if adapter.base != header.fingerprint {
                return Err(wrong(format!("the adapter of generation {number} is of another base model")));
            }
            check(&adapter)?;
            let adapter = adapter.to_bytes().map_err(Error::from)?;
            user.insert_memories(number, &adapter, &buffer, &calibration)?;
        }
        known.insert(number);
    }
    Ok(known.len() as u64 - 1)
}

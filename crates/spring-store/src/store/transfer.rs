//! A user from one installation to another, by a folder.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    path::Path,
};

use spring_lm::{Adapter, ModelError};
use spring_memory::{Interaction, JsonlReader, UserId};

use super::{
    Store, answers,
    encode::{from_json, row_of, stored, to_json},
    folder::{
        ANSWERS, Bank, FORMAT, Folder, GENERATIONS, HISTORY, Header, Line, MAX_GENERATION,
        MAX_PERIODS, MAX_SEQ, PLACES, Place, SETTINGS, USER,
    },
    generations::{check_kept, put_memories},
    known, settings_row, stored_config,
};
use crate::{
    Config, Error, Result, Settings, TransferError, Transferred,
    backend::{
        Backend, Durability, Fault, InteractionRow, Outcome, Rows, RowsMut, Text, Texts, UserRow,
    },
    record::{AnswerRecord, PeriodRecord},
};

/// Follows a long work: is told what is done so far before each step, and answers `Break` to stop
/// it.
pub type Step<'s> = &'s mut dyn FnMut(u64) -> ControlFlow<()>;

impl<B: Backend + ?Sized> Store<B> {
    /// Writes all that is kept of a user to a new folder, which only its owner may enter: texts as
    /// JSONL, adapters as PEFT folders, records and settings. See docs/formats.md. `step` is called
    /// before each text, generation and record.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`] if the folder is there already or cannot be written, or something is
    /// larger than an import takes; or [`Error::Stopped`]. Nothing is left of the folder then.
    pub fn export(
        &self,
        user: &UserId,
        folder: impl AsRef<Path>,
        step: Step<'_>,
    ) -> Result<Transferred> {
        self.user(user)?;
        let folder = Folder::create(folder.as_ref())?;
        let mut steps = Steps { step, done: 0 };
        let exported =
            self.read_user(user, |rows, row| export(rows, user, row, &folder, &mut steps));
        exported.inspect_err(|_| folder.remove())
    }

    /// Adds a user from a folder that [`export`](Self::export) wrote, as they were there. The
    /// state's own settings stay.
    ///
    /// The folder is not trusted: links and files of unlikely size are refused, everything is
    /// checked, and it is added whole or not at all. It is read to its end before others are kept
    /// from writing. `check` refuses adapters that do not fit the model, such as by
    /// [`Adapter::check`].
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`], naming the file and line, also if the state has the user already or was
    /// made for another base; or [`Error::Stopped`].
    pub fn import(
        &self,
        folder: impl AsRef<Path>,
        check: &dyn Fn(&Adapter) -> Result<(), ModelError>,
        step: Step<'_>,
    ) -> Result<Transferred> {
        let folder = Folder::open(folder.as_ref());
        let header = header(&folder, &self.settings)?;
        self.read(|rows| check_is_new(rows, &folder, &header.user))?;
        let config = Config::from_toml(&folder.text(SETTINGS)?, &folder.label(SETTINGS))?;
        // What the log-likelihoods were computed under.
        let settings = Settings { config, ..self.settings.clone() };
        let failed = |fault: Fault| fault.at(self.backend.label());
        let row = settings_row(&settings).map_err(failed)?;
        let scratch = self.backend.scratch(&row).map_err(failed)?;
        let mut import = Import { folder: &folder, header: &header, check, step, done: 0 };
        let mut imported = None;
        let read = scratch.write(Durability::Process, &mut |rows| {
            imported = Some(import.run(rows).map_err(|fault| fault.of_user(&header.user))?);
            Ok(())
        });
        read.map_err(failed)?;
        let (interactions, generations, answers) = imported.unwrap_or_default();
        self.write(|rows| {
            check_is_new(rows, &folder, &header.user)?;
            scratch.read(&mut |from| copy(from, &header.user, rows))
        })?;
        let settings_differ = settings.config != self.settings.config;
        let user = header.user.clone();
        Ok(Transferred { user, interactions, generations, answers, settings_differ })
    }
}

/// Tells of one more thing done; the error is a request to stop.
struct Steps<'s> {
    step: Step<'s>,
    done: u64,
}

impl Steps<'_> {
    fn next(&mut self) -> Outcome<()> {
        self.done += 1;
        match (self.step)(self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped.into()),
        }
    }
}

fn export(
    rows: &dyn Rows,
    name: &UserId,
    user: &UserRow,
    folder: &Folder,
    steps: &mut Steps<'_>,
) -> Outcome<Transferred> {
    // The log-likelihoods are of the settings that are stored with them.
    let settings = rows.settings()?;
    let config: Config = from_json("settings", &settings.config)?;
    let toml = toml::to_string(&config).map_err(|error| {
        Fault::Unusable(format!("the settings cannot be written as TOML: {error}"))
    })?;
    folder.write(SETTINGS, &toml)?;
    let header = Header {
        format: FORMAT,
        user: name.clone(),
        model: settings.model,
        fingerprint: settings.fingerprint,
        next_seq: user.next_seq,
        periods: rows.periods(user.key)?.last().copied().unwrap_or_default(),
        generation: user.generation,
    };
    let transferred = Transferred {
        user: name.clone(),
        interactions: export_history(rows, name, user, folder, steps)?,
        generations: export_generations(rows, user, base_of(&header.model), folder, steps)?,
        answers: export_answers(rows, user, folder, steps)?,
        settings_differ: false,
    };
    // Last: without it a folder is not an export, so that one cut short is not taken for a whole
    // one.
    let mut lines = folder.lines(USER)?;
    lines.add(|| "the header".into(), &header)?;
    lines.end()?;
    folder.sync()?;
    Ok(transferred)
}

fn export_history(
    rows: &dyn Rows,
    name: &UserId,
    user: &UserRow,
    folder: &Folder,
    steps: &mut Steps<'_>,
) -> Outcome<u64> {
    let (mut history, mut places) = (folder.lines(HISTORY)?, folder.lines(PLACES)?);
    let mut count = 0;
    rows.interactions(user.key, Texts::BySeq, &mut |row| {
        steps.next()?;
        let (text, place) = stored(row, name)?;
        let what = || format!("interaction {}", text.interaction.id);
        history.add(what, &text.interaction)?;
        let (period, held_out) = (place.map(|place| place.0), place.is_some_and(|place| place.1));
        places.add(what, &Place { seq: text.seq, base: text.base, period, held_out })?;
        count += 1;
        Ok(())
    })?;
    history.end()?;
    places.end()?;
    Ok(count)
}

/// What PEFT calls the base model: a folder, or a name on the hub. It knows no built-in one.
fn base_of(model: &str) -> Option<&str> {
    let name = model.strip_prefix("hub:").unwrap_or(model);
    (model != "embedded").then_some(name)
}

fn export_generations(
    rows: &dyn Rows,
    user: &UserRow,
    base: Option<&str>,
    folder: &Folder,
    steps: &mut Steps<'_>,
) -> Outcome<u64> {
    let mut lines = folder.lines(GENERATIONS)?;
    let generations = rows.generations(user.key)?;
    for row in &generations {
        steps.next()?;
        let number = row.number;
        let memories = match rows.memories(user.key, number)? {
            None => None,
            Some(memories) => {
                let adapter = Adapter::from_bytes(&memories.adapter).map_err(Error::from)?;
                adapter.save_peft(folder.adapter(number), base).map_err(Error::from)?;
                folder.sync_adapter(number)?;
                let buffer = from_json("memories", &memories.buffer)?;
                let calibration = from_json("memories", &memories.calibration)?;
                Some(Bank { buffer, calibration })
            }
        };
        let record = rows.record(user.key, number)?.unwrap_or_default();
        let record: PeriodRecord = from_json("generations", &record)?;
        let line = Line { number, parent: row.parent, period: row.period, memories, record };
        lines.add(|| format!("generation {number}"), &line)?;
    }
    lines.end()?;
    Ok(generations.len() as u64)
}

fn export_answers(
    rows: &dyn Rows,
    user: &UserRow,
    folder: &Folder,
    steps: &mut Steps<'_>,
) -> Outcome<u64> {
    let mut lines = folder.lines(ANSWERS)?;
    let mut count = 0;
    answers::each(rows, user.key, |_, record| {
        steps.next()?;
        let answer: AnswerRecord = from_json("answers", record)?;
        lines.add(|| format!("the record of a text of {}", answer.time), &answer)?;
        count += 1;
        Ok(())
    })?;
    lines.end()?;
    Ok(count)
}

/// Whose folder it is, and whether this version and a state of these settings can take it.
fn header(folder: &Folder, settings: &Settings) -> Result<Header, TransferError> {
    let wrong = |reason: String| folder.wrong(USER, None, reason);
    let header: Header =
        serde_json::from_str(&folder.text(USER)?).map_err(|e| wrong(e.to_string()))?;
    if header.format != FORMAT {
        let reason = format!(
            "of the format {}; this version reads {FORMAT}, so update the older program",
            header.format
        );
        return Err(wrong(reason));
    }
    if header.fingerprint != settings.fingerprint {
        return Err(wrong(format!(
            "learned on another base model or tokenizer ({}, fingerprint {:.12}…) than this \
             state's ({}, {:.12}…)",
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
fn check_is_new(rows: &dyn Rows, folder: &Folder, user: &UserId) -> Outcome<()> {
    match rows.user(user)? {
        None => Ok(()),
        Some(_) => {
            Err(TransferError::Present { place: folder.label(USER), user: user.clone() }.into())
        }
    }
}

/// Gives a state all that another one has of a user, but for log-likelihoods of texts that are cut
/// elsewhere here.
fn copy(from: &dyn Rows, name: &UserId, to: &mut dyn RowsMut) -> Outcome<()> {
    let max_tokens = |config: Config| config.training.max_tokens;
    let is_cut_alike = max_tokens(stored_config(from)?) == max_tokens(stored_config(&*to)?);
    let there = known(from, name)?;
    let removals = to.settings()?.removals;
    let here = to.add_user(name, removals)?;
    let mut members: BTreeMap<u32, Vec<(u64, bool)>> = BTreeMap::new();
    from.interactions(there.key, Texts::BySeq, &mut |mut row| {
        row.base = row.base.filter(|_| is_cut_alike);
        if let Some((period, held_out)) = row.place {
            members.entry(period).or_default().push((row.seq, held_out));
        }
        to.put_interaction(here.key, &row)
    })?;
    for number in from.periods(there.key)? {
        to.put_period(here.key, number, &members.remove(&number).unwrap_or_default())?;
    }
    for row in from.generations(there.key)? {
        let record = from.record(there.key, row.number)?.unwrap_or_default();
        to.put_generation(here.key, row.number, row.parent, row.period, &record)?;
        if let Some(memories) = from.memories(there.key, row.number)? {
            to.put_memories(here.key, row.number, Some(&memories))?;
        }
    }
    answers::each(from, there.key, |_, record| to.put_answer(here.key, record))?;
    let UserRow { key, removals, .. } = here;
    to.put_user(&UserRow { key, removals, ..there })
}

/// The period of each text, and whether it is held out there.
type Places = HashMap<u64, Option<(u32, bool)>>;

/// Adds the user of a folder to an empty state, which has the folder's settings.
struct Import<'a> {
    folder: &'a Folder,
    header: &'a Header,
    check: &'a dyn Fn(&Adapter) -> Result<(), ModelError>,
    step: Step<'a>,
    done: u64,
}

impl Import<'_> {
    /// Gives the numbers of interactions, generations and records of texts.
    fn run(&mut self, rows: &mut dyn RowsMut) -> Outcome<(u64, u64, u64)> {
        let (folder, header) = (self.folder, self.header);
        let mut user = rows.add_user(&header.user, 0)?;
        for number in 1..=header.periods {
            rows.put_period(user.key, number, &[])?;
        }
        let places = self.history(rows, &mut user)?;
        let generations = self.generations(rows, user.key, &places)?;
        let mut answers = 0;
        for line in folder.values::<AnswerRecord>(ANSWERS)? {
            self.next()?;
            let (number, answer) = line?;
            let record = to_json("the record", &answer)
                .map_err(|_| folder.wrong(ANSWERS, Some(number), "not finite"))?;
            rows.put_answer(user.key, &record)?;
            answers += 1;
        }
        if header.generation > 0 {
            let stored = rows.generations(user.key)?;
            if check_kept(&stored, &header.user, header.generation).is_err() {
                let reason = format!("generation {} is in use but not there", header.generation);
                return Err(folder.wrong(USER, None, reason).into());
            }
        }
        (user.next_seq, user.generation) = (header.next_seq, header.generation);
        rows.put_user(&user)?;
        Ok((places.len() as u64, generations, answers))
    }

    fn next(&mut self) -> Outcome<()> {
        let mut steps = Steps { step: &mut *self.step, done: self.done };
        let next = steps.next();
        self.done = steps.done;
        next
    }

    fn history(&mut self, rows: &mut dyn RowsMut, user: &mut UserRow) -> Outcome<Places> {
        let (folder, header) = (self.folder, self.header);
        let mut history = JsonlReader::new(folder.read(HISTORY, u64::MAX)?, folder.label(HISTORY));
        let (mut last, mut places) = (0, Places::new());
        for place in folder.values::<Place>(PLACES)? {
            self.next()?;
            let (line, place) = place?;
            let wrong = |reason: String| folder.wrong(PLACES, Some(line), reason);
            let interaction = history
                .next()
                .ok_or_else(|| wrong(format!("there is no such line in {HISTORY}")))?;
            let (_, interaction) = interaction.map_err(TransferError::from)?;
            check_place(header, &interaction, &place, last).map_err(wrong)?;
            let (_, row) = row_of(interaction)?;
            if rows.interaction(user.key, Text::Id(&row.id))?.is_some() {
                return Err(wrong(format!("interaction {} is there twice", row.id)).into());
            }
            // Not every backend keeps the sign of a zero.
            let base = place.base.map(|base| base + 0.0);
            let row = InteractionRow { seq: place.seq, base, ..row };
            rows.put_interaction(user.key, &row)?;
            match place.period {
                Some(period) => {
                    rows.put_period(user.key, period, &[(place.seq, place.held_out)])?
                }
                None => user.pending += 1,
            }
            places.insert(place.seq, place.period.map(|period| (period, place.held_out)));
            last = place.seq;
        }
        match history.next() {
            None => Ok(places),
            Some(_) => {
                let reason = format!("has fewer lines than {HISTORY}");
                Err(folder.wrong(PLACES, None, reason).into())
            }
        }
    }

    fn generations(&mut self, rows: &mut dyn RowsMut, user: i64, places: &Places) -> Outcome<u64> {
        let folder = self.folder;
        let mut known = BTreeSet::from([0]);
        for line in folder.values::<Line>(GENERATIONS)? {
            self.next()?;
            let (at, line) = line?;
            let wrong = |reason: String| Fault::from(folder.wrong(GENERATIONS, Some(at), reason));
            check_line(self.header, &line, &known, places).map_err(wrong)?;
            let Line { number, parent, period, memories, record } = line;
            let record = to_json("the record", &record)
                .map_err(|_| wrong("a number is not finite".into()))?;
            rows.put_generation(user, number, parent, period, &record)?;
            if let Some(bank) = memories {
                self.memories(rows, user, number, &bank).map_err(|fault| match fault {
                    Fault::Unusable(reason) => wrong(reason),
                    other => other,
                })?;
            }
            known.insert(number);
        }
        Ok(known.len() as u64 - 1)
    }

    fn memories(
        &self,
        rows: &mut dyn RowsMut,
        user: i64,
        number: u32,
        Bank { buffer, calibration }: &Bank,
    ) -> Outcome<()> {
        let path = self.folder.check_adapter(number)?;
        let adapter = Adapter::load_peft(path).map_err(Error::from)?;
        if adapter.base != self.header.fingerprint {
            let reason = format!("the adapter of generation {number} is of another base model");
            return Err(Fault::Unusable(reason));
        }
        (self.check)(&adapter).map_err(Error::from)?;
        let adapter = adapter.to_bytes().map_err(Error::from)?;
        put_memories(rows, &self.header.user, user, number, (&adapter, buffer, calibration))
    }
}

fn check_place(
    header: &Header,
    interaction: &Interaction,
    place: &Place,
    last: u64,
) -> Result<(), String> {
    let user = &header.user;
    if interaction.user != *user {
        return Err(format!("the interaction is of {}, not of {user}", interaction.user));
    }
    if place.seq <= last || place.seq >= header.next_seq {
        return Err(format!("seq {} is not above {last} and below {}", place.seq, header.next_seq));
    }
    if place.base.is_some_and(|base| !base.is_finite()) {
        return Err("base is not a finite number".into());
    }
    match place.period {
        Some(period) if !(1..=header.periods).contains(&period) => {
            Err(format!("there is no period {period}"))
        }
        None if place.held_out => Err("held out of no period".into()),
        _ => Ok(()),
    }
}

fn check_line(
    header: &Header,
    line: &Line,
    known: &BTreeSet<u32>,
    places: &Places,
) -> Result<(), String> {
    let Line { number, parent, period, memories, record } = line;
    if *number > MAX_GENERATION {
        return Err(format!("generation {number} is above {MAX_GENERATION}, the highest number"));
    }
    if known.last().is_some_and(|last| last >= number) || !known.contains(parent) {
        return Err(format!("generation {number} from {parent} is not in order"));
    }
    if !(1..=header.periods).contains(period)
        || (record.period, record.parent) != (*period, *parent)
    {
        return Err(format!("generation {number} and its record do not fit each other"));
    }
    let place = |seq| places.get(&seq).copied().flatten();
    for score in &record.scores {
        if place(score.seq) != Some((*period, false)) {
            return Err(format!("text {} is not one that period {period} learns from", score.seq));
        }
    }
    for item in memories.iter().flat_map(|bank| &bank.buffer) {
        if !matches!(place(item.key), Some((_, false))) {
            return Err(format!("text {} cannot be in a buffer", item.key));
        }
    }
    Ok(())
}

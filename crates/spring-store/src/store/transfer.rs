//! A user from one installation to another, by a folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::Path,
};

use spring_lm::{Adapter, ModelError};
use spring_memory::UserId;

use super::{
    Store, answers,
    consent::consent,
    contribution::contribution,
    encode::{from_json, stored},
    folder::Folder,
    import::{Import, header},
    known,
    layout::{
        ANSWERS, Agreed, Bank, FORMAT, GENERATIONS, HISTORY, Header, Line, PLACES, PRIORS, Place,
        SETTINGS, Said, StartLine, USER, WITHOUT_PRIORS, prior_folder,
    },
    prior, settings_row,
    steps::{Step, Steps},
    stored_config,
};
use crate::{
    Config, Consent, Contribution, Error, PriorRecord, Result, Settings, TransferError,
    Transferred,
    backend::{
        Backend, Durability, Fault, LearnedRow, MemberRow, Outcome, PriorRow, Rows, RowsMut,
        Summed, Texts, UserRow,
    },
    record::{AnswerRecord, PeriodRecord},
};

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
        let mut steps = Steps::new(step);
        let exported =
            self.read_user(user, |rows, row| export(rows, user, row, &folder, &mut steps));
        exported.inspect_err(|_| folder.remove())
    }

    /// Adds a user from a folder that [`export`](Self::export) wrote, as they were there. The
    /// state's own settings stay. Of a user who is here already, but without a text or an answer,
    /// the keys and what they have said of conversations stay, too.
    ///
    /// The folder is not trusted: links and files of unlikely size are refused, everything is
    /// checked as if a stranger had written it, and it is added whole or not at all. It is read to
    /// its end, and all of it is checked, before others are kept from writing. `check` refuses
    /// adapters that do not fit the model, such as by [`Adapter::check`].
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
        let mut steps = Steps::new(step);
        let mut imported = None;
        let read = scratch.write(Durability::Process, &mut |rows| {
            let mut import = Import::new(&folder, &header, check, &mut steps);
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
        let has_checksums = folder.has_sums();
        Ok(Transferred { user, interactions, generations, answers, settings_differ, has_checksums })
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
    let contribution = match contribution(rows, user.key)? {
        Contribution { since: Some(since), contributes } => Some(Agreed { contributes, since }),
        _ => None,
    };
    let has_priors = export_priors(rows, user, base_of(&settings.model), folder)?;
    // Older programs read what has nothing new.
    let is_new = has_priors || contribution.is_some();
    let header = Header {
        format: if is_new { FORMAT } else { WITHOUT_PRIORS },
        user: name.clone(),
        model: settings.model,
        fingerprint: settings.fingerprint,
        next_seq: user.next_seq,
        periods: rows.periods(user.key)?.last().copied().unwrap_or_default(),
        generation: user.generation,
        consent: match consent(rows, user.key)? {
            Consent { since: Some(since), keep_conversations } => {
                Some(Said { keep_conversations, since })
            }
            _ => None,
        },
        contribution,
    };
    let transferred = Transferred {
        user: name.clone(),
        interactions: export_history(rows, name, user, folder, steps)?,
        generations: export_generations(rows, user, base_of(&header.model), folder, steps)?,
        answers: export_answers(rows, user, folder, steps)?,
        settings_differ: false,
        has_checksums: true,
    };
    folder.finish(&header)?;
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
                adapter.save_peft(folder.adapter(&number), base).map_err(Error::from)?;
                folder.sync_adapter(&number)?;
                let buffer = from_json("memories", &memories.buffer)?;
                let calibration = from_json("memories", &memories.calibration)?;
                Some(Bank { buffer, calibration })
            }
        };
        let Some(Summed { value: record, .. }) = rows.record(user.key, number)? else { continue };
        let record: PeriodRecord = from_json("generations", &record)?;
        let line = Line { number, parent: row.parent, period: row.period, memories, record };
        lines.add(|| format!("generation {number}"), &line)?;
    }
    lines.end()?;
    Ok(generations.len() as u64)
}

/// Writes the priors that the user's generations started from, without the users and texts that
/// they were learned from, which are others'; gives whether there is one.
fn export_priors(
    rows: &dyn Rows,
    user: &UserRow,
    base: Option<&str>,
    folder: &Folder,
) -> Outcome<bool> {
    let mut ids = BTreeSet::new();
    for row in rows.generations(user.key)?.iter().filter(|row| row.parent == 0) {
        let Some(record) = rows.record(user.key, row.number)? else { continue };
        let record: PeriodRecord = from_json("generations", &record.value)?;
        ids.extend(record.prior);
    }
    if ids.is_empty() {
        return Ok(false);
    }
    let (priors, mut lines) = (rows.priors()?, folder.lines(PRIORS)?);
    for id in ids {
        let row = priors.iter().find(|row| row.id == id);
        let number = row.ok_or_else(|| Error::UnknownPrior { id: id.clone() })?.number;
        let (record, adapter) = prior::whole(rows, number)?;
        let record: PriorRecord = from_json("priors", &record)?;
        let record = PriorRecord { contributors: Vec::new(), ..record };
        let adapter = Adapter::from_bytes(&adapter).map_err(Error::from)?;
        let place = prior_folder(&id);
        adapter.save_peft(folder.adapter(&place), base).map_err(Error::from)?;
        folder.sync_adapter(&place)?;
        lines.add(|| format!("prior {id:.12}…"), &StartLine { id: id.clone(), record })?;
    }
    lines.end()?;
    Ok(true)
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

/// Refuses a user of whom the state has more than keys and what was said of conversations.
fn check_is_new(rows: &dyn Rows, folder: &Folder, user: &UserId) -> Outcome<()> {
    match rows.user(user)? {
        Some(row) if !is_unused(rows, &row)? => {
            Err(TransferError::Present { place: folder.label(USER), user: user.clone() }.into())
        }
        _ => Ok(()),
    }
}

/// Whether there never was a text of a user, and nothing was learned or generated for the user.
/// Answers can be kept of one who never had a text, and an adapter that was imported is there also
/// when none is in use.
pub(super) fn is_unused(rows: &dyn Rows, row: &UserRow) -> Outcome<bool> {
    let mut is_unused = row.next_seq == 1
        && row.generation == 0
        && rows.generations(row.key)?.is_empty()
        && rows.periods(row.key)?.is_empty();
    rows.answers(row.key, true, &mut |_, _| {
        is_unused = false;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(is_unused)
}

/// Gives a state all that another one has of a user, but for log-likelihoods of texts that are cut
/// elsewhere here. The user may be here already, if [unused](is_unused).
pub(super) fn copy(from: &dyn Rows, name: &UserId, to: &mut dyn RowsMut) -> Outcome<()> {
    let max_tokens = |config: Config| config.training.max_tokens;
    let is_cut_alike = max_tokens(stored_config(from)?) == max_tokens(stored_config(&*to)?);
    let there = known(from, name)?;
    let removals = to.settings()?.removals;
    let here = match to.user(name)? {
        Some(here) => here,
        None => to.add_user(name, removals)?,
    };
    if let Some(said) = from.consent(there.key)?
        && to.consent(here.key)?.is_none()
    {
        to.put_consent(here.key, &said)?;
    }
    if let Some(said) = from.contribution(there.key)?
        && to.contribution(here.key)?.is_none()
    {
        to.put_contribution(here.key, &said)?;
    }
    let mut members: BTreeMap<u32, Vec<MemberRow>> = BTreeMap::new();
    from.interactions(there.key, Texts::BySeq, &mut |mut row| {
        row.base = row.base.filter(|_| is_cut_alike);
        if let Some((period, held_out)) = row.place {
            let member = MemberRow { seq: row.seq, held_out, sum: 0 };
            members.entry(period).or_default().push(member);
        }
        to.put_interaction(here.key, &row)
    })?;
    for number in from.periods(there.key)? {
        to.put_period(here.key, number, &members.remove(&number).unwrap_or_default())?;
    }
    for row in from.generations(there.key)? {
        let Some(record) = from.record(there.key, row.number)? else { continue };
        if row.parent == 0 {
            copy_start(from, &record.value, to)?;
        }
        let (number, parent, period) = (row.number, row.parent, row.period);
        let learned = LearnedRow { number, parent, period, sum: 0, record };
        to.put_generation(here.key, &learned)?;
        if let Some(memories) = from.memories(there.key, row.number)? {
            to.put_memories(here.key, row.number, Some(&memories))?;
        }
    }
    answers::each(from, there.key, |_, record| to.put_answer(here.key, record.into()))?;
    let UserRow { key, removals, .. } = here;
    to.put_user(&UserRow { key, removals, ..there })
}

/// Gives a state the prior that a generation of this record started from, unless it has it. It does
/// not come into use by that.
fn copy_start(from: &dyn Rows, record: &str, to: &mut dyn RowsMut) -> Outcome<()> {
    let record: PeriodRecord = from_json("generations", record)?;
    let Some(id) = record.prior else { return Ok(()) };
    if to.priors()?.iter().any(|row| row.id == id) {
        return Ok(());
    }
    let row = from.priors()?.into_iter().find(|row| row.id == id);
    let row = row.ok_or(Error::UnknownPrior { id })?;
    let contents = prior::whole(from, row.number)?;
    prior::add(to, &PriorRow { in_use: false, ..row }, &contents)
}

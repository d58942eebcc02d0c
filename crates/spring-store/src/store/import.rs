//! Reading a user's folder as if a stranger had written it.
//!
//! Beyond what makes a state whole it is asked whether the parts can come of one history: a
//! generation learned exactly the texts of its period, after a parent that had learned the period
//! before; its adapter has the shape of its settings and weights that training leads to. Otherwise
//! a generation could keep what forgetting is to take from it, or bring a model down later.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use spring_lm::{Adapter, AdapterHash, LoraConfig, ModelError};
use spring_memory::{Interaction, InteractionId, JsonlReader};
use spring_numerics::words::from_json;

use super::{
    commit::put_memories,
    encode::{row_of, to_json},
    folder::Folder,
    generations::check_kept,
    layout::{
        ANSWERS, Agreed, Bank, FORMAT, GENERATIONS, HISTORY, Header, Line, MAX_GENERATION,
        MAX_PERIODS, MAX_SEQ, OLDEST, PLACES, PRIORS, Place, Said, StartLine, USER, WITHOUT_PRIORS,
        prior_folder,
    },
    steps::Steps,
};
use crate::{
    Config, Error, Result, Settings, TransferError,
    backend::{
        ConsentRow, Fault, InteractionRow, LearnedRow, MemberRow, Outcome, PriorRow, RowsMut, Text,
        UserRow,
    },
    record::{AnswerRecord, PeriodRecord},
};

/// Most periods of which nothing is left: neither a text nor a generation.
const MAX_EMPTY: usize = 1000;
/// Most epochs of a recorded training: forgetting a text trains as long again.
const MAX_EPOCHS: usize = 1000;
/// Highest learning rate of a recorded training.
const MAX_RATE: f64 = 10.0;
/// Largest weight of an adapter, and largest factor that its product is scaled by.
const MAX_WEIGHT: f32 = 100.0;
const MAX_SCALE: f64 = 1024.0;

/// Whose folder it is, and whether this version and a state of these settings can take it.
pub(super) fn header(folder: &Folder, settings: &Settings) -> Result<Header, TransferError> {
    let wrong = |reason: String| folder.wrong(USER, None, reason);
    let header: Header =
        from_json(folder.text(USER)?.as_bytes()).map_err(|e| wrong(e.to_string()))?;
    if !(OLDEST..=FORMAT).contains(&header.format) {
        let reason = format!(
            "of the format {}; this version reads {OLDEST} to {FORMAT}, so update the older \
             program",
            header.format
        );
        return Err(wrong(reason));
    }
    // The older format has no checksums.
    if header.format > OLDEST {
        folder.expect_sums()?;
        folder.text(USER)?;
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

/// What is known of each text: its period, and whether it is held out there.
type Places = HashMap<u64, Option<(u32, bool)>>;

/// Adds the user of a folder to an empty state, which has the folder's settings.
pub(super) struct Import<'a, 's> {
    folder: &'a Folder,
    header: &'a Header,
    check: &'a dyn Fn(&Adapter) -> Result<(), ModelError>,
    steps: &'a mut Steps<'s>,
    places: Places,
    /// The texts of each period: those that are learned, and how many are held out.
    periods: BTreeMap<u32, (BTreeSet<u64>, usize)>,
    /// The period of each generation.
    generations: BTreeMap<u32, u32>,
    /// The priors that generations may have started from.
    priors: BTreeMap<String, LoraConfig>,
}

impl<'a, 's> Import<'a, 's> {
    pub(super) fn new(
        folder: &'a Folder,
        header: &'a Header,
        check: &'a dyn Fn(&Adapter) -> Result<(), ModelError>,
        steps: &'a mut Steps<'s>,
    ) -> Self {
        let (places, periods, generations) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        let priors = BTreeMap::new();
        Self { folder, header, check, steps, places, periods, generations, priors }
    }

    /// Gives the numbers of interactions, generations and records of texts.
    pub(super) fn run(&mut self, rows: &mut dyn RowsMut) -> Outcome<(u64, u64, u64)> {
        let (folder, header) = (self.folder, self.header);
        let mut user = rows.add_user(&header.user, 0)?;
        self.history(rows, &mut user)?;
        self.priors(rows)?;
        self.generations(rows, user.key)?;
        self.empty_periods(rows, user.key)?;
        let answers = self.answers(rows, user.key)?;
        if header.generation > 0 {
            let stored = rows.generations(user.key)?;
            if check_kept(&stored, &header.user, header.generation).is_err() {
                let reason = format!("generation {} is in use but not there", header.generation);
                return Err(folder.wrong(USER, None, reason).into());
            }
        }
        if let Some(Said { keep_conversations, since }) = header.consent {
            let said = ConsentRow { keep: keep_conversations, since: since.as_second(), sum: 0 };
            rows.put_consent(user.key, &said)?;
        }
        if let Some(Agreed { contributes, since }) = header.contribution {
            let said = ConsentRow { keep: contributes, since: since.as_second(), sum: 0 };
            rows.put_contribution(user.key, &said)?;
        }
        (user.next_seq, user.generation) = (header.next_seq, header.generation);
        rows.put_user(&user)?;
        Ok((self.places.len() as u64, self.generations.len() as u64, answers))
    }

    fn history(&mut self, rows: &mut dyn RowsMut, user: &mut UserRow) -> Outcome<()> {
        let (folder, header) = (self.folder, self.header);
        let mut history = JsonlReader::new(folder.read(HISTORY, u64::MAX)?, folder.label(HISTORY));
        let mut last = 0;
        for place in folder.values::<Place>(PLACES)? {
            self.steps.next()?;
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
            rows.put_interaction(user.key, &InteractionRow { seq: place.seq, base, ..row })?;
            let (seq, held_out) = (place.seq, place.held_out);
            match place.period {
                Some(period) => {
                    rows.put_period(user.key, period, &[MemberRow { seq, held_out, sum: 0 }])?;
                    let (learned, held) = self.periods.entry(period).or_default();
                    match held_out {
                        true => *held += 1,
                        false => drop(learned.insert(seq)),
                    }
                }
                None => user.pending += 1,
            }
            self.places.insert(seq, place.period.map(|period| (period, held_out)));
            last = seq;
        }
        match history.next() {
            None => Ok(()),
            Some(_) => {
                let reason = format!("has fewer lines than {HISTORY}");
                Err(folder.wrong(PLACES, None, reason).into())
            }
        }
    }

    /// Adds the priors that generations started from; no user starts from them here.
    fn priors(&mut self, rows: &mut dyn RowsMut) -> Outcome<()> {
        let folder = self.folder;
        if self.header.format <= WITHOUT_PRIORS || !folder.has(PRIORS) {
            return Ok(());
        }
        for (line, number) in folder.values::<StartLine>(PRIORS)?.zip(1..) {
            self.steps.next()?;
            let (at, StartLine { id, record }) = line?;
            let wrong = |reason: String| Fault::from(folder.wrong(PRIORS, Some(at), reason));
            // It becomes a part of a path.
            if id.len() != 64 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong("`id` is 64 hexadecimal digits".into()));
            }
            if self.priors.insert(id.clone(), record.lora.clone()).is_some() {
                return Err(wrong(format!("prior {id:.12}… is there twice")));
            }
            if record.base != self.header.fingerprint || !record.contributors.is_empty() {
                let reason = "its record is of another base model, or names whom it was learned \
                              from, as no export does";
                return Err(wrong(reason.into()));
            }
            let adapter = folder.read_adapter(&prior_folder(&id))?.map_err(Error::from)?;
            let refuse = |reason: &str| wrong(format!("the adapter of prior {id:.12}… {reason}"));
            if adapter.base != self.header.fingerprint {
                return Err(refuse("is of another base model"));
            }
            if !is_same_shape(&adapter.config, &record.lora) {
                return Err(refuse("has another shape, scale or dropout than its record says"));
            }
            (self.check)(&adapter).map_err(Error::from)?;
            if let Some(reason) = unlikely(&adapter) {
                return Err(refuse(&reason));
            }
            if AdapterHash::of(&adapter).to_string() != id {
                return Err(refuse("is not the one of this id"));
            }
            let json = to_json("the record", &record)
                .map_err(|_| wrong("a number is not finite".into()))?;
            let bytes = adapter.to_bytes().map_err(Error::from)?;
            let row = PriorRow { number, id, in_use: false, sum: 0 };
            rows.add_prior(&row, (&*json).into(), (&*bytes).into())?;
        }
        Ok(())
    }

    fn generations(&mut self, rows: &mut dyn RowsMut, user: i64) -> Outcome<()> {
        let folder = self.folder;
        for line in folder.values::<Line>(GENERATIONS)? {
            self.steps.next()?;
            let (at, line) = line?;
            let wrong = |reason: String| Fault::from(folder.wrong(GENERATIONS, Some(at), reason));
            self.check_line(&line).map_err(wrong)?;
            let Line { number, parent, period, memories, record } = line;
            for score in &record.scores {
                check_id(&*rows, user, score.seq, &score.id)?.map_err(wrong)?;
            }
            let lora = record.config.lora.clone();
            let record = to_json("the record", &record)
                .map_err(|_| wrong("a number is not finite".into()))?;
            // One that nothing is left of but its generations has no row yet.
            rows.put_period(user, period, &[])?;
            let row = LearnedRow { number, parent, period, sum: 0, record: record.into() };
            rows.put_generation(user, &row)?;
            if let Some(bank) = memories {
                self.memories(rows, user, number, &lora, &bank).map_err(|fault| match fault {
                    Fault::Unusable(reason) => wrong(reason),
                    other => other,
                })?;
            }
            self.generations.insert(number, period);
        }
        Ok(())
    }

    fn memories(
        &self,
        rows: &mut dyn RowsMut,
        user: i64,
        number: u32,
        lora: &LoraConfig,
        Bank { buffer, calibration }: &Bank,
    ) -> Outcome<()> {
        let adapter = self.folder.read_adapter(&number)?.map_err(Error::from)?;
        let refuse = |reason: &str| {
            Err(Fault::Unusable(format!("the adapter of generation {number} {reason}")))
        };
        if adapter.base != self.header.fingerprint {
            return refuse("is of another base model");
        }
        if !is_same_shape(&adapter.config, lora) {
            return refuse("has another shape, scale or dropout than its record says");
        }
        (self.check)(&adapter).map_err(Error::from)?;
        if let Some(reason) = unlikely(&adapter) {
            return refuse(&reason);
        }
        let adapter = adapter.to_bytes().map_err(Error::from)?;
        put_memories(rows, &self.header.user, user, number, (&adapter, buffer, calibration))
    }

    /// Adds the periods of which neither a text nor a generation is left.
    fn empty_periods(&self, rows: &mut dyn RowsMut, user: i64) -> Outcome<()> {
        let there: BTreeSet<u32> =
            self.periods.keys().chain(self.generations.values()).copied().collect();
        let periods = self.header.periods;
        let empty = (periods as usize).saturating_sub(there.len());
        if empty > MAX_EMPTY {
            let reason =
                format!("{empty} of {periods} periods have neither a text nor a generation");
            return Err(self.folder.wrong(USER, None, reason).into());
        }
        for number in (1..=periods).filter(|number| !there.contains(number)) {
            rows.put_period(user, number, &[])?;
        }
        Ok(())
    }

    fn answers(&mut self, rows: &mut dyn RowsMut, user: i64) -> Outcome<u64> {
        let folder = self.folder;
        let mut count = 0;
        for line in folder.values::<AnswerRecord>(ANSWERS)? {
            self.steps.next()?;
            let (at, answer) = line?;
            let wrong = |reason: String| Fault::from(folder.wrong(ANSWERS, Some(at), reason));
            let generation = answer.generation;
            if generation > 0 && !self.generations.contains_key(&generation) {
                return Err(wrong(format!("there is no generation {generation}")));
            }
            for found in &answer.retrieved {
                check_id(&*rows, user, found.seq, &found.id)?.map_err(wrong)?;
            }
            let record = to_json("the record", &answer).map_err(|_| wrong("not finite".into()))?;
            rows.put_answer(user, (&*record).into())?;
            count += 1;
        }
        Ok(count)
    }

    fn check_line(&self, line: &Line) -> Result<(), String> {
        let Line { number, parent, period, memories, record } = line;
        if *number > MAX_GENERATION {
            let most = MAX_GENERATION;
            return Err(format!("generation {number} is above {most}, the highest number"));
        }
        let last = self.generations.last_key_value().map_or(0, |(last, _)| *last);
        let before = match parent {
            0 => Some(0),
            parent => self.generations.get(parent).copied(),
        };
        let Some(before) = before.filter(|_| *number > last) else {
            return Err(format!("generation {number} from {parent} is not in order"));
        };
        if !(1..=self.header.periods).contains(period)
            || (record.period, record.parent) != (*period, *parent)
        {
            return Err(format!("generation {number} and its record do not fit each other"));
        }
        if *period != before + 1 {
            return Err(format!(
                "generation {number} learned period {period} from generation {parent}, which had \
                 learned up to period {before}; periods are learned one after the other"
            ));
        }
        self.check_record(record)?;
        let Some(bank) = memories else { return Ok(()) };
        let mut buffered = BTreeSet::new();
        for item in &bank.buffer {
            match self.places.get(&item.key) {
                Some(Some((of, false))) if of <= period && item.period == *of => {}
                _ => return Err(format!("text {} cannot be in a buffer", item.key)),
            }
            if !buffered.insert(item.key) {
                return Err(format!("text {} is in the buffer twice", item.key));
            }
        }
        if let Some(gains) = &bank.calibration.gains {
            gains.check().map_err(|error| format!("its gains: {error}"))?;
            for text in &gains.texts {
                let is_likely = |number: &f64| number.abs() <= LIKELY;
                if !is_likely(&text.score) || !text.gains.iter().all(is_likely) {
                    return Err(format!("the gain of text {} is none that is measured", text.key));
                }
                match self.places.get(&text.key) {
                    Some(Some((of, false))) if of <= period => {}
                    _ => return Err(format!("text {} cannot have a gain", text.key)),
                }
            }
        }
        Ok(())
    }

    /// That a record is of the texts of its period, and its settings are such that it can be
    /// learned again.
    fn check_record(&self, record: &PeriodRecord) -> Result<(), String> {
        let period = record.period;
        let none = (BTreeSet::new(), 0);
        let (texts, held_out) = self.periods.get(&period).unwrap_or(&none);
        let mut scored = BTreeSet::new();
        for score in &record.scores {
            if !texts.contains(&score.seq) {
                let seq = score.seq;
                return Err(format!("text {seq} is not one that period {period} learns from"));
            }
            if !scored.insert(score.seq) {
                return Err(format!("text {} is scored twice", score.seq));
            }
            if score.adapter.is_some() && record.parent == 0 && record.prior.is_none() {
                return Err(format!(
                    "text {} was scored by an adapter, but no generation came \
                                    before",
                    score.seq
                ));
            }
        }
        if let Some(missing) = texts.difference(&scored).next() {
            return Err(format!("period {period} learns from text {missing}, which has no score"));
        }
        if record.imported && (record.parent > 0 || !scored.is_empty() || *held_out > 0) {
            return Err(
                "an imported adapter is what a user begins with, and learned no text".into()
            );
        }
        if let Some(prior) = &record.prior {
            if record.parent > 0 || record.imported {
                return Err("a prior is what a user's first period starts from".into());
            }
            let not_there = || format!("it started from prior {prior:.12}…, which is not there");
            if !is_same_shape(self.priors.get(prior).ok_or_else(not_there)?, &record.config.lora) {
                return Err(format!("prior {prior:.12}… has another shape than it says"));
            }
        }
        if record.held_out != *held_out {
            let said = record.held_out;
            return Err(format!("period {period} holds out {held_out} texts, and not {said}"));
        }
        let mut ranks: Vec<usize> = record.scores.iter().filter_map(|s| s.selected).collect();
        ranks.sort_unstable();
        if record.selection.selected != ranks.len() || ranks.iter().zip(1..).any(|(r, n)| *r != n) {
            return Err("the ranks of the selected texts do not fit".into());
        }
        if let Some(gone) = record.evicted.iter().find(|gone| gone.item.period > period) {
            return Err(format!("text {} of a later period was in the buffer", gone.item.key));
        }
        check_settings(&record.config)
    }
}

/// Refuses settings that no training of a person's adapter has.
fn check_settings(config: &Config) -> Result<(), String> {
    config.check().map_err(|error| format!("the settings of the record: {error}"))?;
    let training = &config.training;
    if training.epochs > MAX_EPOCHS || training.learning_rate > MAX_RATE {
        return Err(format!(
            "the settings of the record: training.epochs is at most {MAX_EPOCHS} and \
             training.learning_rate at most {MAX_RATE}, but they are {} and {}",
            training.epochs, training.learning_rate
        ));
    }
    Ok(())
}

/// What an adapter has that no training leads to.
pub(super) fn unlikely(adapter: &Adapter) -> Option<String> {
    let is_likely = |x: &f32| x.is_finite() && x.abs() <= MAX_WEIGHT;
    let mut pairs = adapter.pairs();
    let all = adapter.config.scale() <= MAX_SCALE
        && pairs.all(|(_, _, pair)| pair.a.iter().chain(&pair.b).all(is_likely));
    (!all).then(|| {
        format!(
            "has a weight above {MAX_WEIGHT} or a scale above {MAX_SCALE}, which no training leads \
             to"
        )
    })
}

/// Scores of retrieval and gains in nats per token are far below it; sums of larger numbers are not
/// finite.
const LIKELY: f64 = 1e6;

/// Whether two shapes are the same, in whichever order they name the projections.
fn is_same_shape(one: &LoraConfig, other: &LoraConfig) -> bool {
    let is_in = |config: &LoraConfig, in_: &LoraConfig| {
        config.targets.iter().all(|target| in_.targets.contains(target))
    };
    let targets = one.targets.clone();
    is_in(one, other) && is_in(other, one) && *one == other.clone().with_targets(targets)
}

/// Whether a record names a text as it is called.
fn check_id(
    rows: &dyn crate::backend::Rows,
    user: i64,
    seq: u64,
    id: &InteractionId,
) -> Outcome<Result<(), String>> {
    Ok(match rows.interaction(user, Text::Seq(seq))? {
        Some(row) if row.id == id.as_str() => Ok(()),
        Some(row) => Err(format!("text {seq} is {}, and not {id}", row.id)),
        None => Err(format!("there is no text {seq}")),
    })
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

//! Whether a state is whole: that everything of every user reads back and fits together.

use std::{collections::HashMap, ops::ControlFlow};

use spring_fuse::Calibration;
use spring_lm::Adapter;
use spring_memory::{BufferItem, UserId};

use super::{
    Step, Store, answers,
    consent::consent,
    contribution::contribution,
    encode::{from_json, stored},
    keys, parse_settings, prior,
};
use crate::{
    Error, Result,
    backend::{Backend, Fault, Outcome, Rows, Texts, UserRow},
    record::{AnswerRecord, PeriodRecord},
};

/// Users that are held at a time.
const AT_ONCE: usize = 1000;

impl<B: Backend + ?Sized> Store<B> {
    /// Reads the whole state, every row of it with its checksum, and refuses it if anything in it
    /// is damaged. `step` is told the number of users before each is read; every user is one
    /// transaction.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::State`], saying what is wrong; or [`Error::Stopped`].
    pub fn check(&self, step: Step<'_>) -> Result<()> {
        self.backend.check().map_err(|fault| fault.at(self.backend.label()))?;
        self.read(|rows| parse_settings(rows.settings()?).map(drop))?;
        self.read(keys::check)?;
        self.read(prior::check)?;
        let mut done = 0;
        let mut page = self.users(None, AT_ONCE)?;
        while let Some(last) = page.last().map(|summary| summary.user.clone()) {
            for summary in &page {
                done += 1;
                if step(done) == ControlFlow::Break(()) {
                    return Err(Error::Stopped);
                }
                self.read(|rows| match rows.user(&summary.user)? {
                    Some(user) => check_user(rows, &summary.user, &user)
                        .map_err(|fault| fault.of_user(&summary.user)),
                    // Forgotten since the page was read.
                    None => Ok(()),
                })?;
            }
            page = self.users(Some(&last), AT_ONCE)?;
        }
        Ok(())
    }
}

/// The period of each text, and whether it is held out there.
type Places = HashMap<u64, Option<(u32, bool)>>;

fn check_user(rows: &dyn Rows, name: &UserId, user: &UserRow) -> Outcome<()> {
    let mut places = Places::new();
    rows.interactions(user.key, Texts::BySeq, &mut |row| {
        let (text, place) = stored(row, name)?;
        places.insert(text.seq, place);
        Ok(())
    })?;
    let base = rows.settings()?.fingerprint;
    for &seq in places.keys() {
        rows.embedding(user.key, seq, &base)?;
    }
    rows.periods(user.key)?;
    rows.lease(user.key)?;
    rows.graph(user.key)?;
    consent(rows, user.key)?;
    contribution(rows, user.key)?;
    let pending = places.values().filter(|place| place.is_none()).count() as u64;
    if pending != user.pending {
        let detail = format!("{} pending, but there are {pending}", user.pending);
        return Err(Fault::damaged("users", detail));
    }
    let generations = rows.generations(user.key)?;
    let is_kept =
        |number| generations.iter().any(|row| row.number == number && row.memories.is_some());
    if user.generation > 0 && !is_kept(user.generation) {
        let detail = format!("generation {} is in use but not there", user.generation);
        return Err(Fault::damaged("users", detail));
    }
    let priors: Vec<String> = rows.priors()?.into_iter().map(|row| row.id).collect();
    for generation in &generations {
        if let Some(record) = rows.record(user.key, generation.number)? {
            let record: PeriodRecord = from_json("generations", &record.value)?;
            let Some(prior) = record.prior.filter(|prior| !priors.contains(prior)) else {
                continue;
            };
            let number = generation.number;
            let detail = format!("generation {number} started from a prior that is not there");
            return Err(Fault::damaged("generations", format!("{detail} ({prior:.12}…)")));
        }
    }
    answers::each(rows, user.key, |_, record| {
        from_json::<AnswerRecord>("answers", record).map(drop)
    })?;
    // One at a time: adapters are large.
    for generation in generations.iter().filter(|row| row.memories.is_some()) {
        check_memories(rows, user, generation.number, &places)?;
    }
    Ok(())
}

/// That a generation can be generated with: its adapter, its buffer and the texts in it, and the
/// calibration sample.
fn check_memories(rows: &dyn Rows, user: &UserRow, number: u32, places: &Places) -> Outcome<()> {
    let damaged =
        |detail: String| Err(Fault::damaged("memories", format!("generation {number}: {detail}")));
    let Some(memories) = rows.memories(user.key, number)? else { return Ok(()) };
    let buffer: Vec<BufferItem> = from_json("memories", &memories.buffer)?;
    if buffer.len() as u64 != memories.buffered {
        let said = memories.buffered;
        return damaged(format!(
            "its buffer is said to hold {said} texts, and holds {}",
            buffer.len()
        ));
    }
    for item in &buffer {
        match places.get(&item.key) {
            Some(Some((_, false))) => {}
            _ => return damaged(format!("text {} cannot be in the buffer", item.key)),
        }
    }
    let calibration: Calibration = from_json("memories", &memories.calibration)?;
    if let Some(gains) = &calibration.gains {
        if let Err(error) = gains.check() {
            return damaged(format!("its gains: {error}"));
        }
        for text in &gains.texts {
            match places.get(&text.key) {
                Some(Some((_, false))) => {}
                _ => return damaged(format!("text {} cannot have a gain", text.key)),
            }
        }
    }
    let adapter = Adapter::from_bytes(&memories.adapter).map_err(|error| {
        Fault::damaged("memories", format!("the adapter of generation {number}: {error}"))
    })?;
    match adapter.base == rows.settings()?.fingerprint {
        true => Ok(()),
        false => damaged("the adapter is of another base than the state".into()),
    }
}

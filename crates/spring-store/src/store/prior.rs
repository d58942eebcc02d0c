//! Priors: who has learned nothing yet starts from the one in use. Those that are not in use any
//! more stay for as long as something that was learned started from them: it could not be learned
//! again without them.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use spring_lm::{Adapter, AdapterHash};
use spring_memory::UserId;

use super::{
    Store,
    contribution::contribution,
    count_removal,
    encode::{from_json, to_json},
};
use crate::{
    ContributedText, Contribution, Contributor, Error, Forgotten, Prior, PriorChange, PriorRecord,
    PriorSummary, PriorTexts, PriorUse, Result,
    backend::{Backend, ConsentRow, Fault, Outcome, PriorRow, Rows, RowsMut, UserRow},
    record::UpdateRecord,
};

impl<B: Backend + ?Sized> Store<B> {
    /// The prior in use, if there is one.
    pub fn prior(&self) -> Result<Option<Arc<Prior>>> {
        self.read(|rows| self.prior_in_use(rows))
    }

    /// A prior by the hash of its adapter, in use or not; `None` if the state does not have it.
    pub fn prior_by_id(&self, id: &str) -> Result<Option<Arc<Prior>>> {
        self.read(|rows| {
            let row = rows.priors()?.into_iter().find(|row| row.id == id);
            row.map(|row| self.prior_of(rows, &row)).transpose()
        })
    }

    /// All priors, in the order of their numbers. It reads what was learned of all users, to count
    /// those who started from each.
    pub fn priors(&self) -> Result<Vec<PriorSummary>> {
        self.read(|rows| rows.priors()?.into_iter().map(|row| summary(rows, row)).collect())
    }

    /// One of them, whatever is wrong with the others; `None` if there is none of that number.
    pub fn prior_summary(&self, number: u32) -> Result<Option<PriorSummary>> {
        self.read(|rows| {
            let row = rows.priors()?.into_iter().find(|row| row.number == number);
            row.map(|row| summary(rows, row)).transpose()
        })
    }

    /// The priors that were learned from a user, or from one of the user's texts.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedPrior`] if it cannot be told of one of them.
    pub fn priors_from(&self, user: &UserId, seq: Option<u64>) -> Result<Vec<PriorUse>> {
        self.read(|rows| {
            let may_know = match rows.user(user) {
                // Who is damaged can be forgotten, too.
                Err(Fault::Damaged { .. }) => true,
                row => row?.map_or(Ok(false), |row| may_know(rows, row.key))?,
            };
            let mut found = Vec::new();
            for row in rows.priors()? {
                let Some(record) = record_about(rows, row.number, user, may_know)? else {
                    continue;
                };
                let own = record.contributors.iter().filter(|of| of.user == *user);
                let texts = own.flat_map(|contributor| &contributor.texts);
                let texts = texts.filter(|text| seq.is_none_or(|seq| seq == text.seq)).count();
                if texts > 0 {
                    let started = started(rows, &row)?;
                    let PriorRow { number, in_use, .. } = row;
                    found.push(PriorUse { number, in_use, started, texts });
                }
            }
            Ok(found)
        })
    }

    /// Brings an adapter into use that was learned from some texts under this value's settings and
    /// `finished` then: all who have learned nothing yet start from it, in the place of the one
    /// before. The agreement of those who were chosen is put on record. Of the priors before, those
    /// that nothing learned started from are removed.
    ///
    /// # Errors
    ///
    /// [`Error::Outdated`] if one of the users or texts was removed since the texts were read,
    /// [`Error::Withheld`] if one of the users has said no since, [`Error::State`] if the adapter
    /// is of another base than the state's.
    pub fn commit_prior(
        &self,
        texts: &PriorTexts,
        adapter: &Adapter,
        update: &UpdateRecord,
        finished: Timestamp,
    ) -> Result<PriorChange> {
        let (bytes, id) = (adapter.to_bytes()?, AdapterHash::of(adapter).to_string());
        let change = self.write(|rows| {
            let base = take_turns(rows)?;
            if adapter.base != base {
                let reason = format!(
                    "nothing was changed: the prior was trained on another base model \
                     ({:.12}…) than the state's",
                    adapter.base
                );
                return Err(Fault::Unusable(reason));
            }
            let contributors = agreed(rows, texts, finished)?;
            let record = PriorRecord {
                finished,
                base,
                users: contributors.len(),
                texts: contributors.iter().map(|contributor| contributor.texts.len()).sum(),
                most: texts.most,
                forgotten: 0,
                contributors,
                lora: adapter.config.clone(),
                training: self.settings.config.training.clone(),
                update: update.clone(),
            };
            let json = to_json("the record of the prior", &record)?;
            let there = rows.priors()?;
            for row in there.iter().filter(|row| row.in_use && row.id != id) {
                rows.put_prior(&PriorRow { in_use: false, ..row.clone() })?;
            }
            let number = match there.iter().find(|row| row.id == id) {
                // Learned again, with the same outcome.
                Some(row) => {
                    rows.put_prior(&PriorRow { in_use: true, ..row.clone() })?;
                    rows.put_prior_record(row.number, (&*json).into())?;
                    row.number
                }
                None => {
                    let number = there.last().map_or(0, |last| last.number) + 1;
                    let row = PriorRow { number, id: id.clone(), in_use: true, sum: 0 };
                    rows.add_prior(&row, (&*json).into(), (&*bytes).into())?;
                    number
                }
            };
            let removed = sweep(rows)?;
            Ok(PriorChange { number: Some(number), removed, held_up: None })
        })?;
        Ok(self.wiped(change))
    }

    /// Takes the prior out of use: who has learned nothing yet starts from the base alone. What was
    /// learned stays; the prior is removed once nothing that was learned started from it.
    pub fn drop_prior(&self) -> Result<PriorChange> {
        let change = self.write(|rows| {
            let dropped = in_use(&*rows)?;
            if let Some(row) = &dropped {
                rows.put_prior(&PriorRow { in_use: false, ..row.clone() })?;
            }
            let removed = sweep(rows)?;
            Ok(PriorChange { number: dropped.map(|row| row.number), removed, held_up: None })
        })?;
        Ok(self.wiped(change))
    }

    /// Removes the priors that are not in use and that nothing learned started from.
    pub fn sweep_priors(&self) -> Result<PriorChange> {
        let change = self.write(|rows| {
            let removed = sweep(rows)?;
            Ok(PriorChange { number: None, removed, held_up: None })
        })?;
        Ok(self.wiped(change))
    }

    /// Gives this state the priors of another one of the same base, with their numbers where those
    /// are free; the one in use there is in use here, too, unless there is one here. Gives how many
    /// were not here before.
    ///
    /// # Errors
    ///
    /// [`Error::Copy`] if the states differ in base or settings, [`Error::State`] if one of them
    /// cannot be read or written.
    pub fn copy_priors(&self, from: &Store) -> Result<u64> {
        let theirs = from.read(|rows| {
            let mut theirs = Vec::new();
            for row in rows.priors()? {
                theirs.push((row.clone(), whole(rows, row.number)?));
            }
            Ok(theirs)
        })?;
        if theirs.is_empty() {
            return Ok(0);
        }
        self.check_alike(from)?;
        self.write(|rows| {
            take_turns(rows)?;
            let (mut added, mut is_used) = (0, in_use(&*rows)?.is_some());
            for (row, contents) in &theirs {
                let there = rows.priors()?.into_iter().find(|here| here.id == row.id);
                let comes_into_use = row.in_use && !is_used;
                is_used |= comes_into_use;
                match there {
                    Some(here) => {
                        // A user who brought it here did not bring whom it was learned from.
                        let own = record(&*rows, here.number)?;
                        let their: PriorRecord = from_json("priors", &contents.0)?;
                        let bare = PriorRecord { contributors: Vec::new(), ..their.clone() };
                        if own == bare && own != their {
                            rows.put_prior_record(here.number, (&*contents.0).into())?;
                        }
                        if comes_into_use {
                            rows.put_prior(&PriorRow { in_use: true, ..here })?;
                        }
                    }
                    None => {
                        add(rows, &PriorRow { in_use: comes_into_use, ..row.clone() }, contents)?;
                        added += 1;
                    }
                }
            }
            Ok(added)
        })
    }

    /// The prior in use, its adapter ready.
    pub(super) fn prior_in_use(&self, rows: &dyn Rows) -> Outcome<Option<Arc<Prior>>> {
        in_use(rows)?.map(|row| self.prior_of(rows, &row)).transpose()
    }

    /// A prior with its adapter. The one that was read last is kept: all who have learned nothing
    /// start from the same.
    fn prior_of(&self, rows: &dyn Rows, row: &PriorRow) -> Outcome<Arc<Prior>> {
        let mut kept = self.prior.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |prior: &&Arc<Prior>| (prior.number, &prior.id) == (row.number, &row.id);
        if let Some(prior) = kept.as_ref().filter(is_same) {
            return Ok(Arc::clone(prior));
        }
        let adapter = Arc::new(adapter_of(rows, row)?);
        let prior = Arc::new(Prior { number: row.number, id: row.id.clone(), adapter });
        *kept = Some(Arc::clone(&prior));
        Ok(prior)
    }

    /// Wipes out what a change has removed.
    fn wiped(&self, change: PriorChange) -> PriorChange {
        let held_up = self.finished(Forgotten::default()).held_up;
        PriorChange { held_up, ..change }
    }
}

/// The record and the adapter of a prior.
pub(super) type Contents = (String, Vec<u8>);

/// Lets whoever adds priors wait for each other: two would choose the same number, or be both in
/// use. Gives the base's fingerprint.
fn take_turns(rows: &mut dyn RowsMut) -> Outcome<String> {
    let settings = rows.settings()?;
    rows.put_settings(&settings)?;
    Ok(settings.fingerprint)
}

/// The row of the prior in use.
pub(super) fn in_use(rows: &dyn Rows) -> Outcome<Option<PriorRow>> {
    Ok(rows.priors()?.into_iter().find(|row| row.in_use))
}

/// What a user who has learned nothing starts from; `None` for the base, and for a user who has.
pub(super) fn start(rows: &dyn Rows, user: &UserRow) -> Outcome<Option<String>> {
    match user.generation {
        0 => Ok(in_use(rows)?.map(|row| row.id)),
        _ => Ok(None),
    }
}

/// How many users have learned something that started from a prior.
fn started(rows: &dyn Rows, row: &PriorRow) -> Outcome<u64> {
    // A JSON text escapes its quotation marks, so that no text can be taken for it.
    rows.users_with(&format!("\"prior\":\"{}\"", row.id))
}

fn summary(rows: &dyn Rows, row: PriorRow) -> Outcome<PriorSummary> {
    let (started, record) = (started(rows, &row)?, record(rows, row.number)?);
    let PriorRow { number, id, in_use, sum: _ } = row;
    Ok(PriorSummary { number, id, in_use, started, record })
}

/// Whether a prior may have been learned from a user: from nobody of whom nothing is on record that
/// they said of it. Where that is damaged nobody knows.
pub(super) fn may_know(rows: &dyn Rows, user: i64) -> Outcome<bool> {
    match rows.contribution(user) {
        Err(Fault::Damaged { .. }) => Ok(true),
        said => Ok(said?.is_some()),
    }
}

/// The record of a prior, to be searched for a user; `None` if it is damaged and not about this
/// user, who is not kept up by it.
fn record_about(
    rows: &dyn Rows,
    number: u32,
    user: &UserId,
    may_know: bool,
) -> Outcome<Option<PriorRecord>> {
    match record(rows, number) {
        Err(Fault::Damaged { .. }) if !may_know => Ok(None),
        Err(Fault::Damaged { detail, .. }) => {
            Err(Error::DamagedPrior { user: user.clone(), number, detail }.into())
        }
        read => read.map(Some),
    }
}

pub(super) fn record(rows: &dyn Rows, number: u32) -> Outcome<PriorRecord> {
    let record = rows.prior_record(number)?.ok_or_else(|| lacks(number, "record"))?;
    from_json("priors", &record.value).map_err(|fault| fault.of_item(format!("prior {number}")))
}

fn lacks(number: u32, what: &str) -> Fault {
    Fault::damaged("priors", format!("prior {number} has no {what}"))
}

/// The adapter of a prior, refused if it is not the one of its row.
fn adapter_of(rows: &dyn Rows, row: &PriorRow) -> Outcome<Adapter> {
    let damaged = |reason: String| {
        Fault::damaged("priors", format!("the adapter of prior {}: {reason}", row.number))
    };
    let bytes = rows.prior_adapter(row.number)?.ok_or_else(|| lacks(row.number, "adapter"))?;
    let adapter = Adapter::from_bytes(&bytes.value).map_err(|error| damaged(error.to_string()))?;
    if adapter.base != rows.settings()?.fingerprint {
        return Err(damaged("it is of another base than the state".into()));
    }
    match AdapterHash::of(&adapter).to_string() == row.id {
        true => Ok(adapter),
        false => Err(damaged("it is not the one that its row names".into())),
    }
}

/// The record and the adapter of a prior, as they are stored.
pub(super) fn whole(rows: &dyn Rows, number: u32) -> Outcome<Contents> {
    let record = rows.prior_record(number)?.ok_or_else(|| lacks(number, "record"))?;
    let adapter = rows.prior_adapter(number)?.ok_or_else(|| lacks(number, "adapter"))?;
    Ok((record.value, adapter.value))
}

/// Adds a prior, under its number if that is free.
pub(super) fn add(
    rows: &mut dyn RowsMut,
    row: &PriorRow,
    (record, adapter): &Contents,
) -> Outcome<()> {
    take_turns(rows)?;
    let there = rows.priors()?;
    let number = match there.iter().any(|other| other.number == row.number) {
        true => there.last().map_or(0, |last| last.number) + 1,
        false => row.number,
    };
    let row = PriorRow { number, ..row.clone() };
    rows.add_prior(&row, (&**record).into(), (&**adapter).into())
}

/// Removes the priors that are not in use and that nothing learned started from.
fn sweep(rows: &mut dyn RowsMut) -> Outcome<Vec<u32>> {
    let mut removed = Vec::new();
    for row in rows.priors()?.into_iter().filter(|row| !row.in_use) {
        // Waits for whoever is about to add something that started from it.
        rows.put_prior(&row)?;
        if started(&*rows, &row)? == 0 {
            rows.delete_prior(row.number)?;
            removed.push(row.number);
        }
    }
    if !removed.is_empty() {
        count_removal(rows)?;
    }
    Ok(removed)
}

/// The contributors of a prior, as it is put on record; refuses those whose texts are not those
/// that were read any more, or who have said no since.
fn agreed(rows: &mut dyn RowsMut, texts: &PriorTexts, at: Timestamp) -> Outcome<Vec<Contributor>> {
    let mut contributors = Vec::new();
    for (version, texts_of) in &texts.contributors {
        let name = &version.user;
        let user = rows.user(name)?.filter(|user| user.removals == version.removals);
        let user = user.ok_or_else(|| Error::Outdated { user: name.clone() })?;
        let said = contribution(&*rows, user.key).map_err(|fault| fault.of_user(name))?;
        let agreed = match said {
            Contribution { contributes: true, since: Some(since) } => since,
            Contribution { since: None, .. } if texts.agrees => {
                let since = at.as_second();
                rows.put_contribution(user.key, &ConsentRow { keep: true, since, sum: 0 })?;
                contribution(&*rows, user.key)?.since.unwrap_or(at)
            }
            Contribution { since, .. } => {
                let (user, since) = (name.clone(), since.unwrap_or(at));
                return Err(Error::Withheld { user, since }.into());
            }
        };
        let texts = texts_of.iter().map(ContributedText::of).collect();
        contributors.push(Contributor { user: name.clone(), agreed, texts });
    }
    Ok(contributors)
}

/// Takes a user, or one of the user's texts, from the records of what priors were learned from;
/// gives the numbers of those priors, which know it until they are learned again. Refuses it where
/// such a record is damaged, if any of them [may know](may_know) the user.
pub(super) fn forget(
    rows: &mut dyn RowsMut,
    user: &UserId,
    may_know: bool,
    seq: Option<u64>,
) -> Outcome<Vec<u32>> {
    let mut found = Vec::new();
    for PriorRow { number, .. } in rows.priors()? {
        let Some(mut record) = record_about(&*rows, number, user, may_know)? else { continue };
        let count = |record: &PriorRecord| -> usize {
            record.contributors.iter().map(|contributor| contributor.texts.len()).sum()
        };
        let before = count(&record);
        for contributor in record.contributors.iter_mut().filter(|of| of.user == *user) {
            contributor.texts.retain(|text| seq.is_some_and(|seq| seq != text.seq));
        }
        record.contributors.retain(|contributor| !contributor.texts.is_empty());
        let forgotten = before - count(&record);
        if forgotten == 0 {
            continue;
        }
        record.forgotten += forgotten;
        let json = to_json(&format!("the record of prior {number}"), &record)?;
        rows.put_prior_record(number, (&*json).into())?;
        found.push(number);
    }
    Ok(found)
}

/// Refuses priors that are damaged.
pub(super) fn check(rows: &dyn Rows) -> Outcome<()> {
    let priors = rows.priors()?;
    if priors.iter().filter(|row| row.in_use).count() > 1 {
        return Err(Fault::damaged("priors", "several are in use"));
    }
    for row in &priors {
        record(rows, row.number)?;
        adapter_of(rows, row)?;
    }
    Ok(())
}

//! A data set of a suite, read and cut into periods.

use std::{
    collections::HashSet,
    io::{BufWriter, Write},
    path::Path,
};

use spring_core::{StoredInteraction, spring_memory::UserId};
use spring_data::{
    DataFile, Format, Task, open, read_streams,
    synth::{SynthConfig, synthesize},
    text_counts,
};
use tempfile::NamedTempFile;

use super::{
    DataSet, Suite,
    claim::DomainRecord,
    folder::{hash_of, unwritable},
    mixed::{Joiner, People, add_noise},
};
use crate::{Error, PeriodRule, Result, Split, Start, SuiteUser, stored};

/// A data set, ready to be run on.
pub(super) struct LoadedData {
    pub(super) name: String,
    pub(super) task: Option<Task>,
    pub(super) users: Vec<(UserId, Vec<Split>)>,
    /// Texts of users that are not evaluated: their first periods, or all where they have no two
    /// periods.
    pub(super) domain: Vec<StoredInteraction>,
    pub(super) domain_users: DomainRecord,
    pub(super) considered: Vec<SuiteUser>,
    /// Users with too few texts to be looked at.
    pub(super) too_few: usize,
    /// SHA-256 of the file and of the file of outputs, in hexadecimal digits.
    pub(super) sha256: (String, Option<String>),
    /// The same of the file that pasted code is of.
    pub(super) code_sha256: Option<String>,
    /// How many users lend texts to others' streams; `None` where nobody's texts are in another's.
    pub(super) lenders: Option<usize>,
}

impl LoadedData {
    /// Where all users would be evaluated, the third with fewest texts teaches the domain adapter
    /// instead, if `least` users remain.
    fn keep_back(&mut self, least: usize) {
        let taken = (self.users.len() / 3).max(1);
        if self.users.len() < least + taken {
            return;
        }
        for (user, mut splits) in self.users.split_off(self.users.len() - taken) {
            self.domain.append(&mut splits.swap_remove(0).train);
            self.domain_users.users.push(user.clone());
            let kept = self.considered.iter_mut().filter(|considered| considered.user == user);
            kept.for_each(|user| {
                (user.periods, user.excluded) = (0, Some(KEPT_BACK.into()));
            });
        }
        self.domain_users.kept_back = taken;
    }

    /// Puts others' texts into the users' streams.
    fn mix(&mut self, data: &DataSet, rule: PeriodRule, people: &People<'_>) -> Result<()> {
        self.lenders = Some(people.lenders());
        if let Some(config) = data.join {
            let mut joiner = Joiner::new(config, people, rule, data.texts);
            let considered = &mut self.considered;
            self.users.retain_mut(|(user, splits)| {
                let of = considered.iter_mut().find(|considered| considered.user == *user);
                let Some(of) = of else { return false };
                match joiner.join(of) {
                    Ok(joined) => *splits = joined,
                    Err(reason) => (of.periods, of.excluded) = (0, Some(reason)),
                }
                of.excluded.is_none()
            });
        }
        match &data.noise {
            Some(noise) => add_noise(data, noise, people, &mut self.users, &self.considered),
            None => Ok(()),
        }
    }
}

/// Where texts are read from: a file, or one that synthetic users were written to for as long as it
/// takes.
enum Source<'d> {
    File(&'d Path),
    Synthetic(NamedTempFile),
}

impl<'d> Source<'d> {
    fn of(name: &'d str) -> Result<Self> {
        let Some(config) = SynthConfig::of_name(name) else {
            return Ok(Self::File(Path::new(name)));
        };
        let texts = synthesize(&config?)?;
        let fail = |error: std::io::Error| Error::File {
            file: name.to_owned(),
            reason: format!(
                "a temporary file cannot be written: {}",
                spring_numerics::words::of_system(&error)
            ),
        };
        let file = NamedTempFile::with_suffix(".jsonl").map_err(fail)?;
        let mut writer = BufWriter::new(file.as_file());
        for text in &texts {
            serde_json::to_writer(&mut writer, text).map_err(unwritable)?;
            writer.write_all(b"\n").map_err(fail)?;
        }
        writer.flush().map_err(fail)?;
        drop(writer);
        Ok(Self::Synthetic(file))
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Synthetic(file) => file.path(),
        }
    }
}

/// Users who are looked at for their texts alone, where others' streams are to have some.
const LENDERS: usize = 24;

/// Why a user whom the domain adapter needs is not evaluated.
const KEPT_BACK: &str = "kept back: the domain adapter learns from them, for want of other users";

/// Reads a data set; `known_domain` has those whom its domain adapter learns from, where that is
/// settled.
pub(super) fn load_data(
    suite: &Suite,
    data: &DataSet,
    known_domain: Option<&DomainRecord>,
) -> Result<LoadedData> {
    let source = Source::of(&data.path)?;
    let path = source.path();
    let file = DataFile::new(path).with_task(data.task);
    let task = match open(file)?.format() {
        Format::Questions(task) | Format::History(task) => task,
        _ => None,
    };
    // A file may have to be looked through for its task: once is enough.
    let file = file.with_task(task);
    let rule = suite.rule(data);
    let least = 2 * (rule.min_train + rule.min_test);
    let outputs = data.outputs.as_deref().map(Path::new);
    let mut counts: Vec<(UserId, usize)> = text_counts(file)?.into_iter().collect();
    let known = counts.len();
    let too_few = counts.iter().filter(|(_, count)| *count < least).count();
    // Most texts first; users of equal count in the order of their names, so that a run can be
    // repeated.
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let is_domain = |user: &UserId| known_domain.is_some_and(|known| known.users.contains(user));
    // Some may turn out to be of no use.
    let lending = if data.is_mixed() { LENDERS } else { 0 };
    let most = data.skip + 2 * data.users + data.domain_users + lending;
    let mut place = 0..;
    counts.retain(|(user, _)| {
        // The same people lend texts however far a run has come.
        let counts = data.is_mixed() || !is_domain(user);
        let is_within = counts && place.next().is_some_and(|place| place < most);
        is_within || is_domain(user)
    });
    let wanted: HashSet<&UserId> = counts.iter().map(|(user, _)| user).collect();
    let streams = read_streams(file, outputs, &|user| wanted.contains(user))?;
    let sha256 = (hash_of(path)?, outputs.map(hash_of).transpose()?);
    let code = data.noise.as_ref().and_then(|noise| noise.code.as_deref());
    let mut loaded = LoadedData {
        name: data.name.clone(),
        task,
        users: vec![],
        domain: vec![],
        domain_users: DomainRecord {
            kept_back: known_domain.map_or(0, |known| known.kept_back),
            users: vec![],
        },
        considered: vec![],
        too_few,
        sha256,
        code_sha256: code.map(|path| hash_of(Path::new(path))).transpose()?,
        lenders: None,
    };
    let (mut lenders, mut rest) = (Vec::new(), 0..);
    for (rank, (user, count)) in counts.iter().enumerate() {
        let Some(stream) = streams.iter().find(|stream| stream.user == *user) else { continue };
        let latest = stream.texts.len().saturating_sub(data.texts.unwrap_or(usize::MAX));
        let texts = &stored(stream)[latest..];
        let cut = rule.cut(texts);
        // Whom the domain adapter learned from counts too: everybody keeps their rank.
        let is_asked_for = !is_domain(user) && rank >= data.skip;
        if is_asked_for && loaded.users.len() < data.users && *count >= least {
            let (periods, excluded) = match &cut {
                Ok(splits) => (splits.len(), None),
                Err(reason) => (0, Some(reason.clone())),
            };
            loaded.considered.push(SuiteUser {
                user: user.clone(),
                texts: texts.len(),
                periods,
                excluded,
                half: None,
                followed_by: None,
            });
            if let Ok(splits) = cut {
                loaded.users.push((user.clone(), splits));
                continue;
            }
        }
        // Of those who are not evaluated every other one lends texts, whatever the methods need.
        let is_second = rest.next().is_some_and(|place: usize| !place.is_multiple_of(2));
        let lends = data.is_mixed() && is_second;
        let learns = match known_domain {
            Some(_) => is_domain(user),
            None => !lends && loaded.domain_users.users.len() < data.domain_users,
        };
        if data.is_mixed() && !learns {
            lenders.push(user.clone());
        }
        if learns {
            loaded.domain.append(&mut match cut {
                Ok(mut splits) => splits.swap_remove(0).train,
                Err(_) => texts.to_vec(),
            });
            loaded.domain_users.users.push(user.clone());
        }
    }
    let mut evaluated: Vec<UserId> = loaded.users.iter().map(|(user, _)| user.clone()).collect();
    if loaded.domain_users.kept_back > 0 {
        evaluated.extend(loaded.domain_users.users.iter().cloned());
    }
    if suite.needs_domain() && loaded.domain.is_empty() {
        loaded.keep_back(if suite.choose.is_empty() { 1 } else { 2 });
    }
    if data.is_mixed() {
        let taught = loaded.domain_users.users.clone();
        let people = People::new(&streams, lenders, evaluated).with_taught(taught);
        loaded.mix(data, rule, &people)?;
    }
    if !suite.choose.is_empty() && loaded.users.len() == 1 {
        let reason =
            "only one user can be evaluated; choosing on one half of the users takes two".into();
        return Err(Error::File { file: data.path.clone(), reason });
    }
    if loaded.users.is_empty() {
        let reason = format!(
            "no user has two periods of {} training and {} test texts ({too_few} of {known} have \
             too few texts)",
            rule.min_train, rule.min_test
        );
        return Err(Error::File { file: data.path.clone(), reason });
    }
    if suite.everyone_needs_domain() && loaded.domain.is_empty() {
        let needed = match suite.start {
            Start::Domain => "everyone starts from the domain adapter",
            Start::Base => "novelty is measured against the domain adapter (drift.reference)",
        };
        let reason =
            format!("{needed}, and too few users can be evaluated to keep one back for it");
        return Err(Error::File { file: data.path.clone(), reason });
    }
    Ok(loaded)
}

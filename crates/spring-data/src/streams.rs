//! From the records of a file to the streams of chosen users.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use spring_memory::{Interaction, InteractionId, UserId};

use crate::{DataFile, Error, Query, Result, UserRecord, open, read_golds};

/// One user's texts, in the order of time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stream {
    /// The user.
    pub user: UserId,
    /// The texts.
    pub texts: Vec<Interaction>,
}

impl Stream {
    /// A user's texts, given in the order of time.
    pub fn new(user: UserId, texts: Vec<Interaction>) -> Self {
        Self { user, texts }
    }
}

/// Which users' streams to read.
pub type StreamFilter<'a> = &'a dyn Fn(&UserId) -> bool;

/// How many texts each user of a file has, in constant memory but for a few bytes a text that tell
/// what was seen: a text that several records of a user share counts once.
///
/// # Errors
///
/// As [`open`], and for the first record that is broken.
pub fn text_counts<'a>(file: impl Into<DataFile<'a>>) -> Result<BTreeMap<UserId, usize>> {
    let mut reader = open(file)?;
    let (mut counts, mut seen) = (BTreeMap::new(), Seen::default());
    while let Some(record) = reader.next_record()? {
        let count = counts.entry(record.user).or_default();
        for text in &record.texts {
            *count += usize::from(seen.is_new(text).map_err(|reason| reader.refuse(reason))?);
        }
    }
    Ok(counts)
}

/// The streams of the users that `keep` takes, each in the order of time, by user.
///
/// A question with a known answer is a text too, and the last one: its answer comes from the file
/// or from `golds`, a file of outputs. A text that comes again with the same content counts once.
///
/// # Errors
///
/// As [`open`] and [`read_golds`], and if a user has two different texts with one id.
pub fn read_streams<'a>(
    file: impl Into<DataFile<'a>>,
    golds: Option<&Path>,
    keep: StreamFilter<'_>,
) -> Result<Vec<Stream>> {
    let golds = golds.map(read_golds).transpose()?.unwrap_or_default();
    let file = file.into();
    let mut reader = open(file)?;
    let mut users: BTreeMap<UserId, Merged> = BTreeMap::new();
    let mut left_out = LeftOut::default();
    while let Some(mut record) = reader.next_record()? {
        left_out.add(&mut record);
        if keep(&record.user) {
            let user = record.user.clone();
            let merged = users.entry(user).or_default();
            let dated = record.dated;
            let texts = answered(record, &golds);
            let added = texts.and_then(|texts| {
                texts.into_iter().try_for_each(|text| merged.insert(text, dated))
            });
            added.map_err(|reason| reader.refuse(reason))?;
        }
    }
    if let Some(first) = &left_out.first_odd {
        let (file, odd) = (file.path.display(), left_out.odd);
        tracing::warn!("{file}: {odd} odd entries are left out; the first: {first}");
    }
    Ok(users.into_iter().map(|(user, merged)| merged.stream(user)).collect())
}

/// Hands every text to `visit`, record by record, in constant memory but for a few bytes a text
/// that tell what was seen: a text that comes again counts once. Answered questions are texts as in
/// [`read_streams`].
///
/// Gives how many entries were left out.
///
/// # Errors
///
/// As [`read_streams`], and what `visit` returns.
pub fn visit_texts<'a, E: From<Error>>(
    file: impl Into<DataFile<'a>>,
    golds: Option<&Path>,
    mut visit: impl FnMut(Interaction) -> Result<(), E>,
) -> Result<LeftOut, E> {
    let golds = golds.map(read_golds).transpose()?.unwrap_or_default();
    let mut reader = open(file)?;
    let (mut seen, mut clocks) = (Seen::default(), HashMap::<UserId, Clock>::new());
    let mut left_out = LeftOut::default();
    while let Some(mut record) = reader.next_record()? {
        left_out.add(&mut record);
        let clock = clocks.entry(record.user.clone()).or_default();
        let dated = record.dated;
        let texts = answered(record, &golds).map_err(|reason| reader.refuse(reason))?;
        for mut text in texts {
            if seen.is_new(&text).map_err(|reason| reader.refuse(reason))? {
                clock.place(&mut text, dated);
                visit(text)?;
            }
        }
    }
    Ok(left_out)
}

/// What of a file's profiles is no text of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Blank texts.
    pub blank: u64,
    /// Entries with a field that is missing or odd.
    pub odd: u64,
    /// What is wrong with the first of those.
    pub first_odd: Option<String>,
}

impl LeftOut {
    /// Counts what a record leaves out.
    pub(crate) fn add(&mut self, record: &mut UserRecord) {
        self.blank += record.blank as u64;
        self.odd += record.odd as u64;
        if self.first_odd.is_none() {
            let reason = record.first_odd.take();
            self.first_odd = reason.map(|reason| format!("user {}, {reason}", record.user));
        }
    }
}

/// The texts that were met before: a hash of user and id, with one of the content.
#[derive(Default)]
pub(crate) struct Seen {
    hasher: RandomState,
    hashes: HashMap<u64, u64>,
}

impl Seen {
    /// Whether it is met for the first time; another content under the same id is an error.
    pub(crate) fn is_new(&mut self, text: &Interaction) -> Result<bool, String> {
        let content = self.hasher.hash_one((&text.prompt, &text.response));
        match self.hashes.insert(self.hasher.hash_one((&text.user, &text.id)), content) {
            None => Ok(true),
            Some(known) if known == content => Ok(false),
            Some(_) => Err(two_texts(text)),
        }
    }
}

fn two_texts(text: &Interaction) -> String {
    format!("user {} has two different texts with the id {}", text.user, text.id)
}

/// Where a user's stream has come to. Texts without dates are dated from 1970 on in each record; in
/// a stream of several records that would put the records into each other.
#[derive(Default)]
struct Clock(Option<Timestamp>);

impl Clock {
    /// Puts a new text without a date behind all that came before it.
    fn place(&mut self, text: &mut Interaction, dated: bool) {
        if let Some(latest) = self.0.filter(|latest| !dated && text.time <= *latest) {
            text.time = latest.checked_add(SignedDuration::from_secs(1)).unwrap_or(latest);
        }
        self.0 = self.0.max(Some(text.time));
    }
}

/// The beginning of an answered question's id, which no profile entry's id has in the known data
/// sets.
pub(crate) const QUESTION: &str = "query ";

/// Whether a text is an answered question and not of the profile.
pub fn is_question(text: &Interaction) -> bool {
    text.id.as_str().starts_with(QUESTION)
}

/// The texts of a record, and after them its questions with their answers.
fn answered(
    record: UserRecord,
    golds: &HashMap<String, String>,
) -> Result<Vec<Interaction>, String> {
    let UserRecord { user, mut texts, queries, dated, .. } = record;
    let end = texts.iter().map(|text| text.time).max().unwrap_or_default();
    for (place, Query { id, prompt, response }) in (1..).zip(queries) {
        let response = response.or_else(|| golds.get(&id).cloned());
        let Some(response) = response.filter(|response| !response.trim().is_empty()) else {
            continue;
        };
        let id =
            InteractionId::new(format!("{QUESTION}{id}")).map_err(|error| error.to_string())?;
        // Where there are dates the order alone puts a question after the profile: texts of one
        // time keep theirs.
        let time = if dated { end } else { end + SignedDuration::from_secs(place) };
        texts.push(Interaction::new(user.clone(), id, time, prompt, response));
    }
    Ok(texts)
}

/// A user's texts from all records so far.
#[derive(Default)]
struct Merged {
    texts: Vec<Interaction>,
    places: HashMap<InteractionId, usize>,
    clock: Clock,
}

impl Merged {
    fn insert(&mut self, mut text: Interaction, dated: bool) -> Result<(), String> {
        if let Some(place) = self.places.get(&text.id) {
            let known = &self.texts[*place];
            if (&known.prompt, &known.response) != (&text.prompt, &text.response) {
                return Err(two_texts(&text));
            }
            return Ok(());
        }
        self.clock.place(&mut text, dated);
        self.places.insert(text.id.clone(), self.texts.len());
        self.texts.push(text);
        Ok(())
    }

    fn stream(mut self, user: UserId) -> Stream {
        self.texts.sort_by_key(|text| text.time);
        Stream { user, texts: self.texts }
    }
}

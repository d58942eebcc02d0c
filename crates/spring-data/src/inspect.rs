//! What a data file holds, counted in one pass.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{DataFile, Format, LeftOut, Result, open, streams::Seen};

/// Users with fewer texts than this cannot be cut into two periods of 8 training and 2 test texts.
const ENOUGH: u64 = 20;

/// What a data file holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The format, in words.
    pub format: String,
    /// Records of the file: lines, or elements of the list.
    pub records: u64,
    /// Different users.
    pub users: u64,
    /// Users with at least 20 texts: enough for two periods.
    pub users_with_20_texts: u64,
    /// Texts; those that several records share count once for each.
    pub texts: u64,
    /// Fewest, median and most texts of a user.
    pub texts_per_user: [u64; 3],
    /// Words of the texts, separated by white space.
    pub words: u64,
    /// Mean words of a text.
    pub words_per_text: Option<f64>,
    /// Texts left out because they are blank.
    pub blank: u64,
    /// Entries left out because a field is missing or odd.
    pub odd: u64,
    /// What is wrong with the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_odd: Option<String>,
    /// What is asked after the profiles, and how much of it is answered in the file. Of a file of
    /// outputs: its answers.
    pub queries: u64,
    /// Queries with an answer in the file.
    pub answered: u64,
    /// The earliest time; `None` where the file has no dates and the order of a profile is the
    /// time.
    pub first: Option<Timestamp>,
    /// The latest time.
    pub last: Option<Timestamp>,
}

/// Reads a file once and counts. Memory grows by a few bytes for each text and user, not with the
/// texts' length.
///
/// # Errors
///
/// As [`open`](crate::open), and for the first record that is broken.
pub fn inspect<'a>(file: impl Into<DataFile<'a>>) -> Result<Inspection> {
    let mut reader = open(file)?;
    // Users are told apart by 64 bits of a hash, so that long names cost no memory.
    let hasher = RandomState::new();
    let mut texts_of: HashMap<u64, u64> = HashMap::new();
    let (mut records, mut texts, mut words, mut queries, mut answered) = (0, 0, 0, 0, 0);
    let (mut left_out, mut seen) = (LeftOut::default(), Seen::default());
    let (mut first, mut last): (Option<Timestamp>, Option<Timestamp>) = (None, None);
    if let Format::Outputs(_) = reader.format() {
        while let Some((_, output)) = reader.next_gold()? {
            records += 1;
            words += output.split_whitespace().count() as u64;
        }
        (queries, answered) = (records, records);
    } else {
        while let Some(mut record) = reader.next_record()? {
            records += 1;
            left_out.add(&mut record);
            *texts_of.entry(hasher.hash_one(&record.user)).or_default() +=
                record.texts.len() as u64;
            texts += record.texts.len() as u64;
            queries += record.queries.len() as u64;
            answered +=
                record.queries.iter().filter(|query| query.response.is_some()).count() as u64;
            for text in &record.texts {
                seen.is_new(text).map_err(|reason| reader.refuse(reason))?;
                words += text.response.split_whitespace().count() as u64;
                if record.dated {
                    first = Some(first.map_or(text.time, |first| first.min(text.time)));
                    last = Some(last.map_or(text.time, |last| last.max(text.time)));
                }
            }
        }
    }
    let mut counts: Vec<u64> = texts_of.into_values().collect();
    counts.sort_unstable();
    let at = |index: usize| counts.get(index).copied().unwrap_or(0);
    let count = if texts > 0 { texts } else { answered };
    Ok(Inspection {
        format: reader.format().to_string(),
        records,
        users: counts.len() as u64,
        users_with_20_texts: counts.iter().filter(|count| **count >= ENOUGH).count() as u64,
        texts,
        texts_per_user: [at(0), at(counts.len() / 2), at(counts.len().saturating_sub(1))],
        words,
        words_per_text: (count > 0).then(|| words as f64 / count as f64),
        blank: left_out.blank,
        odd: left_out.odd,
        first_odd: left_out.first_odd,
        queries,
        answered,
        first,
        last,
    })
}

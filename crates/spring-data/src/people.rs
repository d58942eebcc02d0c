//! People's own texts, as their programs export them, read as pairs of prompt and response.
//!
//! [`read`] takes a file, a folder, an archive or standard input; what it is shows in its content.
//! A reader for each format gives messages with their authors, or rows; from the messages of the
//! person whose side is learned come pairs: the reply to the quoted mail, the answer to the last
//! turns of a chat, the text to its title. What is not the person's own (quoted text, forwarded
//! mails, signatures, system messages and much else) is left out and counted by its reason.
//!
//! Sizes, counts and depths are bounded; links in folders are not followed; of a git repository
//! nothing that it configures is run.

mod assistants;
mod benchmarks;
mod discord;
mod error;
mod formats;
mod found;
mod git;
mod input;
mod json;
mod left_out;
mod mail;
mod markdown;
mod options;
mod pairs;
#[cfg(feature = "parquet")]
mod parquet;
mod quoted;
mod reader;
mod recognise;
mod rows;
mod slack;
mod table;
mod telegram;
mod time;
mod whatsapp;
mod whose;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use spring_memory::{Interaction, InteractionId, UserId};

pub use error::{Error, Problem, Result};
pub use formats::{FORMATS, Format, format_named};
use found::{Found, LONGEST_TEXT, Pair};
use input::Bundle;
use left_out::Tally;
pub use left_out::{LeftOut, Reason};
pub use options::{Columns, DateOrder, Options, PromptFrom, parse_zone};

use crate::hash;

/// A text on its way into a state.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Text {
    /// The user, where the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Its id in the file, or one made of its content.
    pub id: InteractionId,
    /// When it was written.
    pub time: Timestamp,
    /// What was asked.
    pub prompt: String,
    /// What the person wrote.
    pub response: String,
    /// What the file keeps with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Value>,
    /// The file that it comes from.
    pub file: String,
    /// The line on which it begins there, from 1; the record where a format has no lines.
    pub line: u64,
}

impl Text {
    /// The interaction of the user that the file names, or else of `user`.
    pub fn into_interaction(self, user: &UserId) -> Interaction {
        let user = self.user.unwrap_or_else(|| user.clone());
        Interaction::new(user, self.id, self.time, self.prompt, self.response).with_meta(self.meta)
    }
}

/// What was read of the files of one format.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Reading {
    /// The argument that was read.
    pub source: String,
    /// The format's name.
    pub format: &'static str,
    /// Whether the format was recognised, and not said by the caller.
    pub recognised: bool,
    /// Files that were read.
    pub files: u64,
    /// Whose side is learned, in words, where that was guessed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub me: Option<String>,
    /// A name for the user, from the person's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What else there is to say of how it was read.
    pub notes: Vec<String>,
    /// What was left out, by reason.
    pub left_out: Vec<LeftOut>,
    /// Records that cannot be read, as far as they are kept; they are left out.
    pub problems: Vec<Problem>,
    /// The texts: those of tables in their order there, all others in the order of time.
    #[serde(skip)]
    pub texts: Vec<Text>,
}

/// Reads a file, a folder, an archive, or standard input (`-`).
///
/// A folder may hold files of several formats; each format is a reading of its own.
///
/// # Errors
///
/// [`Error`]: a file that cannot be read or is beyond a limit, a format or a person that cannot be
/// told, and, unless they are to be skipped, records that cannot be read, all of them at once.
pub fn read(path: &Path, options: &Options) -> Result<Vec<Reading>> {
    let mut tally = Tally::default();
    let bundle = Bundle::open(path, options.stop, &mut tally)?;
    let groups = recognise::groups(&bundle, options, &mut tally)?;
    let (single, mut readings) = (groups.len() == 1, Vec::new());
    for (format, entries) in groups {
        let Some(reader) = formats::reader_of(format) else {
            let reason = "Parquet is not in this build: build it with `--features parquet`, or \
                          write the table as CSV";
            return Err(input::file_error(&bundle.label, reason));
        };
        let mut found = Found::with_tally(std::mem::take(&mut tally));
        match reader.read(&bundle, &entries, options, &mut found) {
            // A table of something else beside a person's texts.
            Err(error) if !single && json::is_other_file(&error).is_some() => {
                tally = found.tally;
                let label = entries.first().map_or("", |entry| entry.label.as_str());
                tally.add_many(Reason::OtherFile, label, 0, entries.len() as u64);
                continue;
            }
            other => other?,
        }
        if found.problem_count > 0 && !options.skip_errors {
            let (problems, total) = (found.problems, found.problem_count);
            return Err(Error::Problems { problems, total });
        }
        let files = entries.len().max(1) as u64;
        readings.push(finish(found, &bundle, format, files, options)?);
    }
    if let Some(last) = readings.last_mut() {
        for left_out in tally.into_list() {
            match last.left_out.iter_mut().find(|known| known.reason == left_out.reason) {
                Some(known) => known.count += left_out.count,
                None => last.left_out.push(left_out),
            }
        }
    }
    Ok(readings)
}

/// From what a reader found to texts.
fn finish(
    mut found: Found,
    bundle: &Bundle,
    format: &'static str,
    files: u64,
    options: &Options,
) -> Result<Reading> {
    let (mut me, mut user) = (None, None);
    if !found.messages.is_empty() {
        let side = whose::side(&found, options, &bundle.label)?;
        pairs::pair_up(&mut found, &side.people, options)?;
        (me, user) = (side.why, side.name);
    } else if !options.me.is_empty() && found.pairs.iter().any(|pair| pair.user.is_some()) {
        // Rows of several users.
        let is_me = |pair: &Pair| {
            pair.user
                .as_ref()
                .is_some_and(|user| options.me.iter().any(|me| me.eq_ignore_ascii_case(user)))
        };
        for pair in found.pairs.iter().filter(|pair| !is_me(pair)) {
            let label = found.files.get(pair.file).map_or("", String::as_str);
            found.tally.add(Reason::Others, label, pair.line);
        }
        found.pairs.retain(is_me);
    }
    if found.zone_used {
        let zone = options.zone.iana_name().map_or_else(
            || options.zone.to_fixed_offset().map_or("the given one".into(), |o| o.to_string()),
            str::to_owned,
        );
        found.note(format!("times without a zone are read in {zone} (--zone overrides)"));
    }
    let problems = std::mem::take(&mut found.problems);
    let (notes, source) = (std::mem::take(&mut found.notes), bundle.label.clone());
    let (texts, undated, left_out) = texts(found);
    let mut reading = Reading {
        source,
        format,
        recognised: options.from.is_none(),
        files,
        me,
        user,
        notes,
        left_out,
        problems,
        texts,
    };
    if undated > 0 && format != "markdown" && format != "obsidian" {
        let note = match undated == reading.texts.len() {
            true => "there are no times; the order of the texts stands for them".to_owned(),
            false => format!("{undated} texts without a time are left out"),
        };
        reading.notes.push(note);
    }
    Ok(reading)
}

/// Pairs as texts, each id once; how many had no time, and what was left out.
fn texts(mut found: Found) -> (Vec<Text>, usize, Vec<LeftOut>) {
    let undated = found.pairs.iter().filter(|pair| pair.time.is_none()).count();
    // Where none has a time the order stands for it: seconds from 1970 on, as for data sets.
    let by_order = undated == found.pairs.len();
    // Of notes some have dates: those without come first.
    let keeps_undated = found.all_mine;
    // Rows keep their order, which is that of their numbers in a state.
    let is_paired = !found.people.is_empty();
    let mut texts: Vec<Text> = Vec::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    let pairs = std::mem::take(&mut found.pairs);
    let mut place = 0;
    for pair in pairs {
        let Pair { user, id, time, prompt, response, meta, file, line } = pair;
        let label = found.files.get(file).cloned().unwrap_or_default();
        let time = match time {
            Some(time) => time,
            None if by_order || keeps_undated => {
                place += 1;
                Timestamp::UNIX_EPOCH
                    .checked_add(SignedDuration::from_secs(place))
                    .unwrap_or_default()
            }
            None => {
                found.tally.add(Reason::NoTime, &label, line);
                continue;
            }
        };
        if prompt.len() > LONGEST_TEXT || response.len() > LONGEST_TEXT {
            found.tally.add(Reason::TooLong, &label, line);
            continue;
        }
        let content = hash::of_parts(&[prompt.as_bytes(), response.as_bytes()]);
        let stamp = if by_order { String::new() } else { time.as_microsecond().to_string() };
        let made = || {
            let parts: [&[u8]; 3] = [stamp.as_bytes(), prompt.as_bytes(), response.as_bytes()];
            format!("{:016x}", hash::of_parts(&parts))
        };
        let id = id.map(|id| id.chars().filter(|c| !c.is_control()).collect::<String>());
        let id = id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        // An id beyond the limit is replaced, not cut: two might be cut alike.
        let id = id
            .and_then(|id| InteractionId::new(id).ok())
            .or_else(|| InteractionId::new(made()).ok());
        let Some(id) = id else { continue };
        // Rows that name their user are the state's to compare.
        if user.is_none() {
            match seen.insert(id.to_string(), content) {
                None => {}
                Some(known) => {
                    let reason = if known == content { Reason::Again } else { Reason::SameId };
                    found.tally.add(reason, &label, line);
                    continue;
                }
            }
        }
        let user = user.and_then(|user| UserId::new(user).ok());
        texts.push(Text { user, id, time, prompt, response, meta, file: label, line });
    }
    if is_paired {
        texts.sort_by_key(|text| text.time);
    }
    (texts, undated, found.tally.into_list())
}

/// What was left out in all readings, by reason.
pub fn left_out_of(readings: &[Reading]) -> Vec<LeftOut> {
    let mut all: BTreeMap<Reason, LeftOut> = BTreeMap::new();
    for left_out in readings.iter().flat_map(|reading| &reading.left_out) {
        all.entry(left_out.reason)
            .and_modify(|known| known.count += left_out.count)
            .or_insert_with(|| left_out.clone());
    }
    all.into_values().collect()
}

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod elements;
mod error;
mod file;
mod hash;
mod inspect;
pub mod mixed;
#[cfg(feature = "people")]
pub mod people;
mod profile;
mod streams;
pub mod synth;

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Chain, Cursor, Read, Seek},
    path::Path,
};

use serde::Deserialize;
use spring_memory::{JsonlReader, without_lone_surrogates};
use spring_numerics::words::{GIT_LFS, GIT_LFS_ADVICE, of_json, of_system};

use elements::{Elements, Layout};
pub use error::{Error, Result};
pub use file::DataFile;
pub use inspect::{Inspection, inspect};
pub use profile::{Query, Task, UnknownTask, UserRecord};
use profile::{RawRecord, Scalar, start_of};
pub use streams::{
    LeftOut, Stream, StreamFilter, is_question, read_streams, text_counts, visit_texts,
};

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Our JSONL: one interaction a line.
    Interactions,
    /// LaMP's questions or LongLaMP's records: one question and one profile each. `None` until a
    /// profile has a text.
    Questions(Option<Task>),
    /// OPPU's histories: one profile and several questions each.
    History(Option<Task>),
    /// LaMP's outputs: the answers to a file of questions, with the task as the file spells it.
    Outputs(Option<String>),
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |task: &Option<Task>| task.map_or("LaMP of unknown task", Task::name);
        match self {
            Self::Interactions => f.write_str("interactions (JSONL)"),
            Self::Questions(task) => f.write_str(name(task)),
            Self::History(task) => write!(f, "{}, OPPU's layout", name(task)),
            Self::Outputs(task) => write!(f, "outputs of {}", task.as_deref().unwrap_or("LaMP")),
        }
    }
}

/// The records of a file, one after the other.
#[derive(Debug)]
pub struct DataReader<R> {
    label: String,
    source: Source<R>,
    /// Line and number of the record that came last.
    place: (u64, u64),
    /// Whether the first record leaves open which task it is of.
    unclear: bool,
}

#[derive(Debug)]
enum Source<R> {
    Interactions(JsonlReader<Chain<Cursor<Vec<u8>>, R>>),
    Records { elements: Elements<R>, format: Format },
}

/// Opens a file and finds out what it holds.
///
/// # Errors
///
/// As [`DataReader::new`], and [`Error::Record`] if the file cannot be opened.
pub fn open<'a>(file: impl Into<DataFile<'a>>) -> Result<DataReader<BufReader<File>>> {
    let DataFile { path, task } = file.into();
    let label = path.display().to_string();
    let read = || {
        let fail = |reason: String| Error::File { file: label.clone(), reason };
        let mut file = spring_numerics::file::open(path).map_err(|e| fail(of_system(&e)))?;
        let mut head = Vec::new();
        let begin = (&mut file).take(GIT_LFS.len() as u64).read_to_end(&mut head);
        begin.and_then(|_| file.rewind()).map_err(|e| fail(of_system(&e)))?;
        if head == GIT_LFS {
            return Err(fail(GIT_LFS_ADVICE.into()));
        }
        DataReader::new(BufReader::with_capacity(1 << 16, file), &label)
    };
    let mut reader = read()?;
    if task.is_some() {
        return match &mut reader.source {
            Source::Records {
                format: Format::Questions(known) | Format::History(known), ..
            } => {
                *known = task;
                Ok(reader)
            }
            _ => {
                let reason = format!("{}, which has no task to name", reader.format());
                Err(Error::File { file: label, reason })
            }
        };
    }
    if !reader.unclear {
        return Ok(reader);
    }
    // The first record's entries could be of several tasks: the file is looked through for one that
    // tells.
    let task = reader.find_task()?;
    let mut reader = read()?;
    reader.set_task(task);
    Ok(reader)
}

impl<R: BufRead> DataReader<R> {
    /// Reads from `reader`; `label` stands for the file in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if the beginning is of no known format.
    pub fn new(reader: R, label: &str) -> Result<Self> {
        let mut elements = Elements::new(reader, label)?;
        let label = label.to_owned();
        if let Layout::Golds { .. } = elements.layout() {
            let format = Format::Outputs(None);
            return Ok(Self::over(label, Source::Records { elements, format }));
        }
        let lines = *elements.layout() == Layout::Lines;
        let (line, bytes) = match elements.next() {
            Ok(Some(record)) => record,
            Ok(None) => return Err(data_error(&label, 1, 0, "the list is empty".into())),
            Err(_) if lines => {
                let source = Source::Interactions(JsonlReader::new(elements.into_reader(), &label));
                return Ok(Self::over(label, source));
            }
            Err(error) => return Err(error),
        };
        let parsed = parse::<RawRecord>(bytes).map_err(|error| (error, bytes.to_vec()));
        let unclear =
            parsed.as_ref().is_ok_and(|record| record.has_profile() && record.is_unclear());
        let is_gold = serde_json::from_slice::<Gold>(bytes).is_ok();
        let format = match parsed {
            Ok(record) if record.is_history() => Format::History(record.task()),
            Ok(record) if record.has_profile() => Format::Questions(record.task()),
            // Whatever is wrong with a line, the reader of interactions says it best.
            _ if lines => {
                let source = Source::Interactions(JsonlReader::new(elements.into_reader(), &label));
                return Ok(Self::over(label, source));
            }
            Ok(_) if is_gold => Format::Outputs(None),
            Ok(_) => {
                let reason = "neither a \"profile\" nor an \"output\": expected LaMP, LongLaMP or \
                              OPPU's layout";
                return Err(data_error(&label, line, 1, reason.into()));
            }
            Err((error, bytes)) => {
                return Err(json_error(&label, line, 1, &error, &bytes, elements.begin()));
            }
        };
        elements.put_back();
        Ok(Self { unclear, ..Self::over(label, Source::Records { elements, format }) })
    }

    fn over(label: String, source: Source<R>) -> Self {
        Self { label, source, place: (1, 0), unclear: false }
    }

    /// What the file holds, as far as it was read.
    pub fn format(&self) -> Format {
        match &self.source {
            Source::Interactions(_) => Format::Interactions,
            Source::Records { elements, format } => match elements.layout() {
                Layout::Golds { task } => Format::Outputs(task.clone()),
                _ => format.clone(),
            },
        }
    }

    /// The task of the first record that tells, or of the first that has an entry.
    fn find_task(&mut self) -> Result<Option<Task>> {
        let mut first = None;
        if let Source::Records { elements, .. } = &mut self.source {
            while let Some((_, bytes)) = elements.next()? {
                // What is wrong with a record is said when it is read for itself.
                let Ok(record) = parse::<RawRecord>(bytes) else { continue };
                if record.has_profile() && !record.is_unclear() {
                    return Ok(record.task());
                }
                first = first.or_else(|| record.task());
            }
        }
        Ok(first)
    }

    /// The task of the file, if the first record leaves it open: as [`open`] finds it.
    #[cfg(feature = "people")]
    pub(crate) fn settle(&mut self) -> Result<Option<Task>> {
        if self.unclear { self.find_task() } else { Ok(None) }
    }

    /// Takes the task that the file was found to be of.
    pub(crate) fn set_task(&mut self, task: Option<Task>) {
        if let Source::Records {
            format: Format::Questions(known) | Format::History(known), ..
        } = &mut self.source
        {
            *known = task.or(*known);
        }
    }

    /// The next record of a file that is none of outputs; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] with file, line and record for what is broken or does not fit the task.
    pub fn next_record(&mut self) -> Result<Option<UserRecord>> {
        let label = &self.label;
        match &mut self.source {
            Source::Interactions(lines) => {
                let Some(line) = lines.next() else { return Ok(None) };
                let (line, text) = line?;
                self.place = (line, self.place.1 + 1);
                let user = text.user.clone();
                Ok(Some(UserRecord {
                    user,
                    texts: vec![text],
                    queries: vec![],
                    dated: true,
                    blank: 0,
                    odd: 0,
                    first_odd: None,
                }))
            }
            Source::Records { elements, format } => {
                let Some((line, bytes)) = elements.next()? else { return Ok(None) };
                let parsed = parse::<RawRecord>(bytes).map_err(|error| (error, bytes.to_vec()));
                let row = elements.row();
                self.place = (line, row);
                let record = parsed.map_err(|(error, bytes)| {
                    json_error(label, line, row, &error, &bytes, elements.begin())
                })?;
                let (Format::Questions(task) | Format::History(task)) = format else {
                    let reason =
                        "these are outputs: name the file of questions, and this one beside it";
                    return Err(data_error(label, line, row, reason.into()));
                };
                if task.is_none() {
                    *task = record.task();
                }
                let record = record.read(*task, row);
                record.map(Some).map_err(|reason| data_error(label, line, row, reason))
            }
        }
    }

    /// The next answer of a file of outputs, with its question's id; `None` at the end and for
    /// other files.
    fn next_gold(&mut self) -> Result<Option<(String, String)>> {
        let Source::Records { elements, format: Format::Outputs(_) } = &mut self.source else {
            return Ok(None);
        };
        let Some((line, bytes)) = elements.next()? else { return Ok(None) };
        let gold = parse::<Gold>(bytes).map_err(|error| (error, bytes.to_vec()));
        self.place = (line, elements.row());
        match gold {
            Ok(gold) => Ok(Some((gold.id.0, gold.output.0))),
            Err((error, bytes)) => {
                Err(json_error(&self.label, line, elements.row(), &error, &bytes, elements.begin()))
            }
        }
    }

    /// An error about the record that came last.
    fn refuse(&self, reason: String) -> Error {
        data_error(&self.label, self.place.0, self.place.1, reason)
    }
}

/// One element of LaMP's outputs.
#[derive(Debug, Deserialize)]
struct Gold {
    id: Scalar,
    output: Scalar,
}

/// The answers of a file of outputs by the ids of their questions: `{"task", "golds": […]}` or the
/// bare list.
///
/// # Errors
///
/// [`Error::Record`] if the file is broken, holds something else, or answers a question twice and
/// differently.
pub fn read_golds(path: &Path) -> Result<HashMap<String, String>> {
    let mut reader = open(path)?;
    if !matches!(reader.format(), Format::Outputs(_)) {
        let label = path.display().to_string();
        return Err(data_error(&label, 1, 1, format!("no outputs but {}", reader.format())));
    }
    let mut golds = HashMap::new();
    while let Some((id, output)) = reader.next_gold()? {
        if golds.get(&id).is_some_and(|known| *known != output) {
            return Err(reader.refuse(format!("question {:?} has two outputs", start_of(&id))));
        }
        golds.insert(id, output);
    }
    Ok(golds)
}

fn data_error(file: &str, line: u64, row: u64, reason: String) -> Error {
    Error::Record { file: file.to_owned(), line, row, reason }
}

/// A value of a file; halves of characters, which other programs write, are replaced.
fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|error| {
        let repaired = std::str::from_utf8(bytes).ok().and_then(without_lone_surrogates);
        repaired.map_or(Err(error), |text| serde_json::from_str(&text))
    })
}

/// What is wrong with a record whose bytes begin at `begin` in the file, with its place there.
fn json_error(
    file: &str,
    line: u64,
    row: u64,
    error: &serde_json::Error,
    bytes: &[u8],
    begin: u64,
) -> Error {
    if let Err(error) = std::str::from_utf8(bytes) {
        let byte = begin + error.valid_up_to() as u64 + 1;
        return data_error(
            file,
            line,
            row,
            format!("byte {byte}: not UTF-8; convert the file to UTF-8"),
        );
    }
    let before: usize = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let at = (before + error.column().saturating_sub(1)).min(bytes.len());
    let line = line + (error.line() as u64).saturating_sub(1);
    // The parser stops at the word's first letter or behind it.
    let word = ["NaN", "Infinity", "-Infinity"].into_iter().find_map(|word| {
        let place = [at, at.saturating_sub(1)]
            .into_iter()
            .find(|at| bytes[*at..].starts_with(word.as_bytes()))?;
        Some((word, place))
    });
    if let Some((word, at)) = word {
        let byte = begin + at as u64 + 1;
        return data_error(file, line, row, format!("byte {byte}: {word} is no JSON; write null"));
    }
    let message: String = of_json(error).chars().take(300).collect();
    let byte = begin + at as u64 + 1;
    data_error(file, line, row, format!("byte {byte}: not a record: {}", message.escape_debug()))
}

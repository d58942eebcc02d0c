//! The folder that a user is exported to: its files, and reading them without trust.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use spring_memory::{BufferItem, UserId};

use crate::{Error, Result, record::PeriodRecord};

/// The layout that this version writes and reads.
pub(super) const FORMAT: u32 = 1;

pub(super) const USER: &str = "user.json";
pub(super) const SETTINGS: &str = "settings.toml";
pub(super) const HISTORY: &str = "history.jsonl";
pub(super) const PLACES: &str = "places.jsonl";
pub(super) const GENERATIONS: &str = "generations.jsonl";
pub(super) const ANSWERS: &str = "answers.jsonl";

/// Longest line of the files beside the history, in bytes; a period's record has some 300 per text.
const MAX_LINE: u64 = 64 << 20;
/// Largest adapter, in bytes.
const MAX_ADAPTER: u64 = 2 << 30;
/// Most periods.
pub(super) const MAX_PERIODS: u32 = 1_000_000;

/// `user.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) user: UserId,
    pub(super) model: String,
    pub(super) fingerprint: String,
    pub(super) next_seq: i64,
    pub(super) periods: u32,
    pub(super) generation: u32,
}

/// A line of `places.jsonl`: what belongs to the interaction on the same line of the history.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) seq: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) period: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) held_out: bool,
}

/// A line of `generations.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) parent: u32,
    pub(super) period: u32,
    /// `None` for a generation that was pruned; else there is an adapter too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memories: Option<Bank>,
    pub(super) record: PeriodRecord,
}

/// What a generation retrieves from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bank {
    pub(super) buffer: Vec<BufferItem>,
    pub(super) calibration: Vec<f64>,
}

/// An exported user.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder, which only its owner may enter.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|source| Error::Io { path: path.into(), source })?;
        Ok(Self(path.into()))
    }

    /// A folder that is there.
    pub(super) fn open(path: &Path) -> Self {
        Self(path.into())
    }

    /// Removes what was half written.
    pub(super) fn remove(self) {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(self.0);
    }

    /// The PEFT folder of a generation's adapter.
    pub(super) fn adapter(&self, generation: u32) -> PathBuf {
        self.0.join("adapters").join(generation.to_string())
    }

    /// What is wrong with a file or one of its lines.
    pub(super) fn wrong(&self, file: &str, line: Option<u64>, reason: impl std::fmt::Display) -> Error {
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        Error::Import { place: format!("{}{line}", self.label(file)), reason: reason.to_string() }
    }

    /// How errors name a file.
    pub(super) fn label(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    pub(super) fn write(&self, file: &str, content: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, content).map_err(|source| Error::Io { path, source })
    }

    /// A file to be written line by line.
    pub(super) fn lines(&self, file: &str) -> Result<Lines> {
        let path = self.0.join(file);
        match File::create(&path) {
            Ok(file) => Ok(Lines { out: BufWriter::new(file), path }),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Opens one of the files; refuses links, pipes and whatever else is no plain file of a size that may be.
    pub(super) fn read(&self, file: &str, limit: u64) -> Result<BufReader<File>> {
        let path = self.0.join(file);
        check_plain(&path, limit)?;
        let file = File::open(&path).map_err(|source| Error::Io { path, source })?;
        Ok(BufReader::new(file))
    }

    /// The whole of a small file.
    pub(super) fn text(&self, file: &str) -> Result<String> {
        let mut text = String::new();
        let read = self.read(file, 1 << 20)?.read_to_string(&mut text);
        read.map_err(|source| Error::Io { path: self.0.join(file), source })?;
        Ok(text)
    }

    /// The values on a file's lines, with their line numbers.
    pub(super) fn values<T: DeserializeOwned>(
        &self,
        file: &'static str,
    ) -> Result<impl Iterator<Item = Result<(u64, T)>>> {
        let mut reader = self.read(file, u64::MAX)?;
        let (mut line, mut number) = (Vec::new(), 0);
        Ok(std::iter::from_fn(move || {
            number += 1;
            line.clear();
            match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) => None,
                Ok(_) if line.len() as u64 == MAX_LINE => Some(Err(self.wrong(
                    file,
                    Some(number),
                    format!("the line is longer than {MAX_LINE} bytes"),
                ))),
                Ok(_) => {
                    let value = serde_json::from_slice(&line);
                    Some(value.map(|value| (number, value)).map_err(|e| self.wrong(file, Some(number), e)))
                }
                Err(source) => Some(Err(Error::Io { path: self.0.join(file), source })),
            }
        }))
    }

    /// Refuses an adapter's folder whose files are links or too large to be read.
    pub(super) fn check_adapter(&self, generation: u32) -> Result<PathBuf> {
        let path = self.adapter(generation);
        for file in ["adapter_config.json", "adapter_model.safetensors", "spring.json"] {
            check_plain(&path.join(file), MAX_ADAPTER)?;
        }
        Ok(path)
    }
}

fn check_plain(path: &Path, limit: u64) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let refuse = |reason: String| Err(Error::Import { place: path.display().to_string(), reason });
    if !found.is_file() {
        return refuse("not a plain file; an export has no links".into());
    }
    if found.len() > limit {
        return refuse(format!("{} bytes are more than the {limit} that it may have", found.len()));
    }
    Ok(())
}

/// A file of JSON lines.
pub(super) struct Lines {
    out: BufWriter<File>,
    path: PathBuf,
}

impl Lines {
    pub(super) fn add(&mut self, value: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer(&mut self.out, value).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    pub(super) fn end(mut self) -> Result<()> {
        self.out.flush().map_err(|source| Error::Io { path: self.path, source })
    }
}

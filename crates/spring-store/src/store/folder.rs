//! The folder that a user is exported to: its files, and reading them without trust.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use spring_memory::{BufferItem, JsonlLimits, UserId};

use crate::{TransferError, record::PeriodRecord};

type Result<T> = std::result::Result<T, TransferError>;

/// The layout that this version writes and reads.
pub(super) const FORMAT: u32 = 1;

pub(super) const USER: &str = "user.json";
pub(super) const SETTINGS: &str = "settings.toml";
pub(super) const HISTORY: &str = "history.jsonl";
pub(super) const PLACES: &str = "places.jsonl";
pub(super) const GENERATIONS: &str = "generations.jsonl";
pub(super) const ANSWERS: &str = "answers.jsonl";

/// The files of an adapter's folder.
const ADAPTER: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "spring.json"];

/// Longest line of the files beside the history, its line break included, in bytes; a period's
/// record has some 300 per text.
const MAX_LINE: u64 = (64 << 20) - 1;
/// Largest adapter, in bytes.
const MAX_ADAPTER: u64 = 2 << 30;
/// Most periods.
pub(super) const MAX_PERIODS: u32 = 1_000_000;
/// Highest number of a generation, so that there is room for those that come after.
pub(super) const MAX_GENERATION: u32 = 1 << 30;
/// Highest next sequence number, for the same reason.
pub(super) const MAX_SEQ: u64 = 1 << 53;

/// `user.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) user: UserId,
    pub(super) model: String,
    pub(super) fingerprint: String,
    pub(super) next_seq: u64,
    pub(super) periods: u32,
    pub(super) generation: u32,
}

/// A line of `places.jsonl`: what belongs to the interaction on the same line of the history.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) seq: u64,
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
        builder.create(path).map_err(|source| TransferError::Io { path: path.into(), source })?;
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
    pub(super) fn wrong(
        &self,
        file: &str,
        line: Option<u64>,
        reason: impl std::fmt::Display,
    ) -> TransferError {
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        TransferError::Import {
            place: format!("{}{line}", self.label(file)),
            reason: reason.to_string(),
        }
    }

    /// How errors name a file.
    pub(super) fn label(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    pub(super) fn write(&self, file: &str, content: &str) -> Result<()> {
        let path = self.0.join(file);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| TransferError::Io { path: path.clone(), source })
    }

    /// A file to be written line by line, none longer than an import takes.
    pub(super) fn lines(&self, file: &str) -> Result<Lines> {
        let path = self.0.join(file);
        // The history is read as any file of interactions.
        let limit = if file == HISTORY { JsonlLimits::default().line as u64 + 1 } else { MAX_LINE };
        match File::create(&path) {
            Ok(file) => Ok(Lines { out: BufWriter::new(file), path, limit }),
            Err(source) => Err(TransferError::Io { path, source }),
        }
    }

    /// Sees to it that all of an adapter's folder outlives a power cut.
    pub(super) fn sync_adapter(&self, generation: u32) -> Result<()> {
        let folder = self.adapter(generation);
        for file in ADAPTER {
            sync(&folder.join(file))?;
        }
        sync_folder(&folder)
    }

    /// The same of the folder itself and its own place, once its files are written.
    pub(super) fn sync(&self) -> Result<()> {
        let adapters = self.0.join("adapters");
        if adapters.is_dir() {
            sync_folder(&adapters)?;
        }
        sync_folder(&self.0)?;
        sync_folder(&self.0.join(".."))
    }

    /// Opens one of the files; refuses links, pipes and whatever else is not a plain file of a size
    /// that an export has.
    pub(super) fn read(&self, file: &str, limit: u64) -> Result<BufReader<File>> {
        let path = self.0.join(file);
        check_plain(&path, limit)?;
        let file = File::open(&path).map_err(|source| TransferError::Io { path, source })?;
        Ok(BufReader::new(file))
    }

    /// The whole of a small file.
    pub(super) fn text(&self, file: &str) -> Result<String> {
        let mut text = String::new();
        let read = self.read(file, 1 << 20)?.read_to_string(&mut text);
        read.map_err(|source| TransferError::Io { path: self.0.join(file), source })?;
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
            match reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line) {
                Ok(0) => None,
                Ok(_) if line.len() as u64 > MAX_LINE => Some(Err(self.wrong(
                    file,
                    Some(number),
                    format!("the line is longer than {MAX_LINE} bytes"),
                ))),
                Ok(_) => {
                    let value = serde_json::from_slice(&line);
                    Some(
                        value
                            .map(|value| (number, value))
                            .map_err(|e| self.wrong(file, Some(number), e)),
                    )
                }
                Err(source) => Some(Err(TransferError::Io { path: self.0.join(file), source })),
            }
        }))
    }

    /// Refuses an adapter's folder that is a link, or whose files are links or too large to be
    /// read.
    pub(super) fn check_adapter(&self, generation: u32) -> Result<PathBuf> {
        let path = self.adapter(generation);
        for folder in [&self.0.join("adapters"), &path] {
            let found = fs::symlink_metadata(folder)
                .map_err(|source| TransferError::Io { path: folder.clone(), source })?;
            if !found.is_dir() {
                let place = folder.display().to_string();
                let reason = "not a plain folder; an export has no links".into();
                return Err(TransferError::Import { place, reason });
            }
        }
        for file in ADAPTER {
            check_plain(&path.join(file), MAX_ADAPTER)?;
        }
        Ok(path)
    }
}

fn check_plain(path: &Path, limit: u64) -> Result<()> {
    let found = fs::symlink_metadata(path)
        .map_err(|source| TransferError::Io { path: path.into(), source })?;
    let refuse =
        |reason: String| Err(TransferError::Import { place: path.display().to_string(), reason });
    if !found.is_file() {
        return refuse("not a plain file; an export has no links".into());
    }
    // Another name of somebody else's file, perhaps.
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&found) > 1 {
        return refuse(
            "it has several names (hard links); copy the folder, and import that".into(),
        );
    }
    if found.len() > limit {
        return refuse(format!("{} bytes are more than the {limit} that it may have", found.len()));
    }
    Ok(())
}

/// Opened for writing: Windows refuses it otherwise.
fn sync(path: &Path) -> Result<()> {
    let synced = File::options().write(true).open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| TransferError::Io { path: path.into(), source })
}

/// What a folder lists; elsewhere than on Unix that cannot be asked for.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| TransferError::Io { path: path.into(), source })
}

/// A file of JSON lines.
pub(super) struct Lines {
    out: BufWriter<File>,
    path: PathBuf,
    limit: u64,
}

impl Lines {
    /// Adds the line of `what`.
    pub(super) fn add(
        &mut self,
        what: impl FnOnce() -> String,
        value: &impl Serialize,
    ) -> Result<()> {
        let failed = |source| TransferError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        if line.len() as u64 > self.limit {
            let reason = format!(
                "{} would be a line of {} bytes, more than the {} that an import takes; copy the \
                 state file to move this user",
                what(),
                line.len(),
                self.limit
            );
            return Err(TransferError::Export { path: self.path.clone(), reason });
        }
        self.out.write_all(&line).map_err(failed)
    }

    /// Writes what is left, to the disk.
    pub(super) fn end(mut self) -> Result<()> {
        let ended = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        ended.map_err(|source| TransferError::Io { path: self.path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_no_import_would_take_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path());
        let longest = |bytes: u64| "x".repeat(usize::try_from(bytes).unwrap() - 3);
        for (file, limit) in [(ANSWERS, MAX_LINE), (HISTORY, (1 << 20) + 1)] {
            let mut lines = folder.lines(file).unwrap();
            lines.add(|| "a".into(), &longest(limit)).unwrap();
            let error = lines.add(|| "text 2".into(), &longest(limit + 1)).unwrap_err().to_string();
            let said = format!("{file}: text 2 would be a line of {} bytes", limit + 1);
            assert!(error.contains(&said), "{error}");
            lines.end().unwrap();
        }
        // The first line is read as it was written.
        let read: Vec<String> =
            folder.values(ANSWERS).unwrap().map(|line| line.unwrap().1).collect();
        assert_eq!(read, [longest(MAX_LINE)]);
    }
}

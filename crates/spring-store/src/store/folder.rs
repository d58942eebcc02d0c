//! The folder that a user is exported to: its files written whole, and read without trust.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fmt::Display,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use spring_lm::{Adapter, ModelError};
use spring_memory::JsonlLimits;
use spring_numerics::{
    digest::Digest,
    file,
    words::{from_json, of_json},
};

use super::layout::{HISTORY, Header, SUMS, USER};
use crate::TransferError;

type Result<T> = std::result::Result<T, TransferError>;
/// An adapter, or what spring-lm has against it.
type Outcome = std::result::Result<Adapter, ModelError>;

/// The files of an adapter's folder.
const ADAPTER: [&str; 3] = ["adapter_config.json", "adapter_model.safetensors", "spring.json"];

/// Longest line of the files beside the history, its line break included, in bytes; a period's
/// record has some 300 per text.
const MAX_LINE: u64 = (64 << 20) - 1;
/// Largest adapter, in bytes.
const MAX_ADAPTER: u64 = 2 << 30;
/// Largest other file that is read as a whole, in bytes.
const MAX_SMALL: u64 = 1 << 20;
/// Largest list of checksums, in bytes: each kept generation has three.
const MAX_SUMS: u64 = 64 << 20;

/// An exported user.
pub(super) struct Folder {
    path: PathBuf,
    /// The digests of what was written.
    written: RefCell<BTreeMap<String, String>>,
    /// The digests that what is read must have.
    expected: OnceCell<BTreeMap<String, String>>,
}

impl Folder {
    /// A new folder, which only its owner may enter.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|source| TransferError::Io { path: path.into(), source })?;
        Ok(Self::open(path))
    }

    /// A folder that is there.
    pub(super) fn open(path: &Path) -> Self {
        Self { path: path.into(), written: RefCell::default(), expected: OnceCell::new() }
    }

    /// Removes what was half written.
    pub(super) fn remove(self) {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(self.path);
    }

    /// The PEFT folder of an adapter: of a generation by its number, or of a prior.
    pub(super) fn adapter(&self, of: &dyn Display) -> PathBuf {
        self.path.join("adapters").join(of.to_string())
    }

    /// What is wrong with a file or one of its lines.
    pub(super) fn wrong(
        &self,
        file: &str,
        line: Option<u64>,
        reason: impl Display,
    ) -> TransferError {
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        TransferError::Import {
            place: format!("{}{line}", self.label(file)),
            reason: reason.to_string(),
        }
    }

    /// How errors name a file.
    pub(super) fn label(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }

    pub(super) fn write(&self, file: &str, content: &str) -> Result<()> {
        let path = self.path.join(file);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| TransferError::Io { path: path.clone(), source })?;
        let mut digest = Digest::new();
        digest.update(content);
        self.written.borrow_mut().insert(file.into(), digest.hex());
        Ok(())
    }

    /// Writes the checksums of all that was written, and of what `user.json` will hold; then that
    /// file, without which a folder is not an export, so that one cut short is not taken for whole.
    pub(super) fn finish(&self, header: &Header) -> Result<()> {
        let failed = |error: serde_json::Error| TransferError::Io {
            path: self.path.join(USER),
            source: io::Error::other(of_json(&error)),
        };
        let header = serde_json::to_string(header).map_err(failed)? + "\n";
        let mut digest = Digest::new();
        digest.update(&header);
        self.written.borrow_mut().insert(USER.into(), digest.hex());
        let line = |(file, sum): (&String, &String)| format!("{sum}  {file}\n");
        let sums: String = self.written.borrow().iter().map(line).collect();
        self.write(SUMS, &sums)?;
        self.write(USER, &header)
    }

    /// A file to be written line by line, none longer than an import takes.
    pub(super) fn lines(&self, file: &'static str) -> Result<Lines<'_>> {
        let path = self.path.join(file);
        // The history is read as any file of interactions.
        let limit = if file == HISTORY { JsonlLimits::default().line as u64 + 1 } else { MAX_LINE };
        match File::create(&path) {
            Ok(out) => {
                let (out, digest) = (BufWriter::new(out), Digest::new());
                Ok(Lines { folder: self, file, out, digest, path, limit })
            }
            Err(source) => Err(TransferError::Io { path, source }),
        }
    }

    /// Sees to it that all of an adapter's folder outlives a power cut.
    pub(super) fn sync_adapter(&self, of: &dyn Display) -> Result<()> {
        let folder = self.adapter(of);
        for file in ADAPTER {
            let path = folder.join(file);
            sync(&path)?;
            let sum = File::open(&path).and_then(|mut file| sum_of(&mut file));
            let sum = sum.map_err(|source| TransferError::Io { path, source })?;
            self.written.borrow_mut().insert(within(of, file), sum);
        }
        sync_folder(&folder)
    }

    /// The same of the folder itself and its own place, once its files are written.
    pub(super) fn sync(&self) -> Result<()> {
        let adapters = self.path.join("adapters");
        if adapters.is_dir() {
            sync_folder(&adapters)?;
        }
        sync_folder(&self.path)?;
        sync_folder(&self.path.join(".."))
    }

    /// Opens one of the files; refuses links, pipes and whatever else is not a plain file of a size
    /// that an export has.
    pub(super) fn read(&self, file: &str, limit: u64) -> Result<BufReader<File>> {
        self.checked(file, limit).map(BufReader::new)
    }

    /// The same, at its beginning after all of it was compared with its checksum.
    fn checked(&self, name: &str, limit: u64) -> Result<File> {
        let path = self.path.join(name);
        let failed = |source| TransferError::Io { path: path.clone(), source };
        let mut file = file::open_within(&self.path, name).map_err(|error| {
            match error.kind() == io::ErrorKind::Other && error.get_ref().is_some() {
                true => self.wrong(name, None, "not a plain file; an export has no links"),
                false => failed(error),
            }
        })?;
        let found = file.metadata().map_err(failed)?;
        // Another name of somebody else's file, perhaps.
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::nlink(&found) > 1 {
            let reason = "it has several names (hard links); copy the folder, and import that";
            return Err(self.wrong(name, None, reason));
        }
        if found.len() > limit {
            let reason =
                format!("{} bytes are more than the {limit} that it may have", found.len());
            return Err(self.wrong(name, None, reason));
        }
        let Some(sums) = self.expected.get() else { return Ok(file) };
        let Some(wanted) = sums.get(name) else {
            return Err(self.wrong(SUMS, None, format!("it does not list {name}")));
        };
        if sum_of(&mut file).map_err(failed)? != *wanted {
            let reason = format!(
                "not what was exported: its {} bytes have another checksum than {SUMS} says, so \
                 it was cut short or changed; copy the folder anew",
                found.len()
            );
            return Err(self.wrong(name, None, reason));
        }
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    /// Reads the checksums, with which everything that is read from now on is compared.
    pub(super) fn expect_sums(&self) -> Result<()> {
        let mut sums = BTreeMap::new();
        let text = match self.whole(SUMS, MAX_SUMS) {
            Err(TransferError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let reason = "it is not there, and an export of this format has it; copy the \
                              folder anew";
                return Err(self.wrong(SUMS, None, reason));
            }
            other => other?,
        };
        if !text.ends_with('\n') {
            return Err(self.wrong(SUMS, None, "it is cut short; copy the folder anew"));
        }
        for (line, number) in text.lines().zip(1..) {
            let Some((sum, file)) = line.split_once("  ").filter(|(sum, _)| sum.len() == 64) else {
                let reason = "a SHA-256 in hexadecimal digits, two spaces and a file are wanted";
                return Err(self.wrong(SUMS, Some(number), reason));
            };
            sums.insert(file.to_owned(), sum.to_owned());
        }
        // The first call counts.
        let _ = self.expected.set(sums);
        Ok(())
    }

    /// Whether the list of checksums has this file.
    pub(super) fn has(&self, file: &str) -> bool {
        self.expected.get().is_some_and(|sums| sums.contains_key(file))
    }

    /// Whether the folder has checksums.
    pub(super) fn has_sums(&self) -> bool {
        self.expected.get().is_some()
    }

    /// The whole of a small file.
    pub(super) fn text(&self, file: &str) -> Result<String> {
        self.whole(file, MAX_SMALL)
    }

    fn whole(&self, file: &str, limit: u64) -> Result<String> {
        let mut text = String::new();
        let read = self.read(file, limit)?.take(limit).read_to_string(&mut text);
        read.map_err(|source| TransferError::Io { path: self.path.join(file), source })?;
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
                    let value = from_json(&line).map(|value| (number, value));
                    Some(value.map_err(|e| self.wrong(file, Some(number), e.in_its_line())))
                }
                Err(source) => Some(Err(TransferError::Io { path: self.path.join(file), source })),
            }
        }))
    }

    /// An adapter, read from its PEFT folder; refuses links and what is too large.
    pub(super) fn read_adapter(&self, of: &dyn Display) -> Result<Outcome> {
        let path = self.adapter(of);
        for folder in [&self.path.join("adapters"), &path] {
            let found = fs::symlink_metadata(folder)
                .map_err(|source| TransferError::Io { path: folder.clone(), source })?;
            if !found.is_dir() {
                let place = folder.display().to_string();
                let reason = "not a plain folder; an export has no links".into();
                return Err(TransferError::Import { place, reason });
            }
        }
        let [config, factors, fingerprint] = ADAPTER.map(|file| within(of, file));
        let [config, fingerprint] = [self.text(&config)?, self.text(&fingerprint)?];
        let factors = self.checked(&factors, MAX_ADAPTER)?;
        let label = path.display().to_string();
        Ok(Adapter::load_peft_files(&label, config.as_bytes(), fingerprint.as_bytes(), factors))
    }
}

/// A file of an adapter by its path in the folder.
fn within(of: &dyn Display, file: &str) -> String {
    format!("adapters/{of}/{file}")
}

/// The SHA-256 of what is left of a file, in hexadecimal digits.
fn sum_of(file: &mut File) -> io::Result<String> {
    let mut digest = Digest::new();
    io::copy(file, &mut digest)?;
    Ok(digest.hex())
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
pub(super) struct Lines<'f> {
    folder: &'f Folder,
    file: &'static str,
    out: BufWriter<File>,
    digest: Digest,
    path: PathBuf,
    limit: u64,
}

impl Lines<'_> {
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
        self.digest.update(&line);
        self.out.write_all(&line).map_err(failed)
    }

    /// Writes what is left, to the disk.
    pub(super) fn end(mut self) -> Result<()> {
        let ended = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        ended.map_err(|source| TransferError::Io { path: self.path, source })?;
        self.folder.written.borrow_mut().insert(self.file.into(), self.digest.hex());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::layout::ANSWERS;

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

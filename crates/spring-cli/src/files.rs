//! Files that arguments name: which of them may be streams, and output that is written whole.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use spring_numerics::file;

use crate::interrupt;

/// What stands for standard input in place of a file.
pub const STDIN: &str = "-";

/// Refuses what is no plain file, before it is opened: a pipe would be waited for, and a device may
/// never end. What is not there is left to whoever opens it.
pub fn plain(path: &Path) -> Result<()> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    match file::kind(&found) {
        None => Ok(()),
        Some(what) => bail!("{}: {what}; a plain file is needed", path.display()),
    }
}

/// Refuses pipes and devices too, but for those that are meant as streams: `-`, `/dev/stdin`, and
/// the `/dev/fd/N` of a shell's `<(…)`.
pub fn plain_or_stream(path: &Path) -> Result<()> {
    if is_stream(path) || path.is_dir() {
        return Ok(());
    }
    plain(path).map_err(|error| {
        anyhow::anyhow!("{error}; a pipe is read from standard input, which `-` stands for")
    })
}

fn is_stream(path: &Path) -> bool {
    [STDIN, "/dev/stdin"].map(Path::new).contains(&path) || path.starts_with("/dev/fd")
}

/// Refuses what is no plain file among the files of a folder, such as a model's.
pub fn plain_within(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if !path.is_dir() {
            plain(&path)?;
        }
    }
    Ok(())
}

/// An input that is read once from its beginning to its end, and so may be a stream.
pub struct Input {
    /// How errors name it.
    pub label: String,
    reader: Box<dyn Read>,
}

impl Input {
    /// Opens a file or a stream.
    ///
    /// # Errors
    ///
    /// As [`plain_or_stream`], and for what cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new(STDIN) {
            let reader = Box::new(io::stdin());
            return Ok(Self { label: "standard input".into(), reader });
        }
        plain_or_stream(path)?;
        let label = path.display().to_string();
        let file = if is_stream(path) { File::open(path) } else { file::open(path) };
        let file = file.with_context(|| label.clone())?;
        ensure!(!file.metadata().is_ok_and(|found| found.is_dir()), "{label}: a folder");
        Ok(Self { label, reader: Box::new(file) })
    }
}

impl Read for Input {
    /// Ends with an error once the program was asked to stop.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        if interrupt::requested() { Err(io::Error::other("interrupted")) } else { read }
    }
}

/// The longest text that is read from a file or standard input in place of an argument, in bytes:
/// an interaction's limit.
const LONGEST_TEXT: u64 = 1 << 20;

/// A text that is not to stand in the list of processes: all of a file, or of standard input. The
/// line break that ends it is no part of it.
///
/// # Errors
///
/// For what cannot be read, is too long or is not UTF-8.
pub fn text(path: &Path) -> Result<String> {
    let input = Input::open(path)?;
    let label = input.label.clone();
    let mut bytes = Vec::new();
    let read = input.take(LONGEST_TEXT + 1).read_to_end(&mut bytes);
    if interrupt::requested() {
        return Err(interrupt::Interrupted.into());
    }
    read.with_context(|| label.clone())?;
    ensure!(bytes.len() as u64 <= LONGEST_TEXT, "{label}: longer than {LONGEST_TEXT} bytes");
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        anyhow::anyhow!("{label}: not UTF-8 from byte {at} on: convert it to UTF-8")
    })?;
    let content = text.strip_suffix('\n').unwrap_or(&text);
    text.truncate(content.strip_suffix('\r').unwrap_or(content).len());
    Ok(text)
}

/// A text that was given as such or by a file; the command line demands one of the two.
///
/// # Errors
///
/// As [`text`].
pub fn given(argument: Option<&str>, file: Option<&Path>) -> Result<String> {
    match (argument, file) {
        (_, Some(path)) => text(path),
        (Some(argument), None) => Ok(argument.to_owned()),
        (None, None) => bail!("no text was given"),
    }
}

/// Writes a file that is there whole or not at all: beside its place, and renamed. It is readable
/// for its owner alone, since it may hold texts.
///
/// # Errors
///
/// For what cannot be written, and in place of something that is no plain file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o600)
}

/// The same of a file that everybody may read, as far as the system's settings say.
///
/// # Errors
///
/// As [`write_whole`].
pub fn write_for_everybody(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o666)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    plain(path)?;
    let write = || -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        #[cfg(not(unix))]
        let _ = mode;
        let mut file =
            builder.prefix(".spring-").tempfile_in(folder.unwrap_or_else(|| Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    write().with_context(|| path.display().to_string())
}

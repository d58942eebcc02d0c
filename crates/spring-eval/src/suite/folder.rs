//! The files of a run's folder: written whole or line by line, and read again after a crash.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    sync::Mutex,
};

use serde::{Deserialize, Serialize};
use spring_lm::Adapter;
use spring_numerics::{
    digest::Digest,
    words::{from_json, of_json, of_system},
};

use crate::{Error, Result};

/// The SHA-256 of a file, in hexadecimal digits, in constant memory.
pub(super) fn hash_of(path: &Path) -> Result<String> {
    let mut digest = Digest::new();
    let copied = spring_numerics::file::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut digest));
    copied.map_err(|error| Error::File {
        file: path.display().to_string(),
        reason: of_system(&error),
    })?;
    Ok(digest.hex())
}

pub(super) fn save_adapters(folder: &Path, adapters: &[Adapter]) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::File {
        file: folder.display().to_string(),
        reason: of_system(&error),
    })?;
    // The first one comes last: where it is, all of them are.
    for (t, adapter) in adapters.iter().enumerate().rev() {
        write(&folder.join(t.to_string()), &adapter.to_bytes().map_err(spring_core::Error::from)?)?;
    }
    Ok(())
}

pub(super) fn load_adapters(folder: &Path) -> Result<Vec<Adapter>> {
    (0..)
        .map(|t: usize| folder.join(t.to_string()))
        .take_while(|path| path.exists())
        .map(|path| read_adapter(&path))
        .collect()
}

pub(super) fn read_adapter(path: &Path) -> Result<Adapter> {
    let bytes = fs::read(path).map_err(|error| Error::File {
        file: path.display().to_string(),
        reason: of_system(&error),
    })?;
    Ok(Adapter::from_bytes(&bytes).map_err(spring_core::Error::from)?)
}

/// Writes beside it and renames: a reader finds the old file or the new one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    written.map_err(|error| Error::File {
        file: path.display().to_string(),
        reason: of_system(&error),
    })
}

pub(super) fn unwritable(error: serde_json::Error) -> Error {
    Error::NotEnough(format!("a result cannot be written as JSON: {}", of_json(&error)))
}

/// The lines of a JSONL file, none if it is not there. A last line without its end was cut off by a
/// crash: it is dropped, and what it stands for is run again.
pub(super) fn read_lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>> {
    let label = path.display().to_string();
    let file = match spring_numerics::file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(Error::File { file: label, reason: of_system(&error) }),
    };
    let (mut reader, mut lines, mut line) = (BufReader::new(file), Vec::new(), Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        read.map_err(|error| Error::File { file: label.clone(), reason: of_system(&error) })?;
        if line.last() != Some(&b'\n') {
            return Ok(lines);
        }
        let number = lines.len() as u64 + 1;
        lines.push(from_json(&line).map_err(|error| Error::Line {
            file: label.clone(),
            line: number,
            reason: format!(
                "damaged: {}; delete the line and run the suite again",
                error.in_its_line()
            ),
        })?);
    }
}

/// Opens a JSONL file to add lines, behind its last whole one.
pub(super) fn append(path: &Path) -> Result<File> {
    let open = || -> std::io::Result<File> {
        let whole = match fs::read(path) {
            Ok(bytes) => bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole as u64)?;
        Ok(file)
    };
    open().map_err(|error| Error::File {
        file: path.display().to_string(),
        reason: of_system(&error),
    })
}

pub(super) fn append_line(file: &Mutex<File>, line: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(line).map_err(unwritable)? + "\n";
    let written = match file.lock() {
        Ok(mut file) => file.write_all(line.as_bytes()).and_then(|()| file.sync_data()),
        Err(_) => return Err(Error::NotEnough("another user's run failed".into())),
    };
    written
        .map_err(|error| Error::File { file: "the run's folder".into(), reason: of_system(&error) })
}

//! A file of administrative acts, one JSON object on a line, without texts.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use spring_numerics::words::of_system;
use spring_serve::AuditEvent;

/// The key of an act at the command line: whoever runs the program may do everything to the state.
const COMMAND_LINE: &str = "spring";

/// A log that is only added to.
pub struct AuditLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl AuditLog {
    /// Opens a log, or begins one that its owner alone may read. No link is followed, so that
    /// nobody who may write to the folder has it written elsewhere.
    ///
    /// # Errors
    ///
    /// If it is no plain file, has several names, or cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let refused = |reason: &str| anyhow!("{}: {reason}", path.display());
        let failed = |error: &io::Error| refused(&of_system(error));
        let plain = "not a plain file, as an audit log must be; name another";
        // A pipe would be waited for.
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => return Err(refused(plain)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
        let mut options = File::options();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;

            use rustix::fs::OFlags;
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
            options.mode(0o600).custom_flags(flags.bits().cast_signed());
        }
        let file = options.open(path).map_err(|error| failed(&error))?;
        let opened = file.metadata().map_err(|error| failed(&error))?;
        if !opened.is_file() {
            return Err(refused(plain));
        }
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::nlink(&opened) > 1 {
            return Err(refused("it has several names (hard links); name another"));
        }
        Ok(Self { path: path.into(), file: Mutex::new(file) })
    }

    /// Adds an act, and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn add(&self, event: &AuditEvent) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // One call: what several processes add does not mix.
        let added = file.write_all(&line).and_then(|()| file.sync_data());
        added.map_err(|error| {
            anyhow!("{}: an act is not on record: {}", self.path.display(), of_system(&error))
        })
    }
}

/// Does something at the command line, and puts on record what became of it, if there is a log; one
/// that cannot be opened keeps it from being done. `what` says in the event what it found out.
///
/// # Errors
///
/// Those of the act, and of the log.
pub fn acted<T>(
    log: Option<&Path>,
    act: &'static str,
    user: Option<&str>,
    what: impl FnOnce(&mut AuditEvent) -> Result<T>,
) -> Result<T> {
    let log = log.map(AuditLog::open).transpose()?;
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let mut event = AuditEvent::new(now, COMMAND_LINE, act);
    event.user = user.map(str::to_owned);
    let done = what(&mut event).inspect_err(|_| event.status = 500);
    let added = log.map_or(Ok(()), |log| log.add(&event));
    // What went wrong first is told.
    let value = done?;
    added.map(|()| value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(act: &'static str) -> AuditEvent {
        let mut event = AuditEvent::new(7, "key-1", act);
        event.user = Some("a\nb".into());
        event.request_id = "req_1".into();
        event
    }

    #[test]
    fn acts_are_added_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        AuditLog::open(&path).unwrap().add(&event("adapt")).unwrap();
        AuditLog::open(&path).unwrap().add(&event("rollback")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let acts: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(acts.len(), 2, "{text}");
        assert_eq!((&acts[0]["act"], &acts[1]["act"]), (&"adapt".into(), &"rollback".into()));
        assert_eq!(acts[0]["user"], "a\nb");
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0);
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let hard = folder.path().join("hard");
        fs::hard_link(&target, &hard).unwrap();
        for path in [&link, &hard, &folder.path().to_path_buf()] {
            assert!(AuditLog::open(path).is_err(), "{}", path.display());
        }
        // A link that leads nowhere yet is one, too.
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink(folder.path().join("new"), &dangling).unwrap();
        assert!(AuditLog::open(&dangling).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
    }
}

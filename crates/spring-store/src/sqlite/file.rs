//! Making and opening the file: whose it is, which version, and whether it may be written.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use spring_numerics::words::{GIT_LFS, GIT_LFS_ADVICE, of_system};

use super::{
    failure::{BUSY_TIMEOUT, Failure, Outcome},
    schema::{self, SCHEMA_VERSION},
};
use crate::backend::{Access, Fault, SettingsRow};

/// How long rewriting the file waits for other processes.
const SCRUB_TIMEOUT: Duration = Duration::from_secs(2);

/// A new file with the tables and settings in it, and its [`resolve`]d name; nothing is left of it
/// if that fails.
pub(super) fn create(path: &Path, settings: &SettingsRow) -> Outcome<(Connection, PathBuf)> {
    let mut options = File::options();
    options.write(true).create_new(true);
    // What people wrote is theirs alone.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::State("exists already; open it, or name another file".into())
        }
        _ => Failure::State(format!(
            "cannot be created: {}; its folder must exist and be writable",
            of_system(&error)
        )),
    })?;
    let make = || {
        let path = resolve(path)?;
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        fill(&mut connection, settings)?;
        prepare_for_writing(&connection)?;
        sync(&path)?;
        Ok((connection, path))
    };
    let made = make();
    if made.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(path);
    }
    made
}

/// Sees to it that a new file and its [`resolve`]d name outlive a power cut.
fn sync(path: &Path) -> Outcome<()> {
    let synced = File::options().write(true).open(path).and_then(|file| file.sync_all());
    // Elsewhere than on Unix a folder cannot be asked for that.
    let folder = path.parent().filter(|_| cfg!(unix));
    let synced =
        synced.and_then(|()| folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all()));
    synced.map_err(|error| {
        Failure::State(format!(
            "cannot be written to the disk: {}; check the disk",
            of_system(&error)
        ))
    })
}

/// A store without a file.
pub(super) fn in_memory(settings: &SettingsRow) -> Outcome<Connection> {
    let mut connection = Connection::open_in_memory()?;
    set_up(&connection)?;
    fill(&mut connection, settings)?;
    Ok(connection)
}

/// A store that lasts as long as the connection, in a file without a name once it is large.
pub(super) fn scratch(settings: &SettingsRow) -> Outcome<Connection> {
    let mut connection = Connection::open("")?;
    set_up(&connection)?;
    fill(&mut connection, settings)?;
    Ok(connection)
}

/// An existing file and its [`resolve`]d name, after checking that it is a state that this version
/// can read.
pub(super) fn open(path: &Path, access: Access) -> Outcome<(Connection, PathBuf)> {
    open_state(path, access).map_err(|failure| match &failure {
        Failure::Sqlite(error) if is_pointer(path, error) => Failure::State(GIT_LFS_ADVICE.into()),
        _ => failure,
    })
}

/// Whether what SQLite cannot make out is a pointer of Git LFS. It is looked at after SQLite was
/// asked: closing a file takes away the locks that the same process has on it through others.
fn is_pointer(path: &Path, error: &rusqlite::Error) -> bool {
    let mut begin = Vec::with_capacity(GIT_LFS.len());
    error.sqlite_error_code() == Some(ErrorCode::NotADatabase)
        && spring_numerics::file::open(path)
            .is_ok_and(|file| file.take(GIT_LFS.len() as u64).read_to_end(&mut begin).is_ok())
        && begin == GIT_LFS
}

fn open_state(path: &Path, access: Access) -> Outcome<(Connection, PathBuf)> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Fault::Missing.into());
        }
        Err(error) => {
            return Err(Failure::State(format!("cannot be opened: {}", of_system(&error))));
        }
        Ok(found) if !found.is_file() => {
            return Err(Failure::State("not a file; name the state file itself".into()));
        }
        Ok(found) => found,
    };
    refuse_second_name(&found)?;
    let resolved = resolve(path)?;
    refuse_odd_companions(&resolved)?;
    let mut connection = match access {
        Access::ReadOnly => connect_to_read(&resolved)?,
        Access::ReadWrite => connect(&resolved, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
    };
    refuse_another(&found, path)?;
    let version = schema::check(&connection)?;
    check_length(&resolved, &connection)?;
    if access == Access::ReadOnly && version < SCHEMA_VERSION {
        // Once for all: whoever may write it brings it up to date.
        drop(connection);
        open(path, Access::ReadWrite).map_err(|fault| fault.while_migrating(version))?;
        return open(path, access);
    }
    if access == Access::ReadWrite {
        // SQLite falls back to reading without a word.
        if connection.is_readonly("main")? {
            return Err(Failure::State(
                "write-protected; give yourself permission to write it".into(),
            ));
        }
        prepare_for_writing(&connection)?;
        if version < SCHEMA_VERSION {
            schema::migrate(&mut connection)?;
            schema::check(&connection)?;
        }
    }
    Ok((connection, resolved))
}

/// SQLite opens what lies beside the file under its own names, and a pipe there would keep it
/// waiting for ever.
fn refuse_odd_companions(path: &Path) -> Outcome<()> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let beside = beside(path, suffix);
        if fs::symlink_metadata(&beside).is_ok_and(|found| !found.is_file()) {
            return Err(Failure::State(format!(
                "{} is not a plain file, as what SQLite keeps there is; move it away",
                beside.display()
            )));
        }
    }
    Ok(())
}

/// What SQLite keeps beside a file.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// SQLite names its log after the file, so two names of one file have two logs, and what one
/// process wrote is lost to the other.
#[cfg(unix)]
fn refuse_second_name(file: &fs::Metadata) -> Outcome<()> {
    match std::os::unix::fs::MetadataExt::nlink(file) {
        0 | 1 => Ok(()),
        names => Err(Failure::State(format!(
            "it has {names} names (hard links), and two of them used at once would lose texts; \
             delete the others, or work on a copy"
        ))),
    }
}

/// SQLite opens a file by its name. What was looked at before may not be what it opened.
#[cfg(unix)]
fn refuse_another(looked_at: &fs::Metadata, path: &Path) -> Outcome<()> {
    use std::os::unix::fs::MetadataExt;
    let now = fs::metadata(path)
        .map_err(|error| Failure::State(format!("cannot be opened: {}", of_system(&error))))?;
    match (now.dev(), now.ino()) == (looked_at.dev(), looked_at.ino()) {
        true => refuse_second_name(&now),
        false => Err(Failure::State(
            "another file took its place while it was opened; run this again".into(),
        )),
    }
}

#[cfg(not(unix))]
fn refuse_another(_: &fs::Metadata, _: &Path) -> Outcome<()> {
    Ok(())
}

#[cfg(not(unix))]
fn refuse_second_name(_: &fs::Metadata) -> Outcome<()> {
    Ok(())
}

/// One more connection to a file that was opened, by the name that [`resolve`] gave.
pub(super) fn again(path: &Path, access: Access) -> Outcome<Connection> {
    match access {
        Access::ReadOnly => connect_to_read(path),
        Access::ReadWrite => {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            prepare_for_writing(&connection)?;
            Ok(connection)
        }
    }
}

/// The file's absolute name without links: SQLite takes names such as ":memory:" and "file:x" for
/// something else, and puts its other files beside the file that a link leads to.
pub(super) fn resolve(path: &Path) -> Outcome<PathBuf> {
    fs::canonicalize(path)
        .map_err(|error| Failure::State(format!("cannot be opened: {}", of_system(&error))))
}

/// A connection by the name that [`resolve`] gave.
fn connect(path: &Path, flags: OpenFlags) -> Outcome<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Until it is known to be ours, it stays as it is, its write-ahead log too.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    set_up(&connection)?;
    Ok(connection)
}

/// Also where neither the file nor its folder may be written, or the disk is full: SQLite cannot
/// make its write-ahead log there, but if there is none, then the file alone is the whole state and
/// can be read as one that does not change.
///
/// The file is read where a connection is set up, so that it fails there if it does.
fn connect_to_read(path: &Path) -> Outcome<Connection> {
    match connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        Err(Failure::Sqlite(error)) if is_locked_out(&error) && is_alone(path) => {
            connect_immutable(path)
        }
        other => other,
    }
}

/// Whether SQLite could not make its files beside a state: it may not, or the disk is full.
fn is_locked_out(error: &rusqlite::Error) -> bool {
    use ErrorCode as E;
    matches!(
        error.sqlite_error_code(),
        Some(E::CannotOpen | E::ReadOnly | E::DiskFull | E::SystemIoFailure)
    )
}

/// Whether the whole state lies in the file, none of it in a log or journal beside it.
fn is_alone(path: &Path) -> bool {
    let is_absent = |suffix| !fs::metadata(beside(path, suffix)).is_ok_and(|file| file.len() > 0);
    is_absent("-wal") && is_absent("-journal")
}

pub(super) fn connect_immutable(path: &Path) -> Outcome<Connection> {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    set_up(&connection)?;
    Ok(connection)
}

/// A file from elsewhere may bring triggers and views of its own, which get no function with side
/// effects. The last of these reads the schema.
const SET_UP: &str =
    "PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL";

/// What every connection needs; nothing of it changes the file.
fn set_up(connection: &Connection) -> Outcome<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Room for every statement of the store.
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    connection.execute_batch(SET_UP)?;
    Ok(())
}

/// A write-ahead log, so that readers and a writer do not wait for each other.
fn prepare_for_writing(connection: &Connection) -> Outcome<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Rewrites the file and its write-ahead log, so that no free page holds what was removed, if a
/// removal asks for it.
///
/// False if another process reads the file: it is tried again when the file is next opened for
/// writing.
pub(super) fn scrub(connection: &Connection) -> Outcome<bool> {
    let query = "SELECT scrub, removals FROM settings";
    let (due, removals): (bool, i64) =
        connection.query_row(query, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
    if !due {
        return Ok(true);
    }
    // Whoever reads now reads on; the next to open the file tries again.
    connection.busy_timeout(SCRUB_TIMEOUT)?;
    let done = rewrite(connection, removals);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    done
}

/// Rewrites the file without what was removed up to the `removals`th removal. One that another
/// process makes meanwhile may still be in it: it stays asked for, by that process or, if that
/// crashes, the next to open the file.
pub(super) fn rewrite(connection: &Connection, removals: i64) -> Outcome<bool> {
    connection.execute_batch("VACUUM")?;
    if !empty_log(connection)? {
        return Ok(false);
    }
    connection.execute("UPDATE settings SET scrub = 0 WHERE removals = ?1", [removals])?;
    empty_log(connection)?;
    Ok(true)
}

/// Moves the log into the file and cuts it to nothing; false if somebody reads from it.
fn empty_log(connection: &Connection) -> Outcome<bool> {
    let busy: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
    Ok(!busy)
}

fn fill(connection: &mut Connection, settings: &SettingsRow) -> Outcome<()> {
    let transaction = connection.transaction()?;
    schema::write(&transaction, settings)?;
    transaction.commit()?;
    Ok(())
}

/// SQLite notices a missing page, but reads a page cut short as if its end were zeros.
fn check_length(path: &Path, connection: &Connection) -> Outcome<()> {
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let is_cut = || fs::metadata(path).is_ok_and(|file| !file.len().is_multiple_of(page));
    // A log may have the rest. Looked at again in this order: once there is no log, the file only
    // grows by whole pages.
    if is_cut() && is_alone(path) && is_cut() {
        return Err(Failure::State("damaged or cut short; restore the file from a copy".into()));
    }
    Ok(())
}

/// The tables themselves, and SQLite's own checks: pages, indexes, constraints, references.
pub(super) fn check_pages(connection: &Connection) -> Outcome<()> {
    schema::check(connection)?;
    let mut query = connection.prepare("PRAGMA integrity_check(1)")?;
    let found: String = query.query_row((), |row| row.get(0))?;
    if found != "ok" {
        let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(Failure::State(format!("damaged: {found}; restore the file from a copy")));
    }
    let mut query = connection.prepare("PRAGMA foreign_key_check")?;
    let table: Option<String> = query.query_map((), |row| row.get(0))?.next().transpose()?;
    match table {
        Some(table) => {
            let reason = format!(
                "damaged in table {table}: a row belongs to nothing; restore the file from a copy"
            );
            Err(Failure::State(reason))
        }
        None => Ok(()),
    }
}

//! Rows in one SQLite file.

mod cache;
mod failure;
mod file;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::{
    failure::{Failure, Outcome},
    rows::Connected,
};
use crate::{
    Result, Settings, Store,
    backend::{Access, Backend, Durability, Fault, Holder, Rows, RowsMut, SettingsRow},
    holder,
    store::settings_row,
};

/// The users' state in one SQLite file.
pub type SqliteStore = Store<Sqlite>;

/// A [`Backend`] in one SQLite file, safe against crashes and against other processes that use it
/// meanwhile.
///
/// Readers see the file as of their call and wait for nobody; a writer waits up to half a minute
/// for another one. While the file is open, `-wal` and `-shm` files lie beside it and belong to it.
/// What is deleted is overwritten with zeros. Numbers come back to the last bit, but for the sign
/// of a zero.
#[derive(Debug)]
pub struct Sqlite {
    label: String,
    connections: Connections,
    /// Milliseconds for which a transaction waits for another process's.
    wait: AtomicU64,
}

#[derive(Debug)]
enum Connections {
    /// To a database without a name: there is one.
    One(Mutex<Connection>),
    /// To a file: one for every thread that works at a time; the others rest.
    File { path: PathBuf, access: Access, cache: PathBuf, resting: Mutex<Vec<Connection>> },
}

/// Connections that rest at most.
const RESTING: usize = 8;

impl Store<Sqlite> {
    /// Makes a new file, which only its owner may read.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if the path is taken or cannot be written; nothing is
    /// left behind then.
    pub fn create(path: impl AsRef<Path>, settings: &Settings) -> Result<Self> {
        let label = path.as_ref().display().to_string();
        let row = settings_row(settings).map_err(|fault| fault.at(&label))?;
        let made = Self::new(Sqlite::create(&path, &row)?);
        if made.is_err() {
            // Reading what was just written may fail too; SQLite's own files go with the
            // connection.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// Opens an existing file. One of an older version is brought up to date.
    ///
    /// [`Access::ReadOnly`] needs no permission to write the file or its folder. Without any, a
    /// file with no `-wal` beside it is read as one that does not change: let nobody with that
    /// permission write it at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`](crate::Error::Missing); [`Error::State`](crate::Error::State) if it is
    /// not a state, of a newer version, damaged, or may not be written and should be.
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self> {
        Self::new(Sqlite::open(path, access)?)
    }

    /// Makes a database that lasts as long as the value.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if the settings cannot be stored.
    pub fn in_memory(settings: &Settings) -> Result<Self> {
        let failed = |fault: Fault| fault.at(IN_MEMORY);
        let row = settings_row(settings).map_err(failed)?;
        let connection = file::in_memory(&row).map_err(|failure| failed(failure.into()))?;
        Self::new(Sqlite::of_one(IN_MEMORY, connection))
    }
}

const IN_MEMORY: &str = ":memory:";

impl Sqlite {
    /// Makes a new file with these settings; see [`Store::create`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create(path: impl AsRef<Path>, settings: &SettingsRow) -> Result<Self> {
        Self::of_file(path.as_ref(), Access::ReadWrite, |path| file::create(path, settings))
    }

    /// Opens an existing file; see [`Store::open`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self> {
        let opened = Self::of_file(path.as_ref(), access, |path| file::open(path, access))?;
        if access == Access::ReadWrite
            && let Some(reason) = opened.finish_removals()
        {
            let label = &opened.label;
            tracing::warn!("{label}: free pages still hold what was removed: {reason}");
        }
        Ok(opened)
    }

    /// Changes how long a transaction waits for another process's.
    pub fn set_wait(&self, wait: Duration) {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.wait.store(millis, Ordering::Relaxed);
    }

    fn of_file(
        path: &Path,
        access: Access,
        connect: impl FnOnce(&Path) -> Outcome<(Connection, PathBuf)>,
    ) -> Result<Self> {
        let label = path.display().to_string();
        let run = || {
            let (connection, path) = connect(path)?;
            let cache = cache::folder(&path);
            let resting = Mutex::new(vec![connection]);
            Ok(Connections::File { path, access, cache, resting })
        };
        let connections = run().map_err(|failure: Failure| Fault::from(failure).at(&label))?;
        Ok(Self::of(label, connections))
    }

    fn of_one(label: &str, connection: Connection) -> Self {
        Self::of(label.into(), Connections::One(Mutex::new(connection)))
    }

    fn of(label: String, connections: Connections) -> Self {
        let this = Self { label, connections, wait: AtomicU64::new(0) };
        this.set_wait(failure::BUSY_TIMEOUT);
        this
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait.load(Ordering::Relaxed))
    }

    /// Works over a connection that nobody else uses meanwhile.
    fn with<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        let wait = self.wait();
        let run = |connection: &Connection| {
            connection.busy_timeout(wait)?;
            work(connection).map_err(|failure| match Fault::from(failure) {
                Fault::Busy(_) => Fault::Busy(wait).into(),
                other => other.into(),
            })
        };
        match &self.connections {
            // What a panic left in it was undone on the way.
            Connections::One(connection) => run(&locked(connection)),
            Connections::File { path, access, resting, .. } => {
                let rested = locked(resting).pop();
                let connection = match rested {
                    Some(connection) => connection,
                    None => file::again(path, *access)?,
                };
                let done = run(&connection);
                let mut resting = locked(resting);
                if resting.len() < RESTING {
                    resting.push(connection);
                }
                done
            }
        }
    }

    /// Rewrites the file without what was removed; else gives what stands in the way.
    fn scrub(&self, connection: &Connection) -> Option<String> {
        match file::scrub(connection) {
            Ok(true) => None,
            Ok(false) => Some("another process is reading it".into()),
            Err(failure) => Some(failure.while_scrubbing()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for Sqlite {
    fn label(&self) -> &str {
        &self.label
    }

    fn read(
        &self,
        work: &mut dyn FnMut(&dyn Rows) -> crate::backend::Outcome<()>,
    ) -> crate::backend::Outcome<()> {
        let read = self.with(|connection| {
            let transaction = connection.unchecked_transaction()?;
            Ok(work(&Connected(&transaction))?)
        });
        Ok(read?)
    }

    fn write(
        &self,
        durability: Durability,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> crate::backend::Outcome<()>,
    ) -> crate::backend::Outcome<()> {
        let written = self.with(|connection| {
            let mut run = || {
                let behavior = TransactionBehavior::Immediate;
                let transaction = Transaction::new_unchecked(connection, behavior)?;
                work(&mut Connected(&transaction))?;
                transaction.commit()?;
                Ok(())
            };
            match durability {
                Durability::Power => run(),
                Durability::Process => {
                    connection.pragma_update(None, "synchronous", "NORMAL")?;
                    let done = run();
                    connection.pragma_update(None, "synchronous", "FULL")?;
                    done
                }
            }
        });
        Ok(written?)
    }

    /// A database that SQLite keeps in memory and, beyond some megabytes, in a file without a name
    /// in the system's temporary folder.
    fn scratch(&self, settings: &SettingsRow) -> crate::backend::Outcome<Box<dyn Backend>> {
        Ok(Box::new(Self::of_one("scratch", file::scratch(settings)?)))
    }

    fn holder(&self) -> Holder {
        holder::here()
    }

    fn is_gone(&self, holder: &Holder) -> bool {
        holder::is_gone(holder)
    }

    fn check(&self) -> crate::backend::Outcome<()> {
        Ok(self.with(file::check_pages)?)
    }

    fn finish_removals(&self) -> Option<String> {
        let finished = self.with(|connection| {
            if let Some(folder) = self.cache() {
                cache::sweep(connection, folder);
            }
            Ok(self.scrub(connection))
        });
        finished.unwrap_or_else(|failure| Some(failure.while_scrubbing()))
    }

    fn cache(&self) -> Option<&Path> {
        match &self.connections {
            Connections::One(_) => None,
            Connections::File { cache, .. } => Some(cache),
        }
    }
}

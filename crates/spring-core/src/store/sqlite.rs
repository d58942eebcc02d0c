//! The state in one SQLite file.

mod check;
mod embeddings;
mod fault;
mod file;
mod folder;
mod holder;
mod keeper;
mod lease;
mod removal;
mod spool;
#[cfg(test)]
mod tests;
mod transfer;
mod user;
mod value;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, Transaction, TransactionBehavior};
use spring_lm::Adapter;
use spring_memory::{GraphStamp, Interaction, InteractionId, JsonlError, UserId};

pub use self::file::Access;
use self::{
    fault::{Fault, Outcome},
    folder::Folder,
    keeper::Keeper,
    spool::Spool,
    user::{User, along_path, at_most, number_of, pending},
    value::{Checked, Json, to_json},
};
use super::{
    Forgetting, Forgotten, Generation, GenerationSummary, GraphPlace, HistoryEntry, IngestReport, Lease,
    Member, PeriodCommit, PlannedPeriod, Rollback, Settings, StateStore, StoredInteraction, Transferred,
    UserSize, UserSummary,
};
use crate::{
    Config, EmbeddingMap, Error, Result,
    progress::{Event, Progress, tell},
    record::{AnswerRecord, LearnedPeriod},
};

/// The users' state in one SQLite file, safe against crashes and against other processes that use it meanwhile.
///
/// Readers see the state as of their call and wait for nobody; a writer waits up to half a minute for another one. While
/// the file is open, `-wal` and `-shm` files lie beside it and belong to it. What is deleted is overwritten with zeros.
/// Numbers come back to the last bit, but for the sign of a zero.
///
/// ```
/// use spring_core::{Config, Settings, SqliteStore, StateStore};
/// let settings = Settings { model: "base".into(), fingerprint: "f".into(), config: Config::default() };
/// let store = SqliteStore::in_memory(&settings)?;
/// assert!(store.users(None, 10)?.is_empty());
/// # Ok::<(), spring_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    settings: Settings,
    /// Whether the configuration is one to be tried: kept with the first period that was learned under it.
    is_tried: bool,
}

/// Users that a check holds at a time.
const CHECKED_AT_ONCE: usize = 1000;

impl SqliteStore {
    /// Makes a new file, which only its owner may read.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the path is taken or cannot be written; nothing is left behind then.
    pub fn create(path: impl AsRef<Path>, settings: &Settings) -> Result<Self> {
        let path = path.as_ref();
        let connection = file::create(path, settings).map_err(|fault| fault.at(path))?;
        Ok(Self::of(connection, path, settings.clone()))
    }

    fn of(connection: Connection, path: &Path, settings: Settings) -> Self {
        Self { connection, path: path.into(), settings, is_tried: false }
    }

    /// Opens an existing file.
    ///
    /// [`Access::ReadOnly`] needs no permission to write the file or its folder. Without any, a file with no `-wal` beside
    /// it is read as one that does not change: let nobody with that permission write it at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if it is not there, not a state, of a newer version, damaged, or may not be written and should be.
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self> {
        let path = path.as_ref();
        let (connection, settings) = file::open(path, access).map_err(|fault| fault.at(path))?;
        let store = Self::of(connection, path, settings);
        if access == Access::ReadWrite {
            embeddings::sweep(&store.connection, &store.path);
            if let Some(reason) = store.scrub() {
                tracing::warn!("{}: free pages still hold what was removed: {reason}", store.path.display());
            }
        }
        Ok(store)
    }

    /// Makes a store that lasts as long as the value.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the settings cannot be stored.
    pub fn in_memory(settings: &Settings) -> Result<Self> {
        let path = Path::new(":memory:");
        let connection = file::in_memory(settings).map_err(|fault| fault.at(path))?;
        Ok(Self::of(connection, path, settings.clone()))
    }

    /// The file; `:memory:` for a store without one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the method's settings, for this and every later use of the state.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the file cannot be written or the configuration not be stored.
    pub fn set_config(&mut self, config: &Config) -> Result<()> {
        self.write(|connection| file::set_config(connection, config))?;
        self.settings.config = config.clone();
        self.is_tried = false;
        Ok(())
    }

    /// Changes the method's settings for this value, and for every later use of the state once a period has been learned
    /// with them: they are kept by the first [`commit`](StateStore::commit), so that what fails leaves no trace.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the file cannot be read.
    pub fn try_config(&mut self, config: &Config) -> Result<()> {
        self.is_tried = self.read(file::read_settings)?.config != *config;
        self.settings.config = config.clone();
        Ok(())
    }

    /// Reads rows of `interactions`; without their log-likelihoods if those are of another cut than that of this value's
    /// settings: they are only tried, or another process has changed the state's.
    fn reader(&self, user: &User<'_>) -> Outcome<impl Fn(&Row<'_>) -> rusqlite::Result<StoredInteraction>> {
        let is_of_this_cut = user.is_cut_at(self.settings.config.training.max_tokens)?;
        Ok(move |row: &Row<'_>| {
            let stored = user.stored(row)?;
            Ok(StoredInteraction { base: stored.base.filter(|_| is_of_this_cut), ..stored })
        })
    }

    /// The periods that would be cut now.
    fn planned(&self, user: &User<'_>, periods: u32, hold_out: f64) -> Outcome<Vec<PlannedPeriod>> {
        user.plan(periods, hold_out, self.reader(user)?)
    }

    /// Reads the whole file and refuses it if anything in it is damaged.
    ///
    /// # Errors
    ///
    /// [`Error::State`], saying what is wrong; or a request to stop.
    pub fn check(&self, progress: &mut dyn Progress) -> Result<()> {
        self.read(check::check_file)?;
        let mut step = stepping(progress);
        let mut page = self.users(None, CHECKED_AT_ONCE)?;
        while let Some(last) = page.last().map(|summary| summary.user.clone()) {
            for summary in &page {
                step()?;
                self.read(|connection| match User::find(connection, &summary.user)? {
                    Some(user) => check::check_user(&user),
                    // Forgotten since the page was read.
                    None => Ok(()),
                })?;
            }
            page = self.users(Some(&last), CHECKED_AT_ONCE)?;
        }
        Ok(())
    }

    /// SHA-256, as hexadecimal, of all that is kept of a user but the time of day at which it was computed: equal for
    /// equal texts, adapters, buffers and records, in whichever state they lie.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`], or [`Error::State`] if the file is damaged.
    pub fn digest(&self, user: &UserId) -> Result<String> {
        self.read(|connection| check::digest(&User::get(connection, user)?))
    }

    /// How much room a user takes.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`], or [`Error::State`] if the file cannot be read.
    pub fn size(&self, user: &UserId) -> Result<UserSize> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            let sum = |table: &str, columns: &str| {
                let query = format!("SELECT coalesce(sum({columns}), 0) FROM {table} WHERE user = ?1");
                Ok::<_, Fault>(user.row(table, &query, [user.key], |row| row.get(0))?.unwrap_or_default())
            };
            let texts = "octet_length(prompt) + octet_length(response) + octet_length(id)
                         + coalesce(octet_length(meta), 0)";
            Ok(UserSize {
                texts: sum("interactions", texts)?,
                adapters: sum("memories", "octet_length(adapter)")?,
                buffers: sum("memories", "octet_length(buffer) + octet_length(calibration)")?,
                records: sum("generations", "octet_length(record)")?
                    + sum("answers", "octet_length(record)")?,
            })
        })
    }

    /// Writes all that is kept of a user to a new folder, which only its owner may enter: texts as JSONL, adapters as PEFT
    /// folders, records and settings. See docs/formats.md.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`], [`Error::Io`] if the folder is there already or cannot be written, [`Error::Export`] if
    /// something is larger than an import takes, or a request to stop; nothing is left of the folder then.
    pub fn export(
        &self,
        user: &UserId,
        folder: impl AsRef<Path>,
        progress: &mut dyn Progress,
    ) -> Result<Transferred> {
        self.user(user)?;
        let folder = Folder::create(folder.as_ref())?;
        let exported = self.read(|connection| {
            let user = User::get(connection, user)?;
            // The log-likelihoods are of the settings that are stored with them.
            transfer::export(&user, &file::read_settings(connection)?, &folder, &mut stepping(progress))
        });
        exported.inspect_err(|_| folder.remove())
    }

    /// Adds a user from a folder that [`export`](Self::export) wrote, as they were there. The state's own settings stay.
    ///
    /// The folder is not trusted: links and files of unlikely size are refused, everything is checked, and it is added
    /// whole or not at all. It is read to its end before other processes are kept from writing. `check` refuses adapters
    /// that do not fit the model, such as by [`Adapter::check`](spring_lm::Adapter::check).
    ///
    /// # Errors
    ///
    /// [`Error::Import`], naming the file and line, also if the state has the user already or was made for another base;
    /// [`Error::Io`] for a file that is missing; or a request to stop.
    pub fn import(
        &mut self,
        folder: impl AsRef<Path>,
        check: &dyn Fn(&Adapter) -> Result<()>,
        progress: &mut dyn Progress,
    ) -> Result<Transferred> {
        let (folder, settings) = (Folder::open(folder.as_ref()), &self.settings);
        let header = transfer::header(&folder, settings)?;
        self.read(|connection| transfer::check_is_new(connection, &folder, &header.user))?;
        let mut read = || {
            let scratch = file::scratch(settings)?;
            let transaction = scratch.unchecked_transaction()?;
            let step = &mut stepping(progress);
            let imported = transfer::import(&transaction, settings, &folder, &header, check, step)?;
            transaction.commit()?;
            Ok((scratch, imported))
        };
        let (scratch, imported) = read().map_err(|fault: Fault| fault.at(&self.path))?;
        self.write(|connection| {
            transfer::check_is_new(connection, &folder, &header.user)?;
            transfer::copy(&scratch, &User::add(connection, &header.user)?)
        })?;
        Ok(imported)
    }

    /// Finishes removals, so that no free page holds anything of them any more; else gives what stands in the way, such as
    /// a reader or a full disk. It may be gone when the state is next opened.
    fn scrub(&self) -> Option<String> {
        match file::scrub(&self.connection) {
            Ok(true) => None,
            Ok(false) => Some("another process is reading it".into()),
            Err(fault) => Some(fault.while_scrubbing()),
        }
    }

    /// What a removal took away, once the file is rewritten without it.
    fn scrubbed(&self, forgotten: Forgotten) -> Forgotten {
        embeddings::sweep(&self.connection, &self.path);
        let held_up = self.scrub();
        Forgotten { scrubbed: held_up.is_none(), held_up, ..forgotten }
    }

    /// Runs `work` on one state of the file.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        let run = || {
            let transaction = self.connection.unchecked_transaction()?;
            work(&transaction)
        };
        run().map_err(|fault: Fault| fault.at(&self.path))
    }

    /// As [`write`](Self::write), without waiting for the disk: a power cut may undo it, a crash of the program does not.
    /// For leases, which a power cut ends anyway.
    fn write_soon<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        let wait = |store: &Self, how| {
            store
                .connection
                .pragma_update(None, "synchronous", how)
                .map_err(|e| Fault::from(e).at(&store.path))
        };
        wait(self, "NORMAL")?;
        let done = self.write(work);
        wait(self, "FULL")?;
        done
    }

    /// Runs `work` alone among all writers; what it did is undone unless it ends well.
    fn write<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Result<T> {
        let run = || {
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|fault: Fault| fault.at(&self.path))
    }
}

impl StateStore for SqliteStore {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn ingest(
        &mut self,
        file: &str,
        interactions: &mut dyn Iterator<Item = Result<(u64, Interaction), JsonlError>>,
    ) -> Result<IngestReport> {
        let failed = |fault: Fault| fault.at(&self.path);
        // The source may be slow, or a pipe that nobody writes to.
        let spool = Spool::fill(&self.connection, interactions).map_err(failed)?;
        self.write(|connection| {
            let mut report = IngestReport::default();
            spool.each(|line, interaction| {
                let user = match User::find(connection, &interaction.user)? {
                    Some(user) => user,
                    None => {
                        report.new_users += 1;
                        User::add(connection, &interaction.user)?
                    }
                };
                match user.by_id(&interaction.id)? {
                    None => {
                        user.insert(&interaction)?;
                        report.added += 1;
                    }
                    Some(known) if known.interaction == interaction => report.skipped += 1,
                    Some(_) => {
                        let Interaction { user, id, .. } = interaction;
                        return Err(Error::DuplicateId { file: file.into(), line, user, id }.into());
                    }
                }
                Ok(())
            })?;
            Ok(report)
        })
    }

    fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserSummary>> {
        self.read(|connection| {
            let query = "SELECT name FROM users WHERE name > ?1 ORDER BY name LIMIT ?2";
            let names = names(connection, query, after, limit)?;
            names.iter().map(|name| User::get(connection, name)?.summary()).collect()
        })
    }

    fn user(&self, user: &UserId) -> Result<UserSummary> {
        self.read(|connection| User::get(connection, user)?.summary())
    }

    fn pending(&self, user: &UserId) -> Result<Vec<StoredInteraction>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows("interactions", pending!("*"), [user.key], self.reader(&user)?)
        })
    }

    fn cut_periods(&mut self, user: &UserId, periods: u32, hold_out: f64) -> Result<Vec<u32>> {
        self.write(|connection| {
            let user = User::get(connection, user)?;
            let planned = self.planned(&user, periods, hold_out)?;
            user.add_periods(&planned)?;
            Ok(planned.iter().map(|period| period.number).collect())
        })
    }

    fn plan_periods(&self, user: &UserId, periods: u32, hold_out: f64) -> Result<Vec<PlannedPeriod>> {
        self.read(|connection| self.planned(&User::get(connection, user)?, periods, hold_out))
    }

    fn users_to_adapt(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>> {
        let query = "SELECT name FROM users u WHERE name > ?1 AND (pending > 0 OR EXISTS (
                         SELECT 1 FROM periods p WHERE p.user = u.key AND p.number NOT IN (
                             WITH RECURSIVE path (parent, period) AS (
                                 SELECT parent, period FROM generations WHERE user = u.key AND number = u.generation
                                 UNION ALL
                                 SELECT g.parent, g.period
                                 FROM path JOIN generations g ON g.user = u.key AND g.number = path.parent
                             ) SELECT period FROM path)))
                     ORDER BY name LIMIT ?2";
        self.read(|connection| names(connection, query, after, limit))
    }

    fn lease(&mut self, user: &UserId) -> Result<Lease> {
        self.write_soon(|connection| lease::take(&User::get(connection, user)?))
    }

    fn renew(&mut self, lease: &mut Lease) -> Result<()> {
        lease.expires =
            self.write_soon(|connection| lease::renew(&User::get(connection, &lease.user)?, lease))?;
        Ok(())
    }

    fn keep(&self, lease: &Lease) -> Box<dyn Send> {
        match self.connection.path() {
            // Nobody else can take it.
            None | Some("") => Box::new(()),
            Some(path) => Box::new(Keeper::start(Path::new(path), lease, lease::RENEW_EVERY)),
        }
    }

    fn release(&mut self, lease: &Lease) -> Result<()> {
        self.write_soon(|connection| match User::find(connection, &lease.user)? {
            Some(user) => lease::release(&user, lease),
            None => Ok(()),
        })
    }

    fn unlearned_periods(&self, user: &UserId) -> Result<Vec<u32>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows(
                "periods",
                along_path!(
                    "SELECT number FROM periods WHERE user = ?1 AND number NOT IN (SELECT period FROM path)
                     ORDER BY number"
                ),
                (user.key, user.generation),
                |row| row.get("number"),
            )
        })
    }

    fn members(&self, user: &UserId, period: u32) -> Result<Vec<Member>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.check_period(period)?;
            let stored = self.reader(&user)?;
            user.rows(
                "interactions",
                // CROSS: from the period's few members to the texts, not through all texts of the user.
                "SELECT i.*, m.held_out FROM members m CROSS JOIN interactions i USING (user, seq)
                 WHERE m.user = ?1 AND m.period = ?2 ORDER BY seconds, nanoseconds, seq",
                (user.key, period),
                |row| Ok(Member { stored: stored(row)?, held_out: row.get("held_out")? }),
            )
        })
    }

    fn interactions(&self, user: &UserId, seqs: &[u64]) -> Result<Vec<StoredInteraction>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            let stored = self.reader(&user)?;
            let get = |&seq: &u64| {
                let found = user.row(
                    "interactions",
                    "SELECT * FROM interactions WHERE user = ?1 AND seq = ?2",
                    (user.key, number_of(seq)),
                    &stored,
                )?;
                found.ok_or_else(|| user.no_interaction(seq))
            };
            seqs.iter().map(get).collect()
        })
    }

    fn history(&self, user: &UserId) -> Result<Vec<HistoryEntry>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            let stored = self.reader(&user)?;
            user.rows(
                "interactions",
                "SELECT i.*, m.period, coalesce(m.held_out, 0) AS held_out
                 FROM interactions i LEFT JOIN members m ON m.user = i.user AND m.seq = i.seq
                 WHERE i.user = ?1 ORDER BY i.seconds, i.nanoseconds, i.seq",
                [user.key],
                |row| {
                    let (period, held_out) = (row.get("period")?, row.get("held_out")?);
                    Ok(HistoryEntry { stored: stored(row)?, period, held_out })
                },
            )
        })
    }

    fn embeddings(&self, user: &UserId, seqs: &[u64]) -> Result<EmbeddingMap> {
        let base = &self.settings.fingerprint;
        self.read(|connection| embeddings::get(&User::get(connection, user)?, base, seqs))
    }

    fn removals(&self, user: &UserId) -> Result<u64> {
        self.read(|connection| User::get(connection, user)?.removals())
    }

    fn set_embeddings(&mut self, user: &UserId, removals: u64, embeddings: &EmbeddingMap) -> Result<()> {
        let base = self.settings.fingerprint.clone();
        self.write(|connection| {
            let user = User::get(connection, user)?;
            user.check_removals(removals)?;
            embeddings::set(&user, &base, embeddings)
        })
    }

    fn graph_place(&self, user: &UserId) -> Result<Option<GraphPlace>> {
        self.read(|connection| embeddings::graph_place(&User::get(connection, user)?, &self.path))
    }

    fn set_graph(&mut self, user: &UserId, removals: u64, stamp: &GraphStamp) -> Result<()> {
        let kept = self.write(|connection| {
            let Some(user) = User::find(connection, user)? else { return Ok(false) };
            let is_current = user.removals()? == removals;
            embeddings::set_graph(&user, is_current.then_some(stamp))?;
            Ok(is_current)
        })?;
        if kept {
            return Ok(());
        }
        // The files hold what was removed meanwhile.
        embeddings::sweep(&self.connection, &self.path);
        Err(Error::Outdated { user: user.clone() })
    }

    fn commit(&mut self, lease: &Lease, commit: &PeriodCommit) -> Result<u32> {
        let config = &self.settings.config;
        let keep = config.state.keep_generations;
        let number = self.write(|connection| {
            let user = User::get(connection, &commit.user)?;
            lease::check(&user, lease)?;
            if user.generation != commit.parent {
                return Err(Error::Conflict { user: commit.user.clone() }.into());
            }
            if self.is_tried {
                file::set_config(connection, config)?;
            }
            user.add_periods(&commit.cut)?;
            user.check_period(commit.period)?;
            let what = format!("the record of user {}, period {}", commit.user, commit.period);
            let record = to_json(&what, &commit.record)?;
            let number = user.row(
                "generations",
                "SELECT coalesce(max(number), 0) + 1 FROM generations WHERE user = ?1",
                [user.key],
                |row| row.get::<_, u32>(0),
            )?;
            let number = number.unwrap_or(1);
            user.execute(
                "INSERT INTO generations (user, number, parent, period, record) VALUES (?1, ?2, ?3, ?4, ?5)",
                (user.key, number, commit.parent, commit.period, record),
            )?;
            user.insert_memories(number, &commit.adapter, &commit.buffer, &commit.calibration)?;
            user.set_base(&commit.base, commit.record.config.training.max_tokens)?;
            user.execute("UPDATE users SET generation = ?2 WHERE key = ?1", (user.key, number))?;
            user.prune(keep, number)?;
            Ok(number)
        })?;
        self.is_tried = false;
        Ok(number)
    }

    fn generation(&self, user: &UserId, number: Option<u32>) -> Result<Option<Generation>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            if number.is_none() && user.generation == 0 {
                return Ok(None);
            }
            let number = number.unwrap_or(user.generation);
            user.check_kept(number)?;
            user.row(
                "memories",
                "SELECT period, adapter, buffer, calibration FROM memories m
                 JOIN generations g ON g.user = m.user AND g.number = m.generation
                 WHERE m.user = ?1 AND m.generation = ?2",
                (user.key, number),
                |row| {
                    let (Json(buffer), Json(calibration)) = (row.get("buffer")?, row.get("calibration")?);
                    let (period, adapter) = (row.get("period")?, row.get("adapter")?);
                    Ok(Generation { number, period, adapter, buffer, calibration })
                },
            )
        })
    }

    fn generations(&self, user: &UserId) -> Result<Vec<GenerationSummary>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows(
                "generations",
                along_path!(
                    "SELECT g.number, g.parent, g.period, g.number = ?2 AS current,
                     g.number IN (SELECT number FROM path) AS on_path, length(m.adapter) AS adapter, m.buffered
                     FROM generations g LEFT JOIN memories m ON m.user = g.user AND m.generation = g.number
                     WHERE g.user = ?1 ORDER BY g.number"
                ),
                (user.key, user.generation),
                |row| {
                    Ok(GenerationSummary {
                        number: row.get("number")?,
                        parent: row.get("parent")?,
                        period: row.get("period")?,
                        current: row.get("current")?,
                        on_path: row.get("on_path")?,
                        adapter_bytes: row.get("adapter")?,
                        buffer: row.get("buffered")?,
                    })
                },
            )
        })
    }

    fn record(&self, user: &UserId, generation: u32) -> Result<LearnedPeriod> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            let record = user.row(
                "generations",
                "SELECT record FROM generations WHERE user = ?1 AND number = ?2",
                (user.key, generation),
                |row| row.get("record").map(|Json(record)| record),
            )?;
            let record = record.ok_or_else(|| user.unknown("generation", generation))?;
            Ok(LearnedPeriod { generation, record })
        })
    }

    fn rollback(&mut self, user: &UserId, to: Option<u32>) -> Result<Rollback> {
        self.write(|connection| {
            let user = User::get(connection, user)?;
            lease::check_free(&user)?;
            let from = user.generation;
            let parent = || {
                user.row(
                    "generations",
                    "SELECT parent FROM generations WHERE user = ?1 AND number = ?2",
                    (user.key, from),
                    |row| row.get(0),
                )
            };
            let to = match to {
                Some(to) => to,
                None => parent()?.ok_or_else(|| user.unknown("generation", from))?,
            };
            if to > 0 {
                user.check_kept(to)?;
            }
            user.execute("UPDATE users SET generation = ?2 WHERE key = ?1", (user.key, to))?;
            Ok(Rollback { from, to })
        })
    }

    fn forget(&mut self, user: &UserId) -> Result<Forgotten> {
        let forgotten = self.write(|connection| removal::forget(&User::get(connection, user)?))?;
        Ok(self.scrubbed(forgotten))
    }

    fn forget_interaction(&mut self, lease: &Lease, forgetting: &Forgetting) -> Result<Forgotten> {
        let forgotten = self.write(|connection| {
            removal::forget_interaction(&User::get(connection, &forgetting.user)?, lease, forgetting)
        })?;
        Ok(self.scrubbed(forgotten))
    }

    fn period_records(&self, user: &UserId, period: Option<u32>) -> Result<Vec<LearnedPeriod>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows(
                "generations",
                along_path!(
                    "SELECT g.number, g.record FROM path JOIN generations g ON g.user = ?1 AND g.number = path.number
                     WHERE ?3 IS NULL OR path.period = ?3 ORDER BY path.number"
                ),
                (user.key, user.generation, period),
                |row| Ok(LearnedPeriod { generation: row.get("number")?, record: row.get::<_, Json<_>>("record")?.0 }),
            )
        })
    }

    fn record_answer(&mut self, user: &UserId, removals: u64, answer: &AnswerRecord) -> Result<()> {
        self.write(|connection| {
            let user = User::get(connection, user)?;
            user.check_removals(removals)?;
            let record = to_json(&format!("the record of a text for user {}", user.name), answer)?;
            user.execute("INSERT INTO answers (user, record) VALUES (?1, ?2)", (user.key, record))?;
            Ok(())
        })
    }

    fn answers(&self, user: &UserId, limit: usize) -> Result<Vec<AnswerRecord>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.rows(
                "answers",
                "SELECT record FROM answers WHERE user = ?1 ORDER BY key DESC LIMIT ?2",
                (user.key, at_most(limit)),
                |row| row.get("record").map(|Json(record)| record),
            )
        })
    }

    fn find_answer(&self, user: &UserId, part: &str) -> Result<Option<AnswerRecord>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            // One after the other: a record holds a line for each token.
            let query = "SELECT record FROM answers WHERE user = ?1 ORDER BY key DESC";
            let read = |row: &Row<'_>| row.get("record").map(|Json::<AnswerRecord>(record)| record);
            user.first("answers", query, [user.key], read, |answer| answer.text.contains(part))
        })
    }

    fn find(&self, user: &UserId, id: &InteractionId) -> Result<Option<u64>> {
        self.read(|connection| {
            let user = User::get(connection, user)?;
            user.row(
                "interactions",
                "SELECT seq FROM interactions WHERE user = ?1 AND id = ?2",
                (user.key, id.as_str()),
                |row| row.get("seq"),
            )
        })
    }

    fn place(&self, user: &UserId, seq: u64) -> Result<Option<(u32, bool)>> {
        self.read(|connection| User::get(connection, user)?.place(seq))
    }
}

/// Tells of one more thing done; the error is a request to stop.
fn stepping(progress: &mut dyn Progress) -> impl FnMut() -> Result<()> {
    let mut done = 0;
    move || {
        done += 1;
        tell(progress, Event::Reading { done })
    }
}

/// A page of users' names; the query takes the name before it and the most names.
fn names(connection: &Connection, query: &str, after: Option<&UserId>, limit: usize) -> Outcome<Vec<UserId>> {
    let names = || {
        // No name is empty: all come after "".
        connection
            .prepare_cached(query)?
            .query_map((after.map_or("", UserId::as_str), at_most(limit)), |row| row.get(0))?
            .map(|name| name.map(|Checked(name)| name))
            .collect::<rusqlite::Result<_>>()
    };
    names().map_err(|error| Fault::of_query(error, "users", None))
}

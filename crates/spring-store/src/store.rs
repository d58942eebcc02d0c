//! The rules of a state, each once, above whatever keeps its rows.

mod adopt;
mod answers;
mod check;
mod commit;
mod consent;
mod contribution;
mod digest;
mod encode;
mod folder;
mod generations;
mod import;
mod ingest;
mod keys;
mod layout;
mod lease;
mod path;
mod periods;
mod prior;
mod prior_texts;
mod quotation;
mod relocate;
mod removal;
mod replicas;
mod snapshot;
mod spool;
mod steps;
mod sums;
mod texts;
mod transfer;
mod users;
mod value;
mod version;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use spring_memory::UserId;

pub(crate) use self::path::{is_new, is_unlearned};
pub(crate) use self::sums::Checked;
pub use self::{
    periods::{PeriodPlan, Periods, period_ranges},
    relocate::Copied,
    steps::Step,
};
#[cfg(feature = "sqlite")]
pub(crate) use self::{sums::sum_of, value::Value};
use crate::{
    Config, Error, Prior, Result, Settings,
    backend::{Backend, Durability, Fault, Outcome, Rows, RowsMut, SettingsRow, UserRow},
};

/// The users' state. Each method is one transaction of its [`Backend`]: after an error or a crash,
/// all is as before the call, but where a method says otherwise.
///
/// Unknown users are [`Error::UnknownUser`]; a state that cannot be read or written is
/// [`Error::State`]. All methods but those that change the settings take `&self`, from any thread;
/// a `&Store<B>` is a `&Store` wherever it does not matter what keeps the rows.
///
/// ```
/// use spring_store::{Config, MemoryStore, Settings, Store};
/// let settings = Settings::new("base", "f", Config::default());
/// let store = MemoryStore::in_memory(&settings)?;
/// let any: &Store = &store;
/// assert!(any.users(None, 10)?.is_empty());
/// # Ok::<(), spring_store::Error>(())
/// ```
#[derive(Debug)]
pub struct Store<B: ?Sized = dyn Backend> {
    settings: Settings,
    /// Whether the configuration is one to be tried: kept with the first period learned under it.
    is_tried: AtomicBool,
    /// The prior that was read last.
    prior: Mutex<Option<Arc<Prior>>>,
    backend: B,
}

impl<B: Backend> Store<B> {
    /// The state that a backend keeps.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if it cannot be read.
    pub fn new(backend: B) -> Result<Self> {
        let mut row = None;
        let read = backend.read(&mut |rows| {
            row = Some(Checked(rows).settings()?);
            Ok(())
        });
        let settings = read.and_then(|()| parse_settings(row.ok_or_else(no_answer)?));
        let settings = settings.map_err(|fault| fault.at(backend.label()))?;
        let (is_tried, prior) = (AtomicBool::new(false), Mutex::default());
        Ok(Self { settings, is_tried, prior, backend })
    }
}

impl<B: Backend + ?Sized> Store<B> {
    /// What the state was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What keeps the rows.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Changes the method's settings, for this and every later use of the state.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the state cannot be written or the configuration not be stored.
    pub fn set_config(&mut self, config: &Config) -> Result<()> {
        self.write(|rows| put_config(rows, config))?;
        self.settings.config = config.clone();
        *self.is_tried.get_mut() = false;
        Ok(())
    }

    /// Changes the method's settings for this value, and for every later use of the state once a
    /// period has been learned with them: they are kept by the first [`commit`](Self::commit), so
    /// that what fails leaves no trace.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the state cannot be read.
    pub fn try_config(&mut self, config: &Config) -> Result<()> {
        *self.is_tried.get_mut() = self.read(stored_config)? != *config;
        self.settings.config = config.clone();
        Ok(())
    }

    /// Whether the state cuts texts where this value's settings do. If not, the log-likelihoods in
    /// it are of another cut: the settings are only tried, or another process has changed the
    /// state's.
    fn is_cut_alike(&self, rows: &dyn Rows) -> Outcome<bool> {
        let max_tokens = self.settings.config.training.max_tokens;
        Ok(stored_config(rows)?.training.max_tokens == max_tokens)
    }

    /// Runs `work` on one state of the rows.
    fn read<T>(&self, mut work: impl FnMut(&dyn Rows) -> Outcome<T>) -> Result<T> {
        let mut result = None;
        let done = self.backend.read(&mut |rows| {
            result = Some(work(&Checked(rows))?);
            Ok(())
        });
        self.told(done, result)
    }

    /// The same of one user's rows.
    fn read_user<T>(
        &self,
        name: &UserId,
        mut work: impl FnMut(&dyn Rows, &UserRow) -> Outcome<T>,
    ) -> Result<T> {
        self.read(|rows| {
            let user = known(rows, name).map_err(|fault| fault.of_user(name))?;
            work(rows, &user).map_err(|fault| fault.of_user(name))
        })
    }

    /// Runs `work` alone among all writers; what it did is undone unless it ends well.
    fn write<T>(&self, work: impl FnMut(&mut dyn RowsMut) -> Outcome<T>) -> Result<T> {
        self.write_for(Durability::Power, work)
    }

    fn write_for<T>(
        &self,
        durability: Durability,
        mut work: impl FnMut(&mut dyn RowsMut) -> Outcome<T>,
    ) -> Result<T> {
        let mut result = None;
        let done = self.backend.write(durability, &mut |rows| {
            result = Some(work(&mut Checked(rows))?);
            Ok(())
        });
        self.told(done, result)
    }

    /// The same on one user's rows. What `work` changes in the user's own row, it puts back itself.
    fn write_user<T>(
        &self,
        durability: Durability,
        name: &UserId,
        mut work: impl FnMut(&mut dyn RowsMut, &mut UserRow) -> Outcome<T>,
    ) -> Result<T> {
        self.write_for(durability, |rows| {
            let mut user = known(rows, name).map_err(|fault| fault.of_user(name))?;
            work(rows, &mut user).map_err(|fault| fault.of_user(name))
        })
    }

    fn told<T>(&self, done: Outcome<()>, result: Option<T>) -> Result<T> {
        let result = done.and_then(|()| result.ok_or_else(no_answer));
        result.map_err(|fault| fault.at(self.backend.label()))
    }

    /// Whether settings are to be kept with the next commit.
    fn tried_config(&self) -> Option<&Config> {
        self.is_tried.load(Ordering::SeqCst).then_some(&self.settings.config)
    }

    fn is_kept(&self) {
        self.is_tried.store(false, Ordering::SeqCst);
    }
}

fn no_answer() -> Fault {
    Fault::Unusable("its backend did not run a transaction".into())
}

/// A user's row, refused if there is none.
fn known(rows: &dyn Rows, name: &UserId) -> Outcome<UserRow> {
    rows.user(name)?.ok_or_else(|| Fault::UnknownUser(name.to_string()))
}

/// The row of some settings.
pub(crate) fn settings_row(settings: &Settings) -> Outcome<SettingsRow> {
    let row = SettingsRow {
        model: settings.model.clone(),
        fingerprint: settings.fingerprint.clone(),
        config: encode::to_json("the configuration", &settings.config)?,
        removals: 0,
        sum: 0,
    };
    Ok(sums::summed(row))
}

fn parse_settings(row: SettingsRow) -> Outcome<Settings> {
    let config = encode::from_json("settings", &row.config)?;
    Ok(Settings { model: row.model, fingerprint: row.fingerprint, config })
}

/// The configuration that the state keeps.
fn stored_config(rows: &dyn Rows) -> Outcome<Config> {
    encode::from_json("settings", &rows.settings()?.config)
}

/// Stores a configuration, if it is another one.
fn put_config(rows: &mut dyn RowsMut, config: &Config) -> Outcome<()> {
    let stored = stored_config(rows)?;
    if stored == *config {
        return Ok(());
    }
    // Log-likelihoods are means over texts that were cut at the old length.
    if stored.training.max_tokens != config.training.max_tokens {
        rows.forget_bases()?;
    }
    let config = encode::to_json("the configuration", config)?;
    rows.put_settings(&SettingsRow { config, ..rows.settings()? })
}

/// Counts a removal of the state, and gives the new count.
fn count_removal(rows: &mut dyn RowsMut) -> Outcome<u64> {
    let settings = rows.settings()?;
    let removals = settings.removals + 1;
    rows.put_settings(&SettingsRow { removals, ..settings })?;
    Ok(removals)
}

/// What a user lacks, by number.
fn unknown(user: &UserId, what: &'static str, number: u32) -> Fault {
    Error::UnknownRecord { user: user.clone(), what, number }.into()
}

fn no_interaction(user: &UserId, seq: u64) -> Fault {
    Fault::Unusable(format!("user {user} has no interaction number {seq}"))
}

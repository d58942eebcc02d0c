//! Rows in a PostgreSQL database.

mod address;
mod connected;
mod failure;
mod pool;
mod rows;
mod rows_mut;
mod schema;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_postgres::Client;

pub use self::address::Address;
use self::{
    connected::Connected,
    failure::{Failure, Kind},
    pool::{Pool, one, pause},
    schema::{Found, quoted},
};
use crate::{
    Error, Memory, Result, Settings, Store,
    backend::{Access, Backend, Durability, Fault, Holder, Outcome, Rows, RowsMut, SettingsRow},
    holder,
    store::settings_row,
};

/// The users' state in a PostgreSQL database.
pub type PostgresStore = Store<Postgres>;

/// A [`Backend`] in one schema of a PostgreSQL database, for any number of processes on any number
/// of machines.
///
/// Readers see the state as of their call and wait for nobody. A writer locks the row of each user
/// that it reads and, where it reads them, the settings: whoever else writes to the same user
/// waits, and whoever writes to another one does not. A transaction that meets another one in a
/// deadlock, or loses its connection before its end, runs again; one whose connection is lost at
/// its very end is asked for by its number, so that none is kept twice.
///
/// Everything of a transaction is in it: no session's locks, settings or prepared statements
/// outlive one, so poolers may hand out connections by the transaction.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    access: Access,
    /// Milliseconds for which a transaction waits for other ones and for a lost server.
    wait: AtomicU64,
}

/// How often a transaction that met another one runs again at most.
const ATTEMPTS: u32 = 12;

/// How long a state is tried to be opened whose connection cannot be made or is lost meanwhile: not
/// long, as a wrong address is the likelier reason.
const OPENING: Duration = Duration::from_secs(1);

/// The server's clock, in seconds since 1970 UTC.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()))::bigint";

/// How long a transaction may do nothing before the server ends it: its locks must not outlive a
/// process that was stopped.
const IDLE: Duration = Duration::from_secs(60);

impl Store<Postgres> {
    /// Makes a new state in a database that is there, in a schema that is there or can be made.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the schema holds a state, or the database cannot be
    /// reached or changed; nothing is left behind then.
    pub fn create(address: &Address, settings: &Settings) -> Result<Self> {
        let row = settings_row(settings).map_err(|fault| fault.at(&address.label))?;
        Self::new(Postgres::create(address, &row)?)
    }

    /// Opens the state in a schema. Tables of an older version are brought up to date.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if there is none, if it is of a newer version, or if
    /// the database cannot be reached.
    pub fn open(address: &Address, access: Access) -> Result<Self> {
        let until = Instant::now() + OPENING;
        let mut attempt = 0;
        loop {
            match Postgres::open(address, access).and_then(Self::new) {
                Err(Error::Unreachable { .. }) if Instant::now() < until => {
                    pause(attempt);
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

impl Postgres {
    /// Makes a new state with these settings; see [`Store::create`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create(address: &Address, settings: &SettingsRow) -> Result<Self> {
        let make = || {
            let this = Self::of(address, Access::ReadWrite)?;
            let client = this.first()?;
            if schema::look(&client, &address.schema)? != Found::Nothing {
                let reason = "there is a state already; give another schema, or use this one";
                return Err(Failure::new(Kind::Final, reason));
            }
            one(&client, "BEGIN")?;
            schema::create(&client, &address.schema)?;
            Connected::new(&client, Timestamp::now()).make_settings(settings)?;
            one(&client, "COMMIT")?;
            this.pool.rest(client);
            Ok(this)
        };
        make().map_err(|failure: Failure| failure.fault.at(&address.label))
    }

    /// Opens the state in a schema; see [`Store::open`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open(address: &Address, access: Access) -> Result<Self> {
        let open = || {
            let this = Self::of(address, access)?;
            let client = this.first()?;
            match schema::look(&client, &address.schema)? {
                Found::Nothing => {
                    let reason = format!(
                        "schema {:?} holds no state; `spring init` with this address makes one",
                        address.schema
                    );
                    return Err(Failure::new(Kind::Final, reason));
                }
                Found::Version(version) => match schema::is_older(version)? {
                    true if access == Access::ReadOnly => {
                        let reason = format!(
                            "of the older format {version}; any use that may write brings it up \
                             to date"
                        );
                        return Err(Failure::new(Kind::Final, reason));
                    }
                    true => schema::migrate(&client, &address.schema)?,
                    false => {}
                },
            }
            this.pool.rest(client);
            Ok(this)
        };
        open().map_err(|failure: Failure| failure.fault.at(&address.label))
    }

    /// Whether a schema holds a state.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the database cannot be reached.
    pub fn exists(address: &Address) -> Result<bool> {
        let look = || {
            let client = Self::of(address, Access::ReadOnly)?.first()?;
            Ok(schema::look(&client, &address.schema)? != Found::Nothing)
        };
        look().map_err(|failure: Failure| failure.fault.at(&address.label))
    }

    /// Changes how long a transaction waits for other ones and for a server that is gone.
    pub fn set_wait(&self, wait: Duration) {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.wait.store(millis, Ordering::Relaxed);
    }

    fn of(address: &Address, access: Access) -> Result<Self, Failure> {
        let this = Self { pool: Pool::new(address.clone())?, access, wait: AtomicU64::new(0) };
        this.set_wait(failure::WAIT);
        Ok(this)
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait.load(Ordering::Relaxed))
    }

    /// The first connection: a server that is not there is told at once, one that is just starting
    /// is waited for.
    fn first(&self) -> Result<Client, Failure> {
        let until = Instant::now() + self.wait();
        let mut attempt = 0;
        loop {
            match self.pool.take() {
                Err(Failure { kind: Kind::Lost, fault: Fault::Unreachable(reason) })
                    if reason.contains("starting up") && Instant::now() < until =>
                {
                    pause(attempt);
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// Begins a transaction on some connection, and looks for another server's while that takes
    /// less than the wait; nothing of the caller's work has run.
    fn begin(&self, statements: &str, until: Instant) -> Result<(Client, Vec<String>), Failure> {
        let mut attempt = 0;
        loop {
            let begun = self.pool.take().and_then(|client| {
                let told = one(&client, statements)?;
                Ok((client, told))
            });
            match begun {
                Err(Failure { kind: Kind::Lost, .. }) if Instant::now() < until => {
                    self.pool.clear();
                    pause(attempt);
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// What every transaction says of itself.
    fn local(&self) -> String {
        format!(
            "SET LOCAL search_path TO {}, pg_temp; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            quoted(&self.pool.address().schema),
            self.wait().as_millis().clamp(1, i32::MAX as u128),
            IDLE.as_millis()
        )
    }

    /// Runs `work` once.
    fn write_once(
        &self,
        begin: &str,
        until: Instant,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>,
    ) -> Result<(), Failure> {
        let (client, told) = self.begin(begin, until)?;
        let now = time_of(&told)?;
        let number = told.into_iter().nth(1).unwrap_or_default();
        let mut rows = Connected::new(&client, now);
        let done = work(&mut rows);
        // What was sent is waited for; a failure before it is the one that counts.
        let failed = rows.finish();
        drop(rows);
        match (done, failed) {
            (Ok(()), None) => match one(&client, "COMMIT") {
                Ok(_) => {
                    self.pool.rest(client);
                    Ok(())
                }
                Err(failure) if failure.kind == Kind::Lost => {
                    drop(client);
                    self.pool.clear();
                    self.settle(&number, until, failure)
                }
                Err(failure) => Err(failure),
            },
            (Err(fault), None) => {
                self.undo(client);
                Err(Failure { fault, kind: Kind::Final })
            }
            (_, Some(failure)) => {
                match failure.kind {
                    Kind::Lost => self.pool.clear(),
                    _ => self.undo(client),
                }
                Err(failure)
            }
        }
    }

    fn undo(&self, client: Client) {
        // A connection that cannot do it is not lent again.
        if one(&client, "ROLLBACK").is_ok() {
            self.pool.rest(client);
        }
    }

    /// Asks what became of a transaction whose connection was lost at its end.
    fn settle(&self, number: &str, until: Instant, lost: Failure) -> Result<(), Failure> {
        let asked = format!("SELECT coalesce(pg_xact_status('{number}'), 'unknown')");
        let mut attempt = 0;
        loop {
            // The server may take a while to see that its other side is gone.
            let patience = until.max(Instant::now() + Duration::from_secs(1));
            let (client, told) = self.begin(&asked, patience)?;
            self.pool.rest(client);
            match told.first().map(String::as_str) {
                Some("committed") => return Ok(()),
                Some("aborted") => return Err(lost),
                _ if Instant::now() < until => {
                    pause(attempt);
                    attempt += 1;
                }
                _ => {
                    return Err(Failure::new(
                        Kind::Final,
                        "the connection was lost while the change was being kept, and the server \
                         does not say whether it was; look, then run this again",
                    ));
                }
            }
        }
    }
}

impl Backend for Postgres {
    fn label(&self) -> &str {
        &self.pool.address().label
    }

    /// Work that has begun does not begin again: it may have handed on what it read.
    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Outcome<()>) -> Outcome<()> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; SELECT {NOW}",
            self.local()
        );
        let begun = self.begin(&begin, Instant::now() + self.wait());
        let begun = begun.and_then(|(client, told)| Ok((client, time_of(&told)?)));
        let (client, now) = begun.map_err(|failure| self.told(failure))?;
        let rows = Connected::reading(&client, now);
        let done = work(&rows);
        let failed = rows.finish();
        drop(rows);
        match failed {
            Some(Failure { kind: Kind::Lost, .. }) => self.pool.clear(),
            _ => self.undo(client),
        }
        match (done, failed) {
            (Ok(()), Some(failure)) => Err(self.told(failure)),
            (done, _) => done,
        }
    }

    fn write(
        &self,
        durability: Durability,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>,
    ) -> Outcome<()> {
        if self.access == Access::ReadOnly {
            let reason = "opened for reading only; nothing was changed, open it for writing";
            return Err(Fault::Unusable(reason.into()));
        }
        // A server that is set to lose the latest commits in a crash does not lose these.
        let flush = match durability {
            Durability::Power => {
                "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
                 ELSE current_setting('synchronous_commit') END"
            }
            Durability::Process => "'off'",
        };
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {}; \
             SELECT {NOW}, pg_current_xact_id(), set_config('synchronous_commit', {flush}, true)",
            self.local()
        );
        let until = Instant::now() + self.wait();
        let mut attempt = 0;
        loop {
            match self.write_once(&begin, until, work) {
                Ok(()) => return Ok(()),
                Err(Failure { kind: Kind::Conflict, .. }) if attempt < ATTEMPTS => {}
                Err(Failure { kind: Kind::Lost | Kind::Full, .. }) if Instant::now() < until => {}
                Err(failure) => return Err(self.told(failure)),
            }
            pause(attempt);
            attempt += 1;
        }
    }

    /// In this process's memory: what is put together there is one user.
    fn scratch(&self, settings: &SettingsRow) -> Outcome<Box<dyn Backend>> {
        Ok(Box::new(Memory::new(settings.clone())))
    }

    fn holder(&self) -> Holder {
        holder::here()
    }

    fn is_gone(&self, holder: &Holder) -> bool {
        holder::is_gone(holder)
    }

    fn check(&self) -> Outcome<()> {
        let begin = format!("BEGIN READ ONLY; {}", self.local());
        let (client, _) = self
            .begin(&begin, Instant::now() + self.wait())
            .map_err(|failure| self.told(failure))?;
        let checked = schema::check(&client);
        self.undo(client);
        checked.map_err(|failure| self.told(failure))
    }
}

/// The time that a transaction's first answer begins with.
fn time_of(told: &[String]) -> Result<Timestamp, Failure> {
    let second = told.first().and_then(|second| second.parse().ok());
    let time = second.and_then(|second| Timestamp::from_second(second).ok());
    time.ok_or_else(|| Failure::new(Kind::Final, "the server does not tell the time"))
}

impl Postgres {
    fn told(&self, failure: Failure) -> Fault {
        match failure.fault {
            Fault::Busy(_) => Fault::Busy(self.wait()),
            other => other,
        }
    }
}

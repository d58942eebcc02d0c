//! Connections: made, lent to one thread at a time, and thrown away once they are lost.
//!
//! The client is tokio-postgres, its connections driven by one thread of this process's own, as the
//! blocking client panics where it is called inside another runtime. A pool of a few lines, as
//! those there are ask every connection whether it works before they lend it: here a lost one shows
//! itself, and the transaction runs again on another.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    address::Address,
    failure::{self, Failure, Kind},
    tls,
};

/// The oldest server that has all that is asked of it.
const OLDEST: i64 = 15;

/// Connections that rest at most.
const RESTING: usize = 8;

/// Connections to one database.
pub(super) struct Pool {
    address: Address,
    connector: MakeRustlsConnect,
    resting: Mutex<Vec<Client>>,
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(address: Address) -> Result<Self, Failure> {
        let connector =
            tls::connector(&address.trust).map_err(|error| Failure::new(Kind::Final, error))?;
        Ok(Self { address, connector, resting: Mutex::default() })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// A connection that has worked, or a new one.
    pub(super) fn take(&self) -> Result<Client, Failure> {
        loop {
            let rested = self.resting().pop();
            match rested {
                Some(client) if client.is_closed() => {}
                Some(client) => return Ok(client),
                None => return self.connect(),
            }
        }
    }

    /// Gives a connection back, outside any transaction.
    pub(super) fn rest(&self, client: Client) {
        let mut resting = self.resting();
        if resting.len() < RESTING && !client.is_closed() {
            resting.push(client);
        }
    }

    /// Forgets the connections that rest: where one is lost, the others are likely to be.
    pub(super) fn clear(&self) {
        self.resting().clear();
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Client>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection, and refuses a server that does not keep texts as they are.
    fn connect(&self) -> Result<Client, Failure> {
        let runtime = runtime()?;
        let (config, connector) = (self.address.config.clone(), self.connector.clone());
        let connecting = runtime.spawn(async move {
            let (client, connection) = config.connect(connector).await?;
            // Its end shows in the next statement.
            tokio::spawn(connection);
            Ok(client)
        });
        let client = pollster::block_on(connecting)
            .map_err(|error| Failure::new(Kind::Final, error.to_string()))?
            .map_err(|error: tokio_postgres::Error| failure::of(&error))?;
        let asked = "SELECT current_setting('server_version_num'), \
                     current_setting('server_encoding')";
        let told = one(&client, asked)?;
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
        let version = number(told.first()).unwrap_or_default() / 10_000;
        if version < OLDEST {
            return Err(Failure::new(
                Kind::Final,
                format!("the server is PostgreSQL {version}; {OLDEST} or newer is needed"),
            ));
        }
        match told.get(1).map(String::as_str) {
            Some("UTF8") => Ok(client),
            other => Err(Failure::new(
                Kind::Final,
                format!(
                    "the database is encoded as {}; create one with ENCODING 'UTF8'",
                    other.unwrap_or("something else")
                ),
            )),
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.address).finish()
    }
}

/// Runs statements without parameters in one message; gives the values of the last row.
pub(super) fn one(client: &Client, statements: &str) -> Result<Vec<String>, Failure> {
    let messages =
        pollster::block_on(client.simple_query(statements)).map_err(|error| failure::of(&error))?;
    let row = messages.into_iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let values = |row: tokio_postgres::SimpleQueryRow| {
        (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect()
    };
    Ok(row.map(values).unwrap_or_default())
}

/// The thread that drives all connections of this process.
fn runtime() -> Result<&'static Runtime, Failure> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("spring-postgres")
            .enable_all()
            .build()
    });
    made.as_ref().map_err(|error| {
        Failure::new(Kind::Final, format!("the thread for connections cannot be started: {error}"))
    })
}

/// How long to wait before another attempt: longer from one to the next, and never the same for
/// two that began together.
pub(super) fn pause(attempt: u32) {
    let longest = Duration::from_millis(5 << attempt.min(7));
    // Random keys of the standard library: nothing here has to be repeatable.
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), attempt);
    std::thread::sleep(longest.mul_f64(0.5 + 0.5 * (random % 1024) as f64 / 1024.0));
}

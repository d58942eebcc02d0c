//! On the server that `SPRING_TEST_POSTGRES` names, every state in a schema of its own; without one
//! these tests say so and pass.

mod faults;
mod states;

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::*;
use crate::contract::{Subject, samples::*};

/// The server to test on.
const SERVER: &str = "SPRING_TEST_POSTGRES";

/// The address of the server; `None`, and a line about it, where there is none.
fn server() -> Option<String> {
    let address = std::env::var(SERVER).ok();
    if address.is_none() {
        eprintln!("skipped: {SERVER} names no PostgreSQL (postgres://user@host:port/database)");
    }
    address
}

/// States in schemas of their own, which go with the value.
#[derive(Default)]
struct InSchemas(Mutex<Vec<Address>>);

impl InSchemas {
    /// The address of a schema that nobody has.
    fn fresh(&self) -> Address {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let server = server().unwrap();
        let sign = if server.contains('?') { '&' } else { '?' };
        // By the name of the program the server tells the connections apart.
        let address = format!("{server}{sign}schema={name}&application_name={name}");
        let address = Address::parse(&address).unwrap();
        self.0.lock().unwrap().push(address.clone());
        address
    }

    fn store(&self) -> PostgresStore {
        PostgresStore::create(&self.fresh(), &settings()).unwrap()
    }
}

impl Subject for InSchemas {
    fn create(&self, settings: &Settings) -> Box<Store> {
        Box::new(PostgresStore::create(&self.fresh(), settings).unwrap())
    }

    fn again(&self, store: &Store) -> Option<Box<Store>> {
        let addresses = self.0.lock().unwrap();
        let address = addresses.iter().find(|address| address.label == store.backend().label())?;
        Some(Box::new(PostgresStore::open(address, Access::ReadWrite).unwrap()))
    }

    /// Sequences do not roll back.
    fn gives_keys_back(&self) -> bool {
        false
    }
}

impl Drop for InSchemas {
    fn drop(&mut self) {
        for address in self.0.get_mut().unwrap().drain(..) {
            let statement = format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(&address.schema));
            if let Err(failure) = Pool::new(address).and_then(|pool| one(&pool.take()?, &statement))
            {
                eprintln!("a schema is left behind: {failure:?}");
            }
        }
    }
}

/// Runs statements behind the store's back; gives the values of the last row.
fn execute(store: &PostgresStore, statements: &str) -> Vec<String> {
    let pool = &store.backend().pool;
    let client = pool.take().unwrap();
    let path = format!("SET search_path TO {}; ", quoted(&pool.address().schema));
    let told = one(&client, &(path + statements)).unwrap();
    one(&client, "RESET search_path").unwrap();
    pool.rest(client);
    told
}

mod in_schemas {
    crate::contract_tests!(super::InSchemas, unless super::server().is_none());
}

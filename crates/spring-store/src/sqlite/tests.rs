mod cost;
mod crashes;
mod damage;
mod files;
mod layout;
mod migrations;
mod processes;
mod removals;

use std::sync::Mutex;

use rusqlite::types::Value;
use tempfile::TempDir;

use super::*;
use crate::{
    Config, Error,
    contract::{Subject, samples::*},
};

/// States in files of their own.
#[derive(Default)]
struct OnFile(Mutex<Vec<TempDir>>);

impl Subject for OnFile {
    fn create(&self, settings: &Settings) -> Box<Store> {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(folder.path().join("state.db"), settings).unwrap();
        self.0.lock().unwrap().push(folder);
        Box::new(store)
    }

    fn again(&self, store: &Store) -> Option<Box<Store>> {
        Some(Box::new(SqliteStore::open(store.backend().label(), Access::ReadWrite).unwrap()))
    }
}

mod on_file {
    crate::contract_tests!(super::OnFile);
}

/// Databases without a file.
#[derive(Default)]
struct Nameless;

impl Subject for Nameless {
    fn create(&self, settings: &Settings) -> Box<Store> {
        Box::new(SqliteStore::in_memory(settings).unwrap())
    }

    fn again(&self, _: &Store) -> Option<Box<Store>> {
        None
    }
}

mod nameless {
    crate::contract_tests!(super::Nameless);
}

fn in_memory() -> SqliteStore {
    SqliteStore::in_memory(&settings()).unwrap()
}

/// A store in a file of its own; the folder goes when the first part is dropped.
fn on_file() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(folder.path().join("state.db"), &settings()).unwrap();
    (folder, store)
}

fn path(store: &SqliteStore) -> PathBuf {
    store.backend().label().into()
}

fn again(store: &SqliteStore, access: Access) -> SqliteStore {
    SqliteStore::open(path(store), access).unwrap()
}

/// Works over the connection that a store uses.
fn with<T>(store: &SqliteStore, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> T {
    store.backend().with(|connection| Ok(work(connection)?)).unwrap()
}

/// Changes rows behind the store's back; gives their number.
fn execute(store: &SqliteStore, statement: &str) -> usize {
    with(store, |connection| connection.execute(statement, ()))
}

/// Lays the right checksum beside every row.
fn sum_again(store: &SqliteStore) {
    with(store, |connection| {
        schema::with_row_sum(connection)?;
        connection.execute_batch(
            "UPDATE settings SET sum = row_sum('settings', model, fingerprint, config, removals);
             UPDATE users SET sum =
                 row_sum('users', key, name, next_seq, generation, pending, removals);
             UPDATE interactions SET sum = row_sum(
                 'interactions', user, seq, id, seconds, nanoseconds, meta, prompt, response);
             UPDATE leases SET sum = row_sum(
                 'leases', user, token, holder, place, process, started, expires);
             UPDATE members SET sum = row_sum('members', user, seq, period, held_out);
             UPDATE generations SET record_sum = row_sum('records', user, number, record);
             UPDATE memories SET sum = row_sum(
                 'memories', user, generation, buffered, buffer, calibration, adapter);
             UPDATE answers SET sum = row_sum('answers', user, record);",
        )
    });
}

fn check(store: &SqliteStore) -> Result<()> {
    store.check(&mut |_| std::ops::ControlFlow::Continue(()))
}

/// Every row of every table.
fn tables(store: &SqliteStore) -> Vec<(String, Vec<Value>)> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    with(store, |connection| {
        let mut tables = connection.prepare(names)?;
        let tables: Vec<String> =
            tables.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        assert_eq!(tables.len(), 16, "{tables:?}");
        let mut rows = Vec::new();
        for table in tables {
            let mut all = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?;
            let columns = all.column_count();
            let row =
                |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
            for values in all.query_map((), row)? {
                rows.push((table.clone(), values?));
            }
        }
        Ok(rows)
    })
}

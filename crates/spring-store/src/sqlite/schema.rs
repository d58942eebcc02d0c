//! The tables: made, brought up to date, and compared with what they should be.

use std::sync::OnceLock;

use rusqlite::{
    Connection, Transaction, TransactionBehavior,
    functions::{Context, FunctionFlags},
    types::ValueRef,
};

use super::failure::{Failure, Outcome};
use crate::{
    backend::SettingsRow,
    store::{Value, sum_of},
};

/// Marks the file as a state: "SPRG".
const APPLICATION_ID: i64 = 0x5350_5247;

/// The version of `schema.sql`.
pub(super) const SCHEMA_VERSION: i64 = 8;

const SCHEMA: &str = include_str!("schema.sql");

/// The first version with checksums: the tables of those before it are made anew.
const ANEW_VERSION: i64 = 5;

/// What turns version 1 into 2, 2 into 3, and so on, before the tables are made anew.
const MIGRATIONS: [&str; 3] = [
    include_str!("migrate_1_to_2.sql"),
    include_str!("migrate_2_to_3.sql"),
    include_str!("migrate_3_to_4.sql"),
];

/// Sets the tables of version 4 aside, and fills those of `schema.sql` from them.
const ANEW: &str = include_str!("migrate_4_to_5.sql");

/// Where in it `schema.sql` runs.
const HERE: &str = "-- schema.sql\n";

/// What stands below the first of these lines in `schema.sql` turns version 5 into this one, below
/// the second version 6, and so on.
const SINCE: [&str; 3] = ["-- since version 6\n", "-- since version 7\n", "-- since version 8\n"];

/// Tables, settings and the file's marks.
pub(super) fn write(transaction: &Transaction<'_>, settings: &SettingsRow) -> Outcome<()> {
    transaction.execute_batch(SCHEMA)?;
    let SettingsRow { model, fingerprint, config, removals: _, sum } = settings;
    transaction.execute(
        "INSERT INTO settings (one, model, fingerprint, config, sum) VALUES (1, ?1, ?2, ?3, ?4)",
        (model, fingerprint, config, sum),
    )?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    Ok(())
}

fn application_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings an older file up to this version, whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Outcome<()> {
    with_row_sum(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again: another process may have been faster.
    let from = version(&transaction)?;
    if (ANEW_VERSION..SCHEMA_VERSION).contains(&from) {
        transaction.execute_batch(added_since(from)?)?;
    } else if from < ANEW_VERSION {
        let skipped = usize::try_from(from - 1).unwrap_or(MIGRATIONS.len());
        for step in MIGRATIONS.iter().skip(skipped) {
            transaction.execute_batch(step)?;
        }
        let (set_aside, take_over) = ANEW.split_once(HERE).unwrap_or_default();
        for step in [set_aside, SCHEMA, take_over] {
            transaction.execute_batch(step)?;
        }
    }
    if from < SCHEMA_VERSION {
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()?;
    connection.remove_function("row_sum", -1)?;
    Ok(())
}

/// What makes the tables that a version with checksums lacks.
fn added_since(version: i64) -> Outcome<&'static str> {
    let line = usize::try_from(version - ANEW_VERSION).ok().and_then(|at| SINCE.get(at));
    let added = line.and_then(|line| SCHEMA.split_once(line));
    let (_, added) = added.ok_or_else(|| {
        Failure::State("this program was built without its newer tables; build it anew".into())
    })?;
    Ok(added)
}

/// Gives a connection the function `row_sum`.
pub(super) fn with_row_sum(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("row_sum", -1, flags, row_sum)
}

/// The checksum of a table's name and values.
fn row_sum(context: &Context<'_>) -> rusqlite::Result<i64> {
    let table: String = context.get(0)?;
    let value = |at| match context.get_raw(at) {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        // What is no text is refused when it is read.
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text)
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes),
    };
    Ok(sum_of(&table, (1..context.len()).map(value)))
}

/// Whether it is a state, of a version that is known, and with the tables of that version; gives
/// the version.
pub(super) fn check(connection: &Connection) -> Outcome<i64> {
    // One transaction: each takes and gives back a lock on the file.
    let transaction = connection.unchecked_transaction()?;
    let version = check_version(&transaction)?;
    check_items(&transaction, version)?;
    Ok(version)
}

fn check_version(connection: &Connection) -> Outcome<i64> {
    if application_id(connection)? != APPLICATION_ID {
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let reason = match pages {
            0 => "empty: making it was cut short; delete it and make it again",
            _ => "a database of another program; name the right file",
        };
        return Err(Failure::State(reason.into()));
    }
    match version(connection)? {
        known @ 1..=SCHEMA_VERSION => Ok(known),
        newer if newer > SCHEMA_VERSION => Err(Failure::State(format!(
            "written by a newer version of this program (format {newer}, known here up to \
             {SCHEMA_VERSION}); update the program"
        ))),
        other => Err(Failure::State(format!(
            "damaged: there is no format {other}; restore the file from a copy"
        ))),
    }
}

/// A table, index, view or trigger.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    kind: String,
    name: String,
    table: String,
    /// What made it; `None` for an index that belongs to a constraint.
    sql: Option<String>,
}

fn items(connection: &Connection) -> rusqlite::Result<Vec<Item>> {
    let query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
    let mut query = connection.prepare(query)?;
    let item = |row: &rusqlite::Row<'_>| {
        Ok(Item { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    };
    query.query_map((), item)?.collect()
}

/// What `schema.sql` makes, sorted by kind and name.
fn expected() -> Outcome<&'static [Item]> {
    static EXPECTED: OnceLock<Vec<Item>> = OnceLock::new();
    if let Some(expected) = EXPECTED.get() {
        return Ok(expected);
    }
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(SCHEMA)?;
    let made = items(&fresh)?;
    Ok(EXPECTED.get_or_init(|| made))
}

/// Whether a file has what `schema.sql` makes and nothing else, as nearly every file has: told
/// without a copy of each item.
pub(super) fn is_as_made(connection: &Connection) -> Outcome<bool> {
    let expected = expected()?;
    // In the file's own order: new, migrated and rewritten files differ in it.
    let mut query = connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let (mut rows, mut is_found) = (query.query(())?, vec![false; expected.len()]);
    while let Some(row) = rows.next()? {
        let mut texts = [None; 4];
        for (at, text) in texts.iter_mut().enumerate() {
            let Ok(found) = row.get_ref(at)?.as_str_or_null() else { return Ok(false) };
            *text = found;
        }
        let [Some(kind), Some(name), Some(table), sql] = texts else { return Ok(false) };
        let at = expected.binary_search_by(|item| (&*item.kind, &*item.name).cmp(&(kind, name)));
        let Ok(at) = at else { return Ok(false) };
        let Item { table: as_made, sql: sql_as_made, .. } = &expected[at];
        if table != as_made || sql != sql_as_made.as_deref() || is_found[at] {
            return Ok(false);
        }
        is_found[at] = true;
    }
    Ok(is_found.into_iter().all(|is_found| is_found))
}

/// Refuses what no version of this program makes: a trigger or a view could change what is written
/// or read without a word. Of older versions the names alone are compared: the rest is once they
/// are up to date.
fn check_items(connection: &Connection, version: i64) -> Outcome<()> {
    if version == SCHEMA_VERSION && is_as_made(connection)? {
        return Ok(());
    }
    let (expected, found) = (expected()?, items(connection)?);
    let same = |item: &Item| {
        let named = |other: &&Item| (&other.kind, &other.name) == (&item.kind, &item.name);
        expected.iter().find(named)
    };
    let refuse = |reason: String| Err(Failure::State(reason));
    for item in &found {
        let Item { kind, name, .. } = item;
        match same(item) {
            None => {
                return refuse(format!(
                    "the {kind} {name:?} is not this program's, and may change what is read or \
                     written; restore the file from a copy"
                ));
            }
            Some(same) if version == SCHEMA_VERSION && same != item => {
                return refuse(format!(
                    "damaged: the {kind} {name:?} is not as this program makes it; restore the \
                     file from a copy"
                ));
            }
            Some(_) => {}
        }
    }
    let is_found = |item: &&Item| {
        found.iter().any(|other| (&other.kind, &other.name) == (&item.kind, &item.name))
    };
    let missing = expected.iter().find(|item| !is_found(item));
    match missing {
        Some(Item { kind, name, .. }) if version == SCHEMA_VERSION => {
            refuse(format!("damaged: the {kind} {name:?} is missing; restore the file from a copy"))
        }
        _ if version < ANEW_VERSION && has_sums(connection)? => refuse(format!(
            "damaged: it says that it is of the format {version}, and is of a newer one; restore \
             the file from a copy"
        )),
        _ => Ok(()),
    }
}

/// Whether its tables have checksums.
fn has_sums(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('settings') WHERE name = 'sum')";
    connection.query_row(query, (), |row| row.get(0))
}

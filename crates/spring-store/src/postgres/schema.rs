//! The tables: made, brought up to date, and compared with what they should be.

use tokio_postgres::Client;

use super::{
    failure::{Failure, Kind},
    pool::one,
};

/// The version of the tables.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// What makes version 1, turns 1 into 2, and so on. Those that were released do not change.
const MIGRATIONS: [&str; 4] = [
    include_str!("schema.sql"),
    include_str!("migrate_1_to_2.sql"),
    include_str!("migrate_2_to_3.sql"),
    include_str!("migrate_3_to_4.sql"),
];

/// What [`DESCRIBED`] gives of the tables as they should be.
const EXPECTED: &str = include_str!("expected.txt");

/// What is in the schema that can change what is written or read: columns, constraints, indexes,
/// triggers, rules, policies.
const DESCRIBED: &str = include_str!("described.sql");

/// What a schema holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No state: it is not there, or has no table of that name.
    Nothing,
    /// Tables of that version.
    Version(i64),
}

/// A name as SQL quotes it.
pub(super) fn quoted(schema: &str) -> String {
    format!("\"{}\"", schema.replace('"', "\"\""))
}

/// The text as SQL quotes it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Looks what there is. The schema's name has no backslash.
pub(super) fn look(client: &Client, schema: &str) -> Result<Found, Failure> {
    let table = literal(&format!("{}.format", quoted(schema)));
    // By the catalogue: a table that a user may not read is there all the same.
    let there = one(client, &format!("SELECT to_regclass({table}) IS NOT NULL"))?;
    if there.first().map(String::as_str) != Some("t") {
        return Ok(Found::Nothing);
    }
    let version = one(client, &format!("SELECT version FROM {}.format", quoted(schema)))?;
    match version.first().and_then(|version| version.parse().ok()) {
        Some(version) => Ok(Found::Version(version)),
        None => Err(Failure::new(
            Kind::Final,
            "damaged: the table format is empty; restore it from a backup",
        )),
    }
}

/// Refuses versions that this program does not know; says whether the tables are older.
pub(super) fn is_older(version: i64) -> Result<bool, Failure> {
    let refuse = |reason: String| Err(Failure::new(Kind::Final, reason));
    match version {
        VERSION => Ok(false),
        older @ 1.. if older < VERSION => Ok(true),
        newer if newer > VERSION => refuse(format!(
            "written by a newer version of this program (format {newer}, known here up to \
             {VERSION}); update the program"
        )),
        other => refuse(format!("damaged: there is no format {other}; restore it from a backup")),
    }
}

/// Makes the tables in a schema that has none, inside a transaction.
pub(super) fn create(client: &Client, schema: &str) -> Result<(), Failure> {
    let name = literal(schema);
    let there = one(client, &format!("SELECT 1 FROM pg_namespace WHERE nspname = {name}"))?;
    if there.is_empty() {
        // Not IF NOT EXISTS, which asks for the right to create one even where it is there.
        one(client, &format!("CREATE SCHEMA {}", quoted(schema)))?;
    }
    one(client, &format!("SET LOCAL search_path TO {}, pg_temp", quoted(schema)))?;
    for step in MIGRATIONS {
        one(client, step)?;
    }
    one(client, &format!("INSERT INTO format (one, version) VALUES (1, {VERSION})"))?;
    Ok(())
}

/// Brings older tables up to this version, whole or not at all.
pub(super) fn migrate(client: &Client, schema: &str) -> Result<(), Failure> {
    let work = || {
        one(client, &format!("BEGIN; SET LOCAL search_path TO {}, pg_temp", quoted(schema)))?;
        // Read again under a lock: another process may have been faster.
        let version = one(client, "SELECT version FROM format FOR UPDATE")?;
        let version = version.first().and_then(|version| version.parse().ok()).unwrap_or_default();
        if is_older(version)? {
            let done = usize::try_from(version).unwrap_or_default();
            for step in MIGRATIONS.iter().skip(done) {
                one(client, step)?;
            }
            one(client, &format!("UPDATE format SET version = {VERSION}"))?;
        }
        one(client, "COMMIT")
    };
    work().map(drop).inspect_err(|_| {
        let _ = one(client, "ROLLBACK");
    })
}

/// One line for everything in the schema that a transaction looks at.
pub(super) fn described(client: &Client) -> Result<Vec<String>, Failure> {
    Ok(one(client, DESCRIBED)?
        .first()
        .map_or("", String::as_str)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Refuses tables that are not as this program makes them: a trigger or a rule could change what is
/// written or read without a word. Tables of others beside them are left alone.
pub(super) fn check(client: &Client) -> Result<(), Failure> {
    let found = described(client)?;
    let refuse = |reason: String| Err(Failure::new(Kind::Final, reason));
    if let Some(item) = EXPECTED.lines().find(|item| !found.iter().any(|other| other == item)) {
        return refuse(format!(
            "damaged: its tables lack: {item}; restore them from a backup, or make the state anew \
             by `spring move`"
        ));
    }
    match found.iter().find(|item| !EXPECTED.lines().any(|other| other == item.as_str())) {
        Some(item) => refuse(format!(
            "its tables have what this program did not make and may change what is read or \
             written: {item}; take it away"
        )),
        None => Ok(()),
    }
}

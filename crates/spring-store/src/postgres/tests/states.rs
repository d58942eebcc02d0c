//! States that are made, opened, moved and refused.

use super::*;
use crate::{Error, SqliteStore};

fn check(store: &Store) -> Result<()> {
    store.check(&mut |_| std::ops::ControlFlow::Continue(()))
}

#[test]
fn the_tables_are_those_that_are_expected() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let (client, _) = store
        .backend()
        .begin(&format!("BEGIN; {}", store.backend().local()), Instant::now())
        .map_err(|failure| failure.fault)
        .unwrap();
    let found = schema::described(&client).map_err(|failure| failure.fault).unwrap();
    let expected: Vec<&str> = include_str!("../expected.txt").lines().collect();
    assert_eq!(found, expected, "expected.txt is to be:\n{}", found.join("\n"));
    check(&store).unwrap();
}

#[test]
fn what_changes_rows_without_a_word_is_told_by_check() {
    if server().is_none() {
        return;
    }
    let changes = [
        ("ALTER TABLE users ALTER COLUMN pending DROP NOT NULL", "lack: column users.pending"),
        ("DROP INDEX members_by_period", "lack: index: "),
        (
            "CREATE RULE r AS ON INSERT TO answers DO INSTEAD \
          NOTHING",
            "rule r of answers",
        ),
        (
            "ALTER TABLE memories ALTER COLUMN adapter SET STORAGE EXTENDED",
            "column memories.adapter",
        ),
        ("CREATE POLICY p ON users", "policy p of users"),
    ];
    let schemas = InSchemas::default();
    for (change, said) in changes {
        let store = schemas.store();
        execute(&store, change);
        let reason = reason(check(&store));
        assert!(reason.contains(said), "{change}: {reason}");
    }
    // Tables of others are theirs.
    let store = schemas.store();
    execute(&store, "CREATE TABLE notes (text text)");
    check(&store).unwrap();
}

#[test]
fn tables_of_the_first_version_get_what_came_later() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    with_periods(&store, &["ada"], 2);
    let mut commit = commit(1, 0);
    commit.record.unjudged = true;
    put(&store, "ada", &commit).unwrap();
    let digest = store.digest(&user("ada")).unwrap();
    execute(
        &store,
        "ALTER TABLE generations DROP COLUMN unjudged; DROP TABLE keys; DROP TABLE consents;
         DROP TABLE replicas; DROP TABLE priors; DROP TABLE contributions;
         UPDATE format SET version = 1",
    );
    let address = store.backend().pool.address().clone();
    drop(store);
    let refused = reason(PostgresStore::open(&address, Access::ReadOnly).map(drop));
    assert!(refused.contains("of the older format 1"), "{refused}");
    let store = PostgresStore::open(&address, Access::ReadWrite).unwrap();
    check(&store).unwrap();
    assert_eq!(store.digest(&user("ada")).unwrap(), digest);
    assert_eq!(store.users_with_something_unjudged(None, 9).unwrap(), [user("ada")]);
    // What the planner needs to take the index, without waiting for the server to look.
    let known = "SELECT count(*) FROM pg_stats WHERE schemaname = current_schema()
                 AND tablename = 'generations' AND attname = 'unjudged'";
    assert_eq!(execute(&store, known), ["1"]);
    store.add_key(&[1; 32], &key_of("ada"), at(1)).unwrap();
    assert!(store.has_keys().unwrap());
}

#[test]
fn a_state_is_made_once_and_opened_where_it_is() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let address = schemas.fresh();
    let reason_of = |access| reason(PostgresStore::open(&address, access).map(drop));
    assert!(reason_of(Access::ReadOnly).contains("holds no state; `spring init`"));
    PostgresStore::create(&address, &settings()).unwrap();
    let again = reason(PostgresStore::create(&address, &settings()).map(drop));
    assert!(again.contains("there is a state already"), "{again}");
    let store = PostgresStore::open(&address, Access::ReadOnly).unwrap();
    assert_eq!(*store.settings(), settings());
    let refused = reason(store.ingest(history("ada", 1)));
    assert!(refused.contains("opened for reading only"), "{refused}");
}

#[test]
fn a_newer_version_is_refused() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    for (version, said) in [(9, "newer version of this program (format 9"), (0, "no format 0")] {
        execute(&store, &format!("UPDATE format SET version = {version}"));
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let reason =
                reason(PostgresStore::open(store.backend().pool.address(), access).map(drop));
            assert!(reason.contains(said), "{reason}");
        }
    }
}

#[test]
fn an_address_that_leads_nowhere_is_told_in_one_line() {
    let Some(server) = server() else { return };
    let (place, parameters) = server.split_once('?').unwrap_or((&server, ""));
    let (before, _) = place.rsplit_once('/').unwrap();
    let cases = [
        ("postgres://ada:secret@127.0.0.1:1/d".to_owned(), "cannot be reached"),
        (format!("{before}/nothing_there?{parameters}"), "does not exist; create it"),
        (format!("{place}?sslmode=verify-full&sslrootcert=/nowhere.pem"), "sslrootcert /nowhere"),
    ];
    for (text, said) in cases {
        let open = PostgresStore::open(&Address::parse(&text).unwrap(), Access::ReadWrite);
        let error = open.map(drop).unwrap_err();
        let line = error.to_string();
        assert!(matches!(error, Error::State { .. } | Error::Unreachable { .. }), "{line}");
        assert!(line.contains(said) && !line.contains("secret"), "{text}: {line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn digests_and_adapters_are_those_of_sqlite() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let (one, two) = (schemas.store(), SqliteStore::in_memory(&settings()).unwrap());
    for store in [&one as &Store, &two] {
        crate::contract::faults::prepare(store);
        put(store, "ada", &commit(2, 1)).unwrap();
    }
    for name in ["ada", "bob"] {
        assert_eq!(one.digest(&user(name)).unwrap(), two.digest(&user(name)).unwrap());
    }
    let adapter = |store: &Store| store.generation(&user("ada"), None).unwrap().unwrap().adapter;
    assert_eq!(adapter(&one), adapter(&two));
    assert_eq!(dump_without_keys(&one), dump_without_keys(&two));
}

/// The parts of the state are the server's texts and bytes, not ours: what is in the way there does
/// not change them.
#[test]
fn texts_come_back_whatever_the_settings_of_the_server() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let mut text = interaction("ada", "1", "2024-01-01T00:00:00Z");
    text.response = "\u{0}\\x00\\\\ '\"$1 \u{10ffff} \r\n".into();
    store.ingest([text.clone()]).unwrap();
    execute(&store, "SET bytea_output = 'escape'; SET standard_conforming_strings = off");
    assert_eq!(
        store.history(&user("ada")).unwrap().entries[0].stored.interaction.response,
        text.response
    );
}

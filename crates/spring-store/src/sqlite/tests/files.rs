use std::fs;

use super::*;

fn open(path: &Path) -> Result<SqliteStore> {
    SqliteStore::open(path, Access::ReadWrite)
}

#[test]
fn what_is_no_state_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let refused = |said: &str| {
        let bytes = fs::read(&path).ok();
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let error = SqliteStore::open(&path, access).unwrap_err();
            assert!(error.is_of_state());
            let said = format!("state {}: {said}", path.display());
            assert!(error.to_string().starts_with(&said), "{error}");
        }
        assert_eq!(fs::read(&path).ok(), bytes);
    };
    refused("there is no such file");
    fs::create_dir(&path).unwrap();
    refused("not a file");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "").unwrap();
    refused("empty: making it was cut short");
    fs::write(&path, "a diary\n".repeat(1000)).unwrap();
    refused("not a state, or its beginning is lost");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        .unwrap();
    refused("a pointer of Git LFS");
    fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE settings (model TEXT)").unwrap();
    drop(other);
    refused("a database of another program");
    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "application_id", 0x4750_4b47).unwrap();
    drop(other);
    refused("a database of another program");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_file_with_two_names_is_refused_under_both() {
    let (folder, store) = on_file();
    store.ingest(history("ada", 1)).unwrap();
    drop(store);
    let [path, second] = ["state.db", "other.db"].map(|name| folder.path().join(name));
    fs::hard_link(&path, &second).unwrap();
    for name in [&path, &second] {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let reason = reason(SqliteStore::open(name, access));
            assert!(reason.starts_with("it has 2 names"), "{reason}");
        }
    }
    fs::remove_file(&second).unwrap();
    assert_eq!(open(&path).unwrap().users(None, 9).unwrap().len(), 1);
}

#[test]
fn the_log_of_another_program_is_left_alone() {
    let (folder, store) = on_file();
    store.ingest(history("ada", 1)).unwrap();
    with(&store, |connection| connection.pragma_update(None, "application_id", 1));
    let copies = tempfile::tempdir().unwrap();
    let names = ["state.db", "state.db-wal"];
    let files = names.map(|name| fs::read(folder.path().join(name)).unwrap());
    for (name, bytes) in names.iter().zip(&files) {
        fs::write(copies.path().join(name), bytes).unwrap();
    }
    assert!(
        reason(open(&copies.path().join("state.db"))).starts_with("a database of another program")
    );
    assert_eq!(names.map(|name| fs::read(copies.path().join(name)).unwrap()), files);
}

#[test]
fn another_version_is_refused() {
    let (_folder, store) = on_file();
    let path = path(&store);
    with(&store, |connection| connection.pragma_update(None, "user_version", 9));
    drop(store);
    assert!(
        reason(open(&path)).starts_with(
            "written by a newer version of this program (format 9, known here up to 8)"
        )
    );
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 0).unwrap();
    assert!(reason(open(&path)).starts_with("damaged: there is no format 0"));
}

#[test]
fn a_file_cut_short_is_refused() {
    let (folder, store) = on_file();
    with_periods(&store, &["ada"], 40);
    put(&store, "ada", &commit(1, 0)).unwrap();
    let path = path(&store);
    drop(store);
    let bytes = fs::read(&path).unwrap();
    assert!(open(&path).is_ok());
    let damaged = "damaged or cut short";
    let no_state = "not a state, or its beginning is lost";
    for (length, said) in [
        (bytes.len() - 1, damaged),
        (bytes.len() / 2, damaged),
        (4096, damaged),
        (100, damaged),
        (20, no_state),
    ] {
        let cut = folder.path().join("cut");
        fs::write(&cut, &bytes[..length]).unwrap();
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let reason = reason(SqliteStore::open(&cut, access));
            assert!(reason.starts_with(said), "{length}: {reason}");
        }
    }
}

#[test]
fn a_path_that_is_taken_is_left_alone() {
    let (folder, store) = on_file();
    store.ingest(history("ada", 1)).unwrap();
    let before = tables(&store);
    let path = path(&store);
    for _ in 0..2 {
        assert!(reason(SqliteStore::create(&path, &settings())).starts_with("exists already"));
    }
    drop(store);
    assert_eq!(tables(&open(&path).unwrap()), before);
    assert!(reason(SqliteStore::create(folder.path(), &settings())).starts_with("exists already"));
    let nowhere = folder.path().join("no/such/state.db");
    assert!(reason(SqliteStore::create(nowhere, &settings())).starts_with("cannot be created"));
}

#[test]
fn a_state_half_made_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut connection = Connection::open(&path).unwrap();
    let transaction = connection.transaction().unwrap();
    let row = settings_row(&settings()).unwrap();
    schema::write(&transaction, &row).unwrap();
    drop(transaction);
    drop(connection);
    assert!(reason(open(&path)).starts_with("empty: making it was cut short"));
}

#[test]
fn a_damaged_value_is_named() {
    let damages = [
        (
            "UPDATE settings SET config = '{\"nonsense\": 1}'",
            "table settings: it is not what was written",
        ),
        ("DELETE FROM settings", "table settings: it is empty"),
        ("UPDATE users SET generation = -1", "table users, user ada: "),
        ("UPDATE users SET name = char(7)", "table users: user id"),
        (
            "UPDATE interactions SET id = '' WHERE seq = 1",
            "table interactions, user ada: text 1 (id \"\"): it is not what",
        ),
        (
            "UPDATE interactions SET meta = '{'",
            "table interactions, user ada: text 1 (id \"1\"): it is not",
        ),
        (
            "UPDATE interactions SET prompt = CAST(x'ff' AS TEXT)",
            "table interactions, user ada: seq 1: invalid utf-8",
        ),
        ("UPDATE interactions SET seconds = 9223372036854775807", "table interactions, user ada: "),
        ("UPDATE memories SET buffer = '[1]'", "table memories, user ada: generation 1: it is not"),
        ("UPDATE memories SET calibration = ''", "table memories, user ada: generation 1: it is"),
        ("UPDATE memories SET adapter = zeroblob(9)", "table memories, user ada: generation 1: it"),
        ("UPDATE memories SET buffered = -1", "table memories, user ada: "),
        (
            "UPDATE generations SET record = '{}'",
            "table generations, user ada: record 1: it is not",
        ),
        ("UPDATE generations SET period = 2", "table generations, user ada: generation 1"),
        ("UPDATE answers SET record = 'x'", "table answers, user ada: record 1: it is not"),
        (
            "UPDATE interactions SET base = -1.0 WHERE seq = 1",
            "table interactions, user ada: the log-likelihood of text 1",
        ),
        ("UPDATE interactions SET base = NULL", "table interactions, user ada: the log-likelihood"),
        ("UPDATE members SET held_out = 1", "table members, user ada: the place of text 1"),
        (
            "UPDATE embeddings SET vector = x'00000000'",
            "table embeddings, user ada: that of text 1",
        ),
        ("UPDATE leases SET expires = 1", "table leases, user ada: it is not"),
    ];
    for (damage, said) in damages {
        let (_folder, store) = on_file();
        with_periods(&store, &["ada"], 2);
        put(&store, "ada", &commit(1, 0)).unwrap();
        keep(&store, "ada", &answer("x")).unwrap();
        embed(&store);
        assert!(execute(&store, damage) > 0, "{damage}");
        let path = path(&store);
        drop(store);
        let ada = user("ada");
        let everything = |store: SqliteStore| -> Result<()> {
            store.users(None, 10)?;
            store.user(&ada)?;
            store.members(&ada, 1)?;
            store.interactions(&ada, &[1])?;
            store.generation(&ada, None)?;
            store.period_records(&ada, None)?;
            store.answers(&ada, 1)?;
            store.embeddings(&ada, &[1])?;
            store.lease(&ada)?;
            Ok(())
        };
        let reason = reason(open(&path).and_then(everything));
        assert!(reason.starts_with(&format!("damaged in {said}")), "{damage}: {reason}");
    }
}

fn embed(store: &SqliteStore) {
    let version = store.version(&user("ada")).unwrap();
    let embeddings = crate::EmbeddingMap::from([(1, vec![1.0, 0.5])]);
    store.set_embeddings(&version, &embeddings).unwrap();
}

#[test]
fn a_schema_of_another_hand_is_refused() {
    for (change, said) in [
        (
            "CREATE TRIGGER t AFTER INSERT ON answers BEGIN DELETE FROM answers; END",
            "the trigger \"t\" is not this program's",
        ),
        ("CREATE VIEW v AS SELECT * FROM users", "the view \"v\" is not this"),
        ("CREATE TABLE other (a)", "the table \"other\" is not this"),
        ("CREATE INDEX i ON answers (record)", "the index \"i\" is not this"),
        ("DROP INDEX answers_by_user", "damaged: the index \"answers_by_user\" is missing"),
        (
            "ALTER TABLE users ADD COLUMN more INTEGER",
            "damaged: the table \"users\" is not as this program makes it",
        ),
        ("PRAGMA user_version = 4", "damaged: it says that it is of the format 4"),
        ("PRAGMA user_version = 1", "damaged: it says that it is of the format 1"),
    ] {
        let (_folder, store) = on_file();
        store.ingest(history("ada", 1)).unwrap();
        let path = path(&store);
        with(&store, |connection| connection.execute_batch(change));
        let found = reason(check(&store));
        assert!(found.starts_with(said), "{change}: {found}");
        drop(store);
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let found = reason(SqliteStore::open(&path, access));
            assert!(found.starts_with(said), "{change}: {found}");
        }
    }
}

/// A file that was rewritten has its tables in another order.
#[test]
fn tables_are_known_in_any_order() {
    let (_folder, store) = on_file();
    let order = || -> String {
        let names =
            "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema ORDER BY rowid)";
        with(&store, |connection| connection.query_row(names, (), |row| row.get(0)))
    };
    let is_as_made = || store.backend().with(schema::is_as_made).unwrap();
    let made = order();
    assert!(is_as_made());
    with(&store, |connection| connection.execute_batch("VACUUM"));
    assert_ne!(order(), made);
    assert!(is_as_made());
    for change in ["CREATE VIEW v AS SELECT 1", "DROP VIEW v", "DROP INDEX answers_by_user"] {
        with(&store, |connection| connection.execute_batch(change));
        assert_eq!(is_as_made(), change == "DROP VIEW v", "{change}");
    }
    let remade = "CREATE INDEX answers_by_user ON answers (key, user)";
    with(&store, |connection| connection.execute_batch(remade));
    assert!(!is_as_made());
}

#[test]
fn who_is_forgotten_may_be_damaged() {
    let (_folder, store) = on_file();
    with_periods(&store, &["ada", "bob"], 2);
    execute(&store, "UPDATE interactions SET prompt = 'x' WHERE user = 1");
    execute(&store, "UPDATE users SET pending = 7 WHERE name = 'ada'");
    assert!(store.history(&user("ada")).is_err() && check(&store).is_err());
    let error = store.history(&user("ada")).unwrap_err();
    assert!(matches!(&error, Error::Damaged { user: Some(name), .. } if *name == user("ada")));
    assert!(error.names_user() && !error.is_of_state());
    assert_eq!(store.history(&user("bob")).unwrap().entries.len(), 2);
    assert_eq!(store.forget(&user("ada")).unwrap().interactions, 2);
    check(&store).unwrap();
}

#[cfg(unix)]
#[test]
fn a_pipe_beside_the_file_is_refused() {
    let (folder, store) = on_file();
    let path = path(&store);
    drop(store);
    for suffix in ["-wal", "-shm", "-journal"] {
        let pipe = folder.path().join(format!("state.db{suffix}"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let reason = reason(SqliteStore::open(&path, access));
            assert!(reason.contains("is not a plain file"), "{reason}");
        }
        fs::remove_file(pipe).unwrap();
    }
    // Nor is a pipe a state.
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(reason(open(&path)).starts_with("not a file"));
    assert!(reason(SqliteStore::create(&path, &settings())).starts_with("exists already"));
}

#[test]
fn a_missing_table_is_told() {
    let store = in_memory();
    store.ingest(history("ada", 1)).unwrap();
    with(&store, |connection| {
        connection.execute_batch("DROP TABLE memories; DROP TABLE generations")
    });
    let reason = reason(store.unlearned_periods(&user("ada")));
    assert!(reason.starts_with("unexpected contents (no such table: generations"), "{reason}");
}

#[test]
fn a_name_is_a_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:x?mode=memory", "a b%41#?ü"] {
        let path = folder.path().join(name);
        let store = SqliteStore::create(&path, &settings()).unwrap();
        store.ingest(history("ada", 1)).unwrap();
        drop(store);
        assert!(path.is_file());
        assert_eq!(
            SqliteStore::open(&path, Access::ReadOnly).unwrap().users(None, 9).unwrap().len(),
            1
        );
        let immutable = file::connect_immutable(&path).unwrap();
        let count: u32 =
            immutable.query_row("SELECT count(*) FROM users", (), |row| row.get(0)).unwrap();
        assert_eq!(count, 1);
    }
}

#[test]
fn a_connection_is_set_up() {
    let (_folder, made) = on_file();
    let opened = open(&path(&made)).unwrap();
    for store in [&made, &opened] {
        let value = |name| -> Value {
            with(store, |connection| connection.pragma_query_value(None, name, |row| row.get(0)))
        };
        assert_eq!(value("journal_mode"), Value::Text("wal".into()));
        // FULL is 2.
        for (name, expected) in
            [("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1), ("trusted_schema", 0)]
        {
            assert_eq!(value(name), Value::Integer(expected), "{name}");
        }
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = on_file();
    store.ingest(history("ada", 1)).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_leads_to_the_file() {
    let (folder, store) = on_file();
    store.ingest(history("ada", 1)).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(path(&store), &link).unwrap();
    // The text lies in the write-ahead log still, beside the file.
    assert_eq!(open(&link).unwrap().users(None, 9).unwrap().len(), 1);
    assert!(reason(SqliteStore::create(&link, &settings())).starts_with("exists already"));
}

/// For root nothing is protected: there the refusals are not tested.
#[cfg(unix)]
#[test]
fn a_protected_file_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    for (file, directory) in [(0o400, 0o700), (0o600, 0o500), (0o400, 0o500)] {
        let (folder, store) = on_file();
        store.ingest(history("ada", 1)).unwrap();
        let path = path(&store);
        drop(store);
        let allow = |file, directory| {
            fs::set_permissions(&path, fs::Permissions::from_mode(file)).unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(directory)).unwrap();
        };
        allow(file, directory);
        let is_root = fs::OpenOptions::new().write(true).open(&path).is_ok()
            && fs::write(folder.path().join("x"), "").is_ok();
        let write = open(&path).map(|_| ());
        let read =
            SqliteStore::open(&path, Access::ReadOnly).and_then(|store| store.users(None, 9));
        allow(0o600, 0o700);
        assert_eq!(read.unwrap().len(), 1, "{file:o} {directory:o}");
        if !is_root {
            assert!(reason(write).contains("permission"));
        }
    }
}

#[test]
fn a_check_reads_everything() {
    for (damage, said) in [
        ("UPDATE memories SET buffer = '[1]'", "memories, user ada: "),
        ("UPDATE users SET name = char(7)", "users: user id"),
        ("UPDATE interactions SET id = '' WHERE seq = 1", "interactions, user ada: interaction id"),
        (
            "UPDATE interactions SET meta = '{'",
            "interactions, user ada: not JSON at column 1: it ends",
        ),
        ("UPDATE interactions SET seconds = 9223372036854775807", "interactions, user ada: "),
        ("UPDATE answers SET record = 'x'", "answers, user ada: not JSON at column 1: a value"),
        (
            "UPDATE settings SET config = '{\"nonsense\": 1}'",
            "settings: `nonsense`: there is no `nonsense`",
        ),
        (
            "UPDATE memories SET buffer = '[]'",
            "memories, user ada: generation 1: its buffer is said to hold 2",
        ),
        ("UPDATE memories SET calibration = '[null]'", "memories, user ada: "),
        (
            "UPDATE memories SET adapter = x'00'",
            "memories, user ada: the adapter of generation 1: ",
        ),
        (
            "UPDATE settings SET fingerprint = 'beef'",
            "memories, user ada: generation 1: the adapter is of another",
        ),
        (
            "DELETE FROM interactions WHERE seq = 2",
            "memories, user ada: generation 1: text 2 cannot be in",
        ),
        (
            "UPDATE members SET held_out = 1",
            "memories, user ada: generation 1: text 2 cannot be in",
        ),
        ("UPDATE generations SET record = '{}'", "generations, user ada: `"),
        ("UPDATE answers SET record = '7'", "answers, user ada: the number 7"),
        ("UPDATE users SET pending = 1", "users, user ada: 1 pending"),
        (
            "UPDATE users SET generation = 2",
            "users, user ada: generation 2 is in use but not there",
        ),
    ] {
        let store = in_memory();
        with_periods(&store, &["ada"], 2);
        put(&store, "ada", &commit(1, 0)).unwrap();
        keep(&store, "ada", &answer("x")).unwrap();
        check(&store).unwrap();
        assert!(execute(&store, damage) > 0, "{damage}");
        assert!(reason(check(&store)).starts_with("damaged in table"), "{damage}");
        // A state that somebody wrote so, checksums and all.
        sum_again(&store);
        let reason = reason(check(&store));
        assert!(reason.starts_with(&format!("damaged in table {said}")), "{damage}: {reason}");
    }
}

#[test]
fn who_is_forgotten_during_a_check_is_no_damage() {
    let (_folder, store) = on_file();
    with_periods(&store, &["ada", "bob"], 2);
    let other = open(&path(&store)).unwrap();
    let mut forgotten = 0;
    let mut forget = |_| {
        forgotten += u32::from(other.forget(&user("bob")).is_ok());
        std::ops::ControlFlow::Continue(())
    };
    store.check(&mut forget).unwrap();
    assert_eq!(forgotten, 1);
}

/// The disk has no room for one more page.
#[test]
fn a_full_disk_changes_nothing() {
    let (_folder, store) = on_file();
    with_periods(&store, &["ada"], 3);
    put(&store, "ada", &commit(1, 0)).unwrap();
    let before = dump(&store);
    // Not above the pages that there are.
    let limit = |store: &SqliteStore, pages: u32| {
        with(store, |connection| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        });
    };
    limit(&store, 1);
    let full = "the disk is full; nothing was changed";
    assert!(reason(store.ingest(history("bob", 500))).starts_with(full));
    assert!(dump(&store) == before);
    assert!(reason(put(&store, "ada", &commit(2, 1))).starts_with(full));
    assert!(dump(&store) == before);
    limit(&store, u32::MAX >> 1);
    assert_eq!(put(&store, "ada", &commit(2, 1)).unwrap(), 2);
    assert_eq!(store.ingest(history("bob", 500)).unwrap().added, 500);
}

/// The disk has room for this many more pages: every change leaves the state before it
/// or after it, and what is there can be read.
#[test]
fn a_disk_that_is_full_at_any_page_leaves_the_state_before_or_after() {
    use crate::contract::faults::{at_rest, operations, prepare};
    let place = tempfile::tempdir().unwrap();
    let fresh = || {
        let (folder, store) = on_file();
        prepare(&store);
        (folder, store)
    };
    let pages = |store: &SqliteStore, name: &str, pages: u32| -> u32 {
        with(store, |connection| {
            connection.pragma_update_and_check(None, name, pages, |row| row.get(0))
        })
    };
    for (name, operation) in operations(place.path()) {
        let (_folder, store) = fresh();
        let before = at_rest(&store);
        operation(&store).unwrap();
        let after = at_rest(&store);
        let (mut _folder, mut store) = fresh();
        for room in 0.. {
            let taken = with(&store, |connection| {
                connection.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0))
            });
            pages(&store, "max_page_count", taken + room);
            let done = operation(&store);
            // Reading goes on.
            assert_eq!(store.history(&user("bob")).unwrap().entries.len(), 4);
            pages(&store, "max_page_count", u32::MAX >> 1);
            let found = at_rest(&store);
            let is_after = found == after;
            assert!(is_after || found == before, "{name}, {room} pages");
            check(&store).unwrap();
            match done {
                Ok(()) => {
                    assert!(is_after, "{name}, {room} pages: it is told that all went well");
                    break;
                }
                Err(error) => assert!(error.to_string().contains("the disk is full"), "{error}"),
            }
            if is_after {
                (_folder, store) = fresh();
            }
        }
    }
}

use super::*;
use std::ops::ControlFlow;

use crate::sqlite::schema::SCHEMA_VERSION;

/// A file as the first version made it: Ada has two texts in a period and one pending.
fn version_1(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(include_str!("schema_1.sql")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.pragma_update(None, "application_id", 0x5350_5247).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    let config = serde_json::to_string(&Config::default()).unwrap();
    let config = config.replace(",\"state\":{\"keep_generations\":8}", "");
    assert!(!config.contains("keep_generations"));
    connection
        .execute("INSERT INTO settings VALUES (1, 'models/base', 'f00d', ?1)", [config])
        .unwrap();
    connection
        .execute_batch(
            "INSERT INTO users (key, name, next_seq) VALUES (7, 'ada', 4);
             INSERT INTO periods VALUES (7, 1);
             INSERT INTO interactions (user, seq, id, seconds, nanoseconds, prompt, response)
             SELECT 7, value, value, value, 0, 'prompt ' || value, 'response of ada to ' || value
             FROM json_each('[1, 2, 3]');
             INSERT INTO members VALUES (7, 1, 1, 0), (7, 2, 1, 0);",
        )
        .unwrap();
}

/// A file as a later version before checksums made it, with all that a user can have.
fn version_4(path: &Path) -> SqliteStore {
    let now = SqliteStore::create(path.with_extension("now"), &settings()).unwrap();
    with_periods(&now, &["ada", "bob"], 3);
    put(&now, "ada", &commit(1, 0)).unwrap();
    put(&now, "ada", &commit(2, 1)).unwrap();
    let mut odd = interaction("ada", "odd", "1969-12-31T23:59:59.5Z");
    odd.meta = Some(serde_json::json!({"a": 1}));
    now.ingest([odd]).unwrap();
    keep(&now, "ada", &answer("x")).unwrap();
    let version = now.version(&user("ada")).unwrap();
    now.set_embeddings(&version, &crate::EmbeddingMap::from([(1, vec![0.5])])).unwrap();
    let old = Connection::open(path).unwrap();
    old.execute_batch(include_str!("schema_4.sql")).unwrap();
    old.execute("ATTACH ?1 AS now", [super::path(&now).to_str().unwrap()]).unwrap();
    for table in [
        "settings",
        "users",
        "leases",
        "interactions",
        "periods",
        "members",
        "generations",
        "memories",
        "answers",
        "embeddings",
        "graphs",
    ] {
        let query = format!("SELECT group_concat(name) FROM pragma_table_info('{table}', 'main')");
        let columns: String = old.query_row(&query, (), |row| row.get(0)).unwrap();
        let copy =
            format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}");
        old.execute(&copy, ()).unwrap();
    }
    old.pragma_update(None, "user_version", 4).unwrap();
    old.pragma_update(None, "application_id", 0x5350_5247).unwrap();
    old.pragma_update(None, "journal_mode", "WAL").unwrap();
    now
}

#[test]
fn checksums_come_with_the_version_that_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let now = version_4(&path);
    let store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    assert_eq!(dump(&store), dump(&now));
    // But for the mark that asks for the file to be rewritten.
    assert_eq!(tables(&store), tables(&now));
    for name in ["ada", "bob"] {
        assert_eq!(store.digest(&user(name)).unwrap(), now.digest(&user(name)).unwrap());
    }
    check(&store).unwrap();
    assert_eq!(put(&store, "ada", &commit(3, 2)).unwrap(), 3);
}

#[test]
fn every_older_version_is_brought_up_to_date() {
    let steps = [
        include_str!("../migrate_1_to_2.sql"),
        include_str!("../migrate_2_to_3.sql"),
        include_str!("../migrate_3_to_4.sql"),
    ];
    let mut dumps = Vec::new();
    for version in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        version_1(&path);
        let old = Connection::open(&path).unwrap();
        for step in &steps[..version - 1] {
            old.execute_batch(step).unwrap();
        }
        old.pragma_update(None, "user_version", version as i64).unwrap();
        drop(old);
        let store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
        store.check(&mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(columns(&store), columns(&in_memory()));
        dumps.push(dump(&store));
    }
    assert!(dumps.iter().all(|dump| *dump == dumps[0]));
}

#[test]
fn tables_that_came_later_are_added() {
    let (_folder, store) = on_file();
    with_periods(&store, &["ada"], 2);
    let mut commit = commit(1, 0);
    commit.record.unjudged = true;
    put(&store, "ada", &commit).unwrap();
    let (path, digest) = (path(&store), store.digest(&user("ada")).unwrap());
    let before = tables(&store);
    let without = "DROP TABLE priors; DROP TABLE contributions";
    let of_7 = "; DROP INDEX generations_unjudged; DROP TABLE replicas";
    let of_6 = "; DROP TABLE keys; DROP TABLE consents";
    let older = [
        (Access::ReadOnly, 5, [of_7, of_6].concat()),
        (Access::ReadWrite, 6, of_7.to_owned()),
        (Access::ReadWrite, 7, String::new()),
    ];
    drop(store);
    for (access, version, more) in older {
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&format!("{without}{more}; PRAGMA user_version = {version}")).unwrap();
        drop(old);
        let store = SqliteStore::open(&path, access).unwrap();
        check(&store).unwrap();
        assert_eq!(tables(&store), before);
        assert_eq!(store.digest(&user("ada")).unwrap(), digest);
        assert_eq!(store.users_with_something_unjudged(None, 9).unwrap(), [user("ada")]);
    }
    let store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    store.add_key(&[1; 32], &key_of("ada"), at(1)).unwrap();
    assert!(store.has_keys().unwrap());
}

#[test]
fn an_older_file_with_a_trigger_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    version_1(&path);
    let old = Connection::open(&path).unwrap();
    let trigger = "CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM users; END";
    old.execute_batch(trigger).unwrap();
    drop(old);
    let before = std::fs::read(&path).unwrap();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let reason = reason(SqliteStore::open(&path, access));
        assert!(reason.starts_with("the trigger \"t\" is not"), "{reason}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Name, type and default of every column of every table.
fn columns(store: &SqliteStore) -> Vec<(String, String, String, Option<String>)> {
    let query = "SELECT t.name, c.name, c.type || c.\"notnull\" || c.pk, c.dflt_value
                 FROM sqlite_schema t, pragma_table_info(t.name) c
                 WHERE t.type = 'table' ORDER BY t.name, c.cid";
    with(store, |connection| {
        let mut columns = connection.prepare(query)?;
        let columns = columns
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        columns.collect()
    })
}

#[test]
fn an_older_file_is_brought_up_to_date() {
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        version_1(&path);
        let store = SqliteStore::open(&path, access).unwrap();
        assert_eq!(store.settings(), &settings());
        let version: i64 = with(&store, |connection| {
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        });
        assert_eq!(version, SCHEMA_VERSION);
        let summary = store.user(&user("ada")).unwrap();
        assert_eq!((summary.interactions, summary.pending, summary.periods), (3, 1, 1));
        assert_eq!(columns(&store), columns(&in_memory()));
        drop(store);
        let store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
        assert_eq!(put(&store, "ada", &commit(1, 0)).unwrap(), 1);
    }
}

#[cfg(unix)]
#[test]
fn an_older_file_that_may_not_be_written_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    version_1(&path);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("skipped: for this user nothing is protected");
        return;
    }
    let reason = reason(SqliteStore::open(&path, Access::ReadOnly));
    assert!(reason.starts_with("of the older format 1, and not brought up to date: "), "{reason}");
}

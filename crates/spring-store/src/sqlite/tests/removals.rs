use std::fs;

use spring_memory::InteractionId;

use super::*;
use crate::{Forgetting, Forgotten, store::Checked};

/// What only Ada wrote.
const CANARY: &str = "heliotrope-canary-7141";

/// Texts with the canary and an id, a prompt, a record and an answer that have it too.
fn with_canary(store: &SqliteStore) {
    let mut texts = history("ada", 40);
    for text in &mut texts {
        text.response = format!("{CANARY} {} {}", text.response, "filler ".repeat(60));
        text.prompt = format!("{} {CANARY}", text.prompt);
        text.id = InteractionId::new(format!("{CANARY}-{}", text.id)).unwrap();
        text.meta = Some(serde_json::json!({ "note": CANARY }));
    }
    texts.push(interaction("ada", CANARY, "2026-01-01T00:00:00Z"));
    store.ingest(texts).unwrap();
    store.ingest(history("bob", 40)).unwrap();
    store.cut_periods(&user("ada"), 2, 0.0).unwrap();
    let mut learned = commit(1, 0);
    learned.record.scores[0].id = InteractionId::new(CANARY).unwrap();
    put(store, "ada", &learned).unwrap();
    keep(store, "ada", &answer(CANARY)).unwrap();
}

/// How often the canary lies in the file and those beside it.
fn traces(folder: &TempDir) -> usize {
    let find = |bytes: Vec<u8>| {
        bytes.windows(CANARY.len()).filter(|part| *part == CANARY.as_bytes()).count()
    };
    fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| find(fs::read(entry.unwrap().path()).unwrap()))
        .sum()
}

#[test]
fn a_forgotten_user_is_nowhere_in_the_files() {
    let (folder, store) = on_file();
    with_canary(&store);
    assert!(traces(&folder) > 0);
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let bob = store.pending(&user("bob")).unwrap();
    let forgotten = store.forget(&user("ada")).unwrap();
    let expected = Forgotten {
        interactions: 41,
        generations_removed: 1,
        answers: 1,
        scrubbed: true,
        ..Forgotten::default()
    };
    assert_eq!(forgotten, expected);
    // With the store still open: file, -wal and -shm.
    assert_eq!(traces(&folder), 0);
    assert_eq!(store.pending(&user("bob")).unwrap(), bob);
    assert!(matches!(store.forget(&user("ada")), Err(Error::UnknownUser { .. })));
    drop(store);
    assert_eq!(traces(&folder), 0);
}

#[test]
fn a_removal_that_a_reader_holds_up_is_finished_later() {
    let (folder, store) = on_file();
    with_canary(&store);
    let path = path(&store);
    let reader = SqliteStore::open(&path, Access::ReadOnly).unwrap();
    with(&reader, |connection| connection.execute_batch("BEGIN; SELECT count(*) FROM users"));
    assert!(!store.forget(&user("ada")).unwrap().scrubbed);
    assert!(traces(&folder) > 0, "the reader still sees it");
    drop((reader, store));
    drop(SqliteStore::open(&path, Access::ReadWrite).unwrap());
    assert_eq!(traces(&folder), 0);
}

#[test]
fn a_removal_while_the_file_is_rewritten_for_another_is_not_taken_for_done() {
    let (_folder, store) = on_file();
    with_canary(&store);
    let other = again(&store, Access::ReadWrite);
    let remove = |store: &SqliteStore, name| -> i64 {
        let removed = store.backend().write(Durability::Power, &mut |rows| {
            let key = rows.user(&user(name))?.unwrap().key;
            rows.delete_user(key)?;
            let settings = rows.settings()?;
            let removals = settings.removals + 1;
            Checked(rows).put_settings(&SettingsRow { removals, ..settings })?;
            Ok(())
        });
        removed.unwrap();
        with(store, |connection| {
            connection.query_row("SELECT removals FROM settings", (), |row| row.get(0))
        })
    };
    let is_due = || -> bool {
        with(&other, |connection| {
            connection.query_row("SELECT scrub FROM settings", (), |row| row.get(0))
        })
    };
    let first = remove(&store, "bob");
    remove(&other, "ada");
    assert!(store.backend().with(|connection| file::rewrite(connection, first)).unwrap());
    assert!(is_due());
    assert_eq!(other.backend().finish_removals(), None);
    assert!(!is_due());
}

#[test]
fn a_forgotten_interaction_is_nowhere_in_the_files() {
    let (folder, store) = on_file();
    let ada = user("ada");
    let mut texts = history("ada", 4);
    texts[1].response = CANARY.into();
    store.ingest(texts).unwrap();
    let quotes = crate::record::AnswerRecord { generation: 0, ..answer(CANARY) };
    keep(&store, "ada", &quotes).unwrap();
    let version = store.version(&ada).unwrap();
    let lease = store.lease(&ada).unwrap();
    assert!(traces(&folder) > 1);
    let forgetting = Forgetting { seq: 2, relearned: vec![] };
    let forgotten = store.forget_interaction(&lease, &forgetting).unwrap();
    assert!(forgotten.scrubbed && forgotten.answers == 1);
    assert_eq!(traces(&folder), 0);
    assert!(matches!(keep_at(&store, &version), Err(Error::Outdated { .. })));
    assert_eq!(traces(&folder), 0);
}

fn keep_at(store: &SqliteStore, version: &crate::UserVersion) -> Result<()> {
    store.record_answer(version, &answer(CANARY))
}

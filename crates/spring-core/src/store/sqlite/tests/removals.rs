use std::fs;

use super::*;
use crate::store::{Forgetting, Forgotten, Relearned};

/// What only Ada wrote.
const CANARY: &str = "heliotrope-canary-7141";

/// Texts with the canary and an id, a prompt, a record and an answer that have it too.
fn with_canary(store: &mut SqliteStore) {
    let mut texts = history("ada", 40);
    for text in &mut texts {
        text.response = format!("{CANARY} {} {}", text.response, "filler ".repeat(60));
        text.meta = Some(serde_json::json!({ "note": CANARY }));
    }
    texts.push(interaction("ada", CANARY, "2026-01-01T00:00:00Z"));
    ingest(store, texts).unwrap();
    ingest(store, history("bob", 40)).unwrap();
    store.cut_periods(&user("ada"), 2, 0.0).unwrap();
    let mut learned = commit("ada", 1, 0);
    learned.record.scores[0].id = InteractionId::new(CANARY).unwrap();
    put(store, &learned).unwrap();
    store.record_answer(&user("ada"), &answer(CANARY)).unwrap();
}

/// How often the canary lies in the file and those beside it.
fn traces(folder: &TempDir) -> usize {
    let find = |bytes: Vec<u8>| bytes.windows(CANARY.len()).filter(|part| *part == CANARY.as_bytes()).count();
    fs::read_dir(folder.path()).unwrap().map(|entry| find(fs::read(entry.unwrap().path()).unwrap())).sum()
}

#[test]
fn a_forgotten_user_is_nowhere_in_the_files() {
    let (folder, mut store) = on_file();
    with_canary(&mut store);
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
    let (folder, mut store) = on_file();
    with_canary(&mut store);
    let path = store.path().to_owned();
    let reader = SqliteStore::open(&path, Access::ReadOnly).unwrap();
    reader.connection.execute_batch("BEGIN; SELECT count(*) FROM users").unwrap();
    assert!(!store.forget(&user("ada")).unwrap().scrubbed);
    assert!(traces(&folder) > 0, "the reader still sees it");
    drop((reader, store));
    drop(SqliteStore::open(&path, Access::ReadWrite).unwrap());
    assert_eq!(traces(&folder), 0);
}

#[test]
fn one_interaction_goes_with_what_was_made_of_it() {
    let (folder, mut store) = on_file();
    let ada = user("ada");
    let mut texts = history("ada", 4);
    texts[1].response = CANARY.into();
    ingest(&mut store, texts).unwrap();
    store.cut_periods(&ada, 2, 0.0).unwrap();
    put(&mut store, &commit("ada", 1, 0)).unwrap();
    put(&mut store, &commit("ada", 2, 1)).unwrap();
    // Of generation 2, of generation 0, one that found the text, one that quotes it.
    let plain = AnswerRecord { generation: 0, retrieved: vec![], ..answer("plain") };
    let found = AnswerRecord {
        retrieved: vec![RetrievedText { seq: 2, ..answer("").retrieved[0].clone() }],
        ..plain.clone()
    };
    let quotes = AnswerRecord { prompt: format!("Why {CANARY}?"), ..plain.clone() };
    for answer in [&answer("derived"), &plain, &found, &quotes] {
        store.record_answer(&ada, answer).unwrap();
    }
    let again = |number, period, parent| {
        let PeriodCommit { adapter, buffer, calibration, record, .. } = commit("ada", period, parent);
        let memories = Some((adapter, buffer[1..].to_vec(), calibration));
        Relearned { number, memories, base: vec![(1, HARD[4])], record }
    };
    let relearned = vec![again(1, 1, 0), Relearned { memories: None, ..again(2, 2, 1) }];
    let lease = store.lease(&ada).unwrap();
    let forgetting = Forgetting { user: ada.clone(), seq: 2, relearned };
    let forgotten = store.forget_interaction(&lease, &forgetting).unwrap();
    assert_eq!((forgotten.generations_relearned, forgotten.answers), (2, 3));
    assert!(forgotten.scrubbed);
    assert_eq!(store.answers(&ada, 9).unwrap(), [plain]);
    assert_eq!(store.find(&ada, &InteractionId::new("2").unwrap()).unwrap(), None);
    assert_eq!(store.members(&ada, 1).unwrap().len(), 1);
    assert_eq!(store.generation(&ada, Some(1)).unwrap().unwrap().buffer.len(), 1);
    assert!(matches!(store.generation(&ada, Some(2)), Err(Error::Pruned { number: 2, .. })));
    assert_eq!(store.interactions(&ada, &[1]).unwrap()[0].base, Some(HARD[4]));
    assert_eq!(traces(&folder), 0);
    // The id can come back; the number does not.
    ingest(&mut store, vec![interaction("ada", "2", "2026-01-01T00:00:00Z")]).unwrap();
    assert_eq!(store.find(&ada, &InteractionId::new("2").unwrap()).unwrap(), Some(5));
}

#[test]
fn what_nobody_learned_only_leaves_the_counts() {
    let mut store = in_memory();
    let ada = user("ada");
    ingest(&mut store, history("ada", 4)).unwrap();
    store.cut_periods(&ada, 1, 0.5).unwrap();
    ingest(&mut store, history("ada", 6)).unwrap();
    put(&mut store, &PeriodCommit { base: vec![], ..commit("ada", 1, 0) }).unwrap();
    let lease = store.lease(&ada).unwrap();
    let mut forget =
        |seq| store.forget_interaction(&lease, &Forgetting { user: ada.clone(), seq, relearned: vec![] });
    forget(4).unwrap();
    forget(6).unwrap();
    assert!(reason(forget(6)).contains("no interaction number 6"));
    let summary = store.user(&ada).unwrap();
    assert_eq!((summary.interactions, summary.pending), (4, 1));
    let expected = PeriodRecord { held_out: 0, ..record(1, 0) };
    assert_eq!(store.record(&ada, 1).unwrap().record, expected);
}

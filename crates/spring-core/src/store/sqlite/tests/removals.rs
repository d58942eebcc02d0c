use std::fs;

use super::*;
use crate::store::{
    Forgetting, Forgotten, Relearned,
    sqlite::{file, removal, user::User},
};

/// What only Ada wrote.
const CANARY: &str = "heliotrope-canary-7141";

/// Texts with the canary and an id, a prompt, a record and an answer that have it too.
fn with_canary(store: &mut SqliteStore) {
    let mut texts = history("ada", 40);
    for text in &mut texts {
        text.response = format!("{CANARY} {} {}", text.response, "filler ".repeat(60));
        text.prompt = format!("{} {CANARY}", text.prompt);
        text.id = InteractionId::new(format!("{CANARY}-{}", text.id)).unwrap();
        text.meta = Some(serde_json::json!({ "note": CANARY }));
    }
    texts.push(interaction("ada", CANARY, "2026-01-01T00:00:00Z"));
    ingest(store, texts).unwrap();
    ingest(store, history("bob", 40)).unwrap();
    store.cut_periods(&user("ada"), 2, 0.0).unwrap();
    let mut learned = commit("ada", 1, 0);
    learned.record.scores[0].id = InteractionId::new(CANARY).unwrap();
    put(store, &learned).unwrap();
    store.record_answer(&user("ada"), 0, &answer(CANARY)).unwrap();
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
fn a_removal_while_the_file_is_rewritten_for_another_is_not_taken_for_done() {
    let (_folder, mut store) = on_file();
    with_canary(&mut store);
    let other = SqliteStore::open(store.path(), Access::ReadWrite).unwrap();
    let remove = |store: &SqliteStore, name| {
        store.write(|connection| removal::forget(&User::get(connection, &user(name))?)).unwrap();
        store.connection.query_row("SELECT removals FROM settings", (), |row| row.get(0)).unwrap()
    };
    let is_due = || -> bool {
        other.connection.query_row("SELECT scrub FROM settings", (), |row| row.get(0)).unwrap()
    };
    let first = remove(&store, "bob");
    remove(&other, "ada");
    assert!(file::rewrite(&store.connection, first).unwrap());
    assert!(is_due());
    assert_eq!(other.scrub(), None);
    assert!(!is_due());
}

#[test]
fn one_interaction_goes_with_what_was_made_of_it() {
    let (folder, mut store) = on_file();
    let ada = user("ada");
    let mut texts = history("ada", 4);
    texts[1] = Interaction {
        id: InteractionId::new(CANARY).unwrap(),
        prompt: format!("And {CANARY}?"),
        response: CANARY.into(),
        meta: Some(serde_json::json!({ CANARY: CANARY })),
        ..texts[1].clone()
    };
    ingest(&mut store, texts).unwrap();
    store.cut_periods(&ada, 2, 0.0).unwrap();
    let with_id = |period, parent| {
        let mut commit = commit("ada", period, parent);
        commit.record.scores[1].id = InteractionId::new(CANARY).unwrap();
        commit
    };
    put(&mut store, &with_id(1, 0)).unwrap();
    put(&mut store, &with_id(2, 1)).unwrap();
    assert!(traces(&folder) > 5);
    // Of generation 2, of generation 0, one that found the text, one that quotes its response, two that quote its prompt.
    let plain = AnswerRecord { generation: 0, retrieved: vec![], ..answer("plain") };
    let found = AnswerRecord {
        retrieved: vec![RetrievedText { seq: 2, ..answer("").retrieved[0].clone() }],
        ..plain.clone()
    };
    let quotes = AnswerRecord { prompt: format!("Why {CANARY}?"), ..plain.clone() };
    let asks = AnswerRecord { prompt: format!("And {CANARY}?"), ..plain.clone() };
    let repeats = AnswerRecord { text: format!("You said: And {CANARY}?"), ..plain.clone() };
    for answer in [&answer("derived"), &plain, &found, &quotes, &asks, &repeats] {
        store.record_answer(&ada, 0, answer).unwrap();
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
    assert_eq!((forgotten.generations_relearned, forgotten.answers), (2, 5));
    assert!(forgotten.scrubbed);
    assert_eq!(store.answers(&ada, 9).unwrap(), [plain]);
    assert_eq!(store.find(&ada, &InteractionId::new(CANARY).unwrap()).unwrap(), None);
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

#[test]
fn a_label_or_a_template_is_no_quotation() {
    let mut store = in_memory();
    let ada = user("ada");
    let mut texts = history("ada", 6);
    for (text, response) in texts.iter_mut().zip(["5", "a comedy", "a tragedy", "a comedy", "4", "4"]) {
        text.prompt = if response.len() == 1 { "Rate it, please." } else { "What is it?" }.into();
        text.response = response.into();
    }
    texts[2].prompt = "What is it really?".into();
    ingest(&mut store, texts).unwrap();
    let said = |prompt: &str, text: &str| AnswerRecord {
        generation: 0,
        prompt: prompt.into(),
        text: text.into(),
        retrieved: vec![],
        ..answer("")
    };
    let answers = [
        said("Rate it, please.", "4"),
        said("What is it?", "a comedy, 5 acts"),
        said("What is it?", "a tragedy, 5 acts"),
        said("What is it really?", "no"),
        said("Rate it, please.", "5"),
    ];
    for answer in &answers {
        store.record_answer(&ada, 0, answer).unwrap();
    }
    let lease = store.lease(&ada).unwrap();
    let mut forget = |seq| {
        let forgetting = Forgetting { user: ada.clone(), seq, relearned: vec![] };
        store.forget_interaction(&lease, &forgetting).unwrap().answers
    };
    // "5"; what another text says too; a prompt and a response of its own.
    assert_eq!([forget(1), forget(2), forget(3)], [1, 0, 2]);
    assert_eq!(store.answers(&ada, 9).unwrap(), [answers[1].clone(), answers[0].clone()]);
}

#[test]
fn what_was_made_before_a_removal_is_not_kept_after_it() {
    let mut store = in_memory();
    let (ada, bob) = (user("ada"), user("bob"));
    for name in ["ada", "bob"] {
        ingest(&mut store, history(name, 3)).unwrap();
    }
    let mut then = store.removals(&ada).unwrap();
    let of_bob = store.removals(&bob).unwrap();
    let refused = |store: &mut SqliteStore, then| {
        let before = dump(store);
        let embedding = crate::EmbeddingMap::from([(1, vec![1.0])]);
        for refused in
            [store.record_answer(&ada, then, &answer(CANARY)), store.set_embeddings(&ada, then, &embedding)]
        {
            assert!(matches!(refused, Err(Error::Outdated { user }) if user == ada));
        }
        assert_eq!(dump(store), before);
    };
    let lease = store.lease(&ada).unwrap();
    store.forget_interaction(&lease, &Forgetting { user: ada.clone(), seq: 2, relearned: vec![] }).unwrap();
    store.release(&lease).unwrap();
    refused(&mut store, then);
    then = store.removals(&ada).unwrap();
    store.record_answer(&ada, then, &answer("kept")).unwrap();
    // Ada goes, and comes again with other texts of the same numbers.
    store.forget(&ada).unwrap();
    assert!(matches!(store.record_answer(&ada, then, &answer(CANARY)), Err(Error::UnknownUser { .. })));
    ingest(&mut store, history("ada", 3)).unwrap();
    refused(&mut store, then);
    store.record_answer(&bob, of_bob, &answer("kept")).unwrap();
}

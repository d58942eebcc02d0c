use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

use proptest::prelude::*;
use serde_json::json;
use spring_memory::JsonlReader;

use super::*;
use crate::store::{StoredInteraction, UserSummary, sqlite::user::User};

#[test]
fn every_field_comes_back() {
    let mut odd = interaction("Ærø 用户", "../'; DROP TABLE users; --", "-009999-01-02T01:59:59Z");
    odd.prompt = "zero \0 byte, e\u{301}, 🦀\r\n".into();
    odd.response = "\u{feff}x".into();
    odd.meta = Some(json!({"b": [1, 1.0, -0.1, u64::MAX, null], "a": {"ü": "\0"}}));
    let mut null = interaction("Ærø 用户", "2", "9999-12-30T22:00:00.999999999Z");
    null.meta = Some(json!(null));
    null.prompt.clear();
    let before_1970 = interaction("Ærø 用户", "3", "1969-12-31T23:59:59.000000001Z");
    let all = vec![odd, before_1970, null];

    let (folder, mut store) = on_file();
    let report = ingest(&mut store, all.clone()).unwrap();
    assert_eq!(report, IngestReport { added: 3, skipped: 0, new_users: 1 });
    drop(store);
    let store = SqliteStore::open(folder.path().join("state.db"), Access::ReadOnly).unwrap();
    let stored: Vec<_> =
        (1..).zip(all).map(|(seq, interaction)| StoredInteraction { seq, interaction, base: None }).collect();
    assert_eq!(store.pending(&user("Ærø 用户")).unwrap(), stored);
    assert_eq!(
        store.interactions(&user("Ærø 用户"), &[2, 1, 2]).unwrap(),
        [1, 0, 1].map(|i| stored[i].clone())
    );
}

#[test]
fn equal_times_keep_the_order_of_arrival() {
    let mut store = in_memory();
    let texts = [("b", 1), ("a", 1), ("c", 0), ("d", 1)];
    let texts = texts.map(|(id, s)| interaction("ada", id, &format!("2026-01-01T00:00:0{s}Z")));
    ingest(&mut store, texts.into()).unwrap();
    let pending = store.pending(&user("ada")).unwrap();
    let order: Vec<_> = pending.iter().map(|s| (s.seq, s.interaction.id.as_str())).collect();
    assert_eq!(order, [(3, "c"), (1, "b"), (2, "a"), (4, "d")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn order_is_time_then_sequence(
        times in prop::collection::vec(
            prop_oneof![
                -3_000_000_000_i128..3_000_000_000,
                -2_i128..3,
                Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond(),
            ],
            1..30,
        ),
    ) {
        let mut store = in_memory();
        let texts = history("ada", times.len()).into_iter().zip(&times).map(|(mut text, &time)| {
            text.time = Timestamp::from_nanosecond(time).unwrap();
            text
        });
        ingest(&mut store, texts.collect()).unwrap();
        let found = store.pending(&user("ada")).unwrap();
        let found: Vec<_> = found.iter().map(|s| (s.interaction.time.as_nanosecond(), s.seq)).collect();
        let mut sorted: Vec<_> = times.into_iter().zip(1..).collect();
        sorted.sort();
        prop_assert_eq!(&found, &sorted);
        let summary = store.user(&user("ada")).unwrap();
        let ends = [summary.first, summary.last].map(|time| time.unwrap().as_nanosecond());
        prop_assert_eq!(ends, [sorted[0].0, sorted[sorted.len() - 1].0]);
    }
}

#[test]
fn equal_texts_are_skipped() {
    let mut store = in_memory();
    let mut text = interaction("ada", "1", "2026-01-01T12:00:00+02:00");
    text.meta = Some(json!({"a": 1, "b": 2}));
    let mut same = text.clone();
    same.time = "2026-01-01T10:00:00Z".parse().unwrap();
    same.meta = Some(json!({"b": 2, "a": 1}));
    let report = ingest(&mut store, vec![text, same.clone()]).unwrap();
    assert_eq!(report, IngestReport { added: 1, skipped: 1, new_users: 1 });
    let before = dump(&store);
    let report = ingest(&mut store, vec![same]).unwrap();
    assert_eq!(report, IngestReport { added: 0, skipped: 1, new_users: 0 });
    assert_eq!(dump(&store), before);
}

#[test]
fn another_text_of_the_same_id_undoes_the_file() {
    let mut store = in_memory();
    ingest(&mut store, history("ada", 2)).unwrap();
    let before = dump(&store);
    let text = interaction("ada", "2", "1970-01-01T00:00:02Z");
    let variants = [
        Interaction { time: "1970-01-01T00:00:02.000000001Z".parse().unwrap(), ..text.clone() },
        Interaction { prompt: "prompt 2 ".into(), ..text.clone() },
        Interaction { response: "Response".into(), ..text.clone() },
        Interaction { meta: Some(json!({})), ..text.clone() },
    ];
    for other in variants {
        let file = vec![interaction("new", "2", "2026-01-01T00:00:00Z"), text.clone(), other];
        let error = ingest(&mut store, file).unwrap_err();
        assert!(matches!(error, Error::DuplicateId { line: 3, .. }), "{error:?}");
        let said = "texts.jsonl:3: user ada already has an interaction 2 with other content";
        assert!(error.to_string().starts_with(said), "{error}");
        assert_eq!(dump(&store), before);
    }
    // Within one file too.
    let twice = vec![text.clone(), Interaction { id: InteractionId::new("3").unwrap(), ..text.clone() }];
    let again = Interaction { id: InteractionId::new("3").unwrap(), prompt: "p".into(), ..text };
    let error = ingest(&mut store, [twice, vec![again]].concat()).unwrap_err();
    assert!(error.to_string().starts_with("texts.jsonl:3: user ada"), "{error}");
    assert_eq!(dump(&store), before);
}

#[test]
fn a_bad_line_undoes_the_file() {
    let (_folder, mut store) = on_file();
    ingest(&mut store, history("ada", 1)).unwrap();
    let before = dump(&store);
    let line = |id| serde_json::to_string(&interaction("bob", id, "2026-01-01T00:00:00Z")).unwrap();
    let text = format!("{}\n\n{}\n{{\"user\":\n{}\n", line("1"), line("2"), line("3"));
    let error = store.ingest("x.jsonl", &mut JsonlReader::new(text.as_bytes(), "x.jsonl")).unwrap_err();
    assert!(matches!(error, Error::Jsonl(_)), "{error:?}");
    assert!(error.to_string().starts_with("x.jsonl:4: "), "{error}");
    assert_eq!(dump(&store), before);
    // The store goes on.
    let text = text.replace("{\"user\":\n", "");
    let report = store.ingest("x.jsonl", &mut JsonlReader::new(text.as_bytes(), "x.jsonl")).unwrap();
    assert_eq!(report, IngestReport { added: 3, skipped: 0, new_users: 1 });
}

#[test]
fn meta_that_would_not_read_back_is_refused() {
    let mut store = in_memory();
    let mut deep = interaction("ada", "1", "2026-01-01T00:00:00Z");
    deep.meta = Some((0..1000).fold(json!(1), |inner, _| json!([inner])));
    let before = dump(&store);
    let reason = reason(ingest(&mut store, vec![deep]));
    assert!(reason.starts_with("nothing was changed: `meta` of interaction 1 of user ada"), "{reason}");
    assert_eq!(dump(&store), before);
}

#[test]
fn a_panic_undoes_the_file() {
    let (folder, mut store) = on_file();
    ingest(&mut store, history("ada", 3)).unwrap();
    let before = dump(&store);
    let texts = history("ada", 9).into_iter();
    let texts = texts.inspect(|text| assert_ne!(text.id.as_str(), "7", "as planned"));
    let mut lines = (1..).zip(texts).map(Ok);
    let caught = catch_unwind(AssertUnwindSafe(|| store.ingest("texts.jsonl", &mut lines)));
    assert!(caught.is_err());
    assert_eq!(dump(&store), before);
    drop(store);
    let store = SqliteStore::open(folder.path().join("state.db"), Access::ReadWrite).unwrap();
    assert_eq!(dump(&store), before);
}

/// What lies on the disk in the middle of a transaction is what a killed process leaves.
#[test]
fn a_crash_leaves_the_state_before() {
    let (folder, mut store) = on_file();
    ingest(&mut store, history("ada", 3)).unwrap();
    let before = dump(&store);
    // A small cache, so that pages are written out before the end.
    store.connection.pragma_update(None, "cache_size", 5).unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let log = folder.path().join("state.db-wal");
    let size = fs::metadata(&log).unwrap().len();
    let bob = user("bob");
    let wrote = store.write(|connection| {
        let user = User::add(connection, &bob)?;
        for text in history("bob", 300) {
            user.insert(&text)?;
        }
        assert!(fs::metadata(&log).unwrap().len() > size);
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
        }
        Ok(())
    });
    wrote.unwrap();
    assert_eq!(store.user(&bob).unwrap().interactions, 300);
    let store = SqliteStore::open(crashed.path().join("state.db"), Access::ReadWrite).unwrap();
    assert_eq!(dump(&store), before);
    let check: String =
        store.connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn users_share_nothing() {
    let mut store = in_memory();
    with_periods(&mut store, &["ada", "bob"], 3);
    put(&mut store, &commit("ada", 1, 0)).unwrap();
    store.record_answer(&user("ada"), 0, &answer("for ada")).unwrap();
    let bob = user("bob");
    for stored in store.interactions(&bob, &[1, 2, 3]).unwrap() {
        assert_eq!((stored.interaction.user.as_str(), stored.base), ("bob", None));
        assert!(stored.interaction.response.contains("of bob"));
    }
    for member in store.members(&bob, 1).unwrap() {
        assert_eq!(member.stored.interaction.user, bob);
    }
    assert_eq!(store.find(&bob, &InteractionId::new("3").unwrap()).unwrap(), Some(3));
    assert_eq!(store.unlearned_periods(&bob).unwrap(), [1, 2, 3]);
    assert_eq!(store.generation(&bob, None).unwrap(), None);
    assert!(store.period_records(&bob, None).unwrap().is_empty());
    assert!(store.answers(&bob, 10).unwrap().is_empty());
    assert!(matches!(store.generation(&bob, Some(1)), Err(Error::UnknownRecord { what: "generation", .. })));
}

#[test]
fn a_number_that_is_not_there_is_named() {
    let mut store = in_memory();
    ingest(&mut store, history("ada", 2)).unwrap();
    ingest(&mut store, history("bob", 5)).unwrap();
    for seq in [0, 3, u64::MAX] {
        let reason = reason(store.interactions(&user("ada"), &[1, seq]));
        assert_eq!(reason, format!("user ada has no interaction number {seq}"));
    }
    assert_eq!(store.find(&user("ada"), &InteractionId::new("5").unwrap()).unwrap(), None);
}

#[test]
fn an_unknown_user_is_named() {
    let mut store = in_memory();
    ingest(&mut store, history("ada", 2)).unwrap();
    let before = dump(&store);
    let bob = user("bob");
    let results = [
        store.user(&bob).err(),
        store.pending(&bob).err(),
        store.cut_periods(&bob, 2, 0.0).err(),
        store.unlearned_periods(&bob).err(),
        store.members(&bob, 1).err(),
        store.interactions(&bob, &[]).err(),
        put(&mut store, &commit("bob", 1, 0)).err(),
        store.generation(&bob, None).err(),
        store.period_records(&bob, None).err(),
        store.record_answer(&bob, 0, &answer("x")).err(),
        store.answers(&bob, 1).err(),
        store.find(&bob, &InteractionId::new("1").unwrap()).err(),
    ];
    for error in results {
        let said = error.unwrap().to_string();
        assert_eq!(said, "user bob is not in state :memory:; `spring users` lists those that are");
    }
    assert_eq!(dump(&store), before);
}

#[test]
fn users_come_in_pages() {
    let mut store = in_memory();
    let names = ["b", "a", "é", "B", "a b"];
    for name in names {
        ingest(&mut store, history(name, 1)).unwrap();
    }
    let mut sorted = names.map(user);
    sorted.sort();
    let mut found = Vec::new();
    loop {
        let page = store.users(found.last(), 2).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        found.extend(page.into_iter().map(|summary| summary.user));
    }
    assert_eq!(found, sorted);
    assert!(store.users(None, 0).unwrap().is_empty());
    assert_eq!(store.users(None, usize::MAX).unwrap().len(), 5);
}

#[test]
fn a_summary_counts() {
    let mut store = in_memory();
    with_periods(&mut store, &["ada"], 4);
    put(&mut store, &commit("ada", 1, 0)).unwrap();
    ingest(&mut store, history("ada", 7)).unwrap();
    let time = |second| Some(Timestamp::from_second(second).unwrap());
    let summary = UserSummary {
        user: user("ada"),
        interactions: 7,
        pending: 3,
        first: time(1),
        last: time(7),
        periods: 4,
        generation: 1,
        buffer: 2,
    };
    assert_eq!(store.user(&user("ada")).unwrap(), summary);
    assert_eq!(store.users(None, 10).unwrap(), [summary]);
}

#[test]
fn a_file_behaves_as_memory_does() {
    let (_folder, on_file) = on_file();
    let dumps = [in_memory(), on_file].map(|mut store| {
        with_periods(&mut store, &["ada", "bob"], 3);
        put(&mut store, &commit("ada", 1, 0)).unwrap();
        put(&mut store, &commit("ada", 2, 1)).unwrap();
        store.record_answer(&user("bob"), 0, &answer("x")).unwrap();
        ingest(&mut store, history("ada", 2)).unwrap();
        store.set_config(&Config { seed: 3, ..Config::default() }).unwrap();
        dump(&store)
    });
    assert_eq!(dumps[0], dumps[1]);
}

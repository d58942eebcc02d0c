//! Texts come in whole, and come back as they were.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::Timestamp;
use serde_json::json;

use super::{Subject, samples::*};
use crate::{EmbeddingMap, Error, IngestReport, StoredInteraction, UserSummary};

pub fn every_field_comes_back(subject: &dyn Subject) {
    let name = "Ærø 用户";
    let mut odd = interaction(name, "../'; DROP TABLE users; --", "-009999-01-02T01:59:59Z");
    odd.prompt = "zero \0 byte, e\u{301}, 🦀\r\n".into();
    odd.response = "\u{feff}x".into();
    odd.meta = Some(json!({"b": [1, 1.0, -0.1, u64::MAX, null], "a": {"ü": "\0"}}));
    let mut null = interaction(name, "2", "9999-12-30T22:00:00.999999999Z");
    null.meta = Some(json!(null));
    null.prompt.clear();
    let before_1970 = interaction(name, "3", "1969-12-31T23:59:59.000000001Z");
    let all = vec![odd, before_1970, null];

    let store = subject.create(&settings());
    let report = store.ingest(all.clone()).unwrap();
    assert_eq!(report, IngestReport { added: 3, skipped: 0, new_users: 1 });
    let store = subject.again(&store).unwrap_or(store);
    let stored: Vec<_> =
        (1..).zip(all).map(|(seq, interaction)| StoredInteraction::new(seq, interaction)).collect();
    assert_eq!(store.pending(&user(name)).unwrap(), stored);
    assert_eq!(
        store.interactions(&user(name), &[2, 1, 2]).unwrap(),
        [1, 0, 1].map(|i| stored[i].clone())
    );
}

pub fn equal_times_keep_the_order_of_arrival(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let texts = [("b", 1), ("a", 1), ("c", 0), ("d", 1)];
    let texts = texts.map(|(id, s)| interaction("ada", id, &format!("2026-01-01T00:00:0{s}Z")));
    store.ingest(texts).unwrap();
    let pending = store.pending(&user("ada")).unwrap();
    let order: Vec<_> = pending.iter().map(|s| (s.seq, s.interaction.id.as_str())).collect();
    assert_eq!(order, [(3, "c"), (1, "b"), (2, "a"), (4, "d")]);
    // Any times: near 1970 on both sides, and as far as they go.
    let mut numbers = Numbers(1);
    let times: Vec<i128> = (0..60)
        .map(|i| match i % 3 {
            0 => i128::from(numbers.below(6_000_000_000)) - 3_000_000_000,
            1 => i128::from(numbers.below(5)) - 2,
            _ if numbers.below(2) == 0 => Timestamp::MIN.as_nanosecond(),
            _ => Timestamp::MAX.as_nanosecond() - i128::from(numbers.below(3)),
        })
        .collect();
    let texts = history("bob", times.len()).into_iter().zip(&times).map(|(mut text, &time)| {
        text.time = Timestamp::from_nanosecond(time).unwrap();
        text
    });
    store.ingest(texts).unwrap();
    let found = store.pending(&user("bob")).unwrap();
    let found: Vec<_> = found.iter().map(|s| (s.interaction.time.as_nanosecond(), s.seq)).collect();
    let mut sorted: Vec<_> = times.into_iter().zip(1..).collect();
    sorted.sort_unstable();
    assert_eq!(found, sorted);
    let summary = store.user(&user("bob")).unwrap();
    let ends = [summary.first, summary.last].map(|time| time.unwrap().as_nanosecond());
    assert_eq!(ends, [sorted[0].0, sorted[sorted.len() - 1].0]);
}

pub fn equal_texts_are_skipped(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let mut text = interaction("ada", "1", "2026-01-01T12:00:00+02:00");
    text.meta = Some(json!({"a": 1, "b": 2}));
    let mut same = text.clone();
    same.time = "2026-01-01T10:00:00Z".parse().unwrap();
    same.meta = Some(json!({"b": 2, "a": 1}));
    let report = store.ingest([text, same.clone()]).unwrap();
    assert_eq!(report, IngestReport { added: 1, skipped: 1, new_users: 1 });
    let before = dump(&store);
    let report = store.ingest([same]).unwrap();
    assert_eq!(report, IngestReport { added: 0, skipped: 1, new_users: 0 });
    assert_eq!(dump(&store), before);
}

pub fn another_text_of_the_same_id_undoes_the_ingest(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 2)).unwrap();
    let before = dump(&store);
    let text = interaction("ada", "2", "1970-01-01T00:00:02Z");
    let variants = [
        text.clone().with_time("1970-01-01T00:00:02.000000001Z".parse().unwrap()),
        text.clone().with_prompt("prompt 2 ".into()),
        text.clone().with_response("Response".into()),
        text.clone().with_meta(Some(json!({}))),
    ];
    for other in variants {
        let new = interaction("new", "2", "2026-01-01T00:00:00Z");
        let error = store.ingest([new, text.clone(), other]).unwrap_err();
        assert!(matches!(error, Error::DuplicateId { index: 2, .. }), "{error:?}");
        let said = "interaction 2: user ada already has an interaction 2 with other content";
        assert!(error.to_string().starts_with(said), "{error}");
        assert_eq!(dump(&store), before);
    }
    // Among those that come in together too.
    let third = text.clone().with_id(id("3"));
    let again = third.clone().with_prompt("p".into());
    let error = store.ingest([text, third, again]).unwrap_err();
    assert!(matches!(&error, Error::DuplicateId { index: 2, id: of, .. } if *of == id("3")));
    assert_eq!(dump(&store), before);
}

pub fn a_source_that_fails_undoes_the_ingest(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 1)).unwrap();
    let before = dump(&store);
    let texts = history("bob", 3).into_iter().map(Ok);
    let failing = texts.chain([Err(Error::Stopped)]);
    assert!(matches!(store.try_ingest(failing), Err(Error::Stopped)));
    assert_eq!(dump(&store), before);
    assert_eq!(store.ingest(history("bob", 3)).unwrap().added, 3);
}

pub fn a_source_that_panics_undoes_the_ingest(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 3)).unwrap();
    let before = dump(&store);
    let texts = history("ada", 9).into_iter();
    let texts = texts.inspect(|text| assert_ne!(text.id.as_str(), "7", "as planned"));
    assert!(catch_unwind(AssertUnwindSafe(|| store.ingest(texts))).is_err());
    assert_eq!(dump(&store), before);
    // And one in the middle of a transaction.
    let panics = || {
        let _ = store.backend().write(crate::backend::Durability::Power, &mut |rows| {
            rows.add_user(&user("bob"), 0)?;
            panic!("as planned");
        });
    };
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(dump(&store), before);
    assert_eq!(store.ingest(history("bob", 2)).unwrap().added, 2);
}

pub fn meta_that_would_not_read_back_is_refused(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let mut deep = interaction("ada", "1", "2026-01-01T00:00:00Z");
    deep.meta = Some((0..1000).fold(json!(1), |inner, _| json!([inner])));
    let before = dump(&store);
    let reason = reason(store.ingest([deep]));
    let said = "nothing was changed: `meta` of interaction 1 of user ada";
    assert!(reason.starts_with(said), "{reason}");
    assert_eq!(dump(&store), before);
}

pub fn users_share_nothing(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 3);
    put(&store, "ada", &commit(1, 0)).unwrap();
    keep(&store, "ada", &answer("for ada")).unwrap();
    let bob = user("bob");
    for stored in store.interactions(&bob, &[1, 2, 3]).unwrap() {
        assert_eq!((stored.interaction.user.as_str(), stored.base), ("bob", None));
        assert!(stored.interaction.response.contains("of bob"));
    }
    for member in store.members(&bob, 1).unwrap() {
        assert_eq!(member.stored.interaction.user, bob);
    }
    assert_eq!(store.find(&bob, &id("3")).unwrap(), Some(3));
    assert_eq!(store.unlearned_periods(&bob).unwrap(), [1, 2, 3]);
    assert_eq!(store.generation(&bob, None).unwrap(), None);
    assert!(store.period_records(&bob, None).unwrap().is_empty());
    assert!(store.answers(&bob, 10).unwrap().is_empty());
    let unknown = store.generation(&bob, Some(1));
    assert!(matches!(unknown, Err(Error::UnknownRecord { what: "generation", .. })));
}

pub fn a_number_that_is_not_there_is_named(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 2)).unwrap();
    store.ingest(history("bob", 5)).unwrap();
    for seq in [0, 3, u64::MAX] {
        let reason = reason(store.interactions(&user("ada"), &[1, seq]));
        assert_eq!(reason, format!("user ada has no interaction number {seq}"));
    }
    assert_eq!(store.find(&user("ada"), &id("5")).unwrap(), None);
}

pub fn an_unknown_user_is_named(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 2)).unwrap();
    let before = dump(&store);
    let bob = user("bob");
    let results = [
        store.user(&bob).err(),
        store.size(&bob).err(),
        store.digest(&bob).err(),
        store.version(&bob).err(),
        store.recall(&bob, None).err(),
        store.pending(&bob).err(),
        store.cut_periods(&bob, 2, 0.0).err(),
        store.unlearned_periods(&bob).err(),
        store.members(&bob, 1).err(),
        store.interactions(&bob, &[]).err(),
        store.history(&bob).err(),
        store.graph_place(&bob).err(),
        put(&store, "bob", &commit(1, 0)).err(),
        store.generation(&bob, None).err(),
        store.period_records(&bob, None).err(),
        keep(&store, "bob", &answer("x")).err(),
        store.answers(&bob, 1).err(),
        store.find(&bob, &id("1")).err(),
        store.forget(&bob).err(),
    ];
    let label = store.backend().label();
    for error in results {
        assert_eq!(error.unwrap().to_string(), format!("user bob is not in state {label}"));
    }
    assert_eq!(dump(&store), before);
}

pub fn users_come_in_pages(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let names = ["b", "a", "é", "B", "a b"];
    for name in names {
        store.ingest(history(name, 1)).unwrap();
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

pub fn a_summary_counts(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 4);
    put(&store, "ada", &commit(1, 0)).unwrap();
    store.ingest(history("ada", 7)).unwrap();
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
        consent: false,
    };
    assert_eq!(store.user(&user("ada")).unwrap(), summary);
    assert_eq!(store.users(None, 10).unwrap(), [summary]);
    let size = store.size(&user("ada")).unwrap();
    let texts: usize =
        history("ada", 7).iter().map(|text| text.prompt.len() + text.response.len() + 1).sum();
    assert_eq!(size.texts, texts as u64);
    assert_eq!(size.adapters, adapter("f00d").len() as u64);
    assert!(size.buffers > 100 && size.records > 100);
}

pub fn a_slow_source_keeps_nobody_from_writing(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let Some(other) = subject.again(&store) else { return };
    let count = Cell::new(0);
    let texts = history("ada", 3).into_iter().inspect(|text| {
        other.ingest([interaction("bob", text.id.as_str(), "2026-01-01T00:00:00Z")]).unwrap();
        assert!(other.user(&user("ada")).is_err());
        count.set(count.get() + 1);
    });
    assert_eq!(store.ingest(texts).unwrap().added, 3);
    assert_eq!(count.get(), 3);
    assert_eq!(store.user(&user("bob")).unwrap().interactions, 3);
}

pub fn embeddings_are_kept_with_their_text(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 2)).unwrap();
    store.ingest(history("bob", 3)).unwrap();
    let ada = user("ada");
    let version = store.history(&ada).unwrap().version;
    let set = |seq, vector| store.set_embeddings(&version, &EmbeddingMap::from([(seq, vector)]));
    for odd in [vec![], vec![f32::NAN]] {
        assert!(reason(set(1, odd)).contains("is empty or not finite"));
    }
    // Bob's third text has a number that Ada has not.
    assert_eq!(reason(set(3, vec![1.0])), "user ada has no interaction number 3");
    set(1, vec![0.6, -0.8]).unwrap();
    set(1, vec![0.8, 0.6]).unwrap();
    let kept = EmbeddingMap::from([(1, vec![0.8, 0.6])]);
    assert_eq!(store.embeddings(&ada, &[1, 2, 3]).unwrap(), kept);
    assert!(store.embeddings(&user("bob"), &[1, 2]).unwrap().is_empty());
}

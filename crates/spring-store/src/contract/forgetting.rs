//! What is forgotten is gone, with what was made of it, and does not come back.

use super::{Subject, samples::*};
use crate::{
    EmbeddingMap, Error, Forgetting, Forgotten, PeriodCommit, Relearned, Store, UserVersion,
    record::{AnswerRecord, PeriodRecord, RetrievedText},
};

/// What only Ada wrote.
const CANARY: &str = "heliotrope-canary-7141";

pub fn a_forgotten_user_is_gone(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 3);
    store.ingest(history("bob", 2)).unwrap();
    put(&store, "ada", &commit(1, 0)).unwrap();
    keep(&store, "ada", &answer("x")).unwrap();
    let bob = store.pending(&user("bob")).unwrap();
    let forgotten = store.forget(&user("ada")).unwrap();
    let expected = Forgotten {
        interactions: 3,
        generations_removed: 1,
        answers: 1,
        scrubbed: true,
        ..Forgotten::default()
    };
    assert_eq!(forgotten, expected);
    assert!(matches!(store.user(&user("ada")), Err(Error::UnknownUser { .. })));
    assert!(matches!(store.forget(&user("ada")), Err(Error::UnknownUser { .. })));
    assert_eq!(store.pending(&user("bob")).unwrap(), bob);
    // Who comes again begins anew.
    store.ingest(history("ada", 1)).unwrap();
    let summary = store.user(&user("ada")).unwrap();
    assert_eq!((summary.interactions, summary.periods, summary.generation), (1, 0, 0));
    assert_eq!(store.find(&user("ada"), &id("1")).unwrap(), Some(1));
}

pub fn one_interaction_goes_with_what_was_made_of_it(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    let mut texts = history("ada", 4);
    texts[1].id = id(CANARY);
    texts[1].prompt = format!("And {CANARY}?");
    texts[1].response = CANARY.into();
    texts[1].meta = Some(serde_json::json!({ CANARY: CANARY }));
    store.ingest(texts).unwrap();
    store.cut_periods(&ada, 2, 0.0).unwrap();
    let with_id = |period, parent| {
        let mut commit = commit(period, parent);
        commit.record.scores[1].id = id(CANARY);
        commit
    };
    put(&store, "ada", &with_id(1, 0)).unwrap();
    put(&store, "ada", &with_id(2, 1)).unwrap();
    let version = store.version(&ada).unwrap();
    store.set_embeddings(&version, &EmbeddingMap::from([(1, vec![1.0]), (2, vec![1.0])])).unwrap();
    // Of generation 2, of generation 0, one that found the text, one that quotes its response, two
    // that quote its prompt.
    let plain = AnswerRecord { generation: 0, retrieved: vec![], ..answer("plain") };
    let found = AnswerRecord {
        retrieved: vec![RetrievedText { seq: 2, ..answer("").retrieved[0].clone() }],
        ..plain.clone()
    };
    let quotes = AnswerRecord { prompt: format!("Why {CANARY}?"), ..plain.clone() };
    let asks = AnswerRecord { prompt: format!("And {CANARY}?"), ..plain.clone() };
    let repeats = AnswerRecord { text: format!("You said: And {CANARY}?"), ..plain.clone() };
    for answer in [&answer("derived"), &plain, &found, &quotes, &asks, &repeats] {
        keep(&store, "ada", answer).unwrap();
    }
    let again = |number, period, parent| {
        let PeriodCommit { adapter, buffer, calibration, record, .. } = commit(period, parent);
        let memories = Some((adapter, buffer[1..].to_vec(), calibration));
        Relearned { number, memories, base: vec![(1, HARD[4])], record }
    };
    let unknown = Forgetting { seq: 2, relearned: vec![again(7, 1, 0)] };
    let relearned = vec![again(1, 1, 0), Relearned { memories: None, ..again(2, 2, 1) }];
    let lease = store.lease(&ada).unwrap();
    let before = dump(&store);
    let error = store.forget_interaction(&lease, &unknown).unwrap_err();
    assert_eq!(error.to_string(), "user ada has no generation 7");
    assert_eq!(dump(&store), before);
    let forgetting = Forgetting { seq: 2, relearned };
    let forgotten = store.forget_interaction(&lease, &forgetting).unwrap();
    assert_eq!((forgotten.generations_relearned, forgotten.answers), (2, 5));
    assert!(forgotten.scrubbed);
    assert_eq!(store.answers(&ada, 9).unwrap(), [plain]);
    assert_eq!(store.find(&ada, &id(CANARY)).unwrap(), None);
    assert_eq!(store.members(&ada, 1).unwrap().len(), 1);
    assert_eq!(store.generation(&ada, Some(1)).unwrap().unwrap().buffer.len(), 1);
    let pruned = store.generation(&ada, Some(2));
    assert!(matches!(pruned, Err(Error::Pruned { number: 2, .. })));
    assert_eq!(store.interactions(&ada, &[1]).unwrap()[0].base, Some(HARD[4]));
    assert_eq!(store.embeddings(&ada, &[1, 2]).unwrap().len(), 1);
    assert!(!dump(&store).concat().contains(CANARY));
    // The id can come back; the number does not.
    store.ingest([interaction("ada", "2", "2026-01-01T00:00:00Z")]).unwrap();
    assert_eq!(store.find(&ada, &id("2")).unwrap(), Some(5));
}

pub fn what_nobody_learned_only_leaves_the_counts(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    store.ingest(history("ada", 4)).unwrap();
    store.cut_periods(&ada, 1, 0.5).unwrap();
    store.ingest(history("ada", 6)).unwrap();
    put(&store, "ada", &PeriodCommit { base: vec![], ..commit(1, 0) }).unwrap();
    let lease = store.lease(&ada).unwrap();
    let forget = |seq| store.forget_interaction(&lease, &Forgetting { seq, relearned: vec![] });
    forget(4).unwrap();
    forget(6).unwrap();
    assert!(reason(forget(6)).contains("no interaction number 6"));
    let summary = store.user(&ada).unwrap();
    assert_eq!((summary.interactions, summary.pending), (4, 1));
    let expected = PeriodRecord { held_out: 0, ..record(1, 0) };
    assert_eq!(store.record(&ada, 1).unwrap().record, expected);
}

pub fn a_label_or_a_template_is_not_a_quotation(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    let mut texts = history("ada", 6);
    let responses = ["5", "a comedy", "a tragedy", "a comedy", "4", "4"];
    for (text, response) in texts.iter_mut().zip(responses) {
        text.prompt = if response.len() == 1 { "Rate it, please." } else { "What is it?" }.into();
        text.response = response.into();
    }
    texts[2].prompt = "What is it really?".into();
    store.ingest(texts).unwrap();
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
        keep(&store, "ada", answer).unwrap();
    }
    let lease = store.lease(&ada).unwrap();
    let forget = |seq| {
        let forgetting = Forgetting { seq, relearned: vec![] };
        store.forget_interaction(&lease, &forgetting).unwrap().answers
    };
    // "5"; what another text says too; a prompt and a response of its own.
    assert_eq!([forget(1), forget(2), forget(3)], [1, 0, 2]);
    assert_eq!(store.answers(&ada, 9).unwrap(), [answers[1].clone(), answers[0].clone()]);
}

pub fn a_quotation_in_part_goes_too(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    let mut texts = history("ada", 3);
    texts[0].prompt = "What shall I write to Ms Okafor?".into();
    texts[0].response =
        "The results of your biopsy came back on Tuesday, and they are clear.".into();
    texts[1].prompt = "And to Bob?".into();
    texts[1].response = "I hope that you are well, and that the garden grows.".into();
    texts[2].response = "As she says, I hope that you are well.".into();
    store.ingest(texts).unwrap();
    let said = |prompt: &str, text: &str| AnswerRecord {
        generation: 0,
        prompt: prompt.into(),
        text: text.into(),
        retrieved: vec![],
        ..answer("")
    };
    let answers = [
        said("Why?", "the RESULTS\nof your\nbiopsy are there"),
        said("Say \"your biopsy: came back, on Tuesday\"!", "no"),
        said("what shall i write to ms okafor", "no"),
        // Of a text that stays, of no text at all, and four words that are said by chance.
        said("Dear Bob,", "I hope that you are well, and that it rains."),
        said("Dear Bob,", "the biopsy of your results"),
        said("Dear Bob,", "What shall I write?"),
    ];
    for answer in &answers {
        keep(&store, "ada", answer).unwrap();
    }
    let lease = store.lease(&ada).unwrap();
    let forget = |seq| {
        let forgetting = Forgetting { seq, relearned: vec![] };
        store.forget_interaction(&lease, &forgetting).unwrap().answers
    };
    assert_eq!(forget(1), 3);
    let mut kept: Vec<_> = store.answers(&ada, 9).unwrap();
    kept.reverse();
    assert_eq!(kept, answers[3..]);
    // What the third text says too is not the second's.
    assert_eq!(forget(2), 1);
}

pub fn what_was_made_before_a_removal_is_not_kept_after_it(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let (ada, bob) = (user("ada"), user("bob"));
    for name in ["ada", "bob"] {
        store.ingest(history(name, 3)).unwrap();
    }
    let then = store.version(&ada).unwrap();
    let of_bob = store.version(&bob).unwrap();
    let refused = |store: &Store, then: &UserVersion| {
        let before = dump(store);
        let embedding = EmbeddingMap::from([(1, vec![1.0])]);
        let refused =
            [store.record_answer(then, &answer(CANARY)), store.set_embeddings(then, &embedding)];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Outdated { user }) if user == ada));
        }
        assert_eq!(dump(store), before);
    };
    let lease = store.lease(&ada).unwrap();
    store.forget_interaction(&lease, &Forgetting { seq: 2, relearned: vec![] }).unwrap();
    store.release(&lease).unwrap();
    refused(&store, &then);
    let then = store.version(&ada).unwrap();
    store.record_answer(&then, &answer("kept")).unwrap();
    // Ada goes, and comes again with other texts of the same numbers.
    store.forget(&ada).unwrap();
    let gone = store.record_answer(&then, &answer(CANARY));
    assert!(matches!(gone, Err(Error::UnknownUser { .. })));
    store.ingest(history("ada", 3)).unwrap();
    refused(&store, &then);
    store.record_answer(&of_bob, &answer("kept")).unwrap();
    // A newer generation does not make a text that an older one wrote unkeepable.
    let version = store.version(&ada).unwrap();
    store.cut_periods(&ada, 3, 0.0).unwrap();
    put(&store, "ada", &commit(1, 0)).unwrap();
    store.record_answer(&version, &answer("of the base")).unwrap();
}

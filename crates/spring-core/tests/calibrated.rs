//! Gate and λ calibrated by use, and the banks and retrievers that they can be measured over.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{config, id, ingest, model, settings, texts, user};
use spring_core::{
    BankKind, Config, EmbeddingMap, Learner, Memories, Period, Periods, RetrievalBank,
    RetrieverKind, SqliteStore, StoredInteraction, UserModel, adapt,
    prompt::encode_pair,
    spring_fuse::{GateConfig, Otherwise},
    spring_memory::{Hit, Interaction},
};

const TWO: Periods = Periods { count: 2, hold_out: 0.2 };

/// Ada's first texts, one a day.
fn stored(count: usize) -> Vec<StoredInteraction> {
    let store = SqliteStore::in_memory(&settings(config())).unwrap();
    ingest(&store, &texts("ada", 0..count));
    store.pending(&user("ada")).unwrap()
}

fn bank(config: &Config, texts: &[StoredInteraction]) -> RetrievalBank {
    RetrievalBank::of(model(), config, texts.to_vec(), &EmbeddingMap::new()).unwrap()
}

fn retrievers() -> Vec<Config> {
    let kinds = ["bm25", "dense", "latest"];
    let kinds = kinds.map(|kind| [format!("retrieval.retriever={kind}")].to_vec());
    let ageing = kinds.clone().map(|mut changes| {
        changes.push("retrieval.half_life=3".into());
        changes
    });
    kinds.iter().chain(&ageing).map(|changes| config().with_changes(changes).unwrap()).collect()
}

/// By every retriever: what is found without a text is what a bank that never had it finds.
#[test]
fn a_text_that_is_left_out_is_found_by_nobody_and_counts_nowhere() {
    let texts = stored(9);
    for config in retrievers() {
        let all = bank(&config, &texts);
        for text in &texts {
            let others: Vec<_> =
                texts.iter().filter(|other| other.seq != text.seq).cloned().collect();
            let prompt = &text.interaction.prompt;
            for k in [1, 3, 99] {
                let found = all.retriever().search_without(model(), prompt, k, text.seq).unwrap();
                assert!(found.iter().all(|hit| hit.key != text.seq), "{:?}", config.retrieval);
                let expected = bank(&config, &others).search(model(), prompt, k).unwrap();
                assert_eq!(found, expected, "{:?}", config.retrieval);
            }
        }
    }
}

#[test]
fn a_score_halves_with_every_half_life() {
    let texts = stored(5);
    let keys = |hits: &[Hit]| hits.iter().map(|hit| hit.key).collect::<Vec<_>>();
    let mut config = config();
    config.retrieval.retriever = RetrieverKind::Latest;
    let latest = bank(&config, &texts);
    let found = latest.search(model(), "whatever", 3).unwrap();
    assert_eq!(keys(&found), [5, 4, 3]);
    assert!(found.iter().all(|hit| hit.score == 1.0));
    assert_eq!(latest.calibration(model()).unwrap(), [1.0; 5]);
    assert_eq!(bank(&config, &texts[..1]).calibration(model()).unwrap(), [] as [f64; 0]);
    config.retrieval.half_life = Some(2.0);
    let scores: Vec<f64> = bank(&config, &texts)
        .search(model(), "whatever", 9)
        .unwrap()
        .iter()
        .map(|hit| hit.score)
        .collect();
    let expected = [1.0, 0.5f64.sqrt(), 0.5, 0.5 * 0.5f64.sqrt(), 0.25];
    assert!(scores.iter().zip(expected).all(|(score, expected)| (score - expected).abs() < 1e-12));
    assert_eq!(scores.len(), 5);
    // A match of more words comes after one of fewer if it is old enough.
    config.retrieval.retriever = RetrieverKind::Bm25;
    let text = |seq: u64, prompt: &str| {
        let time = jiff::Timestamp::from_second(seq as i64).unwrap();
        let name = id(&seq.to_string());
        StoredInteraction::new(seq, Interaction::new(user("ada"), name, time, prompt, "x"))
    };
    let texts = [
        text(1, "kettle hums"),
        text(2, "kettle"),
        text(3, "a"),
        text(4, "b"),
        text(5, "c"),
        text(6, "d"),
        text(7, "kettle"),
    ];
    let aged = |half_life| {
        config.clone().with_changes(&[format!("retrieval.half_life={half_life}")]).unwrap()
    };
    let found =
        |config: &Config| keys(&bank(config, &texts).search(model(), "kettle hums", 9).unwrap());
    assert_eq!(found(&aged(1e9)), [1, 7, 2]);
    assert_eq!(found(&aged(1.0)), [7, 1, 2]);
}

/// As many of Ada's texts in one period, learned without a state.
fn learned(config: &Config, count: usize) -> (Memories, RetrievalBank) {
    let texts = stored(count);
    let fresh = UserModel::fresh(model(), config.clone(), None).unwrap();
    let mut learner = Learner::new(user("ada"), fresh, vec![]);
    learner.learn(Period::new(1, &texts), &mut ()).unwrap();
    learner.model().clone().into_parts()
}

/// The gain of a text is what a person's model gains that has all other texts in its bank: in every
/// space, at every λ.
#[test]
fn a_gain_is_what_the_mixture_gains_without_the_text_in_the_bank() {
    for space in ["probability", "logit"] {
        let changes = ["gate=calibrated".to_owned(), format!("fusion.space={space}")];
        let config = config().with_changes(&changes).unwrap();
        let (memories, whole) = learned(&config, 10);
        let gains = memories.calibration.gains.clone().unwrap();
        assert_eq!(gains.texts.len(), 10);
        assert_eq!(memories.calibration.sample, whole.calibration(model()).unwrap());
        for gain in gains.texts.iter().step_by(4) {
            let text = whole.text(gain.key).unwrap().interaction.clone();
            let others: Vec<_> =
                whole.texts().iter().filter(|other| other.seq != gain.key).cloned().collect();
            let encoded = encode_pair(model(), &text.prompt, &text.response, 768).unwrap();
            for (place, lambda) in [(0, "0.1"), (4, "0.5"), (9, "1")] {
                let asked = config
                    .with_changes(&["gate=always", &format!("fusion.lambda={lambda}")])
                    .unwrap();
                let bank = bank(&asked, &others);
                let person = UserModel::new(model(), asked, memories.clone(), bank);
                let found = person.retrieve(&text.prompt, 0, None).unwrap().found;
                assert_eq!(found[0].score, gain.score);
                let score = person.score(&text.prompt, &encoded).unwrap();
                let mean = |of: &[f32]| spring_core::mean_log_likelihood(of);
                let expected = mean(&score.fused) - mean(&score.adapter);
                let actual = gain.gains[place];
                assert!(
                    (actual - expected).abs() < 1e-4,
                    "{space}, text {}, λ {lambda}: {actual}, not {expected}",
                    gain.key
                );
            }
        }
    }
}

#[test]
fn answers_say_what_was_expected_and_at_which_lambda() {
    let mut config =
        config().with_changes(&["gate=calibrated", "fusion.lambda=calibrated"]).unwrap();
    config.decoding.max_new_tokens = Some(3);
    let store = SqliteStore::in_memory(&settings(config.clone())).unwrap();
    ingest(&store, &texts("ada", 0..24));
    adapt(model(), &store, &user("ada"), TWO, &mut ()).unwrap();
    let ada = UserModel::recall(model(), &store, &user("ada"), None).unwrap();
    let gains = ada.memories().calibration.gains.clone().unwrap();
    assert!(gains.texts.len() >= 8, "{gains:?}");
    let answer = ada.generate("About soup", &mut ()).unwrap();
    let best = answer.retrieved[0].score;
    let expected = gains.curve().unwrap().at(best);
    assert_eq!(answer.gate.expected_gain, Some(expected.nats));
    assert_eq!(answer.gate.lambda, Some(expected.lambda));
    assert_eq!(answer.gate.open, expected.nats > 0.0, "{}", answer.gate.reason);
    assert!(
        answer.trace.iter().all(|token| (f64::from(token.lambda) - expected.lambda).abs() < 1e-6)
    );
    assert_eq!(answer.trace.is_empty(), !answer.gate.open);
    store.record_answer(&store.version(&user("ada")).unwrap(), &answer).unwrap();
    assert_eq!(store.answers(&user("ada"), 1).unwrap()[0], answer);
    // Asked with other settings, for which nothing was measured, the gate in its place decides.
    for (otherwise, open) in [(Otherwise::Always, true), (Otherwise::Never, false)] {
        let gate = GateConfig::Calibrated { k: 3, min_texts: 8, otherwise };
        let other = ada.clone().with_config(config.clone().with_gate(gate));
        let answer = other.generate("About soup", &mut ()).unwrap();
        assert_eq!((answer.gate.open, answer.gate.expected_gain), (open, None));
        assert!(answer.gate.reason.contains("no gain was measured"), "{}", answer.gate.reason);
    }
    // Nothing is measured where nobody asks for it, and no more texts than the settings say.
    let plain = config.with_changes(&["gate=quantile", "fusion.lambda=0.5"]).unwrap();
    assert_eq!(learned(&plain, 10).0.calibration.gains, None);
    let few = config.with_changes(&["retrieval.gain_texts=3"]).unwrap();
    let keys: Vec<u64> =
        learned(&few, 10).0.calibration.gains.unwrap().texts.iter().map(|gain| gain.key).collect();
    assert_eq!(keys, [8, 9, 10], "the latest");
}

/// Held-out texts are in no bank, and the buffer is what it is without a bank of its own.
#[test]
fn a_bank_of_the_history_has_all_texts_that_were_learned_from() {
    let mut config = config();
    let bank_of = |config: &Config| {
        let store = SqliteStore::in_memory(&settings(config.clone())).unwrap();
        ingest(&store, &texts("ada", 0..20));
        adapt(model(), &store, &user("ada"), TWO, &mut ()).unwrap();
        UserModel::recall(model(), &store, &user("ada"), None).unwrap().into_parts()
    };
    let (memories, bank) = bank_of(&config);
    config.buffer.bank = BankKind::History;
    let (with, history) = bank_of(&config);
    assert_eq!((&with.buffer, &with.adapter), (&memories.buffer, &memories.adapter));
    assert!(bank.texts().len() < history.texts().len());
    // The last two of each ten are held out.
    let keys: Vec<u64> = history.texts().iter().map(|text| text.seq).collect();
    assert_eq!(keys, (1..=8).chain(11..=18).collect::<Vec<_>>());
    assert_eq!(with.calibration.sample.len(), 16);
}

//! A tiny real model, and people who write for it.

#![allow(dead_code, clippy::unwrap_used)]

use std::{path::Path, sync::OnceLock};

use spring_core::{
    Config, Settings, Store, Tokenize, ingest_jsonl,
    record::{LearnedPeriod, PeriodRecord},
    spring_memory::{InteractionId, UserId},
};
use spring_model::{AnyModel, Device, ModelFiles, TrainConfig};

pub fn model() -> &'static AnyModel {
    static MODEL: OnceLock<AnyModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
    })
}

pub fn config() -> Config {
    Config::default().with_training(TrainConfig::default().with_learning_rate(1e-2))
}

pub fn settings(config: Config) -> Settings {
    Settings::new("tiny", model().info().fingerprint.clone(), config)
}

/// Texts `ids` of a user, one a day, as lines.
pub fn texts(user: &str, ids: impl IntoIterator<Item = usize>) -> String {
    let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
    let line = |i: usize| {
        let day = jiff::Timestamp::from_second(1_700_000_000 + 86_400 * i as i64).unwrap();
        let subject = subjects[i % 5];
        let found = ["lovely", "dull", "odd"][i % 3];
        let value = serde_json::json!({
            "user": user, "id": format!("{i}"), "time": day, "prompt": format!("About {subject}"),
            "response": format!("{user} finds {subject} {found} on day {i}."),
        });
        format!("{value}\n")
    };
    ids.into_iter().map(line).collect()
}

pub fn ingest(store: &Store, lines: &str) {
    ingest_jsonl(store, lines.as_bytes(), "history").unwrap();
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub fn id(name: &str) -> InteractionId {
    InteractionId::new(name).unwrap()
}

/// Without what tells the time of day.
pub fn timeless(learned: Vec<LearnedPeriod>) -> Vec<LearnedPeriod> {
    let strip = |learned: LearnedPeriod| {
        let mut record =
            PeriodRecord { seconds: 0.0, finished: jiff::Timestamp::UNIX_EPOCH, ..learned.record };
        record.update.seconds = 0.0;
        LearnedPeriod { record, ..learned }
    };
    learned.into_iter().map(strip).collect()
}

mod files;
mod generations;
mod history;
mod leases;
mod migrations;
mod periods;
mod processes;
mod removals;

use jiff::Timestamp;
use rusqlite::types::Value;
use spring_drift::{Alpha, DriftScore, ScoreStatistics};
use spring_fuse::GateDecision;
use spring_lm::{Adapter, LoraConfig, ModelConfig};
use spring_memory::{BufferItem, Evicted, EvictionReason, Interaction, InteractionId, UserId};
use tempfile::TempDir;

use super::{Access, SqliteStore};
use crate::{
    Config, Error, Result,
    prompt::Cut,
    record::{
        AnswerRecord, Ending, PeriodRecord, RetrievedText, ScoredText, SelectionRecord, TokenTrace,
        UpdateRecord,
    },
    store::{IngestReport, PeriodCommit, Settings, StateStore},
};

fn settings() -> Settings {
    Settings { model: "models/base".into(), fingerprint: "f00d".into(), config: Config::default() }
}

fn in_memory() -> SqliteStore {
    SqliteStore::in_memory(&settings()).unwrap()
}

/// A store in a file of its own; the folder goes when the first part is dropped.
fn on_file() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(folder.path().join("state.db"), &settings()).unwrap();
    (folder, store)
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn interaction(user: &str, id: &str, time: &str) -> Interaction {
    Interaction {
        user: UserId::new(user).unwrap(),
        id: InteractionId::new(id).unwrap(),
        time: time.parse().unwrap(),
        prompt: format!("prompt {id}"),
        response: format!("response of {user} to {id}"),
        meta: None,
    }
}

/// `n` interactions a second apart, their ids from 1.
fn history(user: &str, n: usize) -> Vec<Interaction> {
    let at = |second| Timestamp::from_second(second as i64).unwrap().to_string();
    (1..=n).map(|i| interaction(user, &i.to_string(), &at(i))).collect()
}

/// Ingests them as the lines of "texts.jsonl".
fn ingest(store: &mut SqliteStore, items: Vec<Interaction>) -> Result<IngestReport> {
    let mut lines = (1..).zip(items).map(Ok);
    store.ingest("texts.jsonl", &mut lines)
}

/// A store in which each of the users has `n` texts in one period each.
fn with_periods(store: &mut SqliteStore, users: &[&str], n: usize) {
    for name in users {
        ingest(store, history(name, n)).unwrap();
        store.cut_periods(&user(name), u32::try_from(n).unwrap(), 0.0).unwrap();
    }
}

/// Numbers that decimal text easily loses.
const HARD: [f64; 5] = [-2.0 / 3.0, 5e-324, f64::MAX, -4.350_000_000_000_000_5, 0.1 + 0.2];

fn record(period: u32, parent: u32) -> PeriodRecord {
    let score = DriftScore { novelty: HARD[0], quality: HARD[3], score: HARD[4] };
    let item = BufferItem { key: 9, period, novelty: HARD[4], quality: HARD[0], score: HARD[1] };
    PeriodRecord {
        period,
        parent,
        finished: "2026-03-01T12:00:00.123456789Z".parse().unwrap(),
        seconds: HARD[4],
        held_out: 1,
        scores: vec![
            ScoredText {
                seq: 1,
                id: InteractionId::new("1").unwrap(),
                base: HARD[0],
                adapter: Some(HARD[3]),
                score,
                selected: Some(1),
                tokens: 17,
                cuts: vec![Cut::Prompt { tokens: 3 }],
            },
            ScoredText {
                seq: 2,
                id: InteractionId::new("zwei").unwrap(),
                base: -1.0,
                adapter: None,
                score: DriftScore { novelty: 0.0, ..score },
                selected: None,
                tokens: 1,
                cuts: vec![],
            },
        ],
        statistics: ScoreStatistics::of(&[score, DriftScore { novelty: 1.0, ..score }], Alpha::default())
            .unwrap(),
        selection: SelectionRecord { selected: 1, cutoff: Some(HARD[4]), reason: "the best 30 %".into() },
        update: UpdateRecord { steps: 4, tokens: 34, losses: vec![2.1, 1.9], seed: u64::MAX, seconds: 1.5 },
        evicted: vec![
            Evicted { item, reason: EvictionReason::Outranked { rank: HARD[1], lowest_kept: None } },
            Evicted { item, reason: EvictionReason::Redundant { nearest: 4, distance: 0.25 } },
        ],
        gate_threshold: Some(HARD[2]),
        config: Config { seed: 7, ..Config::default() },
    }
}

fn commit(name: &str, period: u32, parent: u32) -> PeriodCommit {
    let item =
        |key| BufferItem { key, period, novelty: HARD[0], quality: HARD[1], score: HARD[4] / key as f64 };
    PeriodCommit {
        user: user(name),
        cut: vec![],
        period,
        parent,
        adapter: adapter("f00d"),
        buffer: vec![item(2), item(1)],
        calibration: HARD.to_vec(),
        base: vec![(1, HARD[0]), (2, HARD[3])],
        record: record(period, parent),
    }
}

/// The bytes of an adapter of a base.
fn adapter(base: &str) -> Vec<u8> {
    let config = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 64, "intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 2, "max_position_embeddings": 16}"#;
    let model = ModelConfig::from_json(config.as_bytes(), "config.json").unwrap();
    let lora = LoraConfig { rank: 16, ..LoraConfig::default() };
    Adapter::init(&lora, &model, base, 0).unwrap().to_bytes().unwrap()
}

/// Commits under a lease of its own.
fn put(store: &mut SqliteStore, commit: &PeriodCommit) -> Result<u32> {
    let lease = store.lease(&commit.user)?;
    let number = store.commit(&lease, commit);
    store.release(&lease)?;
    number
}

fn answer(text: &str) -> AnswerRecord {
    AnswerRecord {
        time: "2026-03-02T08:00:00.000000001Z".parse().unwrap(),
        generation: 2,
        prompt: "What\u{0} now?".into(),
        text: text.into(),
        ended: Ending::EndToken,
        retriever: "bm25".into(),
        fusion: Some(spring_fuse::MixtureConfig::default()),
        decoding: Some(crate::DecodingConfig::default()),
        gate: GateDecision {
            open: true,
            kept: vec![0],
            threshold: Some(HARD[0]),
            margin: Some(HARD[4]),
            reason: "one of two".into(),
        },
        retrieved: vec![RetrievedText {
            seq: 1,
            id: InteractionId::new("1").unwrap(),
            score: HARD[4],
            used: true,
        }],
        trace: vec![TokenTrace {
            token: 5,
            text: " five".into(),
            lambda: 0.5,
            retrieval_share: 0.1,
            divergence: Some(0.25),
        }],
        cuts: vec![Cut::Retrieved { seq: 2 }],
    }
}

/// Every row of every table.
fn dump(store: &SqliteStore) -> Vec<(String, Vec<Value>)> {
    let connection = &store.connection;
    let mut tables =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = tables.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(tables.len(), 11, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let mut all = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = all.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        rows.extend(all.query_map((), row).unwrap().map(|values| (table.clone(), values.unwrap())));
    }
    rows
}

/// The reason of an [`Error::State`].
#[track_caller]
fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::State { reason, .. }) => {
            assert!(!reason.contains('\n'), "{reason}");
            reason
        }
        other => panic!("expected a state error, got {other:?}"),
    }
}

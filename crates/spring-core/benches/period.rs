//! One user's period end to end on a tiny model, over a state in memory: ingest, score, select, adapt, re-score, commit.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use spring_core::{
    Config, LanguageModel, Periods, Settings, SqliteStore, StateStore, adapt,
    spring_memory::{JsonlReader, UserId},
    spring_model::{AnyModel, Device, ModelFiles},
};

fn benches(c: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spring-model/tests/fixtures/tiny-llama");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    let model = AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap();
    let settings =
        Settings { model: "tiny".into(), fingerprint: model.info().fingerprint, config: Config::default() };
    let user = UserId::new("ada").unwrap();
    let lines: String = (0..40)
        .map(|i| {
            let time = format!("2024-01-{:02}T{:02}:00:00Z", i / 24 + 1, i % 24);
            let line = serde_json::json!({
                "user": user, "id": i.to_string(), "time": time, "prompt": format!("Line {i}"),
                "response": format!("This is line {i} of a short history.")
            });
            format!("{line}\n")
        })
        .collect();
    let mut group = c.benchmark_group("40 texts");
    group.sample_size(10);
    group.bench_function("ingest", |b| {
        b.iter(|| {
            let mut store = SqliteStore::in_memory(&settings).unwrap();
            black_box(store.ingest("lines", &mut JsonlReader::new(lines.as_bytes(), "lines")).unwrap())
        })
    });
    group.bench_function("ingest and two periods", |b| {
        b.iter(|| {
            let mut store = SqliteStore::in_memory(&settings).unwrap();
            store.ingest("lines", &mut JsonlReader::new(lines.as_bytes(), "lines")).unwrap();
            let periods = Periods { count: 2, hold_out: 0.0 };
            black_box(adapt(&model, &mut store, &user, periods, &mut ()).unwrap())
        })
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);

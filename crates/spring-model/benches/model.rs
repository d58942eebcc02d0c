//! The forward pass, scoring, a training step and decoding, on the project's built-in model of 5
//! million parameters.
//!
//! `SPRING_BENCH_LARGE=1 cargo bench -p spring-model` adds SmolLM2-135M's shape with random
//! weights, which takes ten minutes. The built-in model lies in spring-cli's folder; from a package
//! without it its benches skip themselves.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    hint::black_box,
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use spring_model::{
    Adapter, AnyModel, Decode, Device, LoraConfig, ModelFiles, Precision, PretrainConfig,
    PretrainStart, RowId, Score, Sequence, Train, TrainConfig, TrainRequest,
};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Adapters that rows share, and so the rows of a batch in which each has its own.
const ADAPTERS: [usize; 3] = [1, 8, 64];

fn small(c: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spring-cli/model");
    match folder.is_dir() {
        true => benches(c, "5M", &load(&folder), 64),
        false => eprintln!("skipped: {} is not there", folder.display()),
    }
}

fn large(c: &mut Criterion) {
    if std::env::var_os("SPRING_BENCH_LARGE").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = br#"{
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048, "rope_theta": 100000.0, "tie_word_embeddings": true
    }"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let start = PretrainStart::Random { config_json: config, seed: 1 };
    let random = AnyModel::pretrain(start, &PretrainConfig::default(), Device::Cpu).unwrap();
    random.save(folder.path(), Precision::F16).unwrap();
    drop(random);
    benches(c, "135M", &load(folder.path()), 16);
}

fn load(folder: &Path) -> AnyModel {
    AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
}

fn tokens(seed: usize, length: usize) -> Vec<u32> {
    (0..length).map(|i| 3 + ((i * 7 + seed * 131) % 4000) as u32).collect()
}

/// A sequence of which an eighth is context.
fn sequence(seed: usize, length: usize) -> Sequence {
    let mut context = tokens(seed, length);
    let response = context.split_off(length / 8);
    Sequence { context, response }
}

/// `short` is the length of those texts of which there are 64.
fn benches(c: &mut Criterion, name: &str, model: &AnyModel, short: usize) {
    let adapters: Vec<Arc<Adapter>> = (0..64)
        .map(|seed| {
            Adapter::init(&LoraConfig::default(), model.config(), model.fingerprint(), seed)
                .unwrap()
        })
        .map(Arc::new)
        .collect();
    let mut group = c.benchmark_group(name);
    // Every run takes long and much the same; many would tell no more.
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .measurement_time(Duration::from_secs(3));
    group.warm_up_time(Duration::from_millis(500));

    let row = vec![tokens(0, 512)];
    group.throughput(Throughput::Elements(512));
    group.bench_function("forward, 1 x 512", |b| {
        b.iter(|| black_box(model.logits(&row, None).unwrap()))
    });

    let sequences: Vec<Sequence> = (0..64).map(|seed| sequence(seed, short)).collect();
    group.throughput(Throughput::Elements(64 * short as u64));
    for count in [0].into_iter().chain(ADAPTERS) {
        let rows: Vec<_> = sequences
            .iter()
            .enumerate()
            .map(|(i, sequence)| (sequence, (count > 0).then(|| &*adapters[i % count])))
            .collect();
        group.bench_function(format!("score, 64 x {short}, {count} adapters"), |b| {
            b.iter(|| black_box(model.score(&rows).unwrap()))
        });
    }

    let batch: Vec<Sequence> = (0..4).map(|seed| sequence(seed, 256)).collect();
    let config = TrainConfig::default().with_epochs(1);
    let lora = LoraConfig::default();
    group.throughput(Throughput::Elements(4 * 256));
    group.bench_function("adapt, one step of 4 x 256", |b| {
        b.iter(|| {
            let follow = &mut |_| ControlFlow::Continue(());
            black_box(model.train(TrainRequest::new(&lora, &batch, &config, 1), follow).unwrap())
        })
    });

    let context = tokens(0, 224);
    // Two branches are a user's answer with a retrieved text: one adapter. More rows are as many
    // users.
    for (rows, count) in [(1, 1), (2, 1), (8, 8), (64, 64)] {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(
            format!("decode, a token after 224, {rows} rows, {count} adapters"),
            |b| b.iter_custom(|steps| decode(model, &context, (rows, &adapters[..count]), steps)),
        );
    }
    group.finish();
}

/// The time of `steps` tokens; reading the context is not in it. No more than 32 follow each other,
/// so that they stay near their place.
fn decode(
    model: &AnyModel,
    context: &[u32],
    (rows, adapters): (usize, &[Arc<Adapter>]),
    steps: u64,
) -> Duration {
    let (mut total, mut left) = (Duration::ZERO, steps as usize);
    while left > 0 {
        let now = left.min(32);
        let mut session = model.session().unwrap();
        let rows: Vec<RowId> = (0..rows)
            .map(|row| {
                session.join(context, Some(adapters[row % adapters.len()].clone()), now).unwrap()
            })
            .collect();
        let begin = Instant::now();
        for token in tokens(1, now) {
            let tokens: Vec<(RowId, u32)> = rows.iter().map(|row| (*row, token)).collect();
            session.step(&tokens).unwrap();
        }
        total += begin.elapsed();
        left -= now;
    }
    total
}

criterion_group!(all, small, large);
criterion_main!(all);

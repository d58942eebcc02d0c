//! Scoring, training and decoding on the project's built-in model of 5 million parameters.
//!
//! The model lies in spring-cli's folder; from a package without it the benches skip themselves.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, ops::ControlFlow, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spring_model::{Adapter, AnyModel, Branch, Device, LoraConfig, ModelFiles, Sequence, TrainConfig};

fn model() -> Option<AnyModel> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spring-cli/model");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap())
}

/// A sequence of 32 tokens of context and 224 of response.
fn sequence(seed: u32) -> Sequence {
    let token = |i: u32| 3 + (i * 7 + seed * 131) % 4000;
    Sequence { context: (0..32).map(token).collect(), response: (32..256).map(token).collect() }
}

fn benches(c: &mut Criterion) {
    let Some(model) = model() else { return };
    let adapters: Vec<Adapter> = (0..8)
        .map(|seed| Adapter::init(&LoraConfig::default(), model.config(), model.fingerprint(), seed).unwrap())
        .collect();
    let sequences: Vec<Sequence> = (0..8).map(sequence).collect();

    let mut group = c.benchmark_group("score 8 x 256 tokens");
    group.sample_size(10).throughput(Throughput::Elements(8 * 256));
    for (name, count) in [("base", 0), ("1 adapter", 1), ("8 adapters", 8)] {
        let rows: Vec<_> = sequences
            .iter()
            .enumerate()
            .map(|(i, sequence)| (sequence, (count > 0).then(|| &adapters[i % count])))
            .collect();
        group.bench_function(name, |b| b.iter(|| black_box(model.score(&rows).unwrap())));
    }
    group.finish();

    let mut group = c.benchmark_group("adapt");
    group.sample_size(10).throughput(Throughput::Elements(4 * 256));
    let config = TrainConfig { epochs: 1, ..TrainConfig::default() };
    group.bench_function("one step of 4 x 256 tokens", |b| {
        b.iter(|| {
            let run = model.adapt(None, &LoraConfig::default(), &sequences[..4], &config, 1, &mut |_| {
                ControlFlow::Continue(())
            });
            black_box(run.unwrap())
        })
    });
    group.finish();

    let mut group = c.benchmark_group("decode 32 tokens after 224");
    group.sample_size(10).throughput(Throughput::Elements(32));
    let context = &sequences[0].response;
    for branches in [1, 2] {
        let rows: Vec<Branch<'_>> = vec![(context, Some(&adapters[0])); branches];
        group.bench_function(format!("{branches} branch(es)"), |b| {
            b.iter(|| {
                model
                    .decode(&rows, 32, &mut |decoder| (0..32).try_for_each(|token| decoder.push(3 + token)))
                    .unwrap()
            })
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);

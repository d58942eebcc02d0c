//! The residual buffer. Policies that rank items, at 200 places (the default), 20,000 and
//! 2,000,000: one new item in and one old one out, and one item scored anew. Diversity, which
//! compares items with each other, at 200 and 2,000: one new item among embeddings of 256
//! dimensions, and the first filling from twice as many.

use std::{collections::HashMap, hint::black_box};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_memory::{BufferItem, BufferPolicyConfig, Diversity, NoEmbeddings, ResidualBuffer};

fn item(rng: &mut ChaCha8Rng, key: u64) -> BufferItem {
    let score = rng.random();
    BufferItem::new(key, (key % 12) as u32, 0.0, score, score)
}

fn ranked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffer");
    for policy in [BufferPolicyConfig::Residual, BufferPolicyConfig::BalancedPeriods] {
        for capacity in [200, 20_000, 2_000_000u64] {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut buffer =
                ResidualBuffer::with_policy(capacity as usize, policy.init().expect("in range"));
            let first = (0..capacity).map(|key| item(&mut rng, key)).collect();
            buffer.update(first, &NoEmbeddings).expect("scores are finite");
            let name = buffer.policy().name().to_owned();
            // Keys that stay: below, new ones push others out.
            group.bench_function(
                BenchmarkId::new(format!("{name}, score anew"), capacity),
                |bencher| {
                    bencher.iter(|| {
                        let key = rng.random_range(0..capacity);
                        buffer.update(vec![item(&mut rng, key)], &NoEmbeddings)
                    });
                },
            );
            let mut key = capacity;
            group.bench_function(
                BenchmarkId::new(format!("{name}, insert and evict"), capacity),
                |bencher| {
                    bencher.iter(|| {
                        key += 1;
                        buffer.update(vec![item(&mut rng, key)], &NoEmbeddings)
                    });
                },
            );
        }
    }
    group.finish();
}

fn diversity(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffer");
    group.sample_size(10);
    for capacity in [200, 2_000u64] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let embeddings: HashMap<u64, Vec<f32>> = (0..2 * capacity)
            .map(|key| (key, (0..256).map(|_| rng.random_range(-1.0..1.0)).collect()))
            .collect();
        let items: Vec<BufferItem> = (0..2 * capacity).map(|key| item(&mut rng, key)).collect();
        let empty = ResidualBuffer::with_policy(capacity as usize, Box::new(Diversity));
        group.bench_function(
            BenchmarkId::new("diversity, fill from twice as many", capacity),
            |bencher| {
                bencher.iter_batched(
                    || empty.clone(),
                    |mut buffer| buffer.update(black_box(items.clone()), &embeddings),
                    BatchSize::LargeInput,
                );
            },
        );
        let mut full = empty.clone();
        full.update(items[..capacity as usize].to_vec(), &embeddings).expect("scores are finite");
        let new = items[capacity as usize];
        group.bench_function(
            BenchmarkId::new("diversity, insert and evict", capacity),
            |bencher| {
                bencher.iter_batched(
                    || full.clone(),
                    |mut buffer| buffer.update(vec![black_box(new)], &embeddings),
                    BatchSize::LargeInput,
                );
            },
        );
    }
    group.finish();
}

criterion_group!(benches, ranked, diversity);
criterion_main!(benches);

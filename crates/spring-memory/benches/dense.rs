//! Dense search, exact and through the graph, over 1,000, 10,000 and 100,000 vectors of 256
//! dimensions.
//!
//! Recall beside speed, and other widths of search: `cargo run --release --example dense_recall`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_memory::{DenseConfig, DenseIndex, VectorStore};

const DIMENSIONS: usize = 256;

/// Fifty vectors around each of many centres.
fn clustered(rng: &mut ChaCha8Rng, count: usize) -> Vec<Vec<f32>> {
    let random = |rng: &mut ChaCha8Rng, size: f32| -> Vec<f32> {
        (0..DIMENSIONS).map(|_| rng.random_range(-size..size)).collect()
    };
    let centres: Vec<Vec<f32>> = (0..count.div_ceil(50)).map(|_| random(rng, 1.0)).collect();
    (0..count)
        .map(|n| {
            let noise = random(rng, 0.7);
            centres[n % centres.len()].iter().zip(noise).map(|(c, x)| c + x).collect()
        })
        .collect()
}

fn dense(criterion: &mut Criterion) {
    for count in [1_000, 10_000, 100_000] {
        let mut group = criterion.benchmark_group("dense");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut vectors = clustered(&mut rng, count + 200);
        // In turn, so that no query finds its part of the graph in the processor's cache.
        let held_out = vectors.split_off(count);
        let mut queries = held_out.iter().cycle();
        let mut store = VectorStore::new(DIMENSIONS);
        for (vector, key) in vectors.iter().zip(0..) {
            store.add(key, vector).expect("vectors are finite");
        }
        group.bench_function(BenchmarkId::new("exact", count), |bencher| {
            bencher.iter(|| store.search(black_box(queries.next()?), 10, |_| true).ok());
        });
        let config = DenseConfig::default().with_exact_below(0);
        let mut index = DenseIndex::from_vectors(store, config).expect("settings are in range");
        index.refresh();
        group.bench_function(BenchmarkId::new("hnsw", count), |bencher| {
            bencher.iter(|| index.search(black_box(queries.next()?), 10, |_| true).ok());
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = dense
}
criterion_main!(benches);

//! What an evaluation costs beside the model: ROUGE and METEOR, and statistics over users.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_metrics::{UserScores, bootstrap, meteor, paired_test, rouge};

/// Words of a small vocabulary, so that texts have many in common.
fn text(rng: &mut ChaCha8Rng, words: usize) -> String {
    let stems = ["walk", "garden", "quick", "letter", "relate", "shop", "winter", "train"];
    let ends = ["", "s", "ed", "ing", "ly"];
    let mut word = || {
        format!(
            "{}{}",
            stems[rng.random_range(0..stems.len())],
            ends[rng.random_range(0..ends.len())]
        )
    };
    (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
}

fn metrics(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let [prediction, reference] = [(); 2].map(|()| text(&mut rng, 200));
    let mut group = c.benchmark_group("texts of 200 words");
    group.bench_function("rouge", |b| {
        b.iter(|| rouge(black_box(&prediction), black_box(&reference)))
    });
    group.bench_function("meteor", |b| {
        b.iter(|| meteor(black_box(&prediction), black_box(&reference)))
    });
    group.finish();
}

fn statistics(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut scores = |mean: f64| -> UserScores {
        let user = |i: usize| format!("user-{i}");
        (0..50).map(|i| (user(i), mean + rng.random_range(-1.0..1.0))).collect()
    };
    let (first, second) = (scores(3.0), scores(3.1));
    let mut group = c.benchmark_group("50 users");
    group.sample_size(20);
    group.bench_function("bootstrap", |b| b.iter(|| bootstrap(black_box(&first), 0)));
    group.bench_function("paired test", |b| b.iter(|| paired_test(black_box(&first), &second, 0)));
    group.finish();
}

criterion_group!(benches, metrics, statistics);
criterion_main!(benches);

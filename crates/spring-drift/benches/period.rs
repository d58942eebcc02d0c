//! Scoring and selecting a period of 10,000 observations.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_drift::{
    Alpha, DetectorConfig, DriftScorer, Observation, ScoreStatistics, ScorerConfig, Selection,
    Spring, Standardize,
};

fn observations(count: u64) -> Vec<Observation> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    (0..count)
        .map(|order| {
            let base = rng.random_range(-9.0..-1.0);
            Observation::new(base, Some(rng.random_range(-9.0..-1.0)), order)
        })
        .collect()
}

fn period(criterion: &mut Criterion) {
    let observations = observations(10_000);
    let scores = Spring::default().score(&observations).unwrap_or_default();
    let mut group = criterion.benchmark_group("10k");
    let standardized =
        ScorerConfig::Spring { alpha: Alpha::default(), standardize: Standardize::Period };
    for (name, config) in [
        ("spring", ScorerConfig::default()),
        ("spring_standardized", standardized),
        ("random", ScorerConfig::Random { seed: 0 }),
    ] {
        let Ok(scorer) = config.init() else { continue };
        group.bench_function(name, |bencher| {
            bencher.iter(|| scorer.score(black_box(&observations)))
        });
    }
    group.bench_function("select_top_fraction", |bencher| {
        bencher.iter(|| Selection::default().select(black_box(&scores), &observations));
    });
    let page_hinkley = DetectorConfig::PageHinkley { tolerance: 0.25, threshold: 9.0, warm_up: 15 };
    for (name, detector) in [
        ("select_adaptive_page_hinkley", page_hinkley),
        ("select_adaptive_adwin", DetectorConfig::Adwin { confidence: 0.75, range: 1.0 }),
    ] {
        let selection = Selection::Adaptive { calm: 0.15, turning: 0.6, detector };
        group.bench_function(name, |bencher| {
            bencher.iter(|| selection.select(black_box(&scores), &observations))
        });
    }
    group.bench_function("statistics", |bencher| {
        bencher.iter(|| ScoreStatistics::of(black_box(&scores), Alpha::default()));
    });
    group.finish();
}

criterion_group!(benches, period);
criterion_main!(benches);

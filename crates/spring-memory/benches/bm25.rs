//! BM25 over histories of 200 (a full buffer), 2,000 and 20,000 documents of 100 terms each.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_memory::Bm25Index;

const TERMS: usize = 100;
const VOCABULARY: f64 = 30_000.0;

/// Terms of a Zipf-like distribution: the rank's logarithm is uniform.
fn text(rng: &mut ChaCha8Rng, terms: usize) -> String {
    let term = |rng: &mut ChaCha8Rng| format!("w{}", VOCABULARY.powf(rng.random::<f64>()) as u32);
    (0..terms).map(|_| term(rng)).collect::<Vec<_>>().join(" ")
}

fn filled(rng: &mut ChaCha8Rng, documents: u64) -> Bm25Index {
    let mut index = Bm25Index::default();
    for key in 0..documents {
        index.add(key, &text(rng, TERMS));
    }
    index
}

fn bm25(criterion: &mut Criterion) {
    for documents in [200, 2_000, 20_000] {
        let mut group = criterion.benchmark_group("bm25");
        let id = |what: &str| BenchmarkId::new(what, documents);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut index = filled(&mut rng, documents);
        let (new, query) = (text(&mut rng, TERMS), text(&mut rng, 15));
        group.bench_function(id("add and remove"), |bencher| {
            bencher.iter(|| {
                index.add(documents, black_box(&new));
                index.remove(documents)
            });
        });
        group.bench_function(id("search"), |bencher| {
            bencher.iter(|| index.search(black_box(&query), 2, |_| true));
        });
        group.bench_function(id("leave one out"), |bencher| {
            bencher.iter(|| index.leave_one_out(7, black_box(&query), 1));
        });
        group.finish();
    }
    // What each period pays for its threshold: a score for every item of a full buffer.
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let index = filled(&mut rng, 200);
    criterion.bench_function("bm25/calibrate on 200", |bencher| {
        bencher.iter_batched(
            || (0..200).map(|_| text(&mut rng, 15)).collect::<Vec<_>>(),
            |queries| {
                let scores =
                    queries.iter().zip(0..).map(|(query, key)| index.leave_one_out(key, query, 1));
                scores.map(Option::unwrap_or_default).sum::<f64>()
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, bm25);
criterion_main!(benches);

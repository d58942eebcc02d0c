//! The residual buffer at 200 places (the default), 20,000 and 2,000,000: one new item in, one old item out.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_memory::{BufferItem, BufferPolicyConfig, NoEmbeddings, ResidualBuffer};

fn buffer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffer");
    for policy in [BufferPolicyConfig::Residual, BufferPolicyConfig::BalancedPeriods] {
        for capacity in [200, 20_000, 2_000_000u64] {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut item = |key| {
                let score = rng.random();
                BufferItem { key, period: (key % 12) as u32, novelty: 0.0, quality: score, score }
            };
            let mut buffer = ResidualBuffer::with_policy(capacity as usize, policy.init());
            let first = (0..capacity).map(&mut item).collect();
            buffer.update(first, &NoEmbeddings).expect("scores are finite");
            let mut key = capacity;
            group.bench_function(BenchmarkId::new(buffer.policy().name().to_owned(), capacity), |bencher| {
                bencher.iter(|| {
                    key += 1;
                    buffer.update(vec![item(key)], &NoEmbeddings)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, buffer);
criterion_main!(benches);

//! What reading a file of questions costs.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_data as data;

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

fn files(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut entry = |i: usize| {
        let (text, title) = (text(&mut rng, 100), text(&mut rng, 8));
        serde_json::json!({"id": i.to_string(), "text": text, "title": title})
    };
    let records: Vec<_> = (0..100)
        .map(|user| {
            let profile: Vec<_> = (0..20).map(|i| entry(user * 20 + i)).collect();
            serde_json::json!({
                "id": user.to_string(), "input": "Generate a headline for the following article: …",
                "profile": profile
            })
        })
        .collect();
    let json = serde_json::to_vec(&records).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.json");
    std::fs::write(&path, &json).unwrap();
    let mut group = c.benchmark_group("LaMP-4, 100 users of 20 texts");
    group.sample_size(20).throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("count texts", |b| b.iter(|| data::text_counts(&path).unwrap()));
    group.bench_function("read streams", |b| {
        b.iter(|| data::read_streams(&path, None, &|_| true).unwrap())
    });
    group.finish();
}

criterion_group!(benches, files);
criterion_main!(benches);

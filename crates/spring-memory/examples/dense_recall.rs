//! Recall and speed of dense search, exact against the graphs, in one run: prints the tables of
//! docs/results/memory.md.
//!
//! `cargo run --release -p spring-memory --features hnsw_rs --example dense_recall [COUNT…]`, by
//! default 1000, 10000, 30000 and 100000. Vectors have 256 dimensions; "clustered" are fifty around
//! each of many centres, as texts of one topic are, "uniform" point anywhere, the hardest case
//! there is.

use std::{error::Error, time::Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_memory::{DenseConfig, DenseIndex, GraphOrigin, IndexKind, VectorStore};

const DIMENSIONS: usize = 256;
const QUERIES: usize = 200;
const K: usize = 10;
const ROUNDS: usize = 5;

fn random(rng: &mut ChaCha8Rng, size: f32) -> Vec<f32> {
    (0..DIMENSIONS).map(|_| rng.random_range(-size..size)).collect()
}

fn vectors(rng: &mut ChaCha8Rng, count: usize, clustered: bool) -> Vec<Vec<f32>> {
    if !clustered {
        return (0..count).map(|_| random(rng, 1.0)).collect();
    }
    let centres: Vec<Vec<f32>> = (0..count.div_ceil(50)).map(|_| random(rng, 1.0)).collect();
    let near = |rng: &mut ChaCha8Rng| -> Vec<f32> {
        let centre = &centres[rng.random_range(0..centres.len())];
        centre.iter().zip(random(rng, 0.7)).map(|(c, x)| c + x).collect()
    };
    (0..count).map(|_| near(rng)).collect()
}

/// The median of some rates, queries per second.
fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut counts: Vec<usize> =
        std::env::args().skip(1).map(|count| count.parse()).collect::<Result<_, _>>()?;
    if counts.is_empty() {
        counts = vec![1_000, 10_000, 30_000, 100_000];
    }
    println!("| vectors | kind | search | recall@{K} | queries/s | build s | load s |");
    println!("|---|---|---|---|---|---|---|");
    for count in counts {
        for clustered in [true, false] {
            measure(count, clustered)?;
        }
    }
    Ok(())
}

/// An index that is measured.
struct Candidate {
    name: &'static str,
    index: DenseIndex,
    build: f64,
    /// Seconds to read it back, where it is kept.
    load: Option<f64>,
    /// Queries per second by `ef_search`.
    widths: Vec<(usize, Vec<f64>)>,
}

impl Candidate {
    fn new(store: &VectorStore, kind: IndexKind) -> Result<Self, Box<dyn Error>> {
        // A graph at every size, so that the sizes can be compared.
        let config = DenseConfig::default().with_exact_below(0).with_index(kind);
        let name = config.init()?.name();
        let mut index = DenseIndex::from_vectors(store.clone(), config)?;
        let start = Instant::now();
        index.refresh();
        let build = start.elapsed().as_secs_f64();
        let dir = tempfile::tempdir()?;
        let mut load = None;
        if let Some(stamp) = index.save_graph(dir.path(), "graph")? {
            let start = Instant::now();
            assert_eq!(index.load_graph(dir.path(), "graph", &stamp), GraphOrigin::Loaded);
            load = Some(start.elapsed().as_secs_f64());
        }
        let widths = [16, 32, 64, 128, 256, 512].map(|ef| (ef, Vec::new())).into();
        Ok(Self { name, index, build, load, widths })
    }
}

fn measure(count: usize, clustered: bool) -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut all = vectors(&mut rng, count + QUERIES, clustered);
    let queries = all.split_off(count);
    let mut store = VectorStore::new(DIMENSIONS);
    for (vector, key) in all.iter().zip(0..) {
        store.add(key, vector)?;
    }
    let mut kinds = vec![IndexKind::Hnsw];
    if cfg!(feature = "hnsw_rs") {
        kinds.push(IndexKind::HnswRs);
    }
    let mut candidates: Vec<Candidate> =
        kinds.into_iter().map(|kind| Candidate::new(&store, kind)).collect::<Result<_, _>>()?;
    let mut exact_rates = Vec::new();
    // Rounds alternate, so that a busy machine is as unkind to each.
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for query in &queries {
            store.search(query, K, |_| true)?;
        }
        exact_rates.push(QUERIES as f64 / start.elapsed().as_secs_f64());
        for Candidate { index, widths, .. } in &mut candidates {
            for (ef_search, rates) in widths {
                index.set_ef_search(*ef_search)?;
                let start = Instant::now();
                for query in &queries {
                    index.search(query, K, |_| true)?;
                }
                rates.push(QUERIES as f64 / start.elapsed().as_secs_f64());
            }
        }
    }
    let kind = if clustered { "clustered" } else { "uniform" };
    println!("| {count} | {kind} | exact | 1 | {:.0} | | |", median(exact_rates));
    for Candidate { name, mut index, build, load, widths } in candidates {
        for (ef_search, rates) in widths {
            index.set_ef_search(ef_search)?;
            let recall = index.recall(&queries, K)?.unwrap_or_default();
            let (rate, load) =
                (median(rates), load.map_or(String::new(), |load| format!("{load:.2}")));
            println!(
                "| {count} | {kind} | {name}, ef {ef_search} | {recall:.3} | {rate:.0} | \
                 {build:.1} | {load} |"
            );
        }
    }
    Ok(())
}

//! BM25 and dense search.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use spring_core::spring_memory::{Bm25Index, DenseConfig, DenseIndex, VectorStore};

use super::timed;
use crate::protocol::Reply;

pub fn bm25(
    documents: Vec<String>,
    queries: Vec<String>,
    k: usize,
) -> impl FnMut() -> Result<Reply> {
    move || {
        let (building, index) = timed(|| {
            let mut index = Bm25Index::default();
            for (document, key) in documents.iter().zip(0..) {
                index.add(key, document);
            }
            index
        });
        let (searching, hits) = timed(|| {
            queries.iter().map(|query| index.search(query, k, |_| true)).collect::<Vec<_>>()
        });
        let result = hits.iter().flatten().map(|hit| hit.score).collect();
        let parts = vec![("index".into(), building), ("search".into(), searching)];
        Ok(Reply { parts, result, ..Reply::default() })
    }
}

pub fn dense(
    mut vectors: impl Iterator<Item = Result<Vec<f32>>>,
    dimensions: usize,
    count: usize,
    links: usize,
    ef_construction: usize,
    ef_search: Vec<usize>,
    truth: Vec<Vec<u64>>,
) -> Result<impl FnMut() -> Result<Reply>> {
    let mut store = VectorStore::new(dimensions);
    for (vector, key) in vectors.by_ref().take(count).zip(0..) {
        store.add(key, &vector?)?;
    }
    let queries = vectors.collect::<Result<Vec<_>>>()?;
    ensure!(
        queries.len() == truth.len(),
        "{} queries, and the neighbours of {}",
        queries.len(),
        truth.len()
    );
    // A graph at every size, so that it is the graph that is compared.
    let config = DenseConfig::default()
        .with_exact_below(0)
        .with_links(links)
        .with_ef_construction(ef_construction);
    let mut index = DenseIndex::from_vectors(store, config)?;
    let (building, _) = timed(|| index.refresh());
    Ok(move || {
        let mut reply = Reply { parts: vec![("build".into(), building)], ..Reply::default() };
        for ef in &ef_search {
            index.set_ef_search(*ef)?;
            let (seconds, found) = timed(|| {
                queries
                    .iter()
                    .zip(&truth)
                    .map(|(query, truth)| index.search(query, truth.len(), |_| true))
                    .collect::<Result<Vec<_>, _>>()
            });
            let found =
                found?.into_iter().map(|hits| hits.into_iter().map(|hit| hit.key).collect());
            reply.parts.push((format!("ef {ef}"), seconds));
            reply.facts.push((format!("recall, ef {ef}"), recall(found, &truth)));
        }
        Ok(reply)
    })
}

/// The share of the true nearest that were found.
fn recall(found: impl Iterator<Item = HashSet<u64>>, truth: &[Vec<u64>]) -> f64 {
    let of_them: usize = found
        .zip(truth)
        .map(|(found, truth)| truth.iter().filter(|key| found.contains(*key)).count())
        .sum();
    of_them as f64 / truth.iter().map(Vec::len).sum::<usize>() as f64
}

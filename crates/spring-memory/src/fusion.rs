//! One ranking out of several.

use std::collections::BTreeMap;

use crate::{Hit, hit::top_k};

/// The constant of reciprocal rank fusion in Cormack, Clarke and Büttcher (2009).
pub const RRF_CONSTANT: f64 = 60.0;

/// Reciprocal rank fusion: a document scores Σ 1 / (`constant` + rank) over the rankings that have
/// it, ranks counted from 1. Only the order within each ranking counts, so scores of any units go
/// together. The `k` best come back, the newer of equals first.
///
/// ```
/// use spring_memory::{Hit, RRF_CONSTANT, reciprocal_rank_fusion};
/// let ranking = |keys: [u64; 2]| keys.map(|key| Hit::new(key, 0.0));
/// let fused = reciprocal_rank_fusion(&[&ranking([7, 5]), &ranking([5, 9])], RRF_CONSTANT, 3);
/// assert_eq!(fused.iter().map(|hit| hit.key).collect::<Vec<_>>(), [5, 7, 9]);
/// ```
pub fn reciprocal_rank_fusion(rankings: &[&[Hit]], constant: f64, k: usize) -> Vec<Hit> {
    let mut scores: BTreeMap<u64, f64> = BTreeMap::new();
    for ranking in rankings {
        for (place, hit) in ranking.iter().enumerate() {
            *scores.entry(hit.key).or_default() += (constant + place as f64 + 1.0).recip();
        }
    }
    top_k(scores.into_iter().map(|(key, score)| Hit { key, score }).collect(), k)
}

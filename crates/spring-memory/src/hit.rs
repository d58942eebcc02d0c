//! What a search returns.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// One document found by a search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hit {
    /// The document's key; the larger of two is the newer.
    pub key: u64,
    /// How well it fits the query, in the unit of the search that found it; larger is better.
    pub score: f64,
}

impl Hit {
    /// A document with its score.
    pub fn new(key: u64, score: f64) -> Self {
        Self { key, score }
    }

    /// The order of a ranking: larger scores first, of equal ones the newer document.
    pub fn ranking_order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(other.key.cmp(&self.key))
    }
}

/// The first `k` of `hits` in [`Hit::ranking_order`].
pub(crate) fn top_k(mut hits: Vec<Hit>, k: usize) -> Vec<Hit> {
    if k < hits.len() {
        hits.select_nth_unstable_by(k, Hit::ranking_order);
        hits.truncate(k);
    }
    hits.sort_unstable_by(Hit::ranking_order);
    hits
}

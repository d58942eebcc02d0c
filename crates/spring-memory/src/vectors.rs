//! Embedding vectors by key, with exact search by cosine similarity.

use std::collections::HashMap;

use spring_numerics::dot::dot_with;
use spring_numerics::simd::{Simd, WithSimd, dispatch};
use thiserror::Error;

use crate::{Embeddings, Hit, hit::top_k};

/// Why a vector was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VectorError {
    /// Not as long as the others.
    #[error("{what} has {found} dimensions, the index {expected}: embed both with the same model")]
    Dimensions {
        /// Which vector: `vector 7` or `the query`.
        what: String,
        /// Its length.
        found: usize,
        /// The index's dimensions.
        expected: usize,
    },
    /// It holds a NaN or an infinity, or nothing but zeros.
    #[error("{what} is zero or not finite: it has no direction, embed it again")]
    NoDirection {
        /// Which vector: `vector 7` or `the query`.
        what: String,
    },
}

/// Vectors of one length under `u64` keys, kept at length 1, larger keys being newer.
///
/// Search compares the query with every vector: exact, and fast enough for thousands
/// ([`DenseIndex`](crate::DenseIndex) goes beyond).
#[derive(Debug, Clone)]
pub struct VectorStore {
    dimensions: usize,
    keys: Vec<u64>,
    /// The vector of `keys[i]` at `i * dimensions..`.
    values: Vec<f32>,
    rows: HashMap<u64, usize>,
}

impl VectorStore {
    /// An empty store for vectors of this length.
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions, keys: Vec::new(), values: Vec::new(), rows: HashMap::new() }
    }

    /// The length of every vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> Vec<u64> {
        let mut keys = self.keys.clone();
        keys.sort_unstable();
        keys
    }

    /// The vector with this key, at length 1.
    pub fn get(&self, key: u64) -> Option<&[f32]> {
        self.rows.get(&key).map(|&row| self.row(row))
    }

    /// Adds a vector, scaled to length 1; one with the same key is replaced, which the answer says.
    ///
    /// # Errors
    /// Another length than the store's, or no direction.
    pub fn add(&mut self, key: u64, vector: &[f32]) -> Result<bool, VectorError> {
        let unit = self.unit(vector, || format!("vector {key}"))?;
        match self.rows.get(&key) {
            Some(&row) => {
                self.values[row * self.dimensions..][..self.dimensions].copy_from_slice(&unit);
                Ok(true)
            }
            None => {
                self.rows.insert(key, self.keys.len());
                self.keys.push(key);
                self.values.extend(unit);
                Ok(false)
            }
        }
    }

    /// Removes a vector and says whether there was one.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(row) = self.rows.remove(&key) else { return false };
        let last = self.keys.len() - 1;
        self.keys.swap_remove(row);
        if row < last {
            self.rows.insert(self.keys[row], row);
            self.values.copy_within(last * self.dimensions.., row * self.dimensions);
        }
        self.values.truncate(last * self.dimensions);
        true
    }

    /// The `k` vectors nearest to `query` that `filter` lets through, by cosine similarity (−1 to
    /// 1), best first, the newer of equals first.
    ///
    /// # Errors
    /// A query of another length, or without direction.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: impl Fn(u64) -> bool,
    ) -> Result<Vec<Hit>, VectorError> {
        let query = self.query(query)?;
        let rows = self.keys.iter().copied().enumerate().filter(|&(_, key)| filter(key));
        Ok(top_k(self.compare(&query, rows), k))
    }

    /// Some rows, given with their keys, with their similarity to a query of length 1.
    pub(crate) fn compare(
        &self,
        query: &[f32],
        rows: impl Iterator<Item = (usize, u64)>,
    ) -> Vec<Hit> {
        dispatch(Compare { store: self, query, rows })
    }

    pub(crate) fn row_of(&self, key: u64) -> Option<usize> {
        self.rows.get(&key).copied()
    }

    /// The query at length 1.
    pub(crate) fn query(&self, query: &[f32]) -> Result<Vec<f32>, VectorError> {
        self.unit(query, || "the query".to_owned())
    }

    /// The vector in a row below [`len`](Self::len), in no order of keys.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }

    fn unit(&self, vector: &[f32], what: impl Fn() -> String) -> Result<Vec<f32>, VectorError> {
        if vector.len() != self.dimensions {
            return Err(VectorError::Dimensions {
                what: what(),
                found: vector.len(),
                expected: self.dimensions,
            });
        }
        // In double precision no sum of squares overflows or vanishes.
        let norm = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err(VectorError::NoDirection { what: what() });
        }
        Ok(vector.iter().map(|&x| (f64::from(x) / norm) as f32).collect())
    }
}

impl Embeddings for VectorStore {
    fn embedding(&self, key: u64) -> Option<&[f32]> {
        self.get(key)
    }
}

struct Compare<'s, R> {
    store: &'s VectorStore,
    query: &'s [f32],
    rows: R,
}

impl<R: Iterator<Item = (usize, u64)>> WithSimd for Compare<'_, R> {
    type Output = Vec<Hit>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Hit> {
        let Self { store, query, rows } = self;
        let mut hits = Vec::new();
        for (row, key) in rows {
            hits.push(Hit { key, score: f64::from(dot_with(simd, query, store.row(row))) });
        }
        hits
    }
}

//! What finds the vectors near a query, behind one trait.

use std::fmt;

use spring_numerics::dot::{dot, dot_with};
use spring_numerics::simd::{Simd, WithSimd, dispatch};

use crate::Layers;

/// Vectors of length 1, no two of which are equal, numbered from 0: what a [`VectorIndex`] is built
/// over.
#[derive(Debug, Clone, Copy)]
pub struct Points<'v> {
    vectors: &'v [f32],
    dimensions: usize,
}

impl<'v> Points<'v> {
    /// Vectors one after the other, each with this number of dimensions; `None` unless that divides
    /// them.
    pub fn new(vectors: &'v [f32], dimensions: usize) -> Option<Self> {
        let divides = if dimensions == 0 {
            vectors.is_empty()
        } else {
            vectors.len().is_multiple_of(dimensions)
        };
        divides.then_some(Self { vectors, dimensions })
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.vectors.len().checked_div(self.dimensions).unwrap_or(0)
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// The length of every vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All vectors, one after the other.
    pub fn vectors(&self) -> &'v [f32] {
        self.vectors
    }

    /// The vector of a point below [`len`](Self::len).
    pub fn vector(&self, point: usize) -> &'v [f32] {
        &self.vectors[point * self.dimensions..][..self.dimensions]
    }

    /// The cosine similarity of a point and a query of length 1, the same to the last bit whatever
    /// index found the point.
    pub fn similarity(&self, point: usize, query: &[f32]) -> f32 {
        dot(query, self.vector(point))
    }
}

/// Finds the vectors near a query. It holds no vectors that count: removed ones, copies of one
/// vector and what is newer than the index are the business of [`DenseIndex`](crate::DenseIndex).
pub trait VectorIndex: fmt::Debug + Send + Sync {
    /// The name that chooses it in a configuration.
    fn name(&self) -> &'static str;

    /// Indexes these points in place of what was indexed before. The same points give the same
    /// index.
    fn build(&mut self, points: Points<'_>);

    /// About the `ef` points nearest to a query of length 1, in no order, with their similarities
    /// as [`Points::similarity`] gives them. `points` are those it was built over.
    fn near(&self, points: Points<'_>, query: &[f32], ef: usize) -> Vec<(usize, f32)>;

    /// What of it can be kept on disk; `None` where it is built anew instead.
    fn layers(&self) -> Option<&Layers> {
        None
    }

    /// Takes what was kept, if a search in it stays inside these points, and says whether it did.
    fn load(&mut self, points: Points<'_>, layers: Layers) -> bool {
        let _ = (points, layers);
        false
    }
}

/// Compares the query with every point, `exact` in settings: the reference that the others are
/// tested against. (A [`DenseIndex`](crate::DenseIndex) with this setting compares its vectors
/// themselves and builds nothing.)
#[derive(Debug, Clone, Copy, Default)]
pub struct ExactIndex;

impl VectorIndex for ExactIndex {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn build(&mut self, _: Points<'_>) {}

    fn near(&self, points: Points<'_>, query: &[f32], ef: usize) -> Vec<(usize, f32)> {
        let mut near: Vec<(usize, f32)> = dispatch(Compare { points, query });
        if ef < near.len() {
            near.select_nth_unstable_by(ef, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            near.truncate(ef);
        }
        near
    }
}

struct Compare<'v> {
    points: Points<'v>,
    query: &'v [f32],
}

impl WithSimd for Compare<'_> {
    type Output = Vec<(usize, f32)>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { points, query } = self;
        let near = |point| (point, dot_with(simd, query, points.vector(point)));
        (0..points.len()).map(near).collect()
    }
}

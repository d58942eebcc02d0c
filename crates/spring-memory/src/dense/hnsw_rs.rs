//! The graph of the hnsw_rs crate.
//!
//! What the crate does not have is around it: [`DenseIndex`](crate::DenseIndex) hides removed
//! points and builds anew after many, settings are checked before its constructor (which ends the
//! process above 256 links), points are inserted one by one in their order (its parallel insertion
//! gives another graph each time), and nothing is read from disk (its reader panics on damaged
//! files).

use std::fmt;

use ::hnsw_rs::prelude::{Distance, Hnsw};
use spring_numerics::dot::dot;

use crate::{Points, VectorIndex};

/// Layers that the crate has at most.
const MAX_LAYERS: usize = 16;

/// The graph of the crate hnsw_rs, `hnsw_rs` in settings. It holds a copy of every vector.
pub struct HnswRsIndex {
    links: usize,
    ef_construction: usize,
    graph: Option<Hnsw<'static, f32, CosineDistance>>,
}

/// 1 − cosine of vectors of length 1. The crate's own panics where rounding makes it negative.
struct CosineDistance;

impl Distance<f32> for CosineDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - dot(a, b)).max(0.0)
    }
}

impl HnswRsIndex {
    /// An empty graph; see [`DenseConfig`](crate::DenseConfig) for the settings.
    pub(crate) fn new(links: usize, ef_construction: usize) -> Self {
        Self { links, ef_construction, graph: None }
    }
}

impl fmt::Debug for HnswRsIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HnswRsIndex")
            .field("links", &self.links)
            .field("ef_construction", &self.ef_construction)
            .field("points", &self.graph.as_ref().map_or(0, Hnsw::get_nb_point))
            .finish()
    }
}

impl VectorIndex for HnswRsIndex {
    fn name(&self) -> &'static str {
        "hnsw_rs"
    }

    fn build(&mut self, points: Points<'_>) {
        let (links, ef) = (self.links, self.ef_construction);
        let graph = Hnsw::new(links, points.len(), MAX_LAYERS, ef, CosineDistance);
        for point in 0..points.len() {
            graph.insert((points.vector(point), point));
        }
        self.graph = Some(graph);
    }

    fn near(&self, points: Points<'_>, query: &[f32], ef: usize) -> Vec<(usize, f32)> {
        let Some(graph) = &self.graph else { return Vec::new() };
        // Its distances are rounded once more than the similarities that all indexes give.
        let near = graph.search(query, ef, ef).into_iter().map(|near| near.d_id);
        near.map(|point| (point, points.similarity(point, query))).collect()
    }
}

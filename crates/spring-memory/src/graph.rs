//! An HNSW graph (Malkov and Yashunin 2016) over flat arrays.
//!
//! Own code beside the hnsw_rs crate: at 10,000 vectors it is built three to four times as fast and
//! searched seven to ten times as fast, and its links can be kept on disk and read back without
//! trust (docs/results/memory.md has the numbers; `hnsw_rs` among the settings is the crate
//! itself).

mod construction;
mod layers;

pub use layers::Layers;
use spring_numerics::simd::dispatch;

use self::construction::Construction;
use crate::{Points, VectorIndex};

/// The graph of this crate, `hnsw` in settings.
#[derive(Debug)]
pub struct HnswIndex {
    links: usize,
    ef_construction: usize,
    layers: Option<Layers>,
}

impl HnswIndex {
    /// An empty graph; see [`DenseConfig`](crate::DenseConfig) for the settings.
    pub(crate) fn new(links: usize, ef_construction: usize) -> Self {
        Self { links, ef_construction, layers: None }
    }
}

impl VectorIndex for HnswIndex {
    fn name(&self) -> &'static str {
        "hnsw"
    }

    fn build(&mut self, points: Points<'_>) {
        self.layers = (!points.is_empty()).then(|| {
            dispatch(Construction {
                vectors: points.vectors(),
                dimensions: points.dimensions(),
                links: self.links,
                ef: self.ef_construction,
            })
        });
    }

    fn near(&self, points: Points<'_>, query: &[f32], ef: usize) -> Vec<(usize, f32)> {
        let Some(layers) = &self.layers else { return Vec::new() };
        let near = layers.search(points.vectors(), query, ef);
        near.into_iter().map(|near| (near.point() as usize, near.similarity())).collect()
    }

    fn layers(&self) -> Option<&Layers> {
        self.layers.as_ref()
    }

    fn load(&mut self, points: Points<'_>, layers: Layers) -> bool {
        let is_sound = layers.is_sound(points.len());
        self.layers = is_sound.then_some(layers);
        is_sound
    }
}

//! The HNSW graph over a snapshot of the vectors: a cache, never the truth.

use crate::{DenseConfig, Hit, VectorStore, construction::Construction, dot::dispatch, layers::Layers};

/// A graph over the vectors that there were when it was built.
pub(crate) struct Graph {
    /// Which vector each point of the graph is; ascending.
    keys: Vec<u64>,
    /// The vector of `keys[i]` at `i * dimensions..`.
    vectors: Vec<f32>,
    layers: Layers,
    /// The points whose vector was removed or replaced: searches still pass through them.
    dead: Vec<bool>,
    tombstones: usize,
}

impl Graph {
    /// Inserts all vectors by ascending key: the same vectors give the same graph.
    pub(crate) fn build(store: &VectorStore, config: &DenseConfig) -> Self {
        let keys = store.keys();
        let vectors = vectors_of(store, &keys);
        let layers = dispatch(Construction {
            vectors: &vectors,
            dimensions: store.dimensions(),
            links: config.links,
            ef: config.ef_construction,
        });
        Self::from_parts(keys, vectors, layers)
    }

    /// A graph with these links over the vectors with these keys.
    pub(crate) fn new(store: &VectorStore, keys: Vec<u64>, layers: Layers) -> Self {
        let vectors = vectors_of(store, &keys);
        Self::from_parts(keys, vectors, layers)
    }

    fn from_parts(keys: Vec<u64>, vectors: Vec<f32>, layers: Layers) -> Self {
        Self { dead: vec![false; keys.len()], tombstones: 0, keys, vectors, layers }
    }

    /// The number of points, tombstones among them.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// Which vector each point is; ascending.
    pub(crate) fn keys(&self) -> &[u64] {
        &self.keys
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The vector with this key changes or goes.
    pub(crate) fn bury(&mut self, key: u64) {
        if let Ok(point) = self.keys.binary_search(&key)
            && !self.dead[point]
        {
            self.dead[point] = true;
            self.tombstones += 1;
        }
    }

    /// About the `ef` nearest vectors in no order, tombstones left out.
    pub(crate) fn near(&self, query: &[f32], ef: usize) -> impl Iterator<Item = Hit> {
        self.layers.search(&self.vectors, query, ef).into_iter().filter_map(move |near| {
            let point = near.point() as usize;
            (!self.dead[point]).then(|| Hit { key: self.keys[point], score: f64::from(near.similarity()) })
        })
    }
}

/// The vectors with these keys, one after the other.
fn vectors_of(store: &VectorStore, keys: &[u64]) -> Vec<f32> {
    let mut vectors = Vec::with_capacity(keys.len() * store.dimensions());
    for &key in keys {
        vectors.extend_from_slice(store.get(key).unwrap_or_default());
    }
    vectors
}

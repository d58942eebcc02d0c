//! The HNSW graph over a snapshot of the vectors: a cache, never the truth.
//!
//! hnsw_rs builds it; then its links are copied into flat arrays ([`Layers`]) and it is dropped:
//! searching those is faster. What hnsw_rs would answer with an exit or a panic is
//! ruled out before the call: link counts out of range ([`DenseConfig::check`](crate::DenseConfig)), NaN and
//! negative distances (vectors are of length 1, distances are clamped).

use hnsw_rs::prelude::{Distance, Hnsw};

use crate::{DenseConfig, Hit, VectorStore, dot::dot_once, layers::Layers};

/// As many as hnsw_rs knows.
const MAX_LAYERS: usize = 16;

/// Cosine distance between rows of the store, so that hnsw_rs copies row numbers instead of vectors.
struct Rows<'s>(&'s VectorStore);

impl Distance<u32> for Rows<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        // Each point of the graph is one row.
        let ([a], [b]) = (a, b) else { return 2.0 };
        (1.0 - dot_once(self.0.row(*a as usize), self.0.row(*b as usize))).max(0.0)
    }
}

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
    /// Inserts all vectors serially, by ascending key: the same vectors give the same graph.
    pub(crate) fn build(store: &VectorStore, config: &DenseConfig) -> Self {
        let keys = store.keys();
        let hnsw = Hnsw::new(config.links, keys.len(), MAX_LAYERS, config.ef_construction, Rows(store));
        for (point, row) in keys.iter().filter_map(|&key| store.row_of(key)).enumerate() {
            hnsw.insert((&[row as u32], point));
        }
        let layers = layers_of(&hnsw, keys.len());
        // Before the vectors are copied, so that there is room.
        drop(hnsw);
        Self::new(store, keys, layers)
    }

    /// A graph with these links over the vectors with these keys.
    pub(crate) fn new(store: &VectorStore, keys: Vec<u64>, layers: Layers) -> Self {
        let mut vectors = Vec::with_capacity(keys.len() * store.dimensions());
        for &key in &keys {
            vectors.extend_from_slice(store.get(key).unwrap_or_default());
        }
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

/// The links of a graph of so many points.
fn layers_of(hnsw: &Hnsw<'_, u32, Rows<'_>>, points: usize) -> Layers {
    let indexed = hnsw.get_point_indexation();
    let top = usize::from(hnsw.get_max_level_observed());
    let mut lists = vec![vec![Vec::new(); points]; top + 1];
    for level in 0..=top {
        for point in indexed.get_layer_iterator(level) {
            for (lists, neighbours) in lists.iter_mut().zip(point.get_neighborhood_id()) {
                lists[point.get_origin_id()] = neighbours.iter().map(|link| link.d_id as u32).collect();
            }
        }
    }
    // hnsw_rs begins at the first point that reached the highest layer.
    let entry = indexed.get_layer_iterator(top).next().map_or(0, |point| point.get_origin_id());
    Layers::new(entry as u32, &lists)
}

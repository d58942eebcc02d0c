//! The HNSW graph over a snapshot of the vectors: a cache, never the truth.

use crate::{DenseConfig, Hit, VectorStore, construction::Construction, dot::dispatch, layers::Layers};

/// A graph over the vectors that there were when it was built.
pub(crate) struct Graph {
    /// Ascending.
    keys: Vec<u64>,
    /// The keys whose vector was removed or replaced: searches still pass through it.
    dead: Vec<bool>,
    tombstones: usize,
    points: Points,
    layers: Layers,
}

/// The different vectors: equal ones are one point of the graph.
struct Points {
    /// The vector of point `p` at `p * dimensions..`.
    vectors: Vec<f32>,
    /// The places in `keys` of those with one vector, point after point: those of `p` at `starts[p]..starts[p + 1]`.
    members: Vec<u32>,
    starts: Vec<usize>,
}

impl Points {
    /// In the order of their first keys.
    fn new(store: &VectorStore, keys: &[u64]) -> Self {
        let rows: Vec<&[f32]> = keys.iter().map(|&key| store.get(key).unwrap_or_default()).collect();
        let bits = |&place: &u32| rows[place as usize].iter().map(|number| number.to_bits());
        let mut sorted: Vec<u32> = (0..keys.len() as u32).collect();
        sorted.sort_unstable_by(|a, b| bits(a).cmp(bits(b)).then(a.cmp(b)));
        let mut equal: Vec<&[u32]> = sorted.chunk_by(|a, b| bits(a).eq(bits(b))).collect();
        equal.sort_unstable_by_key(|places| places[0]);

        let mut vectors = Vec::with_capacity(equal.len() * store.dimensions());
        let mut starts = vec![0];
        for places in &equal {
            vectors.extend_from_slice(rows[places[0] as usize]);
            starts.push(starts[starts.len() - 1] + places.len());
        }
        Self { vectors, members: equal.concat(), starts }
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }
}

impl Graph {
    /// Inserts all vectors by ascending key: the same vectors give the same graph.
    pub(crate) fn build(store: &VectorStore, config: &DenseConfig) -> Self {
        let keys = store.keys();
        let points = Points::new(store, &keys);
        let layers = dispatch(Construction {
            vectors: &points.vectors,
            dimensions: store.dimensions(),
            links: config.links,
            ef: config.ef_construction,
        });
        Self { dead: vec![false; keys.len()], tombstones: 0, keys, points, layers }
    }

    /// A graph with these links over the vectors with these keys, if that is what they are.
    pub(crate) fn new(store: &VectorStore, keys: Vec<u64>, layers: Layers) -> Option<Self> {
        if !keys.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let points = Points::new(store, &keys);
        let is_sound = layers.is_sound(points.len());
        is_sound.then(|| Self { dead: vec![false; keys.len()], tombstones: 0, keys, points, layers })
    }

    /// The number of vectors, tombstones among them.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// The keys of the vectors; ascending.
    pub(crate) fn keys(&self) -> &[u64] {
        &self.keys
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The vector with this key changes or goes.
    pub(crate) fn bury(&mut self, key: u64) {
        if let Ok(place) = self.keys.binary_search(&key)
            && !self.dead[place]
        {
            self.dead[place] = true;
            self.tombstones += 1;
        }
    }

    /// About the `ef` nearest vectors and their copies in no order, tombstones left out.
    pub(crate) fn near(&self, query: &[f32], ef: usize) -> impl Iterator<Item = Hit> {
        let Points { vectors, members, starts } = &self.points;
        self.layers.search(vectors, query, ef).into_iter().flat_map(move |near| {
            let (point, score) = (near.point() as usize, f64::from(near.similarity()));
            let places = members[starts[point]..starts[point + 1]].iter().map(|&place| place as usize);
            places.filter(|&place| !self.dead[place]).map(move |place| Hit { key: self.keys[place], score })
        })
    }
}

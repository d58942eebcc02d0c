//! An index over the vectors that there were at some moment: a cache, never the truth.

use crate::{DenseConfig, Hit, Layers, Points, VectorIndex, VectorStore};

/// An index with the vectors that it was built over.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Ascending.
    keys: Vec<u64>,
    /// The keys whose vector was removed or replaced: searches still pass through it.
    dead: Vec<bool>,
    tombstones: usize,
    distinct: Distinct,
    index: Box<dyn VectorIndex>,
}

/// The different vectors: equal ones are one point of the index. More copies than candidates would
/// have links to copies alone, which no search would leave again.
#[derive(Debug)]
struct Distinct {
    dimensions: usize,
    /// The vector of point `p` at `p * dimensions..`.
    vectors: Vec<f32>,
    /// The places in `keys` of those with one vector, point after point: those of `p` at
    /// `starts[p]..starts[p + 1]`.
    members: Vec<u32>,
    starts: Vec<usize>,
}

impl Distinct {
    /// In the order of their first keys.
    fn new(store: &VectorStore, keys: &[u64]) -> Self {
        let rows: Vec<&[f32]> =
            keys.iter().map(|&key| store.get(key).unwrap_or_default()).collect();
        let bits = |&place: &u32| rows[place as usize].iter().map(|number| number.to_bits());
        let mut sorted: Vec<u32> = (0..keys.len() as u32).collect();
        sorted.sort_unstable_by(|a, b| bits(a).cmp(bits(b)).then(a.cmp(b)));
        let mut equal: Vec<&[u32]> = sorted.chunk_by(|a, b| bits(a).eq(bits(b))).collect();
        equal.sort_unstable_by_key(|places| places[0]);

        let dimensions = store.dimensions();
        let mut vectors = Vec::with_capacity(equal.len() * dimensions);
        let mut starts = vec![0];
        for places in &equal {
            vectors.extend_from_slice(rows[places[0] as usize]);
            starts.push(starts[starts.len() - 1] + places.len());
        }
        Self { dimensions, vectors, members: equal.concat(), starts }
    }

    fn points(&self) -> Option<Points<'_>> {
        Points::new(&self.vectors, self.dimensions)
    }

    /// The places in `keys` of the vectors that are this point.
    fn places(&self, point: usize) -> impl Iterator<Item = usize> {
        let places = &self.members[self.starts[point]..self.starts[point + 1]];
        places.iter().map(|&place| place as usize)
    }
}

impl Snapshot {
    /// Indexes all vectors of the store: the same vectors give the same snapshot.
    pub(crate) fn build(store: &VectorStore, mut index: Box<dyn VectorIndex>) -> Self {
        let keys = store.keys();
        let distinct = Distinct::new(store, &keys);
        if let Some(points) = distinct.points() {
            index.build(points);
        }
        Self::new(keys, distinct, index)
    }

    /// The snapshot with these links over the vectors with these keys, if that is what they are.
    pub(crate) fn with_layers(
        store: &VectorStore,
        config: &DenseConfig,
        keys: Vec<u64>,
        layers: Layers,
    ) -> Option<Self> {
        let mut index = config.init().ok().filter(|_| keys.is_sorted_by(|a, b| a < b))?;
        let distinct = Distinct::new(store, &keys);
        index.load(distinct.points()?, layers).then(|| Self::new(keys, distinct, index))
    }

    fn new(keys: Vec<u64>, distinct: Distinct, index: Box<dyn VectorIndex>) -> Self {
        Self { dead: vec![false; keys.len()], tombstones: 0, keys, distinct, index }
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

    /// What can be kept on disk.
    pub(crate) fn kept(&self) -> Option<(&[u64], &Layers)> {
        self.index.layers().map(|layers| (self.keys(), layers))
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
        let near = self.distinct.points().map(|points| self.index.near(points, query, ef));
        near.into_iter().flatten().flat_map(move |(point, similarity)| {
            let alive = self.distinct.places(point).filter(|&place| !self.dead[place]);
            alive.map(move |place| Hit::new(self.keys[place], f64::from(similarity)))
        })
    }
}

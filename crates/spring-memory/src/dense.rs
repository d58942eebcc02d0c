//! Search by embedding: exact while there are few vectors, through an HNSW graph when there are many.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Embeddings, Hit, VectorError, VectorStore, hit::top_k};
#[cfg(feature = "hnsw")]
use crate::{
    graph::Graph,
    graph_dump::{self, GraphDumpError, GraphStamp},
};
#[cfg(not(feature = "hnsw"))]
use no_graph::Graph;

/// When and how a [`DenseIndex`] builds its graph.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenseConfig {
    /// Below this many vectors there is no graph: comparing with all of them is exact and needs nothing
    /// built. Default 50,000: from there on a comparison with all takes some milliseconds; building the graph
    /// takes some ten seconds (docs/results/memory.md).
    pub exact_below: usize,
    /// Links of a point of the graph in each layer, 4 to 128; twice as many in the lowest. Default 16.
    pub links: usize,
    /// Candidates that the construction looks at for a point, `links` to 4096. Default 100.
    pub ef_construction: usize,
    /// Candidates that a search looks at, at least; 1 to 65,536. More find more and take longer. Default 64.
    pub ef_search: usize,
    /// [`refresh`](DenseIndex::refresh) builds the graph anew once removed vectors, or those that it lacks,
    /// are more than this share of its points; 0 to 1. Default 0.2.
    pub rebuild_share: f64,
}

impl Default for DenseConfig {
    fn default() -> Self {
        Self { exact_below: 50_000, links: 16, ef_construction: 100, ef_search: 64, rebuild_share: 0.2 }
    }
}

/// A setting that there is no index for.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("dense index setting {name} = {value}: must be {range}")]
pub struct DenseConfigError {
    /// The setting's name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// What it may be.
    pub range: &'static str,
}

impl DenseConfig {
    fn check(&self) -> Result<(), DenseConfigError> {
        let wrong = |name, value: f64, range| Err(DenseConfigError { name, value, range });
        if !(4..=128).contains(&self.links) {
            return wrong("links", self.links as f64, "4 to 128");
        }
        if !(self.links..=4096).contains(&self.ef_construction) {
            return wrong("ef_construction", self.ef_construction as f64, "from `links` to 4096");
        }
        if !(1..=65_536).contains(&self.ef_search) {
            return wrong("ef_search", self.ef_search as f64, "1 to 65536");
        }
        if !(0.0..=1.0).contains(&self.rebuild_share) {
            return wrong("rebuild_share", self.rebuild_share, "0 to 1");
        }
        Ok(())
    }
}

/// What became of a graph's dump.
#[cfg(feature = "hnsw")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphOrigin {
    /// It was sound, and read.
    Loaded,
    /// It was not, and the graph was built anew; with the reason.
    Rebuilt(String),
    /// There are too few vectors for a graph.
    NotNeeded,
}

/// Nearest vectors by cosine similarity.
///
/// The vectors are the truth; the graph over many of them is a cache that may lag behind: what it lacks is
/// compared one by one, what it has too much is left out, and scores are always computed from the vectors. So
/// every answer is right as far as it goes, before and after [`refresh`](Self::refresh); only with a graph
/// may a near vector be missed. Without the feature `hnsw` there is no graph and every search is exact.
///
/// ```
/// use spring_memory::{DenseConfig, DenseIndex};
/// let mut index = DenseIndex::new(2, DenseConfig::default())?;
/// index.add(1, &[1.0, 0.0])?;
/// index.add(2, &[3.0, 3.0])?;
/// index.add(3, &[0.0, -1.0])?;
/// let hits = index.search(&[0.0, 1.0], 2, |_| true)?;
/// assert_eq!(hits.iter().map(|hit| hit.key).collect::<Vec<_>>(), [2, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DenseIndex {
    config: DenseConfig,
    store: VectorStore,
    graph: Option<Graph>,
    /// The vectors that the graph lacks; empty without one.
    pending: BTreeSet<u64>,
}

impl fmt::Debug for DenseIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenseIndex")
            .field("config", &self.config)
            .field("dimensions", &self.store.dimensions())
            .field("len", &self.len())
            .field("graph", &self.graph.as_ref().map(Graph::len))
            .field("pending", &self.pending.len())
            .finish()
    }
}

impl DenseIndex {
    /// An empty index for vectors of this length.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(dimensions: usize, config: DenseConfig) -> Result<Self, DenseConfigError> {
        Self::from_vectors(VectorStore::new(dimensions), config)
    }

    /// An index over vectors, still without a graph: [`refresh`](Self::refresh) builds it.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn from_vectors(store: VectorStore, config: DenseConfig) -> Result<Self, DenseConfigError> {
        config.check()?;
        Ok(Self { config, store, graph: None, pending: BTreeSet::new() })
    }

    /// The settings.
    pub fn config(&self) -> &DenseConfig {
        &self.config
    }

    /// Changes how many candidates a search looks at; the graph stays.
    ///
    /// # Errors
    /// A number out of [`DenseConfig::ef_search`]'s range; the old one stays.
    pub fn set_ef_search(&mut self, ef_search: usize) -> Result<(), DenseConfigError> {
        let config = DenseConfig { ef_search, ..self.config };
        config.check()?;
        self.config = config;
        Ok(())
    }

    /// The vectors.
    pub fn vectors(&self) -> &VectorStore {
        &self.store
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Whether searches go through a graph.
    pub fn has_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// Adds a vector; one with the same key is replaced, which the answer says.
    ///
    /// # Errors
    /// Another length than the index's, or no direction.
    pub fn add(&mut self, key: u64, vector: &[f32]) -> Result<bool, VectorError> {
        let replaced = self.store.add(key, vector)?;
        if let Some(graph) = &mut self.graph {
            graph.bury(key);
            self.pending.insert(key);
        }
        Ok(replaced)
    }

    /// Removes a vector and says whether there was one. A graph in memory keeps a copy until it is built
    /// anew; a dump of it never has one.
    pub fn remove(&mut self, key: u64) -> bool {
        if let Some(graph) = &mut self.graph {
            graph.bury(key);
        }
        self.pending.remove(&key);
        self.store.remove(key)
    }

    /// Brings the graph up to date where that is due, and says whether it changed: builds it when there are
    /// enough vectors, builds it anew after many changes ([`DenseConfig::rebuild_share`]), drops it when few
    /// are left. To be called after a batch of changes; building takes half a minute for 100,000 vectors.
    pub fn refresh(&mut self) -> bool {
        #[cfg(feature = "hnsw")]
        return self.refresh_graph();
        #[cfg(not(feature = "hnsw"))]
        false
    }

    /// The `k` vectors nearest to `query` that `filter` lets through, by cosine similarity (−1 to 1), best
    /// first, the newer of equals first. A filter that lets little through makes the search exact.
    ///
    /// # Errors
    /// A query of another length, or without direction.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: impl Fn(u64) -> bool,
    ) -> Result<Vec<Hit>, VectorError> {
        let Some(graph) = &self.graph else {
            return self.store.search(query, k, filter);
        };
        let unit = self.store.query(query)?;
        let mut wanted = k;
        // From an eighth of all vectors on, comparing with each is no slower.
        while wanted <= graph.len() / 8 {
            let ef = self.config.ef_search.max(wanted);
            let mut hits: Vec<Hit> = graph.near(&unit, ef).filter(|hit| filter(hit.key)).collect();
            if hits.len() >= k {
                let pending = self.pending.iter().copied().filter(|&key| filter(key));
                let rows = pending.filter_map(|key| Some((self.store.row_of(key)?, key)));
                hits.extend(self.store.compare(&unit, rows));
                return Ok(top_k(hits, k));
            }
            wanted = ef.saturating_mul(4);
        }
        self.store.search(query, k, filter)
    }

    /// The recall at `k`: the share of the exact nearest that [`search`](Self::search) finds, averaged over
    /// the queries, equally near ones counting as found. 1 without a graph; `None` without queries, vectors
    /// or `k`.
    ///
    /// # Errors
    /// A query of another length, or without direction.
    pub fn recall(&self, queries: &[Vec<f32>], k: usize) -> Result<Option<f64>, VectorError> {
        if queries.is_empty() || self.is_empty() || k == 0 {
            return Ok(None);
        }
        let mut sum = 0.0;
        for query in queries {
            let exact = self.store.search(query, k, |_| true)?;
            let found = self.search(query, k, |_| true)?;
            let last = exact.last().map_or(f64::INFINITY, |hit| hit.score);
            sum += found.iter().filter(|hit| hit.score >= last).count() as f64 / exact.len() as f64;
        }
        Ok(Some(sum / queries.len() as f64))
    }
}

#[cfg(feature = "hnsw")]
impl DenseIndex {
    fn refresh_graph(&mut self) -> bool {
        if self.len() < self.config.exact_below.max(1) {
            self.pending.clear();
            return self.graph.take().is_some();
        }
        if self.graph.as_ref().is_some_and(|graph| !self.is_stale(graph)) {
            return false;
        }
        self.build();
        true
    }

    /// Whether the graph is to be built anew.
    fn is_stale(&self, graph: &Graph) -> bool {
        let bearable = self.config.rebuild_share * graph.len() as f64;
        graph.tombstones().max(self.pending.len()) as f64 > bearable
    }

    fn build(&mut self) {
        self.graph = Some(Graph::build(&self.store, &self.config));
        self.pending.clear();
    }

    /// Writes the graph to `dir/name.hnsw.graph`, overwriting it, and returns the stamp with which
    /// [`load_graph`](Self::load_graph) will know it. `None`, and nothing is written, when there are too few
    /// vectors for a graph. The file has keys and links, no vector; a graph with removed or replaced vectors
    /// is built anew first.
    ///
    /// # Errors
    /// A name that is no plain file name, or a folder that cannot be written to.
    pub fn save_graph(
        &mut self,
        dir: &std::path::Path,
        name: &str,
    ) -> Result<Option<GraphStamp>, GraphDumpError> {
        self.refresh();
        if self.graph.as_ref().is_some_and(|graph| graph.tombstones() > 0) {
            self.build();
        }
        let write = |graph| graph_dump::write(graph, &self.store, &self.config, dir, name);
        self.graph.as_ref().map(write).transpose()
    }

    /// Reads a graph that [`save_graph`](Self::save_graph) wrote, or builds it anew when anything is wrong
    /// with it: the file is of another length, byte or name than the stamp says, one of its vectors has
    /// changed or gone, the settings have changed, or too many vectors are newer than it
    /// ([`DenseConfig::rebuild_share`]; fewer are compared one by one, as after [`add`](Self::add)). Nothing
    /// in the file is believed before its SHA-256 is found right.
    pub fn load_graph(&mut self, dir: &std::path::Path, name: &str, stamp: &GraphStamp) -> GraphOrigin {
        self.pending.clear();
        self.graph = None;
        if self.len() < self.config.exact_below.max(1) {
            return GraphOrigin::NotNeeded;
        }
        let reason = match graph_dump::read(&self.store, &self.config, dir, name, stamp) {
            Ok(graph) => {
                let has = |key: &u64| graph.keys().binary_search(key).is_ok();
                self.pending = self.store.keys().into_iter().filter(|key| !has(key)).collect();
                if !self.is_stale(&graph) {
                    self.graph = Some(graph);
                    return GraphOrigin::Loaded;
                }
                format!("the dump lacks {} vectors", self.pending.len())
            }
            Err(reason) => reason,
        };
        self.build();
        GraphOrigin::Rebuilt(reason)
    }
}

impl Embeddings for DenseIndex {
    fn embedding(&self, key: u64) -> Option<&[f32]> {
        self.store.get(key)
    }
}

/// Stands for the graph that there never is.
#[cfg(not(feature = "hnsw"))]
mod no_graph {
    pub(crate) enum Graph {}

    impl Graph {
        pub(crate) fn len(&self) -> usize {
            match *self {}
        }
        pub(crate) fn bury(&mut self, _: u64) {
            match *self {}
        }
        pub(crate) fn near(&self, _: &[f32], _: usize) -> std::vec::IntoIter<crate::Hit> {
            match *self {}
        }
    }
}

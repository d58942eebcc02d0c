//! Search by embedding: exact while there are few vectors, through an index when there are many.

mod config;
mod dump;
#[cfg(feature = "hnsw_rs")]
mod hnsw_rs;
mod index;
mod snapshot;

use std::{collections::BTreeSet, path::Path};

pub use config::{DenseConfig, IndexKind};
pub use dump::{GraphDumpError, GraphStamp};
#[cfg(feature = "hnsw_rs")]
pub use hnsw_rs::HnswRsIndex;
pub use index::{ExactIndex, Points, VectorIndex};
use spring_numerics::SettingError;

use self::snapshot::Snapshot;
use crate::{Embeddings, Hit, VectorError, VectorStore, hit::top_k};

/// What became of a graph's dump.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphOrigin {
    /// It was sound, and read.
    Loaded,
    /// It was not, and the graph was built anew; with the reason.
    Rebuilt(String),
    /// There are too few vectors for a graph, or the index is `exact`.
    NotNeeded,
}

/// Nearest vectors by cosine similarity.
///
/// The vectors are the truth; the graph over many of them is a cache that may lag behind: what it
/// lacks is compared one by one, what was removed is left out, and scores are always computed from
/// the vectors. So every hit and its score are right, before and after [`refresh`](Self::refresh);
/// only with a graph may a near vector be missed. [`DenseConfig::index`] chooses the graph, or
/// none.
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
#[derive(Debug)]
pub struct DenseIndex {
    config: DenseConfig,
    store: VectorStore,
    graph: Option<Snapshot>,
    /// The vectors that the graph lacks; empty without one.
    pending: BTreeSet<u64>,
}

impl DenseIndex {
    /// An empty index for vectors of this length.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(dimensions: usize, config: DenseConfig) -> Result<Self, SettingError> {
        Self::from_vectors(VectorStore::new(dimensions), config)
    }

    /// An index over vectors, still without a graph: [`refresh`](Self::refresh) builds it.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn from_vectors(store: VectorStore, config: DenseConfig) -> Result<Self, SettingError> {
        config.init()?;
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
    pub fn set_ef_search(&mut self, ef_search: usize) -> Result<(), SettingError> {
        let config = self.config.with_ef_search(ef_search);
        config.init()?;
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

    /// Removes a vector and says whether there was one. A graph in memory keeps a copy until it is
    /// built anew; a dump of it never has one.
    pub fn remove(&mut self, key: u64) -> bool {
        if let Some(graph) = &mut self.graph {
            graph.bury(key);
        }
        self.pending.remove(&key);
        self.store.remove(key)
    }

    /// Brings the graph up to date where that is due, and says whether it changed: builds it when
    /// there are enough vectors, builds it anew after many changes
    /// ([`DenseConfig::rebuild_share`]), drops it when few are left. To be called after a batch of
    /// changes; building takes half a minute for 100,000 vectors.
    pub fn refresh(&mut self) -> bool {
        if !self.needs_graph() {
            self.pending.clear();
            return self.graph.take().is_some();
        }
        if self.graph.as_ref().is_some_and(|graph| !self.is_stale(graph)) {
            return false;
        }
        self.build();
        true
    }

    fn needs_graph(&self) -> bool {
        self.config.index != IndexKind::Exact && self.len() >= self.config.exact_below.max(1)
    }

    /// Whether the graph is to be built anew.
    fn is_stale(&self, graph: &Snapshot) -> bool {
        let bearable = self.config.rebuild_share * graph.len() as f64;
        graph.tombstones().max(self.pending.len()) as f64 > bearable
    }

    fn build(&mut self) {
        // The settings were checked when they were taken; with none, every search is exact.
        self.graph = self.config.init().ok().map(|index| Snapshot::build(&self.store, index));
        self.pending.clear();
    }

    /// The `k` vectors nearest to `query` that `filter` lets through, by cosine similarity (−1 to
    /// 1), best first, the newer of equals first. A filter that lets little through makes the
    /// search exact.
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

    /// The recall at `k`: the share of the exact nearest that [`search`](Self::search) finds,
    /// averaged over the queries, equally near ones counting as found. 1 without a graph; `None`
    /// without queries, vectors or `k`.
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

impl DenseIndex {
    /// Writes the graph to `dir/name.hnsw.graph`, overwriting it, and returns the stamp with which
    /// [`load_graph`](Self::load_graph) will know it. `None`, and nothing is written, when there
    /// are too few vectors for a graph or the index is not one that is kept (only `hnsw` is). The
    /// file has keys and links, no vector; a graph with removed or replaced vectors is built anew
    /// first.
    ///
    /// # Errors
    /// A name that is not a plain file name, or a folder that cannot be written to.
    pub fn save_graph(
        &mut self,
        dir: &Path,
        name: &str,
    ) -> Result<Option<GraphStamp>, GraphDumpError> {
        self.refresh();
        if self.graph.as_ref().is_some_and(|graph| graph.tombstones() > 0) {
            self.build();
        }
        let kept = self.graph.as_ref().and_then(Snapshot::kept);
        kept.map(|kept| dump::write(kept, &self.store, &self.config, dir, name)).transpose()
    }

    /// Reads a graph that [`save_graph`](Self::save_graph) wrote, or builds it anew when anything
    /// is wrong with it: the file is of another length, byte or name than the stamp says, one of
    /// its vectors has changed or gone, the settings have changed, or too many vectors are newer
    /// than it ([`DenseConfig::rebuild_share`]; fewer are compared one by one, as after
    /// [`add`](Self::add)). Nothing in the file is trusted before its SHA-256 has been checked.
    pub fn load_graph(&mut self, dir: &Path, name: &str, stamp: &GraphStamp) -> GraphOrigin {
        self.pending.clear();
        self.graph = None;
        if !self.needs_graph() {
            return GraphOrigin::NotNeeded;
        }
        let reason = match dump::read(&self.store, &self.config, dir, name, stamp) {
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

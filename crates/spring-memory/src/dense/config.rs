//! When dense search has an index, and which.

use serde::{Deserialize, Serialize};
use spring_numerics::setters;
use spring_numerics::setting::{SettingError, in_range};

use crate::{ExactIndex, HnswIndex, VectorIndex};

/// Which index a [`DenseIndex`](crate::DenseIndex) builds over many vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IndexKind {
    /// None: every search compares with all vectors.
    Exact,
    /// [`HnswIndex`], the default: the faster graph of the two, and the one that can be kept on
    /// disk.
    #[default]
    Hnsw,
    /// The graph of the hnsw_rs crate, in builds with the feature `hnsw_rs`.
    HnswRs,
}

impl IndexKind {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When and how a [`DenseIndex`](crate::DenseIndex) builds its graph.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DenseConfig {
    /// Which graph: `hnsw` unless given, `hnsw_rs`, or none with `exact`. Not written where it is
    /// the default, so that records stay as older versions wrote them.
    #[serde(skip_serializing_if = "IndexKind::is_default")]
    pub index: IndexKind,
    /// Below this number of vectors there is no graph: comparing with all of them is exact and
    /// needs nothing built. Default 50,000: from there on a comparison with all takes some
    /// milliseconds; building the graph takes some ten seconds (docs/results/memory.md).
    pub exact_below: usize,
    /// Links of a point of the graph in each layer, 4 to 128; twice as many in the lowest. Default
    /// 16.
    pub links: usize,
    /// Candidates that the construction looks at for a point, `links` to 4096. Default 100.
    pub ef_construction: usize,
    /// Candidates that a search looks at, at least; 1 to 65,536. More find more and take longer.
    /// Default 64.
    pub ef_search: usize,
    /// [`refresh`](crate::DenseIndex::refresh) builds the graph anew once removed vectors, or those
    /// that it lacks, are more than this share of its points; 0 to 1. Default 0.2.
    pub rebuild_share: f64,
}

impl Default for DenseConfig {
    fn default() -> Self {
        Self {
            index: IndexKind::default(),
            exact_below: 50_000,
            links: 16,
            ef_construction: 100,
            ef_search: 64,
            rebuild_share: 0.2,
        }
    }
}

setters! {
    DenseConfig {
        with_index(index: IndexKind);
        with_exact_below(exact_below: usize);
        with_links(links: usize);
        with_ef_construction(ef_construction: usize);
        with_ef_search(ef_search: usize);
        with_rebuild_share(rebuild_share: f64);
    }
}

impl DenseConfig {
    /// The index, still empty.
    ///
    /// # Errors
    /// For settings out of their range, and an index that this build does not have.
    pub fn init(&self) -> Result<Box<dyn VectorIndex>, SettingError> {
        let Self { links, ef_construction, .. } = *self;
        in_range("links", links, 4..=128, "4 to 128")?;
        in_range("ef_construction", ef_construction, links..=4096, "between `links` and 4096")?;
        in_range("ef_search", self.ef_search, 1..=65_536, "1 to 65536")?;
        in_range("rebuild_share", self.rebuild_share, 0.0..=1.0, "between 0 and 1")?;
        match self.index {
            IndexKind::Exact => Ok(Box::new(ExactIndex)),
            IndexKind::Hnsw => Ok(Box::new(HnswIndex::new(links, ef_construction))),
            #[cfg(feature = "hnsw_rs")]
            IndexKind::HnswRs => Ok(Box::new(crate::HnswRsIndex::new(links, ef_construction))),
            #[cfg(not(feature = "hnsw_rs"))]
            IndexKind::HnswRs => {
                let allowed = "exact or hnsw in a build without the feature `hnsw_rs`";
                Err(SettingError::new("index", "hnsw_rs", allowed))
            }
        }
    }
}

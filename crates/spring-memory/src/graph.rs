//! The HNSW graph (Malkov and Yashunin 2016) over a snapshot of the vectors, by hnsw_rs: a cache, never the
//! truth.
//!
//! What hnsw_rs would answer with an exit or a panic is ruled out before the call: link counts out of range
//! ([`DenseConfig::check`](crate::DenseConfig)), NaN and negative distances (vectors are of length 1,
//! [`Cosine`] is clamped), filters (its filtered search panics when nothing passes: filtering happens here,
//! after the search), files that cannot be created, and damaged dumps.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use hnsw_rs::prelude::{AnnT, Distance, Hnsw, HnswIo};
use self_cell::self_cell;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{DenseConfig, VectorStore, vectors::dot};

/// Rises whenever a dump of an earlier version of this crate can no longer be read.
const FORMAT: u32 = 1;
/// hnsw_rs can dump no other number.
const LAYERS: usize = 16;

/// Cosine distance between vectors of length 1.
#[derive(Debug, Clone, Copy, Default)]
struct Cosine;

impl Distance<f32> for Cosine {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - dot(a, b)).max(0.0)
    }
}

type BorrowedHnsw<'io> = Hnsw<'io, f32, Cosine>;

self_cell!(
    /// hnsw_rs lets a loaded graph borrow from its loader.
    struct LoadedHnsw {
        owner: HnswIo,
        #[not_covariant]
        dependent: BorrowedHnsw,
    }
);

enum Source {
    Built(Box<Hnsw<'static, f32, Cosine>>),
    Loaded(LoadedHnsw),
}

/// A graph over the vectors that there were when it was built.
pub(crate) struct Graph {
    source: Source,
    /// Which vector each point of the graph is.
    keys: Vec<u64>,
    /// The points that are still true: a removed or replaced vector's point is a tombstone.
    points: HashMap<u64, usize>,
}

impl Graph {
    /// Inserts all vectors serially, by ascending key: the same vectors give the same graph.
    pub(crate) fn build(store: &VectorStore, config: &DenseConfig) -> Self {
        let hnsw = Hnsw::new(config.links, store.len(), LAYERS, config.ef_construction, Cosine);
        let mut graph =
            Self { source: Source::Built(Box::new(hnsw)), keys: Vec::new(), points: HashMap::new() };
        graph.append(store, store.keys());
        graph
    }

    /// Inserts vectors that are not in the graph; does nothing to a loaded one.
    fn append(&mut self, store: &VectorStore, keys: Vec<u64>) {
        let Source::Built(hnsw) = &self.source else { return };
        for key in keys {
            if let Some(vector) = store.get(key) {
                let point = self.keys.len();
                hnsw.insert((vector, point));
                self.keys.push(key);
                self.points.insert(key, point);
            }
        }
    }

    /// Takes in what the store has newly, as far as that is the same as building anew would be; says whether
    /// it is.
    pub(crate) fn catch_up(&mut self, store: &VectorStore) -> bool {
        let newest = self.keys.last().copied();
        let missing: Vec<u64> = store.keys().into_iter().filter(|key| !self.covers(*key)).collect();
        // hnsw_rs draws levels anew, and at another scale, after loading: such a graph must not grow.
        let grows = matches!(self.source, Source::Built(_))
            && self.tombstones() == 0
            && missing.first().copied() > newest;
        if grows {
            self.append(store, missing);
        }
        self.points.len() == store.len() && self.tombstones() == 0
    }

    /// The number of points, tombstones among them.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn tombstones(&self) -> usize {
        self.keys.len() - self.points.len()
    }

    /// Whether the vector with this key is in the graph as it is now.
    pub(crate) fn covers(&self, key: u64) -> bool {
        self.points.contains_key(&key)
    }

    /// The vector with this key changes or goes.
    pub(crate) fn bury(&mut self, key: u64) {
        self.points.remove(&key);
    }

    /// The keys of about `count` near points, tombstones left out.
    pub(crate) fn near(&self, query: &[f32], count: usize, ef: usize) -> Vec<u64> {
        let neighbours = match &self.source {
            Source::Built(hnsw) => hnsw.search(query, count, ef),
            Source::Loaded(cell) => cell.with_dependent(|_, hnsw| hnsw.search(query, count, ef)),
        };
        let key = |point: usize| {
            self.keys.get(point).copied().filter(|key| self.points.get(key).copied() == Some(point))
        };
        neighbours.into_iter().filter_map(|neighbour| key(neighbour.d_id)).collect()
    }

    /// Writes the graph to `dir/name.hnsw.graph` and `dir/name.hnsw.data`.
    pub(crate) fn dump(
        &self,
        store: &VectorStore,
        config: &DenseConfig,
        dir: &Path,
        name: &str,
    ) -> Result<GraphStamp, GraphDumpError> {
        let paths = dump_paths(dir, name)?;
        for path in &paths {
            // hnsw_rs panics where it cannot create a file.
            File::create(path).map_err(|source| GraphDumpError::Io { path: path.clone(), source })?;
        }
        let dumped = match &self.source {
            Source::Built(hnsw) => hnsw.file_dump(dir, name),
            Source::Loaded(cell) => cell.with_dependent(|_, hnsw| hnsw.file_dump(dir, name)),
        };
        let written = dumped.map_err(|error| GraphDumpError::Dump { message: error.to_string() })?;
        if written != name {
            return Err(GraphDumpError::Dump { message: format!("it wrote {written} instead of {name}") });
        }
        let [graph, data] = paths;
        Ok(GraphStamp {
            graph: file_digest(&graph).map_err(|source| GraphDumpError::Io { path: graph, source })?,
            data: file_digest(&data).map_err(|source| GraphDumpError::Io { path: data, source })?,
            ..GraphStamp::expected(store, config)
        })
    }

    /// Reads a dump, if it is the one that the stamp is of and the stamp is of these vectors and settings;
    /// otherwise the reason why not.
    pub(crate) fn load(
        store: &VectorStore,
        config: &DenseConfig,
        dir: &Path,
        name: &str,
        stamp: &GraphStamp,
    ) -> Result<Self, String> {
        let paths = dump_paths(dir, name).map_err(|error| error.to_string())?;
        let expected = GraphStamp::expected(store, config);
        if stamp.format != expected.format || stamp.platform != expected.platform {
            return Err("the dump was written by another version or on another kind of machine".to_owned());
        }
        if (stamp.links, stamp.ef_construction) != (expected.links, expected.ef_construction) {
            return Err("the dump was built with other settings".to_owned());
        }
        if stamp.vectors != expected.vectors {
            return Err("the dump is of other vectors".to_owned());
        }
        for (path, digest) in paths.iter().zip([&stamp.graph, &stamp.data]) {
            match file_digest(path) {
                Ok(found) if found == *digest => {}
                Ok(_) => return Err(format!("{} is not the file that was written", path.display())),
                Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            }
        }
        // The digests match, so this succeeds, unless hnsw_rs itself has changed its format.
        let load = || LoadedHnsw::try_new(HnswIo::new(dir, name), |io| io.load_hnsw_with_dist(Cosine));
        let loaded = catch_unwind(AssertUnwindSafe(load))
            .map_err(|_| "hnsw_rs cannot read the dump".to_owned())?
            .map_err(|error| format!("hnsw_rs cannot read the dump: {error}"))?;
        let keys = store.keys();
        if loaded.with_dependent(|_, hnsw| hnsw.get_nb_point()) != keys.len() {
            return Err("the dump has another number of points".to_owned());
        }
        let points = keys.iter().copied().zip(0..).collect();
        Ok(Self { source: Source::Loaded(loaded), keys, points })
    }
}

/// What a dump must be to be read: keep it with the vectors, where nothing else writes, not beside the dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphStamp {
    format: u32,
    /// hnsw_rs writes numbers as they are in memory.
    platform: String,
    links: usize,
    ef_construction: usize,
    /// SHA-256 of keys and vectors, in hexadecimal like the following.
    vectors: String,
    graph: String,
    data: String,
}

impl GraphStamp {
    /// The stamp of a graph of these vectors, but for the files' digests.
    fn expected(store: &VectorStore, config: &DenseConfig) -> Self {
        let endian = if cfg!(target_endian = "little") { "little" } else { "big" };
        let mut vectors = Sha256::new();
        vectors.update((store.dimensions() as u64).to_le_bytes());
        for key in store.keys() {
            vectors.update(key.to_le_bytes());
            for value in store.get(key).unwrap_or_default() {
                vectors.update(value.to_le_bytes());
            }
        }
        Self {
            format: FORMAT,
            platform: format!("{}-bit {endian}-endian", usize::BITS),
            links: config.links,
            ef_construction: config.ef_construction,
            vectors: hex(vectors),
            graph: String::new(),
            data: String::new(),
        }
    }
}

/// Why a graph was not written; the index is as usable as before.
#[derive(Debug, Error)]
pub enum GraphDumpError {
    /// The name could lead out of the folder.
    #[error("{name:?} cannot name a graph's files: use letters, digits, '-' and '_', at most 64")]
    Name {
        /// The refused name.
        name: String,
    },
    /// A file could not be written or read back.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// hnsw_rs gave up.
    #[error("the graph could not be written: {message}")]
    Dump {
        /// What it said.
        message: String,
    },
}

fn dump_paths(dir: &Path, name: &str) -> Result<[PathBuf; 2], GraphDumpError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(GraphDumpError::Name { name: name.to_owned() });
    }
    Ok([dir.join(format!("{name}.hnsw.graph")), dir.join(format!("{name}.hnsw.data"))])
}

fn file_digest(path: &Path) -> io::Result<String> {
    // A folder, a pipe or a device under that name would block or never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(hex(digest))
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

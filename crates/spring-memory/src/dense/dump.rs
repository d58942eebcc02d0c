//! The file that a graph is kept in, and the stamp without which none is read.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use spring_numerics::digest::{Digest, sha256_hex};
use spring_numerics::words;
use thiserror::Error;

use super::snapshot::Snapshot;
use crate::{DenseConfig, Layers, VectorStore};

/// Rises whenever a dump of an earlier version of this crate must not be read any more.
const FORMAT: u32 = 3;

/// What a dump must be to be read: keep it with the vectors, where nothing else writes, not beside
/// the dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
// A stamp of another version must be readable, if only to see that it is one.
#[serde(default)]
pub struct GraphStamp {
    format: u32,
    links: usize,
    ef_construction: usize,
    /// SHA-256 of the keys and vectors in the graph, in hexadecimal digits, as the file's below.
    vectors: String,
    /// The file's length and SHA-256.
    bytes: u64,
    file: String,
}

/// Why a graph was not written; the index is as usable as before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GraphDumpError {
    /// The name could lead out of the folder.
    #[error("{name:?} cannot name a graph's file: use letters, digits, '-' and '_', at most 64")]
    Name {
        /// The refused name.
        name: String,
    },
    /// The file could not be written.
    #[error("{}: {}", path.display(), words::of_system(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a graph without tombstones to `dir/name.hnsw.graph`: the keys and the links, no vectors.
pub(crate) fn write(
    (keys, layers): (&[u64], &Layers),
    store: &VectorStore,
    config: &DenseConfig,
    dir: &Path,
    name: &str,
) -> Result<GraphStamp, GraphDumpError> {
    let path = path_of(dir, name)?;
    let written = serde_json::to_vec(&(keys, layers))
        .map_err(io::Error::from)
        .and_then(|bytes| fs::write(&path, &bytes).map(|()| bytes));
    let bytes = written.map_err(|source| GraphDumpError::Io { path, source })?;
    Ok(GraphStamp {
        format: FORMAT,
        links: config.links,
        ef_construction: config.ef_construction,
        vectors: vectors_digest(store, keys).unwrap_or_default(),
        bytes: bytes.len() as u64,
        file: sha256_hex(&bytes),
    })
}

/// Reads a dump, if it is the one that the stamp is of, of vectors that the store still has, built
/// with these settings; otherwise the reason why not. The store may have further vectors.
pub(crate) fn read(
    store: &VectorStore,
    config: &DenseConfig,
    dir: &Path,
    name: &str,
    stamp: &GraphStamp,
) -> Result<Snapshot, String> {
    let path = path_of(dir, name).map_err(|error| error.to_string())?;
    if stamp.format != FORMAT {
        return Err("the dump was written by another version".to_owned());
    }
    if (stamp.links, stamp.ef_construction) != (config.links, config.ef_construction) {
        return Err("the dump was built with other settings".to_owned());
    }
    let bytes = contents(&path, stamp.bytes).map_err(|error| {
        format!("{} cannot be read: {}", path.display(), words::of_system(&error))
    })?;
    if bytes.len() as u64 != stamp.bytes || sha256_hex(&bytes) != stamp.file {
        return Err(format!("{} is not the file that was written", path.display()));
    }
    let (keys, layers): (Vec<u64>, Layers) =
        words::from_json(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    if vectors_digest(store, &keys).is_none_or(|digest| digest != stamp.vectors) {
        return Err("the dump is of other vectors".to_owned());
    }
    Snapshot::with_layers(store, config, keys, layers)
        .ok_or_else(|| format!("{} is not a graph of its vectors", path.display()))
}

fn path_of(dir: &Path, name: &str) -> Result<PathBuf, GraphDumpError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(GraphDumpError::Name { name: name.to_owned() });
    }
    Ok(dir.join(format!("{name}.hnsw.graph")))
}

/// The file's bytes, one more than expected at most.
fn contents(path: &Path, expected: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = spring_numerics::file::open(path)?;
    file.take(expected.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The digest of these vectors; `None` if the store lacks one.
fn vectors_digest(store: &VectorStore, keys: &[u64]) -> Option<String> {
    let mut digest = Digest::new();
    digest.update((store.dimensions() as u64).to_le_bytes());
    let mut bytes = Vec::with_capacity(4 * store.dimensions());
    for &key in keys {
        digest.update(key.to_le_bytes());
        bytes.clear();
        bytes.extend(store.get(key)?.iter().flat_map(|value| value.to_le_bytes()));
        digest.update(&bytes);
    }
    Some(digest.hex())
}

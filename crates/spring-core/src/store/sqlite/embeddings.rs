//! Embeddings, and the graphs over them that lie beside the file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, types::Type};
use spring_memory::GraphStamp;

use super::{
    fault::{Fault, Outcome},
    user::{User, number_of},
    value::{Json, to_json},
};
use crate::{EmbeddingMap, store::GraphPlace};

/// What is kept of some interactions under a base.
pub(super) fn get(user: &User<'_>, base: &str, seqs: &[u64]) -> Outcome<EmbeddingMap> {
    let mut embeddings = EmbeddingMap::new();
    for &seq in seqs {
        let vector = user.row(
            "embeddings",
            "SELECT vector FROM embeddings WHERE user = ?1 AND seq = ?2 AND base = ?3",
            (user.key, number_of(seq), base),
            |row| {
                let bytes: Vec<u8> = row.get("vector")?;
                from_bytes(&bytes).ok_or_else(|| {
                    let reason = format!("{} bytes are no list of finite numbers", bytes.len());
                    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, reason.into())
                })
            },
        )?;
        embeddings.extend(vector.map(|vector| (seq, vector)));
    }
    Ok(embeddings)
}

fn from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    let vector: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    (rest.is_empty() && !vector.is_empty() && vector.iter().all(|x| x.is_finite())).then_some(vector)
}

/// Keeps embeddings under a base.
pub(super) fn set(user: &User<'_>, base: &str, embeddings: &EmbeddingMap) -> Outcome<()> {
    for (&seq, vector) in embeddings {
        let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        if from_bytes(&bytes).is_none() {
            let reason =
                format!("nothing was changed: the embedding of interaction {seq} is empty or not finite");
            return Err(Fault::State(reason));
        }
        let added = user.execute(
            "INSERT OR REPLACE INTO embeddings (user, seq, base, vector)
             SELECT user, seq, ?3, ?4 FROM interactions WHERE user = ?1 AND seq = ?2",
            (user.key, number_of(seq), base, bytes),
        )?;
        if added == 0 {
            return Err(user.no_interaction(seq));
        }
    }
    Ok(())
}

/// Where a user's graph may lie. Its name is the row's number: no name of a person becomes one of a file.
pub(super) fn graph_place(user: &User<'_>, state: &Path) -> Outcome<Option<GraphPlace>> {
    let Some(folder) = folder(state) else { return Ok(None) };
    let stamp = user.row("graphs", "SELECT stamp FROM graphs WHERE user = ?1", [user.key], |row| {
        row.get("stamp").map(|Json(stamp)| stamp)
    })?;
    Ok(Some(GraphPlace { folder, name: user.key.to_string(), stamp }))
}

/// Remembers what a user's graph must be; without a stamp, that there is none.
pub(super) fn set_graph(user: &User<'_>, stamp: Option<&GraphStamp>) -> Outcome<()> {
    let Some(stamp) = stamp else {
        user.execute("DELETE FROM graphs WHERE user = ?1", [user.key])?;
        return Ok(());
    };
    let stamp = to_json(&format!("the stamp of the graph of user {}", user.name), stamp)?;
    user.execute("INSERT OR REPLACE INTO graphs (user, stamp) VALUES (?1, ?2)", (user.key, stamp))?;
    Ok(())
}

/// The folder beside the file itself, links followed.
fn folder(state: &Path) -> Option<PathBuf> {
    let mut folder = fs::canonicalize(state).ok()?.into_os_string();
    folder.push("-graphs");
    Some(folder.into())
}

/// Deletes the files of graphs that the state does not know: those of a user or text that was removed, perhaps just before
/// a crash; and the embeddings that older versions wrote beside every graph. What cannot be deleted now is tried again when the state is next opened for writing.
pub(super) fn sweep(connection: &Connection, state: &Path) {
    let Some(entries) = folder(state).and_then(|folder| fs::read_dir(folder).ok()) else { return };
    // File by file: nothing that grows with the number of users is held.
    let known = "SELECT EXISTS (SELECT 1 FROM graphs WHERE user = ?1)";
    let Ok(mut known) = connection.prepare_cached(known) else { return };
    let mut is_known = |key: i64| known.query_row([key], |row| row.get(0)).unwrap_or(true);
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let key = name.strip_suffix(".hnsw.graph").and_then(|key| key.parse().ok());
        let is_due = key.is_some_and(|key| !is_known(key)) || name.ends_with(".hnsw.data");
        if is_due && let Err(error) = fs::remove_file(&path) {
            tracing::warn!("{}: {error}; delete it, it may hold what was removed", path.display());
        }
    }
}

//! The folder beside the file for what can be made again: graphs over embeddings.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

/// The folder beside the file itself.
pub(super) fn folder(file: &Path) -> PathBuf {
    let mut folder = file.as_os_str().to_owned();
    folder.push("-graphs");
    folder.into()
}

/// Deletes files that the state does not know: those of a user or text that was removed, perhaps
/// just before a crash; and the embeddings that older versions wrote beside every graph. What
/// cannot be deleted now is tried again when the state is next opened for writing.
pub(super) fn sweep(connection: &Connection, folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    // File by file: nothing that grows with the number of users is held.
    let known = "SELECT EXISTS (SELECT 1 FROM graphs WHERE user = ?1)";
    let Ok(mut known) = connection.prepare_cached(known) else { return };
    let mut is_known = |key: i64| known.query_row([key], |row| row.get(0)).unwrap_or(true);
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let key = name.split_once('.').and_then(|(key, _)| key.parse().ok());
        let is_due = key.is_some_and(|key| !is_known(key)) || name.ends_with(".hnsw.data");
        if is_due && let Err(error) = fs::remove_file(&path) {
            let path = path.display();
            tracing::warn!("{path}: {error}; delete it, it may hold what was removed");
        }
    }
}

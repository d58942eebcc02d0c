use std::fs;

use super::*;
use crate::{
    backend::{InteractionRow, InteractionSums},
    store::Checked,
};

/// What lies on the disk in the middle of a transaction is what a killed process leaves.
#[test]
fn a_crash_leaves_the_state_before() {
    let (folder, store) = on_file();
    store.ingest(history("ada", 3)).unwrap();
    let before = tables(&store);
    // A small cache, so that pages are written out before the end.
    with(&store, |connection| connection.pragma_update(None, "cache_size", 5));
    let crashed = tempfile::tempdir().unwrap();
    let log = folder.path().join("state.db-wal");
    let size = fs::metadata(&log).unwrap().len();
    let wrote = store.backend().write(Durability::Power, &mut |rows| {
        let mut rows = Checked(rows);
        let bob = rows.add_user(&user("bob"), 0)?;
        for seq in 1..=300 {
            let row = InteractionRow {
                seq,
                id: seq.to_string(),
                seconds: 0,
                nanoseconds: 0,
                base: None,
                meta: None,
                prompt: "p".repeat(30),
                response: "r".repeat(30),
                place: None,
                sums: InteractionSums::default(),
            };
            rows.put_interaction(bob.key, &row)?;
        }
        assert!(fs::metadata(&log).unwrap().len() > size);
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
        }
        Ok(())
    });
    wrote.unwrap();
    assert_eq!(store.user(&user("bob")).unwrap().interactions, 300);
    let store = SqliteStore::open(crashed.path().join("state.db"), Access::ReadWrite).unwrap();
    assert_eq!(tables(&store), before);
    check(&store).unwrap();
}

#[test]
fn a_file_behaves_as_memory_does() {
    let (_folder, on_file) = on_file();
    let dumps = [in_memory(), on_file].map(|mut store| {
        with_periods(&store, &["ada", "bob"], 3);
        put(&store, "ada", &commit(1, 0)).unwrap();
        put(&store, "ada", &commit(2, 1)).unwrap();
        keep(&store, "bob", &answer("x")).unwrap();
        store.ingest(history("ada", 2)).unwrap();
        store.set_config(&Config { seed: 3, ..Config::default() }).unwrap();
        tables(&store)
    });
    assert_eq!(dumps[0], dumps[1]);
}

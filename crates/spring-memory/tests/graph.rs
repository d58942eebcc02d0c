//! The graph of dense search on disk: lagging, damaged and foreign dumps.

mod common;

use std::fs;

use common::{Numbers, answers, filled, queries, small_graph};
use proptest::prelude::*;
use spring_memory::{DenseIndex, Embeddings, GraphDumpError, GraphOrigin, GraphStamp, VectorStore};

struct Saved {
    dir: tempfile::TempDir,
    index: DenseIndex,
    stamp: GraphStamp,
}

fn saved() -> Saved {
    let dir = tempfile::tempdir().expect("a folder");
    let mut index = filled(small_graph(), 0..400);
    index.remove(17);
    let stamp = index.save_graph(dir.path(), "u1").expect("written").expect("a graph");
    Saved { dir, index, stamp }
}

fn vectors_of(index: &DenseIndex) -> DenseIndex {
    DenseIndex::from_vectors(index.vectors().clone(), *index.config()).expect("settings in range")
}

#[test]
fn a_sound_dump_is_loaded_and_answers_alike() {
    let Saved { dir, index, stamp } = saved();
    let stamp: GraphStamp = serde_json::from_str(&serde_json::to_string(&stamp).unwrap()).unwrap();
    let mut loaded = vectors_of(&index);
    assert_eq!(loaded.load_graph(dir.path(), "u1", &stamp), GraphOrigin::Loaded);
    assert_eq!(answers(&loaded), answers(&index));
    // A loaded graph is searched, changed and saved like a built one.
    loaded.remove(3);
    loaded.add(1000, &[1.0; 8]).unwrap();
    assert_eq!(loaded.search(&[1.0; 8], 1, |_| true).unwrap()[0].key, 1000);
    let again = loaded.save_graph(dir.path(), "u1").unwrap().unwrap();
    let mut reloaded = vectors_of(&loaded);
    assert_eq!(reloaded.load_graph(dir.path(), "u1", &again), GraphOrigin::Loaded);
    assert_eq!(answers(&reloaded), answers(&loaded));
    assert!(matches!(reloaded.load_graph(dir.path(), "u1", &stamp), GraphOrigin::Rebuilt(_)));
    let mut few = filled(small_graph(), 0..50);
    assert_eq!(few.load_graph(dir.path(), "u1", &again), GraphOrigin::NotNeeded);
    assert_eq!(few.save_graph(dir.path(), "u1").unwrap(), None);
}

#[test]
fn a_dump_that_lacks_newer_vectors_is_loaded_while_they_are_few() {
    let Saved { dir, index, stamp } = saved();
    let mut loaded = vectors_of(&index);
    let new = queries(80);
    for (key, vector) in (1000..1079).zip(&new) {
        loaded.add(key, vector).unwrap();
    }
    // The graph has 399 points, 79 of which are just a fifth; what it lacks is found all the same.
    assert_eq!(loaded.load_graph(dir.path(), "u1", &stamp), GraphOrigin::Loaded);
    for (key, vector) in (1000..1079).zip(&new) {
        assert_eq!(loaded.search(vector, 1, |_| true).unwrap()[0].key, key);
    }
    assert!(!loaded.refresh());
    // Saved as it is, and loaded again.
    let stamp = loaded.save_graph(dir.path(), "u1").unwrap().unwrap();
    assert_eq!(loaded.load_graph(dir.path(), "u1", &stamp), GraphOrigin::Loaded);
    loaded.add(1079, &new[79]).unwrap();
    match loaded.load_graph(dir.path(), "u1", &stamp) {
        GraphOrigin::Rebuilt(reason) => assert!(reason.contains("lacks 80 vectors"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!loaded.refresh(), "it has all of them now");
}

#[test]
fn a_saved_graph_has_nothing_of_a_removed_vector() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(small_graph(), 0..400);
    let keys_saved = |index: &mut DenseIndex| -> Vec<u64> {
        index.save_graph(dir.path(), "u").unwrap();
        let bytes = fs::read(dir.path().join("u.hnsw.graph")).unwrap();
        let dump: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        serde_json::from_value(dump[0].clone()).unwrap()
    };
    assert_eq!(keys_saved(&mut index), (0..400).collect::<Vec<_>>());
    index.remove(17);
    let other = index.embedding(3).unwrap().to_vec();
    index.add(5, &other).unwrap();
    let keys = keys_saved(&mut index);
    assert!(keys.len() == 399 && !keys.contains(&17));
    // A replaced vector leads to no old place either: the graph was built with the new one.
    let mut anew = vectors_of(&index);
    anew.refresh();
    assert_eq!(answers(&anew), answers(&index));
}

#[test]
fn a_mismatch_of_any_kind_is_rebuilt_with_its_reason() {
    let Saved { dir, index, stamp } = saved();
    let rebuilt =
        |index: &mut DenseIndex, name: &str| match index.load_graph(dir.path(), name, &stamp) {
            GraphOrigin::Rebuilt(reason) => reason,
            other => panic!("{other:?}"),
        };
    assert!(rebuilt(&mut vectors_of(&index), "u2").contains("cannot be read"));
    assert!(rebuilt(&mut vectors_of(&index), "../u1").contains("cannot name"));
    let mut changed = vectors_of(&index);
    changed.add(5, &[1.0; 8]).unwrap();
    assert!(rebuilt(&mut changed, "u1").contains("other vectors"));
    let mut fewer = vectors_of(&index);
    fewer.remove(5);
    assert!(rebuilt(&mut fewer, "u1").contains("other vectors"));
    let config = small_graph().with_links(9);
    let mut other = DenseIndex::from_vectors(index.vectors().clone(), config).unwrap();
    assert!(rebuilt(&mut other, "u1").contains("other settings"));
    assert!(other.has_graph());
    // A stamp as an earlier version wrote it.
    let old = concat!(
        r#"{"format":1,"platform":"64-bit little-endian","links":8,"ef_construction":40,"#,
        r#""vectors":"","graph":"","data":""}"#,
    );
    let old: GraphStamp = serde_json::from_str(old).unwrap();
    match vectors_of(&index).load_graph(dir.path(), "u1", &old) {
        GraphOrigin::Rebuilt(reason) => assert!(reason.contains("another version"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_graph_that_cannot_be_written_is_an_error() {
    let mut index = filled(small_graph(), 0..400);
    let dir = tempfile::tempdir().unwrap();
    let error = index.save_graph(&dir.path().join("absent"), "u").unwrap_err();
    assert!(matches!(&error, GraphDumpError::Io { .. }), "{error}");
    for name in ["", "a/b", "..", "a\0", &"x".repeat(65)] {
        assert!(
            matches!(index.save_graph(dir.path(), name), Err(GraphDumpError::Name { .. })),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    fs::create_dir(dir.path().join("u.hnsw.graph")).unwrap();
    assert!(index.save_graph(dir.path(), "u").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is done to the file, loading ends with a graph, and the answers are those of a
    /// sound one.
    #[test]
    fn damaged_dumps_are_never_believed(
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..20),
        cut in any::<bool>(),
    ) {
        let Saved { dir, index, stamp } = saved();
        let path = dir.path().join("u1.hnsw.graph");
        let sound = fs::read(&path).unwrap();
        let mut damaged = sound.clone();
        let place = place.index(sound.len());
        if cut {
            damaged.truncate(place);
        }
        for (offset, byte) in bytes.into_iter().enumerate() {
            match damaged.get_mut(place + offset) {
                Some(old) => *old = byte,
                None => damaged.push(byte),
            }
        }
        fs::write(&path, &damaged).unwrap();
        let mut loaded = vectors_of(&index);
        let origin = loaded.load_graph(dir.path(), "u1", &stamp);
        prop_assert_eq!(origin == GraphOrigin::Loaded, damaged == sound, "{:?}", origin);
        prop_assert_eq!(answers(&loaded), answers(&index));
    }

    /// Any changes, refreshed at any moments: a wide search finds exactly what is there, at exact
    /// scores.
    #[test]
    fn changes_equal_the_exact_store(
        changes in prop::collection::vec(
            (0..60u64, prop::option::of(0..40usize), any::<bool>()),
            1..80,
        ),
    ) {
        let config = small_graph().with_exact_below(10);
        let palette: Vec<Vec<f32>> = {
            let mut n = Numbers(3);
            (0..40).map(|_| n.vector(8)).collect()
        };
        let mut index = DenseIndex::new(8, config).unwrap();
        let mut exact = VectorStore::new(8);
        for (key, vector, refresh) in changes {
            match vector {
                Some(vector) => {
                    let replaced = index.add(key, &palette[vector]);
                    prop_assert_eq!(replaced, exact.add(key, &palette[vector]));
                }
                None => prop_assert_eq!(index.remove(key), exact.remove(key)),
            }
            if refresh {
                index.refresh();
            }
            let query = &palette[0];
            prop_assert_eq!(index.search(query, 60, |_| true), exact.search(query, 60, |_| true));
            // Through the graph, where there is one: a subset of the truth.
            for hit in index.search(query, 1, |_| true).unwrap() {
                prop_assert_eq!(vec![hit], exact.search(query, 1, |key| key == hit.key).unwrap());
            }
        }
    }
}

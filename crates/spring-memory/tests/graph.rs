//! The graph of dense search: recall, lagging, and damaged dumps.
#![cfg(feature = "hnsw")]

use std::fs;

use proptest::prelude::*;
use spring_memory::{
    DenseConfig, DenseIndex, Embeddings, GraphDumpError, GraphOrigin, GraphStamp, Hit, VectorStore,
};

/// A small reproducible stream of numbers in −1..1 (a linear congruential generator, upper bits).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| self.next()).collect()
    }
}

const SMALL_GRAPH: DenseConfig =
    DenseConfig { exact_below: 100, links: 8, ef_construction: 40, ef_search: 40, rebuild_share: 0.2 };

fn filled(config: DenseConfig, keys: impl IntoIterator<Item = u64>) -> DenseIndex {
    let mut numbers = Numbers(1);
    let mut index = DenseIndex::new(8, config).expect("settings in range");
    for key in keys {
        index.add(key, &numbers.vector(8)).expect("a good vector");
    }
    index
}

fn queries(count: usize) -> Vec<Vec<f32>> {
    let mut numbers = Numbers(2);
    (0..count).map(|_| numbers.vector(8)).collect()
}

fn answers(index: &DenseIndex) -> Vec<Vec<Hit>> {
    queries(30).iter().map(|query| index.search(query, 10, |_| true).expect("a good query")).collect()
}

#[test]
fn the_graph_finds_what_exact_search_finds() {
    let mut index = filled(SMALL_GRAPH, 0..2000);
    assert_eq!(index.recall(&queries(5), 10), Ok(Some(1.0)));
    assert!(index.refresh() && index.has_graph());
    let recall = index.recall(&queries(50), 10).unwrap().unwrap();
    assert!(recall > 0.9, "{recall}");
    // Scores are the exact ones.
    for (query, hits) in queries(30).iter().zip(answers(&index)) {
        for hit in hits {
            let exact = index.vectors().search(query, 1, |key| key == hit.key).unwrap();
            assert_eq!(exact, [hit]);
        }
    }
}

/// hnsw_rs is the reference: with the same settings its graph, which keeps more links, finds little more.
#[test]
fn it_finds_what_hnsw_rs_finds() {
    use hnsw_rs::prelude::{DistDot, Hnsw};

    const DIMENSIONS: usize = 32;
    let mut numbers = Numbers(3);
    let centres: Vec<Vec<f32>> = (0..60).map(|_| numbers.vector(DIMENSIONS)).collect();
    let mut vectors = |count: usize| -> Vec<Vec<f32>> {
        let near = |i: usize| {
            let centre = &centres[i % centres.len()];
            centre.iter().zip(numbers.vector(DIMENSIONS)).map(|(c, x)| c + 0.7 * x).collect()
        };
        (0..count).map(near).collect()
    };
    let mut store = VectorStore::new(DIMENSIONS);
    for (key, vector) in (0..).zip(vectors(3000)) {
        store.add(key, &vector).unwrap();
    }
    let mut queries = vectors(200);
    let units = {
        let mut units = VectorStore::new(DIMENSIONS);
        for (key, query) in (0..).zip(&queries) {
            units.add(key, query).unwrap();
        }
        units
    };
    for (key, query) in (0..).zip(&mut queries) {
        *query = units.embedding(key).unwrap().to_vec();
    }
    let exact: Vec<Vec<u64>> = queries
        .iter()
        .map(|query| store.search(query, 10, |_| true).unwrap().iter().map(|hit| hit.key).collect())
        .collect();
    let recall = |found: &dyn Fn(&[f32]) -> Vec<u64>| {
        let of = |(query, exact): (&Vec<f32>, &Vec<u64>)| {
            let found = found(query);
            exact.iter().filter(|key| found.contains(key)).count()
        };
        queries.iter().zip(&exact).map(of).sum::<usize>() as f64 / (10 * queries.len()) as f64
    };

    for (links, ef) in [(8, 10), (8, 40), (16, 64)] {
        let reference = Hnsw::new(links, store.len(), 16, 100, DistDot {});
        for key in store.keys() {
            reference.insert((store.get(key).unwrap(), key as usize));
        }
        let config =
            DenseConfig { exact_below: 0, links, ef_construction: 100, ef_search: ef, rebuild_share: 0.2 };
        let mut index = DenseIndex::from_vectors(store.clone(), config).unwrap();
        assert!(index.refresh());
        let theirs =
            recall(&|query| reference.search(query, 10, ef).iter().map(|near| near.d_id as u64).collect());
        let ours =
            recall(&|query| index.search(query, 10, |_| true).unwrap().iter().map(|hit| hit.key).collect());
        assert!(ours > theirs - 0.02, "links {links}, ef {ef}: recall {ours}, hnsw_rs {theirs}");
    }
}

#[test]
fn the_same_vectors_give_the_same_answers() {
    let mut at_once = filled(SMALL_GRAPH, 0..1500);
    at_once.refresh();
    // Built in two steps.
    let mut in_steps = filled(SMALL_GRAPH, 0..1200);
    in_steps.refresh();
    let all = filled(SMALL_GRAPH, 0..1500);
    for key in 1200..1500 {
        in_steps.add(key, all.embedding(key).unwrap()).unwrap();
    }
    assert!(in_steps.refresh(), "a quarter is new");
    assert!(!in_steps.refresh(), "nothing is left to do");
    // The unit vectors were scaled twice, which may change a last bit; the order must hold.
    let keys = |answers: &[Vec<Hit>]| {
        answers.iter().map(|hits| hits.iter().map(|hit| hit.key).collect()).collect::<Vec<Vec<u64>>>()
    };
    assert_eq!(keys(&answers(&at_once)), keys(&answers(&in_steps)));
    // And added in the opposite order.
    let mut backwards = DenseIndex::new(8, SMALL_GRAPH).unwrap();
    for key in (0..1500).rev() {
        backwards.add(key, at_once.embedding(key).unwrap()).unwrap();
    }
    backwards.refresh();
    assert_eq!(keys(&answers(&at_once)), keys(&answers(&backwards)));
}

#[test]
fn removed_and_replaced_vectors_are_never_found_as_they_were() {
    let mut index = filled(SMALL_GRAPH, 0..1000);
    index.refresh();
    for query in queries(30) {
        let nearest = index.search(&query, 1, |_| true).unwrap()[0].key;
        assert!(index.remove(nearest) && !index.remove(nearest));
        assert_ne!(index.search(&query, 1, |_| true).unwrap()[0].key, nearest);
        // Another vector under an old key is found at its new place at once.
        let moved = index.search(&query, 1, |_| true).unwrap()[0].key;
        let opposite: Vec<f32> = query.iter().map(|x| -x).collect();
        assert_eq!(index.add(moved, &opposite), Ok(true));
        let hit = index.search(&opposite, 1, |_| true).unwrap()[0];
        assert_eq!(hit.key, moved);
        assert!(hit.score > 0.999_999);
    }
    assert!(!index.refresh(), "too few changes for a rebuild");
    for key in 0..400 {
        index.remove(key);
    }
    assert!(index.refresh(), "enough for one");
    assert!(index.recall(&queries(50), 10).unwrap().unwrap() > 0.9);
    for key in 400..1000 {
        index.remove(key);
    }
    assert!(index.refresh() && !index.has_graph());
    assert_eq!(index.search(&queries(1)[0], 3, |_| true), Ok(vec![]));
    assert_eq!(index.recall(&queries(1), 3), Ok(None));
}

#[test]
fn narrow_filters_are_exact() {
    let mut index = filled(SMALL_GRAPH, 0..2000);
    index.refresh();
    for query in queries(20) {
        for rare in [7u64, 500, 5000] {
            let found = index.search(&query, 5, |key| key % rare == 0).unwrap();
            let exact = index.vectors().search(&query, 5, |key| key % rare == 0).unwrap();
            assert_eq!(found.len(), exact.len());
            if rare > 100 {
                assert_eq!(found, exact);
            }
        }
    }
}

#[test]
fn equal_vectors_do_not_confuse_it() {
    let mut index = DenseIndex::new(8, SMALL_GRAPH).unwrap();
    for key in 0..500 {
        index.add(key, &[1.0; 8]).unwrap();
    }
    index.refresh();
    let hits = index.search(&[1.0; 8], 5, |_| true).unwrap();
    assert!(hits.len() == 5 && hits.iter().all(|hit| (hit.score - 1.0).abs() < 1e-6));
}

#[test]
fn copies_of_a_vector_do_not_hide_the_others() {
    let mut index = filled(SMALL_GRAPH, 0..2000);
    let copied = index.embedding(0).unwrap().to_vec();
    for key in (0..2000).filter(|key| key % 3 == 0) {
        index.add(key, &copied).unwrap();
    }
    index.refresh();
    let recall = index.recall(&queries(100), 10).unwrap().unwrap();
    assert!(recall > 0.95, "{recall}");
}

struct Saved {
    dir: tempfile::TempDir,
    index: DenseIndex,
    stamp: GraphStamp,
}

fn saved() -> Saved {
    let dir = tempfile::tempdir().expect("a folder");
    let mut index = filled(SMALL_GRAPH, 0..400);
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
    let mut few = filled(SMALL_GRAPH, 0..50);
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
    let mut index = filled(SMALL_GRAPH, 0..400);
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
    let rebuilt = |index: &mut DenseIndex, name: &str| match index.load_graph(dir.path(), name, &stamp) {
        GraphOrigin::Rebuilt(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert!(rebuilt(&mut vectors_of(&index), "u2").contains("cannot read"));
    assert!(rebuilt(&mut vectors_of(&index), "../u1").contains("cannot name"));
    let mut changed = vectors_of(&index);
    changed.add(5, &[1.0; 8]).unwrap();
    assert!(rebuilt(&mut changed, "u1").contains("other vectors"));
    let mut fewer = vectors_of(&index);
    fewer.remove(5);
    assert!(rebuilt(&mut fewer, "u1").contains("other vectors"));
    let config = DenseConfig { links: 9, ..SMALL_GRAPH };
    let mut other = DenseIndex::from_vectors(index.vectors().clone(), config).unwrap();
    assert!(rebuilt(&mut other, "u1").contains("other settings"));
    assert!(other.has_graph());
    // A stamp as an earlier version wrote it.
    let old = r#"{"format":1,"platform":"64-bit little-endian","links":8,"ef_construction":40,"vectors":"","graph":"","data":""}"#;
    let old: GraphStamp = serde_json::from_str(old).unwrap();
    match vectors_of(&index).load_graph(dir.path(), "u1", &old) {
        GraphOrigin::Rebuilt(reason) => assert!(reason.contains("another version"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_graph_that_cannot_be_written_is_an_error() {
    let mut index = filled(SMALL_GRAPH, 0..400);
    let dir = tempfile::tempdir().unwrap();
    let error = index.save_graph(&dir.path().join("absent"), "u").unwrap_err();
    assert!(matches!(&error, GraphDumpError::Io { .. }), "{error}");
    for name in ["", "a/b", "..", "a\0", &"x".repeat(65)] {
        assert!(matches!(index.save_graph(dir.path(), name), Err(GraphDumpError::Name { .. })), "{name}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    fs::create_dir(dir.path().join("u.hnsw.graph")).unwrap();
    assert!(index.save_graph(dir.path(), "u").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is done to the file, loading ends with a graph, and the answers are those of a sound
    /// one.
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

    /// Any changes, refreshed at any moments: a wide search finds exactly what is there, at exact scores.
    #[test]
    fn changes_equal_the_exact_store(
        changes in prop::collection::vec((0..60u64, prop::option::of(0..40usize), any::<bool>()), 1..80),
    ) {
        let config = DenseConfig { exact_below: 10, ..SMALL_GRAPH };
        let palette: Vec<Vec<f32>> = { let mut n = Numbers(3); (0..40).map(|_| n.vector(8)).collect() };
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

//! One suite for every index of dense search: recall, deletion, determinism. `hnsw_rs` takes part
//! in builds with that feature.

mod common;

#[cfg(feature = "hnsw_rs")]
use common::Numbers;
use common::{answers, filled, queries, small_graph};
#[cfg(feature = "hnsw_rs")]
use spring_memory::VectorStore;
use spring_memory::{DenseConfig, DenseIndex, Embeddings, Hit, IndexKind, Points};

/// Small indexes of every kind that this build has.
fn configs() -> Vec<DenseConfig> {
    let mut kinds = vec![IndexKind::Exact, IndexKind::Hnsw];
    if cfg!(feature = "hnsw_rs") {
        kinds.push(IndexKind::HnswRs);
    }
    kinds.into_iter().map(|kind| small_graph().with_index(kind)).collect()
}

fn is_graph(config: DenseConfig) -> bool {
    config.index != IndexKind::Exact
}

#[test]
fn kinds_are_chosen_by_name() {
    for config in configs() {
        let name = config.init().unwrap().name();
        let read: DenseConfig =
            serde_json::from_value(serde_json::json!({ "index": name })).unwrap();
        assert_eq!(read.index, config.index);
    }
    // The default is not written: records stay as they were before there was a choice.
    assert!(!serde_json::to_string(&DenseConfig::default()).unwrap().contains("\"index\""));
    let other = DenseConfig::default().with_index(IndexKind::HnswRs);
    assert!(serde_json::to_string(&other).unwrap().contains("\"index\":\"hnsw_rs\""));
    #[cfg(not(feature = "hnsw_rs"))]
    {
        let error = DenseIndex::new(8, other).unwrap_err();
        assert!((error.name.as_str(), error.value.as_str()) == ("index", "hnsw_rs"), "{error}");
    }
}

/// The trait itself, without what `DenseIndex` does around it.
#[test]
fn an_index_finds_most_of_the_nearest_points_with_their_similarities() {
    let store = filled(small_graph(), 0..500);
    let vectors: Vec<f32> =
        (0..500).flat_map(|key| store.embedding(key).unwrap().to_vec()).collect();
    let points = Points::new(&vectors, 8).unwrap();
    for config in configs() {
        let mut index = config.init().unwrap();
        index.build(Points::new(&[], 8).unwrap());
        assert!(index.near(Points::new(&[], 8).unwrap(), &[1.0; 8], 3).is_empty());
        index.build(points);
        let mut found = 0;
        for query in queries(20) {
            let length = query.iter().map(|x| x * x).sum::<f32>().sqrt();
            let query: Vec<f32> = query.iter().map(|x| x / length).collect();
            let near = index.near(points, &query, 30);
            assert!(near.len() <= 30);
            for &(point, similarity) in &near {
                assert_eq!(similarity.to_bits(), points.similarity(point, &query).to_bits());
            }
            let mut order: Vec<usize> = (0..points.len()).collect();
            order.sort_by(|&a, &b| {
                points.similarity(b, &query).total_cmp(&points.similarity(a, &query))
            });
            found +=
                order[..10].iter().filter(|point| near.iter().any(|(p, _)| p == *point)).count();
        }
        assert!(found >= if is_graph(config) { 180 } else { 200 }, "{index:?}: {found} of 200");
    }
    assert!(Points::new(&[1.0; 9], 8).is_none());
}

#[test]
fn an_index_finds_what_exact_search_finds() {
    for config in configs() {
        let mut index = filled(config, 0..2000);
        assert_eq!(index.recall(&queries(5), 10), Ok(Some(1.0)));
        assert!(index.refresh() == is_graph(config) && index.has_graph() == is_graph(config));
        let recall = index.recall(&queries(50), 10).unwrap().unwrap();
        assert!(recall > if is_graph(config) { 0.9 } else { 0.999_999 }, "{config:?}: {recall}");
        // Scores are the exact ones.
        for (query, hits) in queries(30).iter().zip(answers(&index)) {
            for hit in hits {
                let exact = index.vectors().search(query, 1, |key| key == hit.key).unwrap();
                assert_eq!(exact, [hit]);
            }
        }
    }
}

/// hnsw_rs is the reference: with the same settings its graph, which keeps more links, finds little
/// more.
#[cfg(feature = "hnsw_rs")]
#[test]
fn the_own_graph_finds_what_hnsw_rs_finds() {
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
    let queries = vectors(200);
    for (links, ef) in [(8, 10), (8, 40), (16, 64)] {
        let recall = |kind| {
            let config = DenseConfig::default().with_exact_below(0).with_index(kind);
            let config = config.with_links(links).with_ef_search(ef);
            let mut index = DenseIndex::from_vectors(store.clone(), config).unwrap();
            assert!(index.refresh());
            index.recall(&queries, 10).unwrap().unwrap()
        };
        let (ours, theirs) = (recall(IndexKind::Hnsw), recall(IndexKind::HnswRs));
        assert!(ours > theirs - 0.02, "links {links}, ef {ef}: recall {ours}, hnsw_rs {theirs}");
    }
}

fn keys(answers: &[Vec<Hit>]) -> Vec<Vec<u64>> {
    answers.iter().map(|hits| hits.iter().map(|hit| hit.key).collect()).collect()
}

#[test]
fn the_same_vectors_give_the_same_answers() {
    for config in configs() {
        let mut at_once = filled(config, 0..1500);
        at_once.refresh();
        let mut again = filled(config, 0..1500);
        again.refresh();
        assert_eq!(answers(&at_once), answers(&again));
        // Built in two steps.
        let mut in_steps = filled(config, 0..1200);
        in_steps.refresh();
        let all = filled(config, 0..1500);
        for key in 1200..1500 {
            in_steps.add(key, all.embedding(key).unwrap()).unwrap();
        }
        assert_eq!(in_steps.refresh(), is_graph(config), "a quarter is new");
        assert!(!in_steps.refresh(), "nothing is left to do");
        // The unit vectors were scaled twice, which may change a last bit; the order must hold.
        assert_eq!(keys(&answers(&at_once)), keys(&answers(&in_steps)));
        // And added in the opposite order.
        let mut backwards = DenseIndex::new(8, config).unwrap();
        for key in (0..1500).rev() {
            backwards.add(key, at_once.embedding(key).unwrap()).unwrap();
        }
        backwards.refresh();
        assert_eq!(keys(&answers(&at_once)), keys(&answers(&backwards)));
    }
}

#[test]
fn removed_and_replaced_vectors_are_never_found_as_they_were() {
    for config in configs() {
        let mut index = filled(config, 0..1000);
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
        assert_eq!(index.refresh(), is_graph(config), "enough for one");
        assert!(index.recall(&queries(50), 10).unwrap().unwrap() > 0.9);
        for key in 400..1000 {
            index.remove(key);
        }
        assert!(index.refresh() == is_graph(config) && !index.has_graph());
        assert_eq!(index.search(&queries(1)[0], 3, |_| true), Ok(vec![]));
        assert_eq!(index.recall(&queries(1), 3), Ok(None));
    }
}

#[test]
fn narrow_filters_are_exact() {
    for config in configs() {
        let mut index = filled(config, 0..2000);
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
}

#[test]
fn equal_vectors_do_not_confuse_it() {
    for config in configs() {
        let mut index = DenseIndex::new(8, config).unwrap();
        for key in 0..500 {
            index.add(key, &[1.0; 8]).unwrap();
        }
        index.refresh();
        let hits = index.search(&[1.0; 8], 5, |_| true).unwrap();
        assert!(hits.len() == 5 && hits.iter().all(|hit| (hit.score - 1.0).abs() < 1e-6));
        // Opposite vectors are at the largest distance there is.
        let hits = index.search(&[-1.0; 8], 5, |_| true).unwrap();
        assert!(hits.len() == 5 && hits.iter().all(|hit| (hit.score + 1.0).abs() < 1e-6));
    }
}

#[test]
fn copies_of_a_vector_do_not_hide_the_others() {
    for config in configs() {
        let mut index = filled(config, 0..2000);
        let copied = index.embedding(0).unwrap().to_vec();
        for key in (0..2000).filter(|key| key % 3 == 0) {
            index.add(key, &copied).unwrap();
        }
        index.refresh();
        let recall = index.recall(&queries(100), 10).unwrap().unwrap();
        assert!(recall > 0.95, "{config:?}: {recall}");
    }
}

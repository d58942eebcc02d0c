//! Dense search without a graph.

use std::collections::BTreeMap;

use proptest::prelude::*;
use spring_memory::{DenseConfig, DenseIndex, VectorError, VectorStore};

#[test]
fn an_index_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<DenseIndex>();
}

#[test]
fn bad_vectors_are_named() {
    let mut index = DenseIndex::new(8, DenseConfig::default()).unwrap();
    index.add(1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -9.0]).unwrap();
    let no_direction = |what: &str| Err(VectorError::NoDirection { what: what.into() });
    assert_eq!(index.add(2, &[0.0; 8]), no_direction("vector 2"));
    assert_eq!(index.add(3, &[f32::NAN; 8]), no_direction("vector 3"));
    assert_eq!(index.add(4, &[f32::INFINITY; 8]), no_direction("vector 4"));
    let error = index.add(5, &[1.0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "vector 5 has 1 dimensions, the index 8: embed both with the same model"
    );
    assert_eq!(index.search(&[0.0; 8], 1, |_| true).map(|_| false), no_direction("the query"));
    assert_eq!(index.len(), 1);
    // The smallest and the largest numbers have a direction.
    assert_eq!(index.add(6, &[f32::MIN_POSITIVE / 4.0; 8]), Ok(false));
    assert_eq!(index.add(7, &[f32::MAX; 8]), Ok(false));
    let hits = index.search(&[1.0; 8], 2, |_| true).unwrap();
    assert_eq!(hits.iter().map(|hit| hit.key).collect::<Vec<_>>(), [7, 6]);
}

#[test]
fn settings_out_of_range_are_named() {
    for (config, name) in [
        (DenseConfig::default().with_links(257), "links"),
        (DenseConfig::default().with_links(1), "links"),
        (DenseConfig::default().with_ef_construction(3), "ef_construction"),
        (DenseConfig::default().with_ef_search(0), "ef_search"),
        (DenseConfig::default().with_rebuild_share(f64::NAN), "rebuild_share"),
    ] {
        assert_eq!(DenseIndex::new(8, config).unwrap_err().name, name);
    }
}

proptest! {
    /// Exact search is the plain definition.
    #[test]
    fn exact_search_is_cosine_similarity(
        vectors in prop::collection::btree_map(0..99u64, prop::collection::vec(-9i8..9, 5), 0..20),
        query in prop::collection::vec(-9i8..9, 5),
        removed in prop::collection::vec(0..99u64, 0..9),
        k in 0..8usize,
    ) {
        let floats = |v: &[i8]| v.iter().map(|&x| f32::from(x)).collect::<Vec<f32>>();
        let norm = |v: &[i8]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        prop_assume!(norm(&query) > 0.0);
        let mut store = VectorStore::new(5);
        let mut model = BTreeMap::new();
        for (key, vector) in &vectors {
            if norm(vector) > 0.0 {
                store.add(*key, &floats(vector)).unwrap();
                model.insert(*key, vector.clone());
            }
        }
        for key in removed {
            prop_assert_eq!(store.remove(key), model.remove(&key).is_some());
        }
        prop_assert_eq!(store.keys(), model.keys().copied().collect::<Vec<_>>());
        let hits = store.search(&floats(&query), k, |_| true).unwrap();
        prop_assert_eq!(hits.len(), k.min(model.len()));
        for hit in &hits {
            let vector = &model[&hit.key];
            let dot: f64 =
                vector.iter().zip(&query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            prop_assert!((hit.score - dot / norm(vector) / norm(&query)).abs() < 1e-6);
        }
        prop_assert!(hits.windows(2).all(|pair| pair[0].ranking_order(&pair[1]).is_lt()));
        let worst = hits.last().map(|hit| hit.score);
        let all = store.search(&floats(&query), usize::MAX, |_| true).unwrap();
        prop_assert!(all.iter().skip(k).all(|hit| Some(hit.score) <= worst || k == 0));
    }
}

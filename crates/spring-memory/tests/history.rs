//! Searching a whole history.

use proptest::prelude::*;
use spring_memory::{
    Bm25Config, DenseConfig, DocumentFields, HistoryConfig, HistoryIndex, Hit, Interaction,
    RRF_CONSTANT, SearchError, SearchFilter, SearchMode, SearchRequest, VectorError,
    reciprocal_rank_fusion,
};

fn interaction(day: i8, prompt: &str, response: &str) -> Interaction {
    let time = format!("2026-01-{day:02}T12:00:00Z").parse().expect("a good time");
    let (user, id) = ("ada".try_into(), day.to_string().try_into());
    Interaction::new(user.expect("a good id"), id.expect("a good id"), time, prompt, response)
}

fn history(fields: DocumentFields) -> HistoryIndex {
    let mut index =
        HistoryIndex::new(HistoryConfig::default().with_fields(fields)).expect("settings in range");
    for (day, prompt, response, period, vector) in [
        (1, "lamp", "bright but hums", Some(1), Some([1.0, 0.0])),
        (2, "kettle", "boils fast", Some(1), Some([0.0, 1.0])),
        (3, "novel", "slow but fine", Some(2), Some([0.6, 0.8])),
        (4, "kettle", "hums and leaks", None, None),
    ] {
        let vector = vector.as_ref().map(<[f32; 2]>::as_slice);
        index
            .add(day as u64, &interaction(day, prompt, response), period, vector)
            .expect("a good vector");
    }
    index
}

fn request(mode: SearchMode, text: &str) -> SearchRequest<'_> {
    SearchRequest::new(text, 3).with_mode(mode, Some(&[0.0, 1.0]))
}

fn keys(hits: Result<Vec<Hit>, SearchError>) -> Vec<u64> {
    hits.expect("an answer").iter().map(|hit| hit.key).collect()
}

#[test]
fn each_mode_finds_its_own() {
    let index = history(DocumentFields::Both);
    assert_eq!(keys(index.search(&request(SearchMode::Bm25, "lamp"))), [1]);
    assert_eq!(keys(index.search(&request(SearchMode::Dense, "lamp"))), [2, 3, 1]);
    // 1 is first by words and last of three by meaning; 2 first by meaning alone.
    assert_eq!(keys(index.search(&request(SearchMode::Hybrid, "lamp"))), [1, 2, 3]);
    let without = SearchRequest::new("lamp", 3).with_mode(SearchMode::Hybrid, None);
    assert_eq!(index.search(&without), Err(SearchError::NoEmbedding));
    let short = SearchRequest::new("lamp", 3).with_mode(SearchMode::Dense, Some(&[1.0]));
    assert!(matches!(
        index.search(&short),
        Err(SearchError::Vector(VectorError::Dimensions { .. }))
    ));
    assert_eq!("hybrid".parse(), Ok(SearchMode::Hybrid));
    assert!("best".parse::<SearchMode>().is_err());
}

#[test]
fn fields_choose_what_is_searched() {
    let hums = |fields| keys(history(fields).search(&request(SearchMode::Bm25, "hums")));
    assert_eq!(hums(DocumentFields::Both).len(), 2);
    assert_eq!(hums(DocumentFields::Response).len(), 2);
    assert!(hums(DocumentFields::Prompt).is_empty());
    assert!(
        keys(history(DocumentFields::Response).search(&request(SearchMode::Bm25, "lamp")))
            .is_empty()
    );
}

#[test]
fn times_and_periods_filter_every_mode() {
    let mut index = history(DocumentFields::Both);
    let at = |day: i8| Some(interaction(day, "", "x").time);
    for (filter, expected) in [
        (SearchFilter::default().with_from(at(3)), vec![3, 4]),
        (SearchFilter::default().with_before(at(3)), vec![1, 2]),
        (SearchFilter::default().with_from(at(2)).with_before(at(4)), vec![2, 3]),
        (SearchFilter::default().with_periods(Some(1..=1)), vec![1, 2]),
        (SearchFilter::default().with_periods(Some(2..=9)), vec![3]),
        (SearchFilter::default(), vec![1, 2, 3, 4]),
    ] {
        assert_eq!(Vec::from_iter(index.keys(&filter)), expected);
        for mode in [SearchMode::Bm25, SearchMode::Dense, SearchMode::Hybrid] {
            let text = "lamp kettle novel hums";
            let hits = keys(index.search(&request(mode, text).with_filter(filter.clone())));
            assert!(
                !hits.is_empty() && hits.iter().all(|key| expected.contains(key)),
                "{mode:?} {hits:?}"
            );
        }
        let json = serde_json::to_string(&filter).expect("JSON");
        assert_eq!(serde_json::from_str::<SearchFilter>(&json).expect("JSON"), filter);
    }
    assert!(index.set_period(4, Some(3)) && !index.set_period(9, Some(3)));
    let third = SearchFilter::default().with_periods(Some(3..=3));
    assert_eq!(Vec::from_iter(index.keys(&third)), [4]);
}

#[test]
fn removing_and_replacing_reach_every_index() {
    let mut index = history(DocumentFields::Both);
    assert!(index.remove(2) && !index.remove(2));
    assert_eq!(keys(index.search(&request(SearchMode::Dense, ""))), [3, 1]);
    assert_eq!(keys(index.search(&request(SearchMode::Bm25, "kettle"))), [4]);
    // Replaced without an embedding: no longer found by meaning.
    index.add(3, &interaction(3, "essay", "short"), None, None).expect("added");
    assert_eq!(keys(index.search(&request(SearchMode::Dense, ""))), [1]);
    assert_eq!(keys(index.search(&request(SearchMode::Bm25, "essay"))), [3]);
    // Refused as a whole.
    let refused = index.add(5, &interaction(5, "zebra", "x"), None, Some(&[1.0]));
    assert!(refused.is_err() && index.len() == 3);
    assert!(keys(index.search(&request(SearchMode::Bm25, "zebra"))).is_empty());
}

#[test]
fn settings_are_checked_and_unknown_keys_refused() {
    let bm25 = Bm25Config::default().with_b(2.0);
    assert!(HistoryIndex::new(HistoryConfig::default().with_bm25(bm25)).is_err());
    let dense = DenseConfig::default().with_links(300);
    assert!(HistoryIndex::new(HistoryConfig::default().with_dense(dense)).is_err());
    let config: HistoryConfig =
        serde_json::from_str(r#"{"fields":"prompt","bm25":{"variant":"lucene"}}"#)
            .expect("known keys");
    assert_eq!(config.fields, DocumentFields::Prompt);
    assert!(serde_json::from_str::<HistoryConfig>(r#"{"dense":{"lynx":3}}"#).is_err());
}

proptest! {
    /// Fusing orders by the sum of reciprocal ranks, whatever the scores.
    #[test]
    fn fusion_sums_reciprocal_ranks(
        rankings in prop::collection::vec(prop::collection::hash_set(0..20u64, 0..8), 0..4),
        k in 0..25usize,
    ) {
        let rankings: Vec<Vec<Hit>> = rankings
            .into_iter()
            .map(|keys| keys.into_iter().map(|key| Hit::new(key, key as f64)).collect())
            .collect();
        let slices: Vec<&[Hit]> = rankings.iter().map(Vec::as_slice).collect();
        let fused = reciprocal_rank_fusion(&slices, RRF_CONSTANT, k);
        let mut expected: Vec<Hit> = (0..20)
            .map(|key| {
                let places =
                    rankings.iter().filter_map(|r| r.iter().position(|hit| hit.key == key));
                Hit::new(key, places.map(|place| 1.0 / (61.0 + place as f64)).sum())
            })
            .filter(|hit| hit.score > 0.0)
            .collect();
        expected.sort_by(Hit::ranking_order);
        expected.truncate(k);
        prop_assert_eq!(fused, expected);
    }
}

//! BM25 against rank_bm25, and incremental against fresh.

use proptest::prelude::*;
use serde::Deserialize;
use spring_memory::{Bm25Config, Bm25Index, Bm25Variant, Hit, Tokenizer};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    documents: Vec<String>,
    queries: Vec<QueryCase>,
}

#[derive(Deserialize)]
struct QueryCase {
    query: String,
    scores: Vec<f64>,
}

#[test]
fn okapi_equals_rank_bm25() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/bm25.json")).unwrap();
    let mut negative = 0;
    for case in &fixture.cases {
        let mut index = Bm25Index::default();
        for (key, document) in case.documents.iter().enumerate() {
            index.add(key as u64, document);
        }
        for QueryCase { query, scores } in &case.queries {
            for (key, &expected) in scores.iter().enumerate() {
                let score = index.score(query, key as u64).unwrap();
                assert!(
                    (score - expected).abs() < 1e-6,
                    "{query:?} on {key}: {score}, rank_bm25 {expected}"
                );
                negative += usize::from(expected < 0.0);
            }
            let shares_a_term = |document: &str| {
                query.split(' ').any(|term| document.split(' ').any(|d| d == term))
            };
            let mut ranking: Vec<(f64, usize)> = scores
                .iter()
                .enumerate()
                .filter(|&(key, _)| !query.is_empty() && shares_a_term(&case.documents[key]))
                .map(|(key, &score)| (score, key))
                .collect();
            ranking.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            let hits = index.search(query, usize::MAX, |_| true);
            let keys = |hits: &[Hit]| hits.iter().map(|hit| hit.key as usize).collect::<Vec<_>>();
            let expected: Vec<usize> = ranking.iter().map(|&(_, key)| key).collect();
            assert_eq!(keys(&hits), expected, "{query:?}");
            assert_eq!(keys(&index.search(query, 3, |_| true)), expected[..expected.len().min(3)]);
        }
    }
    assert!(negative > 0, "the fixture has cases with a negative mean idf");
}

/// Lucene's explain output for such a corpus, worked out by hand from its formula.
#[test]
fn lucene_formula() {
    let config = Bm25Config::default().with_variant(Bm25Variant::Lucene);
    let mut index = Bm25Index::new(config).unwrap();
    index.add(1, "a b b");
    index.add(2, "a");
    // idf(b) = ln(1 + 1.5/1.5) = ln 2; tf = 2 / (2 + 1.2·(0.25 + 0.75·3/2)) = 2 / 3.65.
    let expected = 2.0_f64.ln() * 2.0 / 3.65;
    assert!((index.score("b", 1).unwrap() - expected).abs() < 1e-12);
    // idf(a) = ln(1 + 0.5/2.5) stays positive.
    let expected = 1.2_f64.ln() / (1.0 + 1.2 * (0.25 + 0.75 * 0.5));
    assert!((index.score("a", 2).unwrap() - expected).abs() < 1e-12);
    assert_eq!(index.score("b", 2), Some(0.0));
    assert_eq!(index.score("b", 3), None);
}

#[test]
fn settings_out_of_range_are_named() {
    for (config, name) in [
        (Bm25Config::default().with_k1(Some(-1.0)), "k1"),
        // Infinity over infinity would be a score that is not a number.
        (Bm25Config::default().with_k1(Some(f64::MAX)), "k1"),
        (Bm25Config::default().with_b(1.5), "b"),
        (Bm25Config::default().with_epsilon(f64::NAN), "epsilon"),
        (Bm25Config::default().with_epsilon(f64::MAX), "epsilon"),
    ] {
        assert_eq!(Bm25Index::new(config).unwrap_err().name, name);
    }
    let largest = Bm25Config::default().with_k1(Some(1000.0)).with_epsilon(1000.0);
    let mut index = Bm25Index::new(largest).unwrap();
    for key in 0..9 {
        index.add(key, &"a b c ".repeat(1 + key as usize * 1000));
    }
    let hits = index.search("a b c d", 9, |_| true);
    assert!(hits.len() == 9 && hits.iter().all(|hit| hit.score.is_finite()), "{hits:?}");
}

#[test]
fn stop_words_leave_documents_and_queries() {
    let stop_words = ["Write", "about"].map(str::to_owned).into();
    let mut stopped = Bm25Index::new(Bm25Config::default().with_stop_words(stop_words)).unwrap();
    let mut plain = Bm25Index::default();
    for (key, topic) in ["lunch", "rent and heating", "the rent"].iter().enumerate() {
        stopped.add(key as u64, &format!("Write about {topic}"));
        plain.add(key as u64, topic);
    }
    assert!(stopped.search("Write about", 3, |_| true).is_empty());
    assert_eq!(stopped.search("Write about rent", 3, |_| true), plain.search("rent", 3, |_| true));
}

#[test]
fn a_copy_of_the_query_scores_one_when_normalised() {
    for variant in [Bm25Variant::Okapi, Bm25Variant::Lucene] {
        let mut index =
            Bm25Index::new(Bm25Config::default().with_variant(variant).with_normalise(true))
                .unwrap();
        for (key, text) in ["to be or not", "a b c d", "x y z", "x b"].iter().enumerate() {
            index.add(key as u64, text);
        }
        let hits = index.search("a b c d", 2, |_| true);
        assert!((hits[0].score - 1.0).abs() < 1e-12, "{variant:?}: {hits:?}");
        assert!(hits[1].score < 0.5 && hits[1].key == 3);
        // Half of the query is unheard of: the score says so.
        assert!(index.score("a b unheard words", 1).unwrap() < 0.6);
    }
}

#[test]
fn filters_leave_scores_alone() {
    let mut index = Bm25Index::default();
    for (key, text) in
        ["one fish", "two fish", "red bird", "blue bird", "old fish"].iter().enumerate()
    {
        index.add(key as u64, text);
    }
    let all = index.search("old fish", 5, |_| true);
    let even = index.search("old fish", 5, |key| key % 2 == 0);
    assert_eq!(all.iter().map(|hit| hit.key).collect::<Vec<_>>(), [4, 1, 0]);
    assert_eq!(even, [all[0], all[2]]);
}

#[derive(Debug, Clone)]
enum Change {
    Add(u64, String),
    Remove(u64),
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "A", "ü"]), 0..8)
        .prop_map(|terms| terms.join(" "))
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => (0..12u64, text()).prop_map(|(key, text)| Change::Add(key, text)),
        1 => (0..12u64).prop_map(Change::Remove),
    ];
    prop::collection::vec(change, 1..40)
}

fn config() -> impl Strategy<Value = Bm25Config> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(lucene, words, normalise)| {
        Bm25Config::default()
            .with_variant(if lucene { Bm25Variant::Lucene } else { Bm25Variant::Okapi })
            .with_tokenizer(if words { Tokenizer::Words } else { Tokenizer::Whitespace })
            .with_normalise(normalise)
    })
}

fn fresh<'t>(
    config: &Bm25Config,
    texts: impl IntoIterator<Item = (&'t u64, &'t String)>,
) -> Bm25Index {
    let mut index = Bm25Index::new(config.clone()).expect("settings in range");
    for (&key, text) in texts {
        index.add(key, text);
    }
    index
}

proptest! {
    /// After any adds, replacements and removals every score is that of a fresh index, to the last
    /// bit.
    #[test]
    fn incremental_equals_fresh(config in config(), changes in changes(), query in text()) {
        let mut index = Bm25Index::new(config.clone()).unwrap();
        let mut texts = std::collections::BTreeMap::new();
        for change in changes {
            match change {
                Change::Add(key, text) => {
                    let replaced = index.add(key, &text);
                    prop_assert_eq!(replaced, texts.insert(key, text).is_some());
                }
                Change::Remove(key) => {
                    prop_assert_eq!(index.remove(key), texts.remove(&key).is_some())
                }
            }
            let fresh = fresh(&config, &texts);
            prop_assert_eq!(index.len(), texts.len());
            prop_assert_eq!(index.search(&query, 5, |_| true), fresh.search(&query, 5, |_| true));
        }
        for &key in texts.keys() {
            let hit = index.search(&query, usize::MAX, |k| k == key).first().map(|hit| hit.score);
            prop_assert_eq!(index.score(&query, key), Some(hit.unwrap_or(0.0)));
        }
    }

    /// Leaving a document out equals an index that never had it.
    #[test]
    fn leave_one_out_equals_rebuilding(
        config in config(),
        texts in prop::collection::btree_map(0..50u64, text(), 1..15),
        query in text(),
        k in 1..4usize,
    ) {
        let index = fresh(&config, &texts);
        for key in texts.keys() {
            let others = fresh(&config, texts.iter().filter(|(other, _)| *other != key));
            let mut scores: Vec<f64> =
                others.keys().map(|k| others.score(&query, k).unwrap()).collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(index.leave_one_out(*key, &query, k), scores.get(k - 1).copied());
            let found = index.search_without(*key, &query, k);
            prop_assert_eq!(found, others.search(&query, k, |_| true));
        }
        prop_assert_eq!(index.leave_one_out(99, &query, k), None);
        prop_assert_eq!(index.search_without(99, &query, k), index.search(&query, k, |_| true));
    }

    /// No text panics, and every score is a number.
    #[test]
    fn any_text_scores(
        config in config(),
        texts in prop::collection::vec(".*", 0..6),
        query in ".*",
    ) {
        let mut index = Bm25Index::new(config).unwrap();
        for (key, text) in texts.iter().enumerate() {
            index.add(key as u64, text);
        }
        for hit in index.search(&query, 10, |_| true) {
            prop_assert!(hit.score.is_finite());
        }
    }
}

proptest! {
    /// The crate rank_bm25, a port of the Python package of that name, after any adding and
    /// removing.
    #[test]
    fn what_is_left_scores_as_in_the_crate_rank_bm25(
        documents in prop::collection::vec(prop::collection::vec(0..12u8, 1..9), 2..12),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        query in prop::collection::vec(0..14u8, 1..6),
    ) {
        let words = |terms: &[u8]| terms.iter().map(|term| format!("w{term}")).collect::<Vec<_>>();
        let mut index = Bm25Index::default();
        for (key, document) in (0..).zip(&documents) {
            index.add(key, &words(document).join(" "));
        }
        for place in removed.into_iter().take(documents.len() - 1) {
            index.remove(place.index(documents.len()) as u64);
        }
        let mut reference = rank_bm25::Builder::new(rank_bm25::Params::okapi());
        let left: Vec<u64> = index.keys().collect();
        for &key in &left {
            let words = words(&documents[key as usize]);
            reference.add_document(words.iter().map(String::as_str)).unwrap();
        }
        let expected = reference.build().unwrap().get_scores(&words(&query));
        for (key, expected) in left.into_iter().zip(expected) {
            let score = index.score(&words(&query).join(" "), key).unwrap();
            prop_assert!((score - expected).abs() < 1e-9, "{key}: {score}, rank_bm25 {expected}");
        }
    }
}

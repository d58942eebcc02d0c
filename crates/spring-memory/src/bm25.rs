//! BM25 over one user's documents, kept up to date document by document.
//!
//! Written here: a gate is calibrated by leave-one-out scores, and texts are forgotten, and no
//! crate for BM25 has both and rank_bm25's formula.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};
use slab::Slab;
use spring_numerics::{SettingError, setters, setting::in_range};

use crate::{Hit, Tokenizer, hit::top_k};

/// Which BM25.
///
/// f is the term's count in the document, |d| the document's length in terms, N the number of
/// documents, n that of documents with the term, and K = k1·(1 − b + b·|d| / mean |d|). A term that
/// the query repeats counts repeatedly in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bm25Variant {
    /// `BM25Okapi` of the Python package rank_bm25: idf = ln(N − n + 0.5) − ln(n + 0.5), a negative
    /// one replaced by ε times the mean idf of all terms (negative ones included); score = Σ idf ·
    /// f·(k1 + 1) / (f + K).
    #[default]
    Okapi,
    /// Lucene's since version 8: idf = ln(1 + (N − n + 0.5) / (n + 0.5)), never negative; score = Σ
    /// idf · f / (f + K). Lengths are exact here, where Lucene rounds them to one byte.
    Lucene,
}

/// How a [`Bm25Index`] splits texts and scores them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Bm25Config {
    /// The formula. Default: Okapi.
    pub variant: Bm25Variant,
    /// Saturation of repeated terms, 0 to 1000. Default: 1.5 for Okapi, 1.2 for Lucene, as in their
    /// originals.
    pub k1: Option<f64>,
    /// How much a document's length counts, 0 to 1. Default 0.75.
    pub b: f64,
    /// Okapi only: what replaces a negative idf, as a part of the mean idf, 0 to 1000. Default
    /// 0.25.
    pub epsilon: f64,
    /// How texts become terms. Default: white space, case kept.
    pub tokenizer: Tokenizer,
    /// Terms that are dropped from documents and queries alike, such as those of a prompt template
    /// ([`template_stop_words`](crate::template_stop_words)). Default: none.
    pub stop_words: BTreeSet<String>,
    /// Divides every score by what a document with just the query's terms would score, so that
    /// thresholds compare across queries. A query term that no document has counts in that sum with
    /// n = 0. Where that sum is not positive, all scores are 0. Default: off.
    pub normalise: bool,
}

impl Default for Bm25Config {
    fn default() -> Self {
        Self {
            variant: Bm25Variant::Okapi,
            k1: None,
            b: 0.75,
            epsilon: 0.25,
            tokenizer: Tokenizer::default(),
            stop_words: BTreeSet::new(),
            normalise: false,
        }
    }
}

setters! {
    Bm25Config {
        with_variant(variant: Bm25Variant);
        with_k1(k1: Option<f64>);
        with_b(b: f64);
        with_epsilon(epsilon: f64);
        with_tokenizer(tokenizer: Tokenizer);
        with_stop_words(stop_words: BTreeSet<String>);
        with_normalise(normalise: bool);
    }
}

#[derive(Debug, Clone)]
struct Document {
    key: u64,
    /// In terms.
    length: usize,
    /// Sorted by `term`.
    terms: Vec<DocumentTerm>,
}

#[derive(Debug, Clone)]
struct DocumentTerm {
    term: usize,
    count: u32,
    /// This document's position in the term's postings.
    place: usize,
}

#[derive(Debug, Clone)]
struct Term {
    text: String,
    postings: Vec<Posting>,
}

#[derive(Debug, Clone)]
struct Posting {
    document: usize,
    count: u32,
}

impl Document {
    fn find(&self, term: usize) -> Option<&DocumentTerm> {
        self.terms.binary_search_by_key(&term, |t| t.term).ok().map(|at| &self.terms[at])
    }
}

/// What the formulas need to know of all documents together.
#[derive(Debug, Clone, Default)]
struct Statistics {
    documents: usize,
    total_length: usize,
    /// Document frequency → number of terms that have it: the mean idf needs no more.
    frequencies: BTreeMap<usize, usize>,
    /// Kept from one search to the next: among few documents, its logarithms take a third of one.
    mean_okapi_idf: OnceLock<f64>,
}

impl Statistics {
    fn add(&mut self, length: usize, frequencies_before: impl Iterator<Item = usize>) {
        self.mean_okapi_idf = OnceLock::new();
        self.documents += 1;
        self.total_length += length;
        for before in frequencies_before {
            self.move_term(before, before + 1);
        }
    }

    fn remove(&mut self, length: usize, frequencies_before: impl Iterator<Item = usize>) {
        self.mean_okapi_idf = OnceLock::new();
        self.documents -= 1;
        self.total_length -= length;
        for before in frequencies_before {
            self.move_term(before, before - 1);
        }
    }

    /// A term's document frequency changes; at 0 the term is gone.
    fn move_term(&mut self, from: usize, to: usize) {
        if let Some(terms) = self.frequencies.get_mut(&from) {
            *terms -= 1;
            if *terms == 0 {
                self.frequencies.remove(&from);
            }
        }
        if to > 0 {
            *self.frequencies.entry(to).or_default() += 1;
        }
    }

    fn okapi_idf(&self, frequency: usize) -> f64 {
        ((self.documents - frequency) as f64 + 0.5).ln() - (frequency as f64 + 0.5).ln()
    }

    fn mean_okapi_idf(&self) -> f64 {
        *self.mean_okapi_idf.get_or_init(|| {
            let (mut sum, mut terms) = (0.0, 0);
            for (&frequency, &count) in &self.frequencies {
                sum += count as f64 * self.okapi_idf(frequency);
                terms += count;
            }
            if terms == 0 { 0.0 } else { sum / terms as f64 }
        })
    }
}

/// The formula with everything filled in that does not depend on the document.
struct Formula<'s> {
    statistics: &'s Statistics,
    variant: Bm25Variant,
    k1: f64,
    b: f64,
    mean_length: f64,
    /// Replaces negative idf values; Okapi only.
    floor: f64,
}

impl Formula<'_> {
    fn idf(&self, frequency: usize) -> f64 {
        match self.variant {
            Bm25Variant::Okapi => {
                let idf = self.statistics.okapi_idf(frequency);
                if idf < 0.0 { self.floor } else { idf }
            }
            Bm25Variant::Lucene => {
                let (all, with) = (self.statistics.documents as f64, frequency as f64);
                ((all - with + 0.5) / (with + 0.5)).ln_1p()
            }
        }
    }

    fn saturation(&self, count: u32, length: usize) -> f64 {
        let count = f64::from(count);
        let divisor = count + self.k1 * (1.0 - self.b + self.b * length as f64 / self.mean_length);
        match self.variant {
            Bm25Variant::Okapi => count * (self.k1 + 1.0) / divisor,
            Bm25Variant::Lucene => count / divisor,
        }
    }
}

/// A query's distinct terms, in order of first appearance, so that every document's sum has the
/// same order.
struct Query<'q> {
    length: usize,
    terms: Vec<QueryTerm<'q>>,
}

struct QueryTerm<'q> {
    text: Cow<'q, str>,
    count: u32,
}

/// An inverted index with BM25 scores over documents with `u64` keys, larger keys being newer.
///
/// Adding and removing cost O(terms of the document), and scores afterwards are those of an index
/// built afresh, to the last bit. No term of a removed document stays behind. In memory only:
/// rebuild it from the texts, which takes milliseconds per thousand.
///
/// ```
/// use spring_memory::Bm25Index;
/// let mut index = Bm25Index::default();
/// index.add(1, "the cat sat on the mat");
/// index.add(2, "dogs bark");
/// index.add(3, "a cat and a dog");
/// let hits = index.search("cat on mat", 2, |_| true);
/// assert_eq!(hits.iter().map(|hit| hit.key).collect::<Vec<_>>(), [1, 3]);
/// ```
#[derive(Debug, Clone)]
pub struct Bm25Index {
    config: Bm25Config,
    k1: f64,
    documents: Slab<Document>,
    by_key: BTreeMap<u64, usize>,
    terms: Slab<Term>,
    by_text: HashMap<String, usize>,
    statistics: Statistics,
}

impl Default for Bm25Index {
    fn default() -> Self {
        let config = Bm25Config::default();
        Self::with_k1(config, OKAPI_K1)
    }
}

const OKAPI_K1: f64 = 1.5;
const LUCENE_K1: f64 = 1.2;
/// Of `k1` and `epsilon`: far beyond what makes sense, and far below what makes a score infinite.
const LARGEST: f64 = 1000.0;

impl Bm25Index {
    /// An empty index.
    ///
    /// # Errors
    /// When `k1`, `b` or `epsilon` is out of its range.
    pub fn new(config: Bm25Config) -> Result<Self, SettingError> {
        let k1 = config.k1.unwrap_or(match config.variant {
            Bm25Variant::Okapi => OKAPI_K1,
            Bm25Variant::Lucene => LUCENE_K1,
        });
        in_range("k1", k1, 0.0..=LARGEST, "between 0 and 1000")?;
        in_range("b", config.b, 0.0..=1.0, "between 0 and 1")?;
        in_range("epsilon", config.epsilon, 0.0..=LARGEST, "between 0 and 1000")?;
        Ok(Self::with_k1(config, k1))
    }

    fn with_k1(config: Bm25Config, k1: f64) -> Self {
        Self {
            config,
            k1,
            documents: Slab::new(),
            by_key: BTreeMap::new(),
            terms: Slab::new(),
            by_text: HashMap::new(),
            statistics: Statistics::default(),
        }
    }

    /// How this index splits and scores.
    pub fn config(&self) -> &Bm25Config {
        &self.config
    }

    /// The number of documents.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The keys of all documents, oldest first.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_key.keys().copied()
    }

    /// Whether there is a document with this key.
    pub fn contains(&self, key: u64) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Adds a document; one with the same key is replaced, which the answer says. A text without
    /// terms counts as a document too.
    pub fn add(&mut self, key: u64, text: &str) -> bool {
        let replaced = self.remove(key);
        let query = self.query(text);
        let mut counts: Vec<(usize, u32)> = query
            .terms
            .into_iter()
            .map(|QueryTerm { text, count }| {
                let term = match self.by_text.get(text.as_ref()) {
                    Some(&term) => term,
                    None => {
                        let text = text.into_owned();
                        let term =
                            self.terms.insert(Term { text: text.clone(), postings: Vec::new() });
                        self.by_text.insert(text, term);
                        term
                    }
                };
                (term, count)
            })
            .collect();
        counts.sort_unstable();
        self.statistics
            .add(query.length, counts.iter().map(|&(term, _)| self.terms[term].postings.len()));
        let document = self.documents.vacant_key();
        let terms = counts
            .into_iter()
            .map(|(term, count)| {
                let postings = &mut self.terms[term].postings;
                postings.push(Posting { document, count });
                DocumentTerm { term, count, place: postings.len() - 1 }
            })
            .collect();
        self.documents.insert(Document { key, length: query.length, terms });
        self.by_key.insert(key, document);
        replaced
    }

    /// Removes a document and says whether there was one.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(slot) = self.by_key.remove(&key) else {
            return false;
        };
        let document = self.documents.remove(slot);
        let frequencies = document.terms.iter().map(|t| self.terms[t.term].postings.len());
        self.statistics.remove(document.length, frequencies);
        for DocumentTerm { term, place, .. } in document.terms {
            let postings = &mut self.terms[term].postings;
            postings.swap_remove(place);
            if let Some(moved) = postings.get(place) {
                let terms = &mut self.documents[moved.document].terms;
                if let Ok(at) = terms.binary_search_by_key(&term, |t| t.term) {
                    terms[at].place = place;
                }
            } else if postings.is_empty() {
                let text = self.terms.remove(term).text;
                self.by_text.remove(&text);
            }
        }
        true
    }

    /// The `k` best documents that `filter` lets through and that have at least one term of the
    /// query, best first, the newer of equals first. The filter does not change the statistics: a
    /// document's score is the same with and without it.
    pub fn search(&self, query: &str, k: usize, filter: impl Fn(u64) -> bool) -> Vec<Hit> {
        let hits = self.matching(query, None).into_iter().filter(|hit| filter(hit.key)).collect();
        top_k(hits, k)
    }

    /// The `k` best documents as [`search`](Self::search) finds them in the corpus without the
    /// document `key`: as in [`leave_one_out`](Self::leave_one_out), everything is counted without
    /// it. A key that is not there leaves nothing out.
    pub fn search_without(&self, key: u64, query: &str, k: usize) -> Vec<Hit> {
        top_k(self.matching(query, self.by_key.get(&key).copied()), k)
    }

    /// The score of one document, 0 where it has no term of the query; `None` when there is no such
    /// document.
    pub fn score(&self, query: &str, key: u64) -> Option<f64> {
        let document = &self.documents[*self.by_key.get(&key)?];
        let query = self.query(query);
        let formula = self.formula(&self.statistics);
        let mut score = 0.0;
        for QueryTerm { text, count } in &query.terms {
            let found = self.by_text.get(text.as_ref()).and_then(|&term| document.find(term));
            if let Some(found) = found {
                let weight = f64::from(*count) * formula.idf(self.terms[found.term].postings.len());
                score += weight * formula.saturation(found.count, document.length);
            }
        }
        Some(score * self.scale(&query, &formula, None))
    }

    /// The `k`-th best score of `query` (`k` = 1: the best) in the corpus without the document
    /// `key`: number of documents, document frequencies, mean idf and mean length are all counted
    /// without it, and documents without a term of the query score 0. `None` when there is no such
    /// document or fewer than `k` others.
    ///
    /// Costs one search: the index is not rebuilt. With each document's own prompt as the query
    /// this gives the sample from which a retrieval gate is calibrated.
    pub fn leave_one_out(&self, key: u64, query: &str, k: usize) -> Option<f64> {
        let left_out = *self.by_key.get(&key)?;
        let others = self.len() - 1;
        if k == 0 || k > others {
            return None;
        }
        let mut scores: Vec<f64> =
            self.matching(query, Some(left_out)).iter().map(|hit| hit.score).collect();
        let without_term = others - scores.len();
        scores.extend(std::iter::repeat_n(0.0, without_term.min(k)));
        let (_, score, _) = scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        Some(*score)
    }

    /// Every document with a term of the query, in no particular order.
    fn matching(&self, query: &str, left_out: Option<usize>) -> Vec<Hit> {
        let query = self.query(query);
        let mut statistics = Cow::Borrowed(&self.statistics);
        if let Some(document) = left_out.map(|slot| &self.documents[slot]) {
            let frequencies = document.terms.iter().map(|t| self.terms[t.term].postings.len());
            statistics.to_mut().remove(document.length, frequencies);
        }
        let formula = self.formula(&statistics);
        let mut scores = vec![0.0; self.documents.capacity()];
        let mut seen = vec![false; self.documents.capacity()];
        let mut found = Vec::new();
        for QueryTerm { text, count } in &query.terms {
            let Some(&term) = self.by_text.get(text.as_ref()) else { continue };
            let frequency = self.frequency(term, left_out);
            if frequency == 0 {
                continue;
            }
            let weight = f64::from(*count) * formula.idf(frequency);
            for posting in &self.terms[term].postings {
                let slot = posting.document;
                if Some(slot) == left_out {
                    continue;
                }
                if !seen[slot] {
                    seen[slot] = true;
                    found.push(slot);
                }
                scores[slot] +=
                    weight * formula.saturation(posting.count, self.documents[slot].length);
            }
        }
        let scale = self.scale(&query, &formula, left_out);
        found
            .into_iter()
            .map(|slot| Hit { key: self.documents[slot].key, score: scores[slot] * scale })
            .collect()
    }

    /// How many documents have the term, `left_out` not counted.
    fn frequency(&self, term: usize, left_out: Option<usize>) -> usize {
        let left_out = left_out.is_some_and(|slot| self.documents[slot].find(term).is_some());
        self.terms[term].postings.len() - usize::from(left_out)
    }

    fn formula<'s>(&self, statistics: &'s Statistics) -> Formula<'s> {
        let floor = match self.config.variant {
            Bm25Variant::Okapi => self.config.epsilon * statistics.mean_okapi_idf(),
            Bm25Variant::Lucene => 0.0,
        };
        Formula {
            statistics,
            variant: self.config.variant,
            k1: self.k1,
            b: self.config.b,
            mean_length: statistics.total_length as f64 / statistics.documents as f64,
            floor,
        }
    }

    /// What every score is multiplied with: 1, or for normalised scores 1 over the query's own.
    fn scale(&self, query: &Query<'_>, formula: &Formula<'_>, left_out: Option<usize>) -> f64 {
        if !self.config.normalise {
            return 1.0;
        }
        let mut own = 0.0;
        for QueryTerm { text, count } in &query.terms {
            let frequency =
                self.by_text.get(text.as_ref()).map_or(0, |&term| self.frequency(term, left_out));
            own += f64::from(*count)
                * formula.idf(frequency)
                * formula.saturation(*count, query.length);
        }
        if own > 0.0 { own.recip() } else { 0.0 }
    }

    fn query<'q>(&self, text: &'q str) -> Query<'q> {
        let terms = self.config.tokenizer.terms(text);
        let mut query = Query { length: 0, terms: Vec::with_capacity(terms.len()) };
        let mut places: HashMap<Cow<'q, str>, usize> = HashMap::with_capacity(terms.len());
        for term in terms {
            if self.config.stop_words.contains(term.as_ref()) {
                continue;
            }
            query.length += 1;
            let place = *places.entry(term.clone()).or_insert(query.terms.len());
            match query.terms.get_mut(place) {
                Some(known) => known.count = known.count.saturating_add(1),
                None => query.terms.push(QueryTerm { text: term, count: 1 }),
            }
        }
        query
    }
}

//! Search over one user's history, by words, by meaning or both, within times and periods.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    str::FromStr,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, setters};
use thiserror::Error;

use crate::{
    Bm25Config, Bm25Index, DenseConfig, DenseIndex, Hit, Interaction, RRF_CONSTANT, VectorError,
    VectorStore, reciprocal_rank_fusion,
};

/// Which fields of an interaction are the document that BM25 sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DocumentFields {
    /// Prompt, newline, response: the paper's.
    #[default]
    Both,
    /// The prompt alone.
    Prompt,
    /// The response alone.
    Response,
}

impl DocumentFields {
    /// The document of an interaction.
    pub fn document<'i>(&self, prompt: &'i str, response: &'i str) -> Cow<'i, str> {
        match self {
            Self::Both => Cow::Owned(format!("{prompt}\n{response}")),
            Self::Prompt => Cow::Borrowed(prompt),
            Self::Response => Cow::Borrowed(response),
        }
    }
}

/// How to find texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SearchMode {
    /// By shared terms: needs no model.
    #[default]
    Bm25,
    /// By the nearness of embeddings.
    Dense,
    /// Both rankings, fused by reciprocal rank.
    Hybrid,
}

impl FromStr for SearchMode {
    type Err = SettingError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "bm25" => Ok(Self::Bm25),
            "dense" => Ok(Self::Dense),
            "hybrid" => Ok(Self::Hybrid),
            _ => Err(SettingError::new("mode", name, "bm25, dense or hybrid")),
        }
    }
}

/// Which part of a history a search is about. The default lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SearchFilter {
    /// This time or later.
    pub from: Option<Timestamp>,
    /// Earlier than this.
    pub before: Option<Timestamp>,
    /// In one of these periods, ends included; a text that is in no period yet is in none of them.
    pub periods: Option<RangeInclusive<u32>>,
}

setters! {
    SearchFilter {
        with_from(from: Option<Timestamp>);
        with_before(before: Option<Timestamp>);
        with_periods(periods: Option<RangeInclusive<u32>>);
    }
}

impl SearchFilter {
    /// Whether a text of that time and period is meant.
    pub fn accepts(&self, time: Timestamp, period: Option<u32>) -> bool {
        self.from.is_none_or(|from| time >= from)
            && self.before.is_none_or(|before| time < before)
            && self.periods.as_ref().is_none_or(|range| period.is_some_and(|p| range.contains(&p)))
    }
}

/// How a [`HistoryIndex`] indexes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HistoryConfig {
    /// What BM25 sees of an interaction.
    pub fields: DocumentFields,
    /// How BM25 scores.
    pub bm25: Bm25Config,
    /// When the embeddings get a graph.
    pub dense: DenseConfig,
}

setters! {
    HistoryConfig {
        with_fields(fields: DocumentFields);
        with_bm25(bm25: Bm25Config);
        with_dense(dense: DenseConfig);
    }
}

/// Why a search has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SearchError {
    /// Searching by meaning needs the query's embedding.
    #[error("dense and hybrid search need the query's embedding: pass it, or search by bm25")]
    NoEmbedding,
    /// The embedding does not fit.
    #[error(transparent)]
    Vector(#[from] VectorError),
}

/// What to find.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SearchRequest<'q> {
    /// By words, meaning or both.
    pub mode: SearchMode,
    /// The query's words.
    pub text: &'q str,
    /// The query's embedding, for [`SearchMode::Dense`] and [`SearchMode::Hybrid`].
    pub embedding: Option<&'q [f32]>,
    /// The most hits.
    pub k: usize,
    /// Where to look.
    pub filter: SearchFilter,
}

impl<'q> SearchRequest<'q> {
    /// The `k` texts that share most with these words, of the whole history.
    pub fn new(text: &'q str, k: usize) -> Self {
        Self { mode: SearchMode::Bm25, text, embedding: None, k, filter: SearchFilter::default() }
    }

    /// The same in another mode, with the query's embedding if that needs one.
    #[must_use]
    pub fn with_mode(self, mode: SearchMode, embedding: Option<&'q [f32]>) -> Self {
        Self { mode, embedding, ..self }
    }

    /// The same of a part of the history.
    #[must_use]
    pub fn with_filter(self, filter: SearchFilter) -> Self {
        Self { filter, ..self }
    }
}

/// The searchable side of one user's history: BM25 over the texts, a [`DenseIndex`] over those that
/// have an embedding, times and periods over all.
#[derive(Debug)]
pub struct HistoryIndex {
    config: HistoryConfig,
    moments: BTreeMap<u64, (Timestamp, Option<u32>)>,
    bm25: Bm25Index,
    /// From the first embedding on, which says how long they are.
    dense: Option<DenseIndex>,
}

impl HistoryIndex {
    /// An empty index.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(config: HistoryConfig) -> Result<Self, SettingError> {
        let bm25 = Bm25Index::new(config.bm25.clone()).map_err(|error| error.within("bm25"))?;
        DenseIndex::new(0, config.dense).map_err(|error| error.within("dense"))?;
        Ok(Self { config, moments: BTreeMap::new(), bm25, dense: None })
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// The index over the texts.
    pub fn bm25(&self) -> &Bm25Index {
        &self.bm25
    }

    /// The index over the embeddings, once there is one.
    pub fn dense(&self) -> Option<&DenseIndex> {
        self.dense.as_ref()
    }

    /// The same, to build, save or load its graph.
    pub fn dense_mut(&mut self) -> Option<&mut DenseIndex> {
        self.dense.as_mut()
    }

    /// Adds an interaction under a key, the larger of two being the newer; one with the same key is
    /// replaced. Without an embedding it is found by its words only.
    ///
    /// # Errors
    /// An embedding without direction or of another length than the others; nothing is added then.
    pub fn add(
        &mut self,
        key: u64,
        interaction: &Interaction,
        period: Option<u32>,
        embedding: Option<&[f32]>,
    ) -> Result<(), VectorError> {
        match (embedding, &mut self.dense) {
            (Some(vector), Some(dense)) => {
                dense.add(key, vector)?;
            }
            (Some(vector), None) => {
                let mut store = VectorStore::new(vector.len());
                store.add(key, vector)?;
                // `new` has checked these settings.
                self.dense = DenseIndex::from_vectors(store, self.config.dense).ok();
            }
            (None, Some(dense)) => {
                dense.remove(key);
            }
            (None, None) => {}
        }
        self.bm25
            .add(key, &self.config.fields.document(&interaction.prompt, &interaction.response));
        self.moments.insert(key, (interaction.time, period));
        Ok(())
    }

    /// Puts a text into a period and says whether there is such a text.
    pub fn set_period(&mut self, key: u64, period: Option<u32>) -> bool {
        self.moments.get_mut(&key).map(|moment| moment.1 = period).is_some()
    }

    /// Removes a text from every index and says whether there was one.
    pub fn remove(&mut self, key: u64) -> bool {
        self.bm25.remove(key);
        if let Some(dense) = &mut self.dense {
            dense.remove(key);
        }
        self.moments.remove(&key).is_some()
    }

    /// The best texts, best first, the newer of equals first. Scores are BM25's, cosine
    /// similarities, or sums of reciprocal ranks, by the mode.
    ///
    /// # Errors
    /// A dense or hybrid search without a fitting embedding.
    pub fn search(&self, request: &SearchRequest<'_>) -> Result<Vec<Hit>, SearchError> {
        let accepts = |key: u64| {
            self.moments
                .get(&key)
                .is_some_and(|&(time, period)| request.filter.accepts(time, period))
        };
        let dense = |k: usize| -> Result<Vec<Hit>, SearchError> {
            let vector = request.embedding.ok_or(SearchError::NoEmbedding)?;
            Ok(self
                .dense
                .as_ref()
                .map_or(Ok(Vec::new()), |dense| dense.search(vector, k, accepts))?)
        };
        match request.mode {
            SearchMode::Bm25 => Ok(self.bm25.search(request.text, request.k, accepts)),
            SearchMode::Dense => dense(request.k),
            SearchMode::Hybrid => {
                // A text that is far down in one ranking may still be high in the fused one.
                let depth = request.k.saturating_mul(5).max(100);
                let by_words = self.bm25.search(request.text, depth, accepts);
                let by_meaning = dense(depth)?;
                Ok(reciprocal_rank_fusion(&[&by_words, &by_meaning], RRF_CONSTANT, request.k))
            }
        }
    }

    /// The keys of all texts that a filter is about.
    pub fn keys(&self, filter: &SearchFilter) -> BTreeSet<u64> {
        let accepted =
            self.moments.iter().filter(|(_, (time, period))| filter.accepts(*time, *period));
        accepted.map(|(&key, _)| key).collect()
    }
}

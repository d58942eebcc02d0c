//! How the texts of a bank are found for a prompt.

use std::{collections::HashMap, fmt::Debug};

use spring_memory::{Bm25Config, Bm25Index, DocumentFields, Hit, VectorStore, template_stop_words};

use crate::{
    EmbeddingMap, LanguageModel, Result, RetrievalConfig, RetrieverKind, StoredInteraction,
    embedding::{embed_missing, embed_text},
};

/// Finds the texts of a bank that a prompt is like. Scores are in a unit of its own: the gate's
/// threshold is a quantile of the same retriever's scores.
pub trait Retriever: Debug + Send + Sync {
    /// The name in configurations and records.
    fn name(&self) -> &'static str;

    /// The `k` best texts for a prompt, best first; equal scores go to the newer.
    ///
    /// # Errors
    ///
    /// If the model refuses the prompt.
    fn search(&self, model: &dyn LanguageModel, prompt: &str, k: usize) -> Result<Vec<Hit>>;

    /// The same without one of the texts, which the prompt may be that of.
    ///
    /// # Errors
    ///
    /// If the model refuses the prompt.
    fn search_without(
        &self,
        model: &dyn LanguageModel,
        prompt: &str,
        k: usize,
        left_out: u64,
    ) -> Result<Vec<Hit>> {
        let mut hits = self.search(model, prompt, k.saturating_add(1))?;
        hits.retain(|hit| hit.key != left_out);
        hits.truncate(k);
        Ok(hits)
    }

    /// Each text's best score among the others for its own prompt: how alike this user's texts are
    /// to each other. One text alone gives nothing.
    ///
    /// # Errors
    ///
    /// If the model refuses a prompt.
    fn calibration(
        &self,
        model: &dyn LanguageModel,
        texts: &[StoredInteraction],
    ) -> Result<Vec<f64>>;
}

/// The retriever of the settings over these texts. Embeddings that a dense one needs are taken from
/// `known`, or computed.
///
/// # Errors
///
/// If a setting is out of range or the model refuses a text.
pub fn retriever(
    config: &RetrievalConfig,
    model: &dyn LanguageModel,
    bm25: &Bm25Config,
    texts: &[StoredInteraction],
    known: &EmbeddingMap,
) -> Result<Box<dyn Retriever>> {
    let found: Box<dyn Retriever> = match config.retriever {
        RetrieverKind::Bm25 => {
            let bm25 = without_template(bm25, config.template_share, texts);
            Box::new(Bm25Retriever::new(bm25, config.fields, texts)?)
        }
        RetrieverKind::Dense => Box::new(DenseRetriever::new(model, texts, known)?),
        RetrieverKind::Latest => Box::new(LatestRetriever::new(texts)),
    };
    Ok(match config.half_life {
        None => found,
        Some(half_life) => Box::new(Ageing::new(found, half_life, texts)),
    })
}

/// The settings of BM25, with the words of the shared prompt template as stop words if that is
/// asked for.
pub(crate) fn without_template(
    bm25: &Bm25Config,
    share: Option<f64>,
    texts: &[StoredInteraction],
) -> Bm25Config {
    let mut bm25 = bm25.clone();
    if let Some(share) = share {
        let prompts = texts.iter().map(|text| text.interaction.prompt.as_str());
        bm25.stop_words.extend(template_stop_words(prompts, bm25.tokenizer, share));
    }
    bm25
}

/// BM25 over the texts.
#[derive(Debug)]
pub struct Bm25Retriever(Bm25Index);

impl Bm25Retriever {
    /// Indexes some texts.
    ///
    /// # Errors
    ///
    /// If a setting is out of range.
    pub fn new(
        config: Bm25Config,
        fields: DocumentFields,
        texts: &[StoredInteraction],
    ) -> Result<Self> {
        let mut index = Bm25Index::new(config)?;
        for StoredInteraction { seq, interaction, .. } in texts {
            index.add(*seq, &fields.document(&interaction.prompt, &interaction.response));
        }
        Ok(Self(index))
    }

    /// What it searches.
    pub fn index(&self) -> &Bm25Index {
        &self.0
    }
}

impl Retriever for Bm25Retriever {
    fn name(&self) -> &'static str {
        RetrieverKind::Bm25.name()
    }

    fn search(&self, _: &dyn LanguageModel, prompt: &str, k: usize) -> Result<Vec<Hit>> {
        Ok(self.0.search(prompt, k, |_| true))
    }

    fn search_without(
        &self,
        _: &dyn LanguageModel,
        prompt: &str,
        k: usize,
        left_out: u64,
    ) -> Result<Vec<Hit>> {
        Ok(self.0.search_without(left_out, prompt, k))
    }

    fn calibration(&self, _: &dyn LanguageModel, texts: &[StoredInteraction]) -> Result<Vec<f64>> {
        let best =
            |text: &StoredInteraction| self.0.leave_one_out(text.seq, &text.interaction.prompt, 1);
        Ok(texts.iter().filter_map(best).collect())
    }
}

/// Cosine similarity of the prompt's embedding to those of the texts; always exact.
#[derive(Debug)]
pub struct DenseRetriever(VectorStore);

impl DenseRetriever {
    /// Takes the texts' embeddings from `known`, and computes those that are not there.
    ///
    /// # Errors
    ///
    /// If the model refuses a text, or embeddings do not fit together.
    pub fn new(
        model: &dyn LanguageModel,
        texts: &[StoredInteraction],
        known: &EmbeddingMap,
    ) -> Result<Self> {
        let new = embed_missing(model, texts, known)?;
        let of = |text: &StoredInteraction| known.get(&text.seq).or_else(|| new.get(&text.seq));
        let mut vectors = VectorStore::new(texts.iter().find_map(of).map_or(0, Vec::len));
        for text in texts {
            if let Some(vector) = of(text) {
                vectors.add(text.seq, vector)?;
            }
        }
        Ok(Self(vectors))
    }
}

impl Retriever for DenseRetriever {
    fn name(&self) -> &'static str {
        RetrieverKind::Dense.name()
    }

    fn search(&self, model: &dyn LanguageModel, prompt: &str, k: usize) -> Result<Vec<Hit>> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.0.search(&embed_text(model, prompt)?, k, |_| true)?)
    }

    fn calibration(
        &self,
        model: &dyn LanguageModel,
        texts: &[StoredInteraction],
    ) -> Result<Vec<f64>> {
        if self.0.len() < 2 {
            return Ok(Vec::new());
        }
        let mut sample = Vec::with_capacity(texts.len());
        for text in texts {
            let prompt = embed_text(model, &text.interaction.prompt)?;
            let best = self.0.search(&prompt, 1, |key| key != text.seq)?;
            sample.extend(best.first().map(|hit| hit.score));
        }
        Ok(sample)
    }
}

/// Keys of texts, the latest first.
fn latest_first(texts: &[StoredInteraction]) -> Vec<u64> {
    let mut texts: Vec<&StoredInteraction> = texts.iter().collect();
    texts.sort_by_key(|text| (text.interaction.time, text.seq));
    texts.iter().rev().map(|text| text.seq).collect()
}

/// The latest texts, whatever the prompt; all of them score 1.
#[derive(Debug)]
pub struct LatestRetriever(Vec<u64>);

impl LatestRetriever {
    /// Of these texts, in any order.
    pub fn new(texts: &[StoredInteraction]) -> Self {
        Self(latest_first(texts))
    }
}

impl Retriever for LatestRetriever {
    fn name(&self) -> &'static str {
        RetrieverKind::Latest.name()
    }

    fn search(&self, _: &dyn LanguageModel, _: &str, k: usize) -> Result<Vec<Hit>> {
        Ok(self.0.iter().take(k).map(|key| Hit::new(*key, 1.0)).collect())
    }

    fn calibration(&self, _: &dyn LanguageModel, texts: &[StoredInteraction]) -> Result<Vec<f64>> {
        Ok(if self.0.len() < 2 { vec![] } else { vec![1.0; texts.len()] })
    }
}

/// Another retriever whose scores lose half of their height over a fixed number of newer texts.
#[derive(Debug)]
struct Ageing {
    found: Box<dyn Retriever>,
    /// Newer texts that halve a score, above 0.
    half_life: f64,
    /// How many texts are newer, by key.
    newer: HashMap<u64, usize>,
}

impl Ageing {
    fn new(found: Box<dyn Retriever>, half_life: f64, texts: &[StoredInteraction]) -> Self {
        Self { found, half_life, newer: latest_first(texts).into_iter().zip(0..).collect() }
    }

    /// Hits by their scores at their age, in a bank without a text that may have been newer.
    fn aged(&self, mut hits: Vec<Hit>, k: usize, left_out: Option<u64>) -> Vec<Hit> {
        let left_out = left_out.and_then(|key| self.newer.get(&key));
        for hit in &mut hits {
            let Some(newer) = self.newer.get(&hit.key) else { continue };
            let age = newer - usize::from(left_out.is_some_and(|left_out| left_out < newer));
            // A score of 0 or less means that there is no match, at any age.
            if hit.score > 0.0 {
                hit.score *= 0.5f64.powf(age as f64 / self.half_life);
            }
        }
        hits.sort_by(Hit::ranking_order);
        hits.truncate(k);
        hits
    }
}

impl Retriever for Ageing {
    fn name(&self) -> &'static str {
        self.found.name()
    }

    fn search(&self, model: &dyn LanguageModel, prompt: &str, k: usize) -> Result<Vec<Hit>> {
        Ok(self.aged(self.found.search(model, prompt, self.newer.len())?, k, None))
    }

    fn search_without(
        &self,
        model: &dyn LanguageModel,
        prompt: &str,
        k: usize,
        left_out: u64,
    ) -> Result<Vec<Hit>> {
        let hits = self.found.search_without(model, prompt, self.newer.len(), left_out)?;
        Ok(self.aged(hits, k, Some(left_out)))
    }

    fn calibration(
        &self,
        model: &dyn LanguageModel,
        texts: &[StoredInteraction],
    ) -> Result<Vec<f64>> {
        if self.newer.len() < 2 {
            return Ok(Vec::new());
        }
        let mut sample = Vec::with_capacity(texts.len());
        for text in texts {
            let best = self.search_without(model, &text.interaction.prompt, 1, text.seq)?;
            sample.push(best.first().map_or(0.0, |hit| hit.score));
        }
        Ok(sample)
    }
}

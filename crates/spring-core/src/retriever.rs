//! How the texts of a buffer are found for a prompt.

use std::fmt::Debug;

use spring_memory::{Bm25Config, Bm25Index, DocumentFields, Hit, VectorStore, template_stop_words};

use crate::{
    EmbeddingMap, LanguageModel, Result, RetrievalConfig, RetrieverKind, StoredInteraction,
    embedding::{embed_missing, embed_text},
};

/// Finds the texts of a buffer that a prompt is like. Scores are in a unit of its own: the gate's
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
    match config.retriever {
        RetrieverKind::Bm25 => {
            let bm25 = without_template(bm25, config.template_share, texts);
            Ok(Box::new(Bm25Retriever::new(bm25, config.fields, texts)?))
        }
        RetrieverKind::Dense => Ok(Box::new(DenseRetriever::new(model, texts, known)?)),
    }
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

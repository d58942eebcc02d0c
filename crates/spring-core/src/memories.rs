//! The two memories of a user at one point in time, and the bank that retrieval searches.

use std::sync::Arc;

use spring_lm::Adapter;
use spring_memory::{Bm25Config, BufferItem, DocumentFields, Hit};

use crate::{
    Bm25Retriever, Config, EmbeddingMap, Generation, LanguageModel, Result, Retriever,
    StoredInteraction, retriever::retriever,
};

/// What a user's model consists of beside the base: the adapter, and the buffer of what it explains
/// badly.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memories {
    /// The generation; 0 before the first period.
    pub generation: u32,
    /// The adapter; `None` before the first period.
    pub adapter: Option<Arc<Adapter>>,
    /// The residual buffer, highest score first.
    pub buffer: Vec<BufferItem>,
    /// The gate's calibration sample: each buffer item's best score in a corpus without it.
    pub calibration: Vec<f64>,
}

impl Memories {
    /// Those of a stored generation.
    ///
    /// # Errors
    ///
    /// If the adapter's bytes are damaged.
    pub fn from_generation(generation: Generation) -> Result<Self> {
        Ok(Self {
            generation: generation.number,
            adapter: Some(Arc::new(Adapter::from_bytes(&generation.adapter)?)),
            buffer: generation.buffer,
            calibration: generation.calibration,
        })
    }
}

/// The texts of a residual buffer, searchable by prompt. It is read at generation time and is no
/// training data.
#[derive(Debug, Clone)]
pub struct RetrievalBank {
    retriever: Arc<dyn Retriever>,
    texts: Vec<StoredInteraction>,
}

impl RetrievalBank {
    /// The bank of the paper: BM25 over the texts of a buffer; a document is the prompt, a line
    /// break, and the response.
    ///
    /// # Errors
    ///
    /// If the settings are out of range.
    pub fn new(config: &Bm25Config, texts: Vec<StoredInteraction>) -> Result<Self> {
        let retriever = Bm25Retriever::new(config.clone(), DocumentFields::Both, &texts)?;
        Ok(Self { retriever: Arc::new(retriever), texts })
    }

    /// The bank of the settings; embeddings that they need are taken from `known`, or computed.
    ///
    /// # Errors
    ///
    /// If the settings are out of range or the model refuses a text.
    pub fn of(
        model: &dyn LanguageModel,
        config: &Config,
        texts: Vec<StoredInteraction>,
        known: &EmbeddingMap,
    ) -> Result<Self> {
        let retriever = retriever(&config.retrieval, model, &config.bm25, &texts, known)?;
        Ok(Self { retriever: retriever.into(), texts })
    }

    /// A bank with a custom retriever over these texts.
    pub fn with(retriever: Box<dyn Retriever>, texts: Vec<StoredInteraction>) -> Self {
        Self { retriever: retriever.into(), texts }
    }

    /// What finds the texts.
    pub fn retriever(&self) -> &dyn Retriever {
        self.retriever.as_ref()
    }

    /// The `k` best texts for a prompt, best first; equal scores go to the newer.
    ///
    /// # Errors
    ///
    /// If the model refuses the prompt.
    pub fn search(&self, model: &dyn LanguageModel, prompt: &str, k: usize) -> Result<Vec<Hit>> {
        self.retriever.search(model, prompt, k)
    }

    /// All texts of the bank, in the order of the buffer.
    pub fn texts(&self) -> &[StoredInteraction] {
        &self.texts
    }

    /// The texts without their index.
    pub fn into_texts(self) -> Vec<StoredInteraction> {
        self.texts
    }

    /// A text by its sequence number.
    pub fn text(&self, seq: u64) -> Option<&StoredInteraction> {
        self.texts.iter().find(|text| text.seq == seq)
    }

    /// Each text's best score in the bank without it: how alike this user's texts are to each
    /// other, which is what the gate's threshold is a quantile of.
    ///
    /// # Errors
    ///
    /// If the model refuses a prompt.
    pub fn calibration(&self, model: &dyn LanguageModel) -> Result<Vec<f64>> {
        self.retriever.calibration(model, &self.texts)
    }
}

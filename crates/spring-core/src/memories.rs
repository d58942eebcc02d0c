//! The two memories of a user at one point in time, and the bank that retrieval searches.

use spring_lm::Adapter;
use std::sync::Arc;

use spring_memory::{Bm25Config, BufferItem, DocumentFields, Hit, UserId};

use crate::{
    Bm25Retriever, Config, EmbeddingMap, Generation, LanguageModel, Result, Retriever, Settings, Store,
    StoredInteraction, UserSnapshot, adapt::check_fingerprint, retriever::retriever,
};

/// What a user's model consists of beside the base: the adapter, and the buffer of what it explains badly.
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

/// The texts of a residual buffer, searchable by prompt. It is read at generation time and is no training data.
#[derive(Debug)]
pub struct RetrievalBank {
    retriever: Box<dyn Retriever>,
    texts: Vec<StoredInteraction>,
}

impl RetrievalBank {
    /// The bank of the paper: BM25 over the texts of a buffer; a document is the prompt, a line break, and the response.
    ///
    /// # Errors
    ///
    /// If the settings are out of range.
    pub fn new(config: &Bm25Config, texts: Vec<StoredInteraction>) -> Result<Self> {
        let retriever = Bm25Retriever::new(config.clone(), DocumentFields::Both, &texts)?;
        Ok(Self { retriever: Box::new(retriever), texts })
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
        Ok(Self { retriever, texts })
    }

    /// A bank with a custom retriever over these texts.
    pub fn with(retriever: Box<dyn Retriever>, texts: Vec<StoredInteraction>) -> Self {
        Self { retriever, texts }
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

    /// A text by its sequence number.
    pub fn text(&self, seq: u64) -> Option<&StoredInteraction> {
        self.texts.iter().find(|text| text.seq == seq)
    }

    /// Each text's best score in the bank without it: how alike this user's texts are to each other, which is what the
    /// gate's threshold is a quantile of.
    ///
    /// # Errors
    ///
    /// If the model refuses a prompt.
    pub fn calibration(&self, model: &dyn LanguageModel) -> Result<Vec<f64>> {
        self.retriever.calibration(model, &self.texts)
    }
}

/// A user's memories from a state, and the bank over their buffer: those in use, or those of a
/// generation.
///
/// # Errors
///
/// [`Error::OtherBase`](crate::Error::OtherBase) for a model that the state was not made for, and those
/// of [`Store::recall`] and [`remember`].
pub fn recall(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    generation: Option<u32>,
) -> Result<(Memories, RetrievalBank)> {
    crate::check_base(model, store)?;
    remember(model, store.settings(), store.recall(user, generation)?)
}

/// The memories of a snapshot, and the bank over their buffer.
///
/// # Errors
///
/// If the settings are of another base, the adapter cannot be read, or the model refuses a text.
pub fn remember(
    model: &dyn LanguageModel,
    settings: &Settings,
    snapshot: UserSnapshot,
) -> Result<(Memories, RetrievalBank)> {
    check_fingerprint(model, settings, "of the snapshot")?;
    let config = &settings.config;
    let UserSnapshot { generation, calibrated, texts, embeddings, .. } = snapshot;
    let mut memories = generation.map(Memories::from_generation).transpose()?.unwrap_or_default();
    let bank = RetrievalBank::of(model, config, texts, &embeddings)?;
    // Computed again, as the settings may have changed since the period was learned; but where the
    // model would have to embed every prompt for that, only if the retriever is another one by now.
    if calibrated.as_ref() != Some(&config.retrieval) {
        memories.calibration = bank.calibration(model)?;
    }
    Ok((memories, bank))
}

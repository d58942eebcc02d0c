//! A person's model: the base with the two memories that were learned of one person.

use std::sync::Arc;

use spring_fuse::{Calibration, Contrast, Gains};
use spring_lm::Adapter;
use spring_memory::{Bm25Config, BufferItem, DocumentFields, Hit, UserId};

use crate::{
    Base, Bm25Retriever, Config, EmbeddingMap, Generation, LanguageModel, Prior, Result, Retriever,
    Settings, Store, StoredInteraction, UserSnapshot, base::check_fingerprint, check_base, gains,
    retriever::retriever,
};

/// The base with one person's adapter and buffer, ready to score and to generate.
///
/// It is kept in hand: nothing of it is read or built again for the next prompt, and what a
/// [`Learner`](crate::Learner) learns is put in its place. Clones share the base and the index of
/// the buffer.
#[derive(Debug, Clone)]
pub struct UserModel<'m> {
    pub(crate) base: Base<'m>,
    pub(crate) config: Config,
    pub(crate) memories: Memories,
    pub(crate) bank: RetrievalBank,
}

impl<'m> UserModel<'m> {
    /// Puts a person's model together; the bank is that of the memories' buffer.
    pub fn new(
        base: impl Into<Base<'m>>,
        config: Config,
        memories: Memories,
        bank: RetrievalBank,
    ) -> Self {
        Self { base: base.into(), config, memories, bank }
    }

    /// The model of a person of whom nothing was learned: the base, or an adapter to begin with.
    ///
    /// # Errors
    ///
    /// If a setting is out of range.
    pub fn fresh(
        base: impl Into<Base<'m>>,
        config: Config,
        adapter: Option<Adapter>,
    ) -> Result<Self> {
        let base = base.into();
        let bank = RetrievalBank::of(&*base, &config, vec![], &EmbeddingMap::new())?;
        let memories = Memories { adapter: adapter.map(Arc::new), ..Memories::default() };
        Ok(Self { base, config, memories, bank })
    }

    /// A person's model from a state: that in use, or that of a generation. Of a person of whom
    /// nothing was learned it is the prior in use, or the base alone.
    ///
    /// # Errors
    ///
    /// [`Error::OtherBase`](crate::Error::OtherBase) for a model that the state was not made for,
    /// and those of [`Store::recall`] and [`of_snapshot`](Self::of_snapshot).
    pub fn recall(
        base: impl Into<Base<'m>>,
        store: &Store,
        user: &UserId,
        generation: Option<u32>,
    ) -> Result<Self> {
        let base = base.into();
        check_base(&*base, store)?;
        Self::of_snapshot(base, store.settings(), store.recall(user, generation)?)
    }

    /// A person's model from a snapshot of what a state holds of them.
    ///
    /// # Errors
    ///
    /// If the settings are of another base, the adapter cannot be read, or the model refuses a
    /// text.
    pub fn of_snapshot(
        base: impl Into<Base<'m>>,
        settings: &Settings,
        snapshot: UserSnapshot,
    ) -> Result<Self> {
        let base = base.into();
        check_fingerprint(&*base, settings, "of the snapshot")?;
        let config = settings.config.clone();
        let UserSnapshot { generation, prior, calibrated, texts, embeddings, .. } = snapshot;
        let mut memories = match generation {
            Some(generation) => Memories::from_generation(generation)?,
            None => prior.map(|prior| Memories::from_prior(&prior)).unwrap_or_default(),
        };
        let bank = RetrievalBank::of(&*base, &config, texts, &embeddings)?;
        // Computed again, as the settings may have changed since the period was learned; but where
        // the model would have to embed every prompt for that, only if the retriever is another one
        // by now. Gains that were measured under other settings stay, and are not asked.
        if calibrated.as_ref() != Some(&config.retrieval) {
            memories.calibration.sample = bank.calibration(&*base)?;
        }
        Ok(Self { base, config, memories, bank })
    }

    /// The same with other settings of gate, mixture and decoding, which what was learned does not
    /// depend on.
    pub fn with_config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// What was learned, and the texts of the buffer.
    pub fn into_parts(self) -> (Memories, RetrievalBank) {
        (self.memories, self.bank)
    }

    /// The base that it stands on.
    pub fn base(&self) -> &dyn LanguageModel {
        &*self.base
    }

    /// The method's settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was learned.
    pub fn memories(&self) -> &Memories {
        &self.memories
    }

    /// The texts that are searched for a prompt.
    pub fn bank(&self) -> &RetrievalBank {
        &self.bank
    }

    /// The adapter; `None` where nothing was learned and there is no prior.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.memories.adapter.as_deref()
    }

    /// The contrast with the base under some settings. A model without an adapter is the base, and
    /// has nothing to be contrasted with.
    pub(crate) fn contrast_under(&self, config: &Config) -> Option<Contrast> {
        config.fusion.contrasting().filter(|_| self.memories.adapter.is_some())
    }
}

/// What a user's model consists of beside the base: the adapter, and the buffer of what it explains
/// badly.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memories {
    /// The generation; 0 before the first period.
    pub generation: u32,
    /// The adapter; `None` before the first period, unless there is a prior.
    pub adapter: Option<Arc<Adapter>>,
    /// Before the first period, the prior that the adapter is, by its [id](Prior::id).
    pub prior: Option<String>,
    /// The residual buffer, highest score first.
    pub buffer: Vec<BufferItem>,
    /// What the gate is calibrated on: each text's best score in a bank without it, and what
    /// reading along has gained where that was measured.
    pub calibration: Calibration,
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
            prior: None,
            buffer: generation.buffer,
            calibration: generation.calibration,
        })
    }

    /// Those of a user who has learned nothing yet, and starts from a prior.
    pub fn from_prior(prior: &Prior) -> Self {
        let (adapter, prior) = (Some(prior.adapter.clone()), Some(prior.id.clone()));
        Self { adapter, prior, ..Self::default() }
    }
}

/// The texts of a residual buffer, or of a whole history, searchable by prompt. It is read at
/// generation time and is no training data.
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

    /// All texts of the bank, in the order of the buffer, or of time where it is a history.
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

    /// What reading texts of the bank along gains under an adapter, measured on the latest of them,
    /// `retrieval.gain_texts` at most: each is left out of what is searched for it, and scored with
    /// and without what is retrieved. `None` where gate and λ of the settings are not calibrated by
    /// use, and where nothing is retrieved for any text.
    ///
    /// # Errors
    ///
    /// If a setting is out of range or the model refuses a text.
    pub fn gains(
        &self,
        model: &dyn LanguageModel,
        config: &Config,
        adapter: Option<&Adapter>,
    ) -> Result<Option<Gains>> {
        gains::measure(model, config, adapter, self.retriever(), &self.texts)
    }
}

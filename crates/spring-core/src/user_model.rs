//! A person's model: the base with what was learned of one person.

use std::sync::Arc;

use spring_lm::Adapter;
use spring_memory::UserId;

use crate::{
    Base, Config, EmbeddingMap, LanguageModel, Memories, Result, RetrievalBank, Settings, Store,
    UserSnapshot, base::check_fingerprint, check_base,
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

    /// A person's model from a state: that in use, or that of a generation.
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
        let UserSnapshot { generation, calibrated, texts, embeddings, .. } = snapshot;
        let mut memories =
            generation.map(Memories::from_generation).transpose()?.unwrap_or_default();
        let bank = RetrievalBank::of(&*base, &config, texts, &embeddings)?;
        // Computed again, as the settings may have changed since the period was learned; but where
        // the model would have to embed every prompt for that, only if the retriever is another one
        // by now.
        if calibrated.as_ref() != Some(&config.retrieval) {
            memories.calibration = bank.calibration(&*base)?;
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

    /// The texts of the buffer, searchable.
    pub fn bank(&self) -> &RetrievalBank {
        &self.bank
    }

    /// The adapter; `None` where nothing was learned.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.memories.adapter.as_deref()
    }
}

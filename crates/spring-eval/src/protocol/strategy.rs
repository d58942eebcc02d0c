//! What a method does with a user's periods: get ready, learn, and say what it answers with.
//!
//! [`Frozen`] learns nothing, [`Domain`] writes with the domain adapter, [`Prompt`] puts earlier
//! texts into the prompt, [`FromTexts`] trains an adapter on texts that are chosen without a score,
//! and [`Spring`] is the whole method. The protocol trains, scores and counts for all of them
//! alike.

mod domain;
mod from_texts;
mod frozen;
mod period;
mod prompt;
mod reference;
mod spring;

use std::sync::Arc;

use spring_core::{
    Config, LanguageModel, LatestRetriever, Memories, Progress, RetrievalBank, UserModel,
    record::PeriodRecord,
};
use spring_lm::Adapter;

use crate::{Reads, Result};
pub use domain::Domain;
pub use from_texts::FromTexts;
pub use frozen::Frozen;
pub use period::{Period, Trained};
pub use prompt::Prompt;
pub(crate) use reference::Reference;
pub use spring::Spring;

/// What a method does, for one user under one seed and budget.
///
/// It sees the training parts of the periods so far and never a test text: the protocol scores
/// [`Strategy::answer`] on those.
pub trait Strategy {
    /// Before the first period: may change the method's settings, and takes the adapter that it
    /// starts from, `None` for a fresh one. By default nothing.
    ///
    /// # Errors
    ///
    /// If the method cannot be run.
    fn prepare(&mut self, config: &mut Config, start: Option<Arc<Adapter>>) -> Result<()> {
        let _ = (config, start);
        Ok(())
    }

    /// Learns a period.
    ///
    /// # Errors
    ///
    /// What the model refuses.
    fn learn(&mut self, period: &Period<'_>, progress: &mut dyn Progress) -> Result<Learned>;

    /// What it answers with after the period.
    ///
    /// # Errors
    ///
    /// If texts cannot be indexed.
    fn answer(&self, period: &Period<'_>) -> Result<Answer>;
}

/// What was learned of a period.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// The sequence numbers of the texts.
    pub(crate) texts: Vec<u64>,
    /// Response tokens trained on, over all epochs.
    pub(crate) tokens: usize,
    /// SPRInG's record of the period.
    pub(crate) record: Option<PeriodRecord>,
    /// Seconds that somebody else took for it.
    pub(crate) seconds: f64,
}

impl Learned {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Some texts, by their sequence numbers, with as many response tokens over all epochs.
    pub fn of(texts: impl IntoIterator<Item = u64>, tokens: usize) -> Self {
        Self { texts: texts.into_iter().collect(), tokens, ..Self::default() }
    }
}

/// What a method answers with.
#[derive(Debug)]
pub struct Answer {
    pub(crate) memories: Memories,
    pub(crate) bank: RetrievalBank,
    pub(crate) reads: Reads,
}

impl Answer {
    /// An adapter, `None` for the base, and nothing beside the prompt.
    pub fn with_adapter(adapter: Option<Arc<Adapter>>) -> Self {
        let memories = Memories { adapter, ..Memories::default() };
        // Nothing is ever found in it.
        let bank = RetrievalBank::with(Box::new(LatestRetriever::new(&[])), vec![]);
        Self { memories, bank, reads: Reads::Nothing }
    }

    /// An adapter, `None` for the base, and the best texts of a bank in the prompt, as many as the
    /// gate's `k` says.
    pub fn with_texts(adapter: Option<Arc<Adapter>>, bank: RetrievalBank) -> Self {
        let memories = Memories { adapter, ..Memories::default() };
        Self { memories, bank, reads: Reads::Prompt }
    }

    /// An adapter and a buffer, read through gate and mixture.
    pub fn with_buffer(memories: Memories, bank: RetrievalBank) -> Self {
        Self { memories, bank, reads: Reads::Buffer }
    }

    /// The model that answers.
    pub(crate) fn user_model<'m>(
        &self,
        base: &'m dyn LanguageModel,
        config: &Config,
    ) -> UserModel<'m> {
        UserModel::new(base, config.clone(), self.memories.clone(), self.bank.clone())
    }

    /// The adapter.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.memories.adapter.as_deref()
    }
}

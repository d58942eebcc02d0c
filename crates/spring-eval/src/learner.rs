//! SPRInG's loop over a user's periods, without a state.

use std::sync::Arc;

use spring_core::{
    Config, EmbeddingMap, LanguageModel, Memories, PeriodInput, Progress, StoredInteraction, learn_period,
    novelties, record::PeriodRecord, spring_memory::UserId,
};
use spring_lm::Adapter;

use crate::{Result, Split};

/// What was learned of a user so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learner {
    pub(crate) memories: Memories,
    /// The texts of the buffer.
    pub(crate) buffered: Vec<StoredInteraction>,
    earlier: Vec<f64>,
}

impl Learner {
    pub(crate) fn starting_from(adapter: Option<Adapter>) -> Self {
        Self { memories: Memories { adapter: adapter.map(Arc::new), ..Memories::default() }, ..Self::default() }
    }

    pub(crate) fn learn(
        &mut self,
        model: &dyn LanguageModel,
        config: &Config,
        user: &UserId,
        split: &Split,
        progress: &mut dyn Progress,
    ) -> Result<PeriodRecord> {
        let input = PeriodInput {
            user,
            period: split.period,
            texts: &split.train,
            held_out: split.test.len(),
            buffered: &self.buffered,
            memories: &self.memories,
            earlier: &self.earlier,
            embeddings: &EmbeddingMap::new(),
        };
        let outcome = learn_period(model, config, input, progress)?;
        self.earlier.extend(novelties(&outcome.record));
        (self.memories, self.buffered) = (outcome.memories, outcome.buffered);
        Ok(outcome.record)
    }
}

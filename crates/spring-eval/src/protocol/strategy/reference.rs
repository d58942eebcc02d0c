//! SPRInG with the settings of the comparison: it learns before all methods, which are measured by
//! it, take as much as it does, and read its buffer.

use std::sync::Arc;

use spring_core::{Config, EmbeddingMap, LanguageModel, Memories, RetrievalBank};
use spring_lm::Adapter;

use super::{Answer, Learned};
use crate::Result;

/// What SPRInG knows of a user after a period.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knowledge {
    pub(crate) memories: Memories,
    /// The texts that are searched for a prompt; `None` before the first period.
    pub(crate) bank: Option<RetrievalBank>,
    /// Novelties of all texts that were scored so far.
    pub(crate) earlier: Vec<f64>,
}

/// What it has learned so far.
pub(crate) struct Reference {
    pub(crate) config: Config,
    pub(crate) start: Option<Arc<Adapter>>,
    pub(crate) knowledge: Knowledge,
    /// Of each period, with the time that it took.
    pub(crate) learned: Vec<Learned>,
}

impl Reference {
    /// Whether somebody learns the same: all but what only reads the memories is equal. Gate and
    /// mixture do more than that where they are calibrated by use.
    pub(super) fn learns_like(&self, config: &Config, start: Option<&Adapter>) -> bool {
        let learning = |config: &Config| {
            let gains = config.calibrates_by_use().then_some((config.gate, config.fusion));
            let Config { drift, buffer, bm25, retrieval, training, lora, .. } = config.clone();
            (drift, buffer, bm25, retrieval, training, lora, gains)
        };
        learning(&self.config) == learning(config) && self.start.as_deref() == start
    }

    /// Whether somebody keeps the same texts to read: as [`learns_like`](Self::learns_like),
    /// whatever they gain.
    pub(crate) fn keeps_like(&self, config: &Config, start: Option<&Adapter>) -> bool {
        let mut alike = config.clone();
        (alike.gate, alike.fusion) = (self.config.gate, self.config.fusion);
        self.learns_like(&alike, start)
    }

    /// Another adapter with its buffer, through gate and mixture by the settings of a method. What
    /// retrieval gains is measured with that adapter, if gate or λ are calibrated by use.
    pub(crate) fn lend_buffer(
        &self,
        adapter: Option<Arc<Adapter>>,
        model: &dyn LanguageModel,
        config: &Config,
    ) -> Result<Answer> {
        let mut answer = answer_with(&self.knowledge, adapter, model, config)?;
        let gains = answer.bank.gains(model, config, answer.adapter())?;
        answer.memories.calibration.gains = gains;
        Ok(answer)
    }
}

/// An adapter with somebody's buffer.
pub(super) fn answer_with(
    knowledge: &Knowledge,
    adapter: Option<Arc<Adapter>>,
    model: &dyn LanguageModel,
    config: &Config,
) -> Result<Answer> {
    let Memories { buffer, calibration, .. } = knowledge.memories.clone();
    let memories = Memories { adapter, buffer, calibration, ..Memories::default() };
    let texts = knowledge.bank.as_ref().map_or(vec![], |bank| bank.texts().to_vec());
    let bank = RetrievalBank::of(model, config, texts, &EmbeddingMap::new())?;
    Ok(Answer::with_buffer(memories, bank))
}

//! Retrieval-augmented prompts: earlier texts stand in the prompt, and nothing is trained.

use std::sync::Arc;

use spring_core::{
    Config, EmbeddingMap, LatestRetriever, Progress, RetrievalBank,
    spring_fuse::{GateConfig, Lambda, Space},
};
use spring_lm::Adapter;

use super::{Answer, Learned, Period, Strategy};
use crate::Result;

/// Which of the earlier texts are put into the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Texts {
    /// Those that retrieval finds for it.
    Found,
    /// The latest.
    Latest,
}

/// Learns nothing and puts earlier texts into the prompt.
#[derive(Debug, Clone, Copy)]
pub struct Prompt(Texts);

impl Prompt {
    /// The texts that retrieval finds for the prompt.
    pub fn found() -> Self {
        Self(Texts::Found)
    }

    /// The latest texts, whatever the prompt.
    pub fn latest() -> Self {
        Self(Texts::Latest)
    }
}

impl Strategy for Prompt {
    fn prepare(&mut self, config: &mut Config, _: Option<Arc<Adapter>>) -> Result<()> {
        // Generation reads all of it in one branch.
        config.gate = GateConfig::Always { k: config.gate.k() };
        config.fusion.lambda = Lambda::Fixed(1.0);
        config.fusion.space = Space::Probability {};
        Ok(())
    }

    fn learn(&mut self, _: &Period<'_>, _: &mut dyn Progress) -> Result<Learned> {
        Ok(Learned::nothing())
    }

    fn answer(&self, period: &Period<'_>) -> Result<Answer> {
        let texts = period.texts_so_far();
        let bank = match self.0 {
            Texts::Latest => RetrievalBank::with(Box::new(LatestRetriever::new(&texts)), texts),
            Texts::Found => {
                let known = EmbeddingMap::new();
                RetrievalBank::of(period.model(), period.config(), texts, &known)?
            }
        };
        Ok(Answer::with_texts(None, bank))
    }
}

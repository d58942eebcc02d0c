//! What a user wrote last, whatever the prompt.

use spring_core::{LanguageModel, Result, Retriever, StoredInteraction, spring_memory::Hit};

/// Finds the latest texts, all with the same score.
#[derive(Debug)]
pub(super) struct Latest(Vec<u64>);

impl Latest {
    /// Of texts in the order of time.
    pub(super) fn of(texts: &[StoredInteraction]) -> Self {
        Self(texts.iter().rev().map(|text| text.seq).collect())
    }
}

impl Retriever for Latest {
    fn name(&self) -> &'static str {
        "latest"
    }

    fn search(&self, _: &dyn LanguageModel, _: &str, k: usize) -> Result<Vec<Hit>> {
        Ok(self.0.iter().take(k).map(|key| Hit::new(*key, 1.0)).collect())
    }

    fn calibration(&self, _: &dyn LanguageModel, _: &[StoredInteraction]) -> Result<Vec<f64>> {
        Ok(vec![])
    }
}

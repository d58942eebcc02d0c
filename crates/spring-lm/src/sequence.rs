//! Token sequences.

use crate::{ModelConfig, ModelError, Result};

/// A context and the response that follows it, as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// What the model is given; at least one token.
    pub context: Vec<u32>,
    /// What is scored or learned, the end token included; at least one token.
    pub response: Vec<u32>,
}

impl Sequence {
    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.context.len() + self.response.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses what the model cannot run.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] if a part is empty, the whole is longer than the context, or an id
    /// is unknown.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        config.check_ids(&self.context)?;
        config.check_ids(&self.response)?;
        if self.context.is_empty() || self.response.is_empty() {
            return Err(ModelError::Sequence(
                "a context and a response need at least one token each".into(),
            ));
        }
        config.check_length(self.len())
    }
}

impl ModelConfig {
    /// Refuses ids that the model does not have.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`], naming the first of them.
    pub fn check_ids(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            Some(id) => Err(ModelError::Sequence(format!(
                "token id {id} is outside the vocabulary of {}; the tokenizer belongs to another \
                 model",
                self.vocab_size
            ))),
            None => Ok(()),
        }
    }

    /// Refuses more tokens than the model's context holds.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`], with both numbers.
    pub fn check_length(&self, tokens: usize) -> Result<()> {
        if tokens <= self.max_positions {
            return Ok(());
        }
        let reason =
            format!("{tokens} tokens do not fit the model's context of {}", self.max_positions);
        Err(ModelError::Sequence(reason))
    }

    /// Up to how many tokens a text is read as any shorter one that it begins with; without end
    /// unless the frequencies of the rotary embedding depend on the text's length.
    pub fn read_alike_up_to(&self) -> usize {
        let ends = [&self.rope, &self.sliding_rope].map(|rope| rope.same_up_to());
        ends.into_iter().flatten().min().unwrap_or(usize::MAX)
    }
}

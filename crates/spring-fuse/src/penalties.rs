//! Penalties on tokens that were already seen.

use serde::{Deserialize, Serialize};
use spring_numerics::lanes::{BLOCK, sum};
use spring_numerics::setting::{SettingError, in_range};
use spring_numerics::{setters, vectorized};

use crate::FuseError;

/// Settings of [`Penalizer`]; the default is repetition 1.2, the others off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Penalties {
    /// Above 0; 1 is off. The value of every token seen is divided by it where positive and
    /// multiplied by it where negative, as Hugging Face's `repetition_penalty` does with logits
    /// (after Keskar et al., arXiv 1909.05858).
    ///
    /// That rule depends on where zero lies. Log-probabilities have no zero of their own: all are
    /// negative, and those of likely tokens so little that the rule would hardly touch them. So
    /// zero is put at their mean over the vocabulary, where it lies for logits that are centred.
    pub repetition: f32,
    /// Subtracted once per occurrence, nats; 0 is off. Negative values encourage repetition.
    pub frequency: f32,
    /// Subtracted once from every token seen, nats; 0 is off. Negative values encourage repetition.
    pub presence: f32,
}

impl Default for Penalties {
    fn default() -> Self {
        Self { repetition: 1.2, frequency: 0.0, presence: 0.0 }
    }
}

setters! {
    Penalties {
        with_repetition(repetition: f32);
        with_frequency(frequency: f32);
        with_presence(presence: f32);
    }
}

impl Penalties {
    /// All off.
    pub const NONE: Self = Self { repetition: 1.0, frequency: 0.0, presence: 0.0 };

    /// The penalizer.
    ///
    /// # Errors
    /// For settings out of their range.
    pub fn init(&self) -> Result<Penalizer, SettingError> {
        let finite = f32::MIN..=f32::MAX;
        let positive = f32::MIN_POSITIVE..=f32::MAX;
        in_range("repetition", self.repetition, positive, "a finite number above 0")?;
        in_range("frequency", self.frequency, finite.clone(), "a finite number")?;
        in_range("presence", self.presence, finite, "a finite number")?;
        Ok(Penalizer { penalties: *self, occurrences: Vec::new() })
    }
}

/// Applies [`Penalties`] after fusion, before sampling. Keeps its working memory between steps: a
/// count per token of the vocabulary, whatever the length of the history.
#[derive(Debug, Clone)]
pub struct Penalizer {
    penalties: Penalties,
    /// Of each token in the history; all 0 between calls.
    occurrences: Vec<u32>,
}

impl Penalizer {
    /// Lowers the `log_probs` of the tokens in `history`, which the caller chooses (the emitted
    /// tokens, or the prompt's too). The result is no longer normalised;
    /// [`Sampler`](crate::Sampler) does not need it to be. The time grows with the length of the
    /// history, and a first call with a larger vocabulary allocates.
    ///
    /// # Errors
    /// For a token outside the vocabulary; `log_probs` is then unchanged.
    pub fn apply(&mut self, log_probs: &mut [f32], history: &[u32]) -> Result<(), FuseError> {
        if self.penalties == Penalties::NONE {
            return Ok(());
        }
        let vocabulary = log_probs.len();
        if let Some(&token) = history.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(FuseError::UnknownToken { token, vocabulary });
        }
        let Penalties { repetition, frequency, presence } = self.penalties;
        let zero = if repetition == 1.0 { 0.0 } else { mean(log_probs) };
        self.occurrences.resize(vocabulary.max(self.occurrences.len()), 0);
        for &token in history {
            self.occurrences[token as usize] += 1;
        }
        for &token in history {
            let count = std::mem::take(&mut self.occurrences[token as usize]);
            if count == 0 {
                // It came before.
                continue;
            }
            let log_prob = &mut log_probs[token as usize];
            if repetition != 1.0 {
                let value = *log_prob - zero;
                *log_prob =
                    zero + if value < 0.0 { value * repetition } else { value / repetition };
            }
            *log_prob -= presence + frequency * count as f32;
        }
        Ok(())
    }
}

vectorized! {
    /// Mean over the tokens that have any probability.
    fn mean(log_probs: &[f32]) -> f32 {
        let (mut total, mut count) = (0.0f64, 0.0f64);
        for block in log_probs.chunks(BLOCK) {
            total +=
                f64::from(sum(block, |value| if value > f32::NEG_INFINITY { value } else { 0.0 }));
            count +=
                f64::from(sum(block, |value| if value > f32::NEG_INFINITY { 1.0 } else { 0.0 }));
        }
        (total / count.max(1.0)) as f32
    }
}

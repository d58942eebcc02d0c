//! The drift score with both of its terms.

use serde::{Deserialize, Serialize};

use crate::DriftError;
use crate::observation::finite;

/// What a scorer says of one observation. The terms are kept whatever made the score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DriftScore {
    /// N, nats per token, never standardised.
    pub novelty: f64,
    /// Q, nats per token, never standardised and not multiplied by α.
    pub quality: f64,
    /// S, what selections rank by. Its unit is the scorer's: nats per token for
    /// [`Spring`](crate::Spring) without standardisation.
    pub score: f64,
}

impl DriftScore {
    /// Of both terms, in nats per token, and the score.
    pub fn new(novelty: f64, quality: f64, score: f64) -> Self {
        Self { novelty, quality, score }
    }

    /// Refuses NaN and infinities, naming `index`.
    pub(crate) fn check(&self, index: usize) -> Result<(), DriftError> {
        finite(index, "novelty", self.novelty)?;
        finite(index, "quality", self.quality)?;
        finite(index, "score", self.score)
    }
}

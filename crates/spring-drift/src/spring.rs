//! The paper's score.

use serde::{Deserialize, Serialize};

use crate::scorer::score_each;
use crate::statistics::{mean, sample_sd};
use crate::{Alpha, DriftError, DriftScore, DriftScorer, Observation};

/// S = N + α·Q (SPRInG, arXiv 2601.09974): new to the adapter, yet likely to the base model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Spring {
    /// Weight of quality.
    pub alpha: Alpha,
    /// Whether both terms are put on one scale first.
    pub standardize: Standardize,
}

/// Whether N and Q are put on one scale before they are added.
///
/// Q usually varies much more between texts than N does and then decides the order alone; see
/// [`ScoreStatistics`](crate::ScoreStatistics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standardize {
    /// As they are, nats per token. The paper's.
    #[default]
    None,
    /// z-scores (mean 0, sample standard deviation 1) over the observations of the call, which are
    /// those of one period. A term that does not vary counts as 0.
    Period,
}

spring_numerics::setters! {
    Spring {
        with_alpha(alpha: Alpha);
        with_standardize(standardize: Standardize);
    }
}

impl DriftScorer for Spring {
    fn name(&self) -> &'static str {
        "spring"
    }

    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError> {
        let mut scores =
            score_each(observations, |o| self.alpha.combine(o.novelty(), o.quality()))?;
        if self.standardize == Standardize::Period {
            let novelty = ZScore::over(scores.iter().map(|s| s.novelty));
            let quality = ZScore::over(scores.iter().map(|s| s.quality));
            for (index, score) in scores.iter_mut().enumerate() {
                score.score =
                    self.alpha.combine(novelty.of(score.novelty), quality.of(score.quality));
                score.check(index)?;
            }
        }
        Ok(scores)
    }
}

struct ZScore {
    mean: f64,
    /// `None` where the values do not vary.
    sd: Option<f64>,
}

impl ZScore {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.collect();
        let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        // A spread within the rounding of the values counts as none.
        let sd = sample_sd(&values).filter(|&sd| sd > 8.0 * f64::EPSILON * largest);
        Self { mean: mean(&values).unwrap_or(0.0), sd }
    }

    fn of(&self, value: f64) -> f64 {
        self.sd.map_or(0.0, |sd| (value - self.mean) / sd)
    }
}

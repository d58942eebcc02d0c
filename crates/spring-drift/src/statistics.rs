//! How the two terms of the score share the say in a period.

use serde::{Deserialize, Serialize};

use crate::{Alpha, DriftError, DriftScore};

/// Spread of both terms and how the score ranks with each: shows whether Q dominates.
///
/// Of the terms as they are, in nats per token; with standardised scores the two spreads say what
/// the standardisation evened out. Standard deviations are those of a sample (n − 1). `None` marks
/// what is undefined: the mean of nothing, the spread of one, the correlation with something that
/// does not vary, and α·Q for infinite α.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScoreStatistics {
    /// Number of scores.
    pub n: usize,
    /// Mean of N, nats per token.
    pub novelty_mean: Option<f64>,
    /// Standard deviation of N, nats per token.
    pub novelty_sd: Option<f64>,
    /// Mean of Q, nats per token.
    pub quality_mean: Option<f64>,
    /// Standard deviation of α·Q, nats per token.
    pub weighted_quality_sd: Option<f64>,
    /// Spearman's rank correlation of S with N.
    pub score_novelty_correlation: Option<f64>,
    /// Spearman's rank correlation of S with Q.
    pub score_quality_correlation: Option<f64>,
}

impl ScoreStatistics {
    /// Of the scores of one period and the α that they were made with.
    ///
    /// # Errors
    /// [`DriftError::NotFinite`] for NaN or infinite scores.
    pub fn of(scores: &[DriftScore], alpha: Alpha) -> Result<Self, DriftError> {
        scores.iter().enumerate().try_for_each(|(index, score)| score.check(index))?;
        let novelty: Vec<f64> = scores.iter().map(|s| s.novelty).collect();
        let quality: Vec<f64> = scores.iter().map(|s| s.quality).collect();
        let score: Vec<f64> = scores.iter().map(|s| s.score).collect();
        Ok(Self {
            n: scores.len(),
            novelty_mean: mean(&novelty),
            novelty_sd: sample_sd(&novelty),
            quality_mean: mean(&quality),
            weighted_quality_sd: alpha
                .finite()
                .and_then(|alpha| Some(alpha * sample_sd(&quality)?)),
            score_novelty_correlation: spearman(&score, &novelty),
            score_quality_correlation: spearman(&score, &quality),
        })
    }
}

/// `None` for no values.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// `None` for fewer than two values.
pub(crate) fn sample_sd(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Pearson's correlation of the ranks.
fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    // Average ranks have this mean whatever the ties.
    let middle = (a.len() as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum()
    };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| (product(&a, &b) / spread).clamp(-1.0, 1.0))
}

/// Ranks from 1, ties sharing the average of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&index| ranks[index] = rank);
        first += tied.len();
    }
    ranks
}

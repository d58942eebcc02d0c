//! What the paper's score is compared with: one term alone, the clock, chance.

use rand::Rng;
use spring_numerics::key::Streams;

use crate::scorer::score_each;
use crate::{DriftError, DriftScore, DriftScorer, Observation};

/// S = −ℓ of the model in use (the adapter's, or the base's while there is none), nats per token:
/// the highest loss first, as in hard-example mining. It has no defence against noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LossOnly;

/// S = N: α = 0. Without an adapter all scores are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoveltyOnly;

/// S = Q: α = ∞.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QualityOnly;

/// S = order: the newest first. Orders above 2⁵³ that round to one number tie, and selections
/// settle ties by the order itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recency;

/// S uniform in [0, 1), a function of the seed and the observation's `order`, not of its position
/// in the slice: adding or removing observations does not change the scores of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Random {
    /// Key of the draw.
    pub seed: u64,
}

impl Random {
    /// With this key of the draws.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl DriftScorer for LossOnly {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError> {
        score_each(observations, |o| -o.current())
    }
}

impl DriftScorer for NoveltyOnly {
    fn name(&self) -> &'static str {
        "novelty"
    }

    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError> {
        score_each(observations, Observation::novelty)
    }
}

impl DriftScorer for QualityOnly {
    fn name(&self) -> &'static str {
        "quality"
    }

    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError> {
        score_each(observations, Observation::quality)
    }
}

impl DriftScorer for Recency {
    fn name(&self) -> &'static str {
        "recency"
    }

    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError> {
        score_each(observations, |o| o.order as f64)
    }
}

impl DriftScorer for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError> {
        let streams = Streams::new(self.seed);
        score_each(observations, |o| streams.get(o.order).random())
    }
}

//! From log-probabilities to a token.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::FuseError;
use crate::approx::exp;
use crate::error::in_range;
use crate::log_softmax::highest;
use crate::nucleus::{Nucleus, Ranked};
use crate::vector::{BLOCK, argmax, sum, vectorized};

/// Settings of [`Sampler`]; the default is greedy. Filters apply in the order temperature, top-k, top-p,
/// min-p, each to what the one before left, renormalised.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// 0 is greedy; else log-probabilities are divided by it.
    pub temperature: f32,
    /// The most tokens to draw from, ≥ 1; all unless given.
    pub top_k: Option<usize>,
    /// The fewest likeliest tokens whose probabilities reach this, in (0, 1]; off unless given (Holtzman et
    /// al., arXiv 1904.09751).
    pub top_p: Option<f32>,
    /// Share of the likeliest token's probability that a token needs, in [0, 1]; off unless given (Nguyen et
    /// al., arXiv 2407.01082).
    pub min_p: Option<f32>,
    /// Key of the draws.
    pub seed: u64,
}

impl SamplerConfig {
    /// The sampler.
    ///
    /// # Errors
    /// For settings outside their range.
    pub fn init(&self) -> Result<Sampler, FuseError> {
        let above_0 = f64::from(f32::MIN_POSITIVE);
        let temperature = f64::from(self.temperature);
        if temperature != 0.0 {
            in_range("temperature", temperature, 1e-3..=1e3, "0 (greedy) or between 0.001 and 1000")?;
        }
        in_range("top_k", self.top_k.unwrap_or(1) as f64, 1.0..=f64::MAX, "at least 1")?;
        in_range("top_p", self.top_p.unwrap_or(1.0).into(), above_0..=1.0, "above 0 and at most 1")?;
        in_range("min_p", self.min_p.unwrap_or(0.0).into(), 0.0..=1.0, "between 0 and 1")?;
        Ok(Sampler {
            config: *self,
            key: ChaCha8Rng::seed_from_u64(self.seed),
            weights: Vec::new(),
            nucleus: Nucleus::default(),
        })
    }
}

/// Chooses tokens, greedily or by a seeded draw. Keeps its working memory between steps: some 4 bytes per token of
/// the vocabulary, taken at the first draw.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    key: ChaCha8Rng,
    /// Of each token, less than 1 for all but the likeliest; 0 for what was filtered out.
    weights: Vec<f32>,
    nucleus: Nucleus,
}

impl Sampler {
    /// One token from `log_probs` (nats, normalised or not; −∞ is probability 0).
    ///
    /// Greedy takes the highest, ties to the lowest id, and leaves `log_probs` alone. Else the draw is a
    /// function of the seed and `step`, and afterwards `log_probs` holds the distribution that it was made
    /// from: tempered, filtered, normalised, −∞ for what could not be drawn.
    ///
    /// # Errors
    /// For NaN or +∞, and when no token has a probability above 0.
    pub fn choose(&mut self, log_probs: &mut [f32], step: u64) -> Result<u32, FuseError> {
        let SamplerConfig { temperature, top_k, top_p, min_p, .. } = self.config;
        if temperature == 0.0 {
            let first = argmax(log_probs).filter(|&token| log_probs[token].is_finite());
            return match first {
                Some(token) => Ok(token as u32),
                None => highest("log_probs", log_probs).and(Err(FuseError::NoMass("log_probs"))),
            };
        }
        let highest = highest("log_probs", log_probs)?;
        let mut stream = self.key.clone();
        stream.set_stream(step);
        let point: f64 = stream.random();
        self.weights.clear();
        self.weights.reserve_exact(log_probs.len());
        weigh(log_probs, highest, temperature, &mut self.weights);
        if let Some(k) = top_k.filter(|&k| k < log_probs.len()) {
            let last = self.nucleus.last_of_most(log_probs, k);
            self.drop_after(log_probs, last);
        }
        if let Some(p) = top_p.filter(|&p| p < 1.0) {
            let last =
                self.nucleus.last_to_reach(log_probs, &self.weights, total(&self.weights), f64::from(p));
            self.drop_after(log_probs, last);
        }
        if let Some(p) = min_p.filter(|&p| p > 0.0) {
            // The likeliest token has weight 1.
            drop_lighter(log_probs, &mut self.weights, p);
        }
        let total = total(&self.weights);
        subtract(log_probs, total.ln() as f32);
        draw(log_probs, &self.weights, point * total).ok_or(FuseError::NoMass("log_probs"))
    }

    /// Drops what comes after `last` in the ranking; nothing for `None`.
    fn drop_after(&mut self, tempered: &mut [f32], last: Option<Ranked>) {
        let Some(Ranked { token, value }) = last else { return };
        let next = token as usize + 1;
        let (before, after) = tempered.split_at_mut(next);
        let (weights_before, weights_after) = self.weights.split_at_mut(next);
        drop_below(before, weights_before, value);
        drop_below(after, weights_after, value.next_up());
    }
}

/// The first token with which the sum of the weights exceeds `point`; where rounding leaves the sum short, the last one that can be
/// drawn.
fn draw(log_probs: &[f32], weights: &[f32], point: f64) -> Option<u32> {
    let mut before = 0.0;
    for (index, block) in weights.chunks(BLOCK).enumerate() {
        let after = before + total(block);
        if after > point {
            for (token, weight) in (index * BLOCK..).zip(block) {
                before += f64::from(*weight);
                if before > point && *weight > 0.0 {
                    return Some(token as u32);
                }
            }
        }
        before = after;
    }
    log_probs.iter().rposition(|&value| value > f32::NEG_INFINITY).map(|token| token as u32)
}

vectorized! {
    /// Σ x.
    fn total(weights: &[f32]) -> f64 {
        let mut total = 0.0;
        for block in weights.chunks(BLOCK) {
            total += f64::from(sum(block, |weight| weight));
        }
        total
    }
}

vectorized! {
    /// Tempers values so that the highest is 0, and pushes the exponential of each.
    fn weigh(values: &mut [f32], highest: f32, temperature: f32, weights: &mut Vec<f32>) {
        for block in values.chunks_mut(BLOCK) {
            for value in &mut *block {
                *value = (*value - highest) / temperature;
            }
            weights.extend(block.iter().map(|value| exp(*value)));
        }
    }
}

vectorized! {
    fn drop_below(values: &mut [f32], weights: &mut [f32], least: f32) {
        for (value, weight) in values.iter_mut().zip(weights) {
            let is_kept = *value >= least;
            *weight = if is_kept { *weight } else { 0.0 };
            *value = if is_kept { *value } else { f32::NEG_INFINITY };
        }
    }
}

vectorized! {
    fn drop_lighter(values: &mut [f32], weights: &mut [f32], least: f32) {
        for (value, weight) in values.iter_mut().zip(weights) {
            let is_kept = *weight >= least;
            *weight = if is_kept { *weight } else { 0.0 };
            *value = if is_kept { *value } else { f32::NEG_INFINITY };
        }
    }
}

vectorized! {
    fn subtract(values: &mut [f32], log_total: f32) {
        for value in values {
            *value -= log_total;
        }
    }
}

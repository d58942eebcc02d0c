//! From log-probabilities to a token.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::FuseError;
use crate::approx::exp;
use crate::error::in_range;
use crate::log_softmax::highest;
use crate::nucleus::{Nucleus, Ranked, SMALL_BLOCK, Values};
use crate::vector::{BLOCK, argmax, max, sum, vectorized};

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
            highest: Vec::new(),
            weights: Vec::new(),
            nucleus: Nucleus::default(),
        })
    }
}

/// Chooses tokens, greedily or by a seeded draw. Keeps its working memory between steps, taken at the first draw: with top-p 4
/// bytes per token of the vocabulary, else little.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    key: ChaCha8Rng,
    /// The highest value of each small block.
    highest: Vec<f32>,
    /// The weight of each block.
    weights: Vec<f64>,
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
        temper(log_probs, highest, temperature, &mut self.highest);
        let values = Values { all: log_probs, highest: &self.highest };
        // What a filter leaves is always the first of the ranking.
        let mut last = None;
        if let Some(k) = top_k.filter(|&k| k < log_probs.len()) {
            last = self.nucleus.last_of_most(values, k);
        }
        if let Some(p) = top_p.filter(|&p| p < 1.0) {
            last = self.nucleus.last_to_reach(values, last, f64::from(p)).or(last);
        }
        let mut least = f32::NEG_INFINITY;
        if let Some(Ranked { token, value }) = last {
            let (before, after) = log_probs.split_at_mut(token as usize + 1);
            drop_below(before, value);
            drop_below(after, value.next_up());
            least = value;
        }
        // The likeliest token has weight 1.
        weigh(log_probs, &self.highest, least, min_p.unwrap_or(0.0), &mut self.weights);
        let total: f64 = self.weights.iter().sum();
        subtract(log_probs, total.ln() as f32);
        self.draw(log_probs, total, point * total).ok_or(FuseError::NoMass("log_probs"))
    }

    /// The first token with which the sum of the weights, of `total`, exceeds `point`; where rounding leaves the sum short, the last
    /// one that can be drawn.
    fn draw(&self, log_probs: &[f32], total: f64, point: f64) -> Option<u32> {
        let mut before = 0.0;
        for (index, (block, weight)) in log_probs.chunks(BLOCK).zip(&self.weights).enumerate() {
            let after = before + weight;
            if after > point {
                let can_be_drawn =
                    (index * BLOCK..).zip(block).filter(|(_, value)| **value > f32::NEG_INFINITY);
                for (token, log_prob) in can_be_drawn {
                    before += f64::from(*log_prob).exp() * total;
                    if before > point {
                        return Some(token as u32);
                    }
                }
            }
            before = after;
        }
        log_probs.iter().rposition(|&value| value > f32::NEG_INFINITY).map(|token| token as u32)
    }
}

vectorized! {
    /// Tempers values so that the highest is 0, and finds the highest of each small block.
    fn temper(values: &mut [f32], highest: f32, temperature: f32, of_blocks: &mut Vec<f32>) {
        of_blocks.clear();
        of_blocks.reserve_exact(values.len().div_ceil(SMALL_BLOCK));
        for block in values.chunks_mut(SMALL_BLOCK) {
            for value in &mut *block {
                *value = (*value - highest) / temperature;
            }
            of_blocks.push(max(block));
        }
    }
}

vectorized! {
    fn drop_below(values: &mut [f32], least: f32) {
        for value in values {
            *value = if *value >= least { *value } else { f32::NEG_INFINITY };
        }
    }
}

vectorized! {
    /// Drops what weighs less than `lightest`; the weight of each block. Blocks whose highest value is below `least` are dropped already.
    fn weigh(values: &mut [f32], highest: &[f32], least: f32, lightest: f32, of_blocks: &mut Vec<f64>) {
        of_blocks.clear();
        of_blocks.reserve_exact(values.len().div_ceil(BLOCK));
        for (block, highest) in values.chunks_mut(BLOCK).zip(highest.chunks(BLOCK / SMALL_BLOCK)) {
            if max(highest) < least {
                of_blocks.push(0.0);
                continue;
            }
            if lightest > 0.0 {
                for value in &mut *block {
                    *value = if exp(*value) >= lightest { *value } else { f32::NEG_INFINITY };
                }
            }
            of_blocks.push(f64::from(sum(block, exp)));
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

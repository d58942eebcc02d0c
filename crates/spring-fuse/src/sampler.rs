//! From log-probabilities to a token.

use rand::Rng;
use serde::{Deserialize, Serialize};
use spring_numerics::exp::{EXP_FLOOR, exp_minimax};
use spring_numerics::key::Streams;
use spring_numerics::lanes::argmax;
use spring_numerics::setting::{SettingError, in_range};
use spring_numerics::{setters, vectorized};

use crate::FuseError;
use crate::log_softmax::highest;
use crate::nucleus::Nucleus;
use crate::top_k::{Ranked, TopK};

/// Settings of [`Sampler`]; the default is greedy. Filters apply in the order temperature, top-k,
/// top-p, min-p, each to what the one before left, renormalised.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SamplerConfig {
    /// 0 is greedy; else log-probabilities are divided by it.
    pub temperature: f32,
    /// The most tokens to draw from, ≥ 1; all unless given.
    pub top_k: Option<usize>,
    /// The fewest likeliest tokens whose probabilities reach this, in (0, 1]; off unless given
    /// (Holtzman et al., arXiv 1904.09751).
    pub top_p: Option<f32>,
    /// Share of the likeliest token's probability that a token needs, in [0, 1]; off unless given
    /// (Nguyen et al., arXiv 2407.01082).
    pub min_p: Option<f32>,
    /// Key of the draws.
    pub seed: u64,
}

setters! {
    SamplerConfig {
        with_temperature(temperature: f32);
        with_top_k(top_k: Option<usize>);
        with_top_p(top_p: Option<f32>);
        with_min_p(min_p: Option<f32>);
        with_seed(seed: u64);
    }
}

impl SamplerConfig {
    /// The sampler.
    ///
    /// # Errors
    /// For settings out of their range.
    pub fn init(&self) -> Result<Sampler, SettingError> {
        let temperature = self.temperature;
        if temperature != 0.0 {
            let allowed = "0 (greedy) or between 0.001 and 1000";
            in_range("temperature", f64::from(temperature), 1e-3..=1e3, allowed)?;
        }
        let top_p = self.top_p.unwrap_or(1.0);
        in_range("top_k", self.top_k.unwrap_or(1), 1.., "at least 1")?;
        in_range("top_p", top_p, f32::MIN_POSITIVE..=1.0, "above 0 and at most 1")?;
        in_range("min_p", self.min_p.unwrap_or(0.0), 0.0..=1.0, "between 0 and 1")?;
        Ok(Sampler {
            config: *self,
            streams: Streams::new(self.seed),
            top_k: TopK::default(),
            nucleus: Nucleus::default(),
        })
    }
}

/// Chooses tokens, greedily or by a seeded draw. Keeps its working memory between steps: a little,
/// taken at the first draw. Written here because no crate's sampler works on a plain slice without
/// allocating at each step.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    streams: Streams,
    top_k: TopK,
    nucleus: Nucleus,
}

impl Sampler {
    /// One token from `log_probs` (nats, normalised or not; −∞ is probability 0).
    ///
    /// Greedy takes the highest, ties to the lowest id, and leaves `log_probs` alone. Else the draw
    /// is a function of the seed and `step`, and `log_probs` serves as its working memory: what it
    /// holds afterwards means nothing.
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
        if let Some(k) = top_k.filter(|&k| k < log_probs.len())
            && let Some(Ranked { token, value }) = self.top_k.last(log_probs, highest, k)
        {
            let (before, after) = log_probs.split_at_mut(token as usize + 1);
            weigh(before, highest, temperature, value);
            weigh(after, highest, temperature, value.next_up());
        } else {
            weigh(log_probs, highest, temperature, f32::MIN);
        }
        let mut stream = self.streams.get(step);
        let share = top_p.filter(|&p| p < 1.0).map(f64::from);
        self.nucleus
            .draw(log_probs, share, min_p.unwrap_or(0.0), || stream.random())
            .ok_or(FuseError::NoMass("log_probs"))
    }
}

vectorized! {
    /// From log-probabilities to the tempered probabilities as multiples of the highest one; 0 for
    /// those below `least`, and where it would be below e⁻⁸⁰.
    fn weigh(values: &mut [f32], highest: f32, temperature: f32, least: f32) {
        for value in values {
            let log_weight = (*value - highest) / temperature;
            *value = if *value >= least && log_weight > EXP_FLOOR {
                exp_minimax(log_weight)
            } else {
                0.0
            };
        }
    }
}

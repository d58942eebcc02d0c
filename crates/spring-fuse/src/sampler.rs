//! From log-probabilities to a token.

use std::cmp::Ordering;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::FuseError;
use crate::approx::exp;
use crate::error::in_range;
use crate::log_softmax::{highest, normalize};
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
            kept: Vec::new(),
            highest: Vec::new(),
            ranked: Vec::new(),
        })
    }
}

/// Chooses tokens, greedily or by a seeded draw. Keeps its working memory between steps; with filters that is some 16 bytes
/// per token of the vocabulary, taken at the first draw.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    key: ChaCha8Rng,
    /// What may still be drawn; has room for every token, as a flat distribution needs it.
    kept: Vec<Choice>,
    /// Of each small block.
    highest: Vec<f32>,
    ranked: Vec<f32>,
}

/// Room for rounding where tokens are only sorted out before the exact test.
const SLACK: f32 = 1e-3;
/// Values that are passed over together where none of them reaches a bound.
const SMALL_BLOCK: usize = 64;
/// Tokens that top-p looks at first.
const USUAL_NUCLEUS: usize = 256;
/// So few are sorted rather than parted further.
const FEW: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Choice {
    token: u32,
    /// Tempered log-probability less the likeliest token's: at most 0.
    log_weight: f32,
    /// Its exponential: at most 1.
    weight: f64,
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
        temper(log_probs, highest, temperature);
        let top_k = top_k.filter(|&k| k < log_probs.len());
        let top_p = top_p.filter(|&p| p < 1.0).map(f64::from);
        let min_p = min_p.filter(|&p| p > 0.0).map(f64::from);
        let mut stream = self.key.clone();
        stream.set_stream(step);
        let point: f64 = stream.random();
        let token = if top_k.is_some() || top_p.is_some() || min_p.is_some() {
            self.filter(log_probs, top_k, top_p, min_p);
            self.draw_kept(log_probs, point)
        } else {
            normalize("log_probs", log_probs)?;
            draw(log_probs, point)
        };
        token.ok_or(FuseError::NoMass("log_probs"))
    }

    /// Fills `kept` with what the filters leave of the tempered log-probabilities, whose highest is 0, in the order of
    /// the vocabulary. Each filter keeps the first of the ranking, so only what may be among those is collected, and
    /// the last of them is found by parting, not by sorting.
    fn filter(&mut self, tempered: &[f32], top_k: Option<usize>, top_p: Option<f64>, min_p: Option<f64>) {
        self.reserve(tempered.len());
        let least = min_p.map_or(f32::NEG_INFINITY, |p| p.ln() as f32 - SLACK);
        highest_of_small_blocks(tempered, &mut self.highest);
        if let Some(k) = top_k {
            let bound = self.bound_of_top(k);
            self.collect(tempered, bound);
            if k < self.kept.len() {
                let last = *self.kept.select_nth_unstable_by(k - 1, rank).1;
                self.keep_up_to(tempered, &last);
            }
            if let Some(p) = top_p {
                self.keep_nucleus(tempered, p * self.weight());
            }
        } else if let Some(p) = top_p {
            let total = total_weight(tempered);
            let bound = self.bound_of_top(USUAL_NUCLEUS).max(least);
            self.collect(tempered, bound);
            if self.weight() < p * total {
                // All tokens below this bound together weigh less than (1 − p) of the total: the others reach
                // p.
                let bound = ((1.0 - p) * total / tempered.len() as f64).ln() as f32 - SLACK;
                self.collect(tempered, bound.max(least));
            }
            self.keep_nucleus(tempered, p * total);
        } else {
            self.collect(tempered, least);
        }
        if let Some(least) = min_p {
            // The likeliest token has weight 1.
            self.kept.retain(|choice| choice.weight >= least);
        }
    }

    /// Room for whatever a vocabulary of this size can leave, so that no later step allocates.
    fn reserve(&mut self, vocabulary: usize) {
        self.kept.clear();
        self.kept.reserve_exact(vocabulary);
        let blocks = vocabulary.div_ceil(SMALL_BLOCK);
        for buffer in [&mut self.highest, &mut self.ranked] {
            buffer.clear();
            buffer.reserve_exact(blocks);
        }
    }

    /// Fills `kept` with the tokens of at least `bound` and above −∞, in the order of the vocabulary.
    fn collect(&mut self, tempered: &[f32], bound: f32) {
        let bound = bound.max(f32::MIN);
        self.kept.clear();
        let blocks = tempered.chunks(SMALL_BLOCK).zip(&self.highest).enumerate();
        for (index, (block, _)) in blocks.filter(|(_, (_, highest))| **highest >= bound) {
            let tokens = block.iter().enumerate().filter(|(_, value)| **value >= bound);
            let first = index * SMALL_BLOCK;
            self.kept.extend(tokens.map(|(token, &log_weight)| Choice {
                token: (first + token) as u32,
                log_weight,
                weight: f64::from(exp(log_weight)),
            }));
        }
    }

    /// Fills `kept` with the tokens up to `last` in the ranking, in the order of the vocabulary.
    fn keep_up_to(&mut self, tempered: &[f32], last: &Choice) {
        self.collect(tempered, last.log_weight);
        self.kept.retain(|choice| rank(choice, last).is_le());
    }

    /// Keeps the fewest likeliest whose weights add up to `enough`; all if they do not.
    fn keep_nucleus(&mut self, tempered: &[f32], enough: f64) {
        match last_to_reach(&mut self.kept, enough) {
            Some(last) => self.keep_up_to(tempered, &last),
            None => self.kept.sort_unstable_by_key(|choice| choice.token),
        }
    }

    /// At least k values reach this, which is next to the k-th highest: the k-th highest of the blocks'
    /// highest.
    fn bound_of_top(&mut self, k: usize) -> f32 {
        if k > self.highest.len() {
            return f32::NEG_INFINITY;
        }
        self.ranked.clone_from(&self.highest);
        *self.ranked.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    /// Of all that is kept.
    fn weight(&self) -> f64 {
        self.kept.iter().map(|choice| choice.weight).sum()
    }

    /// A token of `kept`, whose distribution goes to `log_probs`.
    fn draw_kept(&mut self, log_probs: &mut [f32], point: f64) -> Option<u32> {
        let total = self.weight();
        let log_total = total.ln() as f32;
        log_probs.fill(f32::NEG_INFINITY);
        for choice in &self.kept {
            log_probs[choice.token as usize] = choice.log_weight - log_total;
        }
        reach(self.kept.iter().map(|choice| (choice.token, choice.weight)), point * total)
    }
}

/// A token of a normalised distribution.
fn draw(log_probs: &[f32], point: f64) -> Option<u32> {
    let mut before = 0.0;
    for (index, block) in log_probs.chunks(BLOCK).enumerate() {
        let after = before + total_weight(block);
        if after > point {
            let weights = (index * BLOCK..).zip(block).filter(|(_, value)| **value > f32::NEG_INFINITY);
            let weights = weights.map(|(token, &log_prob)| (token as u32, f64::from(log_prob).exp()));
            if let Some(token) = reach(weights, point - before) {
                return Some(token);
            }
        }
        before = after;
    }
    // Rounding left the total short of the point: the last that can be drawn.
    log_probs.iter().rposition(|&value| value > f32::NEG_INFINITY).map(|token| token as u32)
}

/// The first token with which the sum of the weights exceeds `point`; the last one where rounding leaves it
/// short.
fn reach(weights: impl Iterator<Item = (u32, f64)>, point: f64) -> Option<u32> {
    let mut sum = 0.0;
    let mut last = None;
    for (token, weight) in weights {
        last = Some(token);
        sum += weight;
        if sum > point {
            break;
        }
    }
    last
}

vectorized! {
    /// Σ eˣ.
    fn total_weight(values: &[f32]) -> f64 {
        let mut total = 0.0;
        for block in values.chunks(BLOCK) {
            total += f64::from(sum(block, exp));
        }
        total
    }
}

vectorized! {
    fn temper(values: &mut [f32], highest: f32, temperature: f32) {
        for value in values {
            *value = (*value - highest) / temperature;
        }
    }
}

vectorized! {
    fn highest_of_small_blocks(values: &[f32], out: &mut Vec<f32>) {
        out.clear();
        for block in values.chunks(SMALL_BLOCK) {
            out.push(max(block));
        }
    }
}

/// Likelier first, then the lower id.
fn rank(a: &Choice, b: &Choice) -> Ordering {
    b.log_weight.total_cmp(&a.log_weight).then(a.token.cmp(&b.token))
}

/// The last of the fewest likeliest whose weights add up to at least `enough`, by halving what it may be among; `None`
/// where all together do not reach it. Takes the choices out of order.
fn last_to_reach(choices: &mut [Choice], enough: f64) -> Option<Choice> {
    let mut open = choices;
    let mut before = 0.0;
    while open.len() > FEW {
        let (likelier, _, _) = open.select_nth_unstable_by(open.len() / 2, rank);
        let half = likelier.len();
        let upto = before + likelier.iter().map(|choice| choice.weight).sum::<f64>();
        let (likelier, others) = open.split_at_mut(half);
        if upto >= enough {
            open = likelier;
        } else {
            (open, before) = (others, upto);
        }
    }
    open.sort_unstable_by(rank);
    open.iter().copied().find(|choice| {
        before += choice.weight;
        before >= enough
    })
}

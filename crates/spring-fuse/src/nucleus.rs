//! A draw from the nucleus: the fewest likeliest tokens whose probabilities reach a share (Holtzman
//! et al., arXiv 1904.09751).
//!
//! Its last token is not searched for. One pass over the weights tells whether a token is in it:
//! what ranks before the token must not reach the share. So a token is drawn from all of them; if
//! it is not in the nucleus, the next is drawn from those that rank before it, and so on. What is
//! drawn follows the distribution of the nucleus, which is always a part of what is drawn from.
//! (FlashInfer samples like this on GPUs: "Sorting-Free GPU Kernels for LLM Sampling", 2025.)
//! Tokens rank by their weight, equals by their id. Sums over a block are in `f32`, so a
//! probability is exact to some 1e-7 of its block's.

use crate::top_k::nth_equal;
use spring_numerics::lanes::{BLOCK, LANES, sum};
use spring_numerics::vectorized;

/// Working memory of the draws, kept between steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nucleus {
    /// The weight of what is drawn from, block by block.
    blocks: Vec<f64>,
    /// Likewise what ranks before the token that was drawn.
    before: Vec<f64>,
}

impl Nucleus {
    /// Draws from the nucleus that reaches `share` of the weights, all of them unless given. Tokens
    /// lighter than `least` are left out. `random` gives numbers from [0, 1). `None` if no token is
    /// left.
    pub fn draw(
        &mut self,
        weights: &[f32],
        share: Option<f64>,
        least: f32,
        mut random: impl FnMut() -> f64,
    ) -> Option<u32> {
        // Heavier than this is what is drawn from.
        let mut bound = 0.0;
        heavier(weights, bound, &mut self.blocks);
        let enough = share.map(|share| share * self.blocks.iter().sum::<f64>());
        if least > f32::MIN_POSITIVE {
            bound = least.next_down();
            heavier(weights, bound, &mut self.blocks);
        }
        loop {
            let token = find(weights, bound, &self.blocks, random())?;
            let Some(enough) = enough else { return Some(token) };
            let weight = weights[token as usize];
            let equal = heavier_and_equal(weights, weight, &mut self.before);
            let before: f64 = self.before.iter().sum();
            if before < enough {
                // The number of its equals in the nucleus.
                let n = ((enough - before) / f64::from(weight)).ceil() as usize;
                let is_equal = |other: &&f32| **other == weight;
                if n >= equal || weights[..token as usize].iter().filter(is_equal).count() < n {
                    return Some(token);
                }
                // All of the nucleus is known now.
                let of_equals = n as f64 * f64::from(weight);
                let point = random() * (before + of_equals);
                return if point < before {
                    find(weights, weight, &self.before, point / before)
                } else {
                    nth_equal(
                        weights,
                        weight,
                        n.min(1 + ((point - before) / f64::from(weight)) as usize),
                    )
                };
            }
            bound = weight;
            std::mem::swap(&mut self.blocks, &mut self.before);
        }
    }
}

/// The first token heavier than `bound` with which the sum of such weights exceeds the part `point`
/// of their total, which is given block by block; where rounding leaves the sum short, the last
/// one.
fn find(weights: &[f32], bound: f32, blocks: &[f64], point: f64) -> Option<u32> {
    let point = point * blocks.iter().sum::<f64>();
    let mut sum = 0.0;
    for (index, (block, weight)) in weights.chunks(BLOCK).zip(blocks).enumerate() {
        let after = sum + weight;
        if after > point {
            for (token, weight) in
                (index * BLOCK..).zip(block).filter(|(_, weight)| **weight > bound)
            {
                sum += f64::from(*weight);
                if sum > point {
                    return Some(token as u32);
                }
            }
        }
        sum = after;
    }
    weights.iter().rposition(|weight| *weight > bound).map(|token| token as u32)
}

vectorized! {
    /// What the tokens heavier than `bound` weigh, block by block.
    fn heavier(weights: &[f32], bound: f32, blocks: &mut Vec<f64>) {
        blocks.clear();
        blocks.reserve_exact(weights.len().div_ceil(BLOCK));
        for block in weights.chunks(BLOCK) {
            blocks.push(f64::from(sum(block, |weight| if weight > bound { weight } else { 0.0 })));
        }
    }
}

vectorized! {
    /// The same, and how many weigh as much as `bound`.
    fn heavier_and_equal(weights: &[f32], bound: f32, blocks: &mut Vec<f64>) -> usize {
        blocks.clear();
        blocks.reserve_exact(weights.len().div_ceil(BLOCK));
        let mut equal = 0;
        for block in weights.chunks(BLOCK) {
            let (heavier, equal_here) = heavier_and_equal_of(block, bound);
            blocks.push(f64::from(heavier));
            equal += equal_here as usize;
        }
        equal
    }
}

/// The two sums of a block side by side: each alone would wait for its last addition. The first is
/// that of [`heavier`] to the last bit, the second exact: a block has far fewer tokens than `f32`
/// can count.
#[inline(always)]
fn heavier_and_equal_of(block: &[f32], bound: f32) -> (f32, f32) {
    let (mut heavier, mut equal) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for ((heavier, equal), &weight) in heavier.iter_mut().zip(&mut equal).zip(chunk) {
            *heavier += if weight > bound { weight } else { 0.0 };
            *equal += if weight == bound { 1.0 } else { 0.0 };
        }
    }
    for ((heavier, equal), &weight) in heavier.iter_mut().zip(&mut equal).zip(rest) {
        *heavier += if weight > bound { weight } else { 0.0 };
        *equal += if weight == bound { 1.0 } else { 0.0 };
    }
    (heavier.iter().sum(), equal.iter().sum())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The nucleus without the tokens lighter than `least`, by its definition.
    fn nucleus(weights: &[f32], share: f64, least: f32) -> Vec<usize> {
        let mut ranked: Vec<usize> = (0..weights.len()).collect();
        ranked.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        let mut before = 0.0;
        ranked.retain(|&token| {
            let is_in = before < share * total && weights[token] >= least && weights[token] > 0.0;
            before += f64::from(weights[token]);
            is_in
        });
        ranked
    }

    /// Lets every token be drawn first: it is the result if it is in the nucleus, and else another
    /// one that is.
    fn first_draws(weights: &[f32], share: f64, least: f32) -> Result<(), TestCaseError> {
        let expected = nucleus(weights, share, least);
        let candidate = |weight: f32| weight >= least && weight > 0.0;
        let candidates = weights.iter().copied().filter(|weight| candidate(*weight)).map(f64::from);
        let (total, mut before) = (candidates.sum::<f64>(), 0.0);
        for (token, weight) in
            weights.iter().copied().enumerate().filter(|(_, weight)| candidate(*weight))
        {
            let point = (before + 0.5 * f64::from(weight)) / total;
            before += f64::from(weight);
            // The others are drawn from the middle of what is left.
            let mut points = std::iter::once(point).chain(std::iter::repeat(0.5));
            let drawn = Nucleus::default()
                .draw(weights, Some(share), least, || points.next().unwrap_or(0.5));
            let drawn = drawn.map(|drawn| drawn as usize);
            prop_assert!(
                drawn.is_some_and(|drawn| expected.contains(&drawn)),
                "{drawn:?} {expected:?}"
            );
            prop_assert_eq!(drawn == Some(token), expected.contains(&token), "{} {}", token, share);
        }
        Ok(())
    }

    proptest! {
        /// Eighths, so that many are equal and sums are exact.
        #[test]
        fn what_is_drawn_is_in_the_nucleus(
            eighths in prop::collection::vec(0u8..=8, 1..200),
            share in 0.01f64..1.0,
            least in 0u8..=8,
        ) {
            let mut weights: Vec<f32> =
                eighths.into_iter().map(|eighths| f32::from(eighths) / 8.0).collect();
            weights[0] = 1.0;
            first_draws(&weights, share, f32::from(least) / 8.0)?;
        }
    }

    #[test]
    fn many_blocks() {
        let n = 2 * BLOCK + 77;
        let uneven: Vec<f32> = (0..n).map(|token| (token * 7919 % 64 + 1) as f32 / 64.0).collect();
        for (weights, share) in [(vec![1.0; n], 0.51), (uneven.clone(), 0.1), (uneven, 0.97)] {
            first_draws(&weights, share, 0.0).unwrap();
        }
    }

    /// The last token is what is left where a block's sum is rounded up.
    #[test]
    fn the_highest_point_draws_the_last_token() {
        let weights = vec![0.1f32; 2 * BLOCK];
        let drawn = Nucleus::default().draw(&weights, None, 0.0, || 1.0f64.next_down());
        assert_eq!(drawn, Some(2 * BLOCK as u32 - 1));
    }

    #[test]
    fn nothing_to_draw() {
        for share in [None, Some(0.5)] {
            assert_eq!(Nucleus::default().draw(&[0.0; 5], share, 0.0, || 0.5), None);
            assert_eq!(Nucleus::default().draw(&[], share, 0.0, || 0.5), None);
        }
    }
}

//! The last token that a filter keeps of a distribution, without sorting it.
//!
//! Tokens are ranked by their value, equals by their id. What the last one may be is narrowed down by passes over the values that
//! each compare with several bounds at once, until it is among few tokens, or among equals.

use std::ops::Range;

use crate::vector::{BLOCK, max, sum, sum_pairs, vectorized};

/// Bounds that a pass compares with: fewer need more passes, more do not narrow it down faster.
const BOUNDS: usize = 8;
/// So few are sorted rather than narrowed further.
const FEW: usize = 512;
/// Values whose highest is remembered, so that they are passed over together.
const SMALL_BLOCK: usize = 64;
/// Where the search for the first k begins, if nothing better is known: what is less likely by this many nats hardly matters.
const FAR: f32 = -80.0;
/// After so many, the values left are probably equal or very unequal, and the next bounds begin at the least of them.
const USUAL_PASSES: usize = 5;
/// Room for rounding in a bound that is calculated.
const SLACK: f32 = 1e-3;

/// A token with its place in the ranking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    pub token: u32,
    pub value: f32,
}

/// What adds up along the ranking.
#[derive(Debug, Clone, Copy)]
enum Measure<'a> {
    Tokens,
    Weights(&'a [f32]),
}

/// Working memory of the search, kept between steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nucleus {
    /// Of each small block.
    highest: Vec<f32>,
    sorted: Vec<f32>,
    few: Vec<Ranked>,
}

impl Nucleus {
    /// The k-th of the ranking, k ≥ 1; `None` if no more than k tokens are above −∞. The highest value must be 0.
    pub fn last_of_most(&mut self, values: &[f32], k: usize) -> Option<Ranked> {
        self.look_at(values);
        // At least k values reach the k-th highest of the blocks' highest.
        let least = match self.sorted.len() {
            blocks if k <= blocks => *self.sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1,
            _ => FAR,
        };
        self.search(values, Measure::Tokens, k as f64, least)
    }

    /// The last of the fewest likeliest tokens whose weights reach `share` of their `total`; `None` if only all together do. The
    /// highest value must be 0, and the weights the values' exponentials.
    pub fn last_to_reach(
        &mut self,
        values: &[f32],
        weights: &[f32],
        total: f64,
        share: f64,
    ) -> Option<Ranked> {
        self.look_at(values);
        // All below this together weigh less than the rest.
        let least = ((1.0 - share) * total / values.len() as f64).ln() as f32 - SLACK;
        self.search(values, Measure::Weights(weights), share * total, least)
    }

    fn look_at(&mut self, values: &[f32]) {
        let blocks = values.len().div_ceil(SMALL_BLOCK);
        for buffer in [&mut self.highest, &mut self.sorted] {
            buffer.clear();
            buffer.reserve_exact(blocks);
        }
        self.few.clear();
        self.few.reserve_exact(FEW);
        highest_of_small_blocks(values, &mut self.highest);
        self.sorted.clone_from(&self.highest);
    }

    /// The first in the ranking with which the measure reaches `enough`, which is above 0. Where `least` turns out to be above it,
    /// the search begins anew from the lowest number.
    fn search(&mut self, values: &[f32], measure: Measure<'_>, enough: f64, least: f32) -> Option<Ranked> {
        // It lies in low..above, and what lies above them measures `before`.
        let (mut low, mut above, mut before) = (least.clamp(f32::MIN, 0.0), 0f32.next_up(), 0.0);
        let mut passes = 0;
        loop {
            if low.next_up() >= above {
                let n = (enough - before) / measure.of(low);
                return nth_equal(values, low, n.ceil().max(1.0) as usize);
            }
            let bounds = bounds_between(low, above);
            let reached = match measure {
                Measure::Tokens => tokens_from(values, bounds),
                Measure::Weights(weights) => weights_from(values, weights, bounds),
            };
            let Some(at) = reached.iter().rposition(|reached| *reached >= enough) else {
                if low == f32::MIN {
                    return None;
                }
                low = f32::MIN;
                continue;
            };
            low = bounds[at];
            if let Some(bound) = bounds.get(at + 1) {
                (above, before) = (*bound, reached[at + 1]);
            }
            // No more tokens than if each had the least weight.
            let most = (reached[at] - before) / measure.of(low);
            if most <= FEW as f64 && self.collect(values, low..above) {
                return self.among_few(measure, enough - before);
            }
            passes += 1;
            if passes > USUAL_PASSES {
                (low, above) = narrow(values, low, above);
            }
        }
    }

    /// Fills `few` with the tokens whose values are in the range, in the order of the ranking; false if they are not few.
    fn collect(&mut self, values: &[f32], range: Range<f32>) -> bool {
        let Self { highest, few, .. } = self;
        few.clear();
        let is_all = collect(values, highest, range, few);
        few.sort_unstable_by(|a, b| b.value.total_cmp(&a.value).then(a.token.cmp(&b.token)));
        is_all
    }

    /// The first of `few` with which the measure reaches `enough`; the last where rounding leaves it short.
    fn among_few(&self, measure: Measure<'_>, enough: f64) -> Option<Ranked> {
        let mut reached = 0.0;
        let first = self.few.iter().find(|Ranked { token, .. }| {
            reached += match measure {
                Measure::Tokens => 1.0,
                Measure::Weights(weights) => f64::from(weights[*token as usize]),
            };
            reached >= enough
        });
        first.or(self.few.last()).copied()
    }
}

impl Measure<'_> {
    /// Of one token of this value.
    fn of(self, value: f32) -> f64 {
        match self {
            Self::Tokens => 1.0,
            Self::Weights(_) => f64::from(value).exp(),
        }
    }
}

/// From `low` to the greatest number below `above`, at equal distances.
fn bounds_between(low: f32, above: f32) -> [f32; BOUNDS] {
    let step = (above - low) / (BOUNDS - 1) as f32;
    let last = above.next_down();
    let mut bounds = std::array::from_fn(|i| (low + step * i as f32).min(last));
    bounds[BOUNDS - 1] = last;
    bounds
}

/// The n-th token, from 1, of a value.
fn nth_equal(values: &[f32], value: f32, n: usize) -> Option<Ranked> {
    let mut equal = values.iter().enumerate().filter(|(_, other)| **other == value);
    let mut last = None;
    for _ in 0..n {
        match equal.next() {
            None => break,
            found => last = found,
        }
    }
    last.map(|(token, _)| Ranked { token: token as u32, value })
}

/// The same values between closer bounds: the lowest of them, and the number after the highest.
fn narrow(values: &[f32], low: f32, above: f32) -> (f32, f32) {
    let within = values.iter().copied().filter(|value| (low..above).contains(value));
    let (lowest, highest) =
        within.fold((above, low), |(lowest, highest), value| (lowest.min(value), highest.max(value)));
    (lowest, highest.next_up())
}

vectorized! {
    fn highest_of_small_blocks(values: &[f32], out: &mut Vec<f32>) {
        out.clear();
        for block in values.chunks(SMALL_BLOCK) {
            out.push(max(block));
        }
    }
}

vectorized! {
    /// Pushes the tokens whose values are in the range; false if they are not few.
    fn collect(values: &[f32], highest: &[f32], range: Range<f32>, few: &mut Vec<Ranked>) -> bool {
        let (low, above) = (range.start, range.end);
        for (index, (block, highest)) in values.chunks(SMALL_BLOCK).zip(highest).enumerate() {
            let within = |value: f32| value >= low && value < above;
            if *highest < low || sum(block, |value| f32::from(u8::from(within(value)))) == 0.0 {
                continue;
            }
            for (token, value) in block.iter().enumerate().filter(|(_, value)| within(**value)) {
                if few.len() == FEW {
                    return false;
                }
                few.push(Ranked { token: (index * SMALL_BLOCK + token) as u32, value: *value });
            }
        }
        true
    }
}

vectorized! {
    /// How many values reach each bound.
    fn tokens_from(values: &[f32], bounds: [f32; BOUNDS]) -> [f64; BOUNDS] {
        let mut totals = [0.0; BOUNDS];
        for block in values.chunks(BLOCK) {
            // Exact: a block has far fewer values than f32 can count.
            sum_from(block, block, bounds, |_| 1.0, &mut totals);
        }
        totals
    }
}

vectorized! {
    /// The weight of the values that reach each bound.
    fn weights_from(values: &[f32], weights: &[f32], bounds: [f32; BOUNDS]) -> [f64; BOUNDS] {
        let mut totals = [0.0; BOUNDS];
        for (block, weights) in values.chunks(BLOCK).zip(weights.chunks(BLOCK)) {
            sum_from(block, weights, bounds, |weight| weight, &mut totals);
        }
        totals
    }
}

/// Adds to each total Σ f(weight) of the values that reach its bound.
#[inline(always)]
fn sum_from(
    values: &[f32],
    weights: &[f32],
    bounds: [f32; BOUNDS],
    f: impl Fn(f32) -> f32,
    totals: &mut [f64; BOUNDS],
) {
    for (total, bound) in totals.iter_mut().zip(bounds) {
        let f = |value, weight| if value >= bound { f(weight) } else { 0.0 };
        *total += f64::from(sum_pairs(values, weights, f));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_cover_what_is_between() {
        for (low, above) in [
            (-80.0, 0f32.next_up()),
            (f32::MIN, -1.0),
            (-1.0, (-1f32).next_up().next_up()),
            (-1.0, (-1f32).next_up()),
        ] {
            let bounds = bounds_between(low, above);
            assert_eq!((bounds[0], bounds[BOUNDS - 1]), (low, above.next_down()));
            assert!(bounds.is_sorted());
        }
    }

    #[test]
    fn equals_and_outliers_are_narrowed_down() {
        let mut values = vec![-1e30; 3000];
        values.extend([-2.5; 3000]);
        values.extend((0..3000).map(|i| -1e-30 * i as f32));
        values.extend([f32::NEG_INFINITY; 10]);
        let mut ranked: Vec<Ranked> = values
            .iter()
            .enumerate()
            .map(|(token, value)| Ranked { token: token as u32, value: *value })
            .collect();
        ranked.sort_by(|a, b| b.value.total_cmp(&a.value));
        for k in [1, 2, 700, 2999, 3000, 3001, 5000, 6000, 6001, 8999, 9000] {
            assert_eq!(Nucleus::default().last_of_most(&values, k), Some(ranked[k - 1]), "{k}");
        }
        assert_eq!(Nucleus::default().last_of_most(&values, 9001), None);
    }
}

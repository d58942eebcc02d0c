//! The last token that a filter keeps of a distribution, without sorting it.
//!
//! Tokens are ranked by their value, equals by their id. What the last one may be is narrowed down by passes over the values that
//! each compare with several bounds at once, until it is among few tokens, or among equals.

use std::ops::Range;

use crate::approx::exp;
use crate::vector::{BLOCK, max, sum, sum_pairs, vectorized};

/// Bounds that a pass compares with: fewer need more passes, more do not narrow it down faster.
const BOUNDS: usize = 8;
/// Those of the first pass, nats below the likeliest token: it stays among few tokens where few are likely.
const FIRST: [f32; BOUNDS] = [f32::MIN, -30.0, -20.0, -14.0, -10.0, -7.0, -4.0, -1.5];
/// So few are sorted rather than narrowed further.
const FEW: usize = 512;
/// Values whose highest is remembered, so that they are passed over together.
pub(crate) const SMALL_BLOCK: usize = 64;
/// After so many, the values left are probably equal or very unequal, and the next bounds begin at the least of them.
const USUAL_PASSES: usize = 5;

/// A token with its place in the ranking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    pub token: u32,
    pub value: f32,
}

/// What adds up along the ranking.
#[derive(Debug, Clone, Copy)]
enum Measure {
    Tokens,
    /// The exponentials of the values.
    Weights,
}

/// Values, the highest of which is 0, with the highest of each small block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub all: &'a [f32],
    pub highest: &'a [f32],
}

/// Working memory of the search, kept between steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nucleus {
    /// Of each token; less than 1 for all but the likeliest.
    weights: Vec<f32>,
    few: Vec<Ranked>,
}

impl Nucleus {
    /// The k-th of the ranking, k ≥ 1; `None` if fewer than k tokens are above −∞.
    pub fn last_of_most(&mut self, values: Values<'_>, k: usize) -> Option<Ranked> {
        let first = tokens_from(values, FIRST);
        self.search(values, Measure::Tokens, first, k as f64)
    }

    /// The last of the fewest likeliest tokens whose weights, the values' exponentials, reach `share` of those up to `within`, or
    /// else of all; `None` if rounding keeps all together short of it.
    pub fn last_to_reach(
        &mut self,
        values: Values<'_>,
        within: Option<Ranked>,
        share: f64,
    ) -> Option<Ranked> {
        self.weights.clear();
        self.weights.reserve_exact(values.all.len());
        weigh(values.all, &mut self.weights);
        let first = weights_from(values, &self.weights, FIRST);
        let total = match within {
            None => first[0],
            Some(Ranked { token, value }) => {
                let [from, .., above] =
                    weights_from(values, &self.weights, bounds_between(value, value.next_up().next_up()));
                let equal = |tokens: &[f32]| tokens.iter().filter(|other| **other == value).count() as f64;
                let (earlier, all) = (equal(&values.all[..=token as usize]), equal(values.all));
                above + (from - above) * earlier / all
            }
        };
        self.search(values, Measure::Weights, first, share * total)
    }

    /// The first in the ranking with which the measure reaches `enough`, which is above 0; `reached` is what it reaches at the
    /// first bounds.
    fn search(
        &mut self,
        values: Values<'_>,
        measure: Measure,
        mut reached: [f64; BOUNDS],
        enough: f64,
    ) -> Option<Ranked> {
        self.few.clear();
        self.few.reserve_exact(FEW);
        // It lies in low..above, and what lies above them measures `before`.
        let (mut bounds, mut above, mut before) = (FIRST, 0f32.next_up(), 0.0);
        let mut pass = 0;
        loop {
            pass += 1;
            let at = reached.iter().rposition(|reached| *reached >= enough)?;
            let mut low = bounds[at];
            if let Some(bound) = bounds.get(at + 1) {
                (above, before) = (*bound, reached[at + 1]);
            }
            if low.next_up() >= above {
                let n = (enough - before) / measure.of(low);
                return nth_equal(values.all, low, n.ceil().max(1.0) as usize);
            }
            // No more tokens than if each had the least weight.
            let most = (reached[at] - before) / measure.of(low);
            if (most <= FEW as f64 || pass == 1) && self.collect(values, low..above) {
                return self.among_few(measure, enough - before);
            }
            if pass > USUAL_PASSES || low == f32::MIN {
                (low, above) = narrow(values.all, low, above);
            }
            bounds = bounds_between(low, above);
            reached = match measure {
                Measure::Tokens => tokens_from(values, bounds),
                Measure::Weights => weights_from(values, &self.weights, bounds),
            };
        }
    }

    /// Fills `few` with the tokens whose values are in the range, in the order of the ranking; false if they are not few.
    fn collect(&mut self, values: Values<'_>, range: Range<f32>) -> bool {
        self.few.clear();
        let is_all = collect(values, range, &mut self.few);
        self.few.sort_unstable_by(|a, b| b.value.total_cmp(&a.value).then(a.token.cmp(&b.token)));
        is_all
    }

    /// The first of `few` with which the measure reaches `enough`; the last where rounding leaves it short.
    fn among_few(&self, measure: Measure, enough: f64) -> Option<Ranked> {
        let mut reached = 0.0;
        let first = self.few.iter().find(|Ranked { value, .. }| {
            reached += measure.of(*value);
            reached >= enough
        });
        first.or(self.few.last()).copied()
    }
}

impl Measure {
    /// Of one token of this value.
    fn of(self, value: f32) -> f64 {
        match self {
            Self::Tokens => 1.0,
            Self::Weights => f64::from(exp(value)),
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
    /// Pushes the tokens whose values are in the range; false if they are not few.
    fn collect(values: Values<'_>, range: Range<f32>, few: &mut Vec<Ranked>) -> bool {
        let (low, above) = (range.start, range.end);
        for (index, (block, highest)) in values.all.chunks(SMALL_BLOCK).zip(values.highest).enumerate() {
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
    /// How many values reach each bound; the bounds rise.
    fn tokens_from(values: Values<'_>, bounds: [f32; BOUNDS]) -> [f64; BOUNDS] {
        let mut totals = [0.0; BOUNDS];
        for (block, highest) in values.all.chunks(BLOCK).zip(values.highest.chunks(BLOCK / SMALL_BLOCK)) {
            let highest = max(highest);
            for (total, bound) in totals.iter_mut().zip(bounds).take_while(|(_, bound)| *bound <= highest) {
                // Exact: a block has far fewer values than f32 can count.
                *total += f64::from(sum(block, |value| if value >= bound { 1.0 } else { 0.0 }));
            }
        }
        totals
    }
}

vectorized! {
    fn weigh(values: &[f32], weights: &mut Vec<f32>) {
        weights.extend(values.iter().map(|value| exp(*value)));
    }
}

vectorized! {
    /// The weight of the values that reach each bound; the bounds rise.
    fn weights_from(values: Values<'_>, weights: &[f32], bounds: [f32; BOUNDS]) -> [f64; BOUNDS] {
        let mut totals = [0.0; BOUNDS];
        let blocks = values.all.chunks(BLOCK).zip(weights.chunks(BLOCK));
        for ((block, weights), highest) in blocks.zip(values.highest.chunks(BLOCK / SMALL_BLOCK)) {
            let highest = max(highest);
            for (total, bound) in totals.iter_mut().zip(bounds).take_while(|(_, bound)| *bound <= highest) {
                let sum = sum_pairs(block, weights, |value, weight| if value >= bound { weight } else { 0.0 });
                *total += f64::from(sum);
            }
        }
        totals
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
        let highest: Vec<f32> = values.chunks(SMALL_BLOCK).map(max).collect();
        let values = Values { all: &values, highest: &highest };
        for k in [1, 2, 700, 2999, 3000, 3001, 5000, 6000, 6001, 8999, 9000] {
            assert_eq!(Nucleus::default().last_of_most(values, k), Some(ranked[k - 1]), "{k}");
        }
        assert_eq!(Nucleus::default().last_of_most(values, 9001), None);
        // The weights are those of 3,000 equal tokens, up to the 1,000th of them, and of 3,000 that are as good as 1.
        let within = Some(ranked[3999]);
        let total = 3000.0 + 1000.0 * (-2.5f64).exp();
        let at = |weight: f64| Nucleus::default().last_to_reach(values, within, weight / total);
        assert_eq!(at(3000.0 + 499.5 * (-2.5f64).exp()), Some(ranked[3499]));
        assert_eq!(at(1499.5), Some(ranked[1499]));
    }
}

//! The k-th of the likeliest tokens, without sorting them all.
//!
//! Tokens are ranked by their value, equals by their id. Passes over the values, each of which
//! compares with several bounds at once, narrow down where the k-th one is, until it is among few
//! tokens or among equals.

use std::{cmp::Ordering, ops::Range};

use spring_numerics::lanes::{BLOCK, max, sum};
use spring_numerics::vectorized;

/// Bounds that a pass compares with: fewer need more passes, more do not narrow it down faster.
const BOUNDS: usize = 8;
/// Those of the first pass, nats below the likeliest token: it stays among few tokens where few are
/// likely.
const FIRST: [f32; BOUNDS] = [f32::MIN, -30.0, -20.0, -14.0, -10.0, -7.0, -4.0, -1.5];
/// This many or fewer are sorted rather than narrowed further.
const FEW: usize = 512;
/// Values whose highest is remembered, so that they are passed over together.
const SMALL_BLOCK: usize = 256;
/// After this many, the values left are probably equal or very unequal, and the next bounds begin
/// at the least of them.
const USUAL_PASSES: usize = 5;

/// A token with its place in the ranking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    pub token: u32,
    pub value: f32,
}

/// Values with the highest of each small block.
#[derive(Debug, Clone, Copy)]
struct Values<'a> {
    all: &'a [f32],
    highest: &'a [f32],
}

/// Working memory of the search, kept between steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopK {
    highest: Vec<f32>,
    few: Vec<Ranked>,
}

impl TopK {
    /// The k-th of the ranking, k ≥ 1; `None` if fewer than k tokens are above −∞. `highest` is the
    /// highest value.
    pub fn last(&mut self, all: &[f32], highest: f32, k: usize) -> Option<Ranked> {
        self.few.clear();
        self.few.reserve_exact(FEW);
        highest_of_blocks(all, &mut self.highest);
        let values = Values { all, highest: &self.highest };
        // It lies in low..above, and `before` tokens lie above them.
        let (mut bounds, mut above, mut before) =
            (FIRST.map(|below| (highest + below).max(f32::MIN)), highest.next_up(), 0);
        let mut pass = 0;
        loop {
            pass += 1;
            let reached = reaching(values, bounds);
            let at = reached.iter().rposition(|reached| *reached >= k)?;
            let mut low = bounds[at];
            if let Some(bound) = bounds.get(at + 1) {
                (above, before) = (*bound, reached[at + 1]);
            }
            if low.next_up() >= above {
                let token = nth_equal(all, low, k - before)?;
                return Some(Ranked { token, value: low });
            }
            if reached[at] - before <= FEW {
                collect(values, low..above, &mut self.few);
                // As everywhere here, 0 and -0 are equal.
                self.few.sort_unstable_by(|a, b| {
                    b.value
                        .partial_cmp(&a.value)
                        .unwrap_or(Ordering::Equal)
                        .then(a.token.cmp(&b.token))
                });
                return self.few.get(k - before - 1).copied();
            }
            if pass > USUAL_PASSES || low == f32::MIN {
                (low, above) = narrow(all, low, above);
            }
            bounds = bounds_between(low, above);
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

/// The n-th token, from 1, of a value; the last one if there are fewer.
pub(crate) fn nth_equal(values: &[f32], value: f32, n: usize) -> Option<u32> {
    let equal = (0u32..).zip(values).filter(|(_, other)| **other == value);
    equal.take(n).last().map(|(token, _)| token)
}

/// The same values between closer bounds: the lowest of them, and the number after the highest.
fn narrow(values: &[f32], low: f32, above: f32) -> (f32, f32) {
    let within = values.iter().copied().filter(|value| (low..above).contains(value));
    let (lowest, highest) = within
        .fold((above, low), |(lowest, highest), value| (lowest.min(value), highest.max(value)));
    (lowest, highest.next_up())
}

vectorized! {
    fn highest_of_blocks(values: &[f32], highest: &mut Vec<f32>) {
        highest.clear();
        highest.reserve_exact(values.len().div_ceil(SMALL_BLOCK));
        for block in values.chunks(SMALL_BLOCK) {
            highest.push(max(block));
        }
    }
}

vectorized! {
    /// The tokens whose values are in the range, which are few.
    fn collect(values: Values<'_>, range: Range<f32>, few: &mut Vec<Ranked>) {
        let (low, above) = (range.start, range.end);
        for (index, (block, highest)) in
            values.all.chunks(SMALL_BLOCK).zip(values.highest).enumerate()
        {
            let within = |value: f32| value >= low && value < above;
            if *highest < low || sum(block, |value| f32::from(u8::from(within(value)))) == 0.0 {
                continue;
            }
            for (token, value) in block.iter().enumerate().filter(|(_, value)| within(**value)) {
                few.push(Ranked { token: (index * SMALL_BLOCK + token) as u32, value: *value });
            }
        }
    }
}

vectorized! {
    /// How many values reach each bound; the bounds rise.
    fn reaching(values: Values<'_>, bounds: [f32; BOUNDS]) -> [usize; BOUNDS] {
        let mut totals = [0; BOUNDS];
        for (block, highest) in
            values.all.chunks(BLOCK).zip(values.highest.chunks(BLOCK / SMALL_BLOCK))
        {
            let highest = max(highest);
            for (total, bound) in
                totals.iter_mut().zip(bounds).take_while(|(_, bound)| *bound <= highest)
            {
                // Exact: a block has far fewer values than f32 can count.
                *total += sum(block, |value| if value >= bound { 1.0 } else { 0.0 }) as usize;
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
        for k in [1, 2, 700, 2999, 3000, 3001, 5000, 6000, 6001, 8999, 9000] {
            assert_eq!(TopK::default().last(&values, 0.0, k), Some(ranked[k - 1]), "{k}");
        }
        assert_eq!(TopK::default().last(&values, 0.0, 9001), None);
    }
}

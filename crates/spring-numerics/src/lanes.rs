//! Sums and maxima over numbers side by side: added up in the same order, and so the same bits,
//! whatever the width of the machine's vectors.
//!
//! All functions but [`argmax`] and [`highest`] are meant for the inside of a
//! [`vectorized!`](crate::vectorized) function or of a [`WithSimd`](crate::simd::WithSimd).

use crate::vectorized;

/// Numbers that a loop handles side by side.
pub const LANES: usize = 16;

/// Values that all passes of an operation go over before it turns to the next ones: they stay in
/// the fastest cache. Sums over a block are in `f32`, sums of blocks in `f64`.
pub const BLOCK: usize = 2048;

/// `f` over all values, [`LANES`] of them side by side: value i goes into lane i mod [`LANES`].
#[inline(always)]
pub fn fold(values: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, value);
    }
    lanes
}

/// As [`fold`], over two slices of one length.
#[inline(always)]
pub fn fold_pairs(
    xs: &[f32],
    ys: &[f32],
    start: f32,
    f: impl Fn(f32, f32, f32) -> f32,
) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (x_chunks, x_rest) = xs.as_chunks::<LANES>();
    let (y_chunks, y_rest) = ys.as_chunks::<LANES>();
    for (xs, ys) in x_chunks.iter().zip(y_chunks) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(xs.iter().zip(ys)) {
            *lane = f(*lane, x, y);
        }
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *lane = f(*lane, x, y);
    }
    lanes
}

/// All lanes as one, half onto half: four steps, where one after the other would be fifteen.
#[inline(always)]
pub fn halve(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ f(x), the lanes added one after the other.
#[inline(always)]
pub fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    fold(values, 0.0, |sum, value| sum + f(value)).iter().sum()
}

/// Σ f(x, y), the lanes added one after the other.
#[inline(always)]
pub fn sum_pairs(xs: &[f32], ys: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    fold_pairs(xs, ys, 0.0, |sum, x, y| sum + f(x, y)).iter().sum()
}

/// The highest value, −∞ for none; NaN if there is a NaN.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let mut highest = [f32::NEG_INFINITY; LANES];
    let mut nans = [0u32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for ((highest, nan), &value) in highest.iter_mut().zip(&mut nans).zip(chunk) {
            *highest = if value > *highest { value } else { *highest };
            *nan |= u32::from(value.is_nan());
        }
    }
    for ((highest, nan), &value) in highest.iter_mut().zip(&mut nans).zip(rest) {
        *highest = if value > *highest { value } else { *highest };
        *nan |= u32::from(value.is_nan());
    }
    let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if nans.iter().any(|&nan| nan > 0) { f32::NAN } else { highest }
}

vectorized! {
    /// [`max`], for use outside a kernel.
    pub fn highest(values: &[f32]) -> f32 {
        max(values)
    }
}

/// The position of the highest value, the first of equals; `None` for no values or a NaN.
pub fn argmax(values: &[f32]) -> Option<usize> {
    let (mut best, mut best_value) = (0, f32::NEG_INFINITY);
    for (index, block) in values.chunks(BLOCK).enumerate() {
        let block_highest = highest(block);
        if block_highest.is_nan() {
            return None;
        }
        if block_highest > best_value {
            (best, best_value) = (index, block_highest);
        }
    }
    let block = values.chunks(BLOCK).nth(best)?;
    block.iter().position(|&value| value == best_value).map(|index| best * BLOCK + index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 2f32.powi(23))
            .collect()
    }

    #[test]
    fn sums_are_sums_at_every_length() {
        vectorized! {
            fn total(values: &[f32]) -> f32 {
                sum(values, |x| x)
            }
        }
        for count in [0, 1, 15, 16, 17, 100, 5000] {
            let (xs, ys) = (numbers(count), numbers(count + 1).split_off(1));
            let close =
                |value: f32, exact: f64| (f64::from(value) - exact).abs() <= 1e-5 * exact + 1e-6;
            let exact: f64 = xs.iter().map(|&x| f64::from(x)).sum();
            assert!(
                close(sum(&xs, |x| x), exact)
                    && close(halve(fold(&xs, 0.0, |a, b| a + b), |a, b| a + b), exact)
            );
            assert_eq!(total(&xs).to_bits(), sum(&xs, |x| x).to_bits());
            let exact: f64 = xs.iter().zip(&ys).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            assert!(close(sum_pairs(&xs, &ys, |x, y| x * y), exact));
        }
    }

    #[test]
    fn the_highest_is_found_wherever_it_is_and_a_nan_is_not_lost() {
        for count in [1, 16, 33, 2048, 5000] {
            for place in [0, count / 2, count - 1] {
                let mut values = numbers(count);
                values[place] = 9.0;
                assert_eq!((highest(&values), argmax(&values)), (9.0, Some(place)));
                values[place] = f32::NAN;
                assert!(highest(&values).is_nan() && argmax(&values).is_none());
            }
        }
        assert_eq!((highest(&[]), argmax(&[])), (f32::NEG_INFINITY, None));
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
    }
}

//! Whole parts of a number of things.

/// ⌊part · n⌋, where a product that is whole but for rounding counts as whole: 0.29 · 100 is 29,
/// not 28.
pub fn floor_of(part: f64, n: usize) -> usize {
    let product = part * n as f64;
    whole(product).unwrap_or(product.floor()) as usize
}

/// ⌈part · n⌉, at most n, where a product that is whole but for rounding counts as whole: 0.07 ·
/// 100 is 7, not 8.
pub fn ceil_of(part: f64, n: usize) -> usize {
    let product = part * n as f64;
    (whole(product).unwrap_or(product.ceil()) as usize).min(n)
}

/// The whole number that `product` is but for the rounding of one multiplication.
fn whole(product: f64) -> Option<f64> {
    let whole = product.round();
    ((product - whole).abs() <= 2.0 * f64::EPSILON * product).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_hundredths_are_exact() {
        for n in [1usize, 7, 100, 700, 1000, 12_345, 1_000_000] {
            for hundredths in 0..=100 {
                let part = hundredths as f64 / 100.0;
                assert_eq!(floor_of(part, n), hundredths * n / 100, "{part} of {n}");
                assert_eq!(ceil_of(part, n), (hundredths * n).div_ceil(100), "{part} of {n}");
            }
        }
        assert_eq!((0.29f64 * 100.0).floor(), 28.0, "what the plain product gives");
    }

    #[test]
    fn numbers_out_of_range_do_not_panic() {
        for part in [f64::NAN, -1.0, f64::NEG_INFINITY] {
            assert_eq!((floor_of(part, 10), ceil_of(part, 10)), (0, 0));
        }
        assert_eq!(ceil_of(f64::INFINITY, 10), 10);
    }
}

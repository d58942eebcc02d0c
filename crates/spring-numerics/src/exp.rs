//! eˣ and ln(1 + x) on `f32`, without a branch, so that loops over them become vector code.
//!
//! Written here because the standard library's are scalar calls, and those of vector libraries
//! change in the last bit from machine to machine. The two exponentials are one range reduction
//! with two polynomials; both stay, since results that are kept were computed with each.

/// Below this, [`exp_minimax`] stays at exp(−80) ≈ 1.8e-35: low enough to be nothing beside 1, and
/// high enough that no product here is subnormal, which is slow on many machines.
pub const EXP_FLOOR: f32 = -80.0;

/// eˣ = 2ⁿ·eʳ with |r| ≤ ln 2 / 2 and eʳ = 1 + r + r²·`tail`(r); x within the range of normal
/// results.
#[inline(always)]
fn exp_with(x: f32, tail: impl Fn(f32) -> f32) -> f32 {
    // Added to a small number, 1.5 · 2²³ leaves its nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few enough bits that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let power = 1.0 + (r + r * r * tail(r));
    // Adding n to the exponent bits multiplies by 2ⁿ.
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// eˣ for x ≤ 88 by a minimax polynomial, with a relative error below 3e-7. Below −80 (−∞ and NaN
/// included) it is 1.8e-35, not 0.
#[inline(always)]
pub fn exp_minimax(x: f32) -> f32 {
    let x = if x > EXP_FLOOR { x } else { EXP_FLOOR };
    exp_with(x, |r| ((8.312_501e-3 * r + 0.041_890_33) * r + 0.166_671_16) * r + 0.499_992_3)
}

/// eˣ by Taylor's series, with a relative error below 3e-7. Held between e⁻⁸⁷ and e⁸⁸, the range of
/// normal numbers; a NaN becomes the lower end.
#[inline(always)]
pub fn exp_taylor(x: f32) -> f32 {
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    // The next term is 2e-7 of 1.
    exp_with(x, |r| (((1.0 / 720.0 * r + 1.0 / 120.0) * r + 1.0 / 24.0) * r + 1.0 / 6.0) * r + 0.5)
}

/// ln(1 + x) for x in [0, 1], with an absolute error below 2e-7; exactly 0 at 0.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    let high = ((-6.452_618e-3 * x + 0.036_084_54) * x - 0.095_322_53) * x + 0.167_647_88;
    let low = ((high * x - 0.240_730_76) * x + 0.331_798_26) * x - 0.499_874_06;
    (low * x + 0.999_996_4) * x
}

/// ln(eᵃ + eᵇ) to an absolute error below 3e-7 plus the rounding of the result; −∞ for two −∞.
#[inline(always)]
pub fn log_add_exp(a: f32, b: f32) -> f32 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    high + ln_1p(exp_minimax(low - high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(exp: impl Fn(f32) -> f32, from: f32, steps: u32) {
        for step in 0..=steps {
            let x = step as f32 * 1e-4 + from;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn the_minimax_exponential_keeps_its_bound() {
        check(exp_minimax, -80.0, 1_680_000);
        for x in [-80.1, -1e4, f32::MIN, f32::NEG_INFINITY] {
            assert!(exp_minimax(x) < 1.9e-35 && exp_minimax(x) > 0.0);
        }
    }

    #[test]
    fn taylors_exponential_keeps_its_bound() {
        check(exp_taylor, -87.0, 1_750_000);
        assert!(exp_taylor(f32::NEG_INFINITY) < 1e-37 && exp_taylor(f32::INFINITY).is_finite());
    }

    #[test]
    fn ln_1p_keeps_its_bound() {
        for step in 0..=1_000_000 {
            let x = step as f32 * 1e-6;
            let error = (f64::from(ln_1p(x)) - f64::from(x).ln_1p()).abs();
            assert!(error < 2e-7, "ln_1p({x}) is off by {error}");
        }
        assert_eq!(ln_1p(0.0), 0.0);
    }

    #[test]
    fn log_add_exp_is_stable_far_from_zero() {
        for shift in [0.0f32, -1e2, -1e4] {
            for step in 0..2000 {
                let b = shift - step as f32 * 0.05;
                let exact = f64::from(shift) + (f64::from(b) - f64::from(shift)).exp().ln_1p();
                let error = (f64::from(log_add_exp(shift, b)) - exact).abs();
                assert!(
                    error < 3e-7 + f64::from(f32::EPSILON) * exact.abs(),
                    "{shift} {b}: {error}"
                );
                assert_eq!(log_add_exp(shift, b), log_add_exp(b, shift));
            }
        }
        assert_eq!(log_add_exp(f32::NEG_INFINITY, -3.0), -3.0);
        assert_eq!(log_add_exp(f32::NEG_INFINITY, f32::NEG_INFINITY), f32::NEG_INFINITY);
    }
}

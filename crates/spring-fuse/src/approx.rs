//! exp and ln(1 + x) on `f32`, branch-free so that loops over them become vector code.
//!
//! Both are minimax polynomials after range reduction, fitted for this crate; the tests compare
//! them with `f64` over their whole domain.

/// Below this, [`exp`] stays at exp(-80) ≈ 1.8e-35: low enough to be nothing beside 1, and high
/// enough that no product here is subnormal, which is slow on many machines.
pub(crate) const EXP_FLOOR: f32 = -80.0;

/// eˣ for x ≤ 88, with a relative error below 3e-7. Below −80 (−∞ and NaN included) it is 1.8e-35,
/// not 0.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Added to a small number, 1.5 · 2²³ leaves its nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few enough bits that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > EXP_FLOOR { x } else { EXP_FLOOR };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let tail = ((8.312_501e-3 * r + 0.041_890_33) * r + 0.166_671_16) * r + 0.499_992_3;
    let power = 1.0 + (r + r * r * tail);
    // Adding n to the exponent bits multiplies by 2ⁿ.
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// ln(1 + x) for x in [0, 1], with an absolute error below 2e-7; exactly 0 at 0.
#[inline(always)]
pub(crate) fn ln_1p(x: f32) -> f32 {
    let high = ((-6.452_618e-3 * x + 0.036_084_54) * x - 0.095_322_53) * x + 0.167_647_88;
    let low = ((high * x - 0.240_730_76) * x + 0.331_798_26) * x - 0.499_874_06;
    (low * x + 0.999_996_4) * x
}

/// ln(eᵃ + eᵇ) to an absolute error below 3e-7 plus the rounding of the result; −∞ for two −∞.
#[inline(always)]
pub(crate) fn log_add_exp(a: f32, b: f32) -> f32 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    high + ln_1p(exp(low - high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_keeps_its_bound() {
        for step in 0..=1_680_000 {
            let x = step as f32 * 1e-4 - 80.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        for x in [-80.1, -1e4, f32::MIN, f32::NEG_INFINITY] {
            assert!(exp(x) < 1.9e-35 && exp(x) > 0.0);
        }
        assert_eq!(exp(0.0), 1.0);
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
                assert!(error < 3e-7 + f64::from(f32::EPSILON) * exact.abs(), "{shift} {b}: {error}");
                assert_eq!(log_add_exp(shift, b), log_add_exp(b, shift));
            }
        }
        assert_eq!(log_add_exp(f32::NEG_INFINITY, -3.0), -3.0);
        assert_eq!(log_add_exp(f32::NEG_INFINITY, f32::NEG_INFINITY), f32::NEG_INFINITY);
    }
}

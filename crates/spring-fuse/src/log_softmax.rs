//! Logits to log-probabilities.

use spring_numerics::lanes;
use spring_numerics::log_sum_exp::LogSumExp;

use crate::FuseError;

/// Log-probabilities of `logits` in nats: x − ln Σ eˣ, stable for any finite logits. A logit of −∞
/// is a token of probability 0.
///
/// # Errors
/// When the lengths differ, for NaN or +∞, and when no logit is above −∞.
///
/// ```
/// let mut log_probs = [0.0; 3];
/// spring_fuse::log_softmax(&[1000.0, 1000.0, f32::NEG_INFINITY], &mut log_probs)?;
/// assert!((log_probs[0] - 0.5f32.ln()).abs() < 1e-6 && log_probs[2] == f32::NEG_INFINITY);
/// # Ok::<(), spring_fuse::FuseError>(())
/// ```
pub fn log_softmax(logits: &[f32], out: &mut [f32]) -> Result<(), FuseError> {
    if out.len() != logits.len() {
        let (expected, actual) = (logits.len(), out.len());
        return Err(FuseError::LengthMismatch { what: "out", expected, actual });
    }
    sum_of("logits", logits)?.subtract_into(logits, out);
    Ok(())
}

/// [`log_softmax`] in place.
pub(crate) fn normalize(what: &'static str, values: &mut [f32]) -> Result<(), FuseError> {
    sum_of(what, values)?.subtract(values);
    Ok(())
}

fn sum_of(what: &'static str, values: &[f32]) -> Result<LogSumExp, FuseError> {
    let sum = LogSumExp::of(values);
    checked_highest(what, values, sum.highest)?;
    Ok(sum)
}

/// The highest of `values`, which must hold neither NaN nor +∞, and something above −∞.
pub(crate) fn highest(what: &'static str, values: &[f32]) -> Result<f32, FuseError> {
    checked_highest(what, values, lanes::highest(values))
}

fn checked_highest(what: &'static str, values: &[f32], highest: f32) -> Result<f32, FuseError> {
    if highest.is_nan() || highest == f32::INFINITY {
        Err(not_finite(what, values))
    } else if highest == f32::NEG_INFINITY {
        Err(FuseError::NoMass(what))
    } else {
        Ok(highest)
    }
}

/// The error for the first NaN or +∞ of `values`.
fn not_finite(what: &'static str, values: &[f32]) -> FuseError {
    let unusable = |v: &f32| v.is_nan() || *v == f32::INFINITY;
    let index = values.iter().position(unusable).unwrap_or_default();
    let value = values.get(index).copied().map_or(f64::NAN, f64::from);
    FuseError::NotFinite { what, index, value }
}

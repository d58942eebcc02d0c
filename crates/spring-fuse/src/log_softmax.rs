//! Logits to log-probabilities.

use crate::FuseError;
use crate::approx::exp;
use crate::vector::{BLOCK, highest_of, max, sum, vectorized};

/// Log-probabilities of `logits` in nats: x − ln Σ eˣ, stable for any finite logits. A logit of −∞ is a token
/// of probability 0.
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
        return Err(FuseError::LengthMismatch { what: "out", expected: logits.len(), actual: out.len() });
    }
    let Mass { highest, log_sum } = Mass::of("logits", logits)?;
    subtract(logits, highest, log_sum, out);
    Ok(())
}

/// [`log_softmax`] in place.
pub(crate) fn normalize(what: &'static str, values: &mut [f32]) -> Result<(), FuseError> {
    let Mass { highest, log_sum } = Mass::of(what, values)?;
    subtract_in_place(values, highest, log_sum);
    Ok(())
}

vectorized! {
    fn subtract(values: &[f32], highest: f32, log_sum: f32, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = (value - highest) - log_sum;
        }
    }
}

vectorized! {
    fn subtract_in_place(values: &mut [f32], highest: f32, log_sum: f32) {
        for value in values {
            *value = (*value - highest) - log_sum;
        }
    }
}

/// ln Σ eˣ in two parts, which are subtracted one after the other so that large logits lose nothing.
struct Mass {
    highest: f32,
    log_sum: f32,
}

impl Mass {
    fn of(what: &'static str, values: &[f32]) -> Result<Self, FuseError> {
        let (highest, total) = highest_and_sum(values);
        let highest = checked_highest(what, values, highest)?;
        Ok(Self { highest, log_sum: total.ln() as f32 })
    }
}

vectorized! {
    /// The highest x and Σ exp(x − highest); a NaN or +∞ is returned as the highest.
    fn highest_and_sum(values: &[f32]) -> (f32, f64) {
        let (mut highest, mut total) = (f32::NEG_INFINITY, 0.0f64);
        for block in values.chunks(BLOCK) {
            let block_highest = max(block);
            if block_highest == f32::NEG_INFINITY {
                continue;
            }
            if block_highest.is_nan() || block_highest == f32::INFINITY {
                return (block_highest, total);
            }
            let block_total = f64::from(sum(block, |value| exp(value - block_highest)));
            let higher = highest.max(block_highest);
            let scale = |from: f32| f64::from(from - higher).exp();
            total = total * scale(highest) + block_total * scale(block_highest);
            highest = higher;
        }
        (highest, total)
    }
}

/// The highest of `values`, which must hold neither NaN nor +∞, and something above −∞.
pub(crate) fn highest(what: &'static str, values: &[f32]) -> Result<f32, FuseError> {
    checked_highest(what, values, highest_of(values))
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
    let index = values.iter().position(|v| v.is_nan() || *v == f32::INFINITY).unwrap_or_default();
    let value = values.get(index).copied().map_or(f64::NAN, f64::from);
    FuseError::NotFinite { what, index, value }
}

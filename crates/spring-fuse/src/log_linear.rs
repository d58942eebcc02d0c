//! The mixture of logits.

use spring_numerics::vectorized;

use crate::log_softmax::normalize;
use crate::mixture::{blame, check, copy_whole};
use crate::{FuseError, MixTrace, Mixture};

/// p ∝ Π pᵢ^wᵢ: the weighted mean of logits, normalised. A token must suit every branch that has
/// weight; what one of them excludes (−∞) is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogLinear;

impl Mixture for LogLinear {
    fn name(&self) -> &'static str {
        "logit"
    }

    fn mix(
        &mut self,
        branches: &[&[f32]],
        weights: &[f32],
        out: &mut [f32],
    ) -> Result<MixTrace, FuseError> {
        check(branches, weights, out)?;
        let trace = MixTrace::new(weights.try_into()?);
        if copy_whole(branches, weights, out)? {
            return Ok(trace);
        }
        weighted_sum(branches, weights, out);
        normalize("mixture", out).map_err(|error| blame(branches, weights, error))?;
        Ok(trace)
    }
}

/// Σ wᵢ·zᵢ over the branches with weight; a weight of 0 times −∞ counts as 0.
pub(crate) fn weighted_sum(branches: &[&[f32]], weights: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (branch, &weight) in branches.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
        add(branch, weight, out);
    }
}

vectorized! {
    fn add(values: &[f32], weight: f32, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out += weight * value;
        }
    }
}

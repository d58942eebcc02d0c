//! The mixture of probabilities.

use spring_numerics::exp::log_add_exp;
use spring_numerics::lanes::{BLOCK, max};
use spring_numerics::vectorized;

use crate::mixture::{check, copy_whole, unusable};
use crate::{FuseError, MixTrace, Mixture};

/// p = Σ wᵢ pᵢ, computed as logarithms throughout, so that log-probabilities of −10⁴ keep their
/// precision. With two branches, the equation of SPRInG (arXiv 2601.09974): (1−λ)·p_θ(·|x) +
/// λ·p_θ(·|R, x).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probability;

impl Mixture for Probability {
    fn name(&self) -> &'static str {
        "probability"
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
        let highest = add(branches, weights, out);
        if highest < f32::INFINITY && highest > f32::NEG_INFINITY {
            Ok(trace)
        } else {
            Err(unusable(branches, weights))
        }
    }
}

vectorized! {
    /// Σ wᵢ pᵢ in logarithms. Returns the highest of what was read: NaN if there was a NaN.
    fn add(branches: &[&[f32]], weights: &[f32], out: &mut [f32]) -> f32 {
        let mut highest = f32::NEG_INFINITY;
        for (index, out) in out.chunks_mut(BLOCK).enumerate() {
            let range = index * BLOCK..index * BLOCK + out.len();
            let weighted = branches.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
            for (position, (branch, weight)) in weighted.enumerate() {
                let (block, log_weight) = (&branch[range.clone()], weight.ln());
                let block_highest = max(block);
                if block_highest.is_nan() {
                    return f32::NAN;
                }
                highest = highest.max(block_highest);
                let terms = out.iter_mut().zip(block);
                if position == 0 {
                    for (out, value) in terms {
                        *out = value + log_weight;
                    }
                } else {
                    for (out, value) in terms {
                        *out = log_add_exp(*out, value + log_weight);
                    }
                }
            }
        }
        highest
    }
}

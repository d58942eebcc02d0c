//! How much branches disagree.

use spring_numerics::exp::{EXP_FLOOR, exp_minimax, log_add_exp};
use spring_numerics::lanes::{BLOCK, max, sum_pairs};
use spring_numerics::vectorized;

use crate::FuseError;
use crate::mixture::unusable;

/// Jensen-Shannon divergence of `branches`, equally weighted, in nats: (1/n) Σᵢ KL(pᵢ ‖ mean), from
/// 0 (equal) to ln n (no token in common), to an absolute error of about 1e-6. `branches` are
/// log-probabilities over the same vocabulary.
///
/// # Errors
/// For fewer than 2 or more than [`MAX_BRANCHES`](crate::MAX_BRANCHES) branches, lengths that
/// differ, NaN and +∞.
pub fn jensen_shannon(branches: &[&[f32]]) -> Result<f32, FuseError> {
    let count = branches.len();
    let Some((first, others)) =
        branches.split_first().filter(|_| (2..=crate::MAX_BRANCHES).contains(&count))
    else {
        return Err(FuseError::BranchCount(count));
    };
    for branch in others {
        if branch.len() != first.len() {
            let (expected, actual) = (first.len(), branch.len());
            return Err(FuseError::LengthMismatch { what: "a branch", expected, actual });
        }
    }
    let log_count = (count as f32).ln();
    let (sum, highest) = sum_of_entropies(branches, first.len(), log_count);
    if highest < f32::INFINITY && highest > f32::NEG_INFINITY {
        Ok(((sum / count as f64) as f32).clamp(0.0, log_count))
    } else {
        Err(unusable(branches, &[1.0; crate::MAX_BRANCHES]))
    }
}

vectorized! {
    /// Σᵢ KL(pᵢ ‖ mean), and the highest of what was read: NaN if there was a NaN.
    fn sum_of_entropies(branches: &[&[f32]], vocabulary: usize, log_count: f32) -> (f64, f32) {
        let mut log_mean = [0.0f32; BLOCK];
        let (mut total, mut highest) = (0.0f64, f32::NEG_INFINITY);
        for start in (0..vocabulary).step_by(BLOCK) {
            let range = start..vocabulary.min(start + BLOCK);
            let log_mean = &mut log_mean[..range.len()];
            for (index, branch) in branches.iter().enumerate() {
                let block = &branch[range.clone()];
                let block_highest = max(block);
                if block_highest.is_nan() {
                    return (0.0, f32::NAN);
                }
                highest = highest.max(block_highest);
                let terms = log_mean.iter_mut().zip(block);
                if index == 0 {
                    for (mean, value) in terms {
                        *mean = value - log_count;
                    }
                } else {
                    for (mean, value) in terms {
                        *mean = log_add_exp(*mean, value - log_count);
                    }
                }
            }
            for branch in branches {
                total += f64::from(sum_pairs(&branch[range.clone()], log_mean, relative_entropy));
            }
        }
        (total, highest)
    }
}

/// p (ln p − ln q) from log-probabilities.
#[inline(always)]
fn relative_entropy(log_p: f32, log_q: f32) -> f32 {
    // Below the floor a term is next to nothing; this keeps 0 · ∞ out.
    let log_p = if log_p > EXP_FLOOR { log_p } else { EXP_FLOOR };
    let log_q = if log_q > EXP_FLOOR { log_q } else { EXP_FLOOR };
    exp_minimax(if log_p < 0.0 { log_p } else { 0.0 }) * (log_p - log_q)
}

//! The contrast of what retrieval adds.

use spring_numerics::setters;
use spring_numerics::setting::{SettingError, in_range};

use crate::contrast::contrast;
use crate::log_linear::weighted_sum;
use crate::log_softmax::{highest, normalize};
use crate::mixture::{blame, check, copy_whole};
use crate::{FuseError, MixTrace, Mixture, PerBranch};

/// z = (1+β)·z₁ − β·z₀, normalised, over the plausible tokens: what retrieval adds is pushed
/// further, as in context-aware decoding (Shi et al., arXiv 2305.14739).
///
/// z₁ is branch 1, or with more branches the log-linear mean of all but branch 0 by their weights;
/// z₀ is branch 0. Plausible are the tokens with p₁ ≥ plausibility · max p₁ (Li et al., arXiv
/// 2210.15097); the others get −∞. Without that, a token that both find absurd could win by being a
/// little less absurd.
///
/// Weights between 0 and 1 do not change the strength, which is β alone; where one branch has all
/// the weight, it is copied as everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Contrastive {
    /// Strength of the contrast, finite and ≥ 0; 0 leaves z₁.
    pub beta: f32,
    /// Share of the likeliest token's probability under z₁ that a token needs, in (0, 1].
    pub plausibility: f32,
}

impl Default for Contrastive {
    /// β 0.5, plausibility 0.1.
    fn default() -> Self {
        Self { beta: 0.5, plausibility: 0.1 }
    }
}

impl Contrastive {
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        in_range("beta", self.beta, 0.0..=f32::MAX / 1e6, "a number >= 0")?;
        in_range(
            "plausibility",
            self.plausibility,
            f32::MIN_POSITIVE..=1.0,
            "above 0 and at most 1",
        )
    }
}

setters! {
    Contrastive {
        with_beta(beta: f32);
        with_plausibility(plausibility: f32);
    }
}

impl Mixture for Contrastive {
    fn name(&self) -> &'static str {
        "contrastive"
    }

    fn mix(
        &mut self,
        branches: &[&[f32]],
        weights: &[f32],
        out: &mut [f32],
    ) -> Result<MixTrace, FuseError> {
        self.check()?;
        check(branches, weights, out)?;
        let trace = MixTrace::new(weights.try_into()?);
        if copy_whole(branches, weights, out)? {
            return Ok(trace);
        }
        let (without, with) = (branches[0], &branches[1..]);
        highest("a branch", without)?;
        let retrieval: f32 = weights[1..].iter().sum();
        let shares = PerBranch::from_fn(with.len(), |index| weights[index + 1] / retrieval);
        weighted_sum(with, &shares, out);
        let likeliest = highest("mixture", out).map_err(|error| blame(with, &shares, error))?;
        let (beta, plausible) = (self.beta, likeliest + self.plausibility.ln());
        contrast(without, beta, plausible, out);
        normalize("mixture", out)?;
        Ok(trace)
    }
}

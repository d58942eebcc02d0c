//! The trait of all mixtures, their configuration, and the record of one step.

use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, chosen_by_name, setters};

use crate::divergence::jensen_shannon;
use crate::log_softmax::highest;
use crate::{Contrast, Contrastive, FuseError, Lambda, LogLinear, PerBranch, Probability};

/// Makes one next-token distribution out of several.
pub trait Mixture: Send + Sync {
    /// The name that picks it in a configuration.
    fn name(&self) -> &'static str;

    /// Writes the mixed log-probabilities to `out`, in nats.
    ///
    /// `branches` holds the log-probabilities of each branch over the same vocabulary, as
    /// [`log_softmax`] makes them; −∞ is probability 0. By convention branch 0 is the one without
    /// retrieval. `weights` has one share per branch: all ≥ 0, sum 1; [`Lambda::weights`] makes
    /// them. Where one branch has all the weight, `out` is that branch bit for bit.
    ///
    /// # Errors
    /// For fewer than 2 or more than [`MAX_BRANCHES`] branches, lengths that differ, weights that
    /// are not shares, NaN or +∞ in a branch that has weight, and when no token is left with a
    /// probability above 0.
    ///
    /// [`log_softmax`]: crate::log_softmax
    /// [`MAX_BRANCHES`]: crate::MAX_BRANCHES
    fn mix(
        &mut self,
        branches: &[&[f32]],
        weights: &[f32],
        out: &mut [f32],
    ) -> Result<MixTrace, FuseError>;
}

/// How one token's distribution came about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MixTrace {
    /// The weight of each branch in this step.
    pub weights: PerBranch,
    /// Jensen-Shannon divergence of the branches, equally weighted, in nats: 0 where they agree, ln
    /// n where they exclude each other. `None` where the configuration does not ask for it. A
    /// branch without weight that is not a distribution is left out.
    pub divergence: Option<f32>,
}

impl MixTrace {
    /// With these weights, and no divergence measured.
    pub fn new(weights: PerBranch) -> Self {
        Self { weights, divergence: None }
    }

    /// How much of the token's probability came from each branch: wᵢ pᵢ(token) / Σⱼ wⱼ pⱼ(token),
    /// adding up to 1.
    ///
    /// An exact account for the probability mixture; for the others, which do not add
    /// probabilities, the share of support that each branch gave the token. `branches` are those
    /// that were mixed.
    ///
    /// # Errors
    /// For a token outside the vocabulary, another number of branches, and when no branch gives the
    /// token any probability.
    pub fn shares(&self, branches: &[&[f32]], token: u32) -> Result<PerBranch, FuseError> {
        if branches.len() != self.weights.len() {
            let (expected, actual) = (self.weights.len(), branches.len());
            return Err(FuseError::LengthMismatch { what: "branches", expected, actual });
        }
        let mut support = [f64::NEG_INFINITY; crate::MAX_BRANCHES];
        for ((support, branch), &weight) in
            support.iter_mut().zip(branches).zip(self.weights.iter())
        {
            let log_prob = branch
                .get(token as usize)
                .ok_or(FuseError::UnknownToken { token, vocabulary: branch.len() })?;
            if weight > 0.0 {
                *support = f64::from(weight).ln() + f64::from(*log_prob);
            }
        }
        let highest = support.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !highest.is_finite() {
            return Err(FuseError::NoMass("shares"));
        }
        let total: f64 = support.iter().map(|support| (support - highest).exp()).sum();
        Ok(PerBranch::from_fn(branches.len(), |index| {
            ((support[index] - highest).exp() / total) as f32
        }))
    }
}

/// In which space branches are mixed: the bare name, or a table with `kind`. Unknown keys are
/// errors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub enum Space {
    /// [`Probability`], the paper's and the default.
    Probability {},
    /// [`LogLinear`].
    Logit {},
    /// [`Contrastive`].
    Contrastive {
        /// ≥ 0; 0.5 unless given.
        #[serde(default = "default_beta")]
        beta: f32,
        /// In (0, 1]; 0.1 unless given.
        #[serde(default = "default_plausibility")]
        plausibility: f32,
    },
}

chosen_by_name!(Space, "mixture space");

impl Default for Space {
    fn default() -> Self {
        Self::Probability {}
    }
}

fn default_beta() -> f32 {
    Contrastive::default().beta
}

fn default_plausibility() -> f32 {
    Contrastive::default().plausibility
}

/// Which mixture, with which λ.
///
/// ```
/// use spring_fuse::{Lambda, MixtureConfig, Space};
/// let config: MixtureConfig = serde_json::from_str(r#"{"space": "logit", "lambda": 0.3}"#)?;
/// let same = MixtureConfig::default().with_space(Space::Logit {}).with_lambda(Lambda::Fixed(0.3));
/// assert_eq!(config, same);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MixtureConfig {
    /// `probability` unless given.
    pub space: Space,
    /// The weight of retrieval, 0.5 unless given.
    pub lambda: Lambda,
    /// Pushes further what the person's adapter adds to the base: branch 0, before it is mixed.
    /// Nothing unless given.
    ///
    /// Of the branches it is that one alone, since the base is its like: the same context, without
    /// the adapter. The contrast of the mixture would also push further what retrieval adds, which
    /// is the contrastive space's, and λ = 1 would not be the retrieval branch any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast: Option<Contrast>,
    /// Whether the trace has the branches' divergence where λ does not need it; off unless given,
    /// as it costs more than the mixture.
    pub trace_divergence: bool,
}

setters! {
    MixtureConfig {
        with_space(space: Space);
        with_lambda(lambda: Lambda);
        with_contrast(contrast: Option<Contrast>);
        with_trace_divergence(trace_divergence: bool);
    }
}

impl MixtureConfig {
    /// The contrast of branch 0 with the base, unless it would change nothing.
    pub fn contrasting(&self) -> Option<Contrast> {
        self.contrast.filter(Contrast::is_on)
    }

    /// The mixture of the branches. For its `weights` call [`Lambda::weights`] once per query. The
    /// [`contrast`](Self::contrast) of branch 0 is not part of it: [`Contrast::apply`] comes
    /// before.
    ///
    /// # Errors
    /// For settings out of their range, and for a contrastive space with a λ that is not fixed, as
    /// its strength is β, which no λ changes, or with a contrast of branch 0, which it takes away.
    pub fn init(&self) -> Result<Box<dyn Mixture>, SettingError> {
        self.lambda.check()?;
        if let Some(contrast) = &self.contrast {
            contrast.check().map_err(|error| error.within("contrast"))?;
        }
        let mixture: Box<dyn Mixture> = match self.space {
            Space::Probability {} => Box::new(Probability),
            Space::Logit {} => Box::new(LogLinear),
            Space::Contrastive { beta, plausibility } => {
                let name = match self.lambda {
                    Lambda::Fixed(_) => None,
                    Lambda::Gate { .. } => Some("gate"),
                    Lambda::Divergence { .. } => Some("divergence"),
                    Lambda::Calibrated { .. } => Some("calibrated"),
                };
                if let Some(name) = name {
                    let allowed = "a fixed number in the contrastive space, whose strength is beta";
                    return Err(SettingError::new("lambda", name, allowed));
                }
                if let Some(contrast) = self.contrasting() {
                    let allowed = "0 or left out in the contrastive space, which takes away the \
                                   branch that the contrast with the base strengthens";
                    return Err(SettingError::new("contrast.weight", contrast.weight, allowed));
                }
                let contrastive = Contrastive { beta, plausibility };
                contrastive.check().map_err(|error| error.within("space"))?;
                Box::new(contrastive)
            }
        };
        match self.lambda {
            Lambda::Divergence { .. } => {
                Ok(Box::new(Diverging { mixture, lambda: Some(self.lambda) }))
            }
            _ if self.trace_divergence => Ok(Box::new(Diverging { mixture, lambda: None })),
            _ => Ok(mixture),
        }
    }
}

/// Measures the divergence of the branches first, and moves the weights by it if λ says so.
struct Diverging {
    mixture: Box<dyn Mixture>,
    lambda: Option<Lambda>,
}

impl Mixture for Diverging {
    fn name(&self) -> &'static str {
        self.mixture.name()
    }

    fn mix(
        &mut self,
        branches: &[&[f32]],
        weights: &[f32],
        out: &mut [f32],
    ) -> Result<MixTrace, FuseError> {
        check(branches, weights, out)?;
        let measured = measure(branches, weights);
        let moved = match (self.lambda, measured) {
            (Some(lambda), Some((divergence, among))) if whole(weights).is_none() => {
                lambda.at_divergence(divergence / (among as f32).ln(), weights)
            }
            _ => weights.try_into()?,
        };
        let trace = self.mixture.mix(branches, &moved, out)?;
        Ok(MixTrace { divergence: measured.map(|(divergence, _)| divergence), ..trace })
    }
}

/// The divergence, and the number of branches that it is of: all of them or, where one without
/// weight is not a distribution, those with weight. `None` where that leaves fewer than two, or
/// where one with weight is not a distribution either, which the mixture then refuses by name.
fn measure(branches: &[&[f32]], weights: &[f32]) -> Option<(f32, usize)> {
    if let Ok(divergence) = jensen_shannon(branches) {
        return Some((divergence, branches.len()));
    }
    let mut weighted = [&[][..]; crate::MAX_BRANCHES];
    let mut count = 0;
    for (branch, _) in branches.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
        weighted[count] = *branch;
        count += 1;
    }
    jensen_shannon(&weighted[..count]).ok().map(|divergence| (divergence, count))
}

/// The branch that has all the weight.
pub(crate) fn whole(weights: &[f32]) -> Option<usize> {
    let mut weighted = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
    weighted.next().filter(|_| weighted.next().is_none()).map(|(index, _)| index)
}

/// Checks what every mixture asks of its arguments but the values in the branches.
pub(crate) fn check(branches: &[&[f32]], weights: &[f32], out: &[f32]) -> Result<(), FuseError> {
    if !(2..=crate::MAX_BRANCHES).contains(&branches.len()) {
        return Err(FuseError::BranchCount(branches.len()));
    }
    let same = |what, actual, expected| {
        if actual == expected {
            Ok(())
        } else {
            Err(FuseError::LengthMismatch { what, expected, actual })
        }
    };
    same("weights", weights.len(), branches.len())?;
    branches.iter().try_for_each(|branch| same("a branch", branch.len(), out.len()))?;
    let sum: f32 = weights.iter().sum();
    // A NaN fails both comparisons.
    if weights.iter().all(|&weight| weight >= 0.0) && (sum - 1.0).abs() <= 1e-4 {
        Ok(())
    } else {
        Err(FuseError::InvalidWeights { weights: weights.to_vec() })
    }
}

/// Copies the branch that has all the weight, if one has.
pub(crate) fn copy_whole(
    branches: &[&[f32]],
    weights: &[f32],
    out: &mut [f32],
) -> Result<bool, FuseError> {
    let Some(index) = whole(weights) else { return Ok(false) };
    highest("a branch", branches[index])?;
    out.copy_from_slice(branches[index]);
    Ok(true)
}

/// What is wrong with branches of which something is.
pub(crate) fn unusable(branches: &[&[f32]], weights: &[f32]) -> FuseError {
    let weighted = branches.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
    let errors = weighted.filter_map(|(branch, _)| highest("a branch", branch).err());
    let mut not_finite = errors.filter(|error| matches!(error, FuseError::NotFinite { .. }));
    not_finite.next().unwrap_or(FuseError::NoMass("mixture"))
}

/// Names the branch's value that made a NaN or an infinity in the mixture.
pub(crate) fn blame(branches: &[&[f32]], weights: &[f32], error: FuseError) -> FuseError {
    if matches!(error, FuseError::NotFinite { .. }) { unusable(branches, weights) } else { error }
}

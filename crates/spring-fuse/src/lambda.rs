//! λ, the weight of retrieval: fixed, per query or per token.

use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, chosen_by_name, setting::in_range};

use crate::{Calibration, FuseError, GateDecision, PerBranch, gate::MIN_TEXTS};

/// Where λ comes from. In a file: a number for a fixed one, a bare name, or a table with `kind`.
/// Unknown keys are errors.
///
/// ```
/// use spring_fuse::Lambda;
/// let lambda: Lambda = serde_json::from_str(r#"{"kind": "gate", "low": 0.1}"#)?;
/// assert_eq!(lambda, Lambda::Gate { low: 0.1, high: 0.75 });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Spelling", into = "Spelling")]
#[non_exhaustive]
pub enum Lambda {
    /// The same for every token, in [0, 1]. The paper's 0.5 is the default.
    Fixed(f32),
    /// One per query, from how clearly the gate opened: λ = low + (high − low) · m / (m + σ), with
    /// m the gate's margin and σ its threshold (0 if negative). m / (m + σ) is the part of the best
    /// score that lies above the threshold: 0 for a score that just reaches it, towards 1 for one
    /// that dwarfs it, whatever the scale of the scores. A gate without a threshold gives the
    /// middle, (low + high) / 2.
    Gate {
        /// λ at a margin of 0, in [0, 1]; 0.25 unless given.
        low: f32,
        /// The limit for large margins, in [0, 1]; 0.75 unless given.
        high: f32,
    },
    /// One per token, from how much the branches disagree: λ = agree + (disagree − agree) · JSD /
    /// ln n, with JSD their Jensen-Shannon divergence in nats. Where they agree λ hardly matters,
    /// so what this chooses is whom to follow in a conflict: the default leans to the retrieved, as
    /// AdaCAD does (Wang et al., arXiv 2409.07394); `disagree` below `agree` distrusts it instead.
    Divergence {
        /// λ for equal branches, in [0, 1]; 0.25 unless given.
        agree: f32,
        /// λ for branches without a common token, in [0, 1]; 0.75 unless given.
        disagree: f32,
    },
    /// One per query, calibrated by use: the λ with the highest expected gain for the best score,
    /// by what was measured for texts of the past. [`Lambda::informed`] puts it into the decision.
    Calibrated {
        /// λ while too few gains were measured, in [0, 1]; 0.5 unless given.
        otherwise: f32,
    },
}

impl Default for Lambda {
    fn default() -> Self {
        Self::Fixed(0.5)
    }
}

impl Lambda {
    /// Weights for a query with `branches` branches: 1 − λ for branch 0 (without retrieval), and λ
    /// shared equally by the others. `decision` is the gate's, where there was one; a closed gate
    /// gives branch 0 everything.
    ///
    /// For [`Lambda::Divergence`] these are where each token starts from, at λ = (agree + disagree)
    /// / 2; the mixture moves them.
    ///
    /// # Errors
    /// For settings outside [0, 1] and a number of branches that no mixture takes.
    pub fn weights(
        &self,
        branches: usize,
        decision: Option<&GateDecision>,
    ) -> Result<PerBranch, FuseError> {
        self.check()?;
        if !(2..=crate::MAX_BRANCHES).contains(&branches) {
            return Err(FuseError::BranchCount(branches));
        }
        let lambda = match (*self, decision) {
            (_, Some(decision)) if !decision.open => 0.0,
            (Self::Fixed(lambda), _) => lambda,
            (Self::Gate { low, high }, decision) => low + (high - low) * clearness(decision),
            (Self::Divergence { agree, disagree }, _) => (agree + disagree) / 2.0,
            (Self::Calibrated { otherwise }, decision) => {
                let chosen = decision.and_then(|decision| decision.lambda);
                // A decision is a caller's, and may come from a file.
                let chosen = chosen.map(|lambda| lambda as f32);
                chosen.filter(|lambda| (0.0..=1.0).contains(lambda)).unwrap_or(otherwise)
            }
        };
        Ok(shared(branches, lambda, |_| 1.0 / (branches - 1) as f32))
    }

    /// The gate's decision with the λ of the highest expected gain, where this λ is calibrated by
    /// use, the gate is open, and it has not chosen one itself; `best` is the best score. Without
    /// gains of at least 8 texts the decision stays as it is.
    #[must_use]
    pub fn informed(
        &self,
        decision: GateDecision,
        best: Option<f64>,
        calibration: &Calibration,
    ) -> GateDecision {
        let is_asked = matches!(self, Self::Calibrated { .. }) && decision.open;
        let best = best.filter(|_| is_asked && decision.lambda.is_none());
        match best.and_then(|best| calibration.expected_gain(best, MIN_TEXTS)) {
            Some(expected) => {
                let reason = format!(
                    "{}; expected to gain {:.4} nats per token at λ {:.2}",
                    decision.reason, expected.nats, expected.lambda
                );
                GateDecision { reason, ..decision }.expecting(expected)
            }
            None => decision,
        }
    }

    /// The weights of one token, from its divergence as a part of the largest possible, ln n; those
    /// of the retrieval branches keep their proportions.
    pub(crate) fn at_divergence(&self, divergence: f32, weights: &[f32]) -> PerBranch {
        let Self::Divergence { agree, disagree } = *self else {
            return PerBranch::from_fn(weights.len(), |index| weights[index]);
        };
        let lambda = agree + (disagree - agree) * divergence;
        let retrieval: f32 = weights[1..].iter().sum();
        shared(weights.len(), lambda.clamp(0.0, 1.0), |index| weights[index] / retrieval)
    }

    /// Refuses settings outside [0, 1].
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        let settings = match *self {
            Self::Fixed(lambda) => [("lambda", lambda), ("lambda", lambda)],
            Self::Gate { low, high } => [("lambda.low", low), ("lambda.high", high)],
            Self::Divergence { agree, disagree } => {
                [("lambda.agree", agree), ("lambda.disagree", disagree)]
            }
            Self::Calibrated { otherwise } => {
                [("lambda.otherwise", otherwise), ("lambda.otherwise", otherwise)]
            }
        };
        settings
            .into_iter()
            .try_for_each(|(name, value)| in_range(name, value, 0.0..=1.0, "between 0 and 1"))
    }
}

/// m / (m + σ) in [0, 1]; one half where there is no threshold to compare with.
fn clearness(decision: Option<&GateDecision>) -> f32 {
    match decision.and_then(|decision| decision.margin.zip(decision.threshold)) {
        Some((margin, threshold)) if margin > 0.0 => {
            (margin / (margin + threshold.max(0.0))) as f32
        }
        Some(_) => 0.0,
        None => 0.5,
    }
}

fn shared(branches: usize, lambda: f32, share: impl Fn(usize) -> f32) -> PerBranch {
    PerBranch::from_fn(
        branches,
        |index| if index == 0 { 1.0 - lambda } else { lambda * share(index) },
    )
}

/// How λ is written in a file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
enum Spelling {
    Fixed {
        value: f32,
    },
    Gate {
        #[serde(default = "low")]
        low: f32,
        #[serde(default = "high")]
        high: f32,
    },
    Divergence {
        #[serde(default = "low")]
        agree: f32,
        #[serde(default = "high")]
        disagree: f32,
    },
    Calibrated {
        #[serde(default = "middle")]
        otherwise: f32,
    },
}

chosen_by_name!(Spelling, "lambda", number: |value: f64| Spelling::Fixed { value: value as f32 });

fn low() -> f32 {
    0.25
}

fn middle() -> f32 {
    0.5
}

fn high() -> f32 {
    0.75
}

impl From<Spelling> for Lambda {
    fn from(spelling: Spelling) -> Self {
        match spelling {
            Spelling::Fixed { value } => Self::Fixed(value),
            Spelling::Gate { low, high } => Self::Gate { low, high },
            Spelling::Divergence { agree, disagree } => Self::Divergence { agree, disagree },
            Spelling::Calibrated { otherwise } => Self::Calibrated { otherwise },
        }
    }
}

impl From<Lambda> for Spelling {
    fn from(lambda: Lambda) -> Self {
        match lambda {
            Lambda::Fixed(value) => Self::Fixed { value },
            Lambda::Gate { low, high } => Self::Gate { low, high },
            Lambda::Divergence { agree, disagree } => Self::Divergence { agree, disagree },
            Lambda::Calibrated { otherwise } => Self::Calibrated { otherwise },
        }
    }
}

impl std::str::FromStr for Lambda {
    type Err = SettingError;

    /// A number for a fixed λ, or the name of a policy.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        text.parse().map(Self::Fixed).or_else(|_| text.parse::<Spelling>().map(Self::from))
    }
}

//! The trait of all scorers, and the configuration that picks one by name.

use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, chosen_by_name};

use crate::{
    Alpha, DriftError, DriftScore, Lookahead, LossOnly, NoveltyOnly, Observation, QualityOnly,
    Random, Recency, Spring, Standardize,
};

/// Turns log-likelihoods into scores: the higher, the more worth learning from.
pub trait DriftScorer: Send + Sync {
    /// The name that picks it in a configuration.
    fn name(&self) -> &'static str;

    /// One score per observation, in the order of `observations`, which are those of one period.
    /// Every scorer fills in the novelty and quality as they are.
    ///
    /// # Errors
    /// [`DriftError::NotFinite`] for NaN or infinite input.
    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError>;
}

/// Which scorer, and its settings: the bare name, or a table with `kind`. Unknown keys are errors.
///
/// ```
/// use spring_drift::{DriftScorer, ScorerConfig};
/// let config: ScorerConfig = serde_json::from_str(r#"{"kind": "spring", "alpha": "inf"}"#)?;
/// assert_eq!(config.init()?.name(), "spring");
/// assert_eq!("recency".parse(), Ok(ScorerConfig::Recency {}));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub enum ScorerConfig {
    /// [`Spring`], the paper's; the default.
    Spring {
        /// Weight of quality, 0.5 unless given.
        #[serde(default)]
        alpha: Alpha,
        /// `none` unless given.
        #[serde(default)]
        standardize: Standardize,
    },
    /// [`LossOnly`].
    Loss {},
    /// [`NoveltyOnly`].
    Novelty {},
    /// [`QualityOnly`].
    Quality {},
    /// [`Recency`].
    Recency {},
    /// [`Random`].
    Random {
        /// 0 unless given.
        #[serde(default)]
        seed: u64,
    },
    /// [`Lookahead`]. Whoever makes the observations measures it as these settings say.
    Lookahead {
        /// Steps of training on the text alone, at the configured learning rate: 1 to 16, 1 unless
        /// given.
        #[serde(default = "steps")]
        steps: usize,
        /// How many of the person's latest other texts of the period the gain is a mean over: 1 to
        /// 64, 4 unless given.
        #[serde(default = "recent")]
        recent: usize,
    },
}

fn steps() -> usize {
    Lookahead::STEPS
}

fn recent() -> usize {
    Lookahead::RECENT
}

chosen_by_name!(ScorerConfig, "scorer");

impl Default for ScorerConfig {
    fn default() -> Self {
        Self::Spring { alpha: Alpha::default(), standardize: Standardize::default() }
    }
}

impl ScorerConfig {
    /// The scorer.
    ///
    /// # Errors
    /// For settings out of their range.
    pub fn init(&self) -> Result<Box<dyn DriftScorer>, SettingError> {
        Ok(match *self {
            Self::Spring { alpha, standardize } => Box::new(Spring { alpha, standardize }),
            Self::Loss {} => Box::new(LossOnly),
            Self::Novelty {} => Box::new(NoveltyOnly),
            Self::Quality {} => Box::new(QualityOnly),
            Self::Recency {} => Box::new(Recency),
            Self::Random { seed } => Box::new(Random { seed }),
            Self::Lookahead { steps, recent } => {
                Lookahead::check(steps, recent)?;
                Box::new(Lookahead)
            }
        })
    }

    /// The name that chooses it in a configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Spring { .. } => "spring",
            Self::Loss {} => "loss",
            Self::Novelty {} => "novelty",
            Self::Quality {} => "quality",
            Self::Recency {} => "recency",
            Self::Random { .. } => "random",
            Self::Lookahead { .. } => "lookahead",
        }
    }
}

/// Scores each observation by itself, after checking it.
pub(crate) fn score_each(
    observations: &[Observation],
    score: impl Fn(&Observation) -> f64,
) -> Result<Vec<DriftScore>, DriftError> {
    let each = |(index, observation): (usize, &Observation)| {
        observation.check(index)?;
        let (novelty, quality) = (observation.novelty(), observation.quality());
        let scored = DriftScore { novelty, quality, score: score(observation) };
        scored.check(index).map(|()| scored)
    };
    observations.iter().enumerate().map(each).collect()
}

//! What can be wrong with the input or a setting.

use spring_numerics::SettingError;
use thiserror::Error;

/// Why no score, selection or statistic could be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum DriftError {
    /// A NaN or an infinity in the input, or a sum of finite inputs that overflows.
    #[error(
        "item {index}: {field} is {value}; give finite numbers only, and leave out what could not \
         be scored"
    )]
    NotFinite {
        /// Position in the slice that was passed, from 0.
        index: usize,
        /// Which number: `base`, `adapter`, `population`, `lookahead`, `novelty`, `quality` or
        /// `score`.
        field: &'static str,
        /// What it was.
        value: f64,
    },
    /// A scorer by what a text teaches, and an observation without that measurement.
    #[error(
        "item {index}: what learning from it gains was not measured; measure it for every item, \
         or choose a scorer that needs likelihoods alone"
    )]
    NoLookahead {
        /// Position in the slice that was passed, from 0.
        index: usize,
    },
    /// Scores and observations do not pair up.
    #[error(
        "{scores} scores for {observations} observations; pass one score per observation, in the \
         same order"
    )]
    LengthMismatch {
        /// Number of scores passed.
        scores: usize,
        /// Number of observations passed.
        observations: usize,
    },
    /// A setting that is out of range, or a name that no scorer, selection or detector has.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

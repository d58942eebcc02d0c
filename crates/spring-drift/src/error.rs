//! What can be wrong with the input or a setting.

use thiserror::Error;

/// Why no score, selection or statistic could be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum DriftError {
    /// A NaN or an infinity in the input, or a sum of finite inputs that overflows.
    #[error(
        "item {index}: {field} is {value}; give finite numbers only, and leave out what could not be scored"
    )]
    NotFinite {
        /// Position in the slice that was passed, from 0.
        index: usize,
        /// Which number: `base`, `adapter`, `novelty`, `quality` or `score`.
        field: &'static str,
        /// What it was.
        value: f64,
    },
    /// Scores and observations do not pair up.
    #[error(
        "{scores} scores for {observations} observations; pass one score per observation, in the same order"
    )]
    LengthMismatch {
        /// Number of scores passed.
        scores: usize,
        /// Number of observations passed.
        observations: usize,
    },
    /// A setting outside its range.
    #[error("{setting} = {value}: it must be {expected}")]
    InvalidSetting {
        /// The setting's name as the configuration spells it.
        setting: &'static str,
        /// What it was.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A name that no scorer, selection or detector has.
    #[error("{0}")]
    UnknownName(String),
}

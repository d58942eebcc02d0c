//! What can be wrong with the input or a setting.

use thiserror::Error;

/// Why no decision, mixture or token could be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum FuseError {
    /// Two slices that belong together differ in length.
    #[error("{what} has {actual} entries and needs {expected}")]
    LengthMismatch {
        /// Which slice.
        what: &'static str,
        /// The length it must have.
        expected: usize,
        /// The length it has.
        actual: usize,
    },
    /// Too few or too many branches.
    #[error("{0} branches: a mixture takes 2 to {max}; with one branch there is nothing to mix", max = crate::MAX_BRANCHES)]
    BranchCount(usize),
    /// A NaN or a positive infinity. Negative infinity stands for probability 0 and is fine.
    #[error("{what}[{index}] is {value}; only finite numbers and -inf (probability 0) can be used")]
    NotFinite {
        /// Which slice.
        what: &'static str,
        /// Position in it, from 0.
        index: usize,
        /// What it was.
        value: f64,
    },
    /// Every token has probability 0.
    #[error("{0}: every token has probability 0, so there is nothing to choose from")]
    NoMass(&'static str),
    /// Weights that are not shares of one whole.
    #[error("weights {weights:?}: they must be >= 0 and add up to 1")]
    InvalidWeights {
        /// What they were.
        weights: Vec<f32>,
    },
    /// A token id beyond the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocabulary} tokens")]
    UnknownToken {
        /// The id.
        token: u32,
        /// Length of the slice of log-probabilities.
        vocabulary: usize,
    },
    /// A setting outside its range.
    #[error("{setting} = {value}: it must be {expected}")]
    InvalidSetting {
        /// The setting's name as the configuration spells it.
        setting: &'static str,
        /// What it was.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// Settings that are each fine but not together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A quantile of no numbers.
    #[error("the calibration sample is empty, so it has no quantile")]
    EmptySample,
    /// A name that no gate, mixture or λ policy has.
    #[error("{0}")]
    UnknownName(String),
}

/// `Ok` if `lower <= value` and `value <= upper`; NaN is not.
pub(crate) fn in_range(
    setting: &'static str,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
    expected: &'static str,
) -> Result<(), FuseError> {
    if range.contains(&value) { Ok(()) } else { Err(FuseError::InvalidSetting { setting, value, expected }) }
}

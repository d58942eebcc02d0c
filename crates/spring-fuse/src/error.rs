//! What can be wrong with the input or a setting.

use spring_numerics::SettingError;
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
    #[error(
        "{0} branches: a mixture takes 2 to {max}; with one branch there is nothing to mix",
        max = crate::MAX_BRANCHES
    )]
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
    /// A setting that is out of range, or a name that no gate, mixture or λ policy has.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A quantile of no numbers.
    #[error("the calibration sample is empty, so it has no quantile")]
    EmptySample,
}

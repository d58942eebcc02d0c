//! α, the weight of quality against novelty.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use spring_numerics::SettingError;

/// The weight α in S = N + α·Q: a finite number ≥ 0, or infinite.
///
/// Infinite α is [`Alpha::QUALITY_ONLY`], where S = Q. It is never a factor in a float product, so
/// no `inf · 0` arises. It is written `"inf"`, in JSON, TOML and on a command line alike.
///
/// ```
/// use spring_drift::Alpha;
/// assert_eq!("inf".parse(), Ok(Alpha::QUALITY_ONLY));
/// assert_eq!(Alpha::new(0.5)?.to_string(), "0.5");
/// assert!(Alpha::new(-1.0).is_err());
/// # Ok::<(), spring_drift::SettingError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "Spelling", into = "Spelling")]
pub struct Alpha(f64);

impl Alpha {
    /// α = ∞: the score is the quality alone.
    pub const QUALITY_ONLY: Self = Self(f64::INFINITY);

    /// A finite α ≥ 0, or `f64::INFINITY` for [`Alpha::QUALITY_ONLY`].
    ///
    /// # Errors
    /// For a negative number or NaN.
    pub fn new(value: f64) -> Result<Self, SettingError> {
        // Adding 0.0 turns -0.0 into 0.0, which prints without a sign.
        if value >= 0.0 { Ok(Self(value + 0.0)) } else { Err(invalid(value)) }
    }

    /// The finite value; `None` for [`Alpha::QUALITY_ONLY`].
    pub fn finite(self) -> Option<f64> {
        self.0.is_finite().then_some(self.0)
    }

    /// N + α·Q, or Q alone when α is infinite.
    pub fn combine(self, novelty: f64, quality: f64) -> f64 {
        match self.finite() {
            Some(alpha) => novelty + alpha * quality,
            None => quality,
        }
    }
}

impl Default for Alpha {
    /// The paper's 0.5.
    fn default() -> Self {
        Self(0.5)
    }
}

impl fmt::Display for Alpha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A non-finite f64 prints as `inf`.
        self.0.fmt(f)
    }
}

impl FromStr for Alpha {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        text.trim().parse().map_err(|_| invalid(text)).and_then(Self::new)
    }
}

/// How α is written in a file: a number, or the string `"inf"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "alpha must be a number >= 0 or \"inf\"")]
enum Spelling {
    Number(f64),
    Text(String),
}

impl From<Alpha> for Spelling {
    fn from(alpha: Alpha) -> Self {
        alpha.finite().map_or_else(|| Self::Text(alpha.to_string()), Self::Number)
    }
}

impl TryFrom<Spelling> for Alpha {
    type Error = SettingError;

    fn try_from(spelling: Spelling) -> Result<Self, SettingError> {
        match spelling {
            Spelling::Number(value) => Self::new(value),
            Spelling::Text(text) if text == "inf" => Ok(Self::QUALITY_ONLY),
            Spelling::Text(text) => Err(invalid(format!("{text:?}"))),
        }
    }
}

fn invalid(value: impl fmt::Display) -> SettingError {
    SettingError::new("alpha", value, "a number >= 0 or \"inf\"")
}

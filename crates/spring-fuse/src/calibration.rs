//! The scores that a gate's threshold is calibrated on.

use serde::{Deserialize, Serialize};
use spring_numerics::setting::in_range;

use crate::FuseError;

/// For each item that could be retrieved, its best retrieval score as a query in a corpus without
/// it: what a match between two texts of this person looks like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Calibration {
    /// The scores, in any order.
    pub sample: Vec<f64>,
}

impl Calibration {
    /// Of these scores.
    pub fn new(sample: Vec<f64>) -> Self {
        Self { sample }
    }

    /// The `q` quantile by linear interpolation between the two nearest order statistics, numpy's
    /// default: position q·(n−1) of the sorted sample.
    ///
    /// # Errors
    /// For `q` outside [0, 1], an empty sample, and scores that are NaN or infinite.
    ///
    /// ```
    /// let calibration = spring_fuse::Calibration::new(vec![4.0, 1.0, 2.0]);
    /// assert_eq!(calibration.quantile(0.75), Ok(3.0));
    /// ```
    pub fn quantile(&self, q: f64) -> Result<f64, FuseError> {
        in_range("quantile", q, 0.0..=1.0, "between 0 and 1")?;
        if let Some((index, &value)) =
            self.sample.iter().enumerate().find(|(_, score)| !score.is_finite())
        {
            return Err(FuseError::NotFinite { what: "calibration", index, value });
        }
        let mut sorted = self.sample.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return Err(FuseError::EmptySample);
        };
        let position = q * last as f64;
        let below = position.floor() as usize;
        let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
        Ok(low + (high - low) * (position - below as f64))
    }
}

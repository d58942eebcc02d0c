//! What a gate is calibrated on: scores, and what reading along has gained.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use spring_numerics::setting::in_range;

use crate::{ExpectedGain, FuseError, GainCurve, Gains};

/// What matches between texts of this person look like, and what they are worth.
///
/// Written as the list of its scores where there are no gains, and else as a table of both.
///
/// ```
/// use spring_fuse::{Calibration, Gains};
/// let scores = Calibration::new(vec![1.5, 2.0]);
/// assert_eq!(serde_json::to_string(&scores)?, "[1.5,2.0]");
/// let both = scores.with_gains(Gains::new("as ever", vec![0.5], vec![]));
/// let json = serde_json::to_string(&both)?;
/// assert_eq!(serde_json::from_str::<Calibration>(&json)?, both);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Calibration {
    /// For each item that could be retrieved, its best retrieval score as a query in a corpus
    /// without it, in any order.
    pub sample: Vec<f64>,
    /// What reading along has gained; `None` where nobody measured it.
    pub gains: Option<Gains>,
}

impl From<Vec<f64>> for Calibration {
    fn from(sample: Vec<f64>) -> Self {
        Self::new(sample)
    }
}

/// How both are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both<'a> {
    scores: std::borrow::Cow<'a, [f64]>,
    gains: std::borrow::Cow<'a, Gains>,
}

impl Serialize for Calibration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.gains {
            None => self.sample.serialize(serializer),
            Some(gains) => {
                let scores = self.sample.as_slice().into();
                let gains = std::borrow::Cow::Borrowed(gains);
                Both { scores, gains }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Calibration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrTable;

        impl<'de> Visitor<'de> for ListOrTable {
            type Value = Calibration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of scores or a table of scores and gains")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Calibration, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Calibration::new)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Calibration, A::Error> {
                let Both { scores, gains } = Both::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Calibration::new(scores.into_owned()).with_gains(gains.into_owned()))
            }
        }

        deserializer.deserialize_any(ListOrTable)
    }
}

impl Calibration {
    /// Of these scores.
    pub fn new(sample: Vec<f64>) -> Self {
        Self { sample, gains: None }
    }

    /// With what reading along has gained, if it was measured.
    #[must_use]
    pub fn with_gains(self, gains: impl Into<Option<Gains>>) -> Self {
        Self { gains: gains.into(), ..self }
    }

    /// The `q` quantile of the scores by linear interpolation between the two nearest order
    /// statistics, numpy's default: position q·(n−1) of the sorted sample.
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

    /// The curve of the gains, or why there is none of at least `min_texts` texts.
    pub(crate) fn curve(&self, min_texts: usize) -> Result<GainCurve, String> {
        let Some(gains) = &self.gains else {
            return Err("no gain was measured under these settings".into());
        };
        match gains.texts.len() {
            n if n < min_texts => {
                Err(format!("{n} texts with a measured gain, and at least {min_texts} are needed"))
            }
            _ => gains.curve().map_err(|error| error.to_string()),
        }
    }

    /// What reading along is expected to gain for a best score; `None` with gains of fewer than
    /// `min_texts` texts.
    pub fn expected_gain(&self, score: f64, min_texts: usize) -> Option<ExpectedGain> {
        Some(self.curve(min_texts).ok()?.at(score)).filter(|expected| expected.nats.is_finite())
    }
}

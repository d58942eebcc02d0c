//! Whether a person is drifting, told online: text after text.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, setters, setting::in_range};

use crate::moments::Moments;
use crate::{Change, ChangeDetector, DetectorConfig, DriftError};

/// The settings of a [`DriftSignal`]. Unknown keys are errors.
///
/// ```
/// use spring_drift::{DetectorConfig, SignalConfig};
/// let config: SignalConfig = serde_json::from_str(r#"{"detector": "adwin"}"#)?;
/// assert_eq!(config, SignalConfig::default().with_detector("adwin".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SignalConfig {
    /// What sees changes. Default: `page_hinkley`.
    pub detector: DetectorConfig,
    /// Number of the latest texts that the running mean is over, ≥ 2. Default 20.
    pub window: usize,
}

impl Default for SignalConfig {
    fn default() -> Self {
        Self { detector: DetectorConfig::default(), window: 20 }
    }
}

setters! {
    SignalConfig {
        with_detector(detector: DetectorConfig);
        with_window(window: usize);
    }
}

impl SignalConfig {
    /// The signal, before the first text.
    ///
    /// # Errors
    /// As [`DriftSignal::new`].
    pub fn init(&self) -> Result<DriftSignal, SettingError> {
        DriftSignal::new(self.detector, self.window)
    }
}

/// The running mean novelty of one person with a confidence band, and whether the person is
/// drifting.
///
/// Give it the novelty of each text in the order of time, each as measured before it was learned
/// from. It keeps no history; rebuild it from stored novelties, which gives the same state.
///
/// ```
/// use spring_drift::{DetectorConfig, DriftSignal};
/// let mut signal = DriftSignal::new(DetectorConfig::default(), 20)?;
/// for step in 0..80 {
///     let wobble = if step % 2 == 0 { 0.1 } else { -0.1 };
///     let level = if step < 50 { -0.4 } else { 0.3 };
///     let reading = signal.update(level + wobble)?;
///     assert!(step >= 50 || !reading.drifting);
///     assert!(step < 60 || reading.drifting, "{}", reading.evidence);
/// }
/// # Ok::<(), spring_drift::DriftError>(())
/// ```
pub struct DriftSignal {
    detector: Box<dyn ChangeDetector>,
    window: usize,
    recent: VecDeque<f64>,
    seen: u64,
    /// The last change.
    change: Option<Change>,
}

/// The state of a [`DriftSignal`] after a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DriftReading {
    /// Texts so far.
    pub seen: u64,
    /// Mean novelty of the recent texts, nats per token.
    pub mean: f64,
    /// 95 % confidence band of that mean, lower and upper end; `None` for fewer than two texts.
    pub band: Option<(f64, f64)>,
    /// Whether novelty has risen and stays above where it came from.
    pub drifting: bool,
    /// The last change of level.
    pub change: Option<Change>,
    /// Why `drifting` is as it is, in one line.
    pub evidence: String,
}

impl DriftSignal {
    /// A signal whose mean is over the last `window` texts, or over those since the last change
    /// where they are fewer.
    ///
    /// # Errors
    /// For a window of fewer than 2 and for settings of the detector out of their range.
    pub fn new(detector: DetectorConfig, window: usize) -> Result<Self, SettingError> {
        in_range("window", window, 2.., "at least 2")?;
        let detector = detector.init().map_err(|error| error.within("detector"))?;
        Ok(Self { detector, window, recent: VecDeque::new(), seen: 0, change: None })
    }

    /// Takes the novelty of the next text.
    ///
    /// # Errors
    /// [`DriftError::NotFinite`] for NaN or an infinity, with the text's position; the state is
    /// then unchanged.
    pub fn update(&mut self, novelty: f64) -> Result<DriftReading, DriftError> {
        let change = self.detector.update(novelty)?;
        self.seen += 1;
        self.recent.push_back(novelty);
        self.change = change.or(self.change);
        let since_change = self.change.map_or(self.seen, |change| self.seen - change.since);
        while self.recent.len()
            > self.window.min(usize::try_from(since_change).unwrap_or(self.window))
        {
            self.recent.pop_front();
        }
        Ok(self.reading())
    }

    fn reading(&self) -> DriftReading {
        let recent =
            self.recent.iter().fold(Moments::default(), |sum, &value| sum.with(Moments::of(value)));
        let band = (recent.count > 1).then(|| {
            let reach = student_95(recent.count - 1)
                * (recent.sample_variance() / recent.count as f64).sqrt();
            (recent.mean - reach, recent.mean + reach)
        });
        let (drifting, evidence) = self.judge(recent.mean, band);
        DriftReading {
            seen: self.seen,
            mean: recent.mean,
            band,
            drifting,
            change: self.change,
            evidence,
        }
    }

    fn judge(&self, mean: f64, band: Option<(f64, f64)>) -> (bool, String) {
        let Some(change) = self.change else {
            let state = if self.detector.is_ready() {
                "no change of level"
            } else {
                "too few texts to tell"
            };
            return (false, format!("{state} in {} texts", self.seen));
        };
        let Change { detected, since, before, after } = change;
        let direction = if change.is_rise() { "rose" } else { "fell" };
        let story = format!(
            "novelty {direction} from {before:.3} to {after:.3} nats per token at text {since} \
             ({}, at text {detected})",
            self.detector.name()
        );
        if !change.is_rise() {
            return (false, story);
        }
        let above = band.map_or(mean, |(low, _)| low) > before;
        let now = if above { "is still above" } else { "is back near" };
        (above, format!("{story}; the recent mean {mean:.3} {now} the old level"))
    }
}

/// The 97.5 % point of Student's t distribution, exact to 1 %: from tables for few degrees of
/// freedom ν, then by the expansion in 1/ν around the normal's. Ten lines instead of a dependency
/// on statrs, which the test compares it with.
fn student_95(degrees: u64) -> f64 {
    const NORMAL: f64 = 1.959_963_985;
    match degrees {
        0 | 1 => 12.706,
        2 => 4.303,
        3 => 3.182,
        4 => 2.776,
        _ => {
            let (z, v) = (NORMAL, degrees as f64);
            z + (z.powi(3) + z) / (4.0 * v)
                + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v * v)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_t_quantile_is_that_of_statrs() {
        use statrs::distribution::{ContinuousCDF, StudentsT};

        for degrees in (1..=200).chain([500, 1000, 10_000]) {
            let exact = StudentsT::new(0.0, 1.0, degrees as f64).unwrap().inverse_cdf(0.975);
            let own = student_95(degrees);
            assert!((own / exact - 1.0).abs() < 0.01, "{degrees}: {own} instead of {exact}");
        }
    }
}

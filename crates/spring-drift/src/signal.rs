//! Whether a person is drifting, as it goes.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::moments::Moments;
use crate::{Change, ChangeDetector, DetectorConfig, DriftError};

/// The settings of a [`DriftSignal`]. Unknown keys are errors.
///
/// ```
/// use spring_drift::{DetectorConfig, SignalConfig};
/// let config: SignalConfig = serde_json::from_str(r#"{"detector": "adwin"}"#)?;
/// assert_eq!(config, SignalConfig { detector: "adwin".parse()?, window: 20 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalConfig {
    /// What sees changes. Default: `page_hinkley`.
    pub detector: DetectorConfig,
    /// The running mean is over the last so many texts, ≥ 2. Default 20.
    pub window: usize,
}

impl Default for SignalConfig {
    fn default() -> Self {
        Self { detector: DetectorConfig::default(), window: 20 }
    }
}

impl SignalConfig {
    /// The signal, before the first text.
    ///
    /// # Errors
    /// As [`DriftSignal::new`].
    pub fn init(self) -> Result<DriftSignal, DriftError> {
        DriftSignal::new(self.detector, self.window)
    }
}

/// The running mean novelty of one person with a confidence band, and whether the person is drifting.
///
/// Give it the novelty of each text in the order of time, each as measured before it was learned from. It
/// keeps no history; rebuild it from stored novelties, which gives the same state.
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
    /// A signal whose mean is over the last `window` texts, or over those since the last change where they
    /// are fewer.
    ///
    /// # Errors
    /// [`DriftError::InvalidSetting`] for a window of fewer than 2 and for settings of the detector.
    pub fn new(detector: DetectorConfig, window: usize) -> Result<Self, DriftError> {
        if window < 2 {
            let value = window.to_string();
            return Err(DriftError::InvalidSetting { setting: "window", value, expected: "at least 2" });
        }
        Ok(Self { detector: detector.init()?, window, recent: VecDeque::new(), seen: 0, change: None })
    }

    /// Takes the novelty of the next text.
    ///
    /// # Errors
    /// [`DriftError::NotFinite`] for NaN or an infinity, with the text's position; the state is then unchanged.
    pub fn update(&mut self, novelty: f64) -> Result<DriftReading, DriftError> {
        let change = self.detector.update(novelty)?;
        self.seen += 1;
        self.recent.push_back(novelty);
        self.change = change.or(self.change);
        let since_change = self.change.map_or(self.seen, |change| self.seen - change.since);
        while self.recent.len() > self.window.min(usize::try_from(since_change).unwrap_or(self.window)) {
            self.recent.pop_front();
        }
        Ok(self.reading())
    }

    fn reading(&self) -> DriftReading {
        let recent = self.recent.iter().fold(Moments::default(), |sum, &value| sum.with(Moments::of(value)));
        let band = (recent.count > 1).then(|| {
            let reach =
                student_95(recent.count - 1) * (recent.sample_variance() / recent.count as f64).sqrt();
            (recent.mean - reach, recent.mean + reach)
        });
        let (drifting, evidence) = self.judge(recent.mean, band);
        DriftReading { seen: self.seen, mean: recent.mean, band, drifting, change: self.change, evidence }
    }

    fn judge(&self, mean: f64, band: Option<(f64, f64)>) -> (bool, String) {
        let Some(change) = self.change else {
            let state = if self.detector.is_ready() { "no change of level" } else { "too few texts to tell" };
            return (false, format!("{state} in {} texts", self.seen));
        };
        let Change { detected, since, before, after } = change;
        let direction = if change.is_rise() { "rose" } else { "fell" };
        let story = format!(
            "novelty {direction} from {before:.3} to {after:.3} nats per token at text {since} ({}, at text {detected})",
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

/// The 97.5 % point of Student's t distribution, exact to 1 %: from tables for few degrees of freedom ν, then
/// by the expansion in 1/ν around the normal's.
fn student_95(degrees: u64) -> f64 {
    const NORMAL: f64 = 1.959_963_985;
    match degrees {
        0 | 1 => 12.706,
        2 => 4.303,
        3 => 3.182,
        4 => 2.776,
        _ => {
            let (z, v) = (NORMAL, degrees as f64);
            z + (z.powi(3) + z) / (4.0 * v) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v * v)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_t_quantile_is_the_tables() {
        for (degrees, table) in [
            (1, 12.706),
            (2, 4.303),
            (4, 2.776),
            (5, 2.571),
            (7, 2.365),
            (10, 2.228),
            (30, 2.042),
            (120, 1.980),
        ] {
            assert!((student_95(degrees) / table - 1.0).abs() < 0.01, "{degrees}: {}", student_95(degrees));
        }
    }
}

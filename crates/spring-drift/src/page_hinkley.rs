//! The Page-Hinkley test.

use crate::change::check_novelty;
use crate::moments::Moments;
use crate::{Change, ChangeDetector, DriftError};

/// Adds up how far values lie from the running mean, and reports a change when the sum leaves its
/// lowest point by the threshold (Page, Biometrika 1954; Hinkley, Biometrika 1971), here in both
/// directions at once.
///
/// Two changes to the classic test fit it to one person's texts, whose spread is not known
/// beforehand and which hold odd ones: values are taken in units of the running standard deviation,
/// and one value counts for at most 3 of them, so that no single text is a change. After a change
/// the new level begins with the values since it. The rill-ml crate has the classic test.
#[derive(Debug, Clone)]
pub struct PageHinkley {
    tolerance: f64,
    threshold: f64,
    warm_up: u64,
    position: u64,
    level: Moments,
    rise: Deviation,
    fall: Deviation,
}

/// The most that one value counts, in standard deviations.
const MOST: f64 = 3.0;

/// The sum above its lowest point, and the values since that point.
#[derive(Debug, Clone, Copy, Default)]
struct Deviation {
    sum: f64,
    since: Moments,
}

impl Deviation {
    fn add(&mut self, deviation: f64, value: f64) {
        self.sum += deviation;
        if self.sum > 0.0 {
            self.since = self.since.with(Moments::of(value));
        } else {
            *self = Self::default();
        }
    }
}

impl PageHinkley {
    /// See [`DetectorConfig::PageHinkley`](crate::DetectorConfig::PageHinkley) for the settings.
    pub(crate) fn new(tolerance: f64, threshold: f64, warm_up: u64) -> Self {
        let (level, rise, fall) = Default::default();
        Self { tolerance, threshold, warm_up, position: 0, level, rise, fall }
    }
}

impl ChangeDetector for PageHinkley {
    fn name(&self) -> &'static str {
        "page_hinkley"
    }

    fn update(&mut self, novelty: f64) -> Result<Option<Change>, DriftError> {
        check_novelty(self.position, novelty)?;
        let detected = self.position;
        self.position += 1;
        self.level = self.level.with(Moments::of(novelty));
        let sd = self.level.sample_variance().sqrt();
        if self.level.count <= self.warm_up || sd == 0.0 {
            return Ok(None);
        }
        let deviation = ((novelty - self.level.mean) / sd).clamp(-MOST, MOST);
        self.rise.add(deviation - self.tolerance, novelty);
        self.fall.add(-deviation - self.tolerance, novelty);
        let higher = if self.rise.sum > self.fall.sum { self.rise } else { self.fall };
        if higher.sum <= self.threshold {
            return Ok(None);
        }
        let before = self.level.without(higher.since).mean;
        let change = Change {
            detected,
            since: self.position - higher.since.count,
            before,
            after: higher.since.mean,
        };
        self.level = higher.since;
        (self.rise, self.fall) = Default::default();
        Ok(Some(change))
    }

    fn is_ready(&self) -> bool {
        self.level.count >= self.warm_up
    }
}

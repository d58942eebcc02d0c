//! Detecting when the novelty of a person's texts changes its level.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, chosen_by_name, setting::in_range};

use crate::observation::finite;
use crate::{Adwin, DriftError, PageHinkley};

/// A change of level in a stream of novelties.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Change {
    /// Position in the stream, from 0, at which it was detected.
    pub detected: u64,
    /// Position from which the new level is estimated to hold.
    pub since: u64,
    /// Mean before, nats per token.
    pub before: f64,
    /// Mean since, nats per token.
    pub after: f64,
}

impl Change {
    /// A change that was detected at one position and holds since another, with the means before
    /// and since, in nats per token.
    pub fn new(detected: u64, since: u64, before: f64, after: f64) -> Self {
        Self { detected, since, before, after }
    }

    /// Whether novelty rose: the person moved away from what the adapter knows.
    pub fn is_rise(&self) -> bool {
        self.after > self.before
    }
}

/// Watches a stream for changes of its level, in both directions: novelty falls when an update has
/// caught up.
pub trait ChangeDetector: Send + Sync {
    /// The name that picks it in a configuration.
    fn name(&self) -> &'static str;

    /// Takes the next value. A detector that has reported a change starts over with the new level,
    /// whose first values are those since the change.
    ///
    /// # Errors
    /// [`DriftError::NotFinite`] for NaN or an infinity, with the position in the stream; the state
    /// is then unchanged.
    fn update(&mut self, novelty: f64) -> Result<Option<Change>, DriftError>;

    /// Whether it has seen enough of the present level to tell a change from it.
    fn is_ready(&self) -> bool;
}

/// Which detector, and its settings: the bare name, or a table with `kind`. Unknown keys are
/// errors.
///
/// The defaults were chosen on generated streams for about one false alarm in a thousand
/// observations; `docs/results/drift.md` in the repository has the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub enum DetectorConfig {
    /// [`PageHinkley`], the default.
    PageHinkley {
        /// Deviation that is tolerated, in standard deviations, ≥ 0; 0.25 unless given.
        #[serde(default = "default_tolerance")]
        tolerance: f64,
        /// Sum of deviations that is a change, in standard deviations, > 0; 9 unless given.
        #[serde(default = "default_threshold")]
        threshold: f64,
        /// Values that set the level before anything can deviate from it, ≥ 2; 15 unless given.
        #[serde(default = "default_warm_up")]
        warm_up: u64,
    },
    /// [`Adwin`].
    Adwin {
        /// Bound on the probability of a false alarm per test, in (0, 1); 0.75 unless given. The
        /// bound is so loose that few are false even then.
        #[serde(default = "default_confidence")]
        confidence: f64,
        /// Range that values stay within, nats per token, ≥ 0; 1 unless given. Fit it to the
        /// stream: about three standard deviations.
        #[serde(default = "default_range")]
        range: f64,
    },
}

chosen_by_name!(DetectorConfig, "change detector");

impl Default for DetectorConfig {
    fn default() -> Self {
        Self::PageHinkley {
            tolerance: default_tolerance(),
            threshold: default_threshold(),
            warm_up: default_warm_up(),
        }
    }
}

impl DetectorConfig {
    /// The detector.
    ///
    /// # Errors
    /// For settings out of their range.
    pub fn init(&self) -> Result<Box<dyn ChangeDetector>, SettingError> {
        let finite = 0.0..f64::INFINITY;
        let above_0 = (Bound::Excluded(0.0), Bound::Excluded(f64::INFINITY));
        let inside = (Bound::Excluded(0.0), Bound::Excluded(1.0));
        match *self {
            Self::PageHinkley { tolerance, threshold, warm_up } => {
                in_range("tolerance", tolerance, finite, "a finite number >= 0")?;
                in_range("threshold", threshold, above_0, "a finite number > 0")?;
                in_range("warm_up", warm_up, 2.., "at least 2")?;
                Ok(Box::new(PageHinkley::new(tolerance, threshold, warm_up)))
            }
            Self::Adwin { confidence, range } => {
                in_range("confidence", confidence, inside, "above 0 and below 1")?;
                in_range("range", range, finite, "a finite number >= 0")?;
                Ok(Box::new(Adwin::new(confidence, range)))
            }
        }
    }
}

/// Refuses what is not finite, as the `position`-th novelty.
pub(crate) fn check_novelty(position: u64, novelty: f64) -> Result<(), DriftError> {
    finite(position as usize, "novelty", novelty)
}

fn default_tolerance() -> f64 {
    0.25
}

fn default_threshold() -> f64 {
    9.0
}

fn default_warm_up() -> u64 {
    15
}

fn default_confidence() -> f64 {
    0.75
}

fn default_range() -> f64 {
    1.0
}

//! Which of a period's observations to learn from.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use spring_numerics::setting::{in_range, require};
use spring_numerics::{SettingError, chosen_by_name, round::ceil_of};

use crate::{Change, DetectorConfig, DriftError, DriftScore, Observation};

/// How many of the best to take: the bare name, or a table with `kind`. Unknown keys are errors.
///
/// ```
/// use spring_drift::Selection;
/// let config: Selection = serde_json::from_str(r#"{"kind": "top_count", "count": 8}"#)?;
/// assert_eq!(config, Selection::TopCount { count: 8 });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub enum Selection {
    /// The ⌈fraction · n⌉ best. The paper's, and the default.
    TopFraction {
        /// In [0, 1]; 0.3 unless given.
        #[serde(default = "default_fraction")]
        fraction: f64,
    },
    /// The `count` best, or all if there are fewer.
    TopCount {
        /// The most that is taken.
        count: usize,
    },
    /// All with a score of at least `threshold`. An absolute threshold holds for one scorer and one
    /// α only.
    Threshold {
        /// In the unit of the score.
        threshold: f64,
    },
    /// Everything.
    All {},
    /// A top fraction that depends on whether the person is changing: the novelties of this period,
    /// after those of the earlier ones, go through a change detector. A rise of the level within
    /// the period is a turning point. Where there was too little before the period to tell, what
    /// the last change was still holds: after a fall it is calm, after a rise, or without any
    /// change yet, it is a turning point.
    Adaptive {
        /// Fraction for a calm period, in [0, 1]; 0.15 unless given.
        #[serde(default = "default_calm")]
        calm: f64,
        /// Fraction at a turning point, in [0, 1]; 0.6 unless given.
        #[serde(default = "default_turning")]
        turning: f64,
        /// `page_hinkley` unless given.
        #[serde(default)]
        detector: DetectorConfig,
    },
}

chosen_by_name!(Selection, "selection");

impl Default for Selection {
    fn default() -> Self {
        Self::TopFraction { fraction: default_fraction() }
    }
}

fn default_fraction() -> f64 {
    0.3
}

fn default_calm() -> f64 {
    0.15
}

fn default_turning() -> f64 {
    0.6
}

/// What a [`Selection`] took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Selected {
    /// Positions in the slices that were passed, best first.
    pub indices: Vec<usize>,
    /// The score that had to be reached: the threshold where one is set, else the lowest score
    /// taken. `None` when nothing was taken, and for [`Selection::All`].
    pub cutoff: Option<f64>,
    /// One line for the record: the rule and what it gave.
    pub reason: String,
}

impl Selection {
    /// Refuses settings out of their range, as every selection does.
    ///
    /// # Errors
    /// For a fraction outside [0, 1], a threshold that is not finite, and settings of the detector.
    pub fn check(&self) -> Result<(), SettingError> {
        match *self {
            Self::TopFraction { fraction } => checked_fraction("fraction", fraction),
            Self::Threshold { threshold } => {
                require("threshold", threshold, threshold.is_finite(), "a finite number")
            }
            Self::TopCount { .. } | Self::All {} => Ok(()),
            Self::Adaptive { calm, turning, detector } => {
                checked_fraction("calm", calm)?;
                checked_fraction("turning", turning)?;
                detector.init().map(drop).map_err(|error| error.within("detector"))
            }
        }
    }

    /// Takes the best. Equal scores go to the newer `order`, then to the later position.
    ///
    /// # Errors
    /// [`DriftError::LengthMismatch`], [`DriftError::NotFinite`] for a NaN or infinite score, and
    /// [`DriftError::Setting`] for a fraction outside [0, 1], a threshold that is not finite or a
    /// setting of the detector.
    pub fn select(
        &self,
        scores: &[DriftScore],
        observations: &[Observation],
    ) -> Result<Selected, DriftError> {
        self.select_after(&[], scores, observations)
    }

    /// As [`select`](Self::select), for a period that comes after others.
    ///
    /// `earlier` has the novelties of the texts of all earlier periods in the order of time, each
    /// as measured before it was learned from, and without those of the time before there was an
    /// adapter. Only [`Selection::Adaptive`] looks at them.
    ///
    /// # Errors
    /// As [`select`](Self::select), and for a NaN or infinite novelty.
    pub fn select_after(
        &self,
        earlier: &[f64],
        scores: &[DriftScore],
        observations: &[Observation],
    ) -> Result<Selected, DriftError> {
        self.check()?;
        let ranked = rank(scores, observations)?;
        let n = ranked.len();
        match *self {
            Self::TopFraction { fraction } => {
                let rule = format!("the best {} % of {n} by score", percent(fraction));
                Ok(take(ranked, ceil_of(fraction, n), scores, &rule))
            }
            Self::TopCount { count } => {
                let rule = format!("the best {count} of {n} by score");
                Ok(take(ranked, count.min(n), scores, &rule))
            }
            Self::Threshold { threshold } => {
                let reached = ranked.partition_point(|&index| scores[index].score >= threshold);
                let rule = format!("those of {n} with a score of at least {threshold}");
                Ok(Selected { cutoff: Some(threshold), ..take(ranked, reached, scores, &rule) })
            }
            Self::All {} => {
                let rule = format!("all of {n}");
                Ok(Selected { cutoff: None, ..take(ranked, n, scores, &rule) })
            }
            Self::Adaptive { calm, turning, detector } => {
                let (turned, why) = turning_point(detector, earlier, observations)?;
                let fraction = if turned { turning } else { calm };
                let rule = format!("{why}: the best {} % of {n} by score", percent(fraction));
                Ok(take(ranked, ceil_of(fraction, n), scores, &rule))
            }
        }
    }
}

/// Whether novelty rises in this period, or may have without being seen; and in words which of
/// them.
fn turning_point(
    detector: DetectorConfig,
    earlier: &[f64],
    observations: &[Observation],
) -> Result<(bool, String), DriftError> {
    let mut detector = detector.init()?;
    let mut last = None;
    for &novelty in earlier {
        last = detector.update(novelty)?.or(last);
    }
    let was_ready = detector.is_ready();
    let mut in_time: Vec<&Observation> =
        observations.iter().filter(|o| o.adapter.is_some()).collect();
    in_time.sort_by_key(|observation| observation.order);
    for observation in in_time {
        if let Some(change) = detector.update(observation.novelty())?.filter(Change::is_rise) {
            let Change { before, after, .. } = change;
            let name = detector.name();
            return Ok((
                true,
                format!("a turn, novelty rises from {before:.3} to {after:.3} ({name})"),
            ));
        }
    }
    let name = detector.name();
    if was_ready {
        return Ok((false, format!("calm, no rise of novelty ({name})")));
    }
    let n = earlier.len();
    let Some(change) = last else {
        return Ok((
            true,
            format!("too early to tell a turn from calm, after {n} novelties ({name})"),
        ));
    };
    let Change { since, before, after, .. } = change;
    let n = n as u64 - since;
    let (state, direction) =
        if change.is_rise() { ("still a turn", "rose") } else { ("calm", "fell") };
    let story = format!("{state}, novelty {direction} from {before:.3} to {after:.3}");
    let why = format!("{story} {n} novelties ago, too few to see another change ({name})");
    Ok((change.is_rise(), why))
}

/// Positions, best first.
fn rank(scores: &[DriftScore], observations: &[Observation]) -> Result<Vec<usize>, DriftError> {
    if scores.len() != observations.len() {
        return Err(DriftError::LengthMismatch {
            scores: scores.len(),
            observations: observations.len(),
        });
    }
    scores.iter().enumerate().try_for_each(|(index, score)| score.check(index))?;
    let better = |&a: &usize, &b: &usize| {
        // Both are finite, so they compare; unlike `total_cmp`, 0.0 and -0.0 tie.
        let by_score = scores[b].score.partial_cmp(&scores[a].score).unwrap_or(Ordering::Equal);
        by_score.then(observations[b].order.cmp(&observations[a].order)).then(b.cmp(&a))
    };
    let mut ranked: Vec<usize> = (0..scores.len()).collect();
    ranked.sort_unstable_by(better);
    Ok(ranked)
}

fn take(mut ranked: Vec<usize>, count: usize, scores: &[DriftScore], rule: &str) -> Selected {
    ranked.truncate(count);
    let cutoff = ranked.last().map(|&index| scores[index].score);
    let lowest = cutoff.map_or(String::new(), |cutoff| format!(", the lowest at {cutoff:.4}"));
    Selected { reason: format!("{rule}: {} taken{lowest}", ranked.len()), indices: ranked, cutoff }
}

fn checked_fraction(name: &str, value: f64) -> Result<(), SettingError> {
    in_range(name, value, 0.0..=1.0, "between 0 and 1")
}

/// For reading: at most two decimals.
fn percent(fraction: f64) -> f64 {
    (fraction * 1e4).round() / 1e2
}

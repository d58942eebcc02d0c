//! Which of a period's observations to learn from.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::named::chosen_by_name;
use crate::{DriftError, DriftScore, Observation};

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
pub enum Selection {
    /// The ⌈fraction · n⌉ best. The paper's, and the default.
    TopFraction {
        /// In [0, 1]; 0.3 unless given.
        #[serde(default = "default_fraction")]
        fraction: f64,
    },
    /// The `count` best, or all if there are fewer.
    TopCount {
        /// How many.
        count: usize,
    },
    /// All with a score of at least `threshold`. An absolute threshold holds for one scorer and one α only.
    Threshold {
        /// In the unit of the score.
        threshold: f64,
    },
    /// Everything.
    All {},
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

/// What a [`Selection`] took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// Positions in the slices that were passed, best first.
    pub indices: Vec<usize>,
    /// The score that had to be reached: the threshold where one is set, else the lowest score taken. `None` when
    /// nothing or everything was to be taken.
    pub cutoff: Option<f64>,
    /// One line for the record: the rule and what it gave.
    pub reason: String,
}

impl Selection {
    /// Takes the best. Equal scores go to the newer `order`, then to the later position.
    ///
    /// # Errors
    /// [`DriftError::LengthMismatch`], [`DriftError::NotFinite`] for a NaN or infinite score, and
    /// [`DriftError::InvalidSetting`] for a fraction outside [0, 1] or a threshold that is not finite.
    pub fn select(
        &self,
        scores: &[DriftScore],
        observations: &[Observation],
    ) -> Result<Selected, DriftError> {
        let ranked = rank(scores, observations)?;
        let n = ranked.len();
        match *self {
            Self::TopFraction { fraction } => {
                let fraction = checked_fraction("fraction", fraction)?;
                let rule = format!("the best {} % of {n} by score", percent(fraction));
                Ok(take(ranked, ceil_of(fraction, n), scores, &rule))
            }
            Self::TopCount { count } => {
                let rule = format!("the best {count} of {n} by score");
                Ok(take(ranked, count.min(n), scores, &rule))
            }
            Self::Threshold { threshold } => {
                if !threshold.is_finite() {
                    return Err(invalid("threshold", threshold, "a finite number"));
                }
                let reached = ranked.partition_point(|&index| scores[index].score >= threshold);
                let rule = format!("those of {n} with a score of at least {threshold}");
                Ok(Selected { cutoff: Some(threshold), ..take(ranked, reached, scores, &rule) })
            }
            Self::All {} => {
                let rule = format!("all of {n}");
                Ok(Selected { cutoff: None, ..take(ranked, n, scores, &rule) })
            }
        }
    }
}

/// Positions, best first.
fn rank(scores: &[DriftScore], observations: &[Observation]) -> Result<Vec<usize>, DriftError> {
    if scores.len() != observations.len() {
        return Err(DriftError::LengthMismatch { scores: scores.len(), observations: observations.len() });
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

/// ⌈fraction · n⌉, where a product that is whole but for rounding counts as whole: 0.07 · 100 is 7, not 8.
fn ceil_of(fraction: f64, n: usize) -> usize {
    let product = fraction * n as f64;
    let whole = product.round();
    let rounding = 2.0 * f64::EPSILON * product;
    let count = if (product - whole).abs() <= rounding { whole } else { product.ceil() };
    (count as usize).min(n)
}

fn checked_fraction(setting: &'static str, value: f64) -> Result<f64, DriftError> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(invalid(setting, value, "between 0 and 1")) }
}

/// For reading: at most two decimals.
fn percent(fraction: f64) -> f64 {
    (fraction * 1e4).round() / 1e2
}

fn invalid(setting: &'static str, value: f64, expected: &'static str) -> DriftError {
    DriftError::InvalidSetting { setting, value: value.to_string(), expected }
}

//! Whether anything retrieved is good enough to be read.

use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, chosen_by_name, setters, setting::in_range};

use crate::{Calibration, ExpectedGain};

/// One retrieved item; its identity is its position in the slice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Candidate {
    /// Retrieval score, higher is better.
    pub score: f64,
}

impl Candidate {
    /// With this score.
    pub fn new(score: f64) -> Self {
        Self { score }
    }
}

/// What a gate decided, for the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GateDecision {
    /// Whether anything is kept.
    pub open: bool,
    /// Positions in the candidates, best first.
    pub kept: Vec<usize>,
    /// The score that had to be reached, where the gate has one.
    pub threshold: Option<f64>,
    /// Best score − threshold: negative when it was missed.
    pub margin: Option<f64>,
    /// What reading along is expected to gain, nats per token, where gate or λ are calibrated by
    /// use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_gain: Option<f64>,
    /// The λ at which that is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// One line: what was asked and what came of it.
    pub reason: String,
}

impl GateDecision {
    /// Keeps nothing, for a reason.
    pub fn closed(reason: impl Into<String>) -> Self {
        Self {
            open: false,
            kept: Vec::new(),
            threshold: None,
            margin: None,
            expected_gain: None,
            lambda: None,
            reason: reason.into(),
        }
    }

    /// Keeps these positions, best first, for a reason; it is open if there is one.
    pub fn keeping(kept: Vec<usize>, reason: impl Into<String>) -> Self {
        Self { open: !kept.is_empty(), kept, ..Self::closed(reason) }
    }

    /// The same with the score that had to be reached, and the best score that there was.
    #[must_use]
    pub fn with_threshold(self, threshold: f64, best: f64) -> Self {
        Self { threshold: Some(threshold), margin: Some(best - threshold), ..self }
    }

    /// The same with what reading along is expected to gain, and at which λ.
    #[must_use]
    pub fn expecting(self, expected: ExpectedGain) -> Self {
        let ExpectedGain { nats, lambda } = expected;
        Self { expected_gain: Some(nats), lambda: Some(lambda), ..self }
    }
}

/// Decides which of the retrieved items the model gets to see.
pub trait Gate: Send + Sync {
    /// The name that picks it in a configuration.
    fn name(&self) -> &'static str;

    /// Keeps those of the k best candidates that reach the gate's threshold and score above 0.
    ///
    /// `candidates` are in rank order, the best first. A score that is NaN, or higher than the one
    /// before it, or a calibration sample that cannot be used closes the gate, and the reason says
    /// so: without retrieval there is still an answer.
    fn decide(&self, candidates: &[Candidate], calibration: &Calibration) -> GateDecision;
}

/// The threshold is a quantile of the calibration sample; the default, with the third quartile.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct QuantileGate {
    /// In [0, 1].
    pub quantile: f64,
    /// With fewer scores in the sample than this the gate stays closed.
    pub min_calibration: usize,
    /// The most that is kept.
    pub k: usize,
}

/// The threshold is a number. It fits one search variant and one corpus size only.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct FixedGate {
    /// In the unit of the scores.
    pub threshold: f64,
    /// The most that is kept.
    pub k: usize,
}

/// The threshold is the score of the first candidate that could not be kept, the one of rank k + 1,
/// plus a margin: what is kept must stand out from the rest. With fewer candidates the runner-up
/// counts as 0, the score of a text that shares no word with the query. Pass more than k
/// candidates.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MarginGate {
    /// In the unit of the scores, ≥ 0.
    pub margin: f64,
    /// The most that is kept.
    pub k: usize,
}

/// No threshold: the k best, as far as they score above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlwaysGate {
    /// The most that is kept.
    pub k: usize,
}

/// Nothing is ever kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NeverGate;

/// Opens where reading along is expected to gain something: by the gains that were measured for
/// texts of the past, as a function of the best score ([`Gains::curve`](crate::Gains::curve)). All
/// of the k best that score above 0 are kept then, as they were when the gains were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CalibratedGate {
    /// The most that is kept.
    pub k: usize,
    /// With gains of fewer texts than this another gate decides.
    pub min_texts: usize,
    /// Which one.
    pub otherwise: Otherwise,
}

/// What decides while too few gains were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Otherwise {
    /// [`AlwaysGate`], the default.
    #[default]
    Always,
    /// [`QuantileGate`] with its own defaults.
    Quantile,
    /// [`NeverGate`].
    Never,
}

const K: usize = 2;

/// Gains of fewer texts than this say too little, unless a gate says otherwise.
pub(crate) const MIN_TEXTS: usize = 8;

impl Default for CalibratedGate {
    /// k = 2; with gains of fewer than 8 texts it is always open.
    fn default() -> Self {
        Self { k: K, min_texts: MIN_TEXTS, otherwise: Otherwise::default() }
    }
}

impl Default for QuantileGate {
    /// The third quartile of at least 8 scores, k = 2.
    fn default() -> Self {
        Self { quantile: 0.75, min_calibration: 8, k: K }
    }
}

impl Default for AlwaysGate {
    /// k = 2.
    fn default() -> Self {
        Self { k: K }
    }
}

setters! {
    QuantileGate {
        with_quantile(quantile: f64);
        with_min_calibration(min_calibration: usize);
        with_k(k: usize);
    }
}

setters! {
    CalibratedGate {
        with_k(k: usize);
        with_min_texts(min_texts: usize);
        with_otherwise(otherwise: Otherwise);
    }
}

setters! {
    AlwaysGate {
        with_k(k: usize);
    }
}

impl FixedGate {
    /// With this threshold, in the unit of the scores, and the most that is kept.
    pub fn new(threshold: f64, k: usize) -> Self {
        Self { threshold, k }
    }
}

impl MarginGate {
    /// With this margin, in the unit of the scores, and the most that is kept.
    pub fn new(margin: f64, k: usize) -> Self {
        Self { margin, k }
    }
}

impl Gate for QuantileGate {
    fn name(&self) -> &'static str {
        "quantile"
    }

    fn decide(&self, candidates: &[Candidate], calibration: &Calibration) -> GateDecision {
        let n = calibration.sample.len();
        if n < self.min_calibration {
            let needed = self.min_calibration;
            return closed(
                None,
                format!("{n} calibration scores, and at least {needed} are needed"),
            );
        }
        match calibration.quantile(self.quantile) {
            Ok(threshold) => {
                let origin = format!("the {} quantile of {n} calibration scores", self.quantile);
                keep(candidates, self.k, Some((threshold, &origin)))
            }
            Err(error) => closed(None, error.to_string()),
        }
    }
}

impl Gate for FixedGate {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn decide(&self, candidates: &[Candidate], _: &Calibration) -> GateDecision {
        keep(candidates, self.k, Some((self.threshold, "a fixed number")))
    }
}

impl Gate for MarginGate {
    fn name(&self) -> &'static str {
        "margin"
    }

    fn decide(&self, candidates: &[Candidate], _: &Calibration) -> GateDecision {
        let (runner_up, origin) = match candidates.get(self.k) {
            Some(candidate) => (
                candidate.score,
                format!("the runner-up's {:.4} + {}", candidate.score, self.margin),
            ),
            None => (0.0, format!("no runner-up, 0 + {}", self.margin)),
        };
        keep(candidates, self.k, Some((runner_up + self.margin, &origin)))
    }
}

impl Gate for AlwaysGate {
    fn name(&self) -> &'static str {
        "always"
    }

    fn decide(&self, candidates: &[Candidate], _: &Calibration) -> GateDecision {
        keep(candidates, self.k, None)
    }
}

impl Gate for NeverGate {
    fn name(&self) -> &'static str {
        "never"
    }

    fn decide(&self, _: &[Candidate], _: &Calibration) -> GateDecision {
        closed(None, "this gate never opens".into())
    }
}

impl Gate for CalibratedGate {
    fn name(&self) -> &'static str {
        "calibrated"
    }

    fn decide(&self, candidates: &[Candidate], calibration: &Calibration) -> GateDecision {
        let k = self.k;
        let curve = match calibration.curve(self.min_texts) {
            Ok(curve) => curve,
            Err(why) => {
                let decision = match self.otherwise {
                    Otherwise::Always => AlwaysGate { k }.decide(candidates, calibration),
                    Otherwise::Quantile => {
                        QuantileGate::default().with_k(k).decide(candidates, calibration)
                    }
                    Otherwise::Never => NeverGate.decide(candidates, calibration),
                };
                return GateDecision { reason: format!("{} ({why})", decision.reason), ..decision };
            }
        };
        let decision = keep(candidates, k, None);
        let Some(best) = candidates.first().map(|best| best.score).filter(|best| best.is_finite())
        else {
            return decision;
        };
        let with_threshold = |decision: GateDecision| match curve.opens_at() {
            Some(threshold) => decision.with_threshold(threshold, best),
            None => decision,
        };
        if !decision.open {
            return with_threshold(decision);
        }
        let (expected, texts) = (curve.at(best), calibration.gains.as_ref().map(|g| g.texts.len()));
        let ExpectedGain { nats, lambda } = expected;
        let by = format!(
            "best score {best:.4}, expected to gain {nats:.4} nats per token at λ {lambda:.2} by \
             {} texts of the past",
            texts.unwrap_or_default()
        );
        with_threshold(match nats > 0.0 {
            true => {
                let kept = decision.kept.len();
                let reason = format!("open: {by}: {kept} of the {k} best kept");
                GateDecision { reason, ..decision }
            }
            false => closed(None, by),
        })
        .expecting(expected)
    }
}

/// The rule that all gates share; `threshold` comes with where it is from.
fn keep(candidates: &[Candidate], k: usize, threshold: Option<(f64, &str)>) -> GateDecision {
    let mut highest = f64::INFINITY;
    for (index, Candidate { score }) in candidates.iter().enumerate() {
        if score.is_nan() {
            return closed(None, format!("the score of candidate {index} is NaN"));
        }
        if *score > highest {
            return closed(
                None,
                format!("candidate {index} scores above the one before it: not in rank order"),
            );
        }
        highest = *score;
    }
    let Some(best) = candidates.first().map(|candidate| candidate.score) else {
        return closed(None, "nothing was found".into());
    };
    let threshold_value = threshold.map(|(value, _)| value);
    let rule = threshold.map_or("no threshold".into(), |(value, origin)| {
        format!("threshold {value:.4} ({origin})")
    });
    let passes =
        |score: f64| score > 0.0 && threshold_value.is_none_or(|threshold| score >= threshold);
    let kept: Vec<usize> =
        (0..k.min(candidates.len())).filter(|&index| passes(candidates[index].score)).collect();
    if kept.is_empty() {
        let why = match threshold_value {
            _ if k == 0 => "k is 0",
            Some(threshold) if best < threshold => "below it",
            _ if best <= 0.0 => "not above 0",
            _ => "nothing can be compared with it",
        };
        return closed(
            threshold_value.map(|threshold| (threshold, best)),
            format!("best score {best:.4}, {rule}: {why}"),
        );
    }
    let reason = format!("open: best score {best:.4}, {rule}: {} of the {k} best kept", kept.len());
    let decision = GateDecision::keeping(kept, reason);
    match threshold_value {
        Some(threshold) => decision.with_threshold(threshold, best),
        None => decision,
    }
}

fn closed(threshold_and_best: Option<(f64, f64)>, why: String) -> GateDecision {
    let decision = GateDecision::closed(format!("closed: {why}"));
    match threshold_and_best {
        Some((threshold, best)) => decision.with_threshold(threshold, best),
        None => decision,
    }
}

/// Which gate, and its settings: the bare name, or a table with `kind`. Unknown keys are errors.
///
/// ```
/// use spring_fuse::{Calibration, Candidate, GateConfig};
/// let gate: GateConfig = serde_json::from_str(r#"{"kind": "fixed", "threshold": 2.0}"#)?;
/// let gate = gate.init()?;
/// let decision = gate.decide(&[2.5, 1.0].map(Candidate::new), &Calibration::default());
/// assert_eq!((decision.kept, decision.margin), (vec![0], Some(0.5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub enum GateConfig {
    /// [`QuantileGate`], the default.
    Quantile {
        /// 0.75 unless given.
        #[serde(default = "default_quantile")]
        quantile: f64,
        /// 8 unless given.
        #[serde(default = "default_min_calibration")]
        min_calibration: usize,
        /// 2 unless given.
        #[serde(default = "default_k")]
        k: usize,
    },
    /// [`FixedGate`].
    Fixed {
        /// In the unit of the scores.
        threshold: f64,
        /// 2 unless given.
        #[serde(default = "default_k")]
        k: usize,
    },
    /// [`MarginGate`].
    Margin {
        /// In the unit of the scores.
        margin: f64,
        /// 2 unless given.
        #[serde(default = "default_k")]
        k: usize,
    },
    /// [`CalibratedGate`].
    Calibrated {
        /// 2 unless given.
        #[serde(default = "default_k")]
        k: usize,
        /// 8 unless given.
        #[serde(default = "default_min_texts")]
        min_texts: usize,
        /// `always` unless given.
        #[serde(default)]
        otherwise: Otherwise,
    },
    /// [`AlwaysGate`].
    Always {
        /// 2 unless given.
        #[serde(default = "default_k")]
        k: usize,
    },
    /// [`NeverGate`].
    Never {},
}

chosen_by_name!(GateConfig, "gate");

impl Default for GateConfig {
    fn default() -> Self {
        let QuantileGate { quantile, min_calibration, k } = QuantileGate::default();
        Self::Quantile { quantile, min_calibration, k }
    }
}

impl GateConfig {
    /// The gate.
    ///
    /// # Errors
    /// For settings out of their range.
    pub fn init(&self) -> Result<Box<dyn Gate>, SettingError> {
        Ok(match *self {
            Self::Quantile { quantile, min_calibration, k } => {
                in_range("quantile", quantile, 0.0..=1.0, "between 0 and 1")?;
                Box::new(QuantileGate { quantile, min_calibration, k })
            }
            Self::Fixed { threshold, k } => {
                in_range("threshold", threshold, f64::MIN..=f64::MAX, "a finite number")?;
                Box::new(FixedGate { threshold, k })
            }
            Self::Margin { margin, k } => {
                in_range("margin", margin, 0.0..=f64::MAX, "a finite number >= 0")?;
                Box::new(MarginGate { margin, k })
            }
            Self::Calibrated { k, min_texts, otherwise } => {
                Box::new(CalibratedGate { k, min_texts, otherwise })
            }
            Self::Always { k } => Box::new(AlwaysGate { k }),
            Self::Never {} => Box::new(NeverGate),
        })
    }

    /// The most that is kept; a margin gate also looks at the candidate after those.
    pub fn k(&self) -> usize {
        match *self {
            Self::Quantile { k, .. }
            | Self::Fixed { k, .. }
            | Self::Margin { k, .. }
            | Self::Calibrated { k, .. }
            | Self::Always { k } => k,
            Self::Never {} => 0,
        }
    }
}

fn default_quantile() -> f64 {
    QuantileGate::default().quantile
}

fn default_min_calibration() -> usize {
    QuantileGate::default().min_calibration
}

fn default_min_texts() -> usize {
    MIN_TEXTS
}

fn default_k() -> usize {
    K
}

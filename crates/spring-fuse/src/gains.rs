//! What reading retrieved texts along has gained for texts of the past, and what it is expected to
//! gain for the next one.

use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, setting::in_range};

use crate::FuseError;

/// A curve of n texts counts n, and the mean of them all counts this much: with few texts the
/// curve is nearly the mean.
const MEAN_COUNTS: f64 = 8.0;

/// What reading along has gained for one text of the past, which was left out of what was searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TextGain {
    /// The text, by a key of the caller's.
    pub key: u64,
    /// The best retrieval score that its prompt found.
    pub score: f64,
    /// Log-likelihood of its response with the retrieved texts − without, nats per token, for each
    /// λ of [`Gains::lambdas`].
    pub gains: Vec<f64>,
}

impl TextGain {
    /// Of the text `key`, whose prompt found a best score, for each λ.
    pub fn new(key: u64, score: f64, gains: Vec<f64>) -> Self {
        Self { key, score, gains }
    }
}

/// What reading along has gained for texts of the past at each of some λ: the sample of a gate and
/// a λ that are calibrated by use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Gains {
    /// The settings that it was measured under, as a name of the caller's: under others the scores
    /// or the gains would be others.
    pub measured_under: String,
    /// λ, above 0 up to 1, ascending.
    pub lambdas: Vec<f64>,
    /// One for each text.
    pub texts: Vec<TextGain>,
}

impl Gains {
    /// Of some texts at each of some λ, ascending.
    pub fn new(measured_under: impl Into<String>, lambdas: Vec<f64>, texts: Vec<TextGain>) -> Self {
        Self { measured_under: measured_under.into(), lambdas, texts }
    }

    /// λ = 0.1, 0.2, … 1; at 0 the gain is 0.
    pub fn grid() -> Vec<f64> {
        (1..=10).map(|tenth| f64::from(tenth) / 10.0).collect()
    }

    /// Refuses what no measurement gives.
    ///
    /// # Errors
    /// For λ that are not above 0 up to 1 and ascending, a text with another number of gains than
    /// there are λ, and numbers that are NaN or infinite.
    pub fn check(&self) -> Result<(), FuseError> {
        let mut last = 0.0;
        for &lambda in &self.lambdas {
            let allowed = "above 0, at most 1, and ascending";
            in_range("lambdas", lambda, f64::MIN_POSITIVE..=1.0, allowed)?;
            if lambda <= last {
                return Err(SettingError::new("lambdas", lambda, allowed).into());
            }
            last = lambda;
        }
        for (index, text) in self.texts.iter().enumerate() {
            if text.gains.len() != self.lambdas.len() {
                let (expected, actual) = (self.lambdas.len(), text.gains.len());
                return Err(FuseError::LengthMismatch { what: "gains", expected, actual });
            }
            let mut numbers = text.gains.iter().chain([&text.score]);
            if let Some(&value) = numbers.find(|number| !number.is_finite()) {
                return Err(FuseError::NotFinite { what: "gains of texts", index, value });
            }
        }
        Ok(())
    }

    /// The same at one λ alone. Between two λ of the sample the gain is taken from the line between
    /// theirs, and below the first from that to 0 at λ = 0: a bound from below, since a mixture's
    /// log-likelihood is concave in λ. `None` above the highest λ and for a λ that is not above 0.
    pub fn at_lambda(&self, lambda: f64) -> Option<Self> {
        let above = self.lambdas.iter().position(|known| *known >= lambda);
        let above = above.filter(|_| lambda > 0.0)?;
        let (low, high) = (above.checked_sub(1), self.lambdas[above]);
        let low_lambda = low.map_or(0.0, |low| self.lambdas[low]);
        let part = (lambda - low_lambda) / (high - low_lambda);
        let texts = self.texts.iter().map(|text| {
            let from = low.map_or(Some(0.0), |low| text.gains.get(low).copied())?;
            let to = text.gains.get(above).copied()?;
            Some(TextGain::new(text.key, text.score, vec![from + (to - from) * part]))
        });
        Some(Self::new(self.measured_under.clone(), vec![lambda], texts.collect::<Option<_>>()?))
    }

    /// The expected gain as a function of the best retrieval score: for each λ an isotonic
    /// regression over the texts, each of which counts once, drawn towards the mean of all texts.
    ///
    /// # Errors
    /// As [`check`](Self::check), and without a text or a λ.
    ///
    /// ```
    /// use spring_fuse::{Gains, TextGain};
    /// let texts = [(1.0, -0.5), (2.0, -0.25), (3.0, 0.25), (4.0, 0.5)];
    /// let texts = texts.iter().zip(1..).map(|(of, key)| TextGain::new(key, of.0, vec![of.1]));
    /// let curve = Gains::new("", vec![0.5], texts.collect()).curve()?;
    /// assert!(curve.at(2.4).nats < 0.0 && curve.at(2.6).nats > 0.0);
    /// assert_eq!(curve.opens_at(), Some(2.5));
    /// # Ok::<(), spring_fuse::FuseError>(())
    /// ```
    pub fn curve(&self) -> Result<GainCurve, FuseError> {
        self.check()?;
        if self.texts.is_empty() || self.lambdas.is_empty() {
            return Err(FuseError::EmptySample);
        }
        let mut texts: Vec<&TextGain> = self.texts.iter().collect();
        texts.sort_by(|a, b| a.score.total_cmp(&b.score));
        // Texts of equal scores are one point, as many times as heavy.
        let points: Vec<&[&TextGain]> = texts.chunk_by(|a, b| a.score == b.score).collect();
        let weights: Vec<f64> = points.iter().map(|point| point.len() as f64).collect();
        let count = texts.len() as f64;
        let own = count / (count + MEAN_COUNTS);
        let fit = |index: usize| {
            let gain = |text: &&TextGain| text.gains[index];
            let means = points
                .iter()
                .map(|point| point.iter().map(gain).sum::<f64>() / point.len() as f64)
                .collect::<Vec<_>>();
            let mean = texts.iter().map(gain).sum::<f64>() / count;
            let fitted = isotonic(&means, &weights);
            fitted.into_iter().map(|value| mean + own * (value - mean)).collect()
        };
        Ok(GainCurve {
            fits: (0..self.lambdas.len()).map(fit).collect(),
            lambdas: self.lambdas.clone(),
            scores: points.iter().map(|point| point[0].score).collect(),
        })
    }
}

/// The non-decreasing sequence with the least squared distance to some values, each with its
/// weight > 0, by pool-adjacent-violators. What has no weight is left out.
///
/// ```
/// assert_eq!(spring_fuse::isotonic(&[1.0, 3.0, 2.0, 4.0], &[1.0; 4]), [1.0, 2.5, 2.5, 4.0]);
/// ```
pub fn isotonic(values: &[f64], weights: &[f64]) -> Vec<f64> {
    // Blocks of equal values: their mean, weight and length.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (&value, &weight) in values.iter().zip(weights) {
        let (mut mean, mut total, mut length) = (value, weight, 1);
        while let Some(&(before, weight, count)) = blocks.last()
            && before >= mean
        {
            mean = (before * weight + mean * total) / (weight + total);
            total += weight;
            length += count;
            blocks.pop();
        }
        blocks.push((mean, total, length));
    }
    blocks.iter().flat_map(|(mean, _, length)| std::iter::repeat_n(*mean, *length)).collect()
}

/// What reading along is expected to gain.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ExpectedGain {
    /// Nats per token; below 0 for a loss.
    pub nats: f64,
    /// The λ at which that is expected, the best one of those that were measured.
    pub lambda: f64,
}

/// The expected gain as a function of the best retrieval score; [`Gains::curve`] makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct GainCurve {
    lambdas: Vec<f64>,
    /// Ascending, each once.
    scores: Vec<f64>,
    /// For each λ the expected gain at each score, non-decreasing.
    fits: Vec<Vec<f64>>,
}

impl GainCurve {
    /// The gain that is expected for a best score, at the λ for which it is highest; the smallest
    /// of equals. Between two scores of the sample it is on the line between theirs, below and
    /// above all of them it is that of the nearest.
    pub fn at(&self, score: f64) -> ExpectedGain {
        let mut best = ExpectedGain { nats: f64::NEG_INFINITY, lambda: 0.0 };
        for (&lambda, fit) in self.lambdas.iter().zip(&self.fits) {
            let nats = self.on_line(fit, score);
            if nats > best.nats {
                best = ExpectedGain { nats, lambda };
            }
        }
        best
    }

    fn on_line(&self, fit: &[f64], score: f64) -> f64 {
        let after = self.scores.partition_point(|known| *known <= score);
        let last = self.scores.len() - 1;
        match after {
            0 => fit[0],
            after if after > last => fit[last],
            after => {
                let (low, high) = (self.scores[after - 1], self.scores[after]);
                let part = (score - low) / (high - low);
                fit[after - 1] + (fit[after] - fit[after - 1]) * part
            }
        }
    }

    /// The score above which the expected gain is positive; 0 where it is so for all scores above
    /// 0, `None` where it is for none.
    pub fn opens_at(&self) -> Option<f64> {
        if self.at(self.scores[0]).nats > 0.0 {
            return Some(0.0);
        }
        for (after, pair) in self.scores.windows(2).enumerate() {
            let crossings = self.fits.iter().filter_map(|fit| {
                let (low, high) = (fit[after], fit[after + 1]);
                (high > 0.0).then(|| pair[0] + (pair[1] - pair[0]) * -low / (high - low))
            });
            if let Some(crossing) = crossings.min_by(f64::total_cmp) {
                return Some(crossing.max(0.0));
            }
        }
        None
    }
}

//! Adaptive windowing.

use std::collections::VecDeque;

use crate::change::check_novelty;
use crate::moments::Moments;
use crate::{Change, ChangeDetector, DriftError};

/// Keeps the longest window that no cut splits into two parts with different means, and reports a
/// change when it drops its older part: ADWIN (Bifet & Gavaldà, SDM 2007) with the bound that uses
/// the variance. Memory and time per value are logarithmic in the window.
///
/// The bound assumes values within a known range, which log-likelihoods do not have; where they
/// exceed it, the promise on false alarms weakens.
///
/// Own code: the rill-ml crate keeps every value, its bound leaves out the variance, and it does
/// not tell the means on both sides of a cut.
#[derive(Debug, Clone)]
pub struct Adwin {
    confidence: f64,
    range: f64,
    position: u64,
    /// Row i has buckets of 2ⁱ values each, oldest first; the rows from the last to the first are
    /// the window.
    rows: Vec<VecDeque<Moments>>,
}

/// Buckets of one size before the two oldest become one of the next.
const MOST_PER_ROW: usize = 5;
/// A part of the window must have this many values to be compared.
const LEAST: u64 = 5;

impl Adwin {
    /// See [`DetectorConfig::Adwin`](crate::DetectorConfig::Adwin) for the settings.
    pub(crate) fn new(confidence: f64, range: f64) -> Self {
        Self { confidence, range, position: 0, rows: Vec::new() }
    }

    fn insert(&mut self, value: f64) {
        let mut carried = Some(Moments::of(value));
        for row in 0.. {
            let Some(bucket) = carried.take() else { return };
            if row == self.rows.len() {
                self.rows.push(VecDeque::new());
            }
            let buckets = &mut self.rows[row];
            buckets.push_back(bucket);
            if buckets.len() > MOST_PER_ROW
                && let (Some(oldest), Some(next)) = (buckets.pop_front(), buckets.pop_front())
            {
                carried = Some(oldest.with(next));
            }
        }
    }

    /// Oldest first.
    fn buckets(&self) -> impl Iterator<Item = &Moments> {
        self.rows.iter().rev().flatten()
    }

    fn window(&self) -> Moments {
        self.buckets().fold(Moments::default(), |sum, &bucket| sum.with(bucket))
    }

    /// The older and the newer part at the first cut that separates two means.
    fn cut(&self) -> Option<(Moments, Moments)> {
        let window = self.window();
        let mut older = Moments::default();
        self.buckets().find_map(|&bucket| {
            older = older.with(bucket);
            let newer = window.without(older);
            let enough = older.count >= LEAST && newer.count >= LEAST;
            (enough && self.differ(older, newer, window)).then_some((older, newer))
        })
    }

    fn differ(&self, older: Moments, newer: Moments, window: Moments) -> bool {
        let harmonic = 1.0 / (1.0 / older.count as f64 + 1.0 / newer.count as f64);
        let log_odds = (2.0 * (window.count as f64).ln() / self.confidence).ln();
        let by_variance = (2.0 / harmonic * window.variance() * log_odds).sqrt();
        let by_range = 2.0 / (3.0 * harmonic) * self.range * log_odds;
        (older.mean - newer.mean).abs() > by_variance + by_range
    }

    fn drop_oldest(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.pop_front();
        }
        while self.rows.last().is_some_and(VecDeque::is_empty) {
            self.rows.pop();
        }
    }
}

impl ChangeDetector for Adwin {
    fn name(&self) -> &'static str {
        "adwin"
    }

    fn update(&mut self, novelty: f64) -> Result<Option<Change>, DriftError> {
        check_novelty(self.position, novelty)?;
        let detected = self.position;
        self.position += 1;
        self.insert(novelty);
        let mut change = None;
        while let Some((older, newer)) = self.cut() {
            let since = self.position - newer.count;
            change = Some(Change { detected, since, before: older.mean, after: newer.mean });
            self.drop_oldest();
        }
        Ok(change)
    }

    fn is_ready(&self) -> bool {
        self.window().count >= 2 * LEAST
    }
}

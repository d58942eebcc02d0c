//! Worth learning is what helps to predict the person's other texts.

use spring_numerics::{SettingError, setting::in_range};

use crate::scorer::score_each;
use crate::{DriftError, DriftScore, DriftScorer, Observation};

/// S = what learning from the text gains on others of the same person,
/// [`Observation::lookahead`], nats per token. A likelihood cannot tell news from noise, as both
/// are unlikely; but noise teaches nothing about the texts that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lookahead;

impl Lookahead {
    /// Steps on the text, unless given.
    pub(crate) const STEPS: usize = 1;
    /// Latest other texts that the gain is measured on, unless given.
    pub(crate) const RECENT: usize = 4;

    /// Refuses settings that no measurement can have. Both cost work for every text of a period,
    /// so they are bounded.
    pub(crate) fn check(steps: usize, recent: usize) -> Result<(), SettingError> {
        in_range("steps", steps, 1..=16, "a whole number from 1 to 16")?;
        in_range("recent", recent, 1..=64, "a whole number from 1 to 64")
    }
}

impl DriftScorer for Lookahead {
    fn name(&self) -> &'static str {
        "lookahead"
    }

    fn score(&self, observations: &[Observation]) -> Result<Vec<DriftScore>, DriftError> {
        let missing = observations.iter().position(|observation| observation.lookahead.is_none());
        if let Some(index) = missing {
            return Err(DriftError::NoLookahead { index });
        }
        score_each(observations, |o| o.lookahead.unwrap_or(f64::NAN))
    }
}

//! The base as it is.

use spring_core::Progress;

use super::{Answer, Learned, Period, Strategy};
use crate::Result;

/// Learns nothing and answers with the base.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frozen;

impl Strategy for Frozen {
    fn learn(&mut self, _: &Period<'_>, _: &mut dyn Progress) -> Result<Learned> {
        Ok(Learned::nothing())
    }

    fn answer(&self, _: &Period<'_>) -> Result<Answer> {
        Ok(Answer::with_adapter(None))
    }
}

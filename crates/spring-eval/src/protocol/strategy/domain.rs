//! The domain adapter as it is.

use std::sync::Arc;

use spring_core::{Config, Progress};
use spring_lm::Adapter;

use super::{Answer, Learned, Period, Strategy};
use crate::Result;

/// Learns nothing of the user and answers with the domain adapter.
#[derive(Debug, Clone, Default)]
pub struct Domain(Option<Arc<Adapter>>);

impl Strategy for Domain {
    fn prepare(&mut self, _: &mut Config, start: Option<Arc<Adapter>>) -> Result<()> {
        self.0 = start;
        Ok(())
    }

    fn learn(&mut self, _: &Period<'_>, _: &mut dyn Progress) -> Result<Learned> {
        Ok(Learned::nothing())
    }

    fn answer(&self, _: &Period<'_>) -> Result<Answer> {
        Ok(Answer::with_adapter(self.0.clone()))
    }
}

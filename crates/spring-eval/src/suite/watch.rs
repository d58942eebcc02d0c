//! Who looks on while a suite runs, and may stop it.

use std::ops::ControlFlow;

use super::Estimate;
use crate::Result;

/// Where a suite stands.
#[derive(Debug, Clone)]
pub enum SuiteEvent<'a> {
    /// What it will cost, before anything is run.
    Estimate(Estimate),
    /// A job is done.
    Job {
        /// Which: data set, budget, seed, user.
        name: &'a str,
        /// Jobs done, those of earlier runs included.
        done: usize,
        /// Jobs in all.
        jobs: usize,
        /// Seconds that are left, from the jobs of this run.
        seconds_left: f64,
    },
    /// Something moves.
    Step,
}

/// Sees every event; asked at each, says whether the suite goes on.
pub(super) type Watch<'a> = &'a (dyn Fn(SuiteEvent<'_>) -> ControlFlow<()> + Sync);

pub(super) fn stop_if(flow: ControlFlow<()>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            Err(spring_core::Error::from(spring_lm::ModelError::Stopped).into())
        }
    }
}

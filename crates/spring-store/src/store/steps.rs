//! Following and stopping a long work.

use std::ops::ControlFlow;

use crate::{Error, backend::Outcome};

/// Follows a long work: is told what is done so far before each step, and answers `Break` to stop
/// it.
pub type Step<'s> = &'s mut dyn FnMut(u64) -> ControlFlow<()>;

/// Tells of one more thing done; the error is a request to stop.
pub(super) struct Steps<'s> {
    step: Step<'s>,
    done: u64,
}

impl<'s> Steps<'s> {
    pub(super) fn new(step: Step<'s>) -> Self {
        Self { step, done: 0 }
    }

    pub(super) fn next(&mut self) -> Outcome<()> {
        self.done += 1;
        match (self.step)(self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped.into()),
        }
    }
}

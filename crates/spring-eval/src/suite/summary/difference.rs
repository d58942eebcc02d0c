//! A mean difference over users, with or without its test.

use serde::Serialize;
use spring_metrics::{Interval, PairedTest};

/// A mean difference over users between two methods.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// With its test.
    Tested(PairedTest),
    /// With its interval alone: the method is not among the suite's contrasts.
    Untested(Interval),
}

impl Difference {
    /// The mean and its interval.
    pub fn interval(self) -> Interval {
        match self {
            Self::Tested(test) => test.difference,
            Self::Untested(interval) => interval,
        }
    }

    /// The test, if there is one.
    pub fn test(self) -> Option<PairedTest> {
        match self {
            Self::Tested(test) => Some(test),
            Self::Untested(_) => None,
        }
    }

    pub(super) fn untested(self) -> Self {
        Self::Untested(self.interval())
    }

    pub(super) fn test_mut(&mut self) -> Option<&mut PairedTest> {
        match self {
            Self::Tested(test) => Some(test),
            Self::Untested(_) => None,
        }
    }
}

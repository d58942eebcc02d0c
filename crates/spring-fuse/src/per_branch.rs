//! A few numbers, one per branch, without an allocation.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::FuseError;

/// The most branches that a mixture takes.
pub const MAX_BRANCHES: usize = 8;

/// One number per branch, 1 to [`MAX_BRANCHES`] of them; reads as a slice, is written as a list.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f32>", into = "Vec<f32>")]
pub struct PerBranch {
    values: [f32; MAX_BRANCHES],
    count: usize,
}

impl PerBranch {
    /// A value for each of `count` branches.
    pub(crate) fn from_fn(count: usize, value: impl Fn(usize) -> f32) -> Self {
        let count = count.min(MAX_BRANCHES);
        Self {
            values: std::array::from_fn(|index| if index < count { value(index) } else { 0.0 }),
            count,
        }
    }
}

impl Deref for PerBranch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.count]
    }
}

impl TryFrom<&[f32]> for PerBranch {
    type Error = FuseError;

    fn try_from(values: &[f32]) -> Result<Self, FuseError> {
        if (1..=MAX_BRANCHES).contains(&values.len()) {
            Ok(Self::from_fn(values.len(), |index| values[index]))
        } else {
            Err(FuseError::BranchCount(values.len()))
        }
    }
}

impl TryFrom<Vec<f32>> for PerBranch {
    type Error = FuseError;

    fn try_from(values: Vec<f32>) -> Result<Self, FuseError> {
        values.as_slice().try_into()
    }
}

impl From<PerBranch> for Vec<f32> {
    fn from(values: PerBranch) -> Self {
        values.to_vec()
    }
}

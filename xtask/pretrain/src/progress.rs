//! How far a run has come, as a checkpoint keeps it.

use serde::{Deserialize, Serialize};

/// What was done so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Tokens learned from.
    pub tokens: u64,
    /// Sequences learned from.
    pub sequences: u64,
    /// Those of them with related texts before their target.
    pub with_related: u64,
    /// Time spent training, reading and measuring left out.
    pub seconds: f64,
}

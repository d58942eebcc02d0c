#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod alpha;
mod baselines;
mod error;
mod named;
mod observation;
mod score;
mod scorer;
mod selection;
mod spring;
mod statistics;

pub use alpha::Alpha;
pub use baselines::{LossOnly, NoveltyOnly, QualityOnly, Random, Recency};
pub use error::DriftError;
pub use observation::Observation;
pub use score::DriftScore;
pub use scorer::{DriftScorer, ScorerConfig};
pub use selection::{Selected, Selection};
pub use spring::{Spring, Standardize};
pub use statistics::ScoreStatistics;

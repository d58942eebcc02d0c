#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod adwin;
mod alpha;
mod baselines;
mod change;
mod error;
mod lookahead;
mod moments;
mod observation;
mod page_hinkley;
mod score;
mod scorer;
mod selection;
mod signal;
mod spring;
mod statistics;
mod stream;

pub use adwin::Adwin;
pub use alpha::Alpha;
pub use baselines::{LossOnly, NoveltyOnly, QualityOnly, Random, Recency};
pub use change::{Change, ChangeDetector, DetectorConfig};
pub use error::DriftError;
pub use lookahead::Lookahead;
pub use observation::Observation;
pub use page_hinkley::PageHinkley;
pub use score::DriftScore;
pub use scorer::{DriftScorer, ScorerConfig};
pub use selection::{Selected, Selection};
pub use signal::{DriftReading, DriftSignal, SignalConfig};
pub use spring::{Spring, Standardize};
pub use spring_numerics::SettingError;
pub use statistics::ScoreStatistics;
pub use stream::{Scenario, StreamConfig};

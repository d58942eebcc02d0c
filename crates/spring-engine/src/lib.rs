#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cache;
mod config;
mod dropped;
mod engine;
mod error;
mod event;
mod judge;
mod learning;
mod patient;
mod people;
mod prefixes;
mod queue;
mod request;
mod running;
mod scheduler;
mod shared;
mod stats;

pub use config::{EngineConfig, LearningPolicy};
pub use dropped::Dropped;
pub use engine::Engine;
pub use error::{Failure, Refusal, Whose};
pub use event::{Event, Events, Receipt, Sink, channel};
pub use judge::Judge;
pub use learning::{Adaptation, AdaptationState, Asker};
pub use people::Person;
pub use request::{Changes, Input, Request};
pub use spring_core;
pub use stats::{CacheStats, Endings, Histogram, PrefixStats, Stats};

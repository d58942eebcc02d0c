//! The SPRInG loop: score, select, adapt, remember, generate, over durable per-user state.

mod config;
mod error;
pub mod prompt;
pub mod record;
mod store;

pub use config::{BufferConfig, ColdStart, Config, DecodingConfig, DriftConfig};
pub use error::{Error, Result};
pub use store::{
    Generation, IngestReport, Member, PeriodCommit, Settings, SqliteStore, StateStore, StoredInteraction, UserSummary,
};

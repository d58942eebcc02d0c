#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod api_key;
pub mod backend;
mod config;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod data;
mod error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod holder;
mod memory;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
mod preset;
mod prior;
pub mod record;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

pub use api_key::{ApiKey, KeyAccess, KeyHash, KeyRecord, NewKey};
pub use backend::{Access, Backend};
pub use config::{
    BankKind, BufferConfig, ColdStart, Config, DecodingConfig, DriftConfig, NoveltyReference,
    RetrievalConfig, RetrieverKind, SearchConfig, StateConfig, TextLength,
};
pub use data::{
    Backlog, Consent, EmbeddingMap, Forgetting, Forgotten, Generation, GenerationSummary,
    GraphPlace, History, HistoryEntry, IngestReport, Lease, Member, PeriodCommit, PlannedPeriod,
    Prior, Relearned, Replica, Rollback, Settings, StoredInteraction, Transferred, Unjudged,
    UserSize, UserSnapshot, UserSummary, UserVersion,
};
pub use error::{CopyError, Error, Result, TransferError};
pub use memory::{Memory, MemoryStore};
pub use place::StatePlace;
#[cfg(feature = "postgres")]
pub use postgres::{Address, Postgres, PostgresStore};
pub use preset::Preset;
pub use prior::{
    ContributedText, Contribution, Contributor, Contributors, PriorChange, PriorPlan, PriorRecord,
    PriorSummary, PriorTexts, PriorUse,
};
pub use spring_numerics::words::toml_reason;
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteStore};
pub use store::{Copied, PeriodPlan, Periods, Step, Store, period_ranges};

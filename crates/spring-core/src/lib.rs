#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod adapt;
mod config;
mod cut;
mod embedding;
mod error;
mod forget;
mod generate;
pub mod key;
mod memories;
mod period;
mod progress;
pub mod prompt;
mod provenance;
pub mod record;
mod retrieve;
mod retriever;
mod search;
mod signal;
mod stop;
mod store;

pub use adapt::{Follow, Periods, adapt, adapt_users, check_base};
pub use config::{BufferConfig, ColdStart, Config, DecodingConfig, DriftConfig, StateConfig, TextLength};
pub use cut::period_ranges;
pub use embedding::{EmbeddingMap, embed_interaction, embed_text};
pub use error::{Error, Result};
pub use forget::forget_interaction;
pub use generate::{FusedScore, TextGeneration, TextStep, generate, score_fused};
pub use memories::{Memories, RetrievalBank, recall};
pub use period::{PeriodInput, PeriodOutcome, learn_period, mean_log_likelihood, novelties};
pub use progress::{Event, Progress};
pub use provenance::{AlikeText, LearnedText, Provenance, learned_texts, path_to, provenance};
pub use retrieve::{Retrieval, retrieve};
pub use retriever::{Bm25Retriever, DenseRetriever, RetrievalConfig, Retriever, RetrieverKind};
pub use search::{FoundText, HistorySearch, SearchConfig};
pub use signal::{PeriodSignal, drift_signal};
pub use spring_lm::{Decode, Embed, LanguageModel, ModelInfo, Score, Tokenize, Train};
pub use stop::StopStrings;
pub use store::{
    Access, Forgetting, Forgotten, Generation, GenerationSummary, GraphPlace, HistoryEntry, IngestReport,
    Lease, Member, PeriodCommit, PlannedPeriod, Relearned, Rollback, Settings, SqliteStore, StateStore,
    StoredInteraction, Transferred, UserSummary,
};
pub use {spring_drift, spring_fuse, spring_lm, spring_memory};

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod adapt;
mod ask;
mod base;
mod branches;
mod embedding;
mod error;
mod fit;
mod forget;
mod fused_score;
mod gains;
mod generate;
mod ingest;
mod jobs;
pub mod key;
mod learner;
mod length;
mod likely;
mod lookahead;
mod period;
mod prior;
mod progress;
pub mod prompt;
mod provenance;
mod retriever;
mod search;
mod signal;
mod together;
mod user_model;
mod worker;

pub use adapt::{Follow, adapt, adapt_held, adapt_users};
pub use ask::{Ask, Question, Retrieval};
pub use base::{Base, check_base};
pub use embedding::{embed_interaction, embed_text};
pub use error::{Error, Result};
pub use fit::Fit;
pub use forget::{ForgettingCost, forget_interaction, forgetting_cost};
pub use fused_score::FusedScore;
pub use generate::{TextGeneration, TextStep};
pub use ingest::ingest_jsonl;
pub use jobs::Jobs;
pub use learner::{Learner, Period};
pub use length::{own_length, own_length_of};
pub use likely::Likely;
pub use period::{
    Learned, PeriodInput, PeriodOutcome, learn_period, mean_log_likelihood, novelties,
};
pub use prior::{apply_prior, train_prior};
pub use progress::{Event, Progress, reading};
pub use provenance::{AlikeText, LearnedText, Provenance, learned_texts, path_to, provenance};
pub use retriever::{Bm25Retriever, DenseRetriever, LatestRetriever, Retriever, retriever};
pub use search::{FoundText, HistorySearch};
pub use signal::{PeriodSignal, drift_signal};
pub use spring_lm::{Decode, Embed, LanguageModel, ModelInfo, Score, StopStrings, Tokenize, Train};
pub use spring_store::{
    Access, ApiKey, Backend, Backlog, BankKind, BufferConfig, ColdStart, Config, Consent,
    ContributedText, Contribution, Contributor, Contributors, Copied, DecodingConfig, DriftConfig,
    EmbeddingMap, Forgetting, Forgotten, Generation, GenerationSummary, GraphPlace, History,
    HistoryEntry, IngestReport, KeyAccess, KeyHash, KeyRecord, Lease, Member, Memory, MemoryStore,
    NewKey, NoveltyReference, PeriodCommit, PeriodPlan, Periods, PlannedPeriod, Preset, Prior,
    PriorChange, PriorPlan, PriorRecord, PriorSummary, PriorTexts, PriorUse, Relearned,
    RetrievalConfig, RetrieverKind, Rollback, SearchConfig, Settings, StateConfig, StatePlace,
    Store, StoredInteraction, TextLength, Transferred, Unjudged, UserSize, UserSnapshot,
    UserSummary, UserVersion, period_ranges, record,
};
#[cfg(feature = "sqlite")]
pub use spring_store::{Sqlite, SqliteStore};
pub use user_model::{Memories, RetrievalBank, UserModel};
pub use worker::{Attend, Worker, work};
pub use {spring_drift, spring_fuse, spring_lm, spring_memory, spring_store};

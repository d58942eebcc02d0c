#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bm25;
mod buffer;
mod dense;
mod fusion;
mod graph;
mod history;
mod hit;
mod id;
mod interaction;
mod jsonl;
mod policy;
mod stop_words;
mod tokenizer;
mod vectors;

pub use bm25::{Bm25Config, Bm25Index, Bm25Variant};
pub use buffer::{
    BufferError, BufferItem, BufferSnapshot, DEFAULT_CAPACITY, Embeddings, NoEmbeddings,
    ResidualBuffer,
};
#[cfg(feature = "hnsw_rs")]
pub use dense::HnswRsIndex;
pub use dense::{
    DenseConfig, DenseIndex, ExactIndex, GraphDumpError, GraphOrigin, GraphStamp, IndexKind,
    Points, VectorIndex,
};
pub use fusion::{RRF_CONSTANT, reciprocal_rank_fusion};
pub use graph::{HnswIndex, Layers};
pub use history::{
    DocumentFields, HistoryConfig, HistoryIndex, SearchError, SearchFilter, SearchMode,
    SearchRequest,
};
pub use hit::Hit;
pub use id::{IdError, InteractionId, MAX_ID_BYTES, UserId};
pub use interaction::Interaction;
pub use jsonl::{JsonlError, JsonlLimits, JsonlReader, without_lone_surrogates};
pub use policy::{
    BalancedPeriods, BufferPolicy, BufferPolicyConfig, Diversity, Evicted, EvictionReason, Recency,
    Reservoir, Residual, Retained, Standing,
};
pub use spring_numerics::SettingError;
pub use stop_words::template_stop_words;
pub use tokenizer::{Language, Tokenizer};
pub use vectors::{VectorError, VectorStore};

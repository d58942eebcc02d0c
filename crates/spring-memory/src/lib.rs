#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bm25;
mod buffer;
#[cfg(feature = "hnsw")]
mod construction;
mod dense;
mod dot;
mod fusion;
#[cfg(feature = "hnsw")]
mod graph;
#[cfg(feature = "hnsw")]
mod graph_dump;
mod history;
mod hit;
mod id;
mod interaction;
mod jsonl;
#[cfg(feature = "hnsw")]
mod layers;
mod policy;
mod stop_words;
mod tokenizer;
mod vectors;

pub use bm25::{Bm25Config, Bm25ConfigError, Bm25Index, Bm25Variant};
pub use buffer::{
    BufferError, BufferItem, BufferSnapshot, DEFAULT_CAPACITY, Embeddings, NoEmbeddings, ResidualBuffer,
};
#[cfg(feature = "hnsw")]
pub use dense::GraphOrigin;
pub use dense::{DenseConfig, DenseConfigError, DenseIndex};
pub use fusion::{RRF_CONSTANT, reciprocal_rank_fusion};
#[cfg(feature = "hnsw")]
pub use graph_dump::{GraphDumpError, GraphStamp};
pub use history::{
    DocumentFields, HistoryConfig, HistoryConfigError, HistoryIndex, SearchError, SearchFilter, SearchMode,
    SearchRequest, UnknownSearchMode,
};
pub use hit::Hit;
pub use id::{IdError, InteractionId, MAX_ID_BYTES, UserId};
pub use interaction::Interaction;
pub use jsonl::{JsonlError, JsonlLimits, JsonlReader, without_lone_surrogates};
pub use policy::{
    BalancedPeriods, BufferPolicy, BufferPolicyConfig, Diversity, Evicted, EvictionReason, Recency,
    Reservoir, Residual, Retained, Standing,
};
pub use stop_words::template_stop_words;
pub use tokenizer::Tokenizer;
pub use vectors::{VectorError, VectorStore};

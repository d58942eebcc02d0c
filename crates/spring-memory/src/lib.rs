#![doc = include_str!("../README.md")]

mod bm25;
mod buffer;
mod hit;
mod id;
mod interaction;
mod jsonl;
mod policy;
mod stop_words;
mod tokenizer;

pub use bm25::{Bm25Config, Bm25ConfigError, Bm25Index, Bm25Variant};
pub use buffer::{
    BufferError, BufferItem, BufferSnapshot, DEFAULT_CAPACITY, Embeddings, NoEmbeddings, ResidualBuffer,
};
pub use hit::Hit;
pub use id::{IdError, InteractionId, MAX_ID_BYTES, UserId};
pub use interaction::Interaction;
pub use jsonl::{JsonlError, JsonlLimits, JsonlReader};
pub use policy::{
    BalancedPeriods, BufferPolicy, BufferPolicyConfig, Diversity, Evicted, EvictionReason, Recency,
    Reservoir, Residual, Retained, Standing,
};
pub use stop_words::template_stop_words;
pub use tokenizer::Tokenizer;

//! What an engine says of itself.

/// Whether requests can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// Not yet, or not any more: why, in words.
    NotReady(String),
}

/// A base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its id on the wire.
    pub id: String,
    /// When it was made or loaded, seconds since 1970.
    pub created: u64,
    /// Tokens of its context.
    pub context: u32,
    /// Length of its embeddings; `None` if it gives none.
    pub embedding: Option<u32>,
}

/// Gauges and counters of the engine, for `/metrics`. The server counts requests, tokens and times
/// itself.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    /// Answers that are being written or whose prompt is being read.
    pub running: u64,
    /// Answers that wait in the queue.
    pub waiting: u64,
    /// Used part of the memory for keys and values, 0 to 1.
    pub kv_cache_usage: f64,
    /// Prompt tokens that the prefix cache was asked for, since the start.
    pub prefix_cache_queries: u64,
    /// Those it had.
    pub prefix_cache_hits: u64,
    /// Bytes that it takes.
    pub prefix_cache_bytes: u64,
    /// Parts of prompts that went from it to make room, since the start.
    pub prefix_cache_evictions: u64,
    /// Adapters that answers being written have, each once.
    pub running_adapters: u64,
    /// Adapters that waiting answers will have, each once.
    pub waiting_adapters: u64,
    /// Most adapters that answers being written can have.
    pub most_adapters: u64,
    /// Adapters in memory.
    pub adapters_loaded: u64,
    /// Their bytes.
    pub adapter_bytes: u64,
    /// Adapters that were loaded since the start.
    pub adapter_loads: u64,
    /// Adapters that went from memory to make room, since the start.
    pub adapter_evictions: u64,
    /// Adaptations that wait.
    pub adaptations_waiting: u64,
    /// Adaptations that run.
    pub adaptations_running: u64,
    /// Adaptations that ended well since the start.
    pub adaptations_done: u64,
    /// Those that failed.
    pub adaptations_failed: u64,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The ids.
    pub ids: Vec<u32>,
    /// The bytes of each.
    pub bytes: Vec<Vec<u8>>,
}

/// A request for embeddings.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EmbeddingRequest {
    /// The key's id; empty where there are no keys.
    pub key: String,
    /// The base's id; embeddings are the base's, equal for all users.
    pub model: String,
    /// Texts or token ids, none empty; never [`Prompt::Chat`](super::Prompt::Chat).
    pub inputs: Vec<super::Prompt>,
}

/// Embeddings, one for each input, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// The vectors, all of [`Model::embedding`] numbers.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of the inputs.
    pub prompt_tokens: u32,
}

//! What is measured: written to a file, so that every system works on the same numbers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One task with all that it needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Work {
    /// From the file to the first token. Result: the largest log-probability of the next token.
    Load {
        /// The model's file.
        model: PathBuf,
        /// The context.
        tokens: Vec<u32>,
    },
    /// Decoding in one row, and in several with an adapter each.
    Adapters {
        /// The model's file.
        model: PathBuf,
        /// A GGUF file for each row.
        adapters: Vec<PathBuf>,
        /// The context of every row, and the text that is given as if it had been chosen.
        tokens: Vec<u32>,
        /// Timed tokens of each row.
        new_tokens: usize,
        /// The place of the last timed token; the context is all before them.
        position: usize,
        /// Rows of each part.
        rows: Vec<usize>,
    },
    /// Log-likelihoods of responses. Result: the mean of each row, nats per token.
    Score {
        /// The model's folder or GGUF file.
        model: PathBuf,
        /// The texts.
        rows: Vec<Row>,
        /// A PEFT folder.
        #[serde(default)]
        adapter: Option<PathBuf>,
        /// Rows that a system runs together, where it does not choose that itself.
        batch_size: usize,
    },
    /// LoRA training of `batch_size` rows over and over. Result: the loss before anything was
    /// learned.
    Train {
        /// The model's folder or GGUF file.
        model: PathBuf,
        /// As many as the batch has.
        rows: Vec<Row>,
        /// Optimiser steps.
        steps: usize,
        /// The settings, the same for all.
        settings: TrainSettings,
    },
    /// Reading a context. Result: the log-probabilities of the next token.
    Prefill {
        /// The model's folder or GGUF file.
        model: PathBuf,
        /// The context.
        tokens: Vec<u32>,
    },
    /// Decoding with a cache, token by token. Result: the largest log-probability after each token.
    Decode {
        /// The model's folder or GGUF file.
        model: PathBuf,
        /// The text that is given as if it had been chosen, so that all systems walk the same way.
        tokens: Vec<u32>,
        /// Timed tokens of each part.
        new_tokens: usize,
        /// The place of the last timed token; the context is all before them.
        positions: Vec<usize>,
        /// Rows that decode side by side.
        rows: Vec<usize>,
    },
    /// BM25 over one corpus. Result: the best scores of each query.
    Bm25 {
        /// The corpus, words between blanks.
        documents: Vec<String>,
        /// The queries.
        queries: Vec<String>,
        /// How many documents are asked for.
        k: usize,
    },
    /// Nearest neighbours by cosine through an HNSW graph. Recall is a fact, not a result: graphs
    /// differ.
    Dense {
        /// Vectors and then queries, f32 in little-endian order.
        vectors: PathBuf,
        /// Numbers in a vector.
        dimensions: usize,
        /// Vectors; the queries follow.
        count: usize,
        /// Links of a point.
        links: usize,
        /// Candidates in construction.
        ef_construction: usize,
        /// Candidates in search, one part each.
        ef_search: Vec<usize>,
        /// The exact nearest of each query.
        truth: Vec<Vec<u64>>,
    },
    /// From the logits of two branches to a token: their mixture with equal weights, then the
    /// likeliest token or a draw. Result: the mixture's log-probabilities at every hundredth token,
    /// and the likeliest token.
    Fuse {
        /// The two rows of logits, f32 in little-endian order.
        logits: PathBuf,
        /// Numbers in a row.
        vocabulary: usize,
        /// Steps of each part.
        steps: usize,
        /// Of the draws.
        temperature: f32,
        /// Of the draws.
        top_p: f32,
    },
    /// One user writes `new` more texts, which come in and are learned, after `before` others.
    History {
        /// The model's folder or GGUF file.
        model: PathBuf,
        /// Texts that have been learned before.
        before: usize,
        /// Texts of each repetition.
        new: usize,
        /// How many of them are selected.
        selected: usize,
    },
    /// Users who have each written `texts` texts learn their first period, one after the other.
    Users {
        /// The model's folder or GGUF file.
        model: PathBuf,
        /// Users.
        users: usize,
        /// Texts of each.
        texts: usize,
    },
}

impl Work {
    /// The name that workers know the task by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Adapters { .. } => "adapters",
            Self::Score { .. } => "score",
            Self::Train { .. } => "train",
            Self::Prefill { .. } => "prefill",
            Self::Decode { .. } => "decode",
            Self::Bm25 { .. } => "bm25",
            Self::Dense { .. } => "dense",
            Self::Fuse { .. } => "fuse",
            Self::History { .. } => "history",
            Self::Users { .. } => "users",
        }
    }
}

/// A text as token ids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What the model is given.
    pub context: Vec<u32>,
    /// What is scored or learned.
    pub response: Vec<u32>,
}

/// AdamW on LoRA factors of q and v, with warm-up, linear decay and clipping by the global norm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainSettings {
    /// Rank of the factors.
    pub rank: usize,
    /// Numerator of their scale.
    pub alpha: f64,
    /// Dropout before the first factor.
    pub dropout: f64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Part of the steps over which it rises.
    pub warmup: f64,
    /// AdamW's.
    pub beta1: f64,
    /// AdamW's.
    pub beta2: f64,
    /// AdamW's.
    pub epsilon: f64,
    /// AdamW's.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub max_grad_norm: f64,
}

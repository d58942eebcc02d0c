//! Limits and policies of an engine.

use std::time::Duration;

use spring_numerics::setters;

use crate::Judge;

/// What an engine may take, and when it learns.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Most rows in the batch. A text is one row, one more where its gate is open, and one more
    /// where it is contrasted with the base. Default 32.
    pub rows: usize,
    /// Most tokens that the rows in the batch may come to hold, prompts and answers. Default
    /// 65,536.
    pub tokens: usize,
    /// Most requests that wait. Default 256.
    pub waiting: usize,
    /// Most of them from one key. Default 64.
    pub waiting_per_key: usize,
    /// Most texts of one request. Default 8.
    pub choices: usize,
    /// How long an answer waits for its reader before it is given up. Default 30 s.
    pub reader: Duration,
    /// Bytes of people's models that are kept ready. Default 1 GiB.
    pub cache: u64,
    /// Bytes of keys and values of what contexts began with, which are kept for requests that begin
    /// alike; 0 for none. Default 512 MiB.
    pub prefixes: u64,
    /// When users are adapted; `None`: only when it is asked for.
    pub learning: Option<LearningPolicy>,
    /// Says whether what was learned is kept; without one it always is.
    pub judge: Option<Judge>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            rows: 32,
            tokens: 1 << 16,
            waiting: 256,
            waiting_per_key: 64,
            choices: 8,
            reader: Duration::from_secs(30),
            cache: 1 << 30,
            prefixes: 512 << 20,
            learning: None,
            judge: None,
        }
    }
}

setters! {
    EngineConfig {
        with_rows(rows: usize);
        with_tokens(tokens: usize);
        with_waiting(waiting: usize);
        with_waiting_per_key(waiting_per_key: usize);
        with_choices(choices: usize);
        with_reader(reader: Duration);
        with_cache(cache: u64);
        with_prefixes(prefixes: u64);
        with_learning(learning: Option<LearningPolicy>);
        with_judge(judge: Option<Judge>);
    }
}

/// When a user's new texts are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LearningPolicy {
    /// As soon as this many texts are pending. Default 40, which makes a period.
    pub pending: u64,
    /// Fewer too, once no answer has been written for this long. Default 5 minutes.
    pub idle: Duration,
    /// How often it is looked for users with new texts. Default 10 s.
    pub every: Duration,
}

impl Default for LearningPolicy {
    fn default() -> Self {
        Self { pending: 40, idle: Duration::from_secs(5 * 60), every: Duration::from_secs(10) }
    }
}

setters! {
    LearningPolicy {
        with_pending(pending: u64);
        with_idle(idle: Duration);
        with_every(every: Duration);
    }
}

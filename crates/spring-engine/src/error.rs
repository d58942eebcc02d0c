//! Why a request is not taken, and why an answer cannot go on.

use std::{sync::Arc, time::Duration};

use spring_core::spring_memory::UserId;

/// Whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// That of the request's key.
    Key,
    /// That of all.
    Everybody,
}

/// Why a request was not taken. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The queue is full.
    #[error(
        "{waiting} requests are waiting{}; try again in {} s",
        match whose { Whose::Key => " with this key", Whose::Everybody => "" },
        retry_after.as_secs()
    )]
    Full {
        /// Whose queue.
        whose: Whose,
        /// How many are in it.
        waiting: usize,
        /// When there is probably room, by the rate so far: from 1 s to 2 minutes.
        retry_after: Duration,
    },
    /// The engine is about to end.
    #[error("the engine is ending and takes no new requests")]
    Draining,
    /// The engine has ended.
    #[error("the engine has ended; its log says why")]
    Ended,
    /// More texts than one request may ask for.
    #[error("{choices} texts were asked for; one request may have 1 to {most}")]
    Choices {
        /// How many were asked for.
        choices: usize,
        /// The limit.
        most: usize,
    },
    /// The request alone is larger than the batch may be.
    #[error(
        "the request may come to {tokens} tokens in {rows} rows, and the batch holds \
         {most_tokens} in {most_rows}; ask for fewer new tokens or fewer texts"
    )]
    TooLarge {
        /// Tokens that its rows may come to hold.
        tokens: usize,
        /// Its rows.
        rows: usize,
        /// The limit on tokens.
        most_tokens: usize,
        /// The limit on rows.
        most_rows: usize,
    },
    /// The person's model, a setting or the prompt.
    #[error(transparent)]
    Core(#[from] spring_core::Error),
}

impl From<spring_core::spring_store::Error> for Refusal {
    fn from(error: spring_core::spring_store::Error) -> Self {
        Self::Core(error.into())
    }
}

/// Why an answer that was begun cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The model, or the sampler.
    #[error(transparent)]
    Core(Arc<spring_core::Error>),
    /// Nobody read it for this long.
    #[error("the answer was given up: nobody has read it for {} s", .0.as_secs())]
    Unread(Duration),
    /// The user was removed.
    #[error("user {0} was removed")]
    Removed(UserId),
    /// The engine ended first.
    #[error("the engine ended before the answer did")]
    Ended,
}

impl From<spring_core::Error> for Failure {
    fn from(error: spring_core::Error) -> Self {
        Self::Core(Arc::new(error))
    }
}

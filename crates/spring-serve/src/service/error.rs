//! Why a service refuses, in terms that the wire's codes are made of.

use std::time::Duration;

use thiserror::Error;

/// What a call of a [`Service`](crate::Service) gives.
pub type ServiceResult<T> = Result<T, ServiceError>;

/// Why a [`Service`](crate::Service) refuses a call.
///
/// Its message goes to the client, except that of [`Internal`](Self::Internal), which goes to the
/// log: a message must not quote another user's text, nor name a path of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// 404 `model_not_found`.
    #[error("there is no model {0:?}: GET /v1/models lists those there are")]
    UnknownModel(String),
    /// 404 `user_not_found`.
    #[error("there is no user {0:?}")]
    UnknownUser(String),
    /// 404 `not_found`: something of a user, as an interaction or a response, by name.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// What was looked for: `interaction`, `response`, `generation`, `adaptation`.
        what: &'static str,
        /// Its id, as the client gave it.
        id: String,
    },
    /// 400 `invalid_value`: a value that cannot be.
    #[error("{message}")]
    Invalid {
        /// The field, as the client wrote it.
        param: Option<String>,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// 400 `unsupported_parameter`: a value that others may serve.
    #[error("{message}")]
    Unsupported {
        /// The field, as the client wrote it.
        param: Option<String>,
        /// What is not supported, and what to do.
        message: String,
    },
    /// 400 `context_length_exceeded`.
    #[error(
        "this model's context has {context} tokens; the prompt has {prompt} and {asked} more were \
         asked for: shorten the prompt or ask for fewer"
    )]
    ContextLength {
        /// Tokens of the model's context.
        context: u32,
        /// Tokens of the prompt.
        prompt: u32,
        /// New tokens asked for.
        asked: u32,
    },
    /// 409 `conflict`, with `x-should-retry: false`: the same id with another content, an import
    /// into a user who is there already.
    #[error("{0}")]
    Conflict(String),
    /// 429 `slow_down`: this key's queue is full.
    #[error("too many requests of this key are waiting: try again later")]
    SlowDown {
        /// When to try again, from the measured rate; `None` leaves it to the server.
        retry_after: Option<Duration>,
    },
    /// 503 `server_is_overloaded`: the queue of all is full.
    #[error("the server is overloaded: try again later")]
    Overloaded {
        /// When to try again, from the measured rate; `None` leaves it to the server.
        retry_after: Option<Duration>,
    },
    /// 503 `not_ready`: the model is being loaded, or the service is going down.
    #[error("the server is not ready: {0}")]
    NotReady(String),
    /// 500 `internal_error`: damage, a full disk, a defect. The client sees no word of it, the log
    /// does, beside the request's id.
    #[error("{0}")]
    Internal(String),
}

impl ServiceError {
    /// [`Invalid`](Self::Invalid) of a field.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self::Invalid { param: Some(param.into()), message: message.into() }
    }

    /// [`Unsupported`](Self::Unsupported) of a field.
    pub fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self::Unsupported { param: Some(param.into()), message: message.into() }
    }

    /// [`Internal`](Self::Internal) of an error with its sources.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message.push_str(": ");
            message.push_str(&error.to_string());
            source = error.source();
        }
        Self::Internal(message)
    }
}

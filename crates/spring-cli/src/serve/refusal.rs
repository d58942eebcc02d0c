//! Errors of the engine and of the state in the terms of the wire. No message names a path.

use spring_core::{Error, spring_store::Error as StoreError, spring_store::TransferError};
use spring_engine::{Failure, Refusal, Whose};
use spring_serve::ServiceError;

/// Why a request was not taken, or a call failed.
pub fn of(error: Error) -> ServiceError {
    match error {
        Error::Store(error) => of_store(error),
        Error::User { source, .. } => of(*source),
        Error::TooLong { tokens, context } => {
            ServiceError::ContextLength { context: short(context), prompt: short(tokens), asked: 1 }
        }
        Error::Setting(error) => ServiceError::Invalid { param: None, message: error.to_string() },
        Error::Fuse(error) => ServiceError::Invalid { param: None, message: error.to_string() },
        // The template or the tokenizer refuses what is in the request.
        Error::Model(error) => ServiceError::Invalid { param: None, message: error.to_string() },
        other => ServiceError::internal(&other),
    }
}

pub fn of_store(error: StoreError) -> ServiceError {
    match error {
        StoreError::UnknownUser { user, .. } => ServiceError::UnknownUser(user),
        StoreError::UnknownRecord { what, number, .. } => {
            ServiceError::NotFound { what, id: number.to_string() }
        }
        StoreError::UnknownInteraction { id, .. } => {
            ServiceError::NotFound { what: "interaction", id: id.to_string() }
        }
        StoreError::Pruned { number, .. } => {
            ServiceError::NotFound { what: "generation", id: number.to_string() }
        }
        error @ (StoreError::DuplicateId { .. } | StoreError::Conflict { .. }) => {
            ServiceError::Conflict(error.to_string())
        }
        error @ StoreError::DamagedPrior { .. } => ServiceError::Conflict(error.to_string()),
        StoreError::Leased { user, .. } => {
            ServiceError::NotReady(format!("user {user} is being updated; try again"))
        }
        StoreError::Busy { .. } => {
            ServiceError::NotReady("another process is writing to the state; try again".into())
        }
        StoreError::Outdated { user } => {
            ServiceError::NotReady(format!("a text of user {user} was forgotten; try again"))
        }
        StoreError::Setting(error) => {
            ServiceError::Invalid { param: None, message: error.to_string() }
        }
        StoreError::Transfer(TransferError::Present { user, .. }) => {
            ServiceError::Conflict(format!("there is a user {user} already"))
        }
        other => ServiceError::internal(&other),
    }
}

pub fn of_refusal(refusal: Refusal, asked: Option<u32>) -> ServiceError {
    match refusal {
        Refusal::Full { whose: Whose::Key, retry_after, .. } => {
            ServiceError::SlowDown { retry_after: Some(retry_after) }
        }
        Refusal::Full { retry_after, .. } => {
            ServiceError::Overloaded { retry_after: Some(retry_after) }
        }
        Refusal::Draining => ServiceError::NotReady("it is going down".into()),
        Refusal::Ended => ServiceError::NotReady("its engine has ended".into()),
        refusal @ Refusal::Choices { .. } => ServiceError::invalid("n", refusal.to_string()),
        refusal @ Refusal::TooLarge { .. } => {
            ServiceError::invalid("max_tokens", refusal.to_string())
        }
        Refusal::Core(Error::TooLong { tokens, context }) => ServiceError::ContextLength {
            context: short(context),
            prompt: short(tokens),
            asked: asked.unwrap_or(1),
        },
        Refusal::Core(error) => of(error),
        other => ServiceError::internal(&other),
    }
}

pub fn of_failure(failure: Failure) -> ServiceError {
    match failure {
        Failure::Removed(user) => ServiceError::UnknownUser(user.to_string()),
        Failure::Ended => ServiceError::NotReady("it went down before the answer's end".into()),
        other => ServiceError::internal(&other),
    }
}

/// Numbers of tokens are far below this limit.
pub fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

//! The service behind `spring serve`: engine, state and model in the terms of spring-serve.

mod archive;
mod audit;
mod bridge;
mod herald;
mod keeper;
pub mod kv_cache;
mod person;
mod prompt;
mod refusal;
mod served;
mod texts;
mod transfer;

pub use audit::{AuditLog, acted};
pub use herald::{Leaving, STILL_ASKED};
pub use served::Served;

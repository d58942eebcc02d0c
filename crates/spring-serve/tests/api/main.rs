//! The server over sockets: what clients rely on, and what other servers were reported for.

// Helpers of tests are not tests themselves.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod chat;
mod completions;
mod other;
mod page;
mod person;
mod pressure;
mod route;

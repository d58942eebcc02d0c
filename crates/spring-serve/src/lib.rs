#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
// The description is one large literal of JSON.
#![recursion_limit = "512"]

mod admission;
mod app;
mod bodies;
mod body;
mod clock;
mod config;
mod error;
mod fields;
mod guard;
mod keys;
mod metrics;
mod naming;
mod openai;
mod openapi;
mod page;
mod paths;
mod person;
mod rate;
mod route;
mod routes;
mod server;
mod service;
mod workers;

pub use config::{Limits, ServeConfig, UnknownUsers};
pub use server::{ServeError, Server, Shutdown};
pub use service::*;

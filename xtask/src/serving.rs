//! `spring serve` from outside: people who write, ask, forget and leave, and who keep an account of
//! what they were told.

pub mod account;
pub mod crash_test;
pub mod person;
pub mod server;
pub mod soak;

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod digest;
pub mod dot;
pub mod exp;
pub mod key;
pub mod lanes;
pub mod log_sum_exp;
mod named;
pub mod round;
mod setters;
pub mod setting;
pub mod simd;
pub mod whitespace;

pub use setting::SettingError;

/// What the macros name; not for other use.
#[doc(hidden)]
pub use serde as __serde;

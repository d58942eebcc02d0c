#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "digest")]
pub mod digest;
#[cfg(feature = "simd")]
pub mod dot;
pub mod exp;
#[cfg(feature = "file")]
pub mod file;
pub mod key;
#[cfg(feature = "simd")]
pub mod lanes;
#[cfg(feature = "simd")]
pub mod log_sum_exp;
mod named;
pub mod round;
mod setters;
pub mod setting;
#[cfg(feature = "simd")]
pub mod simd;
pub mod whitespace;
pub mod words;

pub use setting::SettingError;

/// What the macros name; not for other use.
#[doc(hidden)]
pub use serde as __serde;

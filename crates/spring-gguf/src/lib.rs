#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod activations;
mod cursor;
mod dequantise;
mod error;
mod file;
mod format;
mod header;
mod kind;
mod limits;
mod lora;
mod matrix;
mod metadata;
mod model;
mod panel;
mod product;
mod shards;
#[allow(unsafe_code)] // intrinsics; see there
mod simd;
mod unpack;
mod vocabulary;
mod writer;

pub use activations::QuantisedRows;
pub use dequantise::dequantise;
pub use error::{GgufError, Result};
pub use file::GgufFile;
pub use format::BlockFormat;
pub use header::{Header, TensorInfo};
pub use kind::Kind;
pub use limits::Limits;
pub use lora::{Lora, LoraBase, LoraFactors, LoraFormat, LoraTarget};
pub use matrix::Matrix;
pub use metadata::{Array, Metadata, Value};
pub use model::{Architecture, ModelKeys, RopeScaling, SlidingWindow, rotation_row};
pub use product::{Compute, Threads};
pub use simd::Kernels;
pub use vocabulary::{PreTokenizer, TokenKind, Vocabulary, VocabularyModel};

/// The crate whose [`Tokenizer`](tokenizers::Tokenizer) objects [`GgufFile::tokenizer`] makes.
#[cfg(feature = "tokenizer")]
pub use tokenizers;

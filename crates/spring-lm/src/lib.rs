#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod adapter;
mod adapter_hash;
mod architecture;
mod chat;
mod checkpoint;
mod config;
mod detokenizer;
mod error;
mod gguf;
mod gguf_adapter;
mod guarded;
pub mod helper;
#[cfg(feature = "hub")]
mod hub;
mod info;
mod json;
mod model;
mod parts;
mod peft;
mod pickle;
mod pieces;
mod projection;
mod rope;
mod sequence;
mod session;
mod special;
mod tensor_names;
mod tokenizer;
mod train;
mod weights;

pub use adapter::{Adapter, LoraConfig, LoraPair, keyed_rng};
pub use adapter_hash::AdapterHash;
pub use architecture::SUPPORTED_ARCHITECTURES;
pub use chat::{ChatTemplate, Message, Role};
pub use checkpoint::ModelFiles;
pub use config::{Activation, LayerKind, ModelConfig};
pub use detokenizer::{Detokenizer, StopStrings, TextStream};
pub use error::{ModelError, Result};
pub use gguf::gguf_name;
pub use guarded::Tokenizer;
pub use info::ModelInfo;
pub use model::{
    Branch, BranchVisitor, Decode, Embed, LanguageModel, Score, ScoreRow, Tokenize, Train,
};
pub use parts::Parts;
pub use projection::Projection;
pub use rope::{RopeConfig, RopeScaling};
pub use sequence::Sequence;
pub use session::{ContextPart, RowId, Session};
pub use tensor_names::{canonical, is_vision};
pub use train::{AdaptOutcome, TokenWeights, TrainConfig, TrainRequest, TrainStep};
pub use weights::Weights;

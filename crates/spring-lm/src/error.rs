//! What can go wrong between a model folder and a token.

use std::path::PathBuf;

use spring_numerics::{SettingError, words};

/// A result of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// An error of this crate; each names the file, tensor or setting it is about and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {}", words::of_system(source), path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A configuration file is malformed or asks for what this crate does not do.
    #[error("{file}: {reason}")]
    Config {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A GGUF file is damaged, or holds what is not run.
    #[error(transparent)]
    Gguf(#[from] spring_gguf::GgufError),
    /// A weights file is malformed or cut short.
    #[error("{file}: not a readable safetensors file ({reason}); fetch it again")]
    Weights {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the configuration asks for is not in the weights.
    #[error("{file}: tensor {tensor} is missing; the weights do not belong to this config.json")]
    MissingTensor {
        /// The file or folder searched.
        file: String,
        /// The tensor's name in the checkpoint.
        tensor: String,
    },
    /// A tensor has another shape or type than the configuration implies.
    #[error("{file}: tensor {tensor} is {found}, expected {expected}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What the file has.
        found: String,
        /// What the configuration implies.
        expected: String,
    },
    /// The tokenizer is malformed or refuses a text.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// The tokenizer's file.
        file: String,
        /// The tokenizers library's reason.
        reason: String,
    },
    /// An adapter cannot be used: malformed, or made for another model.
    #[error("adapter {adapter}: {reason}")]
    Adapter {
        /// The adapter's folder, or what it was loaded for.
        adapter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A model could not be downloaded.
    #[error("model {model}: {reason}")]
    Hub {
        /// Its name on the hub.
        model: String,
        /// What went wrong, with the file.
        reason: String,
    },
    /// A sequence that cannot be run: empty, over-long, or with ids outside the vocabulary.
    #[error("{0}")]
    Sequence(String),
    /// A setting that is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Training met a loss or a factor that is not a finite number; nothing was kept.
    #[error(
        "the loss was {loss} around step {step}: lower the learning rate; the earlier adapter is \
         unchanged"
    )]
    NotFinite {
        /// The optimiser step after which it was seen.
        step: usize,
        /// The loss that was seen.
        loss: f32,
    },
    /// Training met a gradient whose norm is not a finite number; nothing was kept.
    #[error(
        "the gradient's norm was {norm} around step {step}: lower the learning rate; the earlier \
         adapter is unchanged"
    )]
    GradientNotFinite {
        /// The optimiser step after which it was seen.
        step: usize,
        /// The norm that was seen.
        norm: f32,
    },
    /// Training made the loss much worse than it was at first, and than guessing is; nothing was
    /// kept.
    #[error(
        "the loss grew from {first} to {loss} nats per token by step {step}: lower the learning \
         rate; the earlier adapter is unchanged"
    )]
    Diverged {
        /// The optimiser step after which it was seen.
        step: usize,
        /// Mean loss of the first interval, nats per token.
        first: f32,
        /// The mean loss that was seen.
        loss: f32,
    },
    /// The training of several adapters together panicked; nothing was kept.
    #[error(
        "the training of a batch panicked, which is a defect of the program; nothing of it was \
         kept; trained one by one, the others are learned, and it shows whose texts lead to it"
    )]
    Panicked,
    /// The caller asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// The device asked for is not compiled in or not there.
    #[error("device {device}: {reason}")]
    Device {
        /// The device asked for.
        device: String,
        /// Which feature brings it, or what the driver said.
        reason: String,
    },
}

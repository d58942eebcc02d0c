#![doc = include_str!("../README.md")]

mod any;
mod arithmetic;
mod backend;
mod batch;
mod cache;
mod device;
mod embed;
mod head;
mod host;
mod load;
mod lora;
mod options;
#[cfg(any(test, feature = "pretrain"))]
mod pretrain;
mod residency;
mod rotation;
mod score;
mod session;
mod to_host;
mod train;
mod transformer;
mod weight;
mod workers;

pub use any::AnyModel;
pub use arithmetic::Arithmetic;
pub use backend::{BlockMatrix, CachedPart, LowRank, Mask, ModelBackend, Rows, Visible};
pub use cache::LayerCache;
pub use device::Device;
pub use lora::Lora;
pub use options::LoadOptions;
#[cfg(any(test, feature = "pretrain"))]
pub use pretrain::{AnyPretrainer, PretrainConfig, PretrainStart, Pretrainer};
pub use session::DecodingSession;
// What a user of this crate gives and gets.
pub use spring_lm::{
    Activation, AdaptOutcome, Adapter, AdapterHash, Branch, BranchVisitor, ContextPart, Decode,
    Detokenizer, Embed, LanguageModel, LayerKind, LoraConfig, LoraPair, Message, ModelConfig,
    ModelError, ModelFiles, ModelInfo, Projection, Result, Role, RowId, Score, ScoreRow, Sequence,
    Session, TokenWeights, Tokenize, Tokenizer, Train, TrainConfig, TrainRequest, TrainStep,
};
pub use transformer::Transformer;
pub use workers::Workers;

use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};
use load::Kept;
use lora::LoraRows;
use spring_numerics::SettingError;

/// The float type of a base model's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 10 of them fraction.
    F16,
    /// 16 bits with the exponent of f32.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Its name: `f32`, `f16` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Precision {
    type Err = SettingError;

    fn from_str(name: &str) -> std::result::Result<Self, SettingError> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| SettingError::new("precision", name, "f32, f16 or bf16"))
    }
}

/// A frozen base model on one device, generic over burn's backend.
///
/// [`AnyModel`] is the same with the backend chosen at run time.
#[derive(Debug)]
pub struct CausalLm<B: Backend> {
    pub(crate) transformer: Transformer<B>,
    pub(crate) config: ModelConfig,
    pub(crate) fingerprint: String,
    pub(crate) device: B::Device,
    pub(crate) tokens_at_once: usize,
    pub(crate) workers: Workers,
    pub(crate) residency: residency::Residency<B>,
}

impl<B: ModelBackend> CausalLm<B> {
    /// Loads a model.
    ///
    /// # Errors
    ///
    /// [`ModelError`], naming the file and what is wrong with it.
    pub fn load(files: &ModelFiles, device: B::Device) -> Result<Self> {
        Self::load_as(files, Precision::F32, device)
    }

    /// Loads a model with its matrices in another float type than f32: half the memory, and on a
    /// GPU with fast matrix units a multiple of the speed. Norms, attention, adapters and logits
    /// stay in f32.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and [`ModelError::Device`] if the device lacks that type.
    pub fn load_as(files: &ModelFiles, precision: Precision, device: B::Device) -> Result<Self> {
        let options = LoadOptions::default().with_precision(Some(precision));
        Self::load_with(files, &options, device)
    }

    /// Loads a model with other options than the default ones; their
    /// [device](LoadOptions::device) is that of [`AnyModel`], and is not looked at.
    ///
    /// # Errors
    ///
    /// As [`load_as`](Self::load_as).
    pub fn load_with(files: &ModelFiles, options: &LoadOptions, device: B::Device) -> Result<Self> {
        let config = files.model_config()?;
        if let Some(precision) = options.precision
            && !B::supports_dtype(&device, precision.dtype())
        {
            return Err(ModelError::Device {
                device: B::name(&device),
                reason: format!("it has no products in {precision}; take another precision"),
            });
        }
        let transformer = match files.gguf() {
            Some(file) => {
                let precision = options.precision.unwrap_or_else(|| {
                    // Activations of Gemma go beyond what f16 holds.
                    let half = match config.sandwich_norms {
                        true => Precision::Bf16,
                        false => Precision::F16,
                    };
                    // The shaders of wgpu have no bf16, and not every device has f16.
                    match B::KEEPS_BLOCKS || !B::supports_dtype(&device, half.dtype()) {
                        true => Precision::F32,
                        false => half,
                    }
                });
                if !B::KEEPS_BLOCKS {
                    tracing::info!(
                        "{}: quantised matrices become {precision} on this device",
                        files.label()
                    );
                }
                let kept = Kept { dtype: precision.dtype(), arithmetic: options.arithmetic };
                Transformer::load_gguf(file, &config, kept, &device)?
            }
            None => {
                let dtype = options.precision.unwrap_or_default().dtype();
                Transformer::load(files, &config, dtype, &device)?
            }
        };
        let fingerprint = files.fingerprint()?;
        let model = Self::from_parts(transformer, config, fingerprint, device);
        Ok(model.with_workers(options.workers.clone()))
    }

    fn from_parts(
        transformer: Transformer<B>,
        config: ModelConfig,
        fingerprint: String,
        device: B::Device,
    ) -> Self {
        Self {
            transformer,
            config,
            fingerprint,
            device,
            tokens_at_once: B::TOKENS_AT_ONCE,
            workers: Workers::default(),
            residency: residency::Residency::default(),
        }
    }

    /// Sets how many tokens, padding included, run in one pass of scoring or training; default
    /// [`ModelBackend::TOKENS_AT_ONCE`].
    ///
    /// More keep a GPU busy, fewer stay in a processor's caches and need less memory. Results
    /// differ by rounding alone.
    pub fn with_tokens_at_once(mut self, tokens: usize) -> Self {
        self.tokens_at_once = tokens.max(1);
        self
    }

    /// How many tokens of a context one pass of decoding reads.
    pub(crate) fn context_at_once(&self) -> usize {
        self.tokens_at_once.min(B::CONTEXT_AT_ONCE)
    }

    /// Sets the threads that its passes share; default as many as the machine runs at a time.
    /// Several models may be given the same budget.
    pub fn with_workers(mut self, workers: Workers) -> Self {
        self.workers = workers;
        self
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Identifies config, tokenizer and weights; adapters carry it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Copies an adapter to this model's device, after checking that it fits.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`] if it does not.
    pub fn attach(&self, adapter: &Adapter) -> Result<Lora<B>> {
        Lora::from_adapter(adapter, &self.config, &self.fingerprint, &self.device)
            .map(Lora::for_reading)
    }

    /// Logits of every position, for comparison with other implementations; all rows carry the same
    /// adapter, or none.
    ///
    /// # Shapes
    ///
    /// `rows` of equal length give `[rows * length, vocabulary]`, row after row.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] if the rows differ in length, are too long, or hold unknown ids.
    pub fn logits(&self, rows: &[Vec<u32>], lora: Option<&Lora<B>>) -> Result<Vec<f32>> {
        let length = rows.first().map_or(0, Vec::len);
        if length == 0 || rows.iter().any(|row| row.len() != length) {
            return Err(ModelError::Sequence("logits need rows of one length above 0".into()));
        }
        self.config.check_length(length)?;
        for row in rows {
            self.config.check_ids(row)?;
        }
        let ids: Vec<i64> = rows.iter().flatten().map(|id| i64::from(*id)).collect();
        let tokens = Tensor::<B, 2, Int>::from_data(
            TensorData::new(ids, [rows.len(), length]),
            &self.device,
        );
        let (adapters, lengths) = (vec![lora; rows.len()], vec![length; rows.len()]);
        self.workers.pass(B::SIDE_BY_SIDE, || {
            let hidden = self.transformer.forward(tokens, &lengths, &LoraRows::new(&adapters));
            to_host::to_host(self.transformer.head().logits(hidden))
        })
    }
}

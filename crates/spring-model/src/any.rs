//! The backend chosen at run time: the one place that knows which backends are compiled in.

use std::{fmt, ops::ControlFlow, path::Path, str::FromStr};

use ndarray::Array2;

use crate::{
    AdaptOutcome, Adapter, AnyDecoder, Branch, BranchVisitor, CausalLm, Decoder, Lora, LoraConfig,
    ModelBackend, ModelConfig, ModelError, ModelFiles, Precision, PretrainConfig, Pretrainer, Result,
    ScoreRow, Sequence, Tokenizer, TrainConfig, TrainStep,
};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor, by burn's flex backend (feature `cpu`).
    #[default]
    Cpu,
    /// Any GPU, by Vulkan, Metal or DirectX (feature `wgpu`).
    Wgpu,
    /// An NVIDIA GPU (feature `cuda`).
    Cuda,
}

impl Device {
    /// All devices, compiled in or not.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Wgpu, Self::Cuda];

    /// Its name, which is also the feature that brings it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    fn absent(self) -> ModelError {
        let reason = format!("not compiled in; build with --features {self}");
        ModelError::Device { device: self.name().into(), reason }
    }

    /// Whether this program was built with it.
    pub fn is_compiled_in(self) -> bool {
        match self {
            Self::Cpu => cfg!(feature = "cpu"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Device {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|device| device.name() == name).ok_or_else(|| ModelError::Device {
            device: name.into(),
            reason: "unknown; cpu, wgpu and cuda are the choices".into(),
        })
    }
}

/// A base model whose backend was chosen at run time.
///
/// The methods are those of [`CausalLm`], with adapters as host data.
pub struct AnyModel {
    inner: Box<dyn ErasedModel>,
    /// `None` for a folder without one, which is enough for token ids.
    tokenizer: Option<Tokenizer>,
    label: String,
    device: Device,
}

impl fmt::Debug for AnyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyModel").field("device", &self.device).field("config", self.config()).finish()
    }
}

impl AnyModel {
    /// Loads a model onto a device.
    ///
    /// # Errors
    ///
    /// [`ModelError::Device`] if the device is not compiled in, naming the feature that brings it; otherwise what is
    /// wrong with the files.
    pub fn load(files: &ModelFiles, device: Device) -> Result<Self> {
        Self::load_as(files, Precision::F32, device)
    }

    /// See [`CausalLm::load_as`].
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and [`ModelError::Device`] for half precision on the CPU, which has no arithmetic for it.
    pub fn load_as(files: &ModelFiles, precision: Precision, device: Device) -> Result<Self> {
        let inner = load_on(files, precision, device)?;
        let vocabulary = inner.config().vocab_size;
        let tokenizer = files.has_tokenizer().then(|| Tokenizer::load(files, vocabulary)).transpose()?;
        if inner.config().eos.is_empty() && tokenizer.as_ref().and_then(Tokenizer::end_of_turn).is_none() {
            tracing::warn!("{}: eos_token_id is missing, so no token ends a response", files.label());
        }
        Ok(Self { inner, tokenizer, label: files.label().into(), device })
    }

    /// The device it runs on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// See [`CausalLm::config`].
    pub fn config(&self) -> &ModelConfig {
        self.inner.config()
    }

    /// See [`CausalLm::fingerprint`].
    pub fn fingerprint(&self) -> &str {
        self.inner.fingerprint()
    }

    /// Text to token ids and back.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if the model came without one.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| ModelError::Tokenizer {
            file: format!("{}/tokenizer.json", self.label),
            reason: "no such file; only the fast tokenizers' format is read".into(),
        })
    }

    /// See [`CausalLm::logits`].
    pub fn logits(&self, rows: &[Vec<u32>], adapter: Option<&Adapter>) -> Result<Vec<f32>> {
        self.inner.logits(rows, adapter)
    }

    /// Where a training of all parameters starts.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::init`], [`CausalLm::load`] or [`Pretrainer::resume`], and [`ModelError::Device`] if the device is not
    /// compiled in or not there.
    pub fn pretrain(
        start: PretrainStart<'_>,
        config: &PretrainConfig,
        device: Device,
    ) -> Result<Box<dyn AnyPretrainer>> {
        match device {
            #[cfg(feature = "cpu")]
            Device::Cpu => pretrain_on::<burn::backend::Flex>(start, config),
            #[cfg(feature = "wgpu")]
            Device::Wgpu => on_gpu(device, || pretrain_on::<burn::backend::Wgpu>(start, config)),
            #[cfg(feature = "cuda")]
            Device::Cuda => on_gpu(device, || pretrain_on::<burn::backend::Cuda>(start, config)),
            #[allow(unreachable_patterns)]
            absent => Err(absent.absent()),
        }
    }

    /// See [`CausalLm::embed`].
    pub fn embed(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        self.inner.embed(rows)
    }

    /// See [`CausalLm::score`].
    pub fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        self.inner.score(rows)
    }

    /// See [`CausalLm::score_branches`].
    pub fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        self.inner.score_branches(branches, response, visit)
    }

    /// See [`CausalLm::adapt`].
    pub fn adapt(
        &self,
        start: Option<&Adapter>,
        lora: &LoraConfig,
        examples: &[Sequence],
        config: &TrainConfig,
        seed: u64,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        self.inner.adapt(start, lora, examples, config, seed, progress)
    }

    /// Decodes branches in lock step and hands them to `run`; see [`CausalLm::decoder`].
    ///
    /// # Errors
    ///
    /// As [`CausalLm::decoder`], and what `run` returns.
    pub fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<()>,
    ) -> Result<()> {
        self.inner.decode(branches, max_new, run)
    }
}

#[cfg_attr(not(any(feature = "cpu", feature = "wgpu", feature = "cuda")), allow(unused_variables))]
fn load_on(files: &ModelFiles, precision: Precision, device: Device) -> Result<Box<dyn ErasedModel>> {
    match device {
        #[cfg(feature = "cpu")]
        Device::Cpu if precision != Precision::F32 => Err(ModelError::Device {
            device: device.name().into(),
            reason: format!("{precision} would be slower than f32 there; half precision is for GPUs"),
        }),
        #[cfg(feature = "cpu")]
        Device::Cpu => Ok(Box::new(CausalLm::<burn::backend::Flex>::load(files, Default::default())?)),
        #[cfg(feature = "wgpu")]
        Device::Wgpu => on_gpu(device, || load_model::<burn::backend::Wgpu>(files, precision)),
        #[cfg(feature = "cuda")]
        Device::Cuda => on_gpu(device, || load_model::<burn::backend::Cuda>(files, precision)),
        #[allow(unreachable_patterns)]
        absent => Err(absent.absent()),
    }
}

/// What [`AnyModel::pretrain`] starts from.
#[derive(Debug, Clone, Copy)]
pub enum PretrainStart<'a> {
    /// Random weights for a `config.json`, by [`CausalLm::init`].
    Random {
        /// The content of the file.
        config_json: &'a [u8],
        /// What the weights depend on.
        seed: u64,
    },
    /// A trained model, with new optimisers.
    Model(&'a ModelFiles),
    /// A folder that [`AnyPretrainer::save_checkpoint`] wrote.
    Checkpoint(&'a Path),
}

/// A [`Pretrainer`] of any backend.
pub trait AnyPretrainer {
    /// See [`CausalLm::config`].
    fn config(&self) -> &ModelConfig;
    /// See [`Pretrainer::steps_done`].
    fn steps_done(&self) -> usize;
    /// See [`Pretrainer::step`].
    ///
    /// # Errors
    ///
    /// As there.
    fn step(&mut self, batch: &[Sequence]) -> Result<()>;
    /// See [`Pretrainer::take_loss`].
    ///
    /// # Errors
    ///
    /// As there.
    fn take_loss(&mut self) -> Result<f32>;
    /// Log-likelihood of every response token under the model as it is now; see [`CausalLm::score`].
    ///
    /// # Errors
    ///
    /// As there.
    fn score(&self, rows: &[Sequence]) -> Result<Vec<Vec<f32>>>;
    /// See [`Pretrainer::save`].
    ///
    /// # Errors
    ///
    /// As there.
    fn save(&self, dir: &Path, precision: Precision) -> Result<()>;
    /// See [`Pretrainer::save_checkpoint`].
    ///
    /// # Errors
    ///
    /// As there.
    fn save_checkpoint(&self, dir: &Path) -> Result<()>;
}

impl<B: ModelBackend> AnyPretrainer for Pretrainer<B> {
    fn config(&self) -> &ModelConfig {
        self.model().config()
    }

    fn steps_done(&self) -> usize {
        self.steps_done()
    }

    fn step(&mut self, batch: &[Sequence]) -> Result<()> {
        self.step(batch)
    }

    fn take_loss(&mut self) -> Result<f32> {
        self.take_loss()
    }

    fn score(&self, rows: &[Sequence]) -> Result<Vec<Vec<f32>>> {
        let rows: Vec<_> = rows.iter().map(|sequence| (sequence, None)).collect();
        self.model().score(&rows)
    }

    fn save(&self, dir: &Path, precision: Precision) -> Result<()> {
        self.save(dir, precision)
    }

    fn save_checkpoint(&self, dir: &Path) -> Result<()> {
        self.save_checkpoint(dir)
    }
}

#[cfg(any(feature = "cpu", feature = "wgpu", feature = "cuda"))]
fn pretrain_on<B: ModelBackend>(
    start: PretrainStart<'_>,
    config: &PretrainConfig,
) -> Result<Box<dyn AnyPretrainer>> {
    let device = B::Device::default();
    Ok(Box::new(match start {
        PretrainStart::Random { config_json, seed } => {
            Pretrainer::new(CausalLm::<B>::init(config_json, seed, device)?, config)?
        }
        PretrainStart::Model(files) => Pretrainer::new(CausalLm::<B>::load(files, device)?, config)?,
        PretrainStart::Checkpoint(dir) => Pretrainer::<B>::resume(dir, config, device)?,
    }))
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn load_model<B: ModelBackend>(files: &ModelFiles, precision: Precision) -> Result<Box<dyn ErasedModel>> {
    Ok(Box::new(CausalLm::<B>::load_as(files, precision, B::Device::default())?))
}

/// Drivers that are missing make burn panic; here that becomes an error.
#[cfg(any(test, feature = "wgpu", feature = "cuda"))]
fn on_gpu<T>(device: Device, start: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(start)).map_err(|_| ModelError::Device {
        device: device.name().into(),
        reason: "the driver failed (its message is above); is there such a device, and its driver?".into(),
    })?
}

impl<B: ModelBackend> AnyDecoder for Decoder<'_, B> {
    fn log_probs(&self) -> &Array2<f32> {
        Decoder::log_probs(self)
    }

    fn push(&mut self, token: u32) -> Result<()> {
        Decoder::push(self, token)
    }
}

trait ErasedModel: Send + Sync {
    fn config(&self) -> &ModelConfig;
    fn fingerprint(&self) -> &str;
    fn logits(&self, rows: &[Vec<u32>], adapter: Option<&Adapter>) -> Result<Vec<f32>>;
    fn embed(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>>;
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>>;
    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()>;
    fn adapt(
        &self,
        start: Option<&Adapter>,
        lora: &LoraConfig,
        examples: &[Sequence],
        config: &TrainConfig,
        seed: u64,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome>;
    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<()>,
    ) -> Result<()>;
}

/// The adapters of some rows on the device, each copied once however many rows carry it.
struct Attached<'a, B: ModelBackend> {
    loras: Vec<(&'a Adapter, Lora<B>)>,
}

impl<'a, B: ModelBackend> Attached<'a, B> {
    fn new(model: &CausalLm<B>, adapters: impl Iterator<Item = Option<&'a Adapter>>) -> Result<Self> {
        let mut loras: Vec<(&'a Adapter, Lora<B>)> = Vec::new();
        for adapter in adapters.flatten() {
            if !loras.iter().any(|(known, _)| std::ptr::eq(*known, adapter)) {
                loras.push((adapter, model.attach(adapter)?));
            }
        }
        Ok(Self { loras })
    }

    fn get(&self, adapter: Option<&Adapter>) -> Option<&Lora<B>> {
        let adapter = adapter?;
        self.loras.iter().find(|(known, _)| std::ptr::eq(*known, adapter)).map(|(_, lora)| lora)
    }
}

impl<B: ModelBackend> ErasedModel for CausalLm<B> {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    fn fingerprint(&self) -> &str {
        self.fingerprint()
    }

    fn logits(&self, rows: &[Vec<u32>], adapter: Option<&Adapter>) -> Result<Vec<f32>> {
        let lora = adapter.map(|adapter| self.attach(adapter)).transpose()?;
        self.logits(rows, lora.as_ref())
    }

    fn embed(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        self.embed(rows)
    }

    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        let loras = Attached::new(self, rows.iter().map(|(_, adapter)| *adapter))?;
        let rows: Vec<_> = rows.iter().map(|(sequence, adapter)| (*sequence, loras.get(*adapter))).collect();
        self.score(&rows)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        let loras = Attached::new(self, branches.iter().map(|(_, adapter)| *adapter))?;
        let branches: Vec<_> =
            branches.iter().map(|(context, adapter)| (*context, loras.get(*adapter))).collect();
        self.score_branches(&branches, response, visit)
    }

    fn adapt(
        &self,
        start: Option<&Adapter>,
        lora: &LoraConfig,
        examples: &[Sequence],
        config: &TrainConfig,
        seed: u64,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        self.adapt(start, lora, examples, config, seed, progress)
    }

    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<()>,
    ) -> Result<()> {
        let loras = Attached::new(self, branches.iter().map(|(_, adapter)| *adapter))?;
        let branches: Vec<_> =
            branches.iter().map(|(context, adapter)| (*context, loras.get(*adapter))).collect();
        run(&mut self.decoder(&branches, max_new)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::panic, clippy::unwrap_used)]
    fn a_driver_that_panics_is_an_error() {
        let error = on_gpu::<()>(Device::Cuda, || panic!("no driver")).unwrap_err().to_string();
        assert!(error.contains("device cuda") && error.contains("driver"), "{error}");
        assert!(matches!(on_gpu::<()>(Device::Wgpu, || Err(ModelError::Stopped)), Err(ModelError::Stopped)));
        assert_eq!(on_gpu(Device::Wgpu, || Ok(1)).unwrap(), 1);
    }
}

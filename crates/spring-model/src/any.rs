//! The backend chosen at run time: the one place that knows which backends are compiled in.

use std::{fmt, ops::ControlFlow, sync::Arc, thread};

use ndarray::Array2;
use spring_lm::{
    AdaptOutcome, Adapter, Branch, BranchVisitor, Decode, Embed, Message, ModelConfig, ModelError,
    ModelFiles, ModelInfo, Result, Score, ScoreRow, Session, Tokenize, Tokenizer, Train,
    TrainRequest, TrainStep,
};

use crate::{CausalLm, Device, LoadOptions, ModelBackend, Precision};

/// A base model whose backend was chosen at run time: a
/// [`LanguageModel`](spring_lm::LanguageModel).
pub struct AnyModel {
    inner: Arc<dyn ErasedModel>,
    /// `None` for a folder without one, which is enough for token ids.
    tokenizer: Option<Tokenizer>,
    info: ModelInfo,
    label: String,
    device: Device,
}

impl fmt::Debug for AnyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyModel")
            .field("device", &self.device)
            .field("config", self.config())
            .finish()
    }
}

impl AnyModel {
    /// Loads a model onto a device.
    ///
    /// # Errors
    ///
    /// [`ModelError::Device`] if the device is not compiled in, naming the feature that brings it;
    /// otherwise what is wrong with the files.
    pub fn load(files: &ModelFiles, device: Device) -> Result<Self> {
        Self::load_as(files, Precision::F32, device)
    }

    /// See [`CausalLm::load_as`].
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and [`ModelError::Device`] for half precision on the CPU, which has
    /// no arithmetic for it.
    pub fn load_as(files: &ModelFiles, precision: Precision, device: Device) -> Result<Self> {
        let options = LoadOptions::default().with_device(device);
        Self::load_with(files, &options.with_precision(Some(precision)))
    }

    /// Loads a model with other options than the default ones.
    ///
    /// # Errors
    ///
    /// As [`load_as`](Self::load_as).
    pub fn load_with(files: &ModelFiles, options: &LoadOptions) -> Result<Self> {
        let device = options.device;
        // A large vocabulary takes as long as the weights.
        let vocabulary = files.model_config()?.vocab_size;
        let (inner, tokenizer) = thread::scope(|scope| {
            let tokenizer =
                scope.spawn(|| files.has_tokenizer().then(|| Tokenizer::load(files, vocabulary)));
            let inner = load_on(files, options);
            let tokenizer =
                tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, ModelError>((inner?, tokenizer.transpose()?))
        })?;
        let info = ModelInfo::new(inner.fingerprint(), inner.config(), tokenizer.as_ref());
        if info.eos.is_empty() {
            tracing::warn!(
                "{}: eos_token_id is missing, so no token ends a response",
                files.label()
            );
        }
        Ok(Self { inner, tokenizer, info, label: files.label().into(), device })
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
        &self.info.fingerprint
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
}

#[cfg_attr(not(any(feature = "cpu", feature = "wgpu", feature = "cuda")), allow(unused_variables))]
fn load_on(files: &ModelFiles, options: &LoadOptions) -> Result<Arc<dyn ErasedModel>> {
    match options.device {
        #[cfg(feature = "cpu")]
        Device::Cpu if options.precision.is_some_and(|precision| precision != Precision::F32) => {
            Err(ModelError::Device {
                device: options.device.name().into(),
                reason: format!(
                    "{} would be slower than f32 there; half precision is for GPUs",
                    options.precision.unwrap_or_default()
                ),
            })
        }
        #[cfg(feature = "cpu")]
        Device::Cpu => load_model::<burn::backend::Flex>(files, options),
        #[cfg(feature = "wgpu")]
        Device::Wgpu => on_gpu(Device::Wgpu, || load_model::<burn::backend::Wgpu>(files, options)),
        #[cfg(feature = "cuda")]
        Device::Cuda => on_gpu(Device::Cuda, || load_model::<burn::backend::Cuda>(files, options)),
        #[allow(unreachable_patterns)]
        absent => Err(absent.absent()),
    }
}

#[cfg(any(feature = "cpu", feature = "wgpu", feature = "cuda"))]
fn load_model<B: ModelBackend>(
    files: &ModelFiles,
    options: &LoadOptions,
) -> Result<Arc<dyn ErasedModel>> {
    Ok(Arc::new(CausalLm::<B>::load_with(files, options, B::Device::default())?))
}

/// Drivers that are missing make burn panic; here that becomes an error.
#[cfg(any(test, feature = "wgpu", feature = "cuda"))]
pub(crate) fn on_gpu<T>(device: Device, start: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(start)).map_err(|_| {
        ModelError::Device {
            device: device.name().into(),
            reason:
                "the driver failed (its message is above); is there such a device, and its driver?"
                    .into(),
        }
    })?
}

/// What [`AnyModel`] asks of a model beside the traits.
trait ErasedModel: Score + Train + Embed {
    fn config(&self) -> &ModelConfig;
    fn fingerprint(&self) -> &str;
    fn logits(&self, rows: &[Vec<u32>], adapter: Option<&Adapter>) -> Result<Vec<f32>>;
    /// The session shares the model.
    fn session(self: Arc<Self>) -> Box<dyn Session>;
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

    fn session(self: Arc<Self>) -> Box<dyn Session> {
        Box::new(CausalLm::session(&self))
    }
}

impl Tokenize for AnyModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer()?.encode(text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>> {
        let ids = self.tokenizer()?.encode_chat(messages)?;
        ids.ok_or_else(|| ModelError::Sequence("the model has no chat template".into()))
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer()?.decode(ids)
    }

    fn is_byte(&self, id: u32) -> bool {
        self.tokenizer.as_ref().is_some_and(|tokenizer| tokenizer.is_byte(id))
    }

    fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.tokenizer.as_ref().map_or_else(Vec::new, |tokenizer| tokenizer.token_bytes(id))
    }
}

impl Score for AnyModel {
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        self.inner.score(rows)
    }

    fn score_in_passes(
        &self,
        rows: &[ScoreRow<'_>],
        between: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        self.inner.score_in_passes(rows, between)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        self.inner.score_branches(branches, response, visit)
    }
}

impl Train for AnyModel {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        self.inner.train(request, progress)
    }

    fn train_many(
        &self,
        requests: &[TrainRequest<'_>],
        progress: &mut dyn FnMut(usize, TrainStep) -> ControlFlow<()>,
    ) -> Vec<Result<AdaptOutcome>> {
        self.inner.train_many(requests, progress)
    }
}

impl Decode for AnyModel {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(self.inner.clone().session())
    }
}

impl Embed for AnyModel {
    fn embed_tokens(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        self.inner.embed_tokens(rows)
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
        assert!(matches!(
            on_gpu::<()>(Device::Wgpu, || Err(ModelError::Stopped)),
            Err(ModelError::Stopped)
        ));
        assert_eq!(on_gpu(Device::Wgpu, || Ok(1)).unwrap(), 1);
    }
}

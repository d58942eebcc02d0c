//! Training all parameters of a model: from random weights, or on from a checkpoint.
//!
//! Matrices inside the blocks are trained with Muon (Jordan et al. 2024), which needs about half
//! the tokens of AdamW for the same loss; embeddings, head, norms and biases with AdamW. One
//! learning rate serves both, because Muon's update is scaled to the root mean square of AdamW's
//! (Liu et al. 2025, arXiv 2502.16982).

mod any;

use std::{fmt, fs, path::Path};

use burn::{
    backend::Autodiff,
    module::{AutodiffModule, Param},
    optim::{
        AdamW, AdamWConfig, AdjustLrFn, Muon, MuonConfig, SimpleOptimizer, decay::WeightDecayConfig,
    },
    record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder},
    tensor::{DType, Tensor, TensorData},
};
use half::f16;
use rand::Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, key, setters};

use crate::{
    CausalLm, ModelBackend, ModelConfig, ModelError, ModelFiles, Precision, Result, Sequence,
    batch::{Batch, length_buckets},
    lora::LoraRows,
    to_host::to_host,
    train::add,
    transformer::Transformer,
    weight::Weight,
};

pub use any::{AnyPretrainer, PretrainStart};

/// Standard deviation of the initial weights, as in transformers.
const INITIAL_DEVIATION: f64 = 0.02;
const MOMENTS: &str = "moments.mpk";
const PROGRESS: &str = "progress.json";

/// How all parameters of a model are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PretrainConfig {
    /// Peak learning rate. Default 5e-3, for some millions of parameters.
    pub learning_rate: f64,
    /// Optimiser steps. Default 1000.
    pub steps: usize,
    /// Part of the steps over which the rate rises from 0. Default 0.03.
    pub warmup: f64,
    /// Part of the steps over which the rate falls linearly to 0 at the end; between the two it
    /// stays at its peak, so that a run can be made longer as long as its decay has not begun.
    /// Default 0.5.
    pub decay: f64,
    /// Decoupled weight decay of the matrices inside the blocks. Default 0.1.
    pub weight_decay: f64,
    /// Largest norm of the gradient over all parameters. Default 1.
    pub max_grad_norm: f64,
}

setters! {
    PretrainConfig {
        with_learning_rate(learning_rate: f64);
        with_steps(steps: usize);
        with_warmup(warmup: f64);
        with_decay(decay: f64);
        with_weight_decay(weight_decay: f64);
        with_max_grad_norm(max_grad_norm: f64);
    }
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            learning_rate: 5e-3,
            steps: 1000,
            warmup: 0.03,
            decay: 0.5,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
        }
    }
}

impl PretrainConfig {
    /// Refuses values that no training can have.
    ///
    /// # Errors
    ///
    /// [`ModelError::Setting`], naming the first bad one.
    pub fn check(&self) -> Result<()> {
        for (name, value) in
            [("learning_rate", self.learning_rate), ("max_grad_norm", self.max_grad_norm)]
        {
            if !(value.is_finite() && value > 0.0) {
                return Err(SettingError::new(name, value, "a positive number").into());
            }
        }
        for (name, value) in [("warmup", self.warmup), ("decay", self.decay)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(SettingError::new(name, value, "between 0 and 1").into());
            }
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(SettingError::new(
                "weight_decay",
                self.weight_decay,
                "0 or a positive number",
            )
            .into());
        }
        if self.steps == 0 {
            return Err(SettingError::new("steps", self.steps, "at least 1").into());
        }
        Ok(())
    }

    /// Learning rate of a step, counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        let (step, steps) = (step as f64, self.steps as f64);
        let rise = (step + 1.0) / (self.warmup * steps).max(1.0);
        let fall = (steps - step) / (self.decay * steps).max(1.0);
        self.learning_rate * rise.min(fall).clamp(0.0, 1.0)
    }
}

type MuonMoment<B> = Option<<Muon<B> as SimpleOptimizer<B>>::State<2>>;
type AdamMoment<B> = Option<<AdamW as SimpleOptimizer<B>>::State<2>>;

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    step: usize,
}

impl<B: ModelBackend> CausalLm<B> {
    /// A model of the shape that a `config.json` describes, with random weights that depend on
    /// `seed` alone.
    ///
    /// Matrices are uniform with standard deviation 0.02, smaller by √(2 · layers) where they write
    /// into the residual stream (GPT-2's rule); norms are 1 and biases 0.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for a configuration that is malformed or not supported.
    pub fn init(config_json: &[u8], seed: u64, device: B::Device) -> Result<Self> {
        let config = ModelConfig::from_json(config_json, "config.json")?;
        let mut rng = key::stream(seed, 0);
        let transformer = Transformer::build(&config, |name, shape| {
            let into_residual =
                name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
            let deviation = match into_residual {
                true => INITIAL_DEVIATION / (2.0 * config.num_layers as f64).sqrt(),
                false => INITIAL_DEVIATION,
            };
            let bound = (deviation * 3f64.sqrt()) as f32;
            let numbers: Vec<f32> = (0..shape[0] * shape[1])
                .map(|_| match name.as_str() {
                    name if name.ends_with("norm.weight") => 1.0,
                    name if name.ends_with("bias") => 0.0,
                    _ => rng.random_range(-bound..bound),
                })
                .collect();
            let data = TensorData::new(numbers, shape);
            Ok(Weight::dense(Tensor::from_data(data, (&device, DType::F32))))
        })?;
        Ok(Self::from_parts(transformer, config, String::new(), device))
    }
}

/// All parameters of a model in training, with what the optimisers remember of them.
pub struct Pretrainer<B: ModelBackend> {
    model: CausalLm<B>,
    config: PretrainConfig,
    muon: MuonMoments<B>,
    adamw: Vec<AdamMoment<B>>,
    step: usize,
    /// Mean losses of the steps since the last read, on the device.
    losses: Vec<Tensor<B, 1>>,
}

type MuonMoments<B> = Vec<MuonMoment<B>>;

impl<B: ModelBackend> fmt::Debug for Pretrainer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, step, .. } = self;
        f.debug_struct("Pretrainer")
            .field("config", config)
            .field("step", step)
            .finish_non_exhaustive()
    }
}

impl<B: ModelBackend> Pretrainer<B> {
    /// Starts at step 0 from a model that was loaded or initialised in f32.
    ///
    /// # Errors
    ///
    /// [`ModelError::Setting`] for a configuration that no training can have,
    /// [`ModelError::Config`] for a model whose matrices are quantised.
    pub fn new(mut model: CausalLm<B>, config: &PretrainConfig) -> Result<Self> {
        config.check()?;
        if model.transformer.holds_blocks() {
            return Err(ModelError::Config {
                file: "model".into(),
                reason: "its matrices are quantised: only a folder's floats can be trained".into(),
            });
        }
        let count = model.transformer.parameters_mut().len();
        Ok(Self {
            model,
            config: config.clone(),
            muon: vec![None; count],
            adamw: vec![None; count],
            step: 0,
            losses: Vec::new(),
        })
    }

    /// Goes on from a folder that [`save_checkpoint`](Self::save_checkpoint) wrote: the same steps
    /// follow as without the break. The number of steps may be another one.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::load`], and [`ModelError::Io`] or [`ModelError::Config`] if the optimisers'
    /// part is missing or damaged.
    pub fn resume(dir: &Path, config: &PretrainConfig, device: B::Device) -> Result<Self> {
        let model = CausalLm::load(&ModelFiles::from_dir(dir)?, device.clone())?;
        let mut trainer = Self::new(model, config)?;
        let read = |name| fs::read(dir.join(name)).map_err(|source| io(&dir.join(name), source));
        let damaged = |name: &str, reason: String| ModelError::Config {
            file: dir.join(name).display().to_string(),
            reason,
        };
        let progress: Progress = serde_json::from_slice(&read(PROGRESS)?)
            .map_err(|e| damaged(PROGRESS, e.to_string()))?;
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        let (muon, adamw): (MuonMoments<B>, Vec<AdamMoment<B>>) =
            Recorder::<B>::load(&recorder, read(MOMENTS)?, &device)
                .map_err(|e| damaged(MOMENTS, e.to_string()))?;
        if (muon.len(), adamw.len()) != (trainer.muon.len(), trainer.adamw.len()) {
            return Err(damaged(MOMENTS, "it belongs to a model of another shape".into()));
        }
        (trainer.muon, trainer.adamw, trainer.step) = (muon, adamw, progress.step);
        Ok(trainer)
    }

    /// The model as it is now.
    pub fn model(&self) -> &CausalLm<B> {
        &self.model
    }

    /// Steps done.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// One update on the mean loss over all response tokens of a batch; a text whose every token is
    /// to be learned has one token of context.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] for a sequence that the model cannot run.
    pub fn step(&mut self, batch: &[Sequence]) -> Result<()> {
        for sequence in batch {
            sequence.check(&self.model.config)?;
        }
        let targets: usize = batch.iter().map(|sequence| sequence.response.len()).sum();
        let lengths: Vec<usize> = batch.iter().map(Sequence::len).collect();
        let buckets = length_buckets(&lengths, batch.len(), self.model.tokens_at_once);
        let parts = self.model.workers.passes(B::SIDE_BY_SIDE, &buckets, |rows| {
            let rows: Vec<&Sequence> = rows.iter().map(|i| &batch[*i]).collect();
            self.gradients(&rows, 1.0 / targets as f64)
        });
        let (mut losses, mut gradients) = (Vec::new(), vec![None; self.muon.len()]);
        for (loss, part) in parts {
            losses.push(loss);
            add(&mut gradients, part);
        }
        self.losses.push(Tensor::cat(losses, 0).sum());
        self.update(gradients);
        Ok(())
    }

    /// Mean loss of the steps since the last call, nats per token.
    ///
    /// # Errors
    ///
    /// [`ModelError::NotFinite`] if training diverged.
    pub fn take_loss(&mut self) -> Result<f32> {
        let count = self.losses.len();
        let losses =
            Tensor::cat(std::mem::take(&mut self.losses), 0).sum().div_scalar(count as f64);
        let loss = to_host(losses)?.first().copied().unwrap_or(f32::NAN);
        match loss.is_finite() {
            true => Ok(loss),
            false => Err(ModelError::NotFinite { step: self.step, loss }),
        }
    }

    /// Writes `model.safetensors`, which with the `config.json` and tokenizer that the model was
    /// made with is a model folder.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] if it cannot be written; [`ModelError::Setting`] for bf16.
    pub fn save(&self, dir: &Path, precision: Precision) -> Result<()> {
        let mut transformer = self.model.transformer.clone();
        let mut tensors = Vec::new();
        for (name, parameter) in transformer.parameters_mut() {
            let [rows, columns] = parameter.val().dims();
            let is_vector = name.ends_with("norm.weight") || name.ends_with("bias");
            let shape = if is_vector { vec![columns] } else { vec![rows, columns] };
            // The other direction of what loading does.
            let offset = if self.model.config.norm_offset && name.ends_with("norm.weight") {
                1.0
            } else {
                0.0
            };
            let numbers = to_host(parameter.val())?.into_iter().map(|x| x - offset);
            let (dtype, bytes): (_, Vec<u8>) = match precision {
                Precision::F32 => (Dtype::F32, numbers.flat_map(f32::to_le_bytes).collect()),
                Precision::F16 => {
                    (Dtype::F16, numbers.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect())
                }
                Precision::Bf16 => {
                    return Err(SettingError::new("precision", precision, "f32 or f16").into());
                }
            };
            tensors.push((name, dtype, shape, bytes));
        }
        let path = dir.join("model.safetensors");
        let fail =
            |reason: String| ModelError::Weights { file: path.display().to_string(), reason };
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                let view = TensorView::new(*dtype, shape.clone(), bytes)
                    .map_err(|e| fail(e.to_string()))?;
                Ok((name.as_str(), view))
            })
            .collect::<Result<Vec<_>>>()?;
        let bytes = safetensors::serialize(views, None).map_err(|e| fail(e.to_string()))?;
        fs::write(&path, bytes).map_err(|source| io(&path, source))
    }

    /// Writes all that [`resume`](Self::resume) needs into a folder that holds the model's
    /// `config.json`.
    ///
    /// Write into a new folder and rename it: a crash then leaves the old checkpoint.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] if it cannot be written.
    pub fn save_checkpoint(&self, dir: &Path) -> Result<()> {
        self.save(dir, Precision::F32)?;
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        let moments = Recorder::<B>::record(&recorder, (self.muon.clone(), self.adamw.clone()), ())
            .map_err(|e| ModelError::Config { file: MOMENTS.into(), reason: e.to_string() })?;
        let progress = serde_json::json!({ "step": self.step }).to_string();
        for (name, bytes) in [(MOMENTS, &moments[..]), (PROGRESS, progress.as_bytes())] {
            fs::write(dir.join(name), bytes).map_err(|source| io(&dir.join(name), source))?;
        }
        Ok(())
    }

    /// Scaled loss and the gradient of every parameter.
    fn gradients(
        &self,
        rows: &[&Sequence],
        scale: f64,
    ) -> (Tensor<B, 1>, Vec<Option<Tensor<B, 2>>>) {
        let mut tracked = Transformer::<Autodiff<B>>::from_inner(self.model.transformer.clone());
        for (_, parameter) in tracked.parameters_mut() {
            *parameter = Param::initialized(parameter.id, parameter.val().require_grad());
        }
        let batch = Batch::<Autodiff<B>>::new(rows, &self.model.device);
        let hidden = tracked
            .forward(batch.inputs, &batch.lengths, &LoraRows::new(&vec![None; rows.len()]))
            .select(0, batch.positions);
        let head = self.model.transformer.head();
        let Weight::Dense(weight) = &head.weight else {
            unreachable!("a pretrainer has refused matrices in blocks")
        };
        let (loss, of_hidden, of_head) = head.cross_entropy_trained(
            weight.val(),
            hidden.clone().inner(),
            batch.targets.inner(),
            scale,
        );
        let mut found = (hidden * Tensor::from_inner(of_hidden)).sum().backward();
        let parameters = tracked.parameters_mut();
        let head = parameters.iter().position(|(name, _)| name == "lm_head.weight").unwrap_or(0);
        let mut gradients: Vec<Option<Tensor<B, 2>>> = parameters
            .into_iter()
            .map(|(_, parameter)| parameter.val().grad_remove(&mut found))
            .collect();
        // A tied head is the embedding, which is the first parameter and has a gradient of its own.
        gradients[head] = Some(match gradients[head].take() {
            Some(gradient) => gradient + of_head,
            None => of_head,
        });
        (loss, gradients)
    }

    /// Clips the gradient by its global norm and lets the optimisers take a step.
    fn update(&mut self, gradients: Vec<Option<Tensor<B, 2>>>) {
        let decay = self.config.weight_decay as f32;
        let muon: Muon<B> = MuonConfig::new()
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
            .with_weight_decay(Some(WeightDecayConfig { penalty: decay }))
            .build();
        let adamw =
            AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8).with_weight_decay(0.0).build();
        let squares = gradients.iter().flatten().map(|g| g.clone().square().sum()).collect();
        let norm = Tensor::cat(squares, 0).sum().sqrt();
        let scale =
            norm.add_scalar(1e-6).recip().mul_scalar(self.config.max_grad_norm).clamp_max(1.0);
        let rate = self.config.rate(self.step);
        let parameters = self.model.transformer.parameters_mut();
        for (i, ((name, parameter), gradient)) in parameters.into_iter().zip(gradients).enumerate()
        {
            let Some(gradient) = gradient else { continue };
            let (value, gradient) = (parameter.val(), gradient * scale.clone().reshape([1, 1]));
            let updated = if name.ends_with("proj.weight") {
                let (updated, moment) = muon.step(rate, value, gradient, self.muon[i].take());
                self.muon[i] = moment;
                updated
            } else {
                let (updated, moment) = adamw.step(rate, value, gradient, self.adamw[i].take());
                self.adamw[i] = moment;
                updated
            };
            *parameter = Param::initialized(parameter.id, updated);
        }
        self.step += 1;
    }
}

fn io(path: &Path, source: std::io::Error) -> ModelError {
    ModelError::Io { path: path.into(), source }
}

#[cfg(all(test, feature = "cpu"))]
mod tests;

//! Pretraining on a device chosen at run time.

use std::path::Path;

use spring_lm::{ModelConfig, ModelFiles, Result, Sequence};

use super::{PretrainConfig, Pretrainer};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use crate::any::on_gpu;
use crate::{AnyModel, CausalLm, Device, ModelBackend, Precision};

impl AnyModel {
    /// Where a training of all parameters starts.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::init`], [`CausalLm::load`] or [`Pretrainer::resume`], and
    /// [`ModelError::Device`](spring_lm::ModelError::Device) if the device is not compiled in or
    /// not there.
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
}

/// What [`AnyModel::pretrain`] starts from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
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
    /// Log-likelihood of every response token under the model as it is now; see
    /// [`CausalLm::score`].
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
        PretrainStart::Model(files) => {
            Pretrainer::new(CausalLm::<B>::load(files, device)?, config)?
        }
        PretrainStart::Checkpoint(dir) => Pretrainer::<B>::resume(dir, config, device)?,
    }))
}

//! What ends a training run that does not come to rest.

use burn::tensor::{Tensor, backend::Backend};

use super::Step;
use crate::{ModelError, Result, to_host::to_host};

/// What the steps since the last read of the device saw, and how far the loss may rise.
pub(super) struct Watch<B: Backend> {
    /// Of every step, on the device.
    pub(super) losses: Vec<Tensor<B, 1>>,
    norms: Vec<Tensor<B, 1>>,
    /// Mean loss of the first interval.
    first: Option<f32>,
    /// ln of the vocabulary: what guessing costs.
    guess: f32,
}

impl<B: Backend> Watch<B> {
    pub(super) fn new(vocabulary: usize) -> Self {
        Self { losses: Vec::new(), norms: Vec::new(), first: None, guess: (vocabulary as f32).ln() }
    }

    pub(super) fn push(&mut self, step: Step<B>) {
        self.losses.push(step.loss);
        self.norms.push(step.gradient_norm);
    }

    /// Mean loss and largest gradient norm since the last call, in one read of the device.
    ///
    /// A run has diverged when it is worse than guessing by all that it knew at first: a mean loss
    /// above the first interval's plus ln of the vocabulary. No run that learns comes near that.
    pub(super) fn read(&mut self, step: usize) -> Result<(f32, f32)> {
        let count = self.losses.len() as f64;
        let mut read =
            vec![Tensor::cat(std::mem::take(&mut self.losses), 0).sum().div_scalar(count)];
        read.append(&mut self.norms);
        let read = to_host(Tensor::cat(read, 0))?;
        let (loss, norms) =
            read.split_first().map_or((f32::NAN, &[][..]), |(loss, norms)| (*loss, norms));
        if !loss.is_finite() {
            return Err(ModelError::NotFinite { step, loss });
        }
        if let Some(&norm) = norms.iter().find(|norm| !norm.is_finite()) {
            return Err(ModelError::GradientNotFinite { step, norm });
        }
        let first = *self.first.get_or_insert(loss);
        if loss > first + self.guess {
            return Err(ModelError::Diverged { step, first, loss });
        }
        Ok((loss, norms.iter().copied().fold(0.0, f32::max)))
    }
}

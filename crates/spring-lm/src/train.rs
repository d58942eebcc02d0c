//! How an adapter is trained, and what a training tells.

use serde::{Deserialize, Serialize};
use spring_numerics::setting::{SettingError, in_range, require};

use crate::{Adapter, LoraConfig, Sequence};

/// How an adapter is trained; the defaults are SPRInG's.
///
/// A base of a few million parameters needs a larger learning rate or more epochs than the paper's
/// 7 B.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TrainConfig {
    /// Peak learning rate. Default 1e-4.
    pub learning_rate: f64,
    /// Part of the steps over which the rate rises from 0; then it falls linearly to 0. Default
    /// 0.1.
    pub warmup: f64,
    /// Passes over the selection. Default 2.
    pub epochs: usize,
    /// Sequences per step. They run a few at a time (`CausalLm::with_tokens_at_once`), and their
    /// gradients are accumulated. Default 4.
    pub batch_size: usize,
    /// Largest norm of the gradient, taken over all factors together. Default 0.3.
    pub max_grad_norm: f64,
    /// Decay of the moving mean of gradients. Default 0.9.
    pub beta1: f64,
    /// Decay of the moving mean of squared gradients. Default 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment. Default 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay. Default 1e-2.
    pub weight_decay: f64,
    /// Decoupled decay of every factor towards where it was when training started, instead of zero:
    /// an L2 penalty on the distance from the adapter that is trained on. Each step moves by rate ·
    /// anchor · distance; it comes beside `weight_decay`. A fresh adapter has nothing to stay near
    /// to and is not pulled. Default 0.
    pub anchor: f64,
    /// How much each response token counts in the gradient. Default: all alike, which records leave
    /// out, as those of states that were made before this was a setting do.
    #[serde(skip_serializing_if = "TokenWeights::is_equal")]
    pub token_weights: TokenWeights,
    /// Longest sequence in tokens. Default 768.
    pub max_tokens: usize,
    /// Steps between two reads of the loss and the gradient's norm from the device. Default 10.
    pub loss_interval: usize,
    /// Keep each block's input alone and compute the block again on the way back: a third more
    /// work, and the memory of one block instead of all. Default false.
    pub checkpoint_layers: bool,
}

spring_numerics::setters! {
    TrainConfig {
        with_learning_rate(learning_rate: f64);
        with_warmup(warmup: f64);
        with_epochs(epochs: usize);
        with_batch_size(batch_size: usize);
        with_max_grad_norm(max_grad_norm: f64);
        with_beta1(beta1: f64);
        with_beta2(beta2: f64);
        with_epsilon(epsilon: f64);
        with_weight_decay(weight_decay: f64);
        with_anchor(anchor: f64);
        with_token_weights(token_weights: TokenWeights);
        with_max_tokens(max_tokens: usize);
        with_loss_interval(loss_interval: usize);
        with_checkpoint_layers(checkpoint_layers: bool);
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            warmup: 0.1,
            epochs: 2,
            batch_size: 4,
            max_grad_norm: 0.3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 1e-2,
            anchor: 0.0,
            token_weights: TokenWeights::Equal,
            max_tokens: 768,
            loss_interval: 10,
            checkpoint_layers: false,
        }
    }
}

/// Largest whole numbers of a [`TrainConfig`]: far above any use, and small enough that no count of
/// steps overflows.
const MOST: usize = 1 << 20;

impl TrainConfig {
    /// The learning rate that suits a base of this many parameters, where nobody has chosen one.
    ///
    /// By docs/results/learning-rate.md: 3e-3 for small bases, and the paper's 1e-4 for those of
    /// its size, with the root of the number between.
    pub fn rate_for(parameters: u64) -> f64 {
        const SMALL: f64 = 3e-3;
        let default = Self::default().learning_rate;
        (SMALL * (2e8 / parameters.max(1) as f64).sqrt()).clamp(default, SMALL)
    }

    /// Refuses values that no training can have.
    ///
    /// # Errors
    ///
    /// For the first of them.
    pub fn check(&self) -> Result<(), SettingError> {
        for (name, value) in [
            ("learning_rate", self.learning_rate),
            ("max_grad_norm", self.max_grad_norm),
            ("epsilon", self.epsilon),
        ] {
            require(name, value, value.is_finite() && value > 0.0, "a positive number")?;
        }
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2), ("warmup", self.warmup)]
        {
            in_range(name, value, 0.0..1.0, "at least 0 and below 1")?;
        }
        for (name, value) in [("weight_decay", self.weight_decay), ("anchor", self.anchor)] {
            in_range(name, value, 0.0..f64::INFINITY, "0 or a positive number")?;
        }
        for (name, value, least, allowed) in [
            ("epochs", self.epochs, 1, "a whole number from 1 to 1048576"),
            ("batch_size", self.batch_size, 1, "a whole number from 1 to 1048576"),
            ("max_tokens", self.max_tokens, 4, "a whole number from 4 to 1048576"),
            ("loss_interval", self.loss_interval, 1, "a whole number from 1 to 1048576"),
        ] {
            in_range(name, value, least..=MOST, allowed)?;
        }
        Ok(())
    }

    /// Optimiser steps for a number of sequences.
    pub fn steps(&self, sequences: usize) -> usize {
        sequences.div_ceil(self.batch_size.max(1)).saturating_mul(self.epochs)
    }

    /// Learning rate of a step, counted from 0; the schedule of transformers'
    /// `get_linear_schedule_with_warmup`, whose first step has rate 0 when there is a warm-up.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        // A run of one step would otherwise be all warm-up, and learn nothing.
        let warmup = ((self.warmup * steps as f64).ceil() as usize).min(steps.saturating_sub(1));
        let part = if step < warmup {
            step as f64 / warmup as f64
        } else {
            (steps - step) as f64 / (steps - warmup).max(1) as f64
        };
        self.learning_rate * part
    }
}

/// How much each response token counts in the gradient of a training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenWeights {
    /// All alike.
    #[default]
    Equal,
    /// By 1 − p, where p is the token's probability before the training, under the adapter that it
    /// starts from: what is recalled already counts little, and the rest more. Divided by the mean
    /// over all response tokens of the training, so that a step is as large as without it.
    Unrecalled,
}

impl TokenWeights {
    fn is_equal(&self) -> bool {
        *self == Self::Equal
    }

    /// The weight of every response token, from their log-likelihoods before the training, in nats;
    /// `None` where all count alike, which they also do where every token is recalled already.
    /// Weights are constants: no gradient goes through them.
    ///
    /// ```
    /// # use spring_lm::TokenWeights;
    /// let half = 0.5f32.ln();
    /// let weights = TokenWeights::Unrecalled.of(&[vec![0.0, half], vec![half]]);
    /// // 1 − p is 0, ½ and ½, of mean ⅓.
    /// assert_eq!(weights, Some(vec![vec![0.0, 1.5], vec![1.5]]));
    /// assert_eq!(TokenWeights::Unrecalled.of(&[vec![0.0, 0.0]]), None);
    /// assert_eq!(TokenWeights::Equal.of(&[vec![0.0, half]]), None);
    /// ```
    pub fn of(self, log_likelihoods: &[Vec<f32>]) -> Option<Vec<Vec<f32>>> {
        if self == Self::Equal {
            return None;
        }
        let unrecalled = |x: &f32| (-f64::from(*x).exp_m1()).clamp(0.0, 1.0);
        let count = log_likelihoods.iter().flatten().count();
        let mean = log_likelihoods.iter().flatten().map(unrecalled).sum::<f64>() / count as f64;
        if mean.is_nan() || mean <= 0.0 {
            return None;
        }
        let of_text =
            |text: &Vec<f32>| text.iter().map(|x| (unrecalled(x) / mean) as f32).collect();
        Some(log_likelihoods.iter().map(of_text).collect())
    }
}

/// One training of an adapter.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TrainRequest<'a> {
    /// The adapter that is trained on; `None` for a fresh one.
    pub start: Option<&'a Adapter>,
    /// The shape of the adapter: that of `start`, if there is one.
    pub lora: &'a LoraConfig,
    /// What is learned: the responses.
    pub examples: &'a [Sequence],
    /// How it is learned.
    pub config: &'a TrainConfig,
    /// What the order of batches, the initial factors and the dropout depend on.
    pub seed: u64,
}

impl<'a> TrainRequest<'a> {
    /// The training of a fresh adapter.
    pub fn new(
        lora: &'a LoraConfig,
        examples: &'a [Sequence],
        config: &'a TrainConfig,
        seed: u64,
    ) -> Self {
        Self { start: None, lora, examples, config, seed }
    }

    /// The same from another start.
    pub fn starting_from(self, start: Option<&'a Adapter>) -> Self {
        Self { start, ..self }
    }
}

/// What a training run did.
#[derive(Debug, Clone)]
pub struct AdaptOutcome {
    /// The new adapter.
    pub adapter: Adapter,
    /// Optimiser steps.
    pub steps: usize,
    /// Response tokens trained on, over all epochs.
    pub tokens: usize,
    /// Mean loss over each interval of `loss_interval` steps, nats per token; every token counts
    /// alike here, whatever `token_weights` says.
    pub losses: Vec<f32>,
}

/// Where a training run stands.
#[derive(Debug, Clone, Copy)]
pub struct TrainStep {
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// The latest mean loss read from the device, nats per token.
    pub loss: Option<f32>,
    /// The largest norm of a step's whole gradient, before clipping, over the steps of that mean.
    pub gradient_norm: Option<f32>,
}

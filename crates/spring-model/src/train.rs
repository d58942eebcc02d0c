//! Training an adapter: response-only loss, AdamW, one norm over all factors, warm-up and linear
//! decay.

mod many;
mod run;
mod watch;

use std::{collections::HashMap, ops::ControlFlow};

use burn::{
    backend::Autodiff,
    module::AutodiffModule,
    optim::{AdamW, AdamWConfig, LearningRate, SimpleOptimizer},
    tensor::{Tensor, TensorData, backend::Backend},
};
use run::{Drawn, Run};

use crate::{
    AdaptOutcome, CausalLm, ModelBackend, ModelError, Result, Sequence, TokenWeights, TrainConfig,
    TrainRequest, TrainStep,
    batch::{Batch, length_buckets},
    lora::{Dropout, Lora, LoraRows},
    transformer::Transformer,
};

impl<B: ModelBackend> CausalLm<B> {
    /// Trains an adapter on responses.
    ///
    /// The order of batches, the initial factors and the dropout depend on the seed alone. The base
    /// is untracked: it costs no gradient memory. The gradient of the head is taken in chunks, so
    /// `[tokens, vocabulary]` is never whole. Token weights take a scoring pass over the examples
    /// before the first step. `progress` is called after each step and may ask to stop.
    ///
    /// # Errors
    ///
    /// [`ModelError::Setting`] or [`ModelError::Sequence`] for bad input, [`ModelError::Adapter`]
    /// if `start` is another model's, [`ModelError::NotFinite`], [`ModelError::GradientNotFinite`]
    /// or [`ModelError::Diverged`] if training diverged (looked at every `loss_interval` steps),
    /// [`ModelError::Stopped`] on request.
    pub fn train(
        &self,
        request: TrainRequest<'_>,
        mut progress: impl FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        let mut run = Run::new(self, request)?;
        while let Some(drawn) = run.draw() {
            let Drawn { rows, weights, rate, dropout } = &drawn;
            let weights: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
            let step = run.trainer.step(rows, &weights, *rate, Some(dropout.clone()));
            if progress(run.take(step)?).is_break() {
                return Err(ModelError::Stopped);
            }
        }
        run.finish()
    }

    /// The weights of every example's response tokens under the adapter that training starts from;
    /// `None` where all count alike.
    fn token_weights(
        &self,
        weights: TokenWeights,
        examples: &[Sequence],
        start: &Lora<B>,
    ) -> Result<Option<Vec<Vec<f32>>>> {
        if weights == TokenWeights::Equal {
            return Ok(None);
        }
        // A budget repeats examples; each one is scored once.
        let start = start.clone().for_reading();
        let (mut known, mut rows, mut places) = (HashMap::new(), vec![], vec![]);
        for example in examples {
            let next = rows.len();
            let place = *known.entry((&example.context, &example.response)).or_insert(next);
            if place == next {
                rows.push((example, Some(&start)));
            }
            places.push(place);
        }
        let scores = self.score(&rows)?;
        let of_examples: Vec<Vec<f32>> = places.iter().map(|at| scores[*at].clone()).collect();
        Ok(weights.of(&of_examples))
    }
}

/// Adds a part of a batch's gradient to the sum of the parts before it.
pub(crate) fn add<B: Backend>(sums: &mut [Option<Tensor<B, 2>>], part: Vec<Option<Tensor<B, 2>>>) {
    for (sum, part) in sums.iter_mut().zip(part) {
        *sum = match (sum.take(), part) {
            (Some(sum), Some(part)) => Some(sum + part),
            (sum, part) => sum.or(part),
        };
    }
}

/// Rows of a step that run together.
struct Part<'a> {
    rows: Vec<&'a Sequence>,
    /// Of each row's response tokens; none if all count alike.
    weights: Vec<&'a [f32]>,
    dropout: Option<Dropout>,
    /// What each token's loss is multiplied by.
    scale: f64,
}

/// What a part of a step has found.
struct Found<B: Backend> {
    /// Scaled loss, `[1]`.
    loss: Tensor<B, 1>,
    /// Of every factor.
    gradients: Vec<Option<Tensor<B, 2>>>,
}

/// The gradient of the loss with respect to the hidden state before each response token, which is
/// that token's share of it, by the tokens' weights. They are constants.
///
/// # Shapes
///
/// `[tokens, hidden]`, the tokens row by row
fn weighed<B: Backend>(gradient: Tensor<B, 2>, weights: &[&[f32]]) -> Tensor<B, 2> {
    if weights.is_empty() {
        return gradient;
    }
    let (weights, device) = (weights.concat(), gradient.device());
    let shape = [weights.len(), 1];
    gradient * Tensor::from_data(TensorData::new(weights, shape), &device)
}

/// The optimiser and what it works on.
struct Trainer<'a, B: Backend> {
    model: &'a CausalLm<B>,
    transformer: Transformer<Autodiff<B>>,
    weights: Lora<B>,
    /// The factors as they were at the start, if something pulls them back there, and how strongly.
    anchor: Option<(Vec<Tensor<B, 2>>, f64)>,
    optimizer: AdamW,
    moments: Vec<Option<<AdamW as SimpleOptimizer<B>>::State<2>>>,
    max_grad_norm: f64,
    checkpoint_layers: bool,
}

/// What one step saw, on the device.
struct Step<B: Backend> {
    /// Mean loss before the update, `[1]`.
    loss: Tensor<B, 1>,
    /// Norm of the whole gradient before clipping, `[1]`.
    gradient_norm: Tensor<B, 1>,
}

impl<'a, B: ModelBackend> Trainer<'a, B> {
    fn new(model: &'a CausalLm<B>, weights: Lora<B>, config: &TrainConfig) -> Self {
        let optimizer = AdamWConfig::new()
            .with_beta_1(config.beta1 as f32)
            .with_beta_2(config.beta2 as f32)
            .with_epsilon(config.epsilon as f32)
            .with_weight_decay(config.weight_decay as f32)
            .build();
        let moments = weights.factors().map(|_| None).collect();
        // Parameters without gradient stay so when they are lifted: the graph holds no gradient of
        // the base.
        let transformer = Transformer::from_inner(model.transformer.clone());
        let &TrainConfig { max_grad_norm, checkpoint_layers, anchor, .. } = config;
        let anchor = (anchor > 0.0).then(|| (weights.factors().cloned().collect(), anchor));
        Self {
            model,
            transformer,
            weights,
            anchor,
            optimizer,
            moments,
            max_grad_norm,
            checkpoint_layers,
        }
    }

    /// One update. Rows of similar length run together, a few at a time; their gradients add up to
    /// the batch's. `weights` are those of each row's response tokens, or none if all count alike.
    fn step(
        &mut self,
        batch: &[&Sequence],
        weights: &[&[f32]],
        rate: LearningRate,
        dropout: Option<Dropout>,
    ) -> Step<B> {
        let parts = self.parts(batch, weights, dropout);
        let found = self.model.workers.passes(B::SIDE_BY_SIDE, &parts, |part| self.gradients(part));
        self.gather(found, rate)
    }

    /// The rows of a step that run together, as [`step`](Self::step) has them.
    fn parts<'r>(
        &self,
        batch: &[&'r Sequence],
        weights: &[&'r [f32]],
        dropout: Option<Dropout>,
    ) -> Vec<Part<'r>> {
        let targets: usize = batch.iter().map(|sequence| sequence.response.len()).sum();
        let lengths: Vec<usize> = batch.iter().map(|sequence| sequence.len()).collect();
        let part = |rows: Vec<usize>| Part {
            weights: rows.iter().filter_map(|i| weights.get(*i).copied()).collect(),
            dropout: dropout.as_ref().map(|dropout| Dropout {
                probability: dropout.probability,
                seeds: rows.iter().map(|i| dropout.seeds[*i]).collect(),
            }),
            rows: rows.into_iter().map(|i| batch[i]).collect(),
            scale: 1.0 / targets as f64,
        };
        let buckets = length_buckets(&lengths, batch.len(), self.model.tokens_at_once);
        buckets.into_iter().map(part).collect()
    }

    /// Adds up what the parts of a step have found, in their order, and takes the step.
    fn gather(&mut self, parts: Vec<Found<B>>, rate: LearningRate) -> Step<B> {
        let (mut losses, mut gradients) = (Vec::new(), vec![None; self.moments.len()]);
        for Found { loss, gradients: found } in parts {
            losses.push(loss);
            add(&mut gradients, found);
        }
        let loss = Tensor::cat(losses, 0).sum();
        self.update(loss, gradients, rate)
    }

    /// Scaled loss, in which all tokens count alike, so that it can be compared; and the gradient
    /// of every factor, in which they count by their weights.
    fn gradients(&self, part: &Part<'_>) -> Found<B> {
        if self.checkpoint_layers {
            return self.gradients_by_layer(part);
        }
        let Part { rows, weights, dropout, scale } = part;
        let tracked: Lora<Autodiff<B>> = self.weights.tracked();
        let batch = Batch::<Autodiff<B>>::new(rows, &self.model.device);
        let mut lora = LoraRows::new(&vec![Some(&tracked); rows.len()]);
        lora.dropout.clone_from(dropout);
        let hidden = self
            .transformer
            .forward(batch.inputs, &batch.lengths, &lora)
            .select(0, batch.positions);
        let head = self.model.transformer.head();
        let (loss, gradient) =
            head.cross_entropy(hidden.clone().inner(), batch.targets.inner(), *scale);
        let gradient = weighed(gradient, weights);
        // The head's gradient is known; this product hands it to everything below.
        let mut gradients = (hidden * Tensor::from_inner(gradient)).sum().backward();
        let factors = tracked.factors().map(|factor| factor.grad_remove(&mut gradients));
        Found { loss, gradients: factors.collect() }
    }

    /// The same with one block's graph at a time: forward without any, then from the last block to
    /// the first.
    fn gradients_by_layer(&self, part: &Part<'_>) -> Found<B> {
        let Part { rows, weights, dropout, scale } = part;
        let (plain, device) = (&self.model.transformer, &self.model.device);
        let batch = Batch::<B>::new(rows, device);
        let shape = batch.inputs.dims();
        let mut lora = LoraRows::new(&vec![Some(&self.weights); rows.len()]);
        lora.dropout.clone_from(dropout);
        let pass = plain.pass(shape, &batch.lengths, &lora, device);
        let mut inputs = vec![plain.embed(batch.inputs)];
        for layer in 0..self.model.config.num_layers {
            let x = inputs[layer].clone();
            inputs.push(plain.layer(layer, x, &pass, None));
        }

        let tracked: Lora<Autodiff<B>> = self.weights.tracked();
        let mut lora = LoraRows::new(&vec![Some(&tracked); rows.len()]);
        lora.dropout.clone_from(dropout);
        let pass = self.transformer.pass(shape, &batch.lengths, &lora, device);
        let track = |x: Option<Tensor<B, 2>>| {
            x.map(|x| Tensor::<Autodiff<B>, 2>::from_inner(x).require_grad())
        };
        let mut factors = vec![None; self.moments.len()];
        let Some(last) = track(inputs.pop()) else {
            return Found { loss: Tensor::zeros([1], device), gradients: factors };
        };
        let hidden =
            self.transformer.normalize(last.clone()).select(0, Tensor::from_inner(batch.positions));
        let (loss, slope) =
            plain.head().cross_entropy(hidden.clone().inner(), batch.targets, *scale);
        let slope = weighed(slope, weights);
        let mut gradients = (hidden * Tensor::from_inner(slope)).sum().backward();
        let mut gradient = last.grad_remove(&mut gradients);
        while let (Some(x), Some(slope)) = (track(inputs.pop()), gradient.take()) {
            let y = self.transformer.layer(inputs.len(), x.clone(), &pass, None);
            let mut gradients = (y * Tensor::from_inner(slope)).sum().backward();
            for (factor, found) in tracked.factors().zip(&mut factors) {
                *found = factor.grad_remove(&mut gradients).or(found.take());
            }
            gradient = x.grad_remove(&mut gradients);
        }
        Found { loss, gradients: factors }
    }

    /// Clips the gradient by its global norm and lets AdamW take a step.
    fn update(
        &mut self,
        loss: Tensor<B, 1>,
        gradients: Vec<Option<Tensor<B, 2>>>,
        rate: LearningRate,
    ) -> Step<B> {
        let squares = gradients.iter().flatten().map(|g| g.clone().square().sum()).collect();
        let norm = Tensor::cat(squares, 0).sum().sqrt();
        // As torch's clip_grad_norm_: scale by max / (norm + 1e-6), never up.
        let scale =
            norm.clone().add_scalar(1e-6).recip().mul_scalar(self.max_grad_norm).clamp_max(1.0);
        let factors = self.weights.factors_mut().zip(gradients).zip(&mut self.moments);
        for (place, ((factor, gradient), moments)) in factors.enumerate() {
            let Some(gradient) = gradient else { continue };
            let gradient = gradient * scale.clone().reshape([1, 1]);
            let (updated, state) =
                self.optimizer.step(rate, factor.clone(), gradient, moments.take());
            // Decoupled as AdamW's decay: of the factor before the step.
            *factor = match &self.anchor {
                Some((start, anchor)) => {
                    updated - (factor.clone() - start[place].clone()).mul_scalar(rate * anchor)
                }
                None => updated,
            };
            *moments = state;
        }
        Step { loss, gradient_norm: norm }
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests;

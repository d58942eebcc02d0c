//! One training on its way: what each step draws, and what has been seen so far.

use rand::seq::SliceRandom;
use spring_numerics::key;

use super::{Step, Trainer, watch::Watch};
use crate::{
    AdaptOutcome, Adapter, CausalLm, ModelBackend, ModelError, Result, Sequence, TrainConfig,
    TrainRequest, TrainStep,
    lora::{Dropout, Lora},
};

/// A training between two of its steps.
pub(super) struct Run<'a, B: ModelBackend> {
    pub(super) trainer: Trainer<'a, B>,
    start: Adapter,
    examples: &'a [Sequence],
    config: &'a TrainConfig,
    seed: u64,
    /// Of every example's response tokens; `None` where all count alike.
    token_weights: Option<Vec<Vec<f32>>>,
    /// The examples in the order of the epoch, and how many of them have been drawn.
    order: Vec<usize>,
    drawn: usize,
    /// Epochs begun.
    epochs: usize,
    steps: usize,
    /// Steps done.
    step: usize,
    tokens: usize,
    watch: Watch<B>,
    losses: Vec<f32>,
    gradient_norm: Option<f32>,
}

/// What a step trains on.
pub(super) struct Drawn<'a> {
    pub rows: Vec<&'a Sequence>,
    /// Of each row's response tokens; none if all count alike.
    pub weights: Vec<Vec<f32>>,
    pub rate: f64,
    pub dropout: Dropout,
}

impl<'a, B: ModelBackend> Run<'a, B> {
    pub(super) fn new(model: &'a CausalLm<B>, request: TrainRequest<'a>) -> Result<Self> {
        let TrainRequest { start, lora, examples, config, seed, .. } = request;
        config.check()?;
        for example in examples {
            example.check(&model.config)?;
        }
        let is_fresh = start.is_none();
        let start = match start {
            Some(adapter) if adapter.config == *lora => adapter.clone(),
            Some(adapter) => {
                let reason = format!(
                    "it has the shape {:?}, but {lora:?} is asked for; an adapter keeps its shape, \
                     so keep the settings of [lora]",
                    adapter.config
                );
                return Err(ModelError::Adapter { adapter: "to go on from".into(), reason });
            }
            None => Adapter::init(lora, &model.config, &model.fingerprint, seed)?,
        };
        let weights =
            Lora::<B>::from_adapter(&start, &model.config, &model.fingerprint, &model.device)?;
        let token_weights = model.token_weights(config.token_weights, examples, &weights)?;
        let mut trainer = Trainer::new(model, weights, config);
        if is_fresh {
            trainer.anchor = None;
        }
        Ok(Self {
            trainer,
            start,
            examples,
            config,
            seed,
            token_weights,
            order: Vec::new(),
            drawn: 0,
            epochs: 0,
            steps: config.steps(examples.len()),
            step: 0,
            tokens: 0,
            watch: Watch::new(model.config.vocab_size),
            losses: Vec::new(),
            gradient_norm: None,
        })
    }

    /// What the next step trains on; `None` after the last one.
    pub(super) fn draw(&mut self) -> Option<Drawn<'a>> {
        if self.step == self.steps {
            return None;
        }
        if self.drawn == self.order.len() {
            self.order = (0..self.examples.len()).collect();
            self.order.shuffle(&mut key::stream(self.seed, 1 << 32 | self.epochs as u64));
            (self.drawn, self.epochs) = (0, self.epochs + 1);
        }
        let end = (self.drawn + self.config.batch_size).min(self.order.len());
        let batch = &self.order[self.drawn..end];
        self.drawn = end;
        let rows: Vec<&Sequence> = batch.iter().map(|i| &self.examples[*i]).collect();
        self.tokens += rows.iter().map(|row| row.response.len()).sum::<usize>();
        let weights = self.token_weights.as_ref();
        let of_step = key::split(self.seed, self.step as u64);
        Some(Drawn {
            weights: weights
                .map(|weights| batch.iter().map(|i| weights[*i].clone()).collect())
                .unwrap_or_default(),
            rate: self.config.rate(self.step, self.steps),
            dropout: Dropout {
                probability: self.start.config.dropout,
                seeds: (0..rows.len()).map(|row| key::split(of_step, row as u64)).collect(),
            },
            rows,
        })
    }

    /// Takes note of what a step saw.
    pub(super) fn take(&mut self, step: Step<B>) -> Result<TrainStep> {
        self.watch.push(step);
        self.step += 1;
        if self.watch.losses.len() == self.config.loss_interval || self.step == self.steps {
            let (loss, norm) = self.watch.read(self.step)?;
            self.losses.push(loss);
            self.gradient_norm = Some(norm);
        }
        Ok(TrainStep {
            done: self.step,
            steps: self.steps,
            loss: self.losses.last().copied(),
            gradient_norm: self.gradient_norm,
        })
    }

    /// The adapter after the last step.
    pub(super) fn finish(self) -> Result<AdaptOutcome> {
        let Self { steps, step, tokens, losses, .. } = self;
        let adapter = self.trainer.weights.to_adapter(&self.start)?;
        // The last update comes after the last loss that was read.
        if adapter.pairs().any(|(_, _, pair)| pair.a.iter().chain(&pair.b).any(|x| !x.is_finite()))
        {
            return Err(ModelError::NotFinite { step, loss: f32::NAN });
        }
        Ok(AdaptOutcome { adapter, steps, tokens, losses })
    }
}

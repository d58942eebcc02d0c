//! What a strategy sees of the period that it learns.

use std::{ops::RangeInclusive, sync::Arc};

use spring_core::{
    Config, Event, LanguageModel, Progress, StoredInteraction, key, spring_memory::UserId,
};
use spring_lm::{Adapter, Sequence, Train, TrainRequest, TrainStep};

use super::reference::Reference;
use crate::{
    Result, Split,
    loss::encode,
    protocol::{arena::Arena, budget::Budgeted},
};

/// One period of one user as a [`Strategy`](super::Strategy) sees it: the training texts so far,
/// the settings, the base, and a trainer that keeps to the budget.
#[derive(Clone, Copy)]
pub struct Period<'a> {
    pub(crate) arena: &'a Arena<'a>,
    /// From 0.
    pub(crate) place: usize,
    /// Whether the method has a rule of selection of its own.
    pub(crate) has_own_share: bool,
    pub(crate) config: &'a Config,
    pub(crate) reference: Option<&'a Reference>,
}

/// An adapter, and what it was trained on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trained {
    /// The adapter.
    pub adapter: Arc<Adapter>,
    /// Response tokens, over all epochs.
    pub tokens: usize,
}

/// What to train on, and how.
pub(super) struct Training<'t> {
    pub(super) start: Option<&'t Adapter>,
    pub(super) texts: &'t [StoredInteraction],
    /// Further examples.
    pub(super) replayed: Vec<Sequence>,
    /// Whether the budget is that of all periods so far, not of this one.
    pub(super) since_first: bool,
}

impl<'a> Period<'a> {
    /// The period, from 1.
    pub fn number(&self) -> u32 {
        self.split().period
    }

    /// Whether it is the first.
    pub fn is_first(&self) -> bool {
        self.place == 0
    }

    /// The user.
    pub fn user(&self) -> &'a UserId {
        self.arena.user
    }

    /// The method's settings.
    pub fn config(&self) -> &'a Config {
        self.config
    }

    /// The base model. What is scored with it is remembered for other methods.
    pub fn model(&self) -> &'a dyn LanguageModel {
        self.arena.model
    }

    /// The training part of the period, in the order of time.
    pub fn texts(&self) -> &'a [StoredInteraction] {
        &self.split().train
    }

    /// The training parts of the periods before it.
    pub fn earlier_texts(&self) -> Vec<StoredInteraction> {
        let before = &self.arena.splits[..self.place];
        before.iter().flat_map(|split| split.train.clone()).collect()
    }

    /// The training parts of the periods before it, and its own.
    pub fn texts_so_far(&self) -> Vec<StoredInteraction> {
        let so_far = &self.arena.splits[..=self.place];
        so_far.iter().flat_map(|split| split.train.clone()).collect()
    }

    /// The domain adapter, if there is one.
    pub fn domain(&self) -> Option<&'a Adapter> {
        self.arena.domain
    }

    /// How many texts of the period SPRInG learned, with the settings of the comparison.
    pub fn spring_selected(&self) -> Option<usize> {
        let learned = self.reference?.learned.get(self.place)?;
        Some(learned.texts.len())
    }

    /// Trains an adapter on some texts with the method's settings and the run's budget, from
    /// `start`, or from nothing.
    ///
    /// The order of the texts makes no difference: the same texts are the same training.
    ///
    /// # Errors
    ///
    /// What the model refuses.
    pub fn train(
        &self,
        start: Option<&Adapter>,
        texts: &[StoredInteraction],
        progress: &mut dyn Progress,
    ) -> Result<Trained> {
        self.train_as(Training { start, texts, replayed: vec![], since_first: false }, progress)
    }

    pub(super) fn train_as(
        &self,
        training: Training<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Trained> {
        let config = self.config;
        let encoded = encode(self.model(), config, training.texts)?;
        let examples: Vec<Sequence> = encoded.into_iter().map(|text| text.sequence).collect();
        let seed = key::seed(config.seed, self.user().as_str(), self.number(), "adapter");
        let mut step = |step: TrainStep| {
            progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
        };
        let first = if training.since_first { 0 } else { self.place };
        let request = TrainRequest::new(&config.lora, &examples, &config.training, seed)
            .starting_from(training.start);
        let outcome = self
            .trainer(first..=self.place, training.replayed)
            .train(request, &mut step)
            .map_err(spring_core::Error::from)?;
        Ok(Trained { adapter: Arc::new(outcome.adapter), tokens: outcome.tokens })
    }

    /// The model as it trains with the budget of some periods.
    pub(super) fn trainer(
        &self,
        periods: RangeInclusive<usize>,
        replayed: Vec<Sequence>,
    ) -> Budgeted<'a> {
        self.arena.trainer(periods, replayed)
    }

    pub(super) fn split(&self) -> &'a Split {
        &self.arena.splits[self.place]
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn reference(&self) -> Option<&'a Reference> {
        self.reference
    }

    /// Whether the method has a rule of selection of its own.
    pub(super) fn has_own_share(&self) -> bool {
        self.has_own_share
    }

    /// How many texts SPRInG took, if it starts from an adapter just as the method does.
    pub(super) fn spring_starting_alike(&self, has_start: bool) -> Option<usize> {
        let alike = self.reference?.start.is_some() == has_start;
        self.spring_selected().filter(|_| alike)
    }

    /// Response tokens of what SPRInG selected; all there are without it.
    pub(super) fn spring_tokens(&self) -> usize {
        let Some(reference) = self.reference else { return usize::MAX };
        let record = reference.learned.get(self.place).and_then(|l| l.record.as_ref());
        let scores = record.iter().flat_map(|record| &record.scores);
        scores.filter(|score| score.selected.is_some()).map(|score| score.tokens).sum()
    }
}

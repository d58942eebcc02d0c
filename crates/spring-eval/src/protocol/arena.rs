//! What all methods of one user share.

use std::collections::HashMap;

use spring_core::{Config, LanguageModel, prompt::Encoded, spring_memory::UserId, spring_model::Sequence};

use super::{
    Budget, Protocol, UserInput,
    budget::{Budgeted, Trained},
};
use crate::{FusedLoss, Result, Split, loss::encode, synth::Truth};

/// What all methods of one user share.
pub(super) struct Arena<'a> {
    pub(super) model: &'a dyn LanguageModel,
    pub(super) protocol: &'a Protocol,
    pub(super) user: &'a UserId,
    pub(super) splits: &'a [Split],
    /// The test parts.
    pub(super) tests: Vec<Vec<Encoded>>,
    /// The same messages in the other style, of synthetic users.
    pub(super) counterparts: Vec<Vec<(usize, Encoded)>>,
    /// Response tokens of each period's training part.
    pub(super) tokens: Vec<usize>,
    pub(super) trained: Trained,
    /// A row of R by adapter, or by adapter, bank and settings.
    pub(super) rows: HashMap<u64, Vec<FusedLoss>>,
}

impl<'a> Arena<'a> {
    pub(super) fn new(
        model: &'a dyn LanguageModel,
        protocol: &'a Protocol,
        input: UserInput<'a>,
        splits: &'a [Split],
    ) -> Result<Self> {
        let config = &protocol.config;
        let (mut tests, mut counterparts, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        for split in splits {
            tests.push(encode(model, config, &split.test)?);
            let mut other = Vec::new();
            for (place, text) in split.test.iter().enumerate() {
                if let Some(response) = Truth::of(&text.interaction).and_then(|truth| truth.counterpart) {
                    let mut text = text.clone();
                    text.interaction.response = response;
                    other.extend(encode(model, config, &[text])?.into_iter().map(|encoded| (place, encoded)));
                }
            }
            counterparts.push(other);
            tokens.push(response_tokens(&encode(model, config, &split.train)?));
        }
        let (trained, rows) = (Trained::default(), HashMap::new());
        Ok(Self { model, protocol, user: input.user, splits, tests, counterparts, tokens, trained, rows })
    }

    /// The model as it trains in period `t`.
    pub(super) fn trainer(
        &self,
        t: usize,
        config: &Config,
        replayed: Vec<Sequence>,
        pull: f64,
    ) -> Budgeted<'_> {
        let tokens = (self.protocol.budget == Budget::Steps).then(|| self.tokens[t] * config.training.epochs);
        Budgeted { model: self.model, trained: &self.trained, tokens, replayed, pull }
    }
}

fn response_tokens(texts: &[Encoded]) -> usize {
    texts.iter().map(|text| text.sequence.response.len()).sum()
}

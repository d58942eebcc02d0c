//! What all methods of one user share.

use std::ops::RangeInclusive;

use spring_core::{LanguageModel, prompt::Encoded, spring_memory::UserId};
use spring_lm::Sequence;

use super::{Budget, Memo, Protocol, UserInput, budget::Budgeted};
use spring_data::synth::Truth;

use crate::{Result, Split, loss::encode};

/// What all methods of one user share.
pub(super) struct Arena<'a> {
    /// It remembers what it trained and scored.
    pub(super) model: &'a dyn LanguageModel,
    pub(super) memo: &'a Memo,
    pub(super) protocol: &'a Protocol,
    pub(super) user: &'a UserId,
    pub(super) splits: &'a [Split],
    /// The test parts.
    pub(super) tests: Vec<Vec<Encoded>>,
    /// The same messages in the other style, of synthetic users.
    pub(super) counterparts: Vec<Vec<(usize, Encoded)>>,
    /// Response tokens of each period's training part.
    pub(super) tokens: Vec<usize>,
}

impl<'a> Arena<'a> {
    pub(super) fn new(
        model: &'a dyn LanguageModel,
        memo: &'a Memo,
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
        Ok(Self { model, memo, protocol, user: input.user, splits, tests, counterparts, tokens })
    }

    /// The model as it trains with the budget of some periods.
    pub(super) fn trainer(
        &self,
        periods: RangeInclusive<usize>,
        replayed: Vec<Sequence>,
        pull: f64,
    ) -> Budgeted<'_> {
        // By the suite's epochs, whatever a method has for itself.
        let epochs = self.protocol.config.training.epochs;
        let tokens: usize = self.tokens[periods].iter().map(|tokens| tokens * epochs).sum();
        let tokens = (self.protocol.budget == Budget::Steps).then_some(tokens);
        Budgeted { model: self.model, tokens, replayed, pull }
    }
}

fn response_tokens(texts: &[Encoded]) -> usize {
    texts.iter().map(|text| text.sequence.response.len()).sum()
}

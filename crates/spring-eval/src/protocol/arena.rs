//! What all methods of one user share.

use std::ops::{Range, RangeInclusive};

use spring_core::{LanguageModel, prompt::Encoded, spring_memory::UserId};
use spring_lm::{Adapter, Sequence};

use spring_data::synth::Truth;

use super::{Memo, Protocol, UserInput, budget::Budgeted};
use crate::{Budget, Result, Split, loss::encode, record::Turn};

/// What all methods of one user share.
pub(crate) struct Arena<'a> {
    /// It remembers what it trained and scored.
    pub(crate) model: &'a dyn LanguageModel,
    pub(crate) memo: &'a Memo,
    pub(crate) protocol: &'a Protocol,
    pub(crate) user: &'a UserId,
    pub(crate) splits: &'a [Split],
    /// The domain adapter.
    pub(crate) domain: Option<&'a Adapter>,
    /// The test parts.
    pub(crate) tests: Vec<Vec<Encoded>>,
    /// The same messages in the other style, of synthetic users.
    pub(crate) counterparts: Vec<Vec<(usize, Encoded)>>,
    /// Response tokens of each period's training part.
    pub(crate) tokens: Vec<usize>,
    /// Where the stream becomes another person's.
    pub(crate) turn: Option<Turn>,
}

impl<'a> Arena<'a> {
    pub(crate) fn new(
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
                if let Some(response) =
                    Truth::of(&text.interaction).and_then(|truth| truth.counterpart)
                {
                    let mut text = text.clone();
                    text.interaction.response = response;
                    other.extend(
                        encode(model, config, &[text])?.into_iter().map(|encoded| (place, encoded)),
                    );
                }
            }
            counterparts.push(other);
            tokens.push(response_tokens(&encode(model, config, &split.train)?));
        }
        let UserInput { user, domain, .. } = input;
        let turn = Turn::of(splits);
        Ok(Self { model, memo, protocol, user, splits, domain, tests, counterparts, tokens, turn })
    }

    /// How much more likely an adapter makes each test text of some periods than the base does, in
    /// nats per byte of the response.
    pub(crate) fn gains(&self, adapter: &Adapter, periods: Range<usize>) -> Result<Vec<f64>> {
        let mut gains = Vec::new();
        for tests in &self.tests[periods] {
            // In the calls in which the matrices R are computed, which are remembered.
            let nats = |adapter: Option<&Adapter>| -> Result<Vec<f64>> {
                let rows: Vec<_> = tests.iter().map(|text| (&text.sequence, adapter)).collect();
                let scores = self.model.score(&rows).map_err(spring_core::Error::from)?;
                let sum = |tokens: &Vec<f32>| tokens.iter().map(|x| f64::from(*x)).sum();
                Ok(scores.iter().map(sum).collect())
            };
            let (own, base) = (nats(Some(adapter))?, nats(None)?);
            let of_text = own.iter().zip(&base).zip(tests);
            gains.extend(
                of_text.map(|((own, base), text)| (own - base) / text.response_bytes as f64),
            );
        }
        Ok(gains)
    }

    /// The model as it trains with the budget of some periods.
    pub(crate) fn trainer(
        &self,
        periods: RangeInclusive<usize>,
        replayed: Vec<Sequence>,
    ) -> Budgeted<'a> {
        // By the suite's epochs, whatever a method has for itself.
        let epochs = self.protocol.config.training.epochs;
        let tokens: usize = self.tokens[periods].iter().map(|tokens| tokens * epochs).sum();
        let tokens = (self.protocol.budget == Budget::Steps).then_some(tokens);
        Budgeted { model: self.model, tokens, replayed }
    }
}

fn response_tokens(texts: &[Encoded]) -> usize {
    texts.iter().map(|text| text.sequence.response.len()).sum()
}

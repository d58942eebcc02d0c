//! What is learned in which step: a function of the seed and the step alone, so that a run can be
//! continued.

use anyhow::Result;
use rand::{Rng, seq::SliceRandom};
use rayon::prelude::*;
use spring_model::Sequence;

use crate::{
    codec::Codec,
    layout::{Pair, fitting, to_learn},
    random::keyed,
    related::Related,
    texts::Text,
};

/// Most related texts before a target.
const MOST_RELATED: usize = 3;
/// Sequences from which their mean length is estimated.
const MEASURED: usize = 256;

/// One step's sequences.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Each a row of its own.
    pub sequences: Vec<Sequence>,
    /// How many of them have related texts before their target.
    pub with_related: usize,
}

/// What stands before a target.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    /// Finds related texts.
    pub related: Option<&'a Related>,
    /// Part of the sequences that are to have related texts.
    pub share: f64,
    /// Part of the sequences that are to have the target itself: nothing teaches a model sooner to
    /// copy from its context.
    pub copies: f64,
}

/// Makes the batches of a run.
#[derive(Debug)]
pub struct Batches<'a> {
    texts: &'a [Text],
    codec: &'a Codec,
    before: Before<'a>,
    context: usize,
    seed: u64,
    rows: usize,
    /// The last epoch asked for, and its order.
    order: Option<(usize, Vec<usize>)>,
}

impl<'a> Batches<'a> {
    /// Batches of about `tokens` tokens: the number of rows is fixed, from the mean length of the
    /// first sequences.
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses a text.
    pub fn new(
        texts: &'a [Text],
        codec: &'a Codec,
        before: Before<'a>,
        context: usize,
        tokens: usize,
        seed: u64,
    ) -> Result<Self> {
        let mut batches = Self { texts, codec, before, context, seed, rows: MEASURED, order: None };
        let measured: usize = batches.batch(0)?.sequences.iter().map(Sequence::len).sum();
        batches.rows = (tokens * MEASURED).div_ceil(measured).max(1);
        Ok(batches)
    }

    /// Rows of every batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The batch of a step, counted from 0.
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses a text.
    pub fn batch(&mut self, step: usize) -> Result<Batch> {
        let places = step * self.rows..(step + 1) * self.rows;
        let targets: Vec<(usize, usize)> =
            places.map(|place| (place, self.target(place))).collect();
        let made: Vec<(Sequence, bool)> = targets
            .into_par_iter()
            .map(|(place, target)| self.sequence(place, target))
            .collect::<Result<_>>()?;
        let with_related = made.iter().filter(|(_, related)| *related).count();
        Ok(Batch {
            sequences: made.into_iter().map(|(sequence, _)| sequence).collect(),
            with_related,
        })
    }

    /// The text at a place of the run: epoch after epoch, each in an order of its own.
    fn target(&mut self, place: usize) -> usize {
        let (epoch, at) = (place / self.texts.len(), place % self.texts.len());
        let order = match self.order.take() {
            Some((known, order)) if known == epoch => order,
            _ => {
                let mut order: Vec<usize> = (0..self.texts.len()).collect();
                order.shuffle(&mut keyed(self.seed, "order", epoch as u64));
                order
            }
        };
        let target = order[at];
        self.order = Some((epoch, order));
        target
    }

    /// The sequence at a place of the run, and whether it has related texts.
    fn sequence(&self, place: usize, target: usize) -> Result<(Sequence, bool)> {
        let mut rng = keyed(self.seed, "related", place as u64);
        let pair = self.codec.pair(&self.texts[target])?;
        let mut candidates: Vec<Pair> = Vec::new();
        let Before { related, share, copies } = self.before;
        let drawn = rng.random::<f64>();
        if drawn < copies {
            candidates.push(pair.clone());
        } else if let Some(related) = related.filter(|_| drawn < copies + share) {
            let count = rng.random_range(1..=MOST_RELATED);
            for other in related.to_text(&self.texts[target], Some(target), count) {
                candidates.push(self.codec.pair(&self.texts[other])?);
            }
        }
        let earlier = fitting(&candidates, &pair, self.context);
        Ok((to_learn(self.codec.begin, &earlier, &pair, self.context), !earlier.is_empty()))
    }
}

//! What learning from one text alone gains on others: a short look ahead for each text of a period.

use std::ops::ControlFlow;

use spring_lm::{Adapter, LanguageModel, LoraConfig, Sequence, TrainConfig, TrainRequest};

use crate::{
    Result,
    progress::{Event, Progress, tell},
};

/// A look ahead: how far, from where, and at how many others.
pub(crate) struct Lookahead<'a> {
    /// Steps on the text alone.
    pub(crate) steps: usize,
    /// The latest other texts that the gain is a mean over.
    pub(crate) recent: usize,
    /// The adapter that the period's training will start from, made in the same way.
    pub(crate) start: Option<&'a Adapter>,
    pub(crate) lora: &'a LoraConfig,
    pub(crate) training: &'a TrainConfig,
    pub(crate) seed: u64,
}

impl Lookahead<'_> {
    /// For each text of a period, in the order of time, the mean gain of the latest others; 0 where
    /// there is no other.
    ///
    /// `likelihood` makes one number of a text's log-likelihoods, and `before` has that number for
    /// every text as it was. Costs as many training steps of one text as asked for, and the scoring
    /// of as many texts, for every text.
    pub(crate) fn gains(
        &self,
        model: &dyn LanguageModel,
        texts: &[&Sequence],
        likelihood: &dyn Fn(usize, &[f32]) -> f64,
        before: &[f64],
        progress: &mut dyn Progress,
    ) -> Result<Vec<f64>> {
        // One text a step, each at the rate of a training's peak: its first step would have rate 0.
        let training =
            self.training.clone().with_epochs(self.steps).with_batch_size(1).with_warmup(0.0);
        let mut gains = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            tell(progress, Event::LookingAhead { done: place, texts: texts.len() })?;
            let others: Vec<usize> = latest_others(texts.len(), place, self.recent).collect();
            if others.is_empty() {
                gains.push(0.0);
                continue;
            }
            let alone = [Sequence::clone(text)];
            let request = TrainRequest::new(self.lora, &alone, &training, self.seed)
                .starting_from(self.start);
            let ahead = model.train(request, &mut |_| ControlFlow::Continue(()))?.adapter;
            let rows: Vec<_> = others.iter().map(|other| (texts[*other], Some(&ahead))).collect();
            let scores = model.score(&rows)?;
            let gain = |(at, other): (usize, &usize)| {
                let after = scores.get(at).map_or(f64::NAN, |tokens| likelihood(*other, tokens));
                after - before[*other]
            };
            let sum: f64 = others.iter().enumerate().map(gain).sum();
            gains.push(sum / others.len() as f64);
        }
        Ok(gains)
    }
}

/// The places of the latest texts but one, latest first.
fn latest_others(texts: usize, but: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..texts).rev().filter(move |other| *other != but).take(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_others_leave_the_text_itself_out() {
        let of = |texts, but, most| latest_others(texts, but, most).collect::<Vec<_>>();
        assert_eq!(of(6, 1, 3), [5, 4, 3]);
        assert_eq!(of(6, 4, 3), [5, 3, 2]);
        assert_eq!(of(3, 0, 4), [2, 1]);
        assert_eq!(of(1, 0, 4), [0usize; 0]);
    }
}

//! Several trainings side by side: each step of all of them is one round, and what the base does
//! for several people's rows it does in one pass.

use std::{cmp::Reverse, ops::ControlFlow};

use burn::tensor::{Int, Tensor, TensorData};

use super::{
    Found, Part,
    run::{Drawn, Run},
    weighed,
};
use crate::{
    AdaptOutcome, CausalLm, ModelBackend, ModelError, Projection, Result, TrainRequest, TrainStep,
    transformer::Packed,
};

impl<B: ModelBackend> CausalLm<B> {
    /// Trains several adapters side by side; see
    /// [`Train::train_many`](spring_lm::Train::train_many). Each comes out as by
    /// [`train`](Self::train), to the last bit.
    ///
    /// On the CPU one pass takes several people's rows, without their padding; on other devices the
    /// trainings go on in turns.
    pub fn train_many(
        &self,
        requests: &[TrainRequest<'_>],
        mut progress: impl FnMut(usize, TrainStep) -> ControlFlow<()>,
    ) -> Vec<Result<AdaptOutcome>> {
        let mut places: Vec<Place<'_, B>> = requests
            .iter()
            .map(|request| match Run::new(self, *request) {
                Ok(run) => Place::Running(Box::new(run)),
                Err(error) => Place::Ended(Err(error)),
            })
            .collect();
        loop {
            let drawn: Vec<Option<Drawn<'_>>> = places.iter_mut().map(Place::draw).collect();
            if drawn.iter().all(Option::is_none) {
                break;
            }
            let mut found = self.round(&places, &drawn);
            let mut steps: Vec<_> = places
                .iter_mut()
                .zip(&drawn)
                .zip(&mut found)
                .filter_map(|((place, drawn), found)| match (place, drawn) {
                    (Place::Running(run), Some(drawn)) => {
                        Some((&mut run.trainer, std::mem::take(found), drawn.rate))
                    }
                    _ => None,
                })
                .collect();
            let taken = self.workers.divided(B::SIDE_BY_SIDE, &mut steps, 1, |steps| {
                let mut taken = Vec::with_capacity(steps.len());
                for (trainer, found, rate) in steps {
                    taken.push(trainer.gather(std::mem::take(found), *rate));
                }
                taken
            });
            let stepped = (0..).zip(&mut places).zip(&drawn).filter(|(_, drawn)| drawn.is_some());
            for (((place, state), _), step) in stepped.zip(taken.into_iter().flatten()) {
                let Place::Running(run) = state else { continue };
                match run.take(step) {
                    Ok(step) if progress(place, step).is_continue() => {}
                    Ok(_) => *state = Place::Ended(Err(ModelError::Stopped)),
                    Err(error) => *state = Place::Ended(Err(error)),
                }
            }
        }
        places.into_iter().map(Place::end).collect()
    }

    /// What everybody's next step has found, part by part.
    fn round(&self, places: &[Place<'_, B>], drawn: &[Option<Drawn<'_>>]) -> Vec<Vec<Found<B>>> {
        let mut parts: Vec<(usize, &Run<'_, B>, Part<'_>)> = Vec::new();
        for (place, (state, drawn)) in places.iter().zip(drawn).enumerate() {
            if let (Place::Running(run), Some(drawn)) = (state, drawn) {
                let Drawn { rows, weights, dropout, .. } = drawn;
                let weights: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
                let own = run.trainer.parts(rows, &weights, Some(dropout.clone()));
                parts.extend(own.into_iter().map(|part| (place, &**run, part)));
            }
        }
        let groups = self.groups(&parts);
        let passes = self.workers.passes(B::SIDE_BY_SIDE, &groups, |group| {
            let group: Vec<_> = group.iter().map(|i| (parts[*i].1, &parts[*i].2)).collect();
            self.together(&group)
        });
        // In the order of the parts, in which their gradients are added up.
        let mut all: Vec<(usize, Found<B>)> =
            groups.iter().flatten().copied().zip(passes.into_iter().flatten()).collect();
        all.sort_by_key(|(part, _)| *part);
        let mut found: Vec<Vec<Found<B>>> = places.iter().map(|_| Vec::new()).collect();
        for (part, of_part) in all {
            found[parts[part].0].push(of_part);
        }
        found
    }

    /// The parts that go through one pass: no more than about as many tokens as run at once, and
    /// about as many in each, so that no thread waits long for another.
    fn groups(&self, parts: &[(usize, &Run<'_, B>, Part<'_>)]) -> Vec<Vec<usize>> {
        let (mut order, alone): (Vec<usize>, Vec<usize>) =
            (0..parts.len()).partition(|i| self.may_join(parts[*i].1, &parts[*i].2));
        let tokens = |i: &usize| parts[*i].2.tokens();
        let total: usize = order.iter().map(tokens).sum();
        let threads = if B::SIDE_BY_SIDE { self.workers.threads() } else { 1 };
        let count = total.div_ceil(self.tokens_at_once).next_multiple_of(threads).min(order.len());
        let mut groups: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); count];
        order.sort_by_key(|i| Reverse(tokens(i)));
        for i in order {
            if let Some((held, group)) = groups.iter_mut().min_by_key(|(held, _)| *held) {
                *held += tokens(&i);
                group.push(i);
            }
        }
        let groups = groups.into_iter().map(|(_, group)| group);
        groups.chain(alone.into_iter().map(|i| vec![i])).collect()
    }

    /// Whether the base's products tell nothing of the company that these rows have.
    pub(super) fn may_join(&self, run: &Run<'_, B>, part: &Part<'_>) -> bool {
        !run.trainer.checkpoint_layers
            && self.transformer.is_packable()
            && self.is_of_each_row(part.padded())
    }

    fn is_of_each_row(&self, rows: usize) -> bool {
        Projection::ALL.into_iter().all(|projection| {
            let (inner, outputs) = self.config.projection_dims(projection);
            B::is_of_each_row(rows, inner, outputs) && B::is_of_each_row(rows, outputs, inner)
        })
    }

    /// One pass over the rows of a group, or one for each part where they may not share it.
    fn together(&self, group: &[(&Run<'_, B>, &Part<'_>)]) -> Vec<Found<B>> {
        let tokens = group.iter().map(|(_, part)| part.tokens()).sum();
        let may_join = group.iter().all(|(run, part)| self.may_join(run, part));
        if !may_join || !self.is_of_each_row(tokens) {
            return group.iter().map(|(run, part)| run.trainer.gradients(part)).collect();
        }
        let people: Vec<Packed<'_, B>> = group
            .iter()
            .map(|(run, part)| Packed {
                rows: &part.rows,
                lora: &run.trainer.weights,
                dropout: part.dropout.as_ref(),
            })
            .collect();
        let (head, mut losses) = (self.transformer.head(), Vec::with_capacity(group.len()));
        let gradients = self.transformer.gradients(&people, &self.device, |person, hidden| {
            let Part { rows, weights, scale, .. } = group[person].1;
            let targets: Vec<i64> =
                rows.iter().flat_map(|row| &row.response).map(|id| i64::from(*id)).collect();
            let shape = [targets.len()];
            let targets =
                Tensor::<B, 1, Int>::from_data(TensorData::new(targets, shape), &self.device);
            let (loss, slope) = head.cross_entropy(hidden, targets, *scale);
            losses.push(loss);
            weighed(slope, weights)
        });
        let found = losses.into_iter().zip(gradients);
        found.map(|(loss, gradients)| Found { loss, gradients }).collect()
    }
}

/// One of the trainings.
enum Place<'a, B: ModelBackend> {
    Running(Box<Run<'a, B>>),
    Ended(Result<AdaptOutcome>),
}

impl<'a, B: ModelBackend> Place<'a, B> {
    fn draw(&mut self) -> Option<Drawn<'a>> {
        match self {
            Self::Running(run) => run.draw(),
            Self::Ended(_) => None,
        }
    }

    fn end(self) -> Result<AdaptOutcome> {
        match self {
            Self::Running(run) => run.finish(),
            Self::Ended(result) => result,
        }
    }
}

impl Part<'_> {
    /// Tokens that the model is given.
    fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.len() - 1).sum()
    }

    /// The same with padding.
    fn padded(&self) -> usize {
        self.rows.len() * self.rows.iter().map(|row| row.len() - 1).max().unwrap_or(0)
    }
}

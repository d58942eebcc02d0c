//! A model of any backend behind the traits of [`spring_lm`]: adapters come and go as host data.

use std::ops::ControlFlow;

use ndarray::Array2;
use spring_lm::{
    AdaptOutcome, Adapter, Branch, BranchVisitor, Embed, Result, Score, ScoreRow, Train,
    TrainRequest, TrainStep,
};

use crate::{CausalLm, Lora, ModelBackend};

/// The adapters of some rows on the device, each copied once however many rows carry it.
struct Attached<'a, B: ModelBackend> {
    loras: Vec<(&'a Adapter, Lora<B>)>,
}

impl<'a, B: ModelBackend> Attached<'a, B> {
    fn new(
        model: &CausalLm<B>,
        adapters: impl Iterator<Item = Option<&'a Adapter>>,
    ) -> Result<Self> {
        let mut loras: Vec<(&'a Adapter, Lora<B>)> = Vec::new();
        for adapter in adapters.flatten() {
            if !loras.iter().any(|(known, _)| std::ptr::eq(*known, adapter)) {
                loras.push((adapter, model.attach(adapter)?));
            }
        }
        Ok(Self { loras })
    }

    fn get(&self, adapter: Option<&Adapter>) -> Option<&Lora<B>> {
        let adapter = adapter?;
        self.loras.iter().find(|(known, _)| std::ptr::eq(*known, adapter)).map(|(_, lora)| lora)
    }
}

impl<B: ModelBackend> Score for CausalLm<B> {
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        let loras = Attached::new(self, rows.iter().map(|(_, adapter)| *adapter))?;
        let rows: Vec<_> =
            rows.iter().map(|(sequence, adapter)| (*sequence, loras.get(*adapter))).collect();
        self.score(&rows)
    }

    fn score_in_passes(
        &self,
        rows: &[ScoreRow<'_>],
        between: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let loras = Attached::new(self, rows.iter().map(|(_, adapter)| *adapter))?;
        let rows: Vec<_> =
            rows.iter().map(|(sequence, adapter)| (*sequence, loras.get(*adapter))).collect();
        self.score_in_passes(&rows, between)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        let loras = Attached::new(self, branches.iter().map(|(_, adapter)| *adapter))?;
        let branches: Vec<_> =
            branches.iter().map(|(context, adapter)| (*context, loras.get(*adapter))).collect();
        self.score_branches(&branches, response, visit)
    }
}

impl<B: ModelBackend> Train for CausalLm<B> {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        self.train(request, progress)
    }

    fn train_many(
        &self,
        requests: &[TrainRequest<'_>],
        progress: &mut dyn FnMut(usize, TrainStep) -> ControlFlow<()>,
    ) -> Vec<Result<AdaptOutcome>> {
        self.train_many(requests, progress)
    }
}

impl<B: ModelBackend> Embed for CausalLm<B> {
    fn embed_tokens(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        self.embed(rows)
    }
}

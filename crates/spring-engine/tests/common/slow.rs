//! A model whose scoring takes many passes, and tells of each.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use ndarray::Array2;
use spring_core::{
    Decode, Embed, ModelInfo, Score, Tokenize, Train,
    spring_lm::{
        AdaptOutcome, Branch, BranchVisitor, Message, ModelError, Result, ScoreRow, Session,
        TrainRequest, TrainStep,
    },
};
use spring_model::AnyModel;

/// Passes of one scoring: more than a test waits for.
pub const PASSES: usize = 20_000;

/// The model of the other tests, whose scoring begins with many passes that do nothing.
pub struct Slow {
    pub of: Arc<AnyModel>,
    /// Passes so far.
    pub passes: AtomicUsize,
}

impl Slow {
    pub fn new(of: Arc<AnyModel>) -> Arc<Self> {
        Arc::new(Self { of, passes: AtomicUsize::new(0) })
    }
}

impl Score for Slow {
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        self.score_in_passes(rows, &mut || ControlFlow::Continue(()))
    }

    fn score_in_passes(
        &self,
        rows: &[ScoreRow<'_>],
        between: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        for _ in 0..PASSES {
            if between().is_break() {
                return Err(ModelError::Stopped);
            }
            self.passes.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
        self.of.score(rows)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        self.of.score_branches(branches, response, visit)
    }
}

impl Tokenize for Slow {
    fn info(&self) -> &ModelInfo {
        self.of.info()
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.of.encode(text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>> {
        self.of.encode_chat(messages)
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String> {
        self.of.decode_text(ids)
    }
}

impl Train for Slow {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        self.of.train(request, progress)
    }
}

impl Decode for Slow {
    fn session(&self) -> Result<Box<dyn Session>> {
        self.of.session()
    }
}

impl Embed for Slow {
    fn embed_tokens(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        self.of.embed_tokens(rows)
    }
}

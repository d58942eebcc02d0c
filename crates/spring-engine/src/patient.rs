//! A model for the learner: it lets answers go first, and stops when it is told to.

use std::{
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ndarray::Array2;
use spring_core::{
    LanguageModel,
    spring_lm::{
        AdaptOutcome, Branch, BranchVisitor, Embed, ModelError, Parts, Result, Score, ScoreRow,
        Train, TrainRequest, TrainStep,
    },
};

use crate::shared::Activity;

/// While answers are written, the learner rests for this many times as long as it has worked.
const REST: u32 = 4;

/// How often it is looked meanwhile whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// Rests between two pieces of work, and says whether it is to go on.
pub(crate) struct Patience<'a> {
    activity: &'a Activity,
    is_to_stop: &'a (dyn Fn() -> bool + Sync),
    /// Since when it has worked.
    worked: Mutex<Instant>,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(activity: &'a Activity, is_to_stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { activity, is_to_stop, worked: Mutex::new(Instant::now()) }
    }

    /// Lets answers go first; `Break` if the work is to end.
    pub(crate) fn pause(&self) -> ControlFlow<()> {
        let mut worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + worked.elapsed() * REST;
        loop {
            if self.is_stopped() {
                return ControlFlow::Break(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.activity.wait_until_idle(left.min(LOOK)) {
                break;
            }
        }
        *worked = Instant::now();
        ControlFlow::Continue(())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        (self.is_to_stop)()
    }

    fn go_on(&self) -> Result<()> {
        match self.pause() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ModelError::Stopped),
        }
    }
}

/// What takes long of a model, with a pause before each pass.
///
/// The batches stay as they are: in others the last bits would be others, too.
pub(crate) struct Patient<'a> {
    pub(crate) model: &'a dyn LanguageModel,
    pub(crate) patience: &'a Patience<'a>,
}

impl<'a> Patient<'a> {
    /// It as a whole model.
    pub(crate) fn parts(&'a self) -> Parts<'a> {
        Parts::of(self.model).with_score(self).with_train(self).with_embed(self)
    }
}

impl Score for Patient<'_> {
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        self.model.score_in_passes(rows, &mut || self.patience.pause())
    }

    fn score_in_passes(
        &self,
        rows: &[ScoreRow<'_>],
        between: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        self.model.score_in_passes(rows, &mut || {
            self.patience.pause()?;
            between()
        })
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        self.patience.go_on()?;
        self.model.score_branches(branches, response, visit)
    }
}

impl Train for Patient<'_> {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        self.patience.go_on()?;
        self.model.train(request, &mut |step| {
            self.patience.pause()?;
            progress(step)
        })
    }
}

impl Embed for Patient<'_> {
    fn embed_tokens(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        self.patience.go_on()?;
        self.model.embed_tokens(rows)
    }
}

//! Telling a caller how far a long work is, and being told to stop.

use std::ops::ControlFlow;

use spring_memory::UserId;

/// Where the work stands.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A period of a user begins.
    Period {
        /// The user.
        user: &'a UserId,
        /// The period.
        period: u32,
        /// How many texts it can learn from.
        texts: usize,
    },
    /// Texts are being scored.
    Scoring {
        /// Texts in all.
        texts: usize,
    },
    /// Texts are being embedded.
    Embedding {
        /// Texts done.
        done: usize,
        /// Texts in all.
        texts: usize,
    },
    /// What each text would teach is being measured.
    LookingAhead {
        /// Texts done.
        done: usize,
        /// Texts in all.
        texts: usize,
    },
    /// The adapter is being trained.
    Training {
        /// Steps done.
        done: usize,
        /// Steps in all.
        steps: usize,
        /// The latest mean loss, nats per token.
        loss: Option<f32>,
    },
    /// The buffer is being scored again with the new adapter.
    Rescoring {
        /// Texts in all.
        texts: usize,
    },
    /// A period is committed.
    Committed {
        /// The user.
        user: &'a UserId,
        /// The period.
        period: u32,
        /// The new generation.
        generation: u32,
    },
    /// Another process writes to the state; what was trained waits for it.
    Waiting,
    /// A state is being checked, or a user exported or imported.
    Reading {
        /// Users, or the user's texts, generations and records, done so far.
        done: u64,
    },
    /// A token was generated, or the text ended.
    Token {
        /// Tokens so far.
        done: usize,
        /// The token; `None` if the text ended without one.
        token: Option<u32>,
        /// The text that is certain now; see [`TextStep::text`](crate::TextStep).
        text: &'a str,
    },
}

/// Follows a long work; answers `Break` to stop it. Nothing half-done is kept.
pub trait Progress {
    /// Called at every step.
    fn on(&mut self, event: Event<'_>) -> ControlFlow<()>;
}

/// Follows nothing.
impl Progress for () {
    fn on(&mut self, _: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(Event<'_>) -> ControlFlow<()>> Progress for F {
    fn on(&mut self, event: Event<'_>) -> ControlFlow<()> {
        self(event)
    }
}

/// Follows the check, export or import of a state.
pub fn reading(progress: &mut dyn Progress) -> impl FnMut(u64) -> ControlFlow<()> {
    move |done| progress.on(Event::Reading { done })
}

/// Turns a request to stop into the error that says so.
pub(crate) fn tell(progress: &mut dyn Progress, event: Event<'_>) -> crate::Result<()> {
    match progress.on(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(spring_lm::ModelError::Stopped.into()),
    }
}

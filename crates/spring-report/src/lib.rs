#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod looks;
mod markup;
mod page;
mod picture;
mod plots;
mod suite;
mod table;
mod tensorboard;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

pub use error::{Error, Result};
pub use picture::Picture;
pub use suite::{suite_html, suite_pictures};
pub use table::{TableFormat, summary_table};
pub use tensorboard::{EventFile, suite_events};

use spring_core::{
    StoredInteraction,
    record::{AnswerRecord, PeriodRecord},
    spring_memory::{BufferItem, UserId},
};

use spring_eval::PeriodLosses;

/// What a page shows.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct UserReport<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The base model, in words.
    pub model: &'a str,
    /// The periods learned, oldest first.
    pub periods: &'a [PeriodRecord],
    /// Losses on held-out texts per period.
    pub losses: &'a [PeriodLosses],
    /// Texts by sequence number: all that the records mention.
    pub texts: &'a HashMap<u64, StoredInteraction>,
    /// The buffer of the last generation, highest score first.
    pub buffer: &'a [BufferItem],
    /// The gate's calibration sample of the last generation.
    pub calibration: &'a [f64],
    /// A generated text.
    pub answer: Option<&'a AnswerRecord>,
    /// The texts of the answer's tokens, one per entry of its trace.
    pub tokens: &'a [String],
}

impl<'a> UserReport<'a> {
    /// Of a user of whom nothing was learned yet.
    pub fn new(
        user: &'a UserId,
        model: &'a str,
        texts: &'a HashMap<u64, StoredInteraction>,
    ) -> Self {
        Self {
            user,
            model,
            periods: &[],
            losses: &[],
            texts,
            buffer: &[],
            calibration: &[],
            answer: None,
            tokens: &[],
        }
    }

    /// With the periods learned, and the losses on held-out texts after each.
    #[must_use]
    pub fn with_periods(self, periods: &'a [PeriodRecord], losses: &'a [PeriodLosses]) -> Self {
        Self { periods, losses, ..self }
    }

    /// With the buffer of the last generation, highest score first, and the gate's calibration
    /// sample.
    #[must_use]
    pub fn with_buffer(self, buffer: &'a [BufferItem], calibration: &'a [f64]) -> Self {
        Self { buffer, calibration, ..self }
    }

    /// With a generated text, if there is one, and the texts of its tokens, one per entry of its
    /// trace.
    #[must_use]
    pub fn with_answer(self, answer: Option<&'a AnswerRecord>, tokens: &'a [String]) -> Self {
        Self { answer, tokens, ..self }
    }
}

/// What was learned of one user: nothing on it is loaded from elsewhere, and no text of the data
/// can become markup.
///
/// # Errors
///
/// [`Error::Plot`] if a plot cannot be drawn.
pub fn html(report: &UserReport<'_>) -> Result<String> {
    page::Page::new(*report).html()
}

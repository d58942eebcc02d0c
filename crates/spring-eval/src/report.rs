//! One user's learning as a self-contained HTML page.

mod markup;
mod page;
mod plots;
mod suite;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub(crate) use suite::suite_html;

use spring_core::{
    StoredInteraction,
    record::{AnswerRecord, PeriodRecord},
    spring_memory::{BufferItem, UserId},
};

use crate::{PeriodLosses, Result};

/// What a page shows.
#[derive(Debug, Clone, Copy)]
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

/// The page: nothing on it is loaded from elsewhere, and no text of the data can become markup.
///
/// # Errors
///
/// [`Error::Plot`](crate::Error::Plot) if a plot cannot be drawn.
pub fn html(report: &UserReport<'_>) -> Result<String> {
    page::Page::new(*report).html()
}

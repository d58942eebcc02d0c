//! Metrics of generated texts beside the built-in ones: one's own type, or a program.

mod program;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use spring_core::{Progress, spring_memory::UserId};

use crate::{Error, Result, program as programs};

/// A generated text as a [`Metric`] sees it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Written<'a> {
    /// Whose prompt it answers.
    pub user: &'a UserId,
    /// The prompt.
    pub prompt: &'a str,
    /// What the user wrote.
    pub reference: &'a str,
    /// What the method wrote.
    pub answer: &'a str,
}

/// Scores generated texts. `examples/own_metric.rs` shows one of your own.
pub trait Metric: Send + Sync {
    /// A finite score for each text, in their order. The texts are those of all users, methods,
    /// seeds and budgets that have no score yet.
    ///
    /// # Errors
    ///
    /// If the texts cannot be scored; the run fails then, and goes on here the next time.
    fn score(&self, texts: &[Written<'_>], progress: &mut dyn Progress) -> Result<Vec<f64>>;
}

/// A metric of a suite: `[[metrics]]`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SuiteMetric {
    /// Its name in tables and in `summary.csv`.
    pub name: String,
    /// The program and its arguments; empty for a metric in Rust
    /// ([`Suite::with_metric`](crate::Suite::with_metric)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Whether a higher score is a better one. Default true.
    #[serde(default = "yes")]
    pub higher_is_better: bool,
    /// Seconds that the program may take for all texts. Default 600.
    #[serde(default = "programs::ten_minutes")]
    pub timeout: u64,
    #[serde(skip)]
    own: Option<Arc<dyn Metric>>,
}

fn yes() -> bool {
    true
}

/// The longest name.
const LONGEST_NAME: usize = 40;

impl SuiteMetric {
    /// A metric in Rust.
    pub fn new(name: &str, higher_is_better: bool, metric: impl Metric + 'static) -> Self {
        Self {
            name: name.to_owned(),
            command: vec![],
            higher_is_better,
            timeout: programs::ten_minutes(),
            own: Some(Arc::new(metric)),
        }
    }

    /// One score of each text.
    pub(crate) fn score(
        &self,
        texts: &[Written<'_>],
        progress: &mut dyn Progress,
    ) -> Result<Vec<f64>> {
        let fail = |reason: String| Error::Metric { name: self.name.clone(), reason };
        let Self { name, command, timeout, .. } = self;
        let scores = match &self.own {
            Some(own) => own.score(texts, progress)?,
            None if command.is_empty() => {
                return Err(fail(
                    "has no command, and none in Rust was given for it (Suite::with_metric)".into(),
                ));
            }
            None => program::ProgramMetric { name, command, timeout: *timeout }
                .score(texts, progress)?,
        };
        if scores.len() != texts.len() {
            let (found, texts) = (scores.len(), texts.len());
            return Err(fail(format!("gave {found} scores to {texts} texts")));
        }
        match scores.iter().zip(texts).find(|(score, _)| !score.is_finite()) {
            Some((score, text)) => Err(fail(format!("user {}: the score is {score}", text.user))),
            None => Ok(scores),
        }
    }

    /// Scores by another one of these are not its own.
    pub(crate) fn identity(&self) -> String {
        programs::identity(&self.command)
    }

    /// Whether it is a program.
    pub(crate) fn is_program(&self) -> bool {
        self.own.is_none() && !self.command.is_empty()
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let fits = |sign: char| sign.is_ascii_alphanumeric() || "-_.".contains(sign);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
            return Err(format!(
                "{name:?}: a name is of 1 to {LONGEST_NAME} letters, digits, hyphens, underscores \
                 and full stops"
            ));
        }
        if name.starts_with(['-', '.']) {
            return Err(format!("{name:?}: a name begins with a letter or a digit"));
        }
        if self.own.is_some() || self.command.is_empty() {
            return Ok(());
        }
        programs::check(&self.command, self.timeout).map_err(|reason| format!("{name:?}: {reason}"))
    }
}

/// By what a suite says of them.
impl PartialEq for SuiteMetric {
    fn eq(&self, other: &Self) -> bool {
        let said = |metric: &Self| {
            let Self { name, command, higher_is_better, timeout, .. } = metric.clone();
            (name, command, higher_is_better, timeout)
        };
        said(self) == said(other)
    }
}

impl fmt::Debug for SuiteMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuiteMetric").field("name", &self.name).finish_non_exhaustive()
    }
}

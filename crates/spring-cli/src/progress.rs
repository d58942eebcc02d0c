//! Progress bars on standard error.

use std::{ops::ControlFlow, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use spring_core::{Event, Progress};

use crate::interrupt;

/// Draws what the loop reports, and hands Ctrl-C to it. Hidden when standard error is not a
/// terminal.
pub struct Bars {
    bar: ProgressBar,
    place: String,
}

impl Bars {
    /// Bars, or none if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let style = ProgressStyle::with_template(
            "{spinner} {prefix} {bar:24} {pos}/{len} {msg} [{elapsed}, {eta} left]",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, place: String::new() }
    }

    /// Says what is going on outside the loop.
    pub fn say(&self, message: &str) {
        self.bar.set_length(0);
        self.bar.set_prefix(message.to_owned());
    }

    /// Removes the bars.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn stage(&self, stage: &str, length: usize) {
        self.bar.set_prefix(format!("{}{stage}", self.place));
        self.bar.set_length(length as u64);
        self.bar.set_position(0);
        self.bar.set_message("");
        self.bar.reset_eta();
    }
}

impl Progress for Bars {
    fn on(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Period { user, period, .. } => self.place = format!("{user}, period {period}: "),
            Event::Scoring { texts } => self.stage("scoring", texts),
            Event::Embedding { done, texts } => {
                if done == 0 {
                    self.stage("embedding", texts);
                }
                self.bar.set_position(done as u64);
            }
            Event::Rescoring { texts } => self.stage("scoring the buffer", texts),
            Event::Training { done, steps, loss } => {
                if done == 1 {
                    self.stage("training", steps);
                }
                self.bar.set_position(done as u64);
                if let Some(loss) = loss {
                    self.bar.set_message(format!("{loss:.3} nats/token"));
                }
            }
            Event::Token { done, .. } => {
                if done == 1 {
                    self.place.clear();
                    self.stage("writing", 0);
                }
                self.bar.set_position(done as u64);
            }
            _ => {}
        }
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

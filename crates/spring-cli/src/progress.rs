//! Progress bars on standard error.

use std::{
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use spring_core::{Event, Progress};

use crate::{interrupt, output};

/// Keeps the time on a bar going, where it is seen and a thread for that can be had: the library
/// ends the program otherwise.
pub fn tick(bar: &ProgressBar) {
    if !bar.is_hidden() && thread::Builder::new().spawn(|| {}).is_ok() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
}

/// How often a line is written where bars cannot be drawn.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// Draws what the loop reports, and hands Ctrl-C to it. Where standard error is not a terminal, a
/// line every few seconds says how far it is.
pub struct Bars {
    bar: ProgressBar,
    place: String,
    /// When the last line was written; `None` where bars are drawn, or nothing is to be said.
    said: Option<Instant>,
}

impl Bars {
    /// Bars, or none if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        tick(&bar);
        let said = (!quiet && bar.is_hidden()).then(Instant::now);
        let bars = Self { bar, place: String::new(), said };
        bars.length(0);
        bars
    }

    /// Says how much there is to do; 0: nobody knows.
    fn length(&self, length: usize) {
        self.bar.set_length(length as u64);
        let style = ProgressStyle::with_template(match length {
            0 => "{spinner} {prefix} [{elapsed}]",
            _ => "{spinner} {prefix} {bar:24} {pos}/{len} {msg} [{elapsed}, {eta} left]",
        });
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }

    /// Writes a line, if it is time for one.
    fn line(&mut self) {
        if self.said.is_none_or(|said| said.elapsed() < LINES_EVERY) {
            return;
        }
        let (prefix, message, done) = (self.bar.prefix(), self.bar.message(), self.bar.position());
        let done = match self.bar.length().unwrap_or(0) {
            // Nobody knows how long a text will be.
            0 => format!(": {}", output::count(done, "token")),
            length => format!(" {done} of {length}"),
        };
        let message = if message.is_empty() { message } else { format!(", {message}") };
        output::say(&format!("spring: {prefix}{done}{message}"));
        self.said = Some(Instant::now());
    }

    /// Says what is going on outside the loop.
    pub fn say(&self, message: &str) {
        self.length(0);
        self.bar.set_prefix(message.to_owned());
    }

    /// Removes the bars.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn stage(&self, stage: &str, length: usize) {
        self.bar.set_prefix(format!("{}{stage}", self.place));
        self.length(length);
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
            Event::LookingAhead { done, texts } => {
                if done == 0 {
                    self.stage("looking ahead", texts);
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
        self.line();
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

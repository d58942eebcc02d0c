//! What the user sees on standard error: bars on a terminal, lines elsewhere.

use std::{
    cell::RefCell,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{progress::Progress, report::Tally};

/// Shows how a run goes.
pub struct Show {
    terminal: bool,
    /// The bar of the training, once it has begun.
    bar: RefCell<ProgressBar>,
}

impl Show {
    /// Shows nothing yet.
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), bar: RefCell::new(ProgressBar::hidden()) }
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        self.bar.borrow().suspend(|| eprintln!("{line}"));
    }

    /// Does something that takes a while, and says how long it took.
    pub fn say<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let (spinner, began) =
            (ProgressBar::new_spinner().with_message(what.to_owned()), Instant::now());
        spinner.enable_steady_tick(Duration::from_millis(200));
        let result = work();
        spinner.finish_and_clear();
        self.note(&format!("{what}: {:.1} s", began.elapsed().as_secs_f64()));
        result
    }

    /// The training begins with `done` of `steps` steps behind it.
    pub fn start(&self, steps: usize, done: usize) {
        let bar = bar("{bar:30} {pos}/{len} {msg} [{elapsed}, {eta} left]", steps as u64);
        bar.set_position(done as u64);
        bar.reset_eta();
        self.bar.replace(bar);
    }

    /// A step is done.
    pub fn stepped(&self) {
        self.bar.borrow().inc(1);
    }

    /// A line was written to the log.
    pub fn logged(&self, step: usize, progress: &Progress, loss: f32, held_out: Option<&Tally>) {
        let rate = progress.tokens as f64 / progress.seconds;
        let line = format!("{loss:.3} nats/token, {rate:.0} tokens/s");
        if let Some(held_out) = held_out {
            let (token, byte) = (held_out.per_token(), held_out.per_byte());
            self.note(&format!(
                "step {step}: {line}; held out {token:.4} nats/token, {byte:.4} nats/byte"
            ));
        } else if !self.terminal {
            self.note(&format!("step {step}: {line}"));
        }
        self.bar.borrow().set_message(line);
    }

    /// A bar for the sequences of a report.
    pub fn scoring(&self) -> ProgressBar {
        self.bar.borrow().finish_and_clear();
        bar("{bar:30} {pos}/{len} sequences scored [{elapsed}, {eta} left]", 0)
    }
}

fn bar(template: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

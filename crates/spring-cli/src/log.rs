//! A log of training, for programs that draw it: JSONL and TensorBoard's event files.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;
use spring_core::{Event, Progress};
use spring_report::EventFile;

use crate::output;

/// Hands everything on, and logs what is trained: in a folder for each user `log.jsonl`, a line
/// whenever the loss was measured, and an event file.
pub struct Logged<P> {
    inner: P,
    /// Where the folders of users are; `None` without a log, and after it failed.
    folder: Option<PathBuf>,
    log: Option<UserLog>,
}

struct UserLog {
    user: String,
    period: u32,
    /// Steps of the periods before.
    steps_before: usize,
    /// Steps of this period.
    steps: usize,
    /// The loss that was logged last: it is measured every few steps and told at each.
    loss: Option<f32>,
    lines: File,
    events: EventFile,
}

impl<P: Progress> Logged<P> {
    /// Logs into a folder, if one is given.
    pub fn new(inner: P, folder: Option<&Path>) -> Self {
        Self { inner, folder: folder.map(Path::to_owned), log: None }
    }

    fn log(&mut self, event: &Event<'_>) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match event {
            Event::Period { user, period, .. } => match &mut self.log {
                Some(log) if log.user == user.as_str() => {
                    log.steps_before += std::mem::take(&mut log.steps);
                    log.period = *period;
                }
                _ => self.log = Some(UserLog::create(folder, user.as_str(), *period)?),
            },
            Event::Training { done, steps, loss } => {
                if let Some(log) = &mut self.log {
                    log.steps = *steps;
                    if let Some(loss) = loss.filter(|loss| log.loss != Some(*loss)) {
                        log.step(*done, f64::from(loss))?;
                        log.loss = Some(loss);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl UserLog {
    fn create(folder: &Path, user: &str, period: u32) -> Result<Self> {
        let part = |sign: char| if sign.is_alphanumeric() { sign } else { '_' };
        let folder = folder.join(user.chars().map(part).take(100).collect::<String>());
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let path = folder.join("log.jsonl");
        let lines = OpenOptions::new().create(true).append(true).open(&path);
        let lines = lines.with_context(|| path.display().to_string())?;
        let events = EventFile::create(&folder, seconds());
        let events = events.with_context(|| folder.display().to_string())?;
        let user = user.to_owned();
        Ok(Self { user, period, steps_before: 0, steps: 0, loss: None, lines, events })
    }

    fn step(&mut self, done: usize, loss: f64) -> Result<()> {
        let line = json!({
            "time": Timestamp::now(), "user": self.user, "period": self.period, "step": done,
            "steps": self.steps, "loss": loss
        });
        self.lines.write_all(format!("{line}\n").as_bytes()).context("log.jsonl")?;
        let step = (self.steps_before + done) as i64;
        let said = self.events.scalar("training/loss", step, loss, seconds());
        said.with_context(|| self.events.path().display().to_string())
    }
}

fn seconds() -> f64 {
    Timestamp::now().as_microsecond() as f64 / 1e6
}

impl<P: Progress> Progress for Logged<P> {
    fn on(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if let Err(error) = self.log(&event) {
            // What is learned is worth more than its log.
            output::say(&format!("spring: warning: the log ends here: {error:#}"));
            (self.folder, self.log) = (None, None);
        }
        self.inner.on(event)
    }
}

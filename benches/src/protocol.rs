//! How a worker talks with the program that compares: lines of JSON on standard input and output.
//!
//! A worker is one process for one system and one task, so that its peak memory is that of the
//! task. It says [`Hello`], answers each line `run` with a [`Reply`], and `end` with a
//! [`Farewell`]. Between two repetitions it sleeps, so that systems can take turns on a machine
//! that is never quiet for long.
//!
//! The workers in Python speak the same (`python/worker.py`).

use std::io::{self, Write};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// The first line of a worker.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The system and its version, as the tables name it.
    pub system: String,
    /// Why it cannot run here; it ends after saying so.
    pub missing: Option<String>,
}

/// What one repetition took, and what came out of it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// Parts of the work by name, and their seconds.
    pub parts: Vec<(String, f64)>,
    /// Numbers that every system must come to.
    pub result: Vec<f64>,
    /// Further numbers for the table, by name.
    pub facts: Vec<(String, f64)>,
}

/// The last line of a worker.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Farewell {
    /// The most memory that the process has had, in bytes; `None` where the system does not tell.
    pub peak: Option<u64>,
}

/// Answers until it is told to end or nobody listens any more.
///
/// # Errors
///
/// What `run` returns, or a line that is no request.
pub fn serve(system: &str, mut run: impl FnMut() -> Result<Reply>) -> Result<()> {
    say(&Hello { system: system.into(), missing: None })?;
    for line in io::stdin().lines() {
        match line?.trim() {
            "run" => say(&run()?)?,
            "end" => return say(&Farewell { peak: peak() }),
            other => bail!("no such request: {other:?}"),
        }
    }
    Ok(())
}

fn say(message: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, message)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// The largest resident size of this process so far, as Linux counts it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1024)
}

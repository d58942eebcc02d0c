//! Runs comparisons: a worker for each system, one repetition of each in turn.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;

use crate::{
    Compare,
    plan::{self, Comparison, System},
    protocol::{Farewell, Hello, Reply},
    table::{self, Measured},
};

/// Runs the sections asked for, prints each when it is done.
///
/// # Errors
///
/// If a worker fails, or two systems come to different results.
#[allow(clippy::print_stdout)]
pub fn run(settings: &Compare) -> Result<()> {
    ensure!(settings.rounds > 0, "--rounds must be at least 1");
    let model = settings
        .model
        .canonicalize()
        .with_context(|| format!("no model in {}", settings.model.display()))?;
    for name in plan::SECTIONS {
        if !settings.only.is_empty() && !settings.only.iter().any(|only| only == name) {
            continue;
        }
        if let Some(file) = plan::gguf_file(name)
            && settings.gguf.as_ref().is_none_or(|folder| !folder.join(file).is_file())
        {
            eprintln!("skipped: {name}: {file} is not in the folder that --gguf names");
            continue;
        }
        let folder = tempfile::tempdir()?;
        let mut measured = Vec::new();
        let gguf = settings.gguf.as_deref();
        for comparison in plan::section(name, &model, gguf, folder.path(), settings.quick)? {
            eprintln!("{name}: {}, {}", comparison.work.name(), comparison.title);
            let systems = measure(&comparison, settings, folder.path())?;
            eprint!("{}", table::render(&[(&comparison, &systems)]));
            measured.push((comparison, systems));
        }
        let rows: Vec<_> =
            measured.iter().map(|(comparison, systems)| (comparison, systems.as_slice())).collect();
        println!("<!-- begin {name} -->\n{}<!-- end {name} -->", table::render(&rows));
    }
    Ok(())
}

fn measure(comparison: &Comparison, settings: &Compare, folder: &Path) -> Result<Vec<Measured>> {
    let task = folder.join("task.json");
    let mut file = BufWriter::new(File::create(&task)?);
    serde_json::to_writer(&mut file, &comparison.work)?;
    file.flush()?;
    let mut workers = Vec::new();
    for system in &comparison.systems {
        // One after the other: what a worker does before its first word may be timed too.
        workers.extend(Worker::start(*system, settings, &task)?);
    }
    let mut first: Option<Vec<f64>> = None;
    for worker in &mut workers {
        let found = worker.run()?.result;
        match &first {
            None => first = Some(found),
            Some(expected) => check(comparison, &worker.system, expected, &found)?,
        }
    }
    let rounds = if settings.quick { 1 } else { settings.rounds.min(comparison.rounds) };
    let mut replies: Vec<Vec<Reply>> = workers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        // Another one begins each time, so that nobody always follows the same one.
        for turn in 0..workers.len() {
            let i = (round + turn) % workers.len();
            replies[i].push(workers[i].run()?);
        }
    }
    workers
        .into_iter()
        .zip(replies)
        .map(|(worker, rounds)| {
            let system = worker.system.clone();
            Ok(Measured { system, rounds, peak: worker.end()? })
        })
        .collect()
}

fn check(comparison: &Comparison, system: &str, expected: &[f64], found: &[f64]) -> Result<()> {
    // Not every system can tell what it came to.
    if found.is_empty() {
        return Ok(());
    }
    ensure!(
        expected.len() == found.len(),
        "{}: {system} came to {} numbers instead of {}",
        comparison.title,
        found.len(),
        expected.len()
    );
    let distance = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // NaN is no agreement.
    if !expected.iter().zip(found).all(|(a, b)| (a - b).abs() <= comparison.tolerance) {
        bail!(
            "{}: {system} differs by {distance:.2e}, and only {:.0e} is allowed: it does not do \
             the same work",
            comparison.title,
            comparison.tolerance
        );
    }
    eprintln!("{system} comes to the same {} numbers within {distance:.1e}", found.len());
    Ok(())
}

/// A process that does one task whenever it is asked.
struct Worker {
    system: String,
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a worker and waits until it is ready; `None` if what it needs is not here.
    fn start(system: System, settings: &Compare, task: &Path) -> Result<Option<Self>> {
        let mut command = match system {
            System::Ours => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("work");
                command
            }
            System::Candle => match &settings.candle {
                Some(program) => Command::new(program),
                None => return Ok(skipped("candle", "built without it")),
            },
            System::Python(script) => {
                let mut command = Command::new(&settings.python);
                command.arg(settings.scripts.join(script));
                command
            }
        };
        let threads = std::thread::available_parallelism()?.to_string();
        command.arg(task).stdin(Stdio::piped()).stdout(Stdio::piped());
        for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(variable, &threads);
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => match system {
                System::Python(script) => {
                    return Ok(skipped(script, &format!("no Python: {error}")));
                }
                _ => return Err(error).with_context(|| format!("cannot start {command:?}")),
            },
        };
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipes to {command:?}");
        };
        let mut worker = Self {
            system: format!("{system:?}"),
            child,
            requests: Some(requests),
            replies: BufReader::new(replies),
        };
        let hello: Hello = worker.read()?;
        worker.system = hello.system;
        match hello.missing {
            Some(reason) => Ok(skipped(&worker.system, &reason)),
            None => Ok(Some(worker)),
        }
    }

    fn run(&mut self) -> Result<Reply> {
        self.ask("run")?;
        self.read()
    }

    /// Ends it; gives its peak memory.
    fn end(mut self) -> Result<Option<u64>> {
        self.ask("end")?;
        let farewell: Farewell = self.read()?;
        self.requests = None;
        self.child.wait()?;
        Ok(farewell.peak)
    }

    fn ask(&mut self, request: &str) -> Result<()> {
        let requests = self.requests.as_mut().context("it has ended")?;
        writeln!(requests, "{request}")
            .with_context(|| format!("{} does not listen", self.system))?;
        Ok(requests.flush()?)
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        ensure!(!line.is_empty(), "{} ended before its time; its message is above", self.system);
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.system))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // After an error the others still run. One that has ended already is no matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skipped<T>(system: &str, reason: &str) -> Option<T> {
    eprintln!("skipped: {system}: {reason}");
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Work;

    #[test]
    fn systems_that_differ_are_not_compared() {
        let comparison = Comparison {
            title: "two numbers".into(),
            work: Work::Prefill { model: "m".into(), tokens: vec![] },
            systems: vec![],
            units: vec![],
            tolerance: 1e-3,
            rounds: 1,
        };
        let check = |found: &[f64]| {
            check(&comparison, "peer", &[1.0, 2.0], found).map_err(|e| e.to_string())
        };
        assert_eq!(check(&[1.0005, 1.9995]), Ok(()));
        assert!(check(&[1.0, 2.01]).unwrap_err().contains("peer differs by 1.00e-2"));
        assert!(check(&[1.0, f64::NAN]).is_err());
        assert!(check(&[1.0]).unwrap_err().contains("1 numbers instead of 2"));
        assert_eq!(check(&[]), Ok(()), "a system that cannot tell");
    }
}

//! `cargo xtask bench`: criterion's benches, or the comparisons with other systems, into
//! docs/results/performance.md.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{Scope, criterion, dist, machine, page, step::Step, step::exit_code};

pub const EXAMPLES: &str = "\
Tables go to docs/results/performance.md, each in place of the one of its name; what stands around \
them stays. With
--quick or --crate nothing is written there.

The comparisons need Python with torch, transformers, peft, rank_bm25 and hnswlib; what is missing \
is skipped with a
message. Sections: model-5m, model-135m, gguf-smollm2, gguf-gemma3, bm25, dense, fuse, history, \
users.
Those of GGUF files also want gguf, xllamacpp and llama-cpp-python, the latter compiled for this \
processor, and the files
in the folder that --gguf names.

Examples:
  cargo xtask bench                                        criterion's benches of all crates
  cargo xtask bench --crate spring-fuse                    of one
  cargo xtask bench --peers --python venv/bin/python       the comparisons
  cargo xtask bench --peers --only model-5m --rounds 9 --native
  cargo xtask bench --peers --quick                        does it run?";

/// The settings of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(flatten)]
    scope: Scope,
    /// Compare with other systems instead: ours and theirs in turns, on the same work
    #[arg(long, conflicts_with = "name")]
    peers: bool,
    /// Little work, dev profile for --peers: to see that all of it runs, not to measure
    #[arg(long)]
    quick: bool,
    /// These sections alone
    #[arg(long, requires = "peers", value_name = "LIST")]
    only: Option<String>,
    /// How many times each system does the work [default: 5]
    #[arg(long, requires = "peers", value_name = "N")]
    rounds: Option<usize>,
    /// The Python that has the other systems
    #[arg(long, requires = "peers", default_value = "python3", value_name = "PATH")]
    python: PathBuf,
    /// Folder of the small model [default: the built-in one]
    #[arg(long, requires = "peers", value_name = "DIR")]
    model: Option<PathBuf>,
    /// Folder with SmolLM2-135M-Instruct.Q4_1.gguf and gemma-3-270m-q4_k_m.gguf
    #[arg(long, requires = "peers", value_name = "DIR")]
    gguf: Option<PathBuf>,
    /// Use every instruction of this machine's processor, in candle's worker too
    #[arg(long)]
    native: bool,
}

impl Bench {
    /// Criterion's benches. `--bench *` names their targets alone: plain `cargo bench` also starts
    /// every crate's unit tests.
    pub fn criterion(&self) -> Step {
        let step = self.scope.narrow(Step::cargo("benches", "bench")).args(["--bench", "*"]);
        self.with_flags(if self.quick { step.args(["--", "--quick"]) } else { step })
    }

    /// The program that compares. The `spring` program's features are asked for too, so that what
    /// is measured is what users run.
    pub fn ours(&self) -> Step {
        self.build(&[
            "--package",
            "spring-cli",
            "--package",
            "spring-benches",
            "--bin",
            "spring-benches",
        ])
    }

    /// candle's worker, in a build of its own: candle asks for features of crates that burn uses
    /// too.
    pub fn candle(&self) -> Step {
        self.build(&["--package", "spring-benches-candle", "--features", "peers"])
    }

    fn build(&self, args: &[&str]) -> Step {
        let step = Step::cargo("build", "build");
        let step = if self.quick { step } else { step.args(["--release"]) };
        self.with_flags(
            step.args(args.iter().copied()).args(["--message-format", "json-render-diagnostics"]),
        )
    }

    fn with_flags(&self, step: Step) -> Step {
        if self.native { step.flags("RUSTFLAGS", "-C target-cpu=native") } else { step }
    }

    /// Runs it and writes the page; gives the exit code.
    ///
    /// # Errors
    ///
    /// Something could not be started, or the page not be written.
    pub fn run(&self) -> Result<u8> {
        if self.peers { self.compare() } else { self.run_criterion() }
    }

    fn run_criterion(&self) -> Result<u8> {
        let step = self.criterion();
        let results = tempfile::tempdir()?;
        let about = machine::about(self.native);
        let status = step
            .process()
            .env("CRITERION_HOME", results.path())
            .status()
            .with_context(|| format!("cannot start `{step}`"))?;
        if status.success() {
            let whole = !self.quick && self.scope.name.is_none();
            keep(whole, "criterion", &about, &criterion::table(results.path())?)?;
        }
        Ok(exit_code(status))
    }

    fn compare(&self) -> Result<u8> {
        let ours = match dist::build(&self.ours())? {
            Ok(program) => program,
            Err(code) => return Ok(code),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let model = self.model.clone().unwrap_or_else(|| root.join("crates/spring-cli/model"));
        let mut command = Command::new(ours);
        command.arg("compare").arg("--model").arg(model).arg("--python").arg(&self.python);
        command.arg("--scripts").arg(root.join("benches/python"));
        if self.only.as_ref().is_none_or(|sections| sections.contains("model")) {
            match dist::build(&self.candle())? {
                Ok(program) => command.arg("--candle").arg(program),
                Err(code) => return Ok(code),
            };
        }
        if let Some(folder) = &self.gguf {
            command.arg("--gguf").arg(folder);
        }
        if let Some(only) = &self.only {
            command.args(["--only", only]);
        }
        if let Some(rounds) = self.rounds {
            command.args(["--rounds", &rounds.to_string()]);
        }
        if self.quick {
            command.arg("--quick");
        }
        let about = machine::about(self.native);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        if let Some(out) = child.stdout.take() {
            let mut blocks = page::Blocks::default();
            for line in BufReader::new(out).lines() {
                // Each is kept when it is done: the rest may take an hour, or fail.
                if let Some((name, table)) = blocks.add(&line?) {
                    keep(!self.quick, &name, &about, &table)?;
                }
            }
        }
        Ok(exit_code(child.wait()?))
    }
}

/// Puts a table into the page, or only prints it.
#[allow(clippy::print_stdout)]
fn keep(on_page: bool, name: &str, about: &str, table: &str) -> Result<()> {
    let block = format!("{about}\n\n{table}");
    if !on_page {
        println!("{block}");
        return Ok(());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/performance.md");
    let old =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(&path, page::with_block(&old, name, &block)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{name}: written to {}", path.display());
    Ok(())
}

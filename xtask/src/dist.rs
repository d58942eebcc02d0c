//! `cargo xtask build`: the release binary of the `spring` program.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::step::{Step, exit_code};

pub const EXAMPLES: &str = "\
Examples:
  cargo xtask build                              CPU alone, for any machine of this kind
  cargo xtask build --native                     CPU alone, for exactly this machine
  cargo xtask build --backends cpu,wgpu,cuda     all three; `spring --device` picks one when it runs

CUDA needs no toolkit to build, only NVIDIA's driver and libraries where it runs.";

/// The settings of `build`.
#[derive(Debug, Args)]
pub struct Dist {
    /// What the program can compute on
    #[arg(long, value_enum, value_delimiter = ',', default_value = "cpu", value_name = "LIST")]
    backends: Vec<Backend>,

    /// Use every instruction of this machine's processor; the binary may not run on another one
    ///
    /// Adds `-C target-cpu=native` to RUSTFLAGS, which cargo prefers to `build.rustflags` of its
    /// configuration.
    #[arg(long)]
    native: bool,

    /// On GPUs, try many kernels for every new shape: minutes at the first use on a machine, faster
    /// afterwards
    #[arg(long)]
    autotune: bool,
}

/// A feature of spring-cli that brings a backend.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    /// The processor
    Cpu,
    /// Vulkan, Metal or DirectX
    Wgpu,
    /// NVIDIA GPUs
    Cuda,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        })
    }
}

impl Dist {
    fn features(&self) -> String {
        let autotune = self.autotune.then(|| "autotune".to_owned());
        self.backends.iter().map(Backend::to_string).chain(autotune).collect::<Vec<_>>().join(",")
    }

    /// The cargo command. Its messages say where the binary lies, whatever target folder is
    /// configured.
    pub fn step(&self) -> Step {
        let step = Step::cargo("build", "build")
            .args(["--release", "--package", "spring-cli", "--no-default-features"])
            .args(["--message-format", "json-render-diagnostics"])
            .args(["--features", &self.features()]);
        if self.native { step.flags("RUSTFLAGS", "-C target-cpu=native") } else { step }
    }

    /// Builds, then prints the binary's path and size; gives the exit code.
    ///
    /// # Errors
    ///
    /// Cargo could not be started, its output not be read, or it named no binary.
    pub fn run(&self) -> Result<u8> {
        let binary = match build(&self.step())? {
            Ok(binary) => binary,
            Err(code) => return Ok(code),
        };
        let size = fs::metadata(&binary)
            .with_context(|| format!("cannot read {}", binary.display()))?
            .len();
        println!("{}: {} (backends: {})", binary.display(), megabytes(size), self.features());
        Ok(0)
    }
}

/// Runs work with the program that is named, or else with one that is built, in a temporary folder
/// that is kept and named if the work fails; gives the exit code.
///
/// # Errors
///
/// Those of the work, or if there is no room for the folder.
pub fn in_folder(
    program: Option<&Path>,
    work: impl FnOnce(PathBuf, &Path) -> Result<()>,
) -> Result<u8> {
    let program = match self::program(program)? {
        Ok(program) => program,
        Err(code) => return Ok(code),
    };
    let folder = tempfile::tempdir()?;
    let outcome = work(program, folder.path());
    if outcome.is_err() {
        eprintln!("the files are kept in {}", folder.keep().display());
    }
    outcome.map(|()| 0)
}

/// The program that a test is to run: the one that is named, or else one that is built for it; or
/// cargo's exit code.
///
/// # Errors
///
/// There is no such file, or as [`build`].
fn program(named: Option<&Path>) -> Result<std::result::Result<PathBuf, u8>> {
    match named {
        Some(named) => Ok(Ok(named.canonicalize().with_context(|| named.display().to_string())?)),
        None => build(&Step::cargo("program", "build").args([
            "--package",
            "spring-cli",
            "--message-format",
            "json-render-diagnostics",
        ])),
    }
}

/// Builds the program by a cargo command that prints JSON messages; gives its path, or cargo's exit
/// code.
///
/// # Errors
///
/// Cargo could not be started, its output not be read, or it named no binary.
pub fn build(step: &Step) -> Result<std::result::Result<PathBuf, u8>> {
    let mut child = step
        .process()
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{step}`"))?;
    let mut binary = None;
    if let Some(messages) = child.stdout.take() {
        for line in BufReader::new(messages).lines() {
            binary = executable(&line.context("cannot read cargo's messages")?).or(binary);
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        return Ok(Err(exit_code(status)));
    }
    Ok(Ok(binary.context("cargo built no binary: does the package still have one?")?))
}

/// The path of the program in one of cargo's JSON messages, if it is about a program.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(message.get("executable")?.as_str()?.into())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_binary_lies() {
        let binary = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"spring"},"#,
            r#""executable":"/t/release/spring"}"#,
        );
        assert_eq!(executable(binary), Some("/t/release/spring".into()));
        let library =
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable("not JSON"), None);
    }

    #[test]
    fn sizes_are_in_decimal_megabytes() {
        assert_eq!(megabytes(23_456_789), "23.5 MB");
    }
}

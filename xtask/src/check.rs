//! `cargo xtask check`: what a change must pass, cheapest first.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::step::Step;

pub const EXAMPLES: &str = "\
Steps: format, tidy, lints, docs, tests. The first that fails ends the run; its own command line \
is printed.

Examples:
  cargo xtask check
  cargo xtask check --no-tests";

/// The settings of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Leave out the tests, by far the longest step
    #[arg(long)]
    no_tests: bool,
}

impl Check {
    /// The steps in their order. All take the workspace with its default features, so that lints
    /// and docs share one analysis of the dependencies and the tests compile them once.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = vec![
            Step::cargo("format", "fmt").args(["--all", "--", "--check"]),
            Step::cargo("tidy", "xtask").args(["tidy"]),
            Step::cargo("lints", "clippy").args([
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]),
            Step::cargo("docs", "doc")
                .args(["--workspace", "--no-deps"])
                .flags("RUSTDOCFLAGS", "-D warnings"),
        ];
        if !self.no_tests {
            steps.push(Step::cargo("tests", "test").args(["--workspace"]));
        }
        steps
    }

    /// Runs the steps up to the first failure, then prints the time of each; gives the exit code.
    ///
    /// # Errors
    ///
    /// Cargo could not be started.
    pub fn run(&self) -> Result<u8> {
        run_all(&self.steps(), Step::run)
    }
}

fn run_all(steps: &[Step], mut run: impl FnMut(&Step) -> Result<u8>) -> Result<u8> {
    let mut report = String::from("\n");
    for (index, step) in steps.iter().enumerate() {
        eprintln!("--- {}: {step}", step.name());
        let start = Instant::now();
        let code = run(step)?;
        report += &report_line(step.name(), start.elapsed(), code == 0);
        if code != 0 {
            for skipped in &steps[index + 1..] {
                report += &format!("{:<8} not run\n", skipped.name());
            }
            eprintln!("{report}\n{} failed; to run it alone:\n  {step}", step.name());
            return Ok(code);
        }
    }
    eprint!("{report}");
    Ok(0)
}

fn report_line(name: &str, time: Duration, passed: bool) -> String {
    format!("{name:<8} {:>7.1} s  {}\n", time.as_secs_f64(), if passed { "ok" } else { "FAILED" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run_with_its_code() {
        let steps = Check { no_tests: false }.steps();
        let mut ran = Vec::new();
        let code = run_all(&steps, |step| {
            ran.push(step.name());
            Ok(if step.name() == "lints" { 101 } else { 0 })
        });
        assert_eq!(code.unwrap(), 101);
        assert_eq!(ran, ["format", "tidy", "lints"]);
        assert_eq!(run_all(&steps, |_| Ok(0)).unwrap(), 0);
    }

    #[test]
    fn the_report_lines_up() {
        assert_eq!(
            report_line("docs", Duration::from_millis(12_340), true),
            "docs        12.3 s  ok\n"
        );
        assert_eq!(
            report_line("format", Duration::from_millis(900), false),
            "format       0.9 s  FAILED\n"
        );
    }
}

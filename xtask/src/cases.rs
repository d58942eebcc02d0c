//! `cargo xtask cases`: files that gave others trouble, run by the built program, and a table of
//! verdicts.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::{dist, step::Step};

pub const EXAMPLES: &str = "\
Without a folder the cases of xtask/cases/own.toml are made from the repository's fixtures. A
folder of reported cases has a folder NN for each, with `command.sh`, whose lines call `spring`;
what is right is in xtask/cases/reported.toml. Lines that start a local hub need Python, and are
left out without --python.

Examples:
  cargo xtask cases
  cargo xtask cases --program target/debug/spring
  cargo xtask cases path/to/cases --python python3 > table.md
  cargo xtask cases path/to/cases --only 01,20";

/// The settings of `cases`.
#[derive(Debug, Args)]
pub struct Cases {
    /// A folder of reported cases, in place of those made from the repository's fixtures
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Use this program instead of building it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Features to build the program with, separated by commas
    #[arg(long, value_name = "FEATURES", conflicts_with = "program")]
    features: Option<String>,
    /// The interpreter for the lines that call one
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Run these cases alone, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
}

/// The most that a number may differ from the reference, in nats per token.
const TOLERANCE: f64 = 2e-5;
/// A command that has not ended by then never will, in seconds.
const PATIENCE: u64 = 300;
/// Of whatever a command prints the table shows so many characters.
const SHOWN: usize = 220;

/// Cases by their names.
type Table = BTreeMap<String, Case>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// A script that makes the files, where no folder has them; `$FIXTURES` is that of spring-cli.
    prepare: Option<String>,
    /// Variables of the commands' environment.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    commands: Vec<Line>,
}

/// A command and what is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The command; of a reported case it is the line of `command.sh` in the same place.
    run: Option<String>,
    /// Nothing is asked of a line that prepares others.
    #[serde(default)]
    prepares: bool,
    /// Mean loss, nats per token.
    loss: Option<f64>,
    /// Or: words that the output holds, whatever their case, and words that it does not.
    says: Option<Vec<String>>,
    #[serde(default)]
    never: Vec<String>,
    /// Whether the command ends with an error; `None` for either, and where it is the end of a
    /// pipeline.
    fails: Option<bool>,
    /// Why another answer than the reference's is right.
    why: Option<String>,
}

/// What no message to a user should hold: the words of the libraries underneath.
const NEVER: [&str; 12] = [
    "invalid type",
    "invalid value",
    "invalid length",
    "untagged",
    "unknown field",
    "unknown variant",
    "missing field",
    "expected one of",
    "Some(",
    "expected a string",
    "panicked",
    "(os error",
];

/// A row of the table.
struct Row {
    case: String,
    command: String,
    wanted: String,
    got: String,
    is_right: bool,
}

impl Cases {
    /// Runs the cases and prints the table; the exit code is 1 if one is wrong.
    ///
    /// # Errors
    ///
    /// If the program cannot be built or a case cannot be run.
    pub fn run(&self) -> Result<u8> {
        let program = match &self.program {
            Some(program) => {
                program.canonicalize().with_context(|| program.display().to_string())?
            }
            None => match dist::build(&self.build())? {
                Ok(program) => program,
                Err(code) => return Ok(code),
            },
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let list = root.join("xtask/cases").join(match self.folder {
            Some(_) => "reported.toml",
            None => "own.toml",
        });
        let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let table: Table = toml::from_str(&text).with_context(|| list.display().to_string())?;
        for name in &self.only {
            ensure!(table.contains_key(name), "{} has no case {name}", list.display());
        }
        let (mut rows, mut left_out) = (Vec::new(), 0);
        for (name, case) in &table {
            if self.only.is_empty() || self.only.contains(name) {
                left_out += self.run_case(&root, &program, name, case, &mut rows)?;
            }
        }
        print(&rows, left_out);
        Ok(u8::from(rows.iter().any(|row| !row.is_right)))
    }

    fn build(&self) -> Step {
        let step = Step::cargo("program", "build").args(["--package", "spring-cli"]);
        let features = self.features.iter().flat_map(|features| ["--features", features]);
        step.args(features).args(["--message-format", "json-render-diagnostics"])
    }

    /// Runs a case in a folder of its own; gives how many commands were left out.
    fn run_case(
        &self,
        root: &Path,
        program: &Path,
        name: &str,
        case: &Case,
        rows: &mut Vec<Row>,
    ) -> Result<usize> {
        let temporary = tempfile::tempdir()?;
        let place = temporary.path().join("case");
        let reported = match &self.folder {
            Some(folder) => {
                let from = folder.join(name);
                copy(&from, &place).with_context(|| from.display().to_string())?;
                let script = fs::read_to_string(place.join("command.sh"))?;
                let lines = script.lines().map(str::trim);
                lines.filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
            }
            None => {
                fs::create_dir(&place)?;
                Vec::new()
            }
        };
        let lines: Vec<String> = match self.folder {
            Some(_) => reported,
            None => case.commands.iter().filter_map(|line| line.run.clone()).collect(),
        };
        ensure!(
            lines.len() == case.commands.len(),
            "case {name}: {} commands, but {} answers",
            lines.len(),
            case.commands.len()
        );
        let tools = temporary.path().join("tools");
        fs::create_dir(&tools)?;
        script(&tools.join("spring"), program)?;
        if let Some(python) = &self.python {
            script(&tools.join("python"), python)?;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let run = |line: &str| -> Result<(Option<i32>, String)> {
            let (out, err) = (temporary.path().join("out"), temporary.path().join("err"));
            let mut command = Command::new("bash");
            command
                .args(["-c", line])
                .current_dir(&place)
                .envs(&case.environment)
                .env("PATH", format!("{}:{path}", tools.display()))
                .env("FIXTURES", root.join("crates/spring-cli/tests/fixtures"))
                .env("TZ", "UTC")
                .stdin(Stdio::null())
                .stdout(File::create(&out)?)
                .stderr(File::create(&err)?);
            let code = wait(command.spawn().context("starting bash")?, line)?;
            let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into());
            let (out, err): (String, String) = (read(&out)?, read(&err)?);
            Ok((code, out + &err))
        };
        if let Some(prepare) = &case.prepare {
            let (code, output) = run(&format!("set -e\n{prepare}"))?;
            ensure!(code == Some(0), "case {name} cannot be prepared: {output}");
        }
        let mut left_out = 0;
        for (line, right) in lines.iter().zip(&case.commands) {
            if line.contains("python ") && self.python.is_none() {
                left_out += usize::from(!right.prepares);
                continue;
            }
            // A busy machine needs longer to start the little hub, and what was a command of its
            // own is a built-in suite.
            let line = line.replace("sleep 1;", "sleep 4;").replace(
                "spring eval compare --top 1 --periods 2 --methods static ",
                "spring eval --suite first-loop --data texts=",
            );
            let (code, output) = run(&line)?;
            if !right.prepares {
                let (is_right, got) = right.judge(code, &output);
                let (case, command) = (name.to_owned(), command_of(&line).to_owned());
                rows.push(Row { case, command, wanted: right.to_string(), got, is_right });
            }
        }
        Ok(left_out)
    }
}

impl Line {
    /// Whether an output is right, and what it comes to.
    fn judge(&self, code: Option<i32>, output: &str) -> (bool, String) {
        let loss = loss_of(output);
        let last = output.trim().lines().last().unwrap_or_default();
        let got = match (loss, last) {
            (Some(loss), _) => format!("{loss:.5}"),
            (None, "") => format!("exit {code:?}"),
            (None, last) => last.chars().take(SHOWN).collect(),
        };
        if let (Some(wanted), Some(loss)) = (self.loss, loss) {
            return ((wanted - loss).abs() < TOLERANCE, got);
        }
        let Some(words) = &self.says else { return (false, got) };
        let lower = output.to_lowercase();
        let holds = |word: &str| lower.contains(&word.to_lowercase());
        let is_right = self.fails.is_none_or(|fails| (code != Some(0)) == fails)
            && words.iter().all(|word| holds(word))
            && !self.never.iter().any(|word| holds(word))
            && !NEVER.iter().any(|word| output.contains(word));
        (is_right, got)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.loss.map(|loss| loss.to_string()));
        if let Some(words) = &self.says {
            let exit = match self.fails {
                Some(true) => Some("an error".to_owned()),
                Some(false) => Some("no error".to_owned()),
                None => None,
            };
            let words = words.iter().cloned().chain(exit).collect::<Vec<_>>().join("; ");
            parts.push(words);
        }
        write!(f, "{}", parts.join(" or "))?;
        match &self.why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}

/// The value of `nats_per_token` in JSON that a command prints.
fn loss_of(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.contains("\"nats_per_token\""))?;
    serde_json::from_str::<Value>(line).ok()?["nats_per_token"].as_f64()
}

/// The part of a line that the table shows.
fn command_of(line: &str) -> &str {
    let begin = ["spring ", "cat "].into_iter().filter_map(|word| line.find(word)).min();
    let rest = &line[begin.unwrap_or(0)..];
    rest.split([';', '|']).next().unwrap_or(rest).trim()
}

/// Waits for a command; one that does not end is an error.
fn wait(mut child: std::process::Child, line: &str) -> Result<Option<i32>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if begin.elapsed() > Duration::from_secs(PATIENCE) {
            child.kill()?;
            child.wait()?;
            bail!("`{line}` did not end within {PATIENCE} s");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program of another name: a link would lose the environment that an interpreter belongs to.
fn script(path: &Path, program: &Path) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display()))?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// Copies a folder; the copies can be written.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => fs::write(&to, fs::read(entry.path())?)?,
        }
    }
    Ok(())
}

fn print(rows: &[Row], left_out: usize) {
    let right = rows.iter().filter(|row| row.is_right).count();
    let mut cases: Vec<&str> = rows.iter().map(|row| row.case.as_str()).collect();
    cases.dedup();
    println!("{right} of {} commands in {} cases are right.", rows.len(), cases.len());
    if left_out > 0 {
        println!("{left_out} need Python and were left out.");
    }
    println!("\n| case | command | right | got | verdict |\n|---|---|---|---|---|");
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;");
    for row in rows {
        let verdict = if row.is_right { "right" } else { "WRONG" };
        let [command, wanted, got] = [&row.command, &row.wanted, &row.got].map(|text| cell(text));
        println!("| {} | `{command}` | {wanted} | {got} | {verdict} |", row.case);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(toml: &str) -> Line {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn both_lists_are_read() {
        for list in [include_str!("../cases/own.toml"), include_str!("../cases/reported.toml")] {
            let table: Table = toml::from_str(list).unwrap();
            assert!(table.len() > 8);
            for (name, case) in &table {
                let has_answer =
                    |line: &Line| line.prepares || line.loss.is_some() || line.says.is_some();
                assert!(case.commands.iter().all(has_answer), "{name}");
            }
        }
    }

    #[test]
    fn a_number_is_right_within_rounding_and_a_message_by_its_words() {
        let wanted = line("loss = 6.5");
        assert!(wanted.judge(Some(0), "{\"nats_per_token\":6.50001}").0);
        assert!(!wanted.judge(Some(0), "{\"nats_per_token\":6.501}").0);
        assert!(!wanted.judge(Some(1), "an error").0);
        let wanted = line("says = [\"LFS\", \"pull\"]\nnever = [\"twice\"]\nfails = true");
        assert!(wanted.judge(Some(1), "a pointer of Git lfs: pull it").0);
        assert!(!wanted.judge(Some(0), "a pointer of Git lfs: pull it").0);
        assert!(!wanted.judge(Some(1), "lfs pull twice").0);
        assert!(!wanted.judge(Some(1), "lfs pull: invalid type: map").0);
        assert_eq!(wanted.to_string(), "LFS; pull; an error");
        assert_eq!(
            command_of("python hub.py & sleep 1; X=1 spring score a | cut"),
            "spring score a"
        );
    }
}

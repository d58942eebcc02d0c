//! Methods and metrics as programs in any language: they read prompts and write answers, a JSON
//! object a line.
//!
//! A suite names their commands, so running it runs them: [`run_suite`](crate::run_suite) starts
//! none unless [`Suite::allowing_programs`](crate::Suite::allowing_programs) was called.

mod process;

use std::path::Path;

use serde::{Deserialize, Serialize};
use spring_numerics::digest::Digest;

pub(crate) use process::Running;

/// The longest file of a command whose content is part of what identifies it, in bytes.
const LONGEST_FILE: u64 = 64 << 20;

/// A method that is a program: `[[programs]]` of a suite.
///
/// It is started once for each user, seed and budget. For every period it reads the texts to learn
/// from and then the prompts of the test part, and writes one answer a line; docs/formats.md has
/// the lines. It has no losses, only scores of its texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Program {
    /// The name in `methods`.
    pub name: String,
    /// The program and its arguments; no shell is between.
    pub command: Vec<String>,
    /// The name in tables. Default: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Seconds that it may take for a period. Default 600.
    #[serde(default = "ten_minutes")]
    pub timeout: u64,
    /// What it trains on, in words, for the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trains: Option<String>,
    /// What it reads beside the prompt, in words, for the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
}

impl Program {
    /// A program with ten minutes for each period.
    pub fn new(name: &str, command: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            command,
            label: None,
            timeout: ten_minutes(),
            trains: None,
            reads: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        check(&self.command, self.timeout).map_err(|reason| format!("{:?}: {reason}", self.name))
    }
}

pub(crate) fn ten_minutes() -> u64 {
    600
}

/// Refuses what could not be started, and what would never end.
pub(crate) fn check(command: &[String], timeout: u64) -> Result<(), String> {
    let problem = match command.first() {
        None => "command: the program and its arguments, at least one",
        Some(first) if first.is_empty() => "command: the program's name is not empty",
        _ if command.iter().any(|part| part.contains('\0')) => "command: holds a NUL character",
        _ if !(1..=7 * 86_400).contains(&timeout) => "timeout: from 1 to 604800 seconds",
        _ => return Ok(()),
    };
    Err(problem.into())
}

/// A command in one line, as it is told to people.
pub(crate) fn spelled(command: &[String]) -> String {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,".contains(c))
    };
    let part = |part: &String| if plain(part) { part.clone() } else { format!("{part:?}") };
    command.iter().map(part).collect::<Vec<_>>().join(" ")
}

/// A digest of a command and of the files that it names: another script is another program. What a
/// script itself reads is not seen.
pub(crate) fn identity(command: &[String]) -> String {
    let mut digest = Digest::new();
    for part in command {
        digest.update(part);
        digest.update([0]);
        let small = std::fs::metadata(part)
            .is_ok_and(|about| about.is_file() && about.len() <= LONGEST_FILE);
        if let Some(bytes) = small.then(|| std::fs::read(Path::new(part)).ok()).flatten() {
            digest.update(bytes);
            digest.update([1]);
        }
    }
    digest.hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_as_it_is_run() {
        let command = ["python3", "my method.py", "--k=3", ""].map(str::to_owned);
        assert_eq!(spelled(&command), "python3 \"my method.py\" --k=3 \"\"");
        assert_eq!(spelled(&["\u{1b}[2J".to_owned()]), "\"\\u{1b}[2J\"");
    }

    #[test]
    fn another_script_is_another_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("method.sh");
        let command = ["sh".to_owned(), path.display().to_string()];
        let before = identity(&command);
        std::fs::write(&path, "exit 0").unwrap();
        let with = identity(&command);
        std::fs::write(&path, "exit 1").unwrap();
        assert!(before != with && with != identity(&command));
        assert_eq!(identity(&command), identity(&command));
    }

    #[test]
    fn what_cannot_be_started_or_never_ends_is_refused() {
        for (command, timeout) in [(vec![], 1), (vec![""], 1), (vec!["a\0"], 1), (vec!["a"], 0)] {
            let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
            assert!(check(&command, timeout).is_err(), "{command:?}");
        }
        assert_eq!(check(&["a".to_owned()], 1), Ok(()));
    }
}

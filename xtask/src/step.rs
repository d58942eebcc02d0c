//! One cargo command: its name, how to type it, how it ends.

use std::env;
use std::fmt;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

/// A cargo command that is part of a task. Its `Display` is the line that runs it alone in a shell.
#[derive(Debug)]
pub struct Step {
    name: &'static str,
    args: Vec<String>,
    flags: Option<(&'static str, &'static str)>,
}

impl Step {
    /// `cargo subcommand`, called `name` where steps are listed.
    pub fn cargo(name: &'static str, subcommand: &str) -> Self {
        Self { name, args: vec![subcommand.to_owned()], flags: None }
    }

    /// Appends arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds `flags` to those that the environment variable `variable` already holds.
    pub fn flags(mut self, variable: &'static str, flags: &'static str) -> Self {
        self.flags = Some((variable, flags));
        self
    }

    /// The name given to [`Step::cargo`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The process, not yet started; the same cargo that runs this program, where it is known.
    pub fn process(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(&self.args);
        if let Some((variable, flags)) = self.flags {
            command.env(variable, extended(env::var(variable).ok().as_deref(), flags));
        }
        command
    }

    /// Runs the command to its end, its output going straight to the terminal; gives its exit code.
    ///
    /// # Errors
    ///
    /// Cargo could not be started. A command that ran and failed is no error here: its exit code
    /// says so.
    pub fn run(&self) -> Result<u8> {
        let status = self.process().status().with_context(|| format!("cannot start `{self}`"))?;
        Ok(exit_code(status))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((variable, flags)) = self.flags {
            write!(f, "{variable}='{flags}' ")?;
        }
        write!(f, "cargo")?;
        for arg in &self.args {
            if arg.contains([' ', '*']) { write!(f, " '{arg}'") } else { write!(f, " {arg}") }?;
        }
        Ok(())
    }
}

/// The code to exit with after a command that ended with `status`; 1 if a signal ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn extended(existing: Option<&str>, flags: &str) -> String {
    match existing.map(str::trim) {
        None | Some("") => flags.to_owned(),
        Some(existing) => format!("{existing} {flags}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_join_those_that_are_set() {
        assert_eq!(extended(None, "-D warnings"), "-D warnings");
        assert_eq!(extended(Some(" "), "-D warnings"), "-D warnings");
        assert_eq!(extended(Some("-C debuginfo=0"), "-D warnings"), "-C debuginfo=0 -D warnings");
    }

    #[test]
    fn the_line_can_be_pasted_into_a_shell() {
        let step =
            Step::cargo("docs", "doc").args(["--bench", "*"]).flags("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(step.to_string(), "RUSTDOCFLAGS='-D warnings' cargo doc --bench '*'");
    }

    #[test]
    fn the_exit_code_of_cargo_is_kept() {
        let code = |subcommand| {
            exit_code(Step::cargo("any", subcommand).process().output().unwrap().status)
        };
        assert_eq!(code("--version"), 0);
        assert_eq!(code("no-such-subcommand"), 101);
    }
}

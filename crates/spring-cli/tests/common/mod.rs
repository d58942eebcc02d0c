//! Runs the program as a user does.

use std::process::{Command, Output};

pub fn spring(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spring")).args(args).output().unwrap()
}

/// What a command that succeeds prints.
pub fn succeeds(args: &[&str]) -> String {
    let output = spring(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line that a failing command prints; its exit code is 1.
pub fn fails(args: &[&str]) -> String {
    let output = spring(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "not one line: {error}");
    assert!(!error.contains("panicked"), "{error}");
    error
}

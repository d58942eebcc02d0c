//! Completions and manual pages, which are made from the definition of the command line.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, io::Write, process::Stdio};

use common::{fails, succeeds};

/// The commands that `spring --help` lists.
fn commands() -> Vec<String> {
    let help = succeeds(&["--help"]);
    let list = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let lines = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_shell_completes_every_command() {
    let commands = commands();
    assert!(commands.len() > 15 && commands.contains(&"adapt".to_owned()), "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeeds(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} does not know {command}");
        }
        assert!(script.contains("hold-out"), "{shell} does not know the options of adapt");
    }
    let error = common::spring(&["completions", "tcsh"]);
    assert_eq!(error.status.code(), Some(2));
}

#[test]
fn bash_reads_the_script() {
    let script = succeeds(&["completions", "bash"]);
    let Ok(mut bash) = std::process::Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn()
    else {
        eprintln!("skipped: no bash here");
        return;
    };
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn every_command_has_a_manual_page() {
    let page = succeeds(&["man"]);
    assert!(page.contains(".TH spring 1") && page.contains(".SH DESCRIPTION"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    assert_eq!(succeeds(&["man", "--out", out]), "");
    assert_eq!(fs::read_to_string(folder.path().join("spring.1")).unwrap(), page);
    for command in commands() {
        let page = fs::read_to_string(folder.path().join(format!("spring-{command}.1"))).unwrap();
        assert!(page.contains(&format!(".TH spring-{command} 1")), "{page}");
    }
    let adapt = fs::read_to_string(folder.path().join("spring-adapt.1")).unwrap();
    assert!(adapt.contains("hold\\-out") || adapt.contains("hold-out"), "{adapt}");
    let missing = folder.path().join("missing");
    assert!(fails(&["man", "--out", missing.to_str().unwrap()]).contains("missing"));
}

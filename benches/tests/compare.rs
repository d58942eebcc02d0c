//! The comparisons as `cargo xtask bench --peers` starts them, without any peer: one that is
//! missing is left out.

#![allow(clippy::unwrap_used)]

use std::process::Command;

/// Runs quick comparisons on a tiny model; gives standard output and error.
fn compare(sections: &str) -> (String, String) {
    let tests =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/spring-model/tests/fixtures/tiny-llama");
    let output = Command::new(env!("CARGO_BIN_EXE_spring-benches"))
        .args([
            "compare",
            "--quick",
            "--model",
            tests,
            "--python",
            "/no/python",
            "--scripts",
            "/no/scripts",
        ])
        .args(["--only", sections])
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{err}");
    (out, err)
}

/// The numbers of a table's rows, without its head.
fn rows(table: &str) -> impl Iterator<Item = f64> {
    table.lines().filter(|line| line.starts_with("| ")).skip(1).map(|line| {
        let cell = line.split('|').nth(3).unwrap().trim();
        cell.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no number: {line}"))
    })
}

#[test]
fn a_history_and_its_users_are_measured_over_a_state() {
    let (out, _) = compare("history,users");
    let (history, users) = out.split_once("<!-- end history -->\n<!-- begin users -->\n").unwrap();
    assert!(history.starts_with("<!-- begin history -->\n| work | in | spring "));
    assert!(users.ends_with("<!-- end users -->\n"));
    assert_eq!((rows(history).count(), rows(users).count()), (14, 4));
    assert!(rows(history).chain(rows(users)).all(|number| number >= 0.0));
}

#[test]
fn a_step_from_logits_to_a_token_is_measured_both_ways() {
    let (out, err) = compare("fuse");
    assert!(err.contains("skipped: fuse_peer.py: no Python"), "{err}");
    assert!(out.contains("greedy | ms/token") && out.contains("top-p | ms/token"), "{out}");
    assert_eq!(rows(&out).filter(|number| *number > 0.0).count(), 3);
}

#[test]
fn without_python_its_systems_are_skipped_with_a_message() {
    let (out, err) = compare("bm25");
    assert!(err.contains("skipped: bm25_peer.py: no Python"), "{err}");
    assert!(out.starts_with("<!-- begin bm25 -->\n| work | in | spring 0.1.0 |\n"), "{out}");
    assert_eq!(rows(&out).filter(|number| *number > 0.0).count(), 3);
}

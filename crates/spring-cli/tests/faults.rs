//! A limit on the size of files, as a full disk, at any size: what is there can be read, and every
//! change is made whole or not at all.

#![cfg(all(feature = "cpu", unix))]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::{fails, succeeds};
use spring_core::{Access, SqliteStore, spring_memory::UserId};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_spring");

fn texts(user: &str, ids: std::ops::Range<usize>) -> String {
    let line = |i: usize| {
        let value = serde_json::json!({
            "user": user, "id": format!("{i}"),
            "time": format!("2024-03-01T10:{:02}:{:02}Z", i / 60, i % 60),
            "prompt": format!("Number {i}?"),
            "response": format!("{user} says {i}. {}", "More. ".repeat(30)),
        });
        format!("{value}\n")
    };
    ids.map(line).collect()
}

/// A folder with a state in which Ada has learned, and with files for every change.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        fs::write(place.path("spring.toml"), "[training]\nepochs = 1\n").unwrap();
        fs::write(place.path("ada.jsonl"), texts("ada", 0..12)).unwrap();
        fs::write(place.path("more.jsonl"), texts("ada", 12..20) + &texts("bob", 0..150)).unwrap();
        let (model, config) = (model.to_str().unwrap(), place.text("spring.toml"));
        for state in ["me.db", "other.db"] {
            let state = place.text(state);
            succeeds(&["init", "--state", &state, "--model", model, "--config", &config]);
        }
        let other = place.text("other.db");
        fs::write(place.path("dan.jsonl"), texts("dan", 0..9)).unwrap();
        succeeds(&["ingest", "--state", &other, &place.text("dan.jsonl")]);
        succeeds(&["adapt", "--state", &other]);
        succeeds(&["export", "--state", &other, "--user", "dan", "--out", &place.text("dan")]);
        let state = place.text("me.db");
        succeeds(&["ingest", "--state", &state, &place.text("ada.jsonl")]);
        succeeds(&["adapt", "--state", &state, "--periods", "2"]);
        succeeds(&["generate", "--state", &state, "--prompt", "x", "--max-new-tokens", "2"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Puts the saved state back.
    fn reset(&self, saved: &[u8]) {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(self.path(&format!("me.db{suffix}")));
        }
        fs::write(self.path("me.db"), saved).unwrap();
    }

    /// Runs the program in the folder while no file may grow above some KiB.
    fn limited(&self, kilobytes: u64, args: &[&str]) -> Output {
        let script = "ulimit -f \"$0\" && exec \"$@\"";
        let mut command = Command::new("bash");
        command.args(["-c", script, &kilobytes.to_string(), PROGRAM]).args(args);
        command.current_dir(self.dir.path()).output().unwrap()
    }

    fn digests(&self) -> String {
        succeeds(&["check", "--state", &self.text("me.db"), "--json"])
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_disk_does_not_stop_reading() {
    let place = Place::new();
    let saved = fs::read(place.path("me.db")).unwrap();
    for kilobytes in [0, 16] {
        for args in [
            &["users", "--state", "me.db"][..],
            &["search", "--state", "me.db", "--user", "ada", "number"],
            &["explain", "--state", "me.db", "--user", "ada"],
            &["inspect", "--state", "me.db", "--user", "ada"],
            &["check", "--state", "me.db"],
            &["generate", "--state", "me.db", "--prompt", "x", "--max-new-tokens", "2"],
        ] {
            place.reset(&saved);
            let output = place.limited(kilobytes, args);
            assert!(output.status.success(), "{kilobytes} KiB, {args:?}: {}", told(&output));
            assert!(!output.stdout.is_empty(), "{args:?}");
            let is_told = told(&output).contains("this answer is not on record");
            assert_eq!(is_told, args[0] == "generate", "{args:?}: {}", told(&output));
        }
    }
    place.reset(&saved);
    assert_eq!(place.digests().lines().count(), 1);
}

/// Makes every change under one fault after the other, each whole or not at all. `run` gives `None`
/// once a fault comes too late to be met.
fn changes_are_whole(
    place: &Place,
    faults: impl Iterator<Item = u64> + Clone,
    run: impl Fn(u64, &[&str]) -> Option<Output>,
) {
    let saved = fs::read(place.path("me.db")).unwrap();
    let before = place.digests();
    for args in [
        &["ingest", "--state", "me.db", "more.jsonl"][..],
        &["rollback", "--state", "me.db", "--user", "ada"],
        &["forget", "--state", "me.db", "--user", "ada", "--interaction", "3", "--yes"],
        &["forget", "--state", "me.db", "--user", "ada", "--yes"],
        &["import", "--state", "me.db", "dan"],
        &["adapt", "--state", "me.db", "--periods", "1", "--set", "training.epochs=1"],
    ] {
        // `adapt` has something to learn.
        let ready = || {
            place.reset(&saved);
            if args[0] == "adapt" {
                succeeds(&["ingest", "--state", &place.text("me.db"), &place.text("more.jsonl")]);
            }
        };
        ready();
        let before = if args[0] == "adapt" { place.digests() } else { before.clone() };
        let output = place.limited(1 << 20, args);
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        let after = place.digests();
        assert_ne!(before, after, "{args:?}");
        let mut failed = 0;
        for fault in faults.clone() {
            ready();
            let Some(output) = run(fault, args) else { break };
            let (found, said) = (place.digests(), told(&output));
            let case = format!("{args:?}, {fault}: {said}");
            match output.status.success() {
                true => assert_eq!(found, after, "{case}"),
                false => {
                    failed += 1;
                    assert_eq!(output.status.code(), Some(1), "{case}");
                    assert!(said.starts_with("spring: ") && !said.contains("panicked"), "{case}");
                    // Of users one after the other, some may be done.
                    let is_between = args[0] == "adapt"
                        && found.lines().all(|line| {
                            before.lines().chain(after.lines()).any(|known| known == line)
                        });
                    assert!(found == before || found == after || is_between, "{case}");
                }
            }
        }
        assert!(failed > 0, "{args:?} meets no fault");
    }
}

#[test]
fn a_change_that_no_room_is_left_for_is_made_whole_or_not_at_all() {
    let place = Place::new();
    let size = fs::metadata(place.path("me.db")).unwrap().len() / 1024;
    let kilobytes = [0, 4, 16, 32, 40, 64, 100, size / 2, size, size + 8, 2 * size];
    changes_are_whole(&place, kilobytes.into_iter(), |kilobytes, args| {
        Some(place.limited(kilobytes, args))
    });
}

/// Calls of the system that fail, by a library that is loaded before the C library's.
#[cfg(target_os = "linux")]
mod calls {
    use super::*;

    impl Place {
        /// Compiles the library.
        fn with_faults() -> Self {
            let place = Self::new();
            let source =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/failing_calls.c");
            let mut compile = Command::new("cc");
            compile.args(["-shared", "-fPIC", "-O1", "-o"]);
            assert!(compile.arg(place.path("faults.so")).arg(source).status().unwrap().success());
            place
        }

        /// Runs the program in the folder while the `nth` call of a kind fails; `None` if there
        /// were not so many.
        fn failing(&self, kind: &str, nth: u64, args: &[&str]) -> Option<Output> {
            let met = self.path("met");
            let _ = fs::remove_file(&met);
            let mut command = Command::new(PROGRAM);
            command.args(args).current_dir(self.dir.path());
            command.env("LD_PRELOAD", self.path("faults.so")).env("FAULT_MET", &met);
            command.env("FAULT_KIND", kind).env("FAULT_AT", nth.to_string());
            let output = command.output().unwrap();
            met.exists().then_some(output)
        }
    }

    /// All early ones, and later ones further and further apart.
    fn sparse() -> impl Iterator<Item = u64> + Clone {
        std::iter::successors(Some((1, 2)), |(a, b)| Some((*b, b + a.max(&1) / 2 + 1)))
            .map(|(nth, _)| nth)
    }

    #[test]
    fn a_change_whose_nth_write_fails_is_made_whole_or_not_at_all() {
        let place = Place::with_faults();
        changes_are_whole(&place, sparse(), |nth, args| place.failing("write", nth, args));
    }

    #[test]
    fn a_change_whose_nth_fsync_fails_is_made_whole_or_not_at_all() {
        let place = Place::with_faults();
        changes_are_whole(&place, 1.., |nth, args| place.failing("sync", nth, args));
    }

    #[test]
    fn a_state_that_cannot_be_written_or_synced_is_not_there_after_init() {
        let place = Place::with_faults();
        let args = ["init", "--state", "new.db", "--model", "embedded"];
        for kind in ["write", "sync"] {
            let mut failed = 0;
            for nth in 1.. {
                for name in ["new.db", "new.db-wal", "new.db-shm"] {
                    let _ = fs::remove_file(place.path(name));
                }
                let Some(output) = place.failing(kind, nth, &args) else { break };
                let case = format!("{kind} {nth}: {}", told(&output));
                if output.status.success() {
                    // What is tidied up at the end is in the log of the database still.
                    succeeds(&["check", "--state", &place.text("new.db")]);
                    continue;
                }
                failed += 1;
                assert_eq!(output.status.code(), Some(1), "{case}");
                assert!(told(&output).starts_with("spring: "), "{case}");
                assert!(!place.path("new.db").exists(), "{case}");
            }
            assert!(failed > 0, "{kind}");
        }
    }
}

#[test]
fn a_reserved_user_can_be_unlocked() {
    let place = Place::new();
    let state = place.text("me.db");
    succeeds(&["ingest", "--state", &state, &place.text("more.jsonl")]);
    let unlock = ["unlock", "--state", &state, "--user", "ada"];
    assert_eq!(succeeds(&unlock), "ada: was not reserved\n");
    // This process reserves her, and runs on.
    let store = SqliteStore::open(&state, Access::ReadWrite).unwrap();
    let lease = store.lease(&UserId::new("ada").unwrap()).unwrap();
    let adapt = ["adapt", "--state", &state, "--user", "ada"];
    let refused = fails(&adapt);
    assert!(refused.contains("is being updated by process"), "{refused}");
    assert!(refused.contains("`spring unlock` frees the user"), "{refused}");
    let said = succeeds(&unlock);
    let reserved = format!("ada: no longer reserved for process {}", std::process::id());
    assert!(said.starts_with(&reserved), "{said}");
    succeeds(&adapt);
    let late = store.renew(&mut lease.clone()).unwrap_err().to_string();
    assert!(late.contains("another process updated this user meanwhile"), "{late}");
    let said = succeeds(&[&unlock[..], &["--json"]].concat());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said, serde_json::json!({"user": "ada", "holder": null, "until": null}));
}

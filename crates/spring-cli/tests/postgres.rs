//! The program on the PostgreSQL that `SPRING_TEST_POSTGRES` names; without one these tests say so
//! and pass.

#![allow(clippy::unwrap_used)]

#[cfg(unix)]
#[path = "common/server.rs"]
mod server;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use spring_core::{
    Access,
    spring_store::{Address, PostgresStore},
};

const SERVER: &str = "SPRING_TEST_POSTGRES";

/// A schema that goes with the value, and a folder.
struct Place {
    server: String,
    schema: String,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var(SERVER) else {
            eprintln!("skipped: {SERVER} names no PostgreSQL (postgres://user@host:port/database)");
            return None;
        };
        let schema = format!("cli_{}_{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        Some(Self { server, schema, folder: tempfile::tempdir().unwrap() })
    }

    fn state(&self) -> String {
        format!("{}?schema={}", self.server, self.schema)
    }

    /// Runs the program; `STATE` stands for the address and `DIR` for the folder.
    fn spring(&self, arguments: &[&str]) -> Output {
        let folder = self.folder.path().to_string_lossy();
        let fill = |text: &&str| text.replace("STATE", &self.state()).replace("DIR", &folder);
        Command::new(env!("CARGO_BIN_EXE_spring"))
            .args(arguments.iter().map(fill))
            .output()
            .unwrap()
    }

    /// The same, which is to end well.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.spring(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, which is to fail with one line.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.spring(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        said
    }

    fn begin(&self, state: &str) {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let model = model.to_str().unwrap();
        let (rate, epochs) = ("training.learning_rate=0.01", "training.epochs=5");
        self.done(&["init", "--state", state, "--model", model, "--set", rate, "--set", epochs]);
        let line = |user: &str, i: usize| {
            format!(
                "{{\"user\":\"{user}\",\"id\":\"{i}\",\"time\":\"2024-03-01T00:00:{i:02}Z\",\
                 \"prompt\":\"number {i}\",\"response\":\"{user} says \\u0000 {i}\"}}\n"
            )
        };
        let texts: String =
            ["ada", "bob", "cy"].iter().flat_map(|user| (0..20).map(|i| line(user, i))).collect();
        fs::write(self.folder.path().join("texts.jsonl"), texts).unwrap();
        self.done(&["ingest", "--state", state, "DIR/texts.jsonl"]);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        let _ = Command::new("psql").args(["-q", "-d", &self.server, "-c", &drop]).output();
    }
}

#[test]
fn a_state_is_moved_there_and_back_and_stays_the_same() {
    let Some(place) = Place::new() else { return };
    place.begin("DIR/me.db");
    place.done(&["adapt", "--state", "DIR/me.db", "--user", "ada"]);
    let before = place.done(&["check", "--state", "DIR/me.db", "--json"]);
    let moved = place.done(&["move", "--from", "DIR/me.db", "--to", "STATE"]);
    assert!(moved.contains("all 3 users") && moved.contains("3 copied"), "{moved}");
    // Again: nothing is copied twice.
    let again = place.done(&["move", "--from", "DIR/me.db", "--to", "STATE"]);
    assert!(again.contains("0 copied, 3 were there already"), "{again}");
    assert_eq!(place.done(&["check", "--state", "STATE", "--json"]), before);
    place.done(&["move", "--from", "STATE", "--to", "DIR/back.db"]);
    assert_eq!(place.done(&["check", "--state", "DIR/back.db", "--json"]), before);
    // Who was learned on both sides differently is not overwritten without a word.
    place.done(&["rollback", "--state", "STATE", "--user", "ada", "--to", "0"]);
    let refused = place.refused(&["move", "--from", "STATE", "--to", "DIR/back.db", "--quiet"]);
    assert!(refused.contains("user ada is there already and differs"), "{refused}");
    place.done(&["move", "--from", "STATE", "--to", "DIR/back.db", "--replace"]);
    let digests =
        ["STATE", "DIR/back.db"].map(|state| place.done(&["check", "--state", state, "--json"]));
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn what_is_learned_there_is_what_is_learned_in_a_file() {
    let Some(place) = Place::new() else { return };
    place.begin("STATE");
    place.begin("DIR/me.db");
    let printed = place.done(&["worker", "--state", "STATE", "--once", "--jobs", "2"]);
    assert_eq!(printed.lines().count(), 3, "{printed}");
    assert!(place.done(&["worker", "--state", "STATE", "--once"]).contains("nothing new to learn"));
    place.done(&["worker", "--state", "DIR/me.db", "--once"]);
    let same = |arguments: &[&str]| {
        let of = |state: &str| {
            let arguments: Vec<&str> =
                arguments.iter().map(|a| if *a == "HERE" { state } else { a }).collect();
            place.done(&arguments)
        };
        assert_eq!(of("STATE"), of("DIR/me.db"), "{arguments:?}");
    };
    same(&["check", "--state", "HERE", "--json"]);
    same(&["users", "--state", "HERE"]);
    same(&["inspect", "--state", "HERE", "--user", "bob"]);
    same(&["search", "--state", "HERE", "--user", "bob", "number"]);
    same(&[
        "generate",
        "--state",
        "HERE",
        "--user",
        "ada",
        "--prompt",
        "number 3",
        "--set",
        "decoding.max_new_tokens=8",
    ]);
    let forgotten = place.done(&["forget", "--state", "STATE", "--user", "bob", "--yes"]);
    assert!(forgotten.contains("VACUUM"), "{forgotten}");
    place.done(&["forget", "--state", "DIR/me.db", "--user", "bob", "--yes"]);
    same(&["check", "--state", "HERE", "--json"]);
}

#[test]
fn what_is_wrong_is_one_line_without_the_password() {
    let Some(place) = Place::new() else { return };
    let refused = place.refused(&["users", "--state", "STATE"]);
    assert!(refused.contains("holds no state; `spring init`"), "{refused}");
    for (state, said) in [
        ("postgres://ada:s3cr3t@127.0.0.1:1/x", "cannot be reached"),
        ("postgres://ada:s3cr3t@127.0.0.1:1/x?sslmode=never", "sslmode is one of"),
        ("postgres://ada:s3cr3t@127.0.0.1:1:2/x", "an address is postgres://USER@HOST"),
    ] {
        for command in ["users", "check", "adapt", "worker"] {
            let refused = place.refused(&[command, "--state", state]);
            assert!(refused.contains(said) && !refused.contains("s3cr3t"), "{refused}");
        }
    }
    place.begin("STATE");
    let again = place.refused(&["init", "--state", "STATE"]);
    assert!(again.contains("there is a state already"), "{again}");
    let sql = |statement: &str| {
        let path = format!("SET search_path TO {}; {statement}", place.schema);
        let done = Command::new("psql").args(["-q", "-d", &place.server, "-c", &path]).output();
        assert!(done.unwrap().status.success());
    };
    sql("UPDATE settings SET fingerprint = 'beef'");
    let damaged = place.refused(&["adapt", "--state", "STATE", "--quiet"]);
    assert!(damaged.contains("damaged in table settings"), "{damaged}");
    sql("UPDATE format SET version = 99");
    let newer = place.refused(&["users", "--state", "STATE"]);
    assert!(newer.contains("newer version of this program (format 99"), "{newer}");
}

#[test]
fn help_does_not_show_the_state_of_the_environment() {
    let shown = Command::new(env!("CARGO_BIN_EXE_spring"))
        .args(["users", "--help"])
        .env("SPRING_STATE", "postgres://ada:s3cr3t@h/d")
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("SPRING_STATE") && !shown.contains("s3cr3t"), "{shown}");
}

#[cfg(unix)]
#[test]
fn several_servers_of_a_database_know_each_other() {
    let Some(place) = Place::new() else { return };
    place.begin("STATE");
    place.done(&["adapt", "--state", "STATE", "--user", "ada"]);
    let state = place.state();
    let known = || {
        let store =
            PostgresStore::open(&Address::parse(&state).unwrap(), Access::ReadOnly).unwrap();
        let all = store.replicas(Duration::from_secs(86_400)).unwrap();
        all.into_iter().map(|replica| replica.url).collect()
    };
    server::several_on_one_state(Path::new(&state), &known);
}

//! Nothing of one user reaches another: canary strings, hostile names, and the same results as
//! alone.

#![cfg(all(feature = "cpu", unix))]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Names that would do harm as a path, a statement, a pattern or an option.
const USERS: [&str; 8] = [
    "ada",
    "../../etc/passwd",
    "'; DROP TABLE users; --",
    "%",
    "_",
    "-rf",
    "Ærø 用户 \u{202e}",
    "C:\\CON|x?*",
];

fn canary(user: usize) -> String {
    format!("canaryword{user}q")
}

fn spring(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_spring")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

fn texts(user: usize) -> String {
    let line = |i: usize| {
        let word = canary(user);
        let value = serde_json::json!({
            "user": USERS[user], "id": format!("{i}"), "time": format!("2024-03-01T10:{i:02}:00Z"),
            "prompt": format!("What about {word} {}?", i % 3),
            "response": format!("It is {word}, number {i}."),
            "meta": {"note": word},
        });
        format!("{value}\n")
    };
    (0..14).map(line).collect()
}

/// A prompt that names what everybody wrote, so that everybody asks about what others wrote, too.
fn prompt() -> String {
    (0..USERS.len()).map(canary).collect::<Vec<_>>().join(" ")
}

/// A state of these users, who have learned and written: its file, and what was printed meanwhile,
/// by user.
fn state(folder: &Path, users: &[usize]) -> (String, BTreeMap<usize, String>) {
    fs::create_dir(folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (state, config, history) = (path("me.db"), path("spring.toml"), path("history.jsonl"));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    // With the gate open what was retrieved is read, mixed and recorded.
    let settings = "[training]\nlearning_rate = 1e-2\n[gate]\nkind = \"always\"\nk = \
                    2\n[decoding]\nmax_new_tokens = 8\n";
    fs::write(&config, settings).unwrap();
    fs::write(&history, users.iter().map(|user| texts(*user)).collect::<String>()).unwrap();
    spring(&["init", "--state", &state, "--model", model.to_str().unwrap(), "--config", &config]);
    spring(&["ingest", "--state", &state, &history]);
    let learned = spring(&[
        "adapt",
        "--state",
        &state,
        "--jobs",
        "3",
        "--periods",
        "2",
        "--hold-out",
        "0.1",
        "--json",
    ]);
    let mut said: BTreeMap<usize, String> =
        users.iter().map(|user| (*user, String::new())).collect();
    for line in learned.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let user = users.iter().find(|user| value["user"] == USERS[**user]).unwrap();
        said.entry(*user).or_default().push_str(line);
    }
    assert!(said.values().all(|said| said.contains("scores")));
    let asked = prompt();
    for user in users {
        let name = format!("--user={}", USERS[*user]);
        let generate = ["generate", "--state", &state, &name, "--prompt", &asked];
        for more in [&["--explain"], &["--json"]] {
            said.entry(*user).or_default().push_str(&spring(&[&generate[..], &more[..]].concat()));
        }
    }
    (state, said)
}

/// What is kept of each user, by name.
fn digests(state: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        (value["user"].as_str().unwrap().to_owned(), value["sha256"].as_str().unwrap().to_owned())
    };
    spring(&["check", "--state", state, "--json"]).lines().map(line).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_of_one_user_reaches_another() {
    let place = tempfile::tempdir().unwrap();
    let all: Vec<usize> = (0..USERS.len()).collect();
    let (together, printed) = state(&place.path().join("together"), &all);
    let digests_together = digests(&together);
    assert_eq!(digests_together.len(), USERS.len());
    for user in all {
        let name = format!("--user={}", USERS[user]);
        let out = place.path().join(format!("out-{user}"));
        let folder = out.to_str().unwrap();
        let run =
            |args: &[&str]| spring(&[&[args[0], "--state", &together, &name], &args[1..]].concat());
        let mut said = run(&["explain", "--rows", "99"])
            + &run(&["explain", "--json"])
            + &run(&["explain", "--period", "2"])
            + &run(&["explain", "--generation-id", "1"])
            + &run(&["explain", "--since", "2024-03-01", "--rows", "99"])
            + &run(&["inspect"])
            + &run(&["inspect", "--json"]);
        for other in 0..USERS.len() {
            let found: Value =
                serde_json::from_str(&run(&["explain", "--text", &canary(other), "--json"]))
                    .unwrap();
            let alike = found["provenance"]["alike"].as_array().unwrap();
            assert_eq!(alike.is_empty(), other != user, "{} asks for {other}", USERS[user]);
        }
        let of_others: Vec<String> =
            (0..USERS.len()).filter(|other| *other != user).map(canary).collect();
        for mode in ["bm25", "dense", "hybrid"] {
            let search = [
                "search",
                "--mode",
                mode,
                "--limit",
                "99",
                "--held-out",
                "--json",
                &of_others.join(" "),
            ];
            let found: Value = serde_json::from_str(&run(&search)).unwrap();
            let found = found["found"].as_array().unwrap();
            assert_eq!(found.len(), if mode == "bm25" { 0 } else { 14 }, "{mode}");
            assert!(found.iter().all(|text| text["interaction"]["user"] == USERS[user]), "{mode}");
            said += &serde_json::to_string(found).unwrap();
        }
        run(&["export", "--out", folder]);
        for file in files(&out) {
            let inside = file.strip_prefix(&out).unwrap().to_str().unwrap();
            assert!(
                inside.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._".contains(&b)),
                "{inside}"
            );
            let content = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            assert!(inside != "answers.jsonl" || content.lines().count() == 2);
            said += &content;
        }
        said += &printed[&user];
        // It is on record with what was generated from it.
        let said = said.replace(&prompt(), "");
        assert!(said.contains(&canary(user)));
        for other in (0..USERS.len()).filter(|other| *other != user) {
            assert!(
                !said.contains(&canary(other)),
                "{} got to see what {} wrote",
                USERS[user],
                USERS[other]
            );
        }
    }
    // Stronger than any search: every user is to the last bit what they would be alone, what they
    // generated included.
    for user in [0, 2, 6] {
        let (alone, _) = state(&place.path().join(format!("alone-{user}")), &[user]);
        assert_eq!(digests(&alone)[USERS[user]], digests_together[USERS[user]], "{}", USERS[user]);
    }
    // No name became a file.
    for file in files(&place.path().join("together")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let known = ["me.db", "me.db-wal", "me.db-shm", "spring.toml", "history.jsonl"];
        assert!(known.contains(&name), "{}", file.display());
    }
}

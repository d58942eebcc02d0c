//! One adapter that everybody new starts from: learned, applied, forgotten from, moved and dropped.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{fails, succeeds};
use serde_json::Value;

/// Twelve texts of a user.
fn texts(user: &str) -> String {
    let moods = ["bright", "grey", "wet", "still", "windy"];
    let line = |i: usize| {
        let value = serde_json::json!({
            "user": user, "id": i.to_string(), "time": format!("2024-03-{i:02}T10:00:00Z"),
            "prompt": format!("Write about day {i}."),
            "response": format!("A {} day, says {user}.", moods[i % 5]),
        });
        format!("{value}\n")
    };
    (1..=12).map(line).collect()
}

/// A state of the built-in model.
fn init(folder: &Path, name: &str) -> String {
    let config = folder.join("spring.toml");
    std::fs::write(&config, "[training]\nlearning_rate = 3e-3\n[decoding]\nmax_new_tokens = 4\n")
        .unwrap();
    let state = folder.join(name).to_str().unwrap().to_owned();
    succeeds(&["init", "--state", &state, "--config", config.to_str().unwrap()]);
    state
}

/// The digest of each user.
fn digests(state: &str) -> BTreeMap<String, Value> {
    let told = succeeds(&["check", "--state", state, "--json"]);
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let digest = |line: Value| Some((line["user"].as_str()?.to_owned(), line["sha256"].clone()));
    lines.filter_map(digest).collect()
}

#[test]
fn everybody_new_starts_from_a_prior_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let state = init(folder.path(), "team.db");
    let run = |arguments: &[&str]| succeeds(&[arguments, &["--state", &state]].concat());
    let refused = |arguments: &[&str]| fails(&[arguments, &["--state", &state]].concat());
    let file = folder.path().join("texts.jsonl");
    std::fs::write(&file, ["ada", "bob", "cy"].map(texts).concat()).unwrap();
    succeeds(&["ingest", "--state", &state, file.to_str().unwrap()]);
    for user in ["ada", "bob"] {
        run(&["adapt", "--user", user, "--hold-out", "0", "--keep"]);
    }
    assert!(run(&["prior", "show"]).contains("there is no prior"));
    let nobody = refused(&["prior", "train", "--quiet"]);
    assert!(nobody.contains("nobody whom the prior may be learned from"), "{nobody}");

    // Without one there is no population to measure novelty against.
    let population = ["adapt", "--user", "cy", "--keep", "--set", "drift.reference=population"];
    let missing = refused(&population);
    for part in ["user cy: drift.reference", "`spring prior train`", "`spring prior apply`"] {
        assert!(missing.contains(part), "{missing}");
    }

    let told = run(&["prior", "train", "--users", "ada,bob"]);
    assert!(told.contains("prior 1: learned from 24 texts of 2 users"), "{told}");
    let shown = run(&["prior", "show"]);
    assert!(shown.contains("in use") && shown.contains("ada"), "{shown}");
    assert!(run(&["consent", "--user", "ada"]).contains("priors may be learned"));
    let answered = run(&["generate", "--user", "cy", "--prompt", "Write about day 3.", "--json"]);
    assert!(answered.contains("\"generation\":0"), "{answered}");
    let adapt = ["adapt", "--user", "cy", "--hold-out", "0", "--keep", "--json"];
    let learned = run(&adapt);
    let learned: Value = serde_json::from_str(learned.lines().next().unwrap()).unwrap();
    let prior = learned["learned"]["prior"].as_str().unwrap().to_owned();
    assert_eq!(prior.len(), 64);
    assert_eq!(learned["learned"]["selection"]["selected"], 12);
    assert!(run(&["inspect", "--user", "cy"]).contains("a prior"));

    // What is forgotten, the prior knows until it is learned again.
    let text = ["forget", "--user", "ada", "--interaction", "3"];
    let told = run(&[&text[..], &["--dry-run"]].concat());
    assert!(told.contains("prior 1 was learned from 1 text of this, and 1 user"), "{told}");
    assert!(run(&["search", "--user", "ada", "day 3"]).contains("day"));
    let told = run(&[&text[..], &["--yes"]].concat());
    assert!(told.contains("knowing it still: prior 1"), "{told}");
    let shown = run(&["prior", "show"]);
    assert!(shown.contains("1 of its texts were forgotten since"), "{shown}");
    let told = run(&["prior", "train"]);
    assert!(told.contains("prior 2: learned from 23 texts of 2 users"), "{told}");
    let told = run(&["prior", "apply", "--all"]);
    for user in ["ada", "bob", "cy"] {
        let moved = format!("{user}: 1 generation learned again from prior 2");
        assert!(told.contains(&moved), "{told}");
    }
    assert!(told.contains("prior 1 is removed"), "{told}");
    assert!(run(&["prior", "apply", "--all"]).contains("nothing to move"));

    // It goes along with a user, and with the whole state.
    let exported = folder.path().join("cy");
    run(&["export", "--user", "cy", "--out", exported.to_str().unwrap()]);
    let other = init(folder.path(), "other.db");
    succeeds(&["import", "--state", &other, exported.to_str().unwrap()]);
    let moved = folder.path().join("moved.db").to_str().unwrap().to_owned();
    let told = succeeds(&["move", "--from", &state, "--to", &moved]);
    assert!(told.contains("copied 1 prior"), "{told}");
    assert_eq!(digests(&other)["cy"], digests(&state)["cy"]);
    assert_eq!(digests(&moved), digests(&state));
    let shown = |state: &str| succeeds(&["prior", "show", "--state", state, "--json"]);
    assert_eq!(shown(&moved), shown(&state));
    assert!(shown(&other).contains("\"in_use\":false"));

    // Who takes it back is told what that does not change.
    let told = run(&["consent", "--user", "ada", "--contribute", "no"]);
    assert!(told.contains("no prior is learned from the user's texts"), "{told}");
    assert!(told.contains("prior 2 was learned from 11 texts of this"), "{told}");
    let no = refused(&["prior", "train", "--users", "ada", "--quiet"]);
    assert!(no.contains("user ada has said no") && no.contains("--contribute yes"), "{no}");
    let told = run(&["prior", "drop"]);
    assert!(told.contains("prior 2 is out of use") && told.contains("it stays"), "{told}");
    let told = run(&["prior", "apply", "--user", "cy"]);
    assert!(told.contains("cy: 1 generation learned again from the base"), "{told}");
}

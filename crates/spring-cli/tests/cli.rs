//! The program as a user runs it: the real job on the built-in model, and what it says to bad
//! input.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{fails, spring, succeeds};
use serde_json::Value;
use tempfile::TempDir;

fn line(user: &str, id: &str, day: u32, response: &str) -> String {
    let value = serde_json::json!({
        "user": user, "id": id, "time": format!("2024-03-{day:02}T10:00:00+01:00"),
        "prompt": format!("Write about day {day}."), "response": response
    });
    format!("{value}\n")
}

struct Place {
    dir: TempDir,
    state: String,
}

impl Place {
    /// A state for the built-in model, with a quick configuration.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("spring.toml");
        std::fs::write(
            &config,
            "[training]\nlearning_rate = 3e-3\n[decoding]\nmax_new_tokens = 8\n",
        )
        .unwrap();
        let state = dir.path().join("me.db").to_str().unwrap().to_owned();
        succeeds(&["init", "--state", &state, "--config", config.to_str().unwrap()]);
        Self { dir, state }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn ingested(&self) -> (String, String) {
        let moods = ["bright", "grey", "wet", "still", "windy"];
        let lines: String = (1..=12)
            .map(|i| line("ada", &i.to_string(), i, &format!("A {} day.", moods[i as usize % 5])))
            .collect();
        let file = self.file("ada.jsonl", &lines);
        succeeds(&["ingest", "--state", &self.state, &file]);
        (file, lines)
    }

    fn users(&self) -> Vec<Value> {
        let lines = succeeds(&["users", "--state", &self.state, "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn the_real_job() {
    let place = Place::new();
    let (file, _) = place.ingested();
    assert!(
        succeeds(&["ingest", "--state", &place.state, &file])
            .contains("0 interactions added, 12 known already")
    );

    let state = place.state.as_str();
    let adapted = succeeds(&[
        "adapt",
        "--state",
        state,
        "--user",
        "ada",
        "--periods",
        "2",
        "--hold-out",
        "0.2",
        "--json",
    ]);
    let records: Vec<Value> =
        adapted.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Two periods, and what they changed.
    assert_eq!(records.len(), 3);
    assert_eq!(records[2]["change"]["texts"], 2);
    assert_eq!(records[2]["rolled_back"], false);
    assert_eq!(records[0]["learned"]["selection"]["selected"], 5);
    assert_eq!(records[1]["learned"]["selection"]["selected"], 2);
    assert!(succeeds(&["adapt", "--state", state]).contains("nothing new"));
    assert_eq!(
        (&place.users()[0]["generation"], &place.users()[0]["pending"]),
        (&2.into(), &0.into())
    );

    let generate = [
        "generate",
        "--state",
        state,
        "--user",
        "ada",
        "--prompt",
        "Write about day 13.",
        "--explain",
    ];
    let text = succeeds(&generate);
    assert!(text.contains("gate closed") && text.contains("at least 8 are needed"), "{text}");
    assert_eq!(succeeds(&generate), text, "greedy decoding repeats itself");

    let explained: Value =
        serde_json::from_str(&succeeds(&["explain", "--state", state, "--user", "ada", "--json"]))
            .unwrap();
    assert_eq!(explained["periods"].as_array().unwrap().len(), 2);
    assert_eq!(explained["answers"].as_array().unwrap().len(), 2);
    assert_eq!(explained["buffer"].as_array().unwrap().len(), 7);
    assert!(
        succeeds(&["explain", "--state", state, "--user", "ada", "--period", "2", "--terms"])
            .contains("rank correlation")
    );

    let scored: Value = serde_json::from_str(&succeeds(&["score", &file, "--json"])).unwrap();
    assert_eq!(scored["texts"], 12);
    assert!((1.0..20.0).contains(&scored["nats_per_token"].as_f64().unwrap()), "{scored}");
}

#[test]
fn a_bad_line_is_named_and_nothing_of_its_file_stays() {
    let place = Place::new();
    let (_, good) = place.ingested();
    let before = place.users();
    let (_, rest) = good.split_once('\n').unwrap();
    let fresh = line("bob", "1", 1, "New.");
    for (bad, word) in [
        ("{\"user\": \"bob\"".to_string(), "2"),
        (line("bob", "2", 2, ""), "response"),
        (line("bob", "\u{7}", 2, "x"), "id"),
        (line("bob", "2", 2, "x").replace("2024-03-02T10:00:00+01:00", "yesterday"), "time"),
        (line("ada", "1", 1, "Other content."), "ada"),
        (line("bob", "2", 2, &"x".repeat(2 << 20)), "2"),
    ] {
        let file = place.file("bad.jsonl", &format!("{fresh}{bad}\n{rest}"));
        let error = fails(&["ingest", "--state", &place.state, &file]);
        assert!(error.contains("bad.jsonl") && error.contains(word), "{error}");
        assert!(error.contains('2'), "the line: {error}");
        assert_eq!(place.users(), before);
    }
    let missing = fails(&["ingest", "--state", &place.state, "no-such-file.jsonl"]);
    assert!(missing.contains("no-such-file.jsonl"), "{missing}");
}

#[test]
fn unknown_users_and_empty_histories_are_told() {
    let place = Place::new();
    let state = place.state.as_str();
    for command in [
        vec!["adapt", "--state", state, "--user", "eve"],
        vec!["explain", "--state", state, "--user", "eve"],
        vec!["generate", "--state", state, "--user", "eve", "--prompt", "x"],
        vec!["generate", "--state", state, "--user", "\n", "--prompt", "x"],
    ] {
        let error = fails(&command);
        assert!(error.contains("eve") || error.contains("user"), "{error}");
    }
    assert!(succeeds(&["users", "--state", state]).contains("no users yet"));
    assert!(succeeds(&["adapt", "--state", state]).contains("nothing new"));
    let empty = place.file("empty.jsonl", "");
    succeeds(&["ingest", "--state", state, &empty]);
    assert!(fails(&["score", &empty]).contains("empty.jsonl"));
}

#[test]
fn a_prompt_longer_than_the_context_is_cut_with_a_warning() {
    let place = Place::new();
    place.ingested();
    let long = "a very long prompt ".repeat(600);
    let output = spring(&["generate", "--state", &place.state, "--user", "ada", "--prompt", &long]);
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && warning.contains("lost its first"), "{warning}");
}

#[test]
fn states_that_cannot_be_used_are_refused() {
    let place = Place::new();
    let state = place.state.as_str();
    assert!(fails(&["init", "--state", state]).contains("me.db"));
    assert!(fails(&["users", "--state", "/no/such/state.db"]).contains("/no/such/state.db"));
    let text = place.file(
        "notes.txt",
        "These are notes, not a database, and longer than a header of one would be.",
    );
    let error = fails(&["users", "--state", &text]);
    assert!(error.contains("notes.txt"), "{error}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("These are notes"));
}

fn copy_of_the_model(to: &Path) -> PathBuf {
    let folder = to.join("model");
    std::fs::create_dir(&folder).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("model").join(name),
            folder.join(name),
        )
        .unwrap();
    }
    folder
}

#[test]
fn a_model_that_changed_or_broke_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = copy_of_the_model(dir.path());
    let (model, state) = (folder.to_str().unwrap(), dir.path().join("s.db"));
    let state = state.to_str().unwrap();
    succeeds(&["init", "--state", state, "--model", model]);
    let history = dir.path().join("h.jsonl");
    std::fs::write(&history, line("ada", "1", 1, "One text.")).unwrap();
    succeeds(&["ingest", "--state", state, history.to_str().unwrap()]);

    let weights = folder.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, changed).unwrap();
    let error = fails(&["adapt", "--state", state]);
    assert!(error.contains("s.db") && error.contains("another model"), "{error}");
    std::fs::write(&weights, &bytes[..bytes.len() / 3]).unwrap();
    let error = fails(&["adapt", "--state", state]);
    assert!(error.contains("model.safetensors"), "{error}");
    std::fs::remove_file(&weights).unwrap();
    let error = fails(&["score", "--model", model, history.to_str().unwrap()]);
    assert!(error.contains("model.safetensors"), "{error}");
    assert!(
        fails(&["score", "--model", "/no/model", history.to_str().unwrap()]).contains("/no/model")
    );
}

#[test]
fn a_model_that_does_not_know_how_a_text_ends_can_score_but_not_learn() {
    let dir = tempfile::tempdir().unwrap();
    let folder = copy_of_the_model(dir.path());
    let (model, state, history) =
        (folder.to_str().unwrap(), dir.path().join("s.db"), dir.path().join("h.jsonl"));
    std::fs::write(&history, line("ada", "1", 1, "One text.")).unwrap();
    let config = folder.join("config.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    json["eos_token_id"] = Value::Null;
    std::fs::write(&config, json.to_string()).unwrap();
    succeeds(&["score", "--model", model, history.to_str().unwrap()]);
    // Loading warns of it, so the error is not the only line.
    let output = spring(&["init", "--state", state.to_str().unwrap(), "--model", model]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.lines().last().unwrap().contains("name the token there"), "{error}");
    assert!(!state.exists());
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("h.jsonl");
    std::fs::write(&history, line("ada", "1", 1, "One text.")).unwrap();
    // Made for a model of two layers.
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama/adapter");
    let error =
        fails(&["score", "--adapter", foreign.to_str().unwrap(), history.to_str().unwrap()]);
    assert!(error.contains("adapter") && error.contains("layer 2 q_proj is missing"), "{error}");
}

#[test]
fn an_absent_device_names_its_feature() {
    for device in ["wgpu", "cuda"] {
        let output = spring(&["--device", device, "demo"]);
        let error = String::from_utf8(output.stderr).unwrap();
        if cfg!(not(any(feature = "wgpu", feature = "cuda"))) {
            assert!(
                !output.status.success() && error.contains(&format!("--features {device}")),
                "{error}"
            );
        }
    }
    assert_eq!(spring(&["--device", "tpu", "score", "x"]).status.code(), Some(2));
}

#[test]
fn the_demo_tells_its_story_and_writes_its_report() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.html");
    let text = succeeds(&["demo", "--quiet", "--out", report.to_str().unwrap()]);
    for part in [
        "Period 4",
        "Buffer:",
        "Perplexity",
        "gate open",
        "came from the branch with the retrieved texts",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.contains("<svg") && !page.contains("<script") && !page.contains("http-equiv"));
}

#[test]
fn a_preset_takes_the_paper_s_settings_whatever_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let init = |name: &str, settings: &[&str]| {
        let state = dir.path().join(name);
        let init = ["init", "--json", "--state", state.to_str().unwrap()];
        let told = succeeds(&[&init[..], settings].concat());
        let told: Value = serde_json::from_str(&told).unwrap();
        (told["learning_rate"].as_f64().unwrap(), told["repetition_penalty"].as_f64().unwrap())
    };
    let (rate, penalty) = init("paper.db", &["--preset", "paper"]);
    assert!(rate == 1e-4 && (penalty - 1.2).abs() < 1e-6);
    let set = ["--preset", "paper", "--set", "training.learning_rate=2e-4"];
    assert_eq!(init("changed.db", &set).0, 2e-4);
    // The built-in base is small, and gets a larger one by default.
    assert_eq!(init("default.db", &[]).0, 3e-3);

    let other = dir.path().join("other.db");
    let other = ["init", "--state", other.to_str().unwrap(), "--preset"];
    for (settings, said) in [(&["papre"][..], "paper"), (&["paper", "--config", "x"], "--config")] {
        let output = spring(&[&other[..], settings].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(said), "{error}");
    }
}

/// Weights that are finite and guess: no gradient is NaN, and still nothing was learned.
#[test]
fn an_update_that_explains_its_own_texts_worse_is_not_committed() {
    let place = Place::new();
    place.ingested();
    succeeds(&["adapt", "--state", &place.state]);
    let more: String = (13..=20)
        .map(|day| line("ada", &day.to_string(), day, &format!("Day {day} was long and loud.")))
        .collect();
    succeeds(&["ingest", "--state", &place.state, &place.file("more.jsonl", &more)]);
    let absurd = ["adapt", "--state", &place.state, "--set", "training.learning_rate=1e12"];
    let error = fails(&[&absurd[..], &["--user", "ada"]].concat());
    for part in ["ada", "period 2", "learned from worse", "training.learning_rate"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(place.users()[0]["generation"], 1);
    // The texts are still new: with the rate that works they are learned.
    succeeds(&["adapt", "--state", &place.state]);
    assert_eq!(place.users()[0]["generation"], 2);
}

#[test]
fn answers_end_by_the_length_of_the_persons_own_texts_and_the_models_own_penalty() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy_of_the_model(dir.path());
    std::fs::write(model.join("generation_config.json"), r#"{"repetition_penalty": 1.05}"#)
        .unwrap();
    let model = model.to_str().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let state = path("me.db");
    let said = succeeds(&["init", "--state", &state, "--model", model]);
    assert!(said.contains("repetition penalty 1.05"), "{said}");
    let other = path("other.db");
    let set = ["--set", "decoding.penalties.repetition=1.2", "--json"];
    let json = succeeds(&[&["init", "--state", &other, "--model", model][..], &set].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!((json["repetition_penalty"].as_f64().unwrap() - 1.2).abs() < 1e-6, "{json}");

    let texts = path("ada.jsonl");
    let lines: String = (1..=9).map(|i| line("ada", &i.to_string(), i, "A day of rain.")).collect();
    std::fs::write(&texts, lines).unwrap();
    succeeds(&["ingest", "--state", &state, &texts]);
    let answer = || -> Value {
        let generate = ["generate", "--state", &state, "--prompt", "Write.", "--json"];
        serde_json::from_str(&succeeds(&generate)).unwrap()
    };
    let most = |answer: &Value| answer["answer"]["decoding"]["max_new_tokens"].as_u64().unwrap();
    let unknown = most(&answer());
    succeeds(&["adapt", "--state", &state, "--keep"]);
    let explained: Value =
        serde_json::from_str(&succeeds(&["explain", "--state", &state, "--json"])).unwrap();
    let own = explained["periods"][0]["record"]["scores"][0]["tokens"].as_u64();
    let own = own.or(explained["periods"][0]["scores"][0]["tokens"].as_u64()).unwrap();
    let told = answer();
    assert_eq!(most(&told), (2 * own).max(32), "of {own}, not {unknown}");
    assert!(most(&told) < unknown);
    let penalty = told["answer"]["decoding"]["penalties"]["repetition"].as_f64().unwrap();
    assert!((penalty - 1.05).abs() < 1e-6, "{penalty}");
}

//! The whole job on a quantised base: a GGUF file, from `init` to the first answer of a server.

#![cfg(all(unix, feature = "cpu"))]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "fixtures/gguf_files/mod.rs"]
mod gguf_files;
#[path = "common/server.rs"]
mod server;

use std::path::Path;

use common::{fails, succeeds};
use gguf_files::{SMALL, Shape, Twins, twins};
use serde_json::{Value, json};
use server::Server;

const PROMPT: &str = "Write about day 13.";

/// A small model as a file and as a folder, with room for texts that are written out in letters.
fn model() -> Twins {
    twins("llama", Shape { context: 512, ..SMALL }, 18)
}

fn texts(dir: &Path) -> String {
    let moods = ["bright", "grey", "wet", "still", "windy"];
    let line = |day: usize| {
        json!({
            "user": "ada", "id": day.to_string(), "time": format!("2024-03-{day:02}T10:00:00Z"),
            "prompt": format!("Write about day {day}."),
            "response": format!("A {} day by the sea.", moods[day % 5]),
        })
    };
    let path = dir.join("ada.jsonl");
    let lines: Vec<String> = (1..=12).map(|day| line(day).to_string()).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A state on this base of which ada was learned in two periods.
fn learned(base: &Path, dir: &Path, name: &str, arithmetic: &str) -> String {
    let state = dir.join(name).to_str().unwrap().to_owned();
    let settings = [
        "training.learning_rate=3e-3",
        "training.epochs=6",
        "decoding.max_new_tokens=8",
        "gate=always",
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let init = ["init", "--state", &state, "--model", base.to_str().unwrap()];
    succeeds(&init.into_iter().chain(settings).collect::<Vec<_>>());
    succeeds(&["ingest", "--state", &state, &texts(dir)]);
    let adapt = ["adapt", "--state", &state, "--user", "ada", "--periods", "2"];
    let records = succeeds(
        &[&adapt[..], &["--hold-out", "0.2", "--json", "--arithmetic", arithmetic]].concat(),
    );
    let records: Vec<Value> =
        records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records[0]["learned"]["selection"]["selected"].as_u64() > Some(0), "{records:?}");
    assert_eq!(records.last().unwrap()["rolled_back"], false, "{records:?}");
    state
}

/// What `check` says of everything that is kept of her.
fn digest(state: &str) -> String {
    let line: Value =
        serde_json::from_str(&succeeds(&["check", "--state", state, "--json"])).unwrap();
    assert_eq!(line["user"], "ada");
    line["sha256"].as_str().unwrap().to_owned()
}

fn loss(model: &Path, adapter: Option<&str>, file: &str) -> f64 {
    let args = ["score", "--json", "--model", model.to_str().unwrap(), file];
    let adapter = adapter.map(|path| ["--adapter", path]);
    let args: Vec<&str> = args.into_iter().chain(adapter.into_iter().flatten()).collect();
    let scored: Value = serde_json::from_str(&succeeds(&args)).unwrap();
    assert_eq!(scored["texts"], 12);
    scored["nats_per_token"].as_f64().unwrap()
}

#[test]
fn a_person_is_learned_written_forgotten_exported_and_served() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let state = learned(&model.gguf, dir.path(), "me.db", "fast");

    let generate = ["generate", "--state", &state, "--user", "ada", "--prompt", PROMPT, "--json"];
    let generate = || {
        let answer: Value = serde_json::from_str(&succeeds(&generate)).unwrap();
        answer["answer"]["text"].as_str().unwrap().to_owned()
    };
    let written = generate();
    assert_eq!(generate(), written, "greedy decoding repeats itself");

    let out = place("ada");
    succeeds(&["export", "--state", &state, "--out", &out, "--adapter-format", "gguf"]);
    let plain = place("plain");
    succeeds(&["export", "--state", &state, "--out", &plain]);
    let (folder, file) = (format!("{out}/adapters/2"), format!("{out}/adapters/2.gguf"));
    let peft =
        |out: &str| std::fs::read(format!("{out}/adapters/2/adapter_model.safetensors")).unwrap();
    assert_eq!(peft(&plain), peft(&out));
    assert!(!Path::new(&plain).join("adapters/2.gguf").exists());

    // The adapter helps, as a folder and as a file.
    let history = place("ada.jsonl");
    let base = loss(&model.gguf, None, &history);
    let by_folder = loss(&model.gguf, Some(&folder), &history);
    assert_eq!(loss(&model.gguf, Some(&file), &history), by_folder);
    assert!(by_folder < base - 0.05, "{by_folder} with what was learned, {base} without");
    // A folder with the same numbers writes the same, but it is another base.
    let twin = loss(&model.folder, None, &history);
    assert!((twin - base).abs() < 1e-3, "{base} on the file, {twin} on the folder");
    let other = model.folder.to_str().unwrap();
    let refused = fails(&["score", "--model", other, "--adapter", &folder, &history]);
    assert!(refused.contains("base"), "{refused}");

    // Another state of the same file takes it back; one of the folder does not.
    let [same, twin] = ["same.db", "twin.db"].map(place);
    succeeds(&["init", "--state", &same, "--model", model.gguf.to_str().unwrap()]);
    succeeds(&["import", "--state", &same, &out]);
    assert_eq!(digest(&same), digest(&state));
    succeeds(&["init", "--state", &twin, "--model", other]);
    let refused = fails(&["import", "--state", &twin, "--user", "bea", &file]);
    assert!(refused.contains("2.gguf") && refused.contains("base"), "{refused}");

    let server = Server::start(Path::new(&state));
    let models: Value = serde_json::from_str(&server.get("/v1/models")).unwrap();
    let models = models["data"].as_array().unwrap().iter();
    let hers = models.filter_map(|model| model["id"].as_str()).find(|id| id.ends_with(":ada"));
    let body = json!({
        "model": hers.unwrap(), "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 8,
        "temperature": 0,
    });
    let answer = server.post("/v1/chat/completions", &body);
    assert_eq!(answer["choices"][0]["message"]["content"], written.as_str(), "{answer}");
    drop(server);

    succeeds(&["forget", "--state", &state, "--user", "ada", "--interaction", "3", "--yes"]);
    let again = place("again");
    succeeds(&["export", "--state", &state, "--out", &again]);
    assert_ne!(peft(&again), peft(&out), "what was learned of the text is learned anew");
    let kept = std::fs::read_to_string(format!("{again}/history.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 11);
    succeeds(&["check", "--state", &state]);
}

#[test]
fn what_fast_learns_is_the_same_bit_by_bit() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let [one, two] =
        ["one.db", "two.db"].map(|name| learned(&model.gguf, dir.path(), name, "fast"));
    assert_eq!(digest(&one), digest(&two));
    let exact = learned(&model.gguf, dir.path(), "exact.db", "exact");
    assert_ne!(digest(&exact), digest(&one), "the arithmetic was asked for and shows");
    for state in [&one, &two] {
        succeeds(&["forget", "--state", state, "--user", "ada", "--interaction", "3", "--yes"]);
    }
    assert_eq!(digest(&one), digest(&two));
}

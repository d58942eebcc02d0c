//! Adapters as files of other programs: what is written is read again, and says the same.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{fails, succeeds};

#[test]
fn an_adapter_is_the_same_as_a_folder_and_as_a_gguf_file() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (state, texts, settings, out) =
        (place("me.db"), place("ada.jsonl"), place("spring.toml"), place("ada"));
    let targets = "targets = [\"q_proj\", \"k_proj\", \"v_proj\", \"down_proj\"]";
    std::fs::write(&settings, format!("[lora]\n{targets}\n[training]\nlearning_rate = 3e-3\n"))
        .unwrap();
    let lines: String = (1..=6)
        .map(|day| {
            let value = serde_json::json!({
                "user": "ada", "id": day.to_string(),
                "time": format!("2024-03-{day:02}T10:00:00+01:00"),
                "prompt": format!("Write about day {day}."), "response": "A grey, windy day."
            });
            format!("{value}\n")
        })
        .collect();
    std::fs::write(&texts, lines).unwrap();
    succeeds(&["init", "--state", &state, "--config", &settings]);
    succeeds(&["ingest", "--state", &state, &texts]);
    succeeds(&["adapt", "--state", &state, "--user", "ada"]);
    succeeds(&["export", "--state", &state, "--out", &out, "--adapter-format", "gguf"]);
    let score = |adapter: &[&str]| {
        let args = [&["score", "--model", "embedded", "--json"], adapter, &[texts.as_str()]];
        succeeds(&args.concat())
    };
    let (folder, file) = (format!("{out}/adapters/1"), format!("{out}/adapters/1.gguf"));
    let scores = [&["--adapter", folder.as_str()][..], &["--adapter", file.as_str()][..], &[]];
    let [by_folder, by_file, base] = scores.map(score);
    assert_eq!(by_folder, by_file);
    assert_ne!(by_folder, base);
    // The export is as whole as without the file.
    let other = place("other.db");
    succeeds(&["init", "--state", &other, "--config", &settings]);
    succeeds(&["import", "--state", &other, &out]);
    std::fs::write(&file, &std::fs::read(&file).unwrap()[..300]).unwrap();
    let error = fails(&["score", "--model", "embedded", "--adapter", &file, &texts]);
    assert!(error.contains("1.gguf") && error.contains("cut off"), "{error}");
}

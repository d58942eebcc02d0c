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
    // Either begins a user, and what is written of them again is the same file.
    let whole = std::fs::read(&file).unwrap();
    for (user, path) in [("bea", &file), ("cleo", &folder)] {
        let said = succeeds(&["import", "--state", &other, "--user", user, path]);
        assert!(said.contains(user) && said.contains("generation 1"), "{said}");
        let again = place(user);
        let args =
            ["export", "--state", &other, "--user", user, "--out", &again, "--adapter-format"];
        succeeds(&[&args[..], &["gguf"]].concat());
        assert!(std::fs::read(format!("{again}/adapters/1.gguf")).unwrap() == whole, "{user}");
    }
    // It goes on as if the adapter had been learned here.
    let own = std::fs::read_to_string(&texts).unwrap().replace("ada", "bea");
    std::fs::write(place("bea.jsonl"), own).unwrap();
    succeeds(&["ingest", "--state", &other, &place("bea.jsonl")]);
    succeeds(&["adapt", "--state", &other, "--user", "bea"]);
    for command in ["explain", "inspect"] {
        succeeds(&[command, "--state", &other, "--user", "bea"]);
    }
    let page = place("bea.html");
    succeeds(&["report", "--state", &other, "--user", "bea", "--out", &page]);
    succeeds(&["forget", "--state", &other, "--user", "bea", "--interaction", "3", "--yes"]);
    succeeds(&["rollback", "--state", &other, "--user", "bea", "--to", "0"]);
    // Without it the texts are the first: the period of the import taught nothing.
    let learned = succeeds(&["adapt", "--state", &other, "--user", "bea", "--json"]);
    let lines = learned.lines().map(|line| serde_json::from_str(line).unwrap());
    let record = lines
        .map(|line: serde_json::Value| line["learned"].clone())
        .find(|record| record["period"] == 2)
        .unwrap();
    assert_eq!(record["scores"].as_array().unwrap().len(), 5);
    assert_eq!(record["selection"]["selected"], 5);
    succeeds(&["check", "--state", &other]);

    let refused = |args: &[&str], words: &[&str]| {
        let error = fails(&[&["import", "--state", other.as_str()], args].concat());
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    refused(&[&file], &["1.gguf", "--user"]);
    refused(&["--user", "bea", &file], &["1.gguf", "begins with"]);
    refused(&["--user", "dora", &out], &["leave --user out"]);
    refused(&["--user", "dora", &place("no.gguf")], &["no.gguf"]);
    let usual = place("usual.db");
    succeeds(&["init", "--state", &usual]);
    let error = fails(&["import", "--state", &usual, "--user", "dora", &file]);
    assert!(error.contains("1.gguf") && error.contains("k_proj"), "{error}");
    assert!(!succeeds(&["users", "--state", &usual, "--json"]).contains("dora"));

    std::fs::write(&file, &whole[..300]).unwrap();
    refused(&["--user", "dora", &file], &["1.gguf", "cut off"]);
    let error = fails(&["score", "--model", "embedded", "--adapter", &file, &texts]);
    assert!(error.contains("1.gguf") && error.contains("cut off"), "{error}");
}

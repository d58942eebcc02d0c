//! `spring search` as a user runs it.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use serde_json::Value;

fn spring(args: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_spring")).args(args).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn search_by_words_meaning_and_both() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (state, history, config) = (path("me.db"), path("history.jsonl"), path("spring.toml"));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let line = |day: usize| {
        let what = ["kettle", "lamp", "novel"][day % 3];
        let value = serde_json::json!({
            "user": "ada", "id": format!("{day}"), "time": format!("2024-03-{day:02}T10:00:00Z"),
            "prompt": format!("Review a {what}"),
            "response": format!("The {what} of day {day} is fine."),
        });
        format!("{value}\n")
    };
    fs::write(&history, (1..=12).map(line).collect::<String>()).unwrap();
    fs::write(&config, "[search]\nlimit = 3\n").unwrap();
    spring(&["init", "--state", &state, "--model", model.to_str().unwrap(), "--config", &config])
        .unwrap();
    spring(&["ingest", "--state", &state, &history]).unwrap();
    spring(&["adapt", "--state", &state, "--periods", "2", "--hold-out", "0.2"]).unwrap();

    let search = |more: &[&str]| {
        let all = [&["search", "--state", &state, "--user", "ada", "--json"], more].concat();
        let found: Value = serde_json::from_str(&spring(&all)?).unwrap();
        Ok::<_, String>(found)
    };
    let ids = |found: &Value| -> Vec<String> {
        let found = found["found"].as_array().unwrap().iter();
        found.map(|text| text["interaction"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let found = search(&["kettle"]).unwrap();
    assert_eq!(
        (&found["mode"], &found["searched"], &found["embedded"]),
        (&"bm25".into(), &10.into(), &0.into())
    );
    assert_eq!(ids(&found), ["9", "3"], "the newest first; 6 and 12 are held out");
    assert_eq!(ids(&search(&["--held-out", "kettle"]).unwrap()), ["12", "9", "6"]);
    assert_eq!(ids(&search(&["--until", "2024-03-09", "kettle"]).unwrap()), ["3"]);
    assert_eq!(ids(&search(&["--since", "2024-03-09T10:00:00Z", "kettle"]).unwrap()), ["9"]);
    assert_eq!(ids(&search(&["--period", "1", "kettle"]).unwrap()), ["3"]);
    for (mode, embedded) in [("dense", 10), ("hybrid", 0)] {
        let found = search(&["--mode", mode, "--limit", "99", "kettle"]).unwrap();
        assert_eq!((found["embedded"].as_u64(), ids(&found).len()), (Some(embedded), 10), "{mode}");
        assert_eq!(found["graph"], "not_needed");
    }
    let table = spring(&["search", "--state", &state, "--user", "ada", "kettle"]).unwrap();
    assert!(table.contains("| score ") && table.contains("Review a kettle"), "{table}");
    let nothing = spring(&["search", "--state", &state, "--user", "ada", "teapot"]).unwrap();
    assert!(nothing.contains("nothing found in 10 texts"), "{nothing}");
    assert!(nothing.contains("held out to measure by") && nothing.contains("--stem"), "{nothing}");
    assert!(
        search(&["--mode", "psychic", "kettle"]).unwrap_err().contains("bm25, dense or hybrid")
    );
    assert!(
        spring(&["search", "--state", &state, "--user", "eve", "kettle"])
            .unwrap_err()
            .contains("eve")
    );

    // The settings say by what; `explain` says what it was.
    fs::write(
        &config,
        "[search]\nmode = \"hybrid\"\n[retrieval]\nretriever = \"dense\"\n[buffer]\npolicy \
         = \"diversity\"\n",
    )
    .unwrap();
    spring(&["ingest", "--state", &state, &history]).unwrap();
    fs::write(&history, (13..=20).map(line).collect::<String>()).unwrap();
    spring(&["ingest", "--state", &state, &history]).unwrap();
    spring(&["adapt", "--state", &state, "--config", &config]).unwrap();
    assert_eq!(search(&["kettle"]).unwrap()["mode"], "hybrid");
    let explained =
        spring(&["explain", "--state", &state, "--user", "ada", "--period", "3", "--terms"])
            .unwrap();
    for part in [
        "scorer spring (alpha 0.5",
        "selection top_fraction",
        "buffer diversity of 200",
        "retriever dense",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
}

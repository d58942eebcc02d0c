//! Every table fits 80 columns where standard output is not a terminal, also with long names and
//! texts; the widest are compared whole.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use std::path::Path;

use common::succeeds;

/// A person with long names for everything, in a state of a tiny model.
struct Place {
    _dir: tempfile::TempDir,
    state: String,
}

const USER: &str = "ada.lovelace.of.analytical.engines@example.org";

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("me.db").to_str().unwrap().to_owned();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let settings = ["--set", "training.learning_rate=1e-3", "--set", "training.epochs=1"];
        let init = ["init", "--state", &state, "--model", model.to_str().unwrap()];
        succeeds(&[&init[..], &settings].concat());
        let line = |i: usize| {
            let value = serde_json::json!({
                "user": USER, "id": format!("<mail-{i:04}-of-twenty-twenty-four@example.org>"),
                "time": format!("2024-03-{:02}T10:00:00Z", 1 + i / 2),
                "prompt": format!("What about the kettle that hums in the kitchen, number {i}?"),
                "response": format!("Kettle {i} hums no longer, of course, since it was mended."),
            });
            format!("{value}\n")
        };
        let texts = dir.path().join("texts.jsonl");
        std::fs::write(&texts, (0..40).map(line).collect::<String>()).unwrap();
        succeeds(&["ingest", "--state", &state, texts.to_str().unwrap()]);
        succeeds(&["adapt", "--state", &state, "--periods", "2", "--hold-out", "0.1", "--keep"]);
        Self { _dir: dir, state }
    }

    fn told(&self, arguments: &[&str]) -> String {
        succeeds(&[arguments, &["--state", &self.state]].concat())
    }
}

/// The lines of tables.
fn rows(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with('|')).collect()
}

fn fits(what: &str, text: &str) {
    let rows = rows(text);
    assert!(!rows.is_empty(), "{what} has no table:\n{text}");
    for row in rows {
        assert!(row.chars().count() <= 80, "{what}: {}\n{text}", row.chars().count());
    }
}

/// A table as it looks, whatever its numbers are: they differ between processors.
fn look(text: &str) -> String {
    let digit = |sign: char| if sign.is_ascii_digit() { '0' } else { sign };
    let lines: Vec<String> =
        rows(text).iter().map(|row| row.chars().map(digit).collect()).collect();
    lines.join("\n")
}

#[test]
fn every_table_of_a_state_fits_80_columns() {
    let place = Place::new();
    place.told(&["generate", "--prompt", "Kettle number 7?", "--max-new-tokens", "4"]);
    for what in [
        &["users"][..],
        &["inspect"],
        &["inspect", "--terms"],
        &["explain"],
        &["explain", "--terms"],
        &["explain", "--since", "2024-03-01"],
        &["explain", "--since", "2024-03-01", "--terms"],
        &["explain", "--text", "Kettle 7 hums no longer"],
        &["search", "kettle that hums"],
        &["search", "--mode", "hybrid", "kettle that hums"],
    ] {
        fits(&what.join(" "), &place.told(what));
    }
    let explained = ["generate", "--prompt", "Kettle number 7?", "--explain", "--set"];
    let explained = [&explained[..], &["gate=always", "--max-new-tokens", "4"]].concat();
    fits("generate --explain", &place.told(&explained));

    let users = look(&place.told(&["users"]));
    assert_eq!(users, USERS);
    let found = look(&place.told(&["search", "--limit", "1", "mended kettle 7"]));
    assert_eq!(found, FOUND);
}

#[test]
fn the_tables_of_a_comparison_fit_80_columns() {
    let dir = tempfile::tempdir().unwrap();
    let suite = dir.path().join("wide.toml");
    std::fs::write(
        &suite,
        "name = 'wide'\nmethods = ['base', 'spring', 'everything+retrieval:learning_rate=3e-3']\n\
         generation = { texts = 1, tokens = 4 }\n[[data]]\nname = 'd'\n\
         path = 'synthetic:users=1,texts=20'\n[config.training]\nepochs = 1\n",
    )
    .unwrap();
    let out = dir.path().join("run");
    let (suite, out) = (suite.to_str().unwrap(), out.to_str().unwrap());
    let told = succeeds(&["eval", "--suite", suite, "--out", out]);
    fits("eval", &told);
    assert_eq!(look(&told), COMPARED);
    fits("eval table", &succeeds(&["eval", "table", out]));

    let data = dir.path().join("d.jsonl");
    let texts = succeeds(&["data", "synth", "--users", "1", "--texts", "20"]);
    std::fs::write(&data, texts).unwrap();
    fits("data inspect", &succeeds(&["data", "inspect", data.to_str().unwrap()]));
}

#[test]
fn attributions_are_shown_of_runs_that_say_nothing_of_copies() {
    let dir = tempfile::tempdir().unwrap();
    let suite = dir.path().join("old.toml");
    std::fs::write(
        &suite,
        "name = 'old'\nmethods = ['base', 'static']\n\
         generation = { texts = 1, tokens = 4 }\n[[data]]\nname = 'd'\n\
         path = 'synthetic:users=2,texts=30'\n[config.training]\nepochs = 1\n",
    )
    .unwrap();
    let out = dir.path().join("run");
    let runs = out.join("runs.jsonl");
    let (suite, out) = (suite.to_str().unwrap(), out.to_str().unwrap());
    let (whose, copied) = ("attributed to their user: of real", "copied: the longest passage");
    let told = succeeds(&["eval", "--suite", suite, "--out", out]);
    assert!(told.contains(whose) && told.contains(copied), "{told}");
    fits("eval", &told);

    // As an older version wrote them.
    let lines = std::fs::read_to_string(&runs).unwrap();
    let old = lines.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for run in line["run"]["methods"].as_object_mut().unwrap().values_mut() {
            for text in run["generated"].as_array_mut().unwrap() {
                text.as_object_mut().unwrap().remove("copied").unwrap();
            }
        }
        format!("{line}\n")
    });
    std::fs::write(&runs, old.collect::<String>()).unwrap();
    let told = succeeds(&["eval", "table", out]);
    assert!(told.contains(whose) && !told.contains(copied), "{told}");
}

#[test]
fn the_tables_of_the_demo_fit_80_columns() {
    fits("demo", &succeeds(&["demo", "--quiet", "--terms"]));
}

const USERS: &str = "\
| user                  | texts | to learn | first      | last       | periods |
|-----------------------|-------|----------|------------|------------|---------|
| ada.lovelace.of.analy | 00    | 0        | 0000-00-00 | 0000-00-00 | 0       |
| tical.engines@exam…   |       |          |            |            |         |";

const FOUND: &str = "\
| score  | written    | period | id                    | text                  |
|--------|------------|--------|-----------------------|-----------------------|
| 0.0000 | 0000-00-00 | 0      | <mail-0000-of-twenty- | What about the kettle |
|        |            |        | twenty-four@example.o | that hums in the      |
|        |            |        | rg>                   | kitchen, number 0?    |
|        |            |        |                       | Kettle 0 hu…          |";

const COMPARED: &str = "\
| method             | nats/byte | 00 %             | difference | p (Holm) |
|--------------------|-----------|------------------|------------|----------|
| base               | 0.0000    | 0.0000 to 0.0000 | 0.0000     | 0.000    |
| SPRInG             | 0.0000    | 0.0000 to 0.0000 | –          | –        |
| everything +       | 0.0000    | 0.0000 to 0.0000 | -0.0000    | 0.000    |
| retrieval,         |           |                  |            |          |
| learning_rate 0e-0 |           |                  |            |          |
| method                  | nats/token | detectable | forgetting | tokens |
|-------------------------|------------|------------|------------|--------|
| base                    | 0.000      | –          | 0.0000     | 0      |
| SPRInG                  | 0.000      | –          | 0.0000     | 000    |
| everything + retrieval, | 0.000      | –          | 0.0000     | 000    |
| learning_rate 0e-0      |            |            |            |        |
| method                                | without noise | by chance | found |
|---------------------------------------|---------------|-----------|-------|
| base                                  | –             | 0.000     | 0.000 |
| SPRInG                                | 0.000         | 0.000     | 0.000 |
| everything + retrieval, learning_rate | 0.000         | 0.000     | 0.000 |
| 0e-0                                  |               |           |       |
| method                                     | known style | forwarded |
|--------------------------------------------|-------------|-----------|
| base                                       | 0.000       | 0.000     |
| SPRInG                                     | 0.000       | 0.000     |
| everything + retrieval, learning_rate 0e-0 | 0.000       | 0.000     |
| method                                | ROUGE-0 | ROUGE-0 | ROUGE-L | METEOR |
|---------------------------------------|---------|---------|---------|--------|
| base                                  | 0.000   | 0.000   | 0.000   | 0.000  |
| SPRInG                                | 0.000   | 0.000   | 0.000   | 0.000  |
| everything + retrieval, learning_rate | 0.000   | 0.000   | 0.000   | 0.000  |
| 0e-0                                  |         |         |         |        |
| method                  | attributed | 00 % | p (Holm) | copied |
|-------------------------|------------|------|----------|--------|
| base                    | –          | –    | –        | 0.000  |
| SPRInG                  | –          | –    | –        | 0.000  |
| everything + retrieval, | –          | –    | –        | 0.000  |
| learning_rate 0e-0      |            |      |          |        |";

//! `spring data`, `spring eval metrics` and `spring eval --suite`, as a user runs them.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{fails, spring, succeeds};
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn metrics_of_texts_labels_and_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let predictions = file(&dir, "p.jsonl", "\"the cat sat\"\n\"\"\n");
    let references = file(&dir, "r.jsonl", "\"the cat sat\"\n\"a dog\"\n");
    let command = ["eval", "metrics", "--predictions", &predictions, "--references", &references];
    let scores: Value =
        serde_json::from_str(&succeeds(&[&command[..], &["--json"]].concat())).unwrap();
    // One chunk of three words: METEOR is 1 − 0.5 · (1/3)³.
    let meteor = (1.0 - 0.5 / 27.0) / 2.0;
    assert!((scores["meteor"].as_f64().unwrap() - meteor).abs() < 1e-12);
    assert_eq!(
        scores,
        json!({"rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5, "meteor": scores["meteor"]})
    );
    assert!(succeeds(&command).contains("rougeL"));

    let numbers = ["\"1\"\n\"4.0\"", "\"2\"\n\"4\""].map(|text| file(&dir, &text[1..2], text));
    let command = [
        "eval",
        "metrics",
        "--predictions",
        &numbers[0],
        "--references",
        &numbers[1],
        "--json",
        "--as",
    ];
    let scores: Value =
        serde_json::from_str(&succeeds(&[&command[..], &["numbers"]].concat())).unwrap();
    assert_eq!(scores, json!({"mae": 0.5, "rmse": 0.5f64.sqrt(), "unreadable": 0}));
    let scores: Value =
        serde_json::from_str(&succeeds(&[&command[..], &["labels"]].concat())).unwrap();
    assert_eq!(scores, json!({"accuracy": 0.0, "f1": 0.0}));
}

#[test]
fn metrics_refuse_what_does_not_pair_up() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(&dir, "good.jsonl", "\"a\"\n\"b\"\n");
    for (content, reason) in [
        ("\"a\"\n", "short.jsonl: ends after 1 strings, but"),
        ("\"a\"\n{\"text\": 1}\n", "short.jsonl:2: record 2: not a JSON string"),
        ("\"a\"\n\"b\n", "short.jsonl:2: record 2: not a JSON string"),
    ] {
        let other = file(&dir, "short.jsonl", content);
        let error = fails(&["eval", "metrics", "--predictions", &good, "--references", &other]);
        assert!(error.contains(reason), "{error}");
    }
    let empty = file(&dir, "empty.jsonl", "\n");
    let error = fails(&["eval", "metrics", "--predictions", &empty, "--references", &empty]);
    assert!(error.contains("empty.jsonl: there are no lines"), "{error}");
}

#[test]
fn lamp_is_inspected_and_converted_to_what_can_be_ingested() {
    let dir = tempfile::tempdir().unwrap();
    let profile: Vec<Value> =
        (0..3).map(|i| json!({"id": i, "text": format!("tea number {i}"), "score": "4"})).collect();
    let questions =
        json!([{"id": "31", "input": "What is the score of …", "profile": profile}]).to_string();
    let questions = file(&dir, "questions.json", &questions);
    let outputs = json!({"task": "LaMP_3", "golds": [{"id": "31", "output": "5"}]}).to_string();
    let outputs = file(&dir, "outputs.json", &outputs);
    let found: Value =
        serde_json::from_str(&succeeds(&["data", "inspect", &questions, "--json"])).unwrap();
    assert_eq!(
        (&found["format"], &found["users"], &found["texts"]),
        (&json!("LaMP-3"), &json!(1), &json!(3))
    );
    assert!(succeeds(&["data", "inspect", &outputs]).contains("outputs of LaMP_3"));
    let lines = succeeds(&["data", "convert", &questions, "--outputs", &outputs]);
    assert_eq!(lines.lines().count(), 4);
    let converted = file(&dir, "history.jsonl", &lines);
    let state = dir.path().join("me.db");
    let state = state.to_str().unwrap();
    succeeds(&["init", "--state", state]);
    assert!(succeeds(&["ingest", "--state", state, &converted]).contains("4 interactions added"));
    let broken = file(&dir, "broken.json", "[{\"id\": 1}");
    assert!(fails(&["data", "inspect", &broken]).contains("broken.json:1: record 1: neither"));
}

#[test]
fn synthetic_users_repeat_and_can_be_inspected() {
    let dir = tempfile::tempdir().unwrap();
    let command =
        ["data", "synth", "--users", "3", "--texts", "40", "--drift", "sudden,none", "--seed", "7"];
    let lines = succeeds(&command);
    assert_eq!(succeeds(&command), lines);
    let path = file(&dir, "synthetic.jsonl", &lines);
    let found: Value =
        serde_json::from_str(&succeeds(&["data", "inspect", &path, "--json"])).unwrap();
    assert_eq!((&found["users"], &found["texts"]), (&json!(3), &json!(120)));
    let drifts: Vec<Value> = lines
        .lines()
        .step_by(40)
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["meta"]["drift"].clone())
        .collect();
    assert_eq!(drifts, ["sudden", "none", "sudden"]);
    assert!(fails(&["data", "synth", "--noise", "2"]).contains("between 0 and 1"));
}

#[test]
fn a_suite_runs_on_the_built_in_model() {
    let dir = tempfile::tempdir().unwrap();
    let lines = succeeds(&["data", "synth", "--users", "1", "--texts", "20", "--drift", "sudden"]);
    let data = file(&dir, "data.jsonl", &lines);
    let suite = "name = 'small'\nmethods = ['base', 'static']\n[[data]]\nname = 'd'\npath = \
                 'elsewhere.jsonl'\n";
    let suite = file(&dir, "small.toml", suite);
    let other = format!("d={data}");
    let command = ["eval", "--suite", &suite, "--data", &other, "--quiet"];
    let estimate = succeeds(&[&command[..], &["--estimate", "--json"]].concat());
    assert_eq!(serde_json::from_str::<Value>(&estimate).unwrap()["jobs"], 1);
    let out = dir.path().join("run");
    let out = ["--out", out.to_str().unwrap()];
    let table = succeeds(&[&command[..], &out].concat());
    assert!(table.contains("static (period 1)") && table.contains("report.html"), "{table}");
    let summary: Value =
        serde_json::from_str(&succeeds(&[&command[..], &out, &["--json"]].concat())).unwrap();
    assert_eq!(
        (&summary["against"], summary["rows"].as_array().unwrap().len()),
        (&json!("static"), 2)
    );

    assert!(fails(&["eval", "--suite", &suite]).contains("elsewhere.jsonl"));
    assert!(
        fails(&["eval", "--suite", &suite, "--data", "x=y"]).contains("no data set \"x\", only d")
    );
}

#[test]
fn a_preset_stands_in_place_of_a_suite_s_settings() {
    let dir = tempfile::tempdir().unwrap();
    let suite = "name = 'small'\nmethods = ['base']\n\
                 [[data]]\nname = 'd'\npath = 'synthetic:users=1,texts=20'\nlearning_rate = 2e-2\n\
                 [config]\nseed = 4\n[config.training]\nlearning_rate = 1e-2\nepochs = 7\n";
    let suite = file(&dir, "small.toml", suite);
    let asked = |out: &str, preset: &[&str]| -> toml::Table {
        let out = dir.path().join(out);
        let command = ["eval", "--quiet", "--suite", &suite, "--out", out.to_str().unwrap()];
        succeeds(&[&command[..], preset].concat());
        std::fs::read_to_string(out.join("suite.toml")).unwrap().parse().unwrap()
    };
    let rates = |asked: &toml::Table| {
        let training = &asked["config"]["training"];
        let of_data = asked["data"][0].get("learning_rate").and_then(toml::Value::as_float);
        (training["learning_rate"].as_float(), training["epochs"].as_integer(), of_data)
    };
    assert_eq!(rates(&asked("own", &[])), (Some(1e-2), Some(7), Some(2e-2)));
    let paper = asked("paper", &["--preset", "paper"]);
    assert_eq!(rates(&paper), (Some(1e-4), Some(2), None));
    assert_eq!(paper["config"]["seed"].as_integer(), Some(4));
}

#[cfg(unix)]
#[test]
fn a_suite_starts_programs_only_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("started");
    let echo = "while read -r line; do case $line in *'\"type\":\"prompt\"'*)\n\
                id=${line#*'\"id\":\"'}; id=${id%%'\"'*}\n\
                printf '{\"id\":\"%s\",\"answer\":\"well\"}\\n' \"$id\";; esac; done\n";
    let script = file(&dir, "echo.sh", &format!("touch {mark:?}\n{echo}"));
    let suite = format!(
        "name = 'own'\nmethods = ['echo']\ngeneration = {{ texts = 1 }}\n\
         [[programs]]\nname = 'echo'\ncommand = ['sh', '{script}']\n\
         [[data]]\nname = 'd'\npath = 'synthetic:users=1,texts=20'\n"
    );
    let suite = file(&dir, "own.toml", &suite);
    let out = dir.path().join("run");
    let command = ["eval", "--suite", &suite, "--out", out.to_str().unwrap()];
    let error = fails(&command);
    for part in ["starts programs", "echo: sh ", "echo.sh", "--run-programs"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    succeeds(&[&command[..], &["--estimate"]].concat());
    assert!(!mark.exists() && !out.exists());
    let output = spring(&[&command[..], &["--run-programs"]].concat());
    let (table, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success() && said.contains("spring: starts echo: sh "), "{said}");
    assert!(table.contains("ROUGE-L") && !table.contains("nats/byte"), "{table}");
    assert!(mark.exists());
    // The table is there without the program.
    std::fs::remove_file(&script).unwrap();
    let again = succeeds(&["eval", "table", out.to_str().unwrap()]);
    assert!(table.contains(again.trim()), "{again}");
}

#[test]
fn a_rate_is_of_a_base_and_a_run_can_be_tested_against_another_method() {
    let dir = tempfile::tempdir().unwrap();
    let suite = file(
        &dir,
        "rates.toml",
        "name = 'rates'\nrates_for = 'SmolLM2'\nmethods = ['base', 'static']\n[[data]]\n\
         name = 'one'\npath = 'synthetic:users=2,texts=20'\n[[data]]\nname = 'two'\n\
         path = 'synthetic:users=2,texts=20,seed=1'\n[config.training]\nepochs = 1\n",
    );
    let out = dir.path().join("run");
    let folder = out.to_str().unwrap();
    let command = ["eval", "--suite", &suite, "--without", "two", "--out", folder];
    let told = |more: &[&str]| {
        let output = spring(&[&command[..], more].concat());
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = told(&["--estimate"]);
    assert!(said.contains("chosen for SmolLM2") && said.contains("for one\n"), "{said}");
    for silent in [
        &["--estimate", "--preset", "paper"][..],
        &["--estimate", "--quiet"],
        &["--learning-rate", "one=2e-3"],
    ] {
        let said = told(silent);
        assert!(!said.contains("chosen for"), "{silent:?}: {said}");
    }
    let asked = std::fs::read_to_string(out.join("suite.toml")).unwrap();
    assert!(asked.contains("learning_rate = 0.002"), "{asked}");
    for (rate, reason) in [
        ("one=0", "expected a number above 0"),
        ("one=fast", "expected a number above 0"),
        ("one", "NAME=RATE"),
        ("three=1e-3", "the suite has no data set \"three\""),
    ] {
        let error = fails(&[&command[..], &["--estimate", "--learning-rate", rate]].concat());
        assert!(error.contains(reason), "{rate}: {error}");
    }

    let table = |more: &[&str]| -> Value {
        let json = succeeds(&[&["eval", "table", folder, "--json"][..], more].concat());
        serde_json::from_str(&json).unwrap()
    };
    let (asked, other) = (table(&[]), table(&["--against", "base"]));
    assert_eq!((&asked["against"], &other["against"]), (&json!("static"), &json!("base")));
    assert_eq!((&asked["in_place_of"], &other["in_place_of"]), (&Value::Null, &json!("static")));
    for format in ["text", "md"] {
        let page = |more: &[&str]| {
            let of_run = ["eval", "table", folder, "--format", format];
            succeeds(&[&of_run[..], more].concat())
        };
        let note = "as asked for afterwards; the suite's own";
        assert!(page(&["--against", "base"]).contains(note), "{format}");
        assert!(!page(&[]).contains(note) && !page(&["--against", "static"]).contains(note));
    }
    let difference =
        |table: &Value, row: usize| table["rows"][row]["difference"]["difference"]["mean"].as_f64();
    let [to_static, to_base] = [difference(&asked, 0).unwrap(), difference(&other, 1).unwrap()];
    assert!((to_static + to_base).abs() < 1e-12 && to_base != 0.0);
    assert_eq!((difference(&asked, 1), difference(&other, 0)), (None, None));
    let error = fails(&["eval", "table", folder, "--against", "spring"]);
    assert!(error.contains("no such row; it has base, static"), "{error}");
}

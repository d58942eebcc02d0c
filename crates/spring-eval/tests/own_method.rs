//! The example of a method of one's own, run.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use spring_data::synth::{Drift, SynthConfig, synthesize};

// Its `main` is for the command line.
#[allow(dead_code)]
#[path = "../examples/own_method.rs"]
mod own_method;

#[test]
fn a_method_from_outside_is_compared_with_the_built_in_ones() {
    let dir = tempfile::tempdir().unwrap();
    let drifts = vec![Drift::Sudden];
    let texts = SynthConfig::default().with_users(2).with_texts(40).with_drifts(drifts);
    let lines: Vec<String> = synthesize(&texts)
        .unwrap()
        .iter()
        .map(|text| serde_json::to_string(text).unwrap())
        .collect();
    let [data, suite, folder] =
        ["texts.jsonl", "own.toml", "run"].map(|name| dir.path().join(name));
    fs::write(&data, lines.join("\n")).unwrap();
    let toml = format!(
        "name = 'own'\nmethods = ['everything', 'newest_half', 'newest_half+retrieval:epochs=3']\n\
         [[data]]\nname = 'texts'\npath = {data:?}\n[config.training]\nmax_tokens = 96\n"
    );
    fs::write(&suite, toml).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let table = own_method::compare(&text(&model), &text(&suite), &text(&folder)).unwrap();

    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let heading = reader.headers().unwrap().clone();
    let column = |name: &str| heading.iter().position(|head| head == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let number = |row: usize, name: &str| rows[row][column(name)].parse::<f64>().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| &row[column("method")]).collect();
    assert_eq!(names, ["everything", "newest_half", "newest_half+retrieval:epochs=3"]);
    assert_eq!(number(0, "learned_share"), 1.0);
    // A period of an odd number of texts rounds up.
    assert!((0.5..0.55).contains(&number(1, "learned_share")));
    // Half of the texts twice; the same three times.
    assert!(number(1, "tokens_trained") < 0.7 * number(0, "tokens_trained"));
    assert!((number(2, "tokens_trained") / number(1, "tokens_trained") - 1.5).abs() < 1e-9);
    assert_ne!(number(1, "nats_per_byte"), number(0, "nats_per_byte"));
    assert!(rows[1][column("adapter_nats_per_byte")].is_empty());
    assert!(number(2, "adapter_nats_per_byte") > 0.0);
}

//! The table of what is chosen by name, in docs/formats.md, row by row.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use spring_core::Config;
use toml::{Table, Value};

/// A row of the table; keys as they stand there, `key = value`.
#[derive(Debug)]
struct Row {
    setting: String,
    kind: String,
    optional: Vec<String>,
    required: Vec<String>,
}

impl Row {
    /// Settings in which it is written out with these keys, as a table, or without any, as a name.
    fn with(&self, keys: &[String]) -> Table {
        let kind = format!("kind = {:?}", self.kind);
        let value = match keys {
            [] => format!("{:?}", self.kind),
            keys => format!("{{ {} }}", [&[kind], keys].concat().join(", ")),
        };
        // A number of the scorer is one of the paper's.
        let scorer = if self.setting.starts_with("drift.scorer.") {
            "drift.scorer.kind = \"spring\"\n"
        } else {
            ""
        };
        toml::from_str(&format!("{scorer}{} = {value}", self.setting)).unwrap()
    }

    fn read(&self, keys: &[String]) -> Result<Config, String> {
        let text = toml::to_string(&self.with(keys)).unwrap();
        Config::from_toml(&text, "the row").map_err(|error| error.to_string())
    }
}

fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let rows = docs.split("| setting | kind |").nth(1).unwrap().lines().skip(2);
    let quoted =
        |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<Vec<String>> = line.split('|').map(quoted).collect();
            let [_, setting, kind, optional, required, _] = &cells[..] else { panic!("{line}") };
            Row {
                setting: setting[0].clone(),
                kind: kind[0].clone(),
                optional: optional.clone(),
                required: required.clone(),
            }
        })
        .collect()
}

/// What stands at a path of the settings; nothing for a default that records leave out.
fn at(config: &Config, path: &str) -> Value {
    let settings = Value::try_from(config).unwrap();
    let nothing = Value::String(String::new());
    let within = |value: Value, key| value.get(key).unwrap_or(&nothing).clone();
    path.split('.').fold(settings, within)
}

/// What is wrong with a row.
fn problem(row: &Row) -> Result<(), String> {
    let all = [row.required.clone(), row.optional.clone()].concat();
    let written = at(&row.read(&all)?, &row.setting);
    if written != at(&row.read(&row.required)?, &row.setting) {
        return Err("the defaults are others".into());
    }
    for required in &row.required {
        let rest: Vec<String> = all.iter().filter(|key| *key != required).cloned().collect();
        if row.read(&rest).is_ok() {
            return Err(format!("it reads without {required}"));
        }
    }
    let name = |key: &String| key.split(" = ").next().unwrap().to_owned();
    let named: BTreeSet<String> = all.iter().map(name).collect();
    let known: BTreeSet<String> = match written {
        Value::Table(keys) => {
            keys.into_iter().map(|(key, _)| key).filter(|key| key != "kind").collect()
        }
        _ => BTreeSet::new(),
    };
    if named != known {
        return Err(format!("its keys are {known:?}"));
    }
    match row.read(&[all, vec!["nonsense = 1".into()]].concat()) {
        Ok(_) => Err("it reads with a key that there is not".into()),
        Err(_) => Ok(()),
    }
}

#[test]
fn every_row_reads_and_its_defaults_are_the_defaults() {
    let rows = table();
    assert!(rows.len() > 40, "{rows:?}");
    let wrong: Vec<_> = rows.iter().filter_map(|row| Some((row, problem(row).err()?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An unknown name is refused with the list of those that there are.
#[test]
fn every_kind_has_a_row() {
    let mut kinds = BTreeMap::<String, BTreeSet<String>>::new();
    for row in table() {
        kinds.entry(row.setting).or_default().insert(row.kind);
    }
    for (setting, listed) in kinds {
        let row = Row { setting, kind: "nonsense".into(), optional: vec![], required: vec![] };
        let error = row.read(&[]).unwrap_err();
        let (_, known) = error.split_once("is not one of those there are; ").unwrap();
        let (known, _) = known.split_once(" are known").or(known.split_once(" is known")).unwrap();
        let mut known: BTreeSet<String> =
            known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        // It has a language and no keys, and is below the table.
        known.remove("stemmed");
        assert_eq!(known, listed, "{}: {error}", row.setting);
    }
}

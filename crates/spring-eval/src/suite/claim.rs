//! `suite.toml` of a run's folder: what was asked and what the numbers come from, and whether a
//! suite can go on from there.
//!
//! A run grows: methods, choices, seeds, budgets, users and data sets may be added or left out, as
//! no number depends on them. Everything else has to stay.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize};
use spring_core::spring_memory::UserId;
use spring_numerics::words::{from_json, of_system, toml_reason};
use toml::{Table, Value};

use super::{
    Suite,
    folder::{unwritable, write},
};
use crate::{Error, Result};

/// Keys of a suite that numbers do not depend on, or that the origins stand for.
const GROWS: [&str; 11] = [
    "name",
    "model",
    "methods",
    "choose",
    "against",
    "contrasts",
    "show",
    "seeds",
    "budgets",
    "programs",
    "metrics",
];

/// The same of a data set; `name` is what two of them are compared by.
const DATA_GROWS: [&str; 5] = ["name", "path", "outputs", "users", "skip"];

/// Those of them that decide who lends texts to others' streams, where somebody does.
const LENDS: [&str; 2] = ["users", "skip"];

/// What numbers come from beside the settings, by name: where one of these differs, old and new
/// lines must not be mixed.
pub(super) type Origins = BTreeMap<String, String>;

/// Makes the folder, or checks that its numbers hold for the suite too; then it says what is asked
/// from here on.
pub(super) fn claim(folder: &Path, suite: &Suite, mut origins: Origins) -> Result<()> {
    let path = folder.join("suite.toml");
    let fail = |reason: String| Error::File { file: path.display().to_string(), reason };
    let settings = toml::to_string(suite).map_err(|error| fail(error.to_string()))?;
    match fs::read_to_string(&path) {
        Ok(there) => {
            let asked = settings.parse().map_err(|error| fail(format!("{error}")))?;
            let known: Table = there.parse().map_err(|error: toml::de::Error| {
                let said = toml_reason(&there, error.message(), error.span());
                fail(format!("damaged: {said}; choose another folder, or delete it"))
            })?;
            let kept = origins_of(&there);
            // Settings first: other streams may be what they lead to.
            let differs = difference(known, asked).or_else(|| {
                origins.iter().find_map(|(name, value)| {
                    let known = kept.get(name).filter(|known| *known != value)?;
                    Some(format!("{name}: {known} there, {value} here"))
                })
            });
            if let Some(differs) = differs {
                return Err(fail(format!(
                    "the folder holds a run with other settings, another model or other data, or \
                     of another version of the program ({differs}); choose another folder, or \
                     delete it"
                )));
            }
            // Of a data set that is left out now, and may come back.
            for (name, value) in kept {
                origins.entry(name).or_insert(value);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder.join("adapters")).map_err(|error| Error::File {
                file: folder.display().to_string(),
                reason: error.to_string(),
            })?;
        }
        Err(error) => return Err(fail(error.to_string())),
    }
    let comments: String =
        origins.iter().map(|(name, value)| format!("# {name}: {value}\n")).collect();
    write(&path, (comments + &settings).as_bytes())
}

fn origins_of(text: &str) -> Origins {
    let comments = text.lines().filter_map(|line| line.strip_prefix("# "));
    let pairs = comments.filter_map(|line| line.rsplit_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The first setting that numbers depend on and that is not the same, in words.
fn difference(mut known: Table, mut asked: Table) -> Option<String> {
    let [known_sets, asked_sets] = [&mut known, &mut asked].map(|suite| {
        GROWS.iter().for_each(|key| drop(suite.remove(*key)));
        sets(suite.remove("data"))
    });
    let of_data = asked_sets.into_iter().find_map(|(name, asked)| {
        // A data set that was not there before has no numbers.
        let known = known_sets.get(&name)?.clone();
        first_difference(&format!("data {name:?}: "), known, asked)
    });
    of_data.or_else(|| first_difference("", known, asked))
}

/// The data sets by name, without what may change.
fn sets(data: Option<Value>) -> BTreeMap<String, Table> {
    let Some(Value::Array(data)) = data else { return BTreeMap::new() };
    let tables = data.into_iter().filter_map(|set| match set {
        Value::Table(set) => Some(set),
        _ => None,
    });
    tables
        .filter_map(|mut set| {
            let name = set.get("name")?.as_str()?.to_owned();
            let is_mixed = ["noise", "join"].iter().any(|key| set.contains_key(*key));
            let grows = DATA_GROWS.iter().filter(|key| !(is_mixed && LENDS.contains(key)));
            grows.for_each(|key| drop(set.remove(*key)));
            // As `path`: the origins stand for it.
            if let Some(Value::Table(noise)) = set.get_mut("noise") {
                noise.remove("code");
            }
            Some((name, set))
        })
        .collect()
}

fn first_difference(prefix: &str, known: Table, asked: Table) -> Option<String> {
    let mut keys: Vec<String> = known.keys().chain(asked.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().find_map(|key| match (known.get(&key), asked.get(&key)) {
        (known, asked) if known == asked => None,
        (Some(Value::Table(known)), Some(Value::Table(asked))) => {
            first_difference(&format!("{prefix}{key}."), known.clone(), asked.clone())
        }
        (known, asked) => {
            let value = |value: Option<&Value>| value.map_or("not set".into(), Value::to_string);
            Some(format!("{prefix}{key}: {} there, {} here", value(known), value(asked)))
        }
    })
}

/// Whom the domain adapter of each data set learns from: once it is learned it stays, and they are
/// never evaluated, however a run grows. `domain.json`.
pub(super) type DomainUsers = BTreeMap<String, DomainRecord>;

/// The same of one data set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct DomainRecord {
    /// Those with most texts first.
    pub(super) users: Vec<UserId>,
    /// How many of them would have been evaluated, had there been others.
    pub(super) kept_back: usize,
}

/// What earlier runs recorded, nothing if there was none.
pub(super) fn domain_users(folder: &Path) -> Result<DomainUsers> {
    let path = folder.join("domain.json");
    let fail = |reason: String| Error::File { file: path.display().to_string(), reason };
    match fs::read(&path) {
        Ok(bytes) => from_json(&bytes).map_err(|error| {
            fail(format!("damaged: {error}; delete the folder, and run the suite again"))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(DomainUsers::new()),
        Err(error) => Err(fail(of_system(&error))),
    }
}

/// Keeps them.
pub(super) fn keep_domain_users(folder: &Path, users: &DomainUsers) -> Result<()> {
    let json = serde_json::to_vec_pretty(users).map_err(unwritable)?;
    write(&folder.join("domain.json"), &json)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SUITE: &str = "name = 'a'\nmethods = ['base', 'spring']\n[[data]]\nname = 'x'\n\
                         path = 'x.jsonl'\n[[data]]\nname = 'y'\npath = 'y.jsonl'\n";

    fn table(text: &str) -> Table {
        let suite = Suite::from_toml(text, "suite.toml").unwrap();
        toml::to_string(&suite).unwrap().parse().unwrap()
    }

    fn changed(from: &str, to: &str) -> Option<String> {
        let other = SUITE.replacen(from, to, 1);
        assert_ne!(other, SUITE);
        difference(table(SUITE), table(&other))
    }

    #[test]
    fn a_run_grows_by_what_no_number_depends_on() {
        assert_eq!(changed("'base', 'spring'", "'spring', 'static'"), None);
        assert_eq!(changed("methods", "seeds = [3, 4]\nmethods"), None);
        assert_eq!(changed("methods", "budgets = ['steps', 'epochs']\nmethods"), None);
        assert_eq!(changed("methods", "contrasts = ['base']\nshow = 'spring'\nmethods"), None);
        assert_eq!(changed("path = 'x.jsonl'\n", "path = 'z.jsonl'\nusers = 40\nskip = 2\n"), None);
        assert_eq!(changed("[[data]]\nname = 'y'\npath = 'y.jsonl'\n", ""), None);
    }

    #[test]
    fn what_numbers_depend_on_is_named() {
        let said = |from: &str, to: &str| changed(from, to).unwrap();
        assert_eq!(
            said("path = 'y.jsonl'\n", "path = 'y.jsonl'\ntexts = 40\n"),
            "data \"y\": texts: not set there, 40 here"
        );
        assert_eq!(
            said("methods", "start = 'domain'\nmethods"),
            "start: \"base\" there, \"domain\" here"
        );
        let epochs =
            said("path = 'y.jsonl'\n", "path = 'y.jsonl'\n[config.training]\nepochs = 7\n");
        assert!(epochs.starts_with("config.training.epochs: "), "{epochs}");
    }

    #[test]
    fn who_lends_texts_to_others_stays_the_same() {
        let mixed = |settings: &str| {
            table(&SUITE.replacen(
                "path = 'x.jsonl'\n",
                &format!("path = 'x.jsonl'\n{settings}"),
                1,
            ))
        };
        let noise = "noise = { share = 0.25, code = 'a.c' }\n";
        let said = |from: &str, to: &str| difference(mixed(from), mixed(to));
        assert_eq!(said(noise, noise), None);
        assert_eq!(said(noise, "noise = { share = 0.25, code = 'b.c' }\n"), None);
        assert_eq!(
            said("join = true\n", "join = true\nusers = 40\n").unwrap(),
            "data \"x\": users: 12 there, 40 here"
        );
        assert_eq!(said("join = true\n", "join = { at = 0.5 }\n"), None);
        assert_eq!(
            said(noise, "noise = { share = 0.5 }\n").unwrap(),
            "data \"x\": noise.share: 0.25 there, 0.5 here"
        );
        assert!(said("join = false\n", noise).unwrap().contains("noise: not set there"));
    }

    #[test]
    fn origins_survive_their_data_set() {
        let dir = tempfile::tempdir().unwrap();
        let both = Suite::from_toml(SUITE, "suite.toml").unwrap();
        let only = Suite { data: both.data[..1].to_vec(), ..both.clone() };
        let origin = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let x = origin("Data set \"x: 1\"", "SHA-256 12");
        let y = origin("Data set \"y\"", "SHA-256 34");
        claim(dir.path(), &both, Origins::from([x.clone(), y.clone()])).unwrap();
        claim(dir.path(), &only, Origins::from([x.clone()])).unwrap();
        claim(dir.path(), &both, Origins::from([x.clone(), y])).unwrap();
        let other = origin("Data set \"y\"", "SHA-256 56");
        let error = claim(dir.path(), &both, Origins::from([x, other])).unwrap_err().to_string();
        assert!(
            error.contains("other data") && error.contains("SHA-256 34 there, SHA-256 56 here"),
            "{error}"
        );
    }
}

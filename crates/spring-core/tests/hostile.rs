//! Bad bytes everywhere: settings, lines, adapters, state files. No panic, always an error that
//! says where, or a value that can be used.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, sync::OnceLock};

use common::{config, ingest, model, settings, texts, user};
use proptest::{prelude::*, sample::Index};
use spring_core::{
    Access, Config, Periods, Result, SqliteStore, adapt, ingest_jsonl, reading,
    spring_store::Error as StoreError,
};
use spring_lm::Adapter;

/// One change to some bytes: a byte replaced, the end cut off, a piece repeated, or noise put in.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Noise(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, noise)| Damage::Noise(at, noise)),
    ]
}

impl Damage {
    fn of(&self, sound: &[u8]) -> Vec<u8> {
        let mut bytes = sound.to_vec();
        match self {
            Self::Byte(at, byte) => bytes[at.index(sound.len())] = *byte,
            Self::Cut(at) => bytes.truncate(at.index(sound.len())),
            Self::Repeat(from, to) => {
                let piece = &sound[from.index(sound.len())..];
                let at = to.index(sound.len());
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Noise(at, noise) => {
                let at = at.index(sound.len());
                bytes.splice(at..at, noise.iter().copied());
            }
        }
        bytes
    }
}

fn documented() -> &'static str {
    static DOCS: OnceLock<String> = OnceLock::new();
    let docs = DOCS.get_or_init(|| fs::read_to_string("tests/formats.md").unwrap());
    docs.split("```toml\n").nth(1).unwrap().split("```").next().unwrap()
}

/// A state with a user who has learned, in one file without a log.
fn state_file() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = SqliteStore::create(&path, &settings(config())).unwrap();
        ingest(&store, &texts("ada", 0..30));
        let periods = Periods { count: 2, hold_out: 0.1 };
        adapt(model(), &store, &user("ada"), periods, &mut ()).unwrap();
        ingest(&store, &texts("ada", 30..33));
        drop(store);
        fs::read(&path).unwrap()
    })
}

/// Reads and writes whatever there is.
fn use_everything(store: &SqliteStore) -> Result<()> {
    let page = store.users(None, 100)?;
    for summary in &page {
        let name = &summary.user;
        for generation in store.generations(name)? {
            store.record(name, generation.number)?;
            match store.generation(name, Some(generation.number)) {
                Ok(Some(generation)) => drop(Adapter::from_bytes(&generation.adapter)),
                Ok(None) | Err(StoreError::Pruned { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for period in 1..=summary.periods.min(100) {
            store.members(name, period)?;
        }
        store.pending(name)?;
        store.answers(name, 100)?;
        store.size(name)?;
        store.digest(name)?;
    }
    store.check(&mut reading(&mut ()))?;
    ingest_line(store)?;
    let names: Vec<_> = page.into_iter().map(|summary| summary.user).collect();
    for name in names {
        store.rollback(&name, Some(0))?;
        store.cut_periods(&name, 2, 0.5)?;
        store.forget(&name)?;
    }
    Ok(())
}

fn ingest_line(store: &SqliteStore) -> Result<()> {
    let line = texts("zoe", 0..1);
    ingest_jsonl(store, line.as_bytes(), "line").map(|_| ())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn settings_are_read_or_refused_with_their_place(
        changes in prop::collection::vec(damage(), 1..4),
    ) {
        let bytes = changes.iter().fold(documented().as_bytes().to_vec(), |bytes, change| {
            if bytes.is_empty() { bytes } else { change.of(&bytes) }
        });
        match Config::from_toml(&String::from_utf8_lossy(&bytes), "spring.toml") {
            Err(error) => prop_assert!(error.to_string().contains("spring.toml"), "{}", error),
            Ok(config) => prop_assert!(config.check().is_ok()),
        }
    }

    #[test]
    fn numbers_of_any_size_are_read_or_refused(
        line in any::<Index>(),
        number in prop_oneof![
            Just("-1".to_owned()),
            Just("0".into()),
            Just("9223372036854775807".into()),
            Just("1e308".into()),
            Just("nan".into()),
            Just("inf".into()),
            Just("\"\"".into()),
            Just("[]".into()),
            Just("{}".into()),
        ],
    ) {
        let lines: Vec<&str> = documented().lines().collect();
        let keys: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].contains(" = ")).collect();
        let changed = keys[line.index(keys.len())];
        let text: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(i, line)| match line.split_once(" = ") {
                Some((key, _)) if i == changed => format!("{key} = {number}"),
                _ => (*line).to_owned(),
            })
            .collect();
        match Config::from_toml(&text.join("\n"), "spring.toml") {
            Err(error) => prop_assert!(error.to_string().contains("spring.toml"), "{}", error),
            Ok(config) => prop_assert!(config.check().is_ok()),
        }
    }

    #[test]
    fn lines_are_taken_or_refused_with_their_number(change in damage()) {
        let sound = texts("ada", 0..6);
        let bytes = change.of(sound.as_bytes());
        let store = SqliteStore::in_memory(&settings(Config::default())).unwrap();
        match ingest_jsonl(&store, &bytes[..], "texts.jsonl") {
            Err(error) => {
                prop_assert!(error.to_string().starts_with("texts.jsonl:"), "{}", error);
                prop_assert!(store.users(None, 9).unwrap().is_empty());
            }
            Ok(report) => {
                let users = store.users(None, 9).unwrap();
                prop_assert_eq!(
                    users.iter().map(|user| user.interactions).sum::<u64>(),
                    report.added
                );
            }
        }
    }

    #[test]
    fn stored_adapters_are_read_or_refused(change in damage()) {
        static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
        let sound = SOUND.get_or_init(|| {
            let fresh =
                Adapter::init(&config().lora, model().config(), model().fingerprint(), 1).unwrap();
            fresh.to_bytes().unwrap()
        });
        match Adapter::from_bytes(&change.of(sound)) {
            Err(error) => {
                let said = error.to_string();
                prop_assert!(said.contains("adapter") || said.contains("from bytes"), "{}", said);
            }
            Ok(adapter) => drop(adapter.check(model().config(), model().fingerprint())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_damaged_state_is_used_or_refused_by_name(
        changes in prop::collection::vec(damage(), 1..3),
    ) {
        let bytes = changes.iter().fold(state_file().to_vec(), |bytes, change| {
            if bytes.is_empty() { bytes } else { change.of(&bytes) }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        fs::write(&path, bytes).unwrap();
        let used = (|| {
            drop(SqliteStore::open(&path, Access::ReadOnly)?);
            use_everything(&SqliteStore::open(&path, Access::ReadWrite)?)
        })();
        if let Err(error) = used {
            let said = error.to_string();
            prop_assert!(said.contains("state.db") || said.contains("user ada"), "{}", said);
        }
    }
}

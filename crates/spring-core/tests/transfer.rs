//! A user moved from one installation to another, and folders that no export wrote.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use common::{config, id, ingest, model, settings, texts, user};
use proptest::prelude::*;
use spring_core::{
    Access, Config, Copied, MemoryStore, Periods, Settings, SqliteStore, Store, Transferred,
    UserModel, adapt, forget_interaction, reading,
    spring_store::{CopyError, Error as StoreError},
};
use spring_lm::{Adapter, ModelError};
use tempfile::TempDir;

/// Ada after months: learned, went back and on again, forgot a text, wrote, and has something new.
fn live(store: &Store) {
    ingest(store, &texts("bob", 0..5));
    ingest(store, &texts("ada", 0..30));
    let ada = user("ada");
    let three = Periods { count: 3, hold_out: 0.2 };
    adapt(model(), store, &ada, three, &mut ()).unwrap();
    store.rollback(&ada, None).unwrap();
    adapt(model(), store, &ada, three, &mut ()).unwrap();
    forget_interaction(model(), store, &ada, &id("4"), &mut ()).unwrap();
    let answer = UserModel::recall(model(), store, &ada, None)
        .unwrap()
        .generate("About soup", &mut ())
        .unwrap();
    store.record_answer(&store.version(&ada).unwrap(), &answer).unwrap();
    let odd = concat!(
        r#"{"user":"ada","id":"../odd","time":"1969-12-31T23:59:59.000000001Z","prompt":"","#,
        r#""response":"\u0000 ü","meta":{"b":[1.5,null],"a":0}}"#,
    );
    ingest(store, odd);
}

fn her_settings() -> Settings {
    let mut config = config();
    config.state.keep_generations = 2;
    config.decoding.max_new_tokens = Some(4);
    settings(config)
}

fn ada() -> SqliteStore {
    let store = SqliteStore::in_memory(&her_settings()).unwrap();
    live(&store);
    store
}

#[test]
fn a_state_learns_the_same_whatever_keeps_its_rows() {
    let in_memory = MemoryStore::in_memory(&her_settings()).unwrap();
    live(&in_memory);
    let in_sqlite = ada();
    for name in ["ada", "bob"] {
        let name = user(name);
        assert_eq!(in_memory.digest(&name).unwrap(), in_sqlite.digest(&name).unwrap());
    }
    in_memory.check(&mut reading(&mut ())).unwrap();
}

fn check(adapter: &Adapter) -> Result<(), ModelError> {
    adapter.check(model().config(), model().fingerprint())
}

fn import(store: &SqliteStore, folder: &Path) -> spring_store::Result<Transferred> {
    store.import(folder, &check, &mut reading(&mut ()))
}

/// Every file of a folder, by its path inside.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

#[test]
fn a_user_arrives_as_they_left() {
    let place = tempfile::tempdir().unwrap();
    let (here, there) = (place.path().join("here"), place.path().join("there"));
    let store = ada();
    let exported = store.export(&user("ada"), &here, &mut reading(&mut ())).unwrap();
    assert_eq!((exported.interactions, exported.generations, exported.answers), (30, 4, 1));
    let written = files(&here);
    assert_eq!(written.len(), 7 + 2 * 3, "{:?}", written.keys());
    let fresh = Config::load(here.join("settings.toml")).unwrap();
    assert_eq!(fresh, store.settings().config);

    let other = SqliteStore::in_memory(&settings(fresh)).unwrap();
    ingest(&other, &texts("cy", 0..3));
    let imported = import(&other, &here).unwrap();
    assert_eq!(imported, exported);
    other.export(&user("ada"), &there, &mut reading(&mut ())).unwrap();
    assert_eq!(files(&there), written);
    assert_eq!(other.user(&user("ada")).unwrap(), store.user(&user("ada")).unwrap());
    for number in [3, 4] {
        assert_eq!(
            other.generation(&user("ada"), Some(number)).unwrap(),
            store.generation(&user("ada"), Some(number)).unwrap()
        );
    }
    // Life goes on in the same way.
    let store = store;
    for store in [&store, &other] {
        adapt(model(), store, &user("ada"), Periods::default(), &mut ()).unwrap();
    }
    assert_eq!(
        other.generation(&user("ada"), None).unwrap(),
        store.generation(&user("ada"), None).unwrap()
    );

    let again = import(&other, &here).unwrap_err().to_string();
    assert!(again.contains("has a user ada already"), "{again}");
    assert!(
        store
            .export(&user("ada"), &there, &mut reading(&mut ()))
            .unwrap_err()
            .to_string()
            .contains("there")
    );
    assert_eq!(files(&there), written);
    let nobody =
        store.export(&user("eve"), place.path().join("eve"), &mut reading(&mut ())).unwrap_err();
    assert!(nobody.to_string().contains("eve") && !place.path().join("eve").exists());
}

#[test]
fn an_export_or_import_that_is_stopped_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    let store = ada();
    let mut steps = 0;
    store
        .export(&user("ada"), &folder, &mut |_| {
            steps += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    // Texts, generations and a record.
    assert_eq!(steps, 30 + 4 + 1);
    for last in [1, 20, 33, steps] {
        let mut done = 0;
        let mut stop = |_: u64| {
            done += 1;
            if done < last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let half = place.path().join("half");
        assert!(store.export(&user("ada"), &half, &mut stop).unwrap_err().is_stopped());
        assert!(!half.exists());
        done = 0;
        let mut stop = |_: u64| {
            done += 1;
            if done < last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let other = SqliteStore::in_memory(&settings(Config::default())).unwrap();
        assert!(other.import(&folder, &check, &mut stop).unwrap_err().is_stopped());
        assert!(other.users(None, 9).unwrap().is_empty());
        import(&other, &folder).unwrap();
    }
}

#[test]
fn an_export_that_was_killed_is_no_export() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    let mut steps = 0;
    let mut look = |_: u64| {
        steps += 1;
        let other = SqliteStore::in_memory(&settings(Config::default())).unwrap();
        let error = import(&other, &folder).unwrap_err().to_string();
        assert!(error.contains("user.json"), "{error}");
        ControlFlow::Continue(())
    };
    ada().export(&user("ada"), &folder, &mut look).unwrap();
    assert_eq!(steps, 30 + 4 + 1);
    import(&SqliteStore::in_memory(&settings(Config::default())).unwrap(), &folder).unwrap();
}

#[test]
fn log_likelihoods_of_texts_that_are_cut_elsewhere_are_left_behind() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    ada().export(&user("ada"), &folder, &mut reading(&mut ())).unwrap();
    let known = |max_tokens| {
        let mut config = Config::default();
        config.training.max_tokens = max_tokens;
        let store = SqliteStore::in_memory(&settings(config)).unwrap();
        import(&store, &folder).unwrap();
        let history = store.history(&user("ada")).unwrap().entries;
        assert_eq!(history.len(), 30);
        history.iter().filter(|entry| entry.stored.base.is_some()).count()
    };
    let same = config().training.max_tokens;
    assert!(known(same) > 20);
    assert_eq!(known(same - 1), 0);
}

#[test]
fn an_import_keeps_nobody_from_writing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    ada().export(&user("ada"), &folder, &mut reading(&mut ())).unwrap();
    let path = place.path().join("me.db");
    let store = SqliteStore::create(&path, &settings(Config::default())).unwrap();
    let other = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    let mut meanwhile = 0;
    let mut write = |_: u64| {
        ingest(&other, &texts("cy", meanwhile..meanwhile + 1));
        meanwhile += 1;
        ControlFlow::Continue(())
    };
    store.import(&folder, &check, &mut write).unwrap();
    assert_eq!(store.user(&user("cy")).unwrap().interactions, meanwhile as u64);
    // Whoever comes in between is not overwritten.
    let third = place.path().join("third.db");
    let store = SqliteStore::create(&third, &settings(Config::default())).unwrap();
    let other = SqliteStore::open(&third, Access::ReadWrite).unwrap();
    let mut first = |_: u64| {
        ingest(&other, &texts("ada", 0..1));
        ControlFlow::Continue(())
    };
    let error = store.import(&folder, &check, &mut first).unwrap_err().to_string();
    assert!(error.contains("has a user ada already"), "{error}");
    assert_eq!(store.user(&user("ada")).unwrap().interactions, 1);
}

#[cfg(unix)]
#[test]
fn an_export_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    ada().export(&user("ada"), &folder, &mut reading(&mut ())).unwrap();
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn settings_and_base_are_compared() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    ada().export(&user("ada"), &folder, &mut reading(&mut ())).unwrap();
    let other = SqliteStore::in_memory(&settings(Config::default())).unwrap();
    assert!(import(&other, &folder).unwrap().settings_differ);
    assert_eq!(other.settings().config, Config::default());
    let foreign = Settings::new("tiny", "f00d", Config::default());
    let foreign = SqliteStore::in_memory(&foreign).unwrap();
    let error = import(&foreign, &folder).unwrap_err().to_string();
    assert!(error.contains("user.json: learned on another base model"), "{error}");
}

/// A folder and an empty state for each attack on it.
struct Attack {
    place: TempDir,
    whole: BTreeMap<PathBuf, Vec<u8>>,
}

impl Attack {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("whole");
        ada().export(&user("ada"), &folder, &mut reading(&mut ())).unwrap();
        // An attacker leaves out the checksums, as older versions did.
        fs::remove_file(folder.join("SHA256SUMS")).unwrap();
        let header = fs::read_to_string(folder.join("user.json")).unwrap();
        assert!(header.contains("\"format\":3"), "{header}");
        fs::write(folder.join("user.json"), header.replacen("\"format\":3", "\"format\":1", 1))
            .unwrap();
        Self { whole: files(&folder), place }
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("attack")
    }

    /// Lays out the folder with a change, and imports it; nothing of it may stay.
    fn refused(&self, change: impl FnOnce(&Path)) -> String {
        let folder = self.folder();
        let _ = fs::remove_dir_all(&folder);
        for (path, bytes) in &self.whole {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        change(&folder);
        let store = SqliteStore::in_memory(&settings(Config::default())).unwrap();
        let error = import(&store, &folder).unwrap_err().to_string();
        assert!(store.users(None, 9).unwrap().is_empty(), "{error}");
        error
    }

    fn replaced(&self, file: &str, from: &str, to: &str) -> String {
        self.refused(|folder| {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(from), "{file} has no {from}");
            fs::write(folder.join(file), text.replacen(from, to, 1)).unwrap();
        })
    }
}

#[test]
fn what_no_export_wrote_is_refused_with_its_place() {
    let attack = Attack::new();
    for (file, from, to, said) in [
        ("user.json", "\"format\":1", "\"format\":5", "user.json: of the format 5"),
        (
            "user.json",
            "\"periods\":3",
            "\"periods\":4000000000",
            "user.json: next_seq is at least 1",
        ),
        (
            "user.json",
            "\"next_seq\":",
            "\"next_seq\":9223372036854775",
            "user.json: next_seq is at least 1 and at most",
        ),
        (
            "generations.jsonl",
            "\"number\":4",
            "\"number\":4294967295",
            "generation 4294967295 is above",
        ),
        ("user.json", "\"periods\":3", "\"periods\":2", "there is no period 3"),
        (
            "user.json",
            "\"generation\":4",
            "\"generation\":9",
            "generation 9 is in use but not there",
        ),
        (
            "user.json",
            "\"generation\":4",
            "\"generation\":1",
            "generation 1 is in use but not there",
        ),
        (
            "user.json",
            "\"user\":\"ada\"",
            "\"user\":\"eve\"",
            "the interaction is of ada, not of eve",
        ),
        (
            "user.json",
            "\"user\":\"ada\"",
            "\"user\":\"\\u0007\"",
            "user.json: line 1: `user`: user id",
        ),
        ("user.json", "{", "{\"extra\":1,", "there is no `extra` here"),
        ("settings.toml", "seed", "sead", "settings.toml"),
        (
            "history.jsonl",
            "\"id\":\"1\"",
            "\"id\":\"0\"",
            "places.jsonl:2: interaction 0 is there twice",
        ),
        ("history.jsonl", "\"response\"", "\"respond\"", "history.jsonl:1"),
        ("places.jsonl", "\"seq\":1,", "\"seq\":0,", "places.jsonl:1: seq 0 is not above 0"),
        ("places.jsonl", "\"seq\":2,", "\"seq\":1,", "places.jsonl:2: seq 1 is not above 1"),
        ("places.jsonl", "\"seq\":1,", "\"seq\":99,", "places.jsonl:1: seq 99 is not"),
        (
            "places.jsonl",
            "\"period\":1",
            "\"period\":2",
            "generations.jsonl:1: text 1 is not one that",
        ),
        ("places.jsonl", "{\"seq\":31}\n", "", "places.jsonl: has fewer lines"),
        (
            "generations.jsonl",
            "\"number\":1",
            "\"number\":0",
            "generations.jsonl:1: generation 0 from 0",
        ),
        ("user.json", "\"periods\":3", "\"periods\":999999", "periods have neither a text nor"),
        (
            "generations.jsonl",
            "\"epochs\":2",
            "\"epochs\":0",
            "generations.jsonl:1: the settings of the record",
        ),
        ("generations.jsonl", "\"epochs\":2", "\"epochs\":1000000", "epochs is at most 1000"),
        (
            "adapters/3/adapter_config.json",
            "\"lora_dropout\": 0.05",
            "\"lora_dropout\": 0.95",
            "another shape, scale or dropout",
        ),
        (
            "generations.jsonl",
            "\"parent\":0",
            "\"parent\":7",
            "generation 1 from 7 is not in order",
        ),
        ("generations.jsonl", "\"period\":1", "\"period\":2", "do not fit each other"),
        (
            "generations.jsonl",
            "\"buffer\":[{\"key\":",
            "\"buffer\":[{\"key\":9",
            "cannot be in a buffer",
        ),
        ("answers.jsonl", "{", "[", "answers.jsonl:1"),
        (
            "adapters/4/spring.json",
            "{\"base\":\"",
            "{\"base\":\"00",
            "generation 4 is of another base model",
        ),
        ("adapters/3/adapter_config.json", "\"r\": 8", "\"r\": 80000000", "r = 80000000"),
        ("adapters/3/adapter_config.json", "\"q_proj\"", "\"k_proj\"", "adapter"),
    ] {
        let error = attack.replaced(file, from, to);
        assert!(error.contains(said), "{file}, {to}: {error}");
    }
    for file in attack.whole.keys() {
        let error = attack.refused(|folder| fs::remove_file(folder.join(file)).unwrap());
        assert!(
            error.contains(file.file_name().unwrap().to_str().unwrap()),
            "without {file:?}: {error}"
        );
        let error = attack.refused(|folder| {
            let bytes = fs::read(folder.join(file)).unwrap();
            fs::write(folder.join(file), &bytes[..bytes.len() / 2]).unwrap();
        });
        assert!(!error.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_not_followed() {
    let attack = Attack::new();
    for file in attack.whole.keys() {
        let error = attack.refused(|folder| {
            let path = folder.join(file);
            let elsewhere = folder.parent().unwrap().join("elsewhere");
            fs::rename(&path, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        });
        assert!(error.contains("not a plain file"), "{error}");
        let error = attack.refused(|folder| {
            let path = folder.join(file);
            fs::remove_file(&path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        });
        assert!(error.contains("not a plain file"), "{error}");
    }
    // A second name is refused as well, and so is a folder that leads elsewhere.
    for file in attack.whole.keys() {
        let error = attack.refused(|folder| {
            let other = folder.parent().unwrap().join("other name");
            let _ = fs::remove_file(&other);
            fs::hard_link(folder.join(file), other).unwrap();
        });
        assert!(error.contains("several names (hard links)"), "{error}");
    }
    for linked in ["adapters", "adapters/4"] {
        let error = attack.refused(|folder| {
            let path = folder.join(linked);
            let elsewhere = folder.parent().unwrap().join("a folder elsewhere");
            let _ = fs::remove_dir_all(&elsewhere);
            fs::rename(&path, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        });
        assert!(error.contains(linked) && error.contains("not a plain folder"), "{error}");
    }
    // A file of 4 GiB that takes no room on the disk.
    let error = attack.refused(|folder| {
        let path = folder.join("adapters/3/adapter_model.safetensors");
        fs::File::create(path).unwrap().set_len(4 << 30).unwrap();
    });
    assert!(error.contains("are more than the"), "{error}");
}

#[test]
fn damage_anywhere_is_an_error_or_harmless() {
    let attack = Attack::new();
    let files: Vec<_> = attack.whole.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let folder = attack.folder();
    // More of them by hand: `SPRING_CASES=100000`.
    let cases = std::env::var("SPRING_CASES").map_or(300, |cases| cases.parse().unwrap());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let damage = (0..files.len(), any::<prop::sample::Index>(), any::<u8>(), 0..3);
    let outcome = runner.run(&damage, |(file, at, byte, kind)| {
        let _ = fs::remove_dir_all(&folder);
        for (path, bytes) in &attack.whole {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let (path, bytes) = files[file];
        let mut bytes = bytes.clone();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.truncate(at),
            _ => bytes.insert(at, byte),
        }
        fs::write(folder.join(path), bytes).unwrap();
        let store = SqliteStore::in_memory(&settings(Config::default())).unwrap();
        match import(&store, &folder) {
            Err(error) => {
                let name = path.file_name().unwrap().to_str().unwrap();
                let error = error.to_string();
                // Files are checked against each other: the error may lie in the other one.
                prop_assert!(
                    error.contains(name) || error.contains("json") || error.contains("adapter"),
                    "{}",
                    error
                );
                prop_assert!(store.users(None, 9).unwrap().is_empty());
            }
            // Whatever was taken can be read and learned from.
            Ok(imported) => {
                let user = imported.user;
                UserModel::recall(model(), &store, &user, None).unwrap();
                store.period_records(&user, None).unwrap();
                let learned = adapt(model(), &store, &user, Periods::default(), &mut ());
                prop_assert!(learned.is_ok(), "{}: {:?}", path.display(), learned.err());
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_user_who_differs_is_replaced_only_where_that_is_wanted() {
    let settings = her_settings();
    let (from, to) = (MemoryStore::in_memory(&settings), MemoryStore::in_memory(&settings));
    let (from, to, ada) = (from.unwrap(), to.unwrap(), user("ada"));
    ingest(&from, &texts("ada", 0..4));
    assert_eq!(to.copy_user(&from, &ada, false).unwrap(), Copied::Added);
    assert_eq!(to.copy_user(&from, &ada, false).unwrap(), Copied::Equal);
    ingest(&from, &texts("ada", 4..6));
    let refused = to.copy_user(&from, &ada, false).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Copy { source: CopyError::Differs { .. }, .. }),
        "{refused}"
    );
    assert_eq!(to.copy_user(&from, &ada, true).unwrap(), Copied::Replaced { keys_revoked: 0 });
    assert_eq!(to.digest(&ada).unwrap(), from.digest(&ada).unwrap());
    let other = MemoryStore::in_memory(&Settings::new("tiny", "f00d", settings.config)).unwrap();
    let refused = other.copy_user(&from, &ada, true).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Copy { source: CopyError::OtherBase { .. }, .. }),
        "{refused}"
    );
}

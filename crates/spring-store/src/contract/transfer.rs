//! A user moves from state to state by a folder, whole or not at all.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use spring_lm::{Adapter, LoraConfig};

use super::{Subject, samples::*};
use crate::{
    Config, Copied, CopyError, Error, MemoryStore, PeriodCommit, Settings, Store, TransferError,
    Transferred,
};

/// Ada with all that a user can have: a text held out and one pending, a pruned generation and one
/// that was gone back from, `meta`, and the record of a text.
fn fill(store: &Store) {
    let ada = user("ada");
    store.ingest(history("ada", 9)).unwrap();
    store.cut_periods(&ada, 3, 0.4).unwrap();
    let mut odd = interaction("ada", "../odd", "1969-12-31T23:59:59.000000001Z");
    odd.meta = Some(serde_json::json!({"b": [1.5, null], "a": 0}));
    store.ingest([odd]).unwrap();
    // The record's texts are those of its period, and so is the buffer.
    let of = |period: u32, parent| {
        let first = 3 * u64::from(period) - 2;
        let mut commit = trained(commit(period, parent));
        for (score, seq) in commit.record.scores.iter_mut().zip(first..) {
            (score.seq, score.id) = (seq, id(&seq.to_string()));
        }
        let mut item = commit.buffer[0];
        let mut item = |key| {
            item.key = key;
            item
        };
        let (buffer, base) = (vec![item(first + 1), item(first)], vec![(first, HARD[0])]);
        commit.calibration.gains = (period == 3).then(|| gains(first));
        PeriodCommit { buffer, base, ..commit }
    };
    for (period, parent) in [(1, 0), (2, 1)] {
        put(store, "ada", &of(period, parent)).unwrap();
    }
    store.rollback(&ada, None).unwrap();
    put(store, "ada", &of(2, 1)).unwrap();
    put(store, "ada", &of(3, 3)).unwrap();
    keep(store, "ada", &answer("x")).unwrap();
    store.set_consent(&ada, true, at(1)).unwrap();
}

fn import(store: &Store, folder: &Path) -> crate::Result<Transferred> {
    store.import(folder, &|_| Ok(()), &mut |_| ControlFlow::Continue(()))
}

/// Every file of a folder, by its path inside.
pub(super) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(inside, fs::read(path).unwrap());
            }
        }
    }
    found
}

fn exported(store: &Store, folder: &Path) -> Transferred {
    store.export(&user("ada"), folder, &mut |_| ControlFlow::Continue(())).unwrap()
}

pub fn an_imported_adapter_is_what_a_user_begins_with(subject: &dyn Subject) {
    let mut config = Config { lora: LoraConfig::default().with_rank(16), ..Config::default() };
    config.state.keep_generations = 1;
    let settings = Settings { config, ..settings() };
    let store = subject.create(&settings);
    let ada = user("ada");
    let foreign = Adapter::from_bytes(&adapter("f00d")).unwrap();
    // A file of another program tells neither base nor dropout, and may name every block.
    let mut told = foreign.clone();
    told.config.layers = Some(vec![3, 2, 1, 0]);
    told.base.clear();
    told.config.dropout = 0.0;
    let adopt = |name: &str, adapter: &Adapter| {
        store.adopt(&user(name), adapter.clone(), "my.gguf", 4, &|_| Ok(()))
    };
    let refused = |name: &str, change: &dyn Fn(&mut Adapter)| {
        let mut adapter = told.clone();
        change(&mut adapter);
        let error = adopt(name, &adapter).unwrap_err().to_string();
        assert!(error.starts_with("adapter my.gguf: "), "{error}");
        error
    };
    let shape = refused("ada", &|adapter| {
        (adapter.config.rank, adapter.config.layers) = (32, Some(vec![0, 2]));
    });
    assert!(shape.contains("rank 32 in place of 16"), "{shape}");
    assert!(shape.contains("layers [0, 2] in place of all"), "{shape}");
    let scale = refused("ada", &|adapter| adapter.config.alpha = 12.0);
    assert!(scale.contains("alpha 12 in place of 8"), "{scale}");
    let targets = refused("ada", &|adapter| adapter.config.targets.truncate(1));
    assert!(targets.contains("targets [\"q_proj\"] in place of"), "{targets}");
    let weight =
        refused("ada", &|adapter| adapter.pairs_mut().for_each(|(.., pair)| pair.a.fill(1e3)));
    assert!(weight.contains("weight above 100"), "{weight}");
    assert!(store.user(&ada).is_err());

    assert_eq!(adopt("ada", &told).unwrap().generation(), 1);
    let generation = store.generation(&ada, None).unwrap().unwrap();
    assert_eq!(Adapter::from_bytes(&generation.adapter).unwrap(), foreign);
    assert!(store.unlearned_periods(&ada).unwrap().is_empty());
    store.ingest(history("ada", 6)).unwrap();
    let place = tempfile::tempdir().unwrap();
    exported(&store, &place.path().join("ada"));
    let other = subject.create(&settings);
    import(&other, &place.path().join("ada")).unwrap();
    assert_eq!(other.digest(&ada).unwrap(), store.digest(&ada).unwrap());

    // However much is learned, it is kept: nothing could make it again.
    store.cut_periods(&ada, 3, 0.0).unwrap();
    for period in 2..=4 {
        put(&store, "ada", &commit(period, period - 1)).unwrap();
    }
    let list = store.generations(&ada).unwrap();
    let kept = list.iter().filter(|generation| generation.adapter_bytes.is_some());
    assert_eq!(kept.map(|generation| generation.number).collect::<Vec<_>>(), [1, 4]);
    store.check(&mut |_| ControlFlow::Continue(())).unwrap();
    with_periods(&store, &["bob"], 2);
    for name in ["ada", "bob"] {
        assert!(refused(name, &|_| ()).contains("a new user"));
    }
    // Texts that wait to be learned are no hindrance.
    store.ingest(history("eve", 2)).unwrap();
    assert_eq!(adopt("eve", &told).unwrap().generation(), 1);
    assert_eq!(store.user(&user("eve")).unwrap().pending, 2);
}

/// It stays when it is not in use, though there never was a text.
pub fn a_user_with_an_imported_adapter_alone_is_not_mixed_with_another(subject: &dyn Subject) {
    let config = Config { lora: LoraConfig::default().with_rank(16), ..Config::default() };
    let settings = Settings { config, ..settings() };
    let (here, there) = (subject.create(&settings), subject.create(&settings));
    let ada = user("ada");
    let foreign = Adapter::from_bytes(&adapter("f00d")).unwrap();
    here.adopt(&ada, foreign, "my.gguf", 4, &|_| Ok(())).unwrap();
    here.rollback(&ada, Some(0)).unwrap();
    there.ingest(history("ada", 2)).unwrap();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    exported(&there, &folder);
    let before = dump(&here);
    let present = import(&here, &folder).unwrap_err();
    let is_present = matches!(present, Error::Transfer(TransferError::Present { .. }));
    assert!(is_present, "{present}");
    let differs = here.copy_user(&there, &ada, false).unwrap_err();
    assert!(matches!(differs, Error::Copy { source: CopyError::Differs { .. }, .. }), "{differs}");
    assert_eq!(dump(&here), before);
    assert_eq!(here.copy_user(&there, &ada, true).unwrap(), Copied::Replaced { keys_revoked: 0 });
    assert_eq!(here.digest(&ada).unwrap(), there.digest(&ada).unwrap());
}

pub fn a_user_moves_whole(subject: &dyn Subject) {
    let place = tempfile::tempdir().unwrap();
    let folders = ["here", "there", "back"].map(|name| place.path().join(name));
    let mut config = Config::default();
    config.state.keep_generations = 3;
    let of = |config: &Config| Settings { config: config.clone(), ..settings() };
    let store = subject.create(&of(&config));
    fill(&store);
    let ada = user("ada");
    let out = exported(&store, &folders[0]);
    assert_eq!((out.interactions, out.generations, out.answers), (10, 4, 1));
    let written = files(&folders[0]);
    assert_eq!(written.len(), 7 + 3 * 3, "{:?}", written.keys());
    // To the oracle, and back to the backend.
    let oracle = MemoryStore::in_memory(&of(&config)).unwrap();
    oracle.ingest(history("bob", 2)).unwrap();
    assert_eq!(import(&oracle, &folders[0]).unwrap(), out);
    exported(&oracle, &folders[1]);
    assert_eq!(files(&folders[1]), written);
    let back = subject.create(&of(&config));
    assert_eq!(import(&back, &folders[1]).unwrap(), out);
    exported(&back, &folders[2]);
    assert_eq!(files(&folders[2]), written);
    let digest = store.digest(&ada).unwrap();
    for store in [&*back, &oracle] {
        store.check(&mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(store.digest(&ada).unwrap(), digest);
        assert_eq!(store.user(&ada).unwrap(), back.user(&ada).unwrap());
    }
    // It goes on as it did.
    for store in [&*store, &*back] {
        store.ingest(history("ada", 12)).unwrap();
        store.cut_periods(&ada, 1, 0.0).unwrap();
        put(store, "ada", &commit(4, 4)).unwrap();
    }
    assert_eq!(store.digest(&ada).unwrap(), back.digest(&ada).unwrap());
    // Twice is once too often; nor is a folder written over.
    let again = import(&back, &folders[0]);
    let present = |error: &Error| match error {
        Error::Transfer(TransferError::Present { user, .. }) => *user == ada,
        _ => false,
    };
    assert!(present(&again.unwrap_err()));
    let over = store.export(&ada, &folders[1], &mut |_| ControlFlow::Continue(()));
    assert!(matches!(over, Err(Error::Transfer(TransferError::Io { .. }))));
    assert_eq!(files(&folders[1]), written);
    // Log-likelihoods of texts that are cut elsewhere stay behind.
    config.training.max_tokens -= 1;
    let shorter = subject.create(&of(&config));
    assert!(import(&shorter, &folders[0]).unwrap().settings_differ);
    let bases = |store: &Store| {
        let entries = store.history(&ada).unwrap().entries;
        entries.iter().filter(|entry| entry.stored.base.is_some()).count()
    };
    assert_eq!((bases(&oracle), bases(&shorter)), (3, 0));
}

pub fn an_import_that_is_stopped_or_late_leaves_nothing(subject: &dyn Subject) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    let store = subject.create(&settings());
    fill(&store);
    let mut steps = 0;
    store
        .export(&user("ada"), &folder, &mut |done| {
            steps += 1;
            assert_eq!(done, steps);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(steps, 10 + 4 + 1);
    for last in [1, 10, 12, steps] {
        let mut stop =
            |done| if done < last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        let half = place.path().join("half");
        let stopped = store.export(&user("ada"), &half, &mut stop);
        assert!(matches!(stopped, Err(Error::Stopped)));
        assert!(!half.exists());
        let other = subject.create(&settings());
        let stopped = other.import(&folder, &|_| Ok(()), &mut stop);
        assert!(matches!(stopped, Err(Error::Stopped)));
        assert!(other.users(None, 9).unwrap().is_empty());
    }
    // It is read before anybody is kept from writing, and whoever comes first stays.
    let store = subject.create(&settings());
    let Some(other) = subject.again(&store) else { return };
    let mut write = |done: u64| {
        let name = if done == 3 { "ada" } else { "bob" };
        other.ingest([interaction(name, &done.to_string(), "2026-01-01T00:00:00Z")]).unwrap();
        ControlFlow::Continue(())
    };
    let error = store.import(&folder, &|_| Ok(()), &mut write).unwrap_err();
    assert!(error.to_string().contains("the state has a user ada already"), "{error}");
    assert_eq!(store.user(&user("bob")).unwrap().interactions, steps - 1);
    assert_eq!(store.user(&user("ada")).unwrap().interactions, 1);
}

pub fn what_no_export_wrote_is_refused(subject: &dyn Subject) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    let store = subject.create(&settings());
    fill(&store);
    exported(&store, &folder);
    // An attacker leaves out the checksums.
    without_checksums(&folder);
    let whole = files(&folder);
    let other = subject.create(&settings());
    let before = dump(&other);
    let refused = |file: &str, change: &dyn Fn(&Path)| {
        change(&folder.join(file));
        let error = import(&other, &folder).unwrap_err().to_string();
        assert_eq!(dump(&other), before, "{error}");
        fs::write(folder.join(file), &whole[Path::new(file)]).unwrap();
        error
    };
    for (file, from, to, said) in [
        ("user.json", "\"format\":1", "\"format\":5", "of the format 5"),
        ("user.json", "\"format\":1", "\"format\":2", "SHA256SUMS"),
        ("user.json", "\"generation\":4", "\"generation\":9", "generation 9 is in use but not"),
        ("user.json", "\"f00d\"", "\"beef\"", "learned on another base model"),
        ("history.jsonl", "\"id\":\"1\"", "\"id\":\"2\"", "places.jsonl:2: interaction 2 is there"),
        ("places.jsonl", "\"seq\":2", "\"seq\":1", "places.jsonl:2: seq 1 is not above 1"),
        ("places.jsonl", "\"period\":1", "\"period\":2", "text 1 is not one that period 1 learns"),
        ("generations.jsonl", "\"parent\":0", "\"parent\":7", "from 7 is not in order"),
        ("generations.jsonl", "[{\"key\":2", "[{\"key\":3", "text 3 cannot be in a buffer"),
        (
            "generations.jsonl",
            "{\"key\":7,\"score\"",
            "{\"key\":9,\"score\"",
            "text 9 cannot have a gain",
        ),
        ("generations.jsonl", "\"lambdas\":[0.5", "\"lambdas\":[1.5", "its gains: lambdas = 1.5"),
        ("generations.jsonl", "\"epochs\":2", "\"epochs\":0", "the settings of the record: "),
        ("generations.jsonl", "\"epochs\":2", "\"epochs\":1048576", "epochs is at most 1000"),
        (
            "generations.jsonl",
            "\"learning_rate\":0.0001",
            "\"learning_rate\":1e12",
            "training.learning_rate at most 10",
        ),
        ("generations.jsonl", "\"rank\":16", "\"rank\":4096", "the settings of the record: "),
        ("generations.jsonl", "\"rank\":16", "\"rank\":8", "has another shape, scale or dropout"),
        ("generations.jsonl", "\"held_out\":1", "\"held_out\":0", "holds out 1 texts, and not 0"),
        ("generations.jsonl", "\"id\":\"1\"", "\"id\":\"2\"", "text 1 is 1, and not 2"),
        ("generations.jsonl", "\"selected\":1", "\"selected\":2", "the ranks of the selected"),
        (
            "adapters/2/adapter_config.json",
            "\"lora_dropout\": 0.05",
            "\"lora_dropout\": 0.5",
            "has another shape, scale or dropout",
        ),
        ("user.json", "\"periods\":3", "\"periods\":5000", "4997 of 5000 periods have neither"),
        ("answers.jsonl", "\"generation\":2", "\"generation\":7", "there is no generation 7"),
        ("answers.jsonl", "\"seq\":1", "\"seq\":11", "there is no text 11"),
        ("answers.jsonl", "{", "[", "answers.jsonl:1"),
        ("settings.toml", "seed", "sead", "settings.toml"),
    ] {
        let error = refused(file, &|path| {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(from), "{file} has no {from}: {text}");
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        });
        assert!(error.contains(said), "{file}, {to}: {error}");
        assert!(error.contains("nothing was imported") || error.contains(file), "{error}");
    }
    // A generation that would be left alone when a text of an earlier period is forgotten.
    let error = refused("generations.jsonl", &|path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("\"parent\":3", "\"parent\":0")).unwrap();
    });
    assert!(error.contains("generation 4 learned period 3 from generation 0"), "{error}");
    // Weights that are finite, and of no training.
    for (weight, said) in [(1e30_f32, "has a weight above 100"), (f32::NAN, "adapter")] {
        let error = refused("adapters/3/adapter_model.safetensors", &|path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 4;
            bytes[last..].copy_from_slice(&weight.to_le_bytes());
            fs::write(path, bytes).unwrap();
        });
        assert!(error.contains(said), "{error}");
    }
    for file in whole.keys() {
        let name = file.to_str().unwrap();
        let error = refused(name, &|path| fs::remove_file(path).unwrap());
        assert!(error.contains(file.file_name().unwrap().to_str().unwrap()), "{error}");
    }
    let misfit = other.import(
        &folder,
        &|_| {
            Err(spring_lm::ModelError::Adapter { adapter: "x".into(), reason: "as planned".into() })
        },
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(misfit.unwrap_err().to_string().contains("as planned"));
    assert_eq!(dump(&other), before);
    assert!(!import(&other, &folder).unwrap().has_checksums);
}

/// A folder as the versions before the checksums wrote it.
fn without_checksums(folder: &Path) {
    fs::remove_file(folder.join("SHA256SUMS")).unwrap();
    let header = fs::read_to_string(folder.join("user.json")).unwrap();
    let older = header.replacen("\"format\":3", "\"format\":1", 1);
    assert_ne!(older, header);
    fs::write(folder.join("user.json"), older).unwrap();
}

/// Half of a file may still be one: settings that end after a line, a history of fewer texts.
pub fn an_export_that_was_cut_short_or_changed_is_noticed(subject: &dyn Subject) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    let store = subject.create(&settings());
    fill(&store);
    exported(&store, &folder);
    let whole = files(&folder);
    let other = subject.create(&settings());
    let before = dump(&other);
    for (file, bytes) in &whole {
        let path = folder.join(file);
        let lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let ends = lines.map(|(at, _)| at + 1).filter(|at| *at < bytes.len());
        let mut changed: Vec<Vec<u8>> = ends
            .chain([0, bytes.len() / 2, bytes.len() - 1])
            .map(|at| bytes[..at].into())
            .collect();
        changed.push({
            let mut bytes = bytes.clone();
            bytes[0] ^= 1;
            bytes
        });
        for bytes in changed.iter().filter(|changed| *changed != bytes) {
            fs::write(&path, bytes).unwrap();
            let error = import(&other, &folder).unwrap_err().to_string();
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(error.contains(name) || error.contains("SHA256SUMS"), "{name}: {error}");
            assert_eq!(dump(&other), before, "{error}");
        }
        fs::write(&path, bytes).unwrap();
    }
    assert!(import(&other, &folder).unwrap().has_checksums);
}

//! Single flipped bits, anywhere in the file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
};

use spring_lm::{Adapter, LoraConfig, ModelConfig};

use super::{
    layout::{Part, parts},
    *,
};
use crate::{EmbeddingMap, PeriodCommit};

/// How many bits are flipped, one at a time.
const FLIPS: u64 = 200;

/// An adapter as large as those of a model that people have.
fn large_adapter(seed: u64) -> Vec<u8> {
    let config = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 512,
        "intermediate_size": 512, "num_hidden_layers": 8, "num_attention_heads": 2,
        "max_position_embeddings": 16}"#;
    let model = ModelConfig::from_json(config.as_bytes(), "config.json").unwrap();
    let lora = LoraConfig::default().with_rank(16);
    Adapter::init(&lora, &model, "f00d", seed).unwrap().to_bytes().unwrap()
}

/// A state with everything in it; one user of it was forgotten.
fn lived_in(path: &Path) {
    let store = SqliteStore::create(path, &settings()).unwrap();
    let ada = user("ada");
    let mut texts = history("ada", 120);
    for (number, text) in texts.iter_mut().enumerate() {
        text.response = format!("{} {}", text.response, "a few more words. ".repeat(number % 30));
        text.meta = (number % 3 == 0).then(|| serde_json::json!({ "n": number }));
    }
    store.ingest(texts).unwrap();
    store.cut_periods(&ada, 10, 0.1).unwrap();
    for period in 1..=10 {
        let commit =
            PeriodCommit { adapter: large_adapter(period.into()), ..commit(period, period - 1) };
        put(&store, "ada", &commit).unwrap();
        keep(&store, "ada", &answer(&format!("answer {period}"))).unwrap();
    }
    store.ingest(history("bob", 60)).unwrap();
    store.ingest(history("cy", 60)).unwrap();
    let version = store.version(&ada).unwrap();
    let vector = |seq: u64| (seq, (0..64).map(|at| (seq * 64 + at) as f32).collect());
    store.set_embeddings(&version, &(1..=120).map(vector).collect::<EmbeddingMap>()).unwrap();
    assert!(store.forget(&user("bob")).unwrap().scrubbed);
}

/// Flips a bit where it lies.
fn flip(path: &Path, byte: u64, bit: u8, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(byte)).unwrap();
    file.write_all(&[bytes[byte as usize] ^ bit]).unwrap();
}

/// Opens and checks a file as the program does.
fn checked(path: &Path) -> Result<SqliteStore> {
    let store = SqliteStore::open(path, Access::ReadOnly)?;
    check(&store)?;
    Ok(store)
}

/// What can be read of a state, by row and by table.
fn all_of(store: &SqliteStore) -> [Vec<String>; 3] {
    let digest = |name| store.digest(&user(name)).unwrap();
    let tables = tables(store).iter().map(|row| format!("{row:?}")).collect();
    [dump(store), tables, ["ada", "cy"].map(digest).to_vec()]
}

/// What is not noticed lies in bytes that mean nothing, twice over: by the layout of SQLite's
/// pages, and since all that can be read is as before. With `SPRING_SEEDS=N` for that many seeds.
#[test]
fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    lived_in(&path);
    let bytes = fs::read(&path).unwrap();
    let before = all_of(&checked(&path).unwrap());
    let parts = parts(&path, &bytes);
    let unused = parts.iter().filter(|part| **part != Part::Used).count();
    eprintln!("{} bytes, of which {unused} mean nothing", bytes.len());
    let seeds = std::env::var("SPRING_SEEDS").map_or(1, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut numbers = Numbers(seed);
        let mut unnoticed: BTreeMap<Part, u64> = BTreeMap::new();
        let part = bytes.len() as u64 / FLIPS;
        for number in 0..FLIPS {
            let byte = number * part + numbers.below(part);
            let bit = 1 << numbers.below(8);
            flip(&path, byte, bit, &bytes);
            if let Ok(store) = checked(&path) {
                assert!(all_of(&store) == before, "byte {byte}, bit {bit} changed what is read");
                let part = parts[byte as usize];
                assert!(part != Part::Used, "byte {byte}, bit {bit} is used, and was not noticed");
                *unnoticed.entry(part).or_insert(0) += 1;
            }
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(folder.path().join(format!("state.db{suffix}")));
            }
            flip(&path, byte, 0, &bytes);
        }
        assert!(fs::read(&path).unwrap() == bytes);
        let count: u64 = unnoticed.values().sum();
        let places: Vec<String> =
            unnoticed.iter().map(|(part, count)| format!("{count} in {}", part.name())).collect();
        eprintln!("| {seed} | {} | {count} | {} |", FLIPS - count, places.join(", "));
        assert!(count <= 5, "seed {seed}: {places:?}");
    }
}

/// What is damaged is told when it is used, and whoever else is in the state is not kept up.
#[test]
fn a_damaged_part_is_told_to_who_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    lived_in(&path);
    let bytes = fs::read(&path).unwrap();
    let find = |part: &[u8]| bytes.windows(part.len()).position(|at| at == part).unwrap() as u64;
    let ada = user("ada");
    let used = |byte: u64, use_it: &dyn Fn(&SqliteStore) -> Result<()>| {
        flip(&path, byte, 1, &bytes);
        let store = SqliteStore::open(&path, Access::ReadOnly).unwrap();
        let error = use_it(&store).unwrap_err();
        assert_eq!(store.history(&user("cy")).unwrap().entries.len(), 60);
        drop(store);
        flip(&path, byte, 0, &bytes);
        assert!(matches!(&error, Error::Damaged { user: Some(name), .. } if *name == ada));
        error.to_string()
    };
    let text = find(b"response of ada to 77") + 3;
    let said = used(text, &|store| store.history(&ada).map(drop));
    assert!(said.contains("user ada: text 77 (id \"77\"): it is not what was written"), "{said}");
    assert!(said.contains("restore it from a copy, or forget this user"), "{said}");
    let adapter = find(&large_adapter(10)[4000..4100]);
    let said = used(adapter, &|store| store.recall(&ada, None).map(drop));
    assert!(said.contains("table memories, user ada: generation 10: it is not"), "{said}");
    let answer = find(b"answer 7") + 7;
    let said = used(answer, &|store| store.find_answer(&ada, "answer 1\"").map(drop));
    assert!(said.contains("table answers, user ada: record 7: it is not"), "{said}");
    let vector: Vec<u8> = (0..64_u64).flat_map(|at| ((64 + at) as f32).to_le_bytes()).collect();
    let said = used(find(&vector), &|store| store.embeddings(&ada, &[1]).map(drop));
    assert!(said.contains("table embeddings, user ada: that of text 1: it is not"), "{said}");
}

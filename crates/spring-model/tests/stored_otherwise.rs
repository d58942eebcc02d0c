//! The same model and adapter, stored as other programs store them: the same numbers, or a message
//! with the place.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, View};
use spring_model::{Adapter, AnyModel, Device, ModelFiles, Score, Sequence};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")
}

/// A tensor that a test may change.
#[derive(Clone)]
struct Stored {
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        4 * self.numbers.len()
    }
}

type Tensors = BTreeMap<String, Stored>;

fn read(file: &Path) -> Tensors {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |name: &str| {
        let view = tensors.tensor(name).unwrap();
        let numbers = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Stored { shape: view.shape().to_vec(), numbers }
    };
    tensors.names().into_iter().map(|name| (name.to_owned(), stored(name))).collect()
}

fn write(tensors: &Tensors, file: &Path) {
    fs::write(file, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

/// The fixture with other weights and another configuration.
fn folder(
    weights: impl FnOnce(Tensors) -> Tensors,
    config: impl FnOnce(&mut serde_json::Value),
) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture().join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    write(
        &weights(read(&fixture().join("model.safetensors"))),
        &dir.path().join("model.safetensors"),
    );
    let mut json =
        serde_json::from_slice(&fs::read(fixture().join("config.json")).unwrap()).unwrap();
    config(&mut json);
    fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    dir
}

fn load(dir: &Path) -> spring_model::Result<AnyModel> {
    AnyModel::load(&ModelFiles::from_dir(dir)?, Device::Cpu)
}

/// What a model says of one text.
fn score(dir: &Path, adapter: Option<&Adapter>) -> Vec<f32> {
    let sequence = Sequence { context: vec![1, 260, 300, 12], response: vec![7, 8, 300, 2] };
    load(dir).unwrap().score(&[(&sequence, adapter)]).unwrap().swap_remove(0)
}

#[test]
fn names_without_the_first_part_are_the_same() {
    let plain = score(&fixture(), None);
    let without = folder(
        |tensors| {
            let rename = |name: String| name.strip_prefix("model.").unwrap_or(&name).to_owned();
            tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect()
        },
        |_| {},
    );
    assert_eq!(score(without.path(), None), plain);
}

#[test]
fn tied_weights_are_stored_under_either_name_or_both() {
    const TABLE: &str = "model.embed_tokens.weight";
    const HEAD: &str = "lm_head.weight";
    let tied = |json: &mut serde_json::Value| json["tie_word_embeddings"] = true.into();
    let scores: Vec<Vec<f32>> = [&[TABLE][..], &[HEAD], &[TABLE, HEAD]]
        .map(|kept| {
            let dir = folder(
                |mut tensors| {
                    let table = tensors.get(TABLE).unwrap().clone();
                    tensors.remove(TABLE);
                    tensors.remove(HEAD);
                    tensors.extend(kept.iter().map(|name| ((*name).to_owned(), table.clone())));
                    tensors
                },
                tied,
            );
            score(dir.path(), None)
        })
        .into();
    assert!(scores.iter().all(|other| *other == scores[0]), "{scores:?}");
    // The fixture has a head of its own.
    assert_ne!(scores[0], score(&fixture(), None));
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    let floats = folder(
        |tensors| tensors,
        |json| {
            for key in ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"]
            {
                json[key] = json[key].as_f64().unwrap().into();
            }
        },
    );
    assert_eq!(score(floats.path(), None), score(&fixture(), None));
    let half = folder(|tensors| tensors, |json| json["num_hidden_layers"] = 1.5.into());
    let error = load(half.path()).unwrap_err().to_string();
    assert!(error.contains("num_hidden_layers") && error.contains("1.5"), "{error}");
}

#[test]
fn weights_that_are_no_numbers_are_refused_with_their_place() {
    for (name, at, place) in [
        ("model.layers.1.mlp.up_proj.weight", 48 * 3 + 5, "row 4, column 6"),
        ("model.norm.weight", 7, "place 8"),
        ("lm_head.weight", 0, "row 1, column 1"),
    ] {
        for odd in [f32::NAN, f32::INFINITY] {
            let dir = folder(
                |mut tensors| {
                    tensors.get_mut(name).unwrap().numbers[at] = odd;
                    tensors
                },
                |_| {},
            );
            let error = load(dir.path()).unwrap_err().to_string();
            let file = dir.path().join("model.safetensors");
            let said = format!("{}: tensor {name} is {odd} in {place}", file.display());
            assert!(error.starts_with(&said), "{error}");
        }
    }
}

/// The fixture's adapter with more or other tensors beside its factors.
fn adapter(change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let own = fixture().join("adapter");
    fs::copy(own.join("adapter_config.json"), dir.path().join("adapter_config.json")).unwrap();
    let mut tensors = read(&own.join("adapter_model.safetensors"));
    change(&mut tensors);
    write(&tensors, &dir.path().join("adapter_model.safetensors"));
    dir
}

#[test]
fn embeddings_beside_an_adapter_must_be_the_base_s_own() {
    let base = ModelFiles::from_dir(fixture()).unwrap();
    let weights = read(&fixture().join("model.safetensors"));
    let plain = Adapter::load_peft_for(fixture().join("adapter"), &base).unwrap();
    let beside = |change: f32| {
        adapter(|tensors| {
            let mut table = weights["model.embed_tokens.weight"].clone();
            table.numbers[3] += change;
            tensors.insert("base_model.model.model.embed_tokens.weight".into(), table);
        })
    };
    let same = Adapter::load_peft_for(beside(0.0).path(), &base).unwrap();
    assert_eq!(score(&fixture(), Some(&same)), score(&fixture(), Some(&plain)));
    let error = Adapter::load_peft_for(beside(0.5).path(), &base).unwrap_err().to_string();
    assert!(error.contains("embed_tokens") && error.contains("merge_and_unload"), "{error}");
    // Alone it cannot be told.
    assert!(Adapter::load_peft(beside(0.0).path()).is_err());
}

#[test]
fn factors_of_the_ends_are_refused_with_what_to_do() {
    let base = ModelFiles::from_dir(fixture()).unwrap();
    for end in ["lm_head", "model.embed_tokens"] {
        let name = format!("base_model.model.{end}.lora_A.weight");
        let dir = adapter(|tensors| {
            tensors.insert(name.clone(), Stored { shape: vec![8, 48], numbers: vec![0.0; 8 * 48] });
        });
        let error = Adapter::load_peft_for(dir.path(), &base).unwrap_err().to_string();
        for said in [&name, "exclude_modules", "merge_and_unload"] {
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}

#[test]
fn factors_that_are_no_numbers_are_refused_with_their_place() {
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    let dir = adapter(|tensors| tensors.get_mut(name).unwrap().numbers[9] = f32::NAN);
    let error = Adapter::load_peft(dir.path()).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("NaN in row 2, column 2"), "{error}");
}

#[test]
fn a_pointer_of_git_lfs_is_told_from_weights_tokenizers_and_factors() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let dir = folder(|tensors| tensors, |_| {});
        fs::write(dir.path().join(name), pointer).unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("git lfs pull"), "{error}");
    }
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let dir = adapter(|_| {});
        fs::write(dir.path().join(name), pointer).unwrap();
        let error = Adapter::load_peft(dir.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("git lfs pull"), "{error}");
    }
    let dir = adapter(|_| {});
    fs::remove_file(dir.path().join("adapter_model.safetensors")).unwrap();
    fs::write(dir.path().join("adapter_model.bin"), pointer).unwrap();
    let error = Adapter::load_peft(dir.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_model.bin") && error.contains("git lfs pull"), "{error}");
}

//! Bad bytes in model folders and PEFT folders: no panic, no memory beyond the files' own size,
//! always an error that names the file, or a model that runs.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use spring_model::{
    Adapter, AnyModel, Device, Message, ModelConfig, ModelFiles, Role, Score, Sequence, Tokenizer,
};
use tempfile::TempDir;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")
}

const MODEL: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];
const PEFT: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// A copy of a folder's files with one of them changed.
fn with(folder: &Path, files: &[&str], changed: &str, bytes: &[u8]) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in files {
        fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    fs::write(copy.path().join(changed), bytes).unwrap();
    copy
}

/// Loads a model folder and runs it once.
fn use_model(folder: &Path) -> spring_model::Result<()> {
    let model = AnyModel::load(&ModelFiles::from_dir(folder)?, Device::Cpu)?;
    let context = model.tokenizer()?.encode("a b")?;
    let sequence = Sequence { context: [vec![1], context].concat(), response: vec![5, 2] };
    model.score(&[(&sequence, None)])?;
    Ok(())
}

fn named(error: &spring_model::ModelError, file: &str) -> bool {
    let said = error.to_string();
    // Files are checked against each other: any of them may be the one that is named, or the
    // setting, or the sequence that does not fit what the changed file says.
    said.contains(file)
        || said.contains("json")
        || said.contains("safetensors")
        || said.contains("token")
}

fn damaged(sound: &[u8], kind: u8, at: Index, noise: &[u8]) -> Vec<u8> {
    let at = at.index(sound.len());
    let mut bytes = sound.to_vec();
    match kind {
        0 => bytes.truncate(at),
        1 => bytes.iter_mut().skip(at).zip(noise).for_each(|(byte, noise)| *byte = *noise),
        _ => drop(bytes.splice(at..at, noise.iter().copied())),
    }
    bytes
}

/// The number of values inside a value, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The value number `at` inside a value.
fn pick<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| pick(item, at)),
        Value::Object(map) => map.values_mut().find_map(|item| pick(item, at)),
        _ => None,
    }
}

/// Values that a careless reader trips over.
fn odd_value() -> impl Strategy<Value = Value> {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(3),
        json!(1e308),
        json!(-0.0),
        json!(0.5),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1_u64 << 40),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([0, -1, "x", null]),
        json!({"x": {"x": {}}}),
        deep,
    ])
}

fn changed_json(folder: &Path, file: &str, at: Index, odd: Value) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap();
    let mut place = at.index(count(&value));
    *pick(&mut value, &mut place).unwrap() = odd;
    serde_json::to_vec(&value).unwrap()
}

/// As many models have it.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|' ~ message['role'] ~ '|>' ~ \
                        message['content'] | trim }}\
    {% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}";

fn use_template(template: &[u8]) -> spring_model::Result<()> {
    let folder = with(&fixture(), &MODEL, "chat_template.jinja", template);
    let tokenizer = Tokenizer::load(&ModelFiles::from_dir(folder.path())?, 100_000)?;
    tokenizer.encode_chat(&[Message { role: Role::User, content: "a b" }]).map(drop)
}

#[test]
fn templates_that_do_not_end_or_write_too_much_are_stopped() {
    use_template(TEMPLATE.as_bytes()).unwrap();
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    for template in [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{{ 'x' * 1000000 }}{% endfor %}",
        "{{ 'x' * 1000000000000 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'chat_template' %}",
        "{{ raise_exception('no') }}",
        "{{ messages[0].nothing.more }}",
        "{% for",
        &deep,
    ] {
        let error = use_template(template.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("chat_template.jinja: chat template: "), "{template:.60}: {error}");
    }
    assert!(use_template(b"{{ '\xff' }}").is_err());
}

#[test]
fn files_longer_than_any_model_has_are_refused() {
    for (file, limit) in [("config.json", 16_u64 << 20), ("tokenizer.json", 128 << 20)] {
        let folder = with(&fixture(), &MODEL, file, b"");
        // A hole: it takes no room on the disk.
        fs::File::options()
            .write(true)
            .open(folder.path().join(file))
            .unwrap()
            .set_len(limit + 1)
            .unwrap();
        let error = use_model(folder.path()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("longer than"), "{error}");
    }
    let adapter = with(&fixture().join("adapter"), &PEFT, PEFT[0], b"");
    fs::File::options()
        .write(true)
        .open(adapter.path().join(PEFT[0]))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    assert!(Adapter::load_peft(adapter.path()).unwrap_err().to_string().contains("longer than"));
}

#[test]
fn an_added_token_of_an_absurd_id_is_refused() {
    let bytes = fs::read(fixture().join("tokenizer.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&bytes).unwrap();
    let name = file["added_tokens"][0]["content"].as_str().unwrap().to_owned();
    file["model"]["vocab"][name] = json!(u32::MAX);
    let bytes = serde_json::to_vec(&file).unwrap();
    let folder = with(&fixture(), &MODEL, "tokenizer.json", &bytes);
    let error = use_model(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("4294967295"), "{error}");
}

/// The tokenizers library reads such a file and panics when it encodes the first text.
#[test]
fn a_tokenizer_that_fails_at_the_first_text_is_refused() {
    let bytes = fs::read(fixture().join("tokenizer.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&bytes).unwrap();
    file["post_processor"]["special_tokens"] = json!({});
    let folder = with(&fixture(), &MODEL, "tokenizer.json", &serde_json::to_vec(&file).unwrap());
    let error = use_model(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("library fails"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_model_files(
        file in prop::sample::select(vec!["config.json", "model.safetensors"]),
        kind in 0..3_u8,
        at in any::<Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let bytes = damaged(&fs::read(fixture().join(file)).unwrap(), kind, at, &noise);
        let folder = with(&fixture(), &MODEL, file, &bytes);
        if let Err(error) = use_model(folder.path()) {
            prop_assert!(named(&error, file), "{}: {}", file, error);
        }
    }

    #[test]
    fn damaged_tokenizers(
        kind in 0..3_u8,
        at in any::<Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let bytes = damaged(&fs::read(fixture().join("tokenizer.json")).unwrap(), kind, at, &noise);
        let folder = with(&fixture(), &MODEL, "tokenizer.json", &bytes);
        if let Err(error) = use_model(folder.path()) {
            prop_assert!(named(&error, "tokenizer.json"), "{}", error);
        }
    }

    #[test]
    fn damaged_headers_of_weights(
        at in 0..6000_usize,
        noise in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let mut bytes = fs::read(fixture().join("model.safetensors")).unwrap();
        bytes.iter_mut().skip(at).zip(&noise).for_each(|(byte, noise)| *byte = *noise);
        let folder = with(&fixture(), &MODEL, "model.safetensors", &bytes);
        if let Err(error) = use_model(folder.path()) {
            prop_assert!(named(&error, "model.safetensors"), "{}", error);
        }
    }

    #[test]
    fn odd_values_in_a_model_config(at in any::<Index>(), odd in odd_value()) {
        let bytes = changed_json(&fixture(), "config.json", at, odd);
        let _ = ModelConfig::from_json(&bytes, "config.json");
        let folder = with(&fixture(), &MODEL, "config.json", &bytes);
        if let Err(error) = use_model(folder.path()) {
            prop_assert!(named(&error, "config.json"), "{}", error);
        }
    }

    #[test]
    fn odd_values_in_a_tokenizer(at in any::<Index>(), odd in odd_value()) {
        let bytes = changed_json(&fixture(), "tokenizer.json", at, odd);
        let folder = with(&fixture(), &MODEL, "tokenizer.json", &bytes);
        if let Err(error) = use_model(folder.path()) {
            prop_assert!(named(&error, "tokenizer.json"), "{}", error);
        }
    }

    #[test]
    fn damaged_templates(
        kind in 0..3_u8,
        at in any::<Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        if let Err(error) = use_template(&damaged(TEMPLATE.as_bytes(), kind, at, &noise)) {
            prop_assert!(error.to_string().contains("chat_template.jinja"), "{}", error);
        }
    }

    #[test]
    fn odd_values_in_a_peft_config(at in any::<Index>(), odd in odd_value()) {
        let folder = fixture().join("adapter");
        let bytes = changed_json(&folder, "adapter_config.json", at, odd);
        let copy = with(&folder, &PEFT, "adapter_config.json", &bytes);
        let _ = Adapter::load_peft(copy.path()).map(|adapter| adapter.to_bytes());
    }

    #[test]
    fn damaged_peft_folders(
        file in 0..PEFT.len(),
        kind in 0..3_u8,
        at in any::<Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let folder = fixture().join("adapter");
        let bytes = damaged(&fs::read(folder.join(PEFT[file])).unwrap(), kind, at, &noise);
        let copy = with(&folder, &PEFT, PEFT[file], &bytes);
        match Adapter::load_peft(copy.path()) {
            Err(error) => {
                prop_assert!(error.to_string().contains(copy.path().to_str().unwrap()), "{}", error)
            }
            Ok(adapter) => drop(adapter.to_bytes().unwrap()),
        }
    }
}

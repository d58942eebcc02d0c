//! Text out of single tokens: its parts together are the whole, whatever the tokens are.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use spring_model::{AnyModel, Detokenizer, Device, ModelFiles, Tokenize};

const VOCABULARY: usize = 320;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")
}

fn load(folder: &Path) -> AnyModel {
    AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
}

/// The small model with a vocabulary of words behind `▁`, and of bytes for what they do not spell.
fn with_bytes(decoder: Value) -> AnyModel {
    let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let words = ["▁", "▁the", "a", "é", "▁日", "本", "▁▁", "\u{fffd}", ".", "▁don", "'t", "\n"];
    let pieces = special.iter().cloned().chain(bytes).chain(words.map(str::to_owned));
    let vocabulary: serde_json::Map<String, Value> =
        pieces.enumerate().map(|(id, piece)| (piece, json!(id))).collect();
    let added: Vec<Value> = (0..3)
        .map(|id| {
            json!({
                "id": id, "content": special[id], "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false
            })
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "added_tokens": added, "decoder": decoder,
        "model": {
            "type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": true,
            "unk_token": "<unk>", "fuse_unk": true
        }
    });
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    load(folder.path())
}

/// As Llama's, Gemma's and those of Mistral's first tokenizers are, and bytes with no space to
/// strip.
fn models() -> Vec<AnyModel> {
    let spaces = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let bytes = json!({"type": "ByteFallback"});
    let fuse = json!({"type": "Fuse"});
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let marks =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    let sequence = |decoders: &[&Value]| json!({"type": "Sequence", "decoders": decoders});
    vec![
        load(&tiny()),
        with_bytes(sequence(&[&spaces, &bytes, &fuse, &strip])),
        with_bytes(sequence(&[&spaces, &bytes, &fuse])),
        with_bytes(sequence(&[&bytes, &marks])),
    ]
}

/// The text of each token, and of the end.
fn parts(model: &AnyModel, ids: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new();
    let mut parts: Vec<String> =
        ids.iter().map(|id| detokenizer.push(model, *id).unwrap()).collect();
    parts.push(detokenizer.finish(model).unwrap());
    parts
}

#[test]
fn the_parts_of_a_text_are_the_whole_for_any_tokens() {
    let models = models();
    // Bytes of characters of one to four bytes beside each other more often than by chance.
    let runs = prop::collection::vec(
        prop_oneof![
            3 => prop::collection::vec(0..VOCABULARY as u32, 1..4),
            1 => "[aé日🦀 ]{1,3}"
                .prop_map(|text| text.bytes().map(|byte| 3 + u32::from(byte)).collect()),
            1 => prop::collection::vec(257..VOCABULARY as u32, 1..4),
        ],
        0..12,
    );
    proptest!(|(runs in runs)| {
        let ids = runs.concat();
        for (i, model) in models.iter().enumerate() {
            let whole = model.decode_text(&ids).unwrap();
            prop_assert_eq!(parts(model, &ids).concat(), whole, "tokenizer {}", i);
        }
    });
}

#[test]
fn a_character_comes_with_its_last_token() {
    let models = models();
    // Four bytes, then what ends the run of bytes.
    let crab: Vec<u32> = "🦀".bytes().map(|byte| 3 + u32::from(byte)).chain([261]).collect();
    assert_eq!(parts(&models[1], &crab), ["", "", "", "", "🦀a", ""]);
    assert_eq!(parts(&models[1], &crab[..4]), ["", "", "", "", "🦀"]);
    // What never becomes a character is told at the end.
    assert_eq!(parts(&models[1], &crab[..3]).concat(), models[1].decode_text(&crab[..3]).unwrap());

    let model = &models[0];
    let text = "naïve 日本 🦀!";
    let ids = model.encode(text).unwrap();
    let parts = parts(model, &ids);
    assert_eq!(parts.concat(), text);
    assert!(parts.iter().all(|part| !part.contains('\u{fffd}')), "{parts:?}");
    assert!(parts.iter().filter(|part| !part.is_empty()).count() > 6, "it streams: {parts:?}");
}

//! Token ids against llama.cpp's (see `fixtures/token_ids.py` and `fixtures/joined.py`), and small
//! vocabularies by hand.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use spring_gguf::tokenizers::Tokenizer;
use spring_gguf::{GgufFile, PreTokenizer, Result, VocabularyModel};
use support::{Writer, real_file};

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, false).unwrap().get_ids().to_vec()
}

/// Compares with a list of `[text, ids]` or `[text, ids with special tokens, ids without]`.
fn same_ids(name: &str, list: &str) {
    let Some(path) = real_file(name) else { return };
    let file = GgufFile::open(path).unwrap();
    let list: Vec<Entry> = serde_json::from_str(list).unwrap();
    assert!(list.len() >= 500);
    check_ids(file.tokenizer().unwrap(), &list);
}

type Entry = Vec<serde_json::Value>;

fn check_ids(mut tokenizer: Tokenizer, list: &[Entry]) {
    let mut wrong = Vec::new();
    for plain in [false, true] {
        tokenizer.set_encode_special_tokens(plain);
        for entry in list {
            let text = entry[0].as_str().unwrap();
            let ids = if plain { entry.last().unwrap() } else { &entry[1] };
            let want: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
            let got = encode(&tokenizer, text);
            if got != want {
                wrong.push(format!("{text:?} (plain: {plain}): {got:?}, not {want:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ids_of_smollm2_are_those_of_llama_cpp() {
    let list = include_str!("fixtures/smollm2.json");
    same_ids("SmolLM2-135M-Instruct.Q4_1.gguf", list);
}

#[test]
fn ids_of_other_pre_tokenizers_are_those_of_llama_cpp() {
    let Some(path) = real_file("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let file = GgufFile::open(path).unwrap();
    let base: Vec<Entry> = serde_json::from_str(include_str!("fixtures/smollm2.json")).unwrap();
    let others: BTreeMap<String, Vec<Entry>> =
        serde_json::from_str(include_str!("fixtures/pre_tokenizers.json")).unwrap();
    assert_eq!(others.len(), 11);
    for name in ["llama-bpe", "qwen2", "tekken"] {
        assert!(others.contains_key(name), "{name}");
    }
    for (name, others) in others {
        let mut vocabulary = file.vocabulary().unwrap();
        vocabulary.model = VocabularyModel::BytePairs(PreTokenizer::from_name(&name).unwrap());
        eprintln!("{name}");
        check_ids(vocabulary.tokenizer().unwrap(), &with_others(&base, others));
    }
}

/// A list with some of its entries replaced.
fn with_others(list: &[Entry], others: Vec<Entry>) -> Vec<Entry> {
    let mut list = list.to_vec();
    for other in others {
        let own = list.iter_mut().find(|entry| entry[0] == other[0]).unwrap();
        *own = other;
    }
    list
}

/// A real vocabulary hides most cuts: its pairs were learned after its own. In this one nearly
/// every cut shows.
#[test]
fn ids_of_pairs_across_cuts_are_those_of_llama_cpp() {
    let file = fixture_file("joined.gguf");
    let lists: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/joined.json")).unwrap();
    let texts: Vec<&str> =
        lists["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let lists: BTreeMap<String, Vec<Option<Vec<u32>>>> =
        serde_json::from_value(lists["ids"].clone()).unwrap();
    // All sets of names: of each, the one that it begins with is in the list.
    let expressions = |name: &str| {
        let pre = PreTokenizer::from_name(name).unwrap();
        (pre.expressions(), pre.keeps_whole_pieces())
    };
    for name in PreTokenizer::names().split(", ") {
        let listed = lists.keys().any(|other| expressions(other) == expressions(name));
        assert!(listed, "{name} is not compared");
    }
    let first = &lists["llama-bpe"];
    for (name, list) in &lists {
        let mut vocabulary = file.vocabulary().unwrap();
        vocabulary.model = VocabularyModel::BytePairs(PreTokenizer::from_name(name).unwrap());
        let tokenizer = vocabulary.tokenizer().unwrap();
        assert!(list.len() > 250 && list.len() == texts.len());
        for ((text, ids), first) in texts.iter().zip(list).zip(first) {
            let want = ids.as_ref().or(first.as_ref()).unwrap();
            assert_eq!(encode(&tokenizer, text), *want, "{name}: {text:?}");
        }
    }
}

fn fixture_file(name: &str) -> GgufFile {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    GgufFile::open(folder.join(name)).unwrap()
}

#[test]
fn ids_of_gemma_are_those_of_llama_cpp() {
    same_ids("gemma-3-270m-q4_k_m.gguf", include_str!("fixtures/gemma3.json"));
}

/// As SentencePiece cuts texts for Llama 2 and Mistral.
#[test]
fn ids_with_a_space_in_front_are_those_of_llama_cpp() {
    let Some(path) = real_file("gemma-3-270m-q4_k_m.gguf") else { return };
    let base: Vec<Entry> = serde_json::from_str(include_str!("fixtures/gemma3.json")).unwrap();
    let others: Vec<Entry> =
        serde_json::from_str(include_str!("fixtures/gemma3_space_prefix.json")).unwrap();
    assert!(others.len() > 500);
    let mut vocabulary = GgufFile::open(path).unwrap().vocabulary().unwrap();
    vocabulary.add_space_prefix = true;
    check_ids(vocabulary.tokenizer().unwrap(), &with_others(&base, others));
}

#[test]
fn vocabularies_of_the_real_files_are_whole() {
    if let Some(path) = real_file("SmolLM2-135M-Instruct.Q4_1.gguf") {
        let file = GgufFile::open(path).unwrap();
        let vocabulary = file.vocabulary().unwrap();
        assert_eq!((vocabulary.bos, vocabulary.eos), (Some(1), Some(2)));
        assert!(!vocabulary.add_bos && !vocabulary.add_space_prefix);
        assert_eq!(vocabulary.ends(), [0, 2]);
        assert!(file.chat_template(None).unwrap().contains("<|im_start|>"));
        let tokenizer = file.tokenizer().unwrap();
        let text = "Déjà vu: 12 😀\n\n  of it";
        let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
    if let Some(path) = real_file("gemma-3-270m-q4_k_m.gguf") {
        let file = GgufFile::open(path).unwrap();
        let vocabulary = file.vocabulary().unwrap();
        assert!(vocabulary.add_bos && !vocabulary.add_space_prefix);
        // The file names <eos> alone.
        assert_eq!(vocabulary.ends(), [1, 106]);
        assert_eq!(file.chat_template(None), None);
        let tokenizer = file.tokenizer().unwrap();
        let text = " Déjà vu: 12 \u{fffe} 😀\n\n  of it";
        let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        assert_eq!(ids[0], 2);
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
}

fn open(writer: Writer) -> (tempfile::TempDir, GgufFile) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, writer.finish()).unwrap();
    let file = GgufFile::open(Path::new(&path)).unwrap();
    (dir, file)
}

fn small_byte_pairs(pre: &str) -> Writer {
    let (ends, letters) = (["<|endoftext|>", "<|im_end|>"], ["a", "b", "1", "Ġ"]);
    let tokens = [&ends[..], &letters, &["ab", "Ġab", "11", "x!", "!"]].concat();
    Writer::new()
        .string("general.architecture", "llama")
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 1, 1, 1, 1, 4, 1])
        .strings("tokenizer.ggml.merges", &["a b", "Ġ ab", "1 1"])
}

#[test]
fn byte_pairs_follow_their_pre_tokenizer() {
    let ids = |pre, text| encode(&open(small_byte_pairs(pre)).1.tokenizer().unwrap(), text);
    assert_eq!(ids("gpt-2", "ab ab11"), [6, 7, 8]);
    assert_eq!(ids("smollm", "ab ab11"), [6, 7, 4, 4]);
    assert_eq!(ids("qwen2", "11"), [4, 4]);
    assert_eq!(ids("llama-bpe", "111"), [8, 4]);
    assert_eq!(ids("gpt-2", "abx!!"), [6, 9, 10]);
    let (_dir, file) = open(small_byte_pairs("gpt-2").u32("tokenizer.ggml.eos_token_id", 0));
    let vocabulary = file.vocabulary().unwrap();
    assert_eq!(vocabulary.ends(), [0, 1]);
    assert_eq!(vocabulary.bos, None);
    let mut tokenizer = file.tokenizer().unwrap();
    // The file calls <|im_end|> ordinary; its text says what it is.
    assert_eq!(encode(&tokenizer, "a<|im_end|>b"), [2, 1, 3]);
    tokenizer.set_encode_special_tokens(true);
    assert!(!encode(&tokenizer, "a<|im_end|>b").contains(&1));
    assert_eq!(encode(&tokenizer, "abx!"), [6, 9]);
}

fn small_sentence_piece() -> Writer {
    let (controls, letters) = (["<unk>", "<s>", "</s>"], ["▁", "a", "b", "c"]);
    let tokens = [&controls[..], &letters, &["ab", "bc", "▁a", "<0xC3>", "<0xA9>"]].concat();
    Writer::new()
        .string("general.architecture", "llama")
        .string("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &tokens)
        .f32s(
            "tokenizer.ggml.scores",
            &[0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, 0.0, 0.0],
        )
        .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 6, 6])
}

#[test]
fn sentence_piece_joins_the_best_pair_first() {
    let (_dir, file) = open(small_sentence_piece());
    let tokenizer = file.tokenizer().unwrap();
    // bc is better than ab; a space is put in front; what has no piece is spelled in bytes.
    assert_eq!(encode(&tokenizer, "abc"), [9, 8]);
    assert_eq!(encode(&tokenizer, "abé"), [3, 7, 10, 11]);
    assert_eq!(encode(&tokenizer, "a</s>a"), [9, 2, 9]);
    // The defaults of this kind: a first token, and no last one.
    assert_eq!(tokenizer.encode("a", true).unwrap().get_ids(), [1, 9]);
    assert_eq!(tokenizer.decode(&[1, 9, 8, 10, 11], true).unwrap(), "abcé");
    let (_dir, file) = open(
        small_sentence_piece()
            .bool("tokenizer.ggml.add_space_prefix", false)
            .bool("tokenizer.ggml.add_bos_token", false)
            .bool("tokenizer.ggml.add_eos_token", true),
    );
    let tokenizer = file.tokenizer().unwrap();
    assert_eq!(tokenizer.encode("a a", true).unwrap().get_ids(), [4, 9, 2]);
}

fn refused<T>(result: Result<T>, parts: &[&str]) {
    let error = result.err().expect("an error").to_string();
    assert!(error.contains("model.gguf") && !error.contains('\n'), "{error}");
    parts.iter().for_each(|part| assert!(error.contains(part), "{error} lacks {part}"));
}

#[test]
fn what_would_cut_texts_wrongly_is_refused() {
    let (_dir, file) = open(small_byte_pairs("some-new-one"));
    refused(file.tokenizer(), &["tokenizer.ggml.pre", "\"some-new-one\"", "qwen2"]);
    let (_dir, file) = open(Writer::new().string("tokenizer.ggml.model", "bert"));
    refused(file.vocabulary(), &["tokenizer.ggml.tokens", "missing"]);
    let (_dir, file) = open(
        Writer::new()
            .strings("tokenizer.ggml.tokens", &["a"])
            .string("tokenizer.ggml.model", "bert"),
    );
    refused(file.vocabulary(), &["tokenizer.ggml.model", "\"bert\""]);
    let rows = small_byte_pairs("gpt-2").tensor("token_embd.weight", &[1, 12], 0, &[0; 48]);
    refused(open(rows).1.vocabulary(), &["11 tokens", "12 rows"]);
    let outside = small_byte_pairs("gpt-2").u32("tokenizer.ggml.bos_token_id", 11);
    refused(open(outside).1.vocabulary(), &["bos_token_id"]);
    let (_dir, file) = open(
        Writer::new()
            .strings("tokenizer.ggml.tokens", &["a", "b"])
            .string("tokenizer.ggml.model", "gpt2")
            .strings("tokenizer.ggml.merges", &["a c"]),
    );
    refused(file.tokenizer(), &["tokenizer.ggml.merges"]);
}

#[test]
fn every_expression_is_one() {
    for name in PreTokenizer::names().split(", ") {
        let (_dir, file) = open(small_byte_pairs(name));
        assert_eq!(encode(&file.tokenizer().unwrap(), "ab")[..], [6], "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Whatever is done to a file, its tokenizer and hyper-parameters are read or refused.
    #[test]
    fn mutated_files_make_a_tokenizer_or_are_refused(
        pieces in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let writer = if pieces { small_sentence_piece() } else { small_byte_pairs("qwen2") };
        let mut bytes = writer.u32("tokenizer.ggml.eos_token_id", 0).finish();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        if let Ok(file) = GgufFile::open(&path) {
            prop_assert!(file.model_keys().is_err());
            if let Ok(tokenizer) = file.tokenizer() {
                let ids = encode(&tokenizer, "ab </s> é 11");
                prop_assert!(ids.iter().all(|&id| id < 12));
                file.vocabulary().unwrap().ends();
            }
        }
    }
}

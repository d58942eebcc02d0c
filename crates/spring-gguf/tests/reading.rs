//! Files as they should be and files as they should not be.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::path::Path;

use proptest::prelude::*;
use spring_gguf::{GgufFile, Header, Kind, Limits, Value};
use support::{Writer, real_file, text};

fn small() -> Writer {
    let nested: Vec<u8> = [
        9u32.to_le_bytes().as_slice(),
        &2u64.to_le_bytes(),
        &0u32.to_le_bytes(),
        &3u64.to_le_bytes(),
        &[1, 2, 3],
        &8u32.to_le_bytes(),
        &1u64.to_le_bytes(),
        &text("in"),
    ]
    .concat();
    Writer::new()
        .string("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .u16("llama.context_length", 512)
        .f32("llama.rope.freq_base", 1e4)
        .bool("tokenizer.ggml.add_bos_token", true)
        .strings("tokenizer.ggml.tokens", &["a", "b", "é"])
        .i32s("tokenizer.ggml.token_type", &[1, 3, -1])
        .raw("nested", 9, &nested)
        .raw("large", 11, &(-5i64).to_le_bytes())
        .tensor("one", &[4, 2], 0, &f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
        .tensor("two", &[32], 8, &[[0x00, 0x3c].as_slice(), &[2; 32]].concat())
        .tensor("odd", &[256], 16, &[0; 66])
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn parse(bytes: &[u8]) -> Result<Header, String> {
    let path = Path::new("model.gguf");
    Header::read(bytes, bytes.len() as u64, path, &Limits::default()).map_err(|e| e.to_string())
}

fn refused(bytes: &[u8], part: &str) {
    let error = parse(bytes).expect_err(part);
    assert!(error.starts_with("model.gguf: "), "{error}");
    let advice = ["fetch ", "name ", "convert ", "raise ", "unpack "];
    assert!(advice.iter().any(|word| error.contains(word)), "what to do? {error}");
    assert!(error.contains(part) && !error.contains('\n'), "{error} lacks {part}");
}

#[test]
fn metadata_and_tensors_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.gguf");
    std::fs::write(&path, small().finish()).unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.kind(), Kind::LanguageModel("llama".into()));
    let get = |key| file.metadata().get(key).unwrap();
    assert_eq!(get("llama.context_length").as_u64(), Some(512));
    assert_eq!(get("llama.rope.freq_base").as_f64(), Some(1e4));
    assert_eq!(get("tokenizer.ggml.add_bos_token").as_bool(), Some(true));
    assert_eq!(get("tokenizer.ggml.tokens").as_strings().unwrap()[2], "é");
    assert_eq!(get("large"), &Value::Signed(-5));
    assert_eq!(get("tokenizer.ggml.token_type").to_u64s(), None);
    assert_eq!(file.values("one").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(file.values("two").unwrap(), [2.0; 32]);
    let mut row = Vec::new();
    file.read_rows(file.tensor("one").unwrap(), 1..2, &mut row).unwrap();
    assert_eq!(row, f32s(&[5.0, 6.0, 7.0, 8.0]));
    assert!(file.read_rows(file.tensor("one").unwrap(), 1..3, &mut row).is_err());
    assert!(file.expect("one", &[4, 2]).is_ok());
    let error = file.expect("one", &[2, 4]).unwrap_err().to_string();
    assert!(error.contains("one") && error.contains("[2, 4]"), "{error}");
    let error = file.values("odd").unwrap_err().to_string();
    assert!(error.contains("odd") && error.contains("IQ2_XXS"), "{error}");
    assert!(error.contains("Q4_K, Q5_K, Q6_K"), "{error}");
    assert!(file.values("three").unwrap_err().to_string().contains("three"));
}

#[test]
fn version_two_is_version_three() {
    let mut two = small();
    two.version = 2;
    let header = parse(&two.finish()).unwrap();
    assert_eq!(header.version, 2);
    assert_eq!(header.tensors, parse(&small().finish()).unwrap().tensors);
}

#[test]
fn other_files_are_refused_by_name() {
    refused(b"PK\x03\x04 and more", "not a GGUF file");
    refused(b"GG", "not a GGUF file");
    refused(b"", "not a GGUF file");
    let mut file = small().finish();
    file[4..8].copy_from_slice(&1u32.to_le_bytes());
    refused(&file, "version 1");
    file[4..8].copy_from_slice(&3u32.to_be_bytes());
    refused(&file, "big-endian");
    file[4..8].copy_from_slice(&4u32.to_le_bytes());
    refused(&file, "version 4");
}

#[test]
fn every_truncation_is_an_error() {
    let file = small().finish();
    for length in 0..file.len() {
        // The last tensor's format is not read, so its bytes are not counted.
        match parse(&file[..length]) {
            Ok(header) => {
                let last = header.tensors.iter().map(|t| t.start + t.bytes).max().unwrap();
                assert!(last <= length as u64);
            }
            Err(error) => assert!(!error.is_empty()),
        }
    }
    refused(&file[..file.len() - 66 - 64], "two");
    refused(&file[..100], "ends before");
}

#[test]
fn counts_are_not_believed() {
    let file = small().finish();
    for (at, part) in [(8, "tensor table"), (16, "metadata")] {
        for count in [u64::MAX, 1 << 40, 60_000] {
            let mut file = file.clone();
            file[at..at + 8].copy_from_slice(&count.to_le_bytes());
            refused(&file, part);
        }
    }
    let huge = |kind: u32| {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend((1u64 << 60).to_le_bytes());
        Writer::new().raw("list", 9, &value).finish()
    };
    for kind in [0, 5, 8, 9, 10] {
        refused(&huge(kind), "list");
    }
    refused(&Writer::new().raw("s", 8, &(1u64 << 50).to_le_bytes()).finish(), "a text of s");
    let mut deep = Vec::new();
    for _ in 0..50 {
        deep.extend(9u32.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    refused(&Writer::new().raw("deep", 9, &deep).finish(), "the depth of lists");
}

#[test]
fn damage_is_named() {
    let twice = Writer::new().u32("k", 1).u32("k", 2).finish();
    refused(&twice, "key k: is there twice");
    refused(&Writer::new().raw("b", 7, &[2]).finish(), "key b: is a truth value");
    refused(&Writer::new().raw("x", 13, &[2]).finish(), "unknown type 13");
    refused(&Writer::new().raw("t", 8, b"\x01\0\0\0\0\0\0\0\xff").finish(), "not UTF-8");
    for wrong in [0, 4, 12] {
        refused(&Writer::new().u32("general.alignment", wrong).finish(), "multiple of 8");
    }
    let tensor = |dims: &[u64], kind| Writer::new().tensor("t", dims, kind, &[0; 64]).finish();
    refused(&tensor(&[33], 8), "rows of 33");
    refused(&tensor(&[0], 0), "[0]");
    refused(&tensor(&[1 << 40, 1 << 40], 0), "shape");
    refused(&tensor(&[], 0), "0 dimensions");
    refused(&tensor(&[1; 5], 0), "5 dimensions");
    refused(&tensor(&[1 << 30], 0), "the end of tensor t");
    let one = Writer::new().tensor("t", &[1], 0, &[0; 4]).tensor("t", &[1], 0, &[0; 4]);
    refused(&one.finish(), "tensor t: is there twice");
    let mut overlap = Writer::new();
    overlap.alignment = 8;
    let overlap = overlap
        .u32("general.alignment", 8)
        .tensor("first", &[4], 0, &[0; 8])
        .tensor("second", &[4], 0, &[0; 16])
        .finish();
    refused(&overlap, "tensor second: lies over tensor first");
    let mut odd = Writer::new();
    odd.alignment = 8;
    let odd = odd.tensor("a", &[2], 0, &[0; 8]).tensor("b", &[8], 0, &[0; 32]).finish();
    refused(&odd, "no multiple of 32");
}

#[test]
fn kinds_are_told_apart() {
    let kind = |writer: Writer| Kind::of(&parse(&writer.finish()).unwrap().metadata);
    let of = |name| Writer::new().string("general.architecture", name);
    assert_eq!(kind(of("qwen3")), Kind::LanguageModel("qwen3".into()));
    assert_eq!(kind(of("llama").string("general.type", "adapter")), Kind::Adapter);
    assert_eq!(kind(of("llama").string("adapter.type", "lora")), Kind::Adapter);
    assert_eq!(kind(of("clip")), Kind::Projector);
    assert_eq!(kind(of("clip").string("general.type", "mmproj")), Kind::Projector);
    assert_eq!(kind(of("bert")), Kind::Encoder("bert".into()));
    assert_eq!(kind(Writer::new()), Kind::Other(String::new()));
}

#[test]
fn models_in_several_files_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |n: u32| dir.path().join(format!("m-0000{n}-of-00002.gguf"));
    let part = |n: u16| {
        Writer::new()
            .string("general.architecture", if n == 0 { "llama" } else { "" })
            .u16("split.no", n)
            .u16("split.count", 2)
            .u32("split.tensors.count", 2)
            .tensor(&format!("t{n}"), &[1], 0, &f32::from(n).to_le_bytes())
            .finish()
    };
    std::fs::write(path(1), part(0)).unwrap();
    let error = GgufFile::open(path(1)).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf"), "{error}");
    std::fs::write(path(2), part(1)).unwrap();
    for opened in [path(1), path(2)] {
        let file = GgufFile::open(opened).unwrap();
        assert_eq!(file.tensors().len(), 2);
        assert_eq!(file.values("t1").unwrap(), [1.0]);
        assert_eq!(file.language_model().unwrap(), "llama");
    }
    std::fs::write(path(2), part(0)).unwrap();
    assert!(GgufFile::open(path(1)).unwrap_err().to_string().contains("not part 2"));
    let other = dir.path().join("renamed.gguf");
    std::fs::write(&other, part(0)).unwrap();
    assert!(GgufFile::open(&other).unwrap_err().to_string().contains("-00001-of-00002"));
}

#[test]
fn names_of_a_file_leave_a_message_one_line() {
    let error = |writer: Writer| parse(&writer.finish()).unwrap_err().to_string();
    let tensor = error(Writer::new().tensor("a\n\u{1b}[31mb\u{2028}é", &[3, 0], 0, &[]));
    assert!(tensor.contains(r"tensor a\n\u{1b}[31mb\u{2028}é:"), "{tensor}");
    let key = error(Writer::new().u32("k\r\n", 1).u32("k\r\n", 2));
    assert!(key.contains(r"key k\r\n:"), "{key}");
}

/// The headers of real files, a word or a byte of them replaced or the rest cut off.
#[test]
fn headers_of_real_files_are_read_or_refused() {
    for name in ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"] {
        let Some(path) = real_file(name) else { continue };
        let whole = std::fs::read(&path).unwrap();
        let start = parse(&whole).unwrap().tensors.iter().map(|tensor| tensor.start).min().unwrap();
        let (length, mut bytes) = (whole.len() as u64, whole);
        bytes.truncate(start as usize);
        let read = |bytes: &[u8], length: u64| match Header::read(
            bytes,
            length,
            &path,
            &Limits::default(),
        ) {
            Ok(header) => {
                let ends = header.tensors.iter().map(|tensor| tensor.start + tensor.bytes);
                assert!(ends.max().unwrap_or_default() <= length);
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        };
        // In the first keys, in the table of tensors at the end, and anywhere between.
        let places = [8, 16, 24, 32, 57, start - 20, start - 64, start - 1000, start - 9000];
        let places = places.into_iter().chain((1..8).map(|part| start / 8 * part + part));
        for (at, word) in places.zip([u64::MAX, 1 << 63, 1 << 40, 70_000, 0].iter().cycle()) {
            let at = at as usize;
            let mut spoilt = bytes.clone();
            spoilt[at..at + 8].copy_from_slice(&word.to_le_bytes());
            read(&spoilt, length);
            spoilt.clone_from(&bytes);
            spoilt[at] ^= 0x81;
            read(&spoilt, length);
            read(&bytes[..at], at as u64);
        }
        // Tensors that a shorter file does not hold.
        let cut = Header::read(bytes.as_slice(), length - 1000, &path, &Limits::default());
        let error = cut.unwrap_err().to_string();
        assert!(error.contains("the end of tensor") && error.contains("fetch it again"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Whatever is done to a file, it is read or refused: no panic, no large allocation, and what
    /// is accepted lies inside the file.
    #[test]
    fn mutated_files_are_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        word in prop::option::of((any::<prop::sample::Index>(), prop_oneof![
            Just(u64::MAX), Just(1 << 63), Just(1 << 32), Just(u64::from(u32::MAX)), any::<u64>(),
        ])),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = small().finish();
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some((at, word)) = word {
            let at = at.index(file.len() - 8);
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(header) = parse(&file) {
            for tensor in &header.tensors {
                prop_assert!(tensor.start + tensor.bytes <= file.len() as u64);
                prop_assert_eq!(tensor.start % header.alignment, 0);
            }
        }
    }
}

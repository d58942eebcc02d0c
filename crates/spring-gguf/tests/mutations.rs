//! Whole files, spoilt in many ways: they are read or refused, and nothing else happens.
//!
//! The fuzz target `whole_file` does the same with a compiler that guides it. Where there is none:
//!
//! ```sh
//! SPRING_MUTATIONS=200000 cargo test -p spring-gguf --test mutations -- --ignored
//! ```
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;
#[path = "support/whole_file.rs"]
mod whole_file;

use std::collections::BTreeMap;

use spring_gguf::{Architecture, GgufFile, Lora, LoraBase, LoraFactors, LoraFormat, LoraTarget};
use support::Writer;
use whole_file::{base, read_all};

/// A small model of an architecture that passes every check.
fn model(architecture: Architecture, pieces: bool) -> Vec<u8> {
    let base = base(architecture);
    let name = architecture.name();
    let tokens = match pieces {
        true => ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab"],
        false => ["<|endoftext|>", "<s>", "</s>", "Ġ", "a", "b", "ab", "Ġab"],
    };
    let mut writer = Writer::new()
        .string("general.architecture", name)
        .string("tokenizer.chat_template", "{{ messages }}")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 1, 1, 1, 1, 4])
        .f32(&format!("{name}.attention.layer_norm_rms_epsilon"), 1e-6)
        .f32(&format!("{name}.rope.freq_base"), 1e4);
    writer = match pieces {
        true => writer
            .string("tokenizer.ggml.model", "llama")
            .f32s("tokenizer.ggml.scores", &[0.0, 0.0, 0.0, -9.0, -9.0, -8.0, -2.0, -1.0]),
        false => writer
            .string("tokenizer.ggml.model", "gpt2")
            .string("tokenizer.ggml.pre", "llama-bpe")
            .strings("tokenizer.ggml.merges", &["a b", "Ġ ab"]),
    };
    for (key, value) in [
        ("block_count", base.layers),
        ("context_length", 64),
        ("embedding_length", base.hidden),
        ("feed_forward_length", base.feed_forward),
        ("attention.head_count", base.heads),
        ("attention.head_count_kv", base.kv_heads),
        ("attention.key_length", base.key_length),
        ("attention.value_length", base.value_length),
    ] {
        writer = writer.u32(&format!("{name}.{key}"), value as u32);
    }
    let embedding = [8, tokens.len() as u64];
    let file = |writer: Writer| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, writer.finish()).unwrap();
        (GgufFile::open(&path).unwrap(), dir)
    };
    let start = || writer.clone().tensor("token_embd.weight", &embedding, 0, &[0; 256]);
    let (first, _dir) = file(start());
    let keys = first.model_keys().unwrap();
    let mut whole = start();
    for (name, dims) in keys.tensors() {
        if name != "token_embd.weight" {
            let bytes = vec![0; 4 * dims.iter().product::<u64>() as usize];
            whole = whole.tensor(&name, &dims, 0, &bytes);
        }
    }
    let bytes = whole.clone().finish();
    let (file, _dir) = file(whole);
    file.check_model(&file.model_keys().unwrap()).unwrap();
    file.tokenizer().unwrap();
    bytes
}

fn adapter(base: &LoraBase) -> Vec<u8> {
    let mut factors = BTreeMap::new();
    for target in LoraTarget::ALL {
        let (inputs, outputs) = base.shape(target);
        let (a, b) = (vec![0.5; 2 * inputs], vec![0.25; 2 * outputs]);
        factors.insert((1, target), LoraFactors { rank: 2, a, b });
    }
    let mut bytes = Vec::new();
    let lora = Lora { alpha: 4.0, base: "f00d".into(), factors };
    lora.write(base, LoraFormat::F16, &mut bytes).unwrap();
    bytes
}

fn whole_files() -> Vec<Vec<u8>> {
    let models = Architecture::ALL.into_iter().zip([false, true].into_iter().cycle());
    let models = models.map(|(architecture, pieces)| model(architecture, pieces));
    let adapters = Architecture::ALL.into_iter().map(|architecture| adapter(&base(architecture)));
    models.chain(adapters).collect()
}

/// Numbers that lengths, counts and places go wrong with.
const EDGES: [u64; 12] =
    [0, 1, 2, 7, 255, 1 << 16, 70_000, 1 << 31, u32::MAX as u64, 1 << 40, 1 << 63, u64::MAX];

/// Draws that repeat.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}

/// One to four changes: bytes, words of edges, cuts, and stretches of it or of another file.
fn spoil(bytes: &mut Vec<u8>, other: &[u8], draws: &mut Draws) {
    for _ in 0..1 + draws.below(4) {
        let at = draws.below(bytes.len());
        let stretch = 1 + draws.below(24);
        match draws.below(8) {
            0 | 1 => bytes[at] = draws.below(256) as u8,
            2 => bytes[at] ^= 1 << draws.below(8),
            3 | 4 => {
                let word = EDGES[draws.below(EDGES.len())].to_le_bytes();
                let size = if draws.below(2) == 0 { 4 } else { 8 };
                let end = (at + size).min(bytes.len());
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
            5 => drop(bytes.drain(at..(at + stretch).min(bytes.len()))),
            6 => {
                let from = draws.below(other.len());
                let part = other[from..(from + stretch).min(other.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ if draws.below(4) == 0 => bytes.truncate(at),
            _ => {
                let from = draws.below(bytes.len());
                let part = bytes[from..(from + stretch).min(bytes.len())].to_vec();
                let end = (at + part.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&part[..end - at]);
            }
        }
        if bytes.is_empty() {
            return;
        }
    }
}

/// Says how many of them could be opened.
fn mutate(count: usize, seed: u64) -> usize {
    let files = whole_files();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let mut draws = Draws(seed);
    let mut opened = 0;
    for _ in 0..count {
        let mut bytes = files[draws.below(files.len())].clone();
        let other = &files[draws.below(files.len())];
        spoil(&mut bytes, other, &mut draws);
        std::fs::write(&path, &bytes).unwrap();
        let read = std::panic::catch_unwind(|| read_all(&path));
        let Ok(read) = read else {
            let kept = std::env::temp_dir().join("spring-gguf-mutation.gguf");
            std::fs::write(&kept, &bytes).unwrap();
            panic!("reading panicked (its message is above); the file is {}", kept.display());
        };
        opened += usize::from(read);
    }
    opened
}

#[test]
fn whole_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in whole_files() {
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        assert!(read_all(&path));
    }
}

#[test]
fn spoilt_files_are_read_or_refused() {
    let opened = mutate(1500, 18);
    // Some have to come past the header, or nothing behind it is tested.
    assert!((100..1500).contains(&opened), "{opened}");
}

#[test]
#[ignore = "as long as one likes: SPRING_MUTATIONS, SPRING_SEED"]
fn many_spoilt_files_are_read_or_refused() {
    let number = |name, default| {
        std::env::var(name).map_or(default, |text: String| text.parse().expect("a number"))
    };
    let count = number("SPRING_MUTATIONS", 100_000);
    eprintln!(
        "{} of {count} files could be opened",
        mutate(count as usize, number("SPRING_SEED", 1))
    );
}

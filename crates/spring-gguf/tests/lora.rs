//! LoRA adapters: the same numbers come back, and files that lie are refused.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use half::f16;
use proptest::prelude::*;
use spring_gguf::{
    Architecture, GgufFile, Lora, LoraBase, LoraFactors, LoraFormat, LoraTarget, rotation_row,
};
use support::Writer;

fn base(architecture: Architecture) -> LoraBase {
    LoraBase {
        architecture,
        layers: 3,
        hidden: 8,
        feed_forward: 20,
        heads: 2,
        kv_heads: 1,
        key_length: 6,
        value_length: 6,
    }
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 31) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn adapter(base: &LoraBase) -> Lora {
    let mut factors = BTreeMap::new();
    for (i, target) in LoraTarget::ALL.into_iter().enumerate() {
        for layer in [0, 2] {
            let ((inputs, outputs), rank) = (base.shape(target), i % 3 + 1);
            let (a, b) = (numbers(rank * inputs, i), numbers(rank * outputs, i + layer));
            factors.insert((layer, target), LoraFactors { rank, a, b });
        }
    }
    Lora { alpha: 3.5, base: "f00d".into(), factors }
}

fn save(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter.gguf");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn written(lora: &Lora, base: &LoraBase, format: LoraFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    lora.write(base, format, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_same_numbers_come_back() {
    for architecture in Architecture::ALL {
        let base = base(architecture);
        let lora = adapter(&base);
        let (_dir, path) = save(&written(&lora, &base, LoraFormat::F32));
        assert_eq!(GgufFile::open(path).unwrap().lora(&base).unwrap(), lora, "{architecture:?}");
    }
}

#[test]
fn halves_are_the_nearest() {
    let base = base(Architecture::Llama);
    let mut lora = adapter(&base);
    let (_dir, path) = save(&written(&lora, &base, LoraFormat::F16));
    let read = GgufFile::open(path).unwrap().lora(&base).unwrap();
    for factors in lora.factors.values_mut() {
        for value in factors.a.iter_mut().chain(&mut factors.b) {
            *value = f16::from_f32(*value).to_f32();
        }
    }
    assert_eq!(read, lora);
}

#[test]
fn queries_and_keys_of_llama_have_the_rows_of_its_matrices() {
    for (architecture, target, permuted) in [
        (Architecture::Llama, LoraTarget::Query, true),
        (Architecture::Llama, LoraTarget::Key, true),
        (Architecture::Llama, LoraTarget::Value, false),
        (Architecture::Qwen3, LoraTarget::Query, false),
    ] {
        let base = base(architecture);
        let (_, outputs) = base.shape(target);
        let b: Vec<f32> = (0..outputs).map(|row| row as f32).collect();
        let factors = LoraFactors { rank: 1, a: vec![1.0; 8], b };
        let factors = [((1, target), factors)].into();
        let lora = Lora { alpha: 1.0, base: String::new(), factors };
        let (_dir, path) = save(&written(&lora, &base, LoraFormat::F32));
        let file = GgufFile::open(path).unwrap();
        let name = format!("blk.1.{}.weight.lora_b", target.gguf_name());
        assert_eq!(file.tensor(&name).unwrap().dims, [1, outputs as u64]);
        for (row, value) in file.values(&name).unwrap().into_iter().enumerate() {
            // Row r of the model folder stands at rotation_row(r) in the file.
            let folder = value as usize;
            let place = if permuted { rotation_row(folder, 6) } else { folder };
            assert_eq!(place, row, "{architecture:?} {target:?}");
        }
    }
}

/// An adapter of one layer's queries, in which something may be replaced.
fn one() -> Writer {
    keys("llama", "lora").tensor(A, &[8, 2], 0, &[0; 64]).tensor(B, &[2, 12], 0, &[0; 96])
}

fn keys(architecture: &str, kind: &str) -> Writer {
    Writer::new()
        .string("general.type", "adapter")
        .string("general.architecture", architecture)
        .string("adapter.type", kind)
}

const A: &str = "blk.0.attn_q.weight.lora_a";
const B: &str = "blk.0.attn_q.weight.lora_b";

#[test]
fn an_adapter_without_alpha_has_the_scale_1() {
    let (_dir, path) = save(&one().finish());
    let lora = GgufFile::open(path).unwrap().lora(&base(Architecture::Llama)).unwrap();
    assert_eq!((lora.alpha, lora.base.as_str()), (0.0, ""));
    assert_eq!(lora.factors.keys().copied().collect::<Vec<_>>(), [(0, LoraTarget::Query)]);
}

#[test]
fn what_is_no_adapter_for_the_base_is_refused() {
    let refused = |writer: Writer, parts: &[&str]| {
        let (_dir, path) = save(&writer.finish());
        let read = GgufFile::open(path).and_then(|file| file.lora(&base(Architecture::Llama)));
        let error = read.unwrap_err().to_string();
        assert!(error.contains("adapter.gguf") && !error.contains('\n'), "{error}");
        parts.iter().for_each(|part| assert!(error.contains(part), "{error}: {part}"));
    };
    let model = Writer::new().string("general.architecture", "llama");
    refused(model, &["a language model (llama)", "not a LoRA adapter"]);
    refused(keys("llama", "dora"), &["\"dora\""]);
    refused(keys("llama", "lora"), &["without a tensor"]);
    refused(keys("qwen2", "lora"), &["general.architecture", "qwen2", "llama"]);
    refused(one().f32("adapter.lora.alpha", f32::NAN), &["adapter.lora.alpha"]);
    refused(one().f32("adapter.lora.alpha", -1.0), &["adapter.lora.alpha"]);
    refused(one().string("adapter.lora.alpha", "16"), &["adapter.lora.alpha"]);
    let llama = || keys("llama", "lora");
    refused(llama().tensor(A, &[8, 2], 0, &[0; 64]), &[A, "without its partner"]);
    refused(llama().tensor(B, &[2, 12], 0, &[0; 96]), &[B, "without its partner"]);
    for other in [
        "token_embd.weight.lora_a",
        "output.weight.lora_a",
        "blk.0.attn_norm.weight",
        "blk.0.attn_q.weight.lora_c",
        "blk.-1.attn_q.weight.lora_a",
        "blk.99999999999999999999.attn_q.weight.lora_a",
    ] {
        refused(one().tensor(other, &[8], 0, &[0; 32]), &[other, "attn_q, attn_k"]);
    }
    let absent = "blk.3.attn_q.weight.lora_a";
    refused(one().tensor(absent, &[8, 2], 0, &[0; 64]), &[absent, "block 3", "has 3"]);
    let wide = vec![0; 4 * 8 * 1025];
    let absurd = llama().tensor(A, &[8, 1025], 0, &wide).tensor(B, &[1025, 12], 0, &[0; 49_200]);
    refused(absurd, &[A, "the rank 1025"]);
    let other_rank = llama().tensor(A, &[8, 2], 0, &[0; 64]).tensor(B, &[3, 12], 0, &[0; 144]);
    refused(other_rank, &[B, "[3, 12]", "[2, 12]"]);
    let other_base = llama().tensor(A, &[16, 2], 0, &[0; 128]).tensor(B, &[2, 12], 0, &[0; 96]);
    refused(other_base, &[A, "[16, 2]", "[8, 2]"]);
    let mut odd = [0; 96];
    odd[40..44].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let odd = llama().tensor(A, &[8, 2], 0, &[0; 64]).tensor(B, &[2, 12], 0, &odd);
    refused(odd, &[B, "not finite"]);
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let base = base(Architecture::Llama);
    let whole = written(&adapter(&base), &base, LoraFormat::F32);
    for length in (0..whole.len() - 32).step_by(97) {
        let (_dir, path) = save(&whole[..length]);
        let error = GgufFile::open(path).and_then(|file| file.lora(&base)).unwrap_err().to_string();
        assert!(error.contains("adapter.gguf"), "{length}: {error}");
    }
}

#[test]
fn factors_that_do_not_fit_are_not_written() {
    let base = base(Architecture::Llama);
    let refused = |change: &dyn Fn(&mut Lora), part: &str| {
        let mut lora = adapter(&base);
        change(&mut lora);
        let error = lora.write(&base, LoraFormat::F16, std::io::sink()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(part), "{error}");
    };
    let place = (0, LoraTarget::Query);
    refused(&|lora| lora.factors.get_mut(&place).unwrap().rank = 3, "blk.0.attn_q.weight: ");
    refused(&|lora| lora.factors.get_mut(&place).unwrap().b[3] = f32::NAN, "not finite");
    // Finite as it is, infinite in 16 bits.
    refused(&|lora| lora.factors.get_mut(&place).unwrap().a[3] = 1e6, "not finite");
    refused(
        &|lora| {
            let factors = lora.factors[&place].clone();
            lora.factors.insert((3, LoraTarget::Query), factors);
        },
        "blk.3.attn_q.weight: ",
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever is done to a file, it is read or refused.
    #[test]
    fn mutated_adapters_are_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let base = base(Architecture::Llama);
        let mut file = one().f32("adapter.lora.alpha", 8.0).finish();
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let (_dir, path) = save(&file);
        if let Ok(lora) = GgufFile::open(path).and_then(|file| file.lora(&base)) {
            for (&(layer, target), factors) in &lora.factors {
                let (inputs, outputs) = base.shape(target);
                prop_assert!(layer < base.layers && lora.alpha.is_finite());
                prop_assert_eq!(factors.a.len(), factors.rank * inputs);
                prop_assert_eq!(factors.b.len(), factors.rank * outputs);
                prop_assert!(factors.a.iter().chain(&factors.b).all(|value| value.is_finite()));
            }
        }
    }
}

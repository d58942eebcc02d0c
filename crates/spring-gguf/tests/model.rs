//! Hyper-parameters: what files state, what is assumed, and what is refused.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use spring_gguf::{Architecture, GgufFile, RopeScaling, rotation_row};
use support::{Writer, real_file};

fn open(writer: Writer) -> (tempfile::TempDir, GgufFile) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, writer.finish()).unwrap();
    let file = GgufFile::open(&path).unwrap();
    (dir, file)
}

fn keys(name: &str) -> Writer {
    keys_of(name, 1)
}

fn keys_of(name: &str, layers: u32) -> Writer {
    Writer::new()
        .string("general.architecture", name)
        .u32(&format!("{name}.block_count"), layers)
        .u32(&format!("{name}.embedding_length"), 8)
        .u32(&format!("{name}.attention.head_count"), 2)
        .u32(&format!("{name}.feed_forward_length"), 16)
        .u32(&format!("{name}.context_length"), 64)
        .f32(&format!("{name}.attention.layer_norm_rms_epsilon"), 1e-6)
        .tensor("token_embd.weight", &[8, 5], 0, &[0; 160])
}

#[test]
fn missing_keys_have_the_reference_s_defaults() {
    let (_dir, file) = open(keys("llama"));
    let model = file.model_keys().unwrap();
    assert_eq!(model.architecture, Architecture::Llama);
    assert_eq!((model.heads, model.kv_heads, model.key_length, model.value_length), (2, 2, 4, 4));
    assert_eq!((model.rope_base, model.rope_dimensions), (10_000.0, 4));
    assert_eq!(model.rope_scaling, RopeScaling::None);
    assert_eq!((model.vocabulary, model.sliding_window), (5, None));
    assert_eq!(model.attention_scale, 0.5);
    assert!(model.tied_output && model.permuted_rows && !model.shifted_norms);
    let (_dir, file) = open(keys("gemma3").u32("gemma3.attention.sliding_window", 32));
    let model = file.model_keys().unwrap();
    let window = model.sliding_window.unwrap();
    assert_eq!((window.tokens, window.period, window.rope_base), (32, 6, 10_000.0));
    let full: Vec<usize> = (0..18).filter(|&layer| !window.is_in(layer)).collect();
    assert_eq!(full, [5, 11, 17]);
    assert!(model.shifted_norms && !model.permuted_rows);
}

#[test]
fn stated_keys_are_taken() {
    let (_dir, file) = open(
        keys("llama")
            .i32s("llama.attention.head_count_kv", &[1])
            .u32("llama.attention.key_length", 6)
            .f32("llama.rope.freq_base", 5e5)
            .string("llama.rope.scaling.type", "yarn")
            .f32("llama.rope.scaling.factor", 4.0)
            .u32("llama.rope.scaling.original_context_length", 16),
    );
    let model = file.model_keys().unwrap();
    assert_eq!((model.kv_heads, model.key_length, model.rope_base), (1, 6, 5e5));
    let scaling = RopeScaling::None;
    assert_ne!(model.rope_scaling, scaling);
    let RopeScaling::Yarn { factor, original_context, .. } = model.rope_scaling else {
        panic!("{:?}", model.rope_scaling)
    };
    assert_eq!((factor, original_context), (4.0, Some(16)));
    let (_dir, file) = open(keys("qwen2").f32("qwen2.rope.scale_linear", 2.0));
    let model = file.model_keys().unwrap();
    assert!(matches!(model.rope_scaling, RopeScaling::Linear { factor: 2.0, .. }));
    assert!(model.tensors().iter().any(|(name, _)| name == "blk.0.attn_v.bias"));
}

#[test]
fn windows_may_be_listed_by_layer() {
    let listed = |each: &[bool]| {
        let (_dir, file) = open(
            keys_of("gemma3", each.len() as u32)
                .u32("gemma3.attention.sliding_window", 32)
                .bools("gemma3.attention.sliding_window_pattern", each),
        );
        file.model_keys().map(|model| {
            let window = model.sliding_window.unwrap();
            (0..each.len()).map(|layer| window.is_in(layer)).collect::<Vec<_>>()
        })
    };
    let every = |period: usize, layers: usize| -> Vec<bool> {
        (1..=layers).map(|layer| layer % period != 0).collect()
    };
    for each in [every(6, 18), every(6, 26), every(2, 5), every(1, 3), every(9, 4)] {
        assert_eq!(listed(&each).unwrap(), each);
    }
    let odd = listed(&[true, false, false, true]).unwrap_err().to_string();
    assert!(odd.contains("sliding_window_pattern") && odd.contains("no period"), "{odd}");
}

#[test]
fn impossible_models_are_refused() {
    let refused = |writer: Writer, parts: &[&str]| {
        let (_dir, file) = open(writer);
        let result = file.model_keys().and_then(|keys| file.check_model(&keys));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("model.gguf") && !error.contains('\n'), "{error}");
        assert!(["take ", "name "].iter().any(|word| error.contains(word)), "what to do? {error}");
        parts.iter().for_each(|part| assert!(error.contains(part), "{error} lacks {part}"));
    };
    refused(keys("mamba"), &["general.architecture", "\"mamba\"", "qwen3"]);
    refused(keys("bert"), &["an encoder of texts (bert)"]);
    let general = |kind| Writer::new().string("general.type", kind);
    refused(general("adapter"), &["a LoRA adapter"]);
    refused(general("mmproj"), &["mmproj"]);
    refused(keys("llama").u32("llama.expert_count", 8), &["llama.expert_count"]);
    refused(keys("llama").u32("llama.attention.head_count_kv", 0), &["head_count_kv"]);
    refused(keys("llama").u32("llama.attention.head_count_kv", 3), &["head_count_kv", "2 heads"]);
    let uneven = keys("llama").i32s("llama.attention.head_count_kv", &[1, 2]);
    refused(uneven, &["head_count_kv", "layer to layer"]);
    refused(keys("llama").u32("llama.rope.dimension_count", 3), &["rope.dimension_count"]);
    refused(keys("llama").string("llama.rope.scaling.type", "x"), &["rope.scaling.type"]);
    refused(keys("llama").f32("llama.rope.freq_base", f32::NAN), &["rope.freq_base"]);
    let bare = Writer::new().string("general.architecture", "llama");
    refused(bare, &["llama.block_count", "missing"]);
    refused(keys("llama"), &["output_norm.weight", "not in the file"]);
    let joined = keys("llama")
        .tensor("output_norm.weight", &[8], 0, &[0; 32])
        .tensor("blk.0.attn_norm.weight", &[8], 0, &[0; 32])
        .tensor("blk.0.attn_qkv.weight", &[8, 24], 0, &[0; 768]);
    refused(joined, &["blk.0.attn_qkv.weight", "take a file that has attn_q, attn_k and attn_v"]);
    let norm = keys("llama").tensor("output_norm.weight", &[9], 0, &[0; 36]);
    refused(norm, &["output_norm.weight", "[9]", "[8]"]);
    let odd = keys("llama").tensor("output_norm.weight", &[8], 16, &[0; 66]);
    refused(odd, &["output_norm.weight", "IQ2_XXS"]);
}

#[test]
fn permuted_rows_go_back() {
    // As converters permute a head of 8 rows: pairs (0, 4), (1, 5) and so on stand together.
    let stored: Vec<usize> = (0..16).map(|i| i / 8 * 8 + i % 8 / 2 + i % 2 * 4).collect();
    let back: Vec<usize> = (0..16).map(|row| stored[rotation_row(row, 8)]).collect();
    assert_eq!(back, (0..16).collect::<Vec<_>>());
    let rows: Vec<u8> = stored.iter().flat_map(|&row| (row as f32).to_le_bytes()).collect();
    let (_dir, file) = open(Writer::new().tensor("q", &[1, 16], 0, &rows));
    let matrix = file.matrix_in_order("q", |row| rotation_row(row, 8)).unwrap();
    for row in 0..16 {
        let mut value = [0.0];
        matrix.row(row, &mut value);
        assert_eq!(value[0], row as f32);
    }
    assert!(file.matrix_in_order("q", |row| row + 1).is_err());
}

#[test]
fn the_real_files_are_whole() {
    for (name, layers, heads, kv_heads, head, tied) in [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", 30, 9, 3, 64, true),
        ("gemma-3-270m-q4_k_m.gguf", 18, 4, 1, 256, true),
    ] {
        let Some(path) = real_file(name) else { continue };
        let file = GgufFile::open(path).unwrap();
        let keys = file.model_keys().unwrap();
        file.check_model(&keys).unwrap();
        assert_eq!((keys.layers, keys.heads, keys.kv_heads), (layers, heads, kv_heads));
        assert_eq!((keys.key_length, keys.tied_output), (head, tied));
        assert_eq!(keys.tensors().len(), file.tensors().len());
        let down = file.matrix("blk.0.ffn_down.weight").unwrap();
        let values = file.values("blk.0.ffn_down.weight").unwrap();
        let mut row = vec![0.0; down.columns()];
        down.row(down.rows() - 1, &mut row);
        assert_eq!(row[..], values[values.len() - row.len()..]);
    }
}

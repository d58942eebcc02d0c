//! Small models with random weights, each as a GGUF file and as a model folder with the same
//! numbers.
#![allow(dead_code)] // each test file uses its part

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use spring_gguf::{BlockFormat, dequantise, rotation_row};

pub const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

pub const TEMPLATE: &str = "{% for message in messages %}<|begin|>{{ message.content }}<|end|>\
                            {% endfor %}{% if add_generation_prompt %}<|begin|>{% endif %}";

/// A model in both forms.
pub struct Twins {
    pub dir: tempfile::TempDir,
    pub gguf: PathBuf,
    pub folder: PathBuf,
}

/// A model's widths.
#[derive(Clone, Copy)]
pub struct Shape {
    pub layers: usize,
    pub width: usize,
    pub inner: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head: usize,
    /// Tokens beside those of the folder's tokenizer, each of two of them.
    pub more_tokens: usize,
    pub context: usize,
}

pub const SMALL: Shape = Shape {
    layers: 2,
    width: 64,
    inner: 96,
    heads: 4,
    kv_heads: 2,
    head: 16,
    more_tokens: 0,
    context: 256,
};

/// What a file holds, to be spoilt.
pub struct Parts {
    pub keys: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
}

pub struct Tensor {
    pub name: String,
    /// Innermost first.
    pub dims: Vec<u64>,
    pub type_id: u32,
    pub bytes: Vec<u8>,
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

fn typed(kind: u32, value: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), value].concat()
}

fn array(kind: u32, count: usize, items: Vec<u8>) -> Vec<u8> {
    typed(9, &[&typed(kind, &(count as u64).to_le_bytes())[..], &items].concat())
}

impl Parts {
    pub fn set(&mut self, key: &str, value: Vec<u8>) {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.into(), value));
    }

    pub fn string(&mut self, key: &str, value: &str) {
        self.set(key, typed(8, &text(value)));
    }

    pub fn u32(&mut self, key: &str, value: usize) {
        self.set(key, typed(4, &(value as u32).to_le_bytes()));
    }

    pub fn f32(&mut self, key: &str, value: f32) {
        self.set(key, typed(6, &value.to_le_bytes()));
    }

    pub fn bool(&mut self, key: &str, value: bool) {
        self.set(key, typed(7, &[value.into()]));
    }

    pub fn strings(&mut self, key: &str, values: &[String]) {
        self.set(key, array(8, values.len(), values.iter().flat_map(|s| text(s)).collect()));
    }

    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        let items = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.set(key, array(5, values.len(), items));
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let count = |n: usize| (n as u64).to_le_bytes();
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(count(self.tensors.len()));
        out.extend(count(self.keys.len()));
        for (key, value) in &self.keys {
            out.extend(text(key));
            out.extend(value);
        }
        let mut place = 0;
        for Tensor { name, dims, type_id, bytes } in &self.tensors {
            out.extend(text(name));
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(type_id.to_le_bytes());
            out.extend(count(place));
            place = (place + bytes.len()).next_multiple_of(32);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.bytes);
        }
        out
    }
}

fn type_id(format: BlockFormat) -> u32 {
    (0..64).find(|id| BlockFormat::from_id(*id) == Some(format)).unwrap()
}

/// Rows of random codes with scales of ordinary size.
fn random_blocks(rng: &mut ChaCha8Rng, format: BlockFormat, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count / format.block_len() {
        let start = bytes.len();
        bytes.extend((0..format.block_bytes()).map(|_| rng.random::<u8>()));
        let block = &mut bytes[start..];
        let mut half = |at: usize, bound: f32| {
            let number = half::f16::from_f32(rng.random_range(-bound..bound));
            block[at..at + 2].copy_from_slice(&number.to_le_bytes());
        };
        match format {
            BlockFormat::F16 => half(0, 0.3),
            BlockFormat::Q8_0 => half(0, 0.003),
            BlockFormat::Q5_0 => half(0, 0.02),
            BlockFormat::Q4_0 => half(0, 0.03),
            BlockFormat::Q4_1 => {
                half(0, 0.03);
                half(2, 0.2);
            }
            other => panic!("no random blocks of {other}"),
        }
    }
    bytes
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Both forms of a model.
pub fn twins(family: &str, shape: Shape, seed: u64) -> Twins {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let parts = parts(family, shape, seed, Some(&folder));
    let gguf = dir.path().join("model.gguf");
    std::fs::write(&gguf, parts.bytes()).unwrap();
    Twins { dir, gguf, folder }
}

/// A file's parts; `folder` also gets the model as a folder.
pub fn parts(family: &str, shape: Shape, seed: u64, folder: Option<&Path>) -> Parts {
    let Shape { layers, width, inner, heads, kv_heads, head, more_tokens, context } = shape;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parts = Parts { keys: Vec::new(), tensors: Vec::new() };
    let gemma = family == "gemma3";
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let tokenizer = std::fs::read(fixture.join("tokenizer.json")).unwrap();
    let known = serde_json::from_slice(&tokenizer).unwrap();
    let vocabulary = vocabulary(&mut parts, &known, more_tokens);
    parts.string("general.architecture", family);
    parts.string("tokenizer.chat_template", TEMPLATE);
    for (key, value) in [
        ("block_count", layers),
        ("context_length", context),
        ("embedding_length", width),
        ("feed_forward_length", inner),
        ("attention.head_count", heads),
        ("attention.head_count_kv", kv_heads),
        ("attention.key_length", head),
        ("attention.value_length", head),
    ] {
        parts.u32(&format!("{family}.{key}"), value);
    }
    parts.f32(&format!("{family}.attention.layer_norm_rms_epsilon"), 1e-5);
    parts.f32(&format!("{family}.rope.freq_base"), 20_000.0);
    if gemma {
        parts.u32("gemma3.attention.sliding_window", 7);
    }
    let mut numbers: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: String, stored: String, rows: usize, columns: Option<usize>, format| {
        let is_norm = name.ends_with("norm.weight");
        let bytes = match columns {
            Some(columns) => random_blocks(&mut rng, format, rows * columns),
            None => {
                let middle = if is_norm { 1.0 } else { 0.0 };
                let one = |_| middle + rng.random_range(-0.1..0.1);
                floats(&(0..rows).map(one).collect::<Vec<f32>>())
            }
        };
        let format = if columns.is_some() { format } else { BlockFormat::F32 };
        let mut values = vec![0.0; rows * columns.unwrap_or(1)];
        dequantise(format, &bytes, &mut values);
        let line = columns.unwrap_or(1);
        if family == "llama" && (name.contains("q_proj") || name.contains("k_proj")) {
            // The file's rows are permuted, the folder's are not.
            let stored = values.clone();
            for (row, into) in values.chunks_exact_mut(line).enumerate() {
                into.copy_from_slice(&stored[rotation_row(row, head) * line..][..line]);
            }
        }
        if gemma && is_norm {
            values.iter_mut().for_each(|x| *x -= 1.0);
        }
        let shape = std::iter::once(rows).chain(columns).collect();
        numbers.push((name, shape, values));
        let dims = columns.into_iter().chain([rows]).map(|n| n as u64).collect();
        parts.tensors.push(Tensor { name: stored, dims, type_id: type_id(format), bytes });
    };
    add(
        "model.embed_tokens.weight".into(),
        "token_embd.weight".into(),
        vocabulary,
        Some(width),
        BlockFormat::Q8_0,
    );
    add("model.norm.weight".into(), "output_norm.weight".into(), width, None, BlockFormat::F32);
    let tied = matches!(family, "llama" | "gemma3");
    if !tied {
        let (name, stored) = ("lm_head.weight".into(), "output.weight".into());
        add(name, stored, vocabulary, Some(width), BlockFormat::F16);
    }
    for layer in 0..layers {
        let mut norms = vec![("input_layernorm", "attn_norm", width)];
        match gemma {
            true => norms.extend([
                ("post_attention_layernorm", "post_attention_norm", width),
                ("pre_feedforward_layernorm", "ffn_norm", width),
                ("post_feedforward_layernorm", "post_ffw_norm", width),
            ]),
            false => norms.push(("post_attention_layernorm", "ffn_norm", width)),
        }
        if matches!(family, "qwen3" | "gemma3") {
            norms.extend([
                ("self_attn.q_norm", "attn_q_norm", head),
                ("self_attn.k_norm", "attn_k_norm", head),
            ]);
        }
        for (name, stored, rows) in norms {
            let name = format!("model.layers.{layer}.{name}.weight");
            add(name, format!("blk.{layer}.{stored}.weight"), rows, None, BlockFormat::F32);
        }
        for (name, stored, rows, columns, format) in [
            ("self_attn.q_proj", "attn_q", heads * head, width, BlockFormat::Q4_1),
            ("self_attn.k_proj", "attn_k", kv_heads * head, width, BlockFormat::Q4_0),
            ("self_attn.v_proj", "attn_v", kv_heads * head, width, BlockFormat::Q8_0),
            ("self_attn.o_proj", "attn_output", width, heads * head, BlockFormat::Q5_0),
            ("mlp.gate_proj", "ffn_gate", inner, width, BlockFormat::Q4_1),
            ("mlp.up_proj", "ffn_up", inner, width, BlockFormat::Q4_1),
            ("mlp.down_proj", "ffn_down", width, inner, BlockFormat::Q8_0),
        ] {
            let (name, stored) =
                (format!("model.layers.{layer}.{name}"), format!("blk.{layer}.{stored}"));
            if family == "qwen2" && ["q_proj", "k_proj", "v_proj"].iter().any(|p| name.ends_with(p))
            {
                let bias = format!("{name}.bias");
                add(bias, format!("{stored}.bias"), rows, None, BlockFormat::F32);
            }
            let (name, stored) = (format!("{name}.weight"), format!("{stored}.weight"));
            add(name, stored, rows, Some(columns), format);
        }
    }
    if let Some(folder) = folder {
        let kind = |layer: usize| match gemma && layer % 6 != 5 {
            true => "sliding_attention",
            false => "full_attention",
        };
        let mut config = json!({
            "model_type": if gemma { "gemma3_text" } else { family }, "vocab_size": vocabulary,
            "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head,
            "max_position_embeddings": context, "rms_norm_eps": 1e-5, "rope_theta": 20_000.0,
            "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2
        });
        if gemma {
            config["sliding_window"] = 7.into();
            config["query_pre_attn_scalar"] = head.into();
            config["layer_types"] = (0..layers).map(kind).collect::<Vec<_>>().into();
        }
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        std::fs::write(folder.join("tokenizer.json"), tokenizer).unwrap();
        std::fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = numbers
            .into_iter()
            .map(|(name, shape, values)| (name, shape, floats(&values)))
            .collect();
        let views = stored.iter().map(|(name, shape, bytes)| {
            (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        let weights = safetensors::serialize(views, None).unwrap();
        std::fs::write(folder.join("model.safetensors"), weights).unwrap();
    }
    parts
}

/// The keys of a byte-level tokenizer with some more tokens; gives the number of all.
fn vocabulary(parts: &mut Parts, file: &Value, more: usize) -> usize {
    let vocab = file["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    for (token, id) in vocab {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let merge = |pair: &Value| match pair.as_array() {
        Some(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        None => pair.as_str().unwrap().to_owned(),
    };
    let mut merges: Vec<String> =
        file["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
    let plain: Vec<String> = tokens.iter().filter(|t| !t.starts_with("<|")).cloned().collect();
    let mut known: BTreeSet<String> = tokens.iter().cloned().collect();
    let pairs = plain.iter().flat_map(|left| plain.iter().map(move |right| (left, right)));
    let pairs = pairs.filter(|(left, right)| known.insert(format!("{left}{right}")));
    for (left, right) in pairs.take(more) {
        tokens.push(format!("{left}{right}"));
        merges.push(format!("{left} {right}"));
    }
    let kinds: Vec<i32> = tokens.iter().map(|t| if t.starts_with("<|") { 3 } else { 1 }).collect();
    parts.string("tokenizer.ggml.model", "gpt2");
    parts.string("tokenizer.ggml.pre", "gpt-2");
    parts.strings("tokenizer.ggml.tokens", &tokens);
    parts.strings("tokenizer.ggml.merges", &merges);
    parts.i32s("tokenizer.ggml.token_type", &kinds);
    parts.u32("tokenizer.ggml.bos_token_id", 1);
    parts.u32("tokenizer.ggml.eos_token_id", 2);
    parts.bool("tokenizer.ggml.add_bos_token", true);
    tokens.len()
}

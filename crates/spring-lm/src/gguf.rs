//! A model in a GGUF file: what a folder's files say, read from the file's keys.

use std::collections::HashSet;

use spring_gguf::{Architecture, GgufError, GgufFile, ModelKeys, RopeScaling as Stretch};

use crate::{Activation, LayerKind, ModelConfig, ModelError, Result, RopeConfig, RopeScaling};

/// Opens a model and checks that all of it is there.
pub(crate) fn open(path: &std::path::Path) -> Result<GgufFile> {
    let file = GgufFile::open(path)?;
    let keys = file.model_keys()?;
    file.check_model(&keys)?;
    check_unused(&file, &keys)?;
    Ok(file)
}

/// A tensor inside a block that no model of the architecture has would be left out of what is
/// computed.
fn check_unused(file: &GgufFile, keys: &ModelKeys) -> Result<()> {
    let used: HashSet<String> = keys.tensors().into_iter().map(|(name, _)| name).collect();
    let mut others = file.tensors().iter().filter(|tensor| !used.contains(&tensor.name));
    match others.find(|tensor| tensor.name.starts_with("blk.")) {
        Some(tensor) => Err(GgufError::Tensor {
            path: file.path().into(),
            tensor: tensor.name.clone(),
            problem: format!(
                "is no part of a {} model as it is computed here; take another file of this model",
                keys.architecture.name()
            ),
        }
        .into()),
        None => Ok(()),
    }
}

/// The same configuration as a folder of this model gives, but for
/// [`norm_offset`](ModelConfig::norm_offset): files store the norms of Gemma with their one added.
pub(crate) fn config(file: &GgufFile) -> Result<ModelConfig> {
    let keys = file.model_keys()?;
    let name = keys.architecture.name();
    let at_key = |key: &str, problem: String| GgufError::Key {
        path: file.path().into(),
        key: format!("{name}.{key}"),
        problem,
    };
    let head_dim = keys.key_length;
    for (key, value) in [
        ("attention.value_length", keys.value_length),
        ("rope.dimension_count", keys.rope_dimensions),
    ] {
        if value != head_dim {
            let problem = format!(
                "is {value} and a head of keys has {head_dim}, which is not computed; take another \
                 model"
            );
            return Err(at_key(key, problem).into());
        }
    }
    let gemma = keys.architecture == Architecture::Gemma3;
    let kind = |layer| match keys.sliding_window {
        Some(window) if window.is_in(layer) => LayerKind::Sliding,
        _ => LayerKind::Full,
    };
    let rope = RopeConfig { theta: f64::from(keys.rope_base), scaling: rope_scaling(file, &keys)? };
    let sliding_rope = match keys.sliding_window {
        Some(window) => {
            RopeConfig { theta: f64::from(window.rope_base), scaling: RopeScaling::None }
        }
        None => rope.clone(),
    };
    let vocabulary = file.vocabulary()?;
    // What the file names comes first: it is written after a response.
    let mut eos: Vec<u32> = vocabulary.eos.into_iter().chain(vocabulary.end_of_turn).collect();
    eos.extend(vocabulary.ends());
    let mut seen = HashSet::new();
    eos.retain(|id| seen.insert(*id));
    let config = ModelConfig {
        model_type: if gemma { "gemma3_text" } else { name }.into(),
        vocab_size: keys.vocabulary,
        hidden_size: keys.hidden,
        intermediate_size: keys.feed_forward,
        num_layers: keys.layers,
        num_heads: keys.heads,
        num_kv_heads: keys.kv_heads,
        head_dim,
        // The number that was written as a float of 32 bits: 1e-5, and not 9.99999974e-6.
        rms_norm_eps: shortest(keys.norm_epsilon),
        max_positions: keys.context,
        tie_word_embeddings: keys.tied_output,
        qkv_bias: keys.architecture == Architecture::Qwen2,
        output_bias: false,
        mlp_bias: false,
        qk_norm: matches!(keys.architecture, Architecture::Qwen3 | Architecture::Gemma3),
        norm_offset: false,
        sandwich_norms: gemma,
        embedding_scale: gemma.then(|| (keys.hidden as f64).sqrt()),
        query_scale: f64::from(keys.attention_scale),
        activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
        sliding_window: keys.sliding_window.map(|window| window.tokens),
        layers: (0..keys.layers).map(kind).collect(),
        rope,
        sliding_rope,
        final_softcap: keys.output_softcap.filter(|_| gemma).map(f64::from),
        multimodal: false,
        bos: vocabulary.bos,
        eos,
    };
    config
        .check()
        .map_err(|reason| ModelError::Config { file: file.path().display().to_string(), reason })?;
    Ok(config)
}

/// The shortest decimal that is this float.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

fn rope_scaling(file: &GgufFile, keys: &ModelKeys) -> Result<RopeScaling> {
    if keys.rope_factors {
        const TENSOR: &str = "rope_freqs.weight";
        let divisors: Vec<f64> = file.values(TENSOR)?.into_iter().map(f64::from).collect();
        if divisors.iter().any(|d| !d.is_finite() || *d <= 0.0) {
            return Err(GgufError::Tensor {
                path: file.path().into(),
                tensor: TENSOR.into(),
                problem: "holds a divisor that is not positive; fetch the file again".into(),
            }
            .into());
        }
        // As Llama 3.1 stretches: each wavelength by its own divisor, whatever the text's length.
        return Ok(RopeScaling::LongRope {
            short: divisors.clone(),
            long: divisors,
            attention_factor: 1.0,
            original_max_positions: keys.context,
        });
    }
    Ok(match keys.rope_scaling {
        Stretch::Linear { factor: 1.0 } => RopeScaling::None,
        Stretch::Linear { factor } => RopeScaling::Linear { factor: f64::from(factor) },
        Stretch::Yarn { factor, original_context, attention_factor } => {
            let factor = f64::from(factor);
            // As llama.cpp has it: the file's factor comes on top of the formula's.
            let formula = 1.0 + 0.1 * factor.max(1.0).ln();
            RopeScaling::Yarn {
                factor,
                attention_factor: attention_factor.map_or(1.0, f64::from) * formula,
                beta_fast: 32.0,
                beta_slow: 1.0,
                original_max_positions: original_context.unwrap_or(keys.context),
                truncate: true,
            }
        }
        _ => RopeScaling::None,
    })
}

/// What a GGUF file calls a tensor of a model folder; `None` for one that such files do not have.
///
/// ```
/// let name = spring_lm::gguf_name("model.layers.3.self_attn.q_proj.weight", false);
/// assert_eq!(name.as_deref(), Some("blk.3.attn_q.weight"));
/// ```
///
/// `sandwich_norms` is [`ModelConfig::sandwich_norms`]: with them the norm after the attention has
/// another name.
pub fn gguf_name(name: &str, sandwich_norms: bool) -> Option<String> {
    let whole = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(whole.into());
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = part.rsplit_once('.')?;
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if sandwich_norms => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.{kind}"))
}

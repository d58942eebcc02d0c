//! How each architecture's `config.json` becomes a [`ModelConfig`]: its names, and its defaults for
//! what a file omits.
//!
//! The defaults are those of transformers 5 (`configuration_*.py` of each model).

use serde::Deserialize;
use serde_json::{Map, Value, json};
use spring_numerics::words;

use crate::{
    Activation, LayerKind, ModelConfig, RopeConfig, RopeScaling,
    config::{MAX_LAYERS, check_size},
};

/// Architectures that this crate runs, as `model_type` names them.
pub const SUPPORTED_ARCHITECTURES: &[&str] =
    &["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gemma3"];

/// What the supported architectures' files hold, after the defaults.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: Option<bool>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,

    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<Map<String, Value>>,
    rope_parameters: Option<Map<String, Value>>,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f64>,

    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    sliding_window_pattern: Option<usize>,
    _sliding_window_pattern: Option<usize>,

    query_pre_attn_scalar: Option<f64>,
    final_logit_softcapping: Option<f64>,
    use_bidirectional_attention: Option<bool>,
}

/// A token id, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Whole,
    Number,
    Flag,
    Text,
    Object,
    Texts,
    /// A token's id, or a list of them.
    Ids,
}

const KINDS: &[(&str, Kind)] = &[
    ("vocab_size", Kind::Whole),
    ("hidden_size", Kind::Whole),
    ("intermediate_size", Kind::Whole),
    ("num_hidden_layers", Kind::Whole),
    ("num_attention_heads", Kind::Whole),
    ("num_key_value_heads", Kind::Whole),
    ("head_dim", Kind::Whole),
    ("max_position_embeddings", Kind::Whole),
    ("original_max_position_embeddings", Kind::Whole),
    ("sliding_window", Kind::Whole),
    ("max_window_layers", Kind::Whole),
    ("sliding_window_pattern", Kind::Whole),
    ("_sliding_window_pattern", Kind::Whole),
    ("bos_token_id", Kind::Whole),
    ("eos_token_id", Kind::Ids),
    ("rms_norm_eps", Kind::Number),
    ("rope_theta", Kind::Number),
    ("rope_local_base_freq", Kind::Number),
    ("partial_rotary_factor", Kind::Number),
    ("query_pre_attn_scalar", Kind::Number),
    ("final_logit_softcapping", Kind::Number),
    ("tie_word_embeddings", Kind::Flag),
    ("attention_bias", Kind::Flag),
    ("mlp_bias", Kind::Flag),
    ("use_sliding_window", Kind::Flag),
    ("use_bidirectional_attention", Kind::Flag),
    ("hidden_act", Kind::Text),
    ("hidden_activation", Kind::Text),
    ("rope_scaling", Kind::Object),
    ("rope_parameters", Kind::Object),
    ("layer_types", Kind::Texts),
];

/// Fields without which no model can be built.
const NEEDED: &[&str] = &[
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
];

impl Kind {
    /// Refuses a value of another kind by name; a whole number that is written as a float becomes
    /// one.
    fn check(self, key: &str, value: &mut Value) -> Result<(), String> {
        let whole = |value: &mut Value| {
            let float =
                value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=u32::MAX.into()).contains(n));
            if let Some(float) = float.filter(|_| !value.is_u64()) {
                *value = (float as u64).into();
            }
            value.is_u64()
        };
        let (fits, wanted) = match self {
            Self::Whole => (whole(value), "a whole number"),
            Self::Ids => {
                let fits = match value.as_array_mut() {
                    Some(list) => list.iter_mut().all(whole),
                    None => whole(value),
                };
                (fits, "a token's id or a list of them")
            }
            Self::Number => (value.is_number(), "a number"),
            Self::Flag => (value.is_boolean(), "true or false"),
            Self::Text => (value.is_string(), "a text"),
            Self::Object => (value.is_object(), "an object"),
            Self::Texts => (
                value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
                "a list of texts",
            ),
        };
        match fits || (value.is_null() && !NEEDED.contains(&key)) {
            true => Ok(()),
            false => Err(format!("{key} is {}: {wanted} is wanted", shown(value))),
        }
    }
}

/// A value as it stands in the file, if it is short.
fn shown(value: &Value) -> String {
    match value.to_string() {
        text if text.len() <= 60 => text,
        _ => crate::json::kind(value).into(),
    }
}

/// `eos_token_id` of a `generation_config.json`.
pub(crate) fn end_tokens(file: &Value) -> Result<Vec<u32>, String> {
    let Some(object) = file.as_object() else {
        return Err(format!("{} where an object is wanted", crate::json::kind(file)));
    };
    let Some(mut ids) = object.get("eos_token_id").cloned() else { return Ok(Vec::new()) };
    Kind::Ids.check("eos_token_id", &mut ids)?;
    let ids: Option<OneOrMany> =
        words::from_value(ids).map_err(|e| format!("eos_token_id: {e}"))?;
    Ok(ids.map(OneOrMany::into_vec).unwrap_or_default())
}

fn defaults(model_type: &str) -> Value {
    match model_type {
        "mistral" => json!({
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
            "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "bos_token_id": 1,
            "eos_token_id": 2,
            "sliding_window": 4096
        }),
        "qwen2" | "qwen3" => json!({
            "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
            "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu",
            "head_dim": if model_type == "qwen3" { Some(128) } else { None },
            "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "sliding_window": 4096,
            "max_window_layers": 28
        }),
        "gemma3_text" | "gemma3" => json!({
            "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-6,
            "bos_token_id": 2, "eos_token_id": 1, "tie_word_embeddings": true,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096
        }),
        _ => json!({
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2
        }),
    }
}

/// Resolves a parsed `config.json`, the architecture first: another model's file may have other
/// types in its fields.
pub(crate) fn resolve(file: &Value) -> Result<ModelConfig, String> {
    let known = SUPPORTED_ARCHITECTURES.join(", ");
    if !file.is_object() {
        return Err(format!(
            "{} where an object is wanted, such as transformers writes it",
            crate::json::kind(file)
        ));
    }
    let model_type = match file.get("model_type") {
        Some(Value::String(name)) if SUPPORTED_ARCHITECTURES.contains(&name.as_str()) => name,
        Some(Value::String(name)) => {
            return Err(format!("model_type is {name:?}, which is not run; supported: {known}"));
        }
        None => return Err(format!("model_type is missing; supported: {known}")),
        Some(other) => {
            return Err(format!(
                "model_type is {}: a text is wanted; supported: {known}",
                shown(other)
            ));
        }
    };
    for part in [Some(file), file.get("text_config")].into_iter().flatten() {
        if let Some(settings) =
            part.get("quantization_config").filter(|settings| !settings.is_null())
        {
            let method =
                settings.get("quant_method").and_then(Value::as_str).unwrap_or("an unnamed method");
            return Err(format!(
                "quantization_config names {method}: quantised weights are not supported; use the \
                 model in bf16 or f16"
            ));
        }
    }
    let mut merged = defaults(model_type);
    let mut overlay = |object: Option<&Value>, keys: Option<&[&str]>| {
        let Some(object) = object.and_then(Value::as_object) else { return };
        for (key, value) in object {
            match keys {
                None => merged[key] = value.clone(),
                Some(keys) if keys.contains(&key.as_str()) && !value.is_null() => {
                    merged[key] = value.clone()
                }
                Some(_) => {}
            }
        }
    };
    // Gemma 3 as released reads images too: what concerns the text stands in `text_config`.
    let multimodal = model_type == "gemma3";
    if multimodal {
        overlay(file.get("text_config"), None);
        overlay(Some(file), Some(&["eos_token_id", "bos_token_id", "tie_word_embeddings"]));
    } else {
        overlay(Some(file), None);
    }
    for (key, kind) in KINDS {
        if let Some(value) = merged.get_mut(*key) {
            kind.check(key, value)?;
        }
    }
    let fields: Fields = words::from_value(merged).map_err(|e| e.to_string())?;
    fields.resolve(model_type, multimodal)
}

impl Fields {
    fn resolve(self, model_type: &str, multimodal: bool) -> Result<ModelConfig, String> {
        let gemma = model_type.starts_with("gemma3");
        check_size("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        let layers = self.layers(model_type)?;
        if self.partial_rotary_factor.is_some_and(|part| part != 1.0) {
            return Err("partial_rotary_factor is not supported; only 1 is".into());
        }
        if self.use_bidirectional_attention == Some(true) {
            return Err(
                "use_bidirectional_attention is for models of embeddings; they cannot write".into(),
            );
        }
        let activation = if gemma { &self.hidden_activation } else { &self.hidden_act };
        let activation = match activation.as_deref() {
            Some("silu") => Activation::Silu,
            Some("gelu_pytorch_tanh") => Activation::GeluTanh,
            other => {
                let other = other.unwrap_or("null");
                return Err(format!(
                    "hidden_act {other:?} is not supported; \"silu\" and \"gelu_pytorch_tanh\" are"
                ));
            }
        };
        let [rope, sliding_rope] = self.ropes(gemma)?;
        let heads = self.num_attention_heads;
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / heads.max(1));
        let attention_bias = self.attention_bias.unwrap_or(false);
        let query_scalar = if gemma { self.query_pre_attn_scalar } else { None };
        Ok(ModelConfig {
            model_type: model_type.into(),
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_layers: self.num_hidden_layers,
            num_heads: heads,
            num_kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim,
            rms_norm_eps: self.rms_norm_eps,
            max_positions: self.max_position_embeddings,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: match model_type {
                "qwen2" => true,
                "mistral" => false,
                _ => attention_bias,
            },
            output_bias: !matches!(model_type, "qwen2" | "mistral") && attention_bias,
            mlp_bias: model_type == "llama" && self.mlp_bias.unwrap_or(false),
            qk_norm: gemma || model_type == "qwen3",
            norm_offset: gemma,
            sandwich_norms: gemma,
            embedding_scale: gemma.then(|| (self.hidden_size as f64).sqrt()),
            query_scale: 1.0 / query_scalar.unwrap_or(head_dim as f64).sqrt(),
            activation,
            sliding_window: self.window(model_type),
            layers,
            rope,
            sliding_rope,
            final_softcap: if gemma { self.final_logit_softcapping } else { None },
            multimodal,
            bos: self.bos_token_id,
            eos: self.eos_token_id.map(OneOrMany::into_vec).unwrap_or_default(),
        })
    }

    /// How many tokens sliding layers see; Qwen's files may name a number that `use_sliding_window`
    /// turns off.
    fn window(&self, model_type: &str) -> Option<usize> {
        let off = model_type.starts_with("qwen") && self.use_sliding_window != Some(true);
        self.sliding_window.filter(|_| !off)
    }

    /// Which layers look at all tokens and which at a window.
    fn layers(&self, model_type: &str) -> Result<Vec<LayerKind>, String> {
        use LayerKind::{Full, Sliding};
        let (count, window) = (self.num_hidden_layers, self.window(model_type));
        let layers = match model_type {
            "llama" => vec![Full; count],
            "mistral" => vec![if window.is_some() { Sliding } else { Full }; count],
            _ => match &self.layer_types {
                Some(names) => names
                    .iter()
                    .map(|name| match name.as_str() {
                        "full_attention" => Ok(Full),
                        "sliding_attention" => Ok(Sliding),
                        other => Err(format!(
                            "layer_types names {other:?}; full_attention and sliding_attention are \
                             supported"
                        )),
                    })
                    .collect::<Result<_, _>>()?,
                None if model_type.starts_with("gemma3") => {
                    let pattern = self.sliding_window_pattern.or(self._sliding_window_pattern);
                    let pattern = pattern.unwrap_or(6).max(1);
                    (1..=count)
                        .map(|i| if i.is_multiple_of(pattern) { Full } else { Sliding })
                        .collect()
                }
                None => {
                    let first = if window.is_some() {
                        self.max_window_layers.unwrap_or(count)
                    } else {
                        count
                    };
                    (0..count).map(|i| if i < first { Full } else { Sliding }).collect()
                }
            },
        };
        if layers.len() != count {
            return Err(format!(
                "layer_types names {} layers, num_hidden_layers is {count}",
                layers.len()
            ));
        }
        if layers.contains(&Sliding) && window.is_none_or(|window| window == 0) {
            return Err("there are sliding layers, but sliding_window is not set".into());
        }
        Ok(layers)
    }

    /// The rotary embedding of full and of sliding layers. Which of a file's spellings wins is
    /// transformers' order.
    fn ropes(&self, gemma: bool) -> Result<[RopeConfig; 2], String> {
        if gemma {
            // The newer files have one entry per kind of layer; the older spelling changes the full
            // layers alone.
            let of_kind = |kind: &str| -> Map<String, Value> {
                let parameters =
                    self.rope_parameters.as_ref().and_then(|all| all.get(kind)?.as_object());
                parameters.cloned().unwrap_or_default()
            };
            let mut full = of_kind("full_attention");
            full.extend(self.rope_scaling.clone().unwrap_or_default());
            return Ok([
                self.rope(&full, self.rope_theta.unwrap_or(1_000_000.0))?,
                self.rope(
                    &of_kind("sliding_attention"),
                    self.rope_local_base_freq.unwrap_or(10_000.0),
                )?,
            ]);
        }
        let spellings = [&self.rope_scaling, &self.rope_parameters];
        let first = spellings.into_iter().flatten().find(|parameters| !parameters.is_empty());
        let mut parameters = first.cloned().unwrap_or_default();
        if let Some((kind, _)) = parameters.iter().find(|(_, value)| value.is_object()) {
            return Err(format!(
                "the rope settings have an entry {kind:?} for a kind of layer; of this model_type \
                 all layers have the same"
            ));
        }
        if let Some(tokens) = self.original_max_position_embeddings {
            parameters.insert("original_max_position_embeddings".into(), tokens.into());
        }
        let rope = self.rope(&parameters, self.rope_theta.unwrap_or(10_000.0))?;
        Ok([rope.clone(), rope])
    }

    fn rope(&self, parameters: &Map<String, Value>, theta: f64) -> Result<RopeConfig, String> {
        let number = |name: &str| parameters.get(name).and_then(Value::as_f64);
        let needed =
            |name: &str| number(name).ok_or_else(|| format!("the rope settings lack {name}"));
        if number("partial_rotary_factor").is_some_and(|part| part != 1.0) {
            return Err("partial_rotary_factor is not supported; only 1 is".into());
        }
        // A number of tokens, which some files write as 8192.0.
        let context =
            number("original_max_position_embeddings").filter(|n| n.fract() == 0.0 && *n >= 1.0);
        let original_max_positions = context.map_or(self.max_position_embeddings, |n| n as usize);
        let longer = self.max_position_embeddings as f64 / original_max_positions as f64;
        let kind = parameters.get("rope_type").or(parameters.get("type")).and_then(Value::as_str);
        let scaling = match kind.unwrap_or("default") {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: needed("factor")? },
            "dynamic" => RopeScaling::Dynamic {
                factor: needed("factor")?,
                max_positions: self.max_position_embeddings,
            },
            "yarn" => {
                let factor = number("factor").unwrap_or(longer);
                let grown =
                    |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
                // Zero is as good as absent there.
                let given = |name: &str| number(name).filter(|value| *value != 0.0);
                let inferred = match (given("mscale"), given("mscale_all_dim")) {
                    (Some(one), Some(all)) => grown(one) / grown(all),
                    _ => grown(1.0),
                };
                RopeScaling::Yarn {
                    factor,
                    attention_factor: number("attention_factor").unwrap_or(inferred),
                    beta_fast: given("beta_fast").unwrap_or(32.0),
                    beta_slow: given("beta_slow").unwrap_or(1.0),
                    original_max_positions,
                    truncate: parameters.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                }
            }
            // The kind's first name.
            "longrope" | "su" => {
                let factors = |name: &str| -> Result<Vec<f64>, String> {
                    let list = parameters.get(name).and_then(Value::as_array);
                    let list = list.ok_or_else(|| format!("the rope settings lack {name}"))?;
                    list.iter()
                        .map(|value| {
                            value.as_f64().filter(|value| value.is_finite() && *value > 0.0)
                        })
                        .collect::<Option<_>>()
                        .ok_or_else(|| format!("{name} is no list of positive numbers"))
                };
                let factor = number("factor").unwrap_or(longer);
                let inferred = match factor {
                    factor if factor <= 1.0 => 1.0,
                    factor => (1.0 + factor.ln() / (original_max_positions as f64).ln()).sqrt(),
                };
                RopeScaling::LongRope {
                    short: factors("short_factor")?,
                    long: factors("long_factor")?,
                    attention_factor: number("attention_factor").unwrap_or(inferred),
                    original_max_positions,
                }
            }
            "llama3" => RopeScaling::Llama3 {
                factor: needed("factor")?,
                low_freq_factor: needed("low_freq_factor")?,
                high_freq_factor: needed("high_freq_factor")?,
                original_max_positions,
            },
            other => {
                return Err(format!(
                    "rope_type {other:?} is not supported; default, linear, dynamic, yarn, \
                     longrope and llama3 are"
                ));
            }
        };
        Ok(RopeConfig { theta: number("rope_theta").unwrap_or(theta), scaling })
    }
}

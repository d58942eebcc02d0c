//! The resolved shape of a model, read from a Hugging Face `config.json`.

use serde::Deserialize;

use crate::{ModelError, Projection, Result};

/// Architectures that this crate runs, as `model_type` names them.
pub const SUPPORTED_ARCHITECTURES: &[&str] = &["llama"];

/// The tables of the rotary embedding are made whole: 1 GiB at most.
const MAX_ROPE_TABLE: usize = 1 << 28;

/// What a transformer needs to know of its `config.json`, with every default resolved.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// `model_type` of the file.
    pub model_type: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key/value heads; divides `num_heads` (grouped-query attention).
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Added to the mean square in RMS normalisation.
    pub rms_norm_eps: f64,
    /// Base of the rotary position embedding.
    pub rope_theta: f64,
    /// Longest sequence, in tokens.
    pub max_positions: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// The token that begins a text, if the model has one.
    pub bos: Option<u32>,
    /// The tokens that end a text; the first is the one written after a response.
    pub eos: Vec<u32>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default = "default_act")]
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
struct RawRope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

// The defaults of transformers' LlamaConfig.
fn default_eps() -> f64 {
    1e-6
}
fn default_positions() -> usize {
    2048
}
fn default_act() -> String {
    "silu".into()
}

impl ModelConfig {
    /// Reads a `config.json`; `file` is how errors name it.
    ///
    /// Both spellings of the rotary settings are read: `rope_theta`/`rope_scaling` and the newer `rope_parameters`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for malformed JSON, an architecture or option that this crate does not run, or sizes
    /// that contradict each other.
    pub fn from_json(json: &[u8], file: &str) -> Result<Self> {
        let fail = |reason: String| ModelError::Config { file: file.into(), reason };
        // The architecture first: another model's file may lack the fields that Llama's has.
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|e| fail(e.to_string()))?;
        let found = value.get("model_type").and_then(|v| v.as_str()).unwrap_or("none");
        if !SUPPORTED_ARCHITECTURES.contains(&found) {
            return Err(fail(format!(
                "model_type is {found:?}; supported: {}",
                SUPPORTED_ARCHITECTURES.join(", ")
            )));
        }
        let raw: RawConfig = serde_json::from_value(value).map_err(|e| fail(e.to_string()))?;
        let rope_type = [&raw.rope_parameters, &raw.rope_scaling]
            .into_iter()
            .flatten()
            .filter_map(|r| r.rope_type.as_deref())
            .find(|t| *t != "default");
        if let Some(other) = rope_type {
            return Err(fail(format!("rope_type {other:?} is not supported; only \"default\" is")));
        }
        if raw.hidden_act != "silu" {
            return Err(fail(format!("hidden_act {:?} is not supported; only \"silu\" is", raw.hidden_act)));
        }
        if raw.attention_bias || raw.mlp_bias {
            return Err(fail("attention_bias and mlp_bias are not supported".into()));
        }
        let heads = raw.num_attention_heads;
        let config = Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_layers: raw.num_hidden_layers,
            num_heads: heads,
            num_kv_heads: raw.num_key_value_heads.unwrap_or(heads),
            head_dim: raw.head_dim.unwrap_or(raw.hidden_size / heads.max(1)),
            rms_norm_eps: raw.rms_norm_eps,
            rope_theta: raw
                .rope_parameters
                .and_then(|r| r.rope_theta)
                .or(raw.rope_theta)
                .or(raw.rope_scaling.and_then(|r| r.rope_theta))
                .unwrap_or(10_000.0),
            max_positions: raw.max_position_embeddings,
            tie_word_embeddings: raw.tie_word_embeddings,
            bos: raw.bos_token_id,
            eos: match raw.eos_token_id {
                None => vec![],
                Some(OneOrMany::One(id)) => vec![id],
                Some(OneOrMany::Many(ids)) => ids,
            },
            model_type: raw.model_type,
        };
        config.check().map_err(fail)?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        // Far above any released model; they keep a hostile file from overflowing or asking for absurd memory.
        let bounded = [
            ("vocab_size", self.vocab_size, 1 << 22),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 19),
            ("num_hidden_layers", self.num_layers, 1 << 10),
            ("num_attention_heads", self.num_heads, 1 << 12),
            ("num_key_value_heads", self.num_kv_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("max_position_embeddings", self.max_positions, 1 << 21),
        ];
        for (name, value, limit) in bounded {
            if value == 0 || value > limit {
                return Err(format!("{name} is {value}; it must be between 1 and {limit}"));
            }
        }
        if self.max_positions * self.head_dim > MAX_ROPE_TABLE {
            return Err(format!(
                "max_position_embeddings {} times head_dim {} is above {MAX_ROPE_TABLE}",
                self.max_positions, self.head_dim
            ));
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Err(format!(
                "num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim is {}; rotary embeddings need an even number", self.head_dim));
        }
        for (name, value) in [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("{name} is {value}; it must be positive"));
            }
        }
        if let Some(id) = self.bos.iter().chain(&self.eos).find(|id| **id as usize >= self.vocab_size) {
            return Err(format!("token id {id} is outside the vocabulary of {}", self.vocab_size));
        }
        if self.eos.is_empty() {
            return Err("eos_token_id is missing: a response would never end".into());
        }
        Ok(())
    }

    /// Input and output width of a projection.
    pub fn projection_dims(&self, projection: Projection) -> (usize, usize) {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (query, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        match projection {
            Projection::Q => (hidden, query),
            Projection::K | Projection::V => (hidden, kv),
            Projection::O => (query, hidden),
            Projection::Gate | Projection::Up => (hidden, inner),
            Projection::Down => (inner, hidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(change: &[(&str, serde_json::Value)]) -> Vec<u8> {
        let mut value = serde_json::json!({
            "model_type": "llama", "vocab_size": 320, "hidden_size": 48, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "eos_token_id": 2
        });
        for (key, new) in change {
            value[*key] = new.clone();
        }
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let config = ModelConfig::from_json(&json(&[]), "config.json").unwrap();
        assert_eq!((config.num_kv_heads, config.head_dim, config.max_positions), (4, 12, 2048));
        assert_eq!((config.rms_norm_eps, config.rope_theta), (1e-6, 10_000.0));
    }

    #[test]
    fn both_rope_spellings_are_read() {
        let old = json(&[("rope_theta", 5e5.into())]);
        let new =
            json(&[("rope_parameters", serde_json::json!({"rope_theta": 5e5, "rope_type": "default"}))]);
        for file in [old, new] {
            assert_eq!(ModelConfig::from_json(&file, "c").unwrap().rope_theta, 5e5);
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (change, word) in [
            (("model_type", "mamba".into()), "mamba"),
            (("attention_bias", true.into()), "attention_bias"),
            (("hidden_act", "gelu".into()), "gelu"),
            (("rope_scaling", serde_json::json!({"type": "yarn"})), "yarn"),
            (("num_key_value_heads", 3.into()), "num_key_value_heads"),
            (("num_attention_heads", 0.into()), "num_attention_heads"),
            (("vocab_size", u32::MAX.into()), "vocab_size"),
            (("eos_token_id", 4000.into()), "4000"),
        ] {
            let error = ModelConfig::from_json(&json(&[change]), "x/config.json").unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("x/config.json"), "{error}");
        }
    }
}

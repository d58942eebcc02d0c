//! The resolved shape of a model.

use crate::{ModelError, Projection, Result, RopeConfig, RopeScaling, architecture};

pub(crate) const MAX_LAYERS: usize = 1 << 10;

/// What a layer's attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// All earlier tokens.
    Full,
    /// The last [`ModelConfig::sliding_window`] tokens, itself included.
    Sliding,
}

/// The nonlinearity of the gated feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU in its approximation by tanh.
    GeluTanh,
}

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
    /// Longest sequence, in tokens.
    pub max_positions: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Whether every head of queries and keys is normalised before its rotation.
    pub qk_norm: bool,
    /// Whether norms scale by 1 + w instead of w.
    pub norm_offset: bool,
    /// Whether attention and feed-forward are normalised after as well as before.
    pub sandwich_norms: bool,
    /// What embeddings are multiplied by.
    pub embedding_scale: Option<f64>,
    /// What the products of queries and keys are multiplied by.
    pub query_scale: f64,
    /// The feed-forward layer's nonlinearity.
    pub activation: Activation,
    /// How many tokens sliding layers see.
    pub sliding_window: Option<usize>,
    /// Kind of every layer.
    pub layers: Vec<LayerKind>,
    /// Rotary embedding of full layers.
    pub rope: RopeConfig,
    /// Rotary embedding of sliding layers.
    pub sliding_rope: RopeConfig,
    /// Logits z become c·tanh(z/c).
    pub final_softcap: Option<f64>,
    /// Whether the checkpoint holds a vision part beside the text model.
    pub multimodal: bool,
    /// The token that begins a text, if the model has one.
    pub bos: Option<u32>,
    /// The tokens that end a text; the first is the one written after a response. A file may name
    /// none: see [`end_token`](Self::end_token).
    pub eos: Vec<u32>,
}

impl ModelConfig {
    /// Reads a `config.json`; `file` is how errors name it.
    ///
    /// Fields that the file omits have transformers' defaults. Both spellings of the rotary
    /// settings are read: `rope_theta`/`rope_scaling`/`rope_local_base_freq` and the newer
    /// `rope_parameters`. Of a multimodal file the text part is taken. Gemma 3's
    /// `attn_logit_softcapping` is ignored, as transformers does.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for malformed JSON, an architecture or option that this crate does
    /// not run, or sizes that contradict each other.
    pub fn from_json(json: &[u8], file: &str) -> Result<Self> {
        let fail = |reason: String| ModelError::Config { file: file.into(), reason };
        let value = crate::json::parse(json).map_err(fail)?;
        let config = architecture::resolve(&value).map_err(fail)?;
        config.check().map_err(fail)?;
        Ok(config)
    }

    /// Takes the end tokens of a `generation_config.json`, if it names any: a model that was tuned
    /// to chat may end its turns with another token than its base.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for malformed JSON or a token outside the vocabulary.
    pub fn with_generation_config(mut self, json: &[u8], file: &str) -> Result<Self> {
        let fail = |reason: String| ModelError::Config { file: file.into(), reason };
        let eos =
            architecture::end_tokens(&crate::json::parse(json).map_err(fail)?).map_err(fail)?;
        if !eos.is_empty() {
            self.eos = eos;
            self.check().map_err(fail)?;
        }
        Ok(self)
    }

    /// The token that is written after a response.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] if the files name none: such a model can be run and its ids scored,
    /// but nothing would end what it writes.
    pub fn end_token(&self) -> Result<u32> {
        self.eos.first().copied().ok_or_else(|| ModelError::Config {
            file: "config.json".into(),
            reason: "eos_token_id is missing: a response would never end; name the token there or \
                     in generation_config.json"
                .into(),
        })
    }

    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        // Far above any released model; they keep a hostile file from overflowing or asking for
        // absurd memory.
        let bounded = [
            ("vocab_size", self.vocab_size, 1 << 22),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 19),
            ("num_hidden_layers", self.num_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_heads, 1 << 12),
            ("num_key_value_heads", self.num_kv_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("max_position_embeddings", self.max_positions, 1 << 21),
        ];
        for (name, value, limit) in bounded {
            check_size(name, value, limit)?;
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Err(format!(
                "num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!(
                "head_dim is {}; rotary embeddings need an even number",
                self.head_dim
            ));
        }
        for (name, value) in [
            ("rms_norm_eps", self.rms_norm_eps),
            ("query_pre_attn_scalar", self.query_scale),
            ("final_logit_softcapping", self.final_softcap.unwrap_or(1.0)),
        ] {
            check_positive(name, value)?;
        }
        for rope in [&self.rope, &self.sliding_rope] {
            check_positive("rope_theta", rope.theta)?;
            match &rope.scaling {
                RopeScaling::None => {}
                RopeScaling::Linear { factor } => check_positive("factor", *factor)?,
                RopeScaling::Dynamic { factor, .. } => {
                    // The exponent of its formula divides by the width less two.
                    if *factor < 1.0 || self.head_dim < 4 {
                        return Err(format!(
                            "rope_type dynamic with factor {factor} and head_dim {}",
                            self.head_dim
                        ));
                    }
                    check_positive("factor", *factor)?;
                }
                RopeScaling::Yarn { factor, attention_factor, beta_fast, beta_slow, .. } => {
                    for (name, value) in [
                        ("factor", *factor),
                        ("attention_factor", *attention_factor),
                        ("beta_fast", *beta_fast),
                        ("beta_slow", *beta_slow),
                        ("rope_theta", rope.theta - 1.0),
                    ] {
                        check_positive(name, value)?;
                    }
                }
                RopeScaling::LongRope { short, long, attention_factor, .. } => {
                    check_positive("attention_factor", *attention_factor)?;
                    for (name, list) in [("short_factor", short), ("long_factor", long)] {
                        if list.len() != self.head_dim / 2 {
                            return Err(format!(
                                "{name} has {} numbers; half of head_dim, {}, are wanted",
                                list.len(),
                                self.head_dim / 2
                            ));
                        }
                    }
                }
                &RopeScaling::Llama3 {
                    factor,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    ..
                } => {
                    check_positive("factor", factor)?;
                    check_positive("low_freq_factor", low)?;
                    check_positive("high_freq_factor", high - low)
                        .map_err(|_| "high_freq_factor must be above low_freq_factor")?;
                }
            }
        }
        if let Some(id) =
            self.bos.iter().chain(&self.eos).find(|id| **id as usize >= self.vocab_size)
        {
            return Err(format!("token id {id} is outside the vocabulary of {}", self.vocab_size));
        }
        Ok(())
    }

    /// The number of weights in the matrices: those of norms and biases are few.
    pub fn parameters(&self) -> u64 {
        let product = |a: usize, b: usize| a as u64 * b as u64;
        let embedding = product(self.vocab_size, self.hidden_size);
        let layer: u64 = Projection::ALL
            .into_iter()
            .map(|projection| self.projection_dims(projection))
            .map(|(inputs, outputs)| product(inputs, outputs))
            .sum();
        let ends = if self.tie_word_embeddings { embedding } else { 2 * embedding };
        ends + layer * self.num_layers as u64
    }

    /// Whether a projection has a bias.
    pub fn has_bias(&self, projection: Projection) -> bool {
        match projection {
            Projection::Q | Projection::K | Projection::V => self.qkv_bias,
            Projection::O => self.output_bias,
            Projection::Gate | Projection::Up | Projection::Down => self.mlp_bias,
        }
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

pub(crate) fn check_size(
    name: &str,
    value: usize,
    limit: usize,
) -> std::result::Result<(), String> {
    match value {
        value if (1..=limit).contains(&value) => Ok(()),
        _ => Err(format!("{name} is {value}; it must be between 1 and {limit}")),
    }
}

fn check_positive(name: &str, value: f64) -> std::result::Result<(), String> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(format!("{name} gives {value}; it must be positive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(change: &[(&str, serde_json::Value)]) -> Vec<u8> {
        let mut value = serde_json::json!({
            "model_type": "llama", "vocab_size": 320, "hidden_size": 48, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4
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
        assert_eq!((config.rms_norm_eps, config.rope.theta), (1e-6, 10_000.0));
    }

    #[test]
    fn both_rope_spellings_are_read() {
        let old = json(&[("rope_theta", 5e5.into())]);
        let new = json(&[(
            "rope_parameters",
            serde_json::json!({"rope_theta": 5e5, "rope_type": "default"}),
        )]);
        for file in [old, new] {
            assert_eq!(ModelConfig::from_json(&file, "c").unwrap().rope.theta, 5e5);
        }
    }

    fn read(change: &[(&str, serde_json::Value)]) -> ModelConfig {
        ModelConfig::from_json(&json(change), "c").unwrap()
    }

    #[test]
    fn of_two_rope_spellings_the_one_that_transformers_prefers_is_read() {
        let scaling = serde_json::json!({"rope_type": "linear", "factor": 4.0});
        let parameters =
            serde_json::json!({"rope_type": "linear", "factor": 8.0, "rope_theta": 7.0});
        let both =
            read(&[("rope_scaling", scaling.clone()), ("rope_parameters", parameters.clone())]);
        assert_eq!(
            both.rope,
            RopeConfig { theta: 1e4, scaling: RopeScaling::Linear { factor: 4.0 } }
        );
        let empty = serde_json::json!({});
        for change in [
            [("rope_scaling", scaling.clone()), ("rope_parameters", empty.clone())],
            [("rope_parameters", scaling.clone()), ("rope_scaling", empty)],
        ] {
            assert_eq!(read(&change).rope.scaling, RopeScaling::Linear { factor: 4.0 });
        }
        let gemma = read(&[
            ("model_type", "gemma3_text".into()),
            (
                "rope_parameters",
                serde_json::json!({"full_attention": parameters, "sliding_attention": null}),
            ),
            ("rope_scaling", scaling),
        ]);
        assert_eq!(
            gemma.rope,
            RopeConfig { theta: 7.0, scaling: RopeScaling::Linear { factor: 4.0 } }
        );
        assert_eq!(gemma.sliding_rope, RopeConfig { theta: 1e4, scaling: RopeScaling::None });
    }

    #[test]
    fn the_first_context_beside_the_rope_settings_comes_before_theirs() {
        let settings = |tokens: serde_json::Value| {
            serde_json::json!({
                "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": tokens
            })
        };
        for (inside, beside, expected) in [
            (64.into(), 32.into(), 32),
            (64.into(), serde_json::Value::Null, 64),
            (().into(), ().into(), 2048),
        ] {
            let file = read(&[
                ("rope_scaling", settings(inside)),
                ("original_max_position_embeddings", beside),
            ]);
            let RopeScaling::Llama3 { original_max_positions, .. } = file.rope.scaling else {
                panic!("{:?}", file.rope)
            };
            assert_eq!(original_max_positions, expected);
        }
    }

    #[test]
    fn a_qwen_window_must_be_there_and_on() {
        use LayerKind::{Full, Sliding};
        let layers = |window: serde_json::Value, on: bool| {
            let file = read(&[
                ("model_type", "qwen2".into()),
                ("num_key_value_heads", 4.into()),
                ("max_window_layers", 1.into()),
                ("sliding_window", window),
                ("use_sliding_window", on.into()),
            ]);
            (file.layers, file.sliding_window)
        };
        assert_eq!(layers(7.into(), true), (vec![Full, Sliding], Some(7)));
        assert_eq!(layers(7.into(), false), (vec![Full, Full], None));
        assert_eq!(layers(serde_json::Value::Null, true), (vec![Full, Full], None));
    }

    #[test]
    fn only_who_needs_an_end_token_misses_it() {
        for none in [serde_json::Value::Null, serde_json::json!([])] {
            let file = read(&[("eos_token_id", none.clone())]);
            let error = file.end_token().unwrap_err().to_string();
            assert!(error.contains("eos_token_id"), "{error}");
            let generation =
                |eos| serde_json::to_vec(&serde_json::json!({ "eos_token_id": eos })).unwrap();
            let named =
                file.with_generation_config(&generation(serde_json::json!([7, 8])), "g").unwrap();
            assert_eq!(named.end_token().unwrap(), 7);
            assert_eq!(named.with_generation_config(&generation(none), "g").unwrap().eos, [7, 8]);
        }
        assert_eq!(read(&[]).end_token().unwrap(), 2);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (change, word) in [
            (("model_type", "mamba".into()), "mamba"),
            (("hidden_act", "gelu".into()), "gelu"),
            (("rope_scaling", serde_json::json!({"type": "ntk"})), "ntk"),
            (("vocab_size", "many".into()), "vocab_size is \"many\": a whole number"),
            (("quantization_config", serde_json::json!({"quant_method": "gptq"})), "names gptq"),
            (
                ("rope_parameters", serde_json::json!({"full_attention": {"rope_theta": 5.0}})),
                "full_attention",
            ),
            (("num_key_value_heads", 3.into()), "num_key_value_heads"),
            (("num_attention_heads", 0.into()), "num_attention_heads"),
            (("vocab_size", u32::MAX.into()), "vocab_size"),
            (("eos_token_id", 4000.into()), "4000"),
        ] {
            let error =
                ModelConfig::from_json(&json(&[change]), "x/config.json").unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("x/config.json"), "{error}");
        }
    }
}

use crate::error::{GgufError, Result};
use crate::{GgufFile, Value};

/// The architectures whose keys are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 1 to 3.2, Mistral, SmolLM2 and others of their form.
    Llama,
    /// Qwen 2 and 2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen 3: norms on queries and keys.
    Qwen3,
    /// Gemma 3: sliding windows, norms before and after each part, shifted norms.
    Gemma3,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Architecture; 4] =
        [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Gemma3 => "gemma3",
        }
    }
}

/// How positions are stretched beyond the context that a model was trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Positions are divided by the factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// YaRN.
    Yarn {
        /// The factor.
        factor: f32,
        /// Tokens of context before stretching, where the file says.
        original_context: Option<usize>,
        /// A factor of the attention's logits, where the file says.
        attention_factor: Option<f32>,
    },
}

/// Layers that see a limited number of tokens back.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SlidingWindow {
    /// Tokens, the own one included.
    pub tokens: usize,
    /// The last of each `period` layers sees everything.
    pub period: usize,
    /// The base of the rotations in layers with a window.
    pub rope_base: f32,
}

impl SlidingWindow {
    /// Whether a layer, counted from 0, has the window.
    pub fn is_in(self, layer: usize) -> bool {
        layer % self.period != self.period - 1
    }
}

/// A model's hyper-parameters, as its file states them or as the reference assumes them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelKeys {
    /// The architecture.
    pub architecture: Architecture,
    /// Layers.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a query's or key's head.
    pub key_length: usize,
    /// Width of a value's head.
    pub value_length: usize,
    /// Tokens of the vocabulary: rows of the embedding.
    pub vocabulary: usize,
    /// Tokens of context that the model was trained on.
    pub context: usize,
    /// What is added to the mean square in norms.
    pub norm_epsilon: f32,
    /// The base of the rotations.
    pub rope_base: f32,
    /// Values of a head that are rotated.
    pub rope_dimensions: usize,
    /// How positions are stretched.
    pub rope_scaling: RopeScaling,
    /// Whether the tensor `rope_freqs.weight` divides the rotations' frequencies.
    pub rope_factors: bool,
    /// Layers that see a limited number of tokens back.
    pub sliding_window: Option<SlidingWindow>,
    /// The factor of products of queries and keys.
    pub attention_scale: f32,
    /// The bound of the attention's logits (`b · tanh(x / b)`).
    pub attention_softcap: Option<f32>,
    /// The bound of the output's logits.
    pub output_softcap: Option<f32>,
    /// Whether the output uses the embedding's matrix: there is no `output.weight`.
    pub tied_output: bool,
    /// Whether the rows of queries and keys are in the order of [`rotation_row`].
    pub permuted_rows: bool,
    /// Whether norms are stored with their one added, where other files of the same model store
    /// the difference from one.
    pub shifted_norms: bool,
}

impl GgufFile {
    /// The model's hyper-parameters.
    ///
    /// # Errors
    ///
    /// If the file holds no language model or one of another architecture, or a key is missing
    /// or impossible.
    pub fn model_keys(&self) -> Result<ModelKeys> {
        let name = self.language_model()?;
        let known = Architecture::ALL.into_iter().find(|known| known.name() == name);
        let architecture = known.ok_or_else(|| GgufError::Key {
            path: self.path().into(),
            key: "general.architecture".to_owned(),
            problem: format!(
                "is {name:?}, which is not computed; take a model of {}",
                Architecture::ALL.map(Architecture::name).join(", ")
            ),
        })?;
        let keys = Keys { file: self, prefix: &name };
        if keys.count("expert_count")?.is_some_and(|experts| experts > 0) {
            let key = format!("{name}.expert_count");
            return Err(self.at_key(
                &key,
                "is above 0: models of several experts are not computed; take another model",
            ));
        }
        let gemma = architecture == Architecture::Gemma3;
        let layers = keys.size("block_count")?;
        let hidden = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let kv_heads = keys.size_or("attention.head_count_kv", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            let problem =
                format!("is {kv_heads}, which does not divide {heads} heads; {ANOTHER_FILE}");
            return Err(self.at_key(&format!("{name}.attention.head_count_kv"), problem));
        }
        let key_length = keys.size_or("attention.key_length", hidden / heads)?;
        let value_length = keys.size_or("attention.value_length", hidden / heads)?;
        let rope_dimensions = keys.size_or("rope.dimension_count", key_length)?;
        if rope_dimensions > key_length || !rope_dimensions.is_multiple_of(2) {
            let problem =
                format!("must be even and at most {key_length}, a head's width; {ANOTHER_FILE}");
            return Err(self.at_key(&format!("{name}.rope.dimension_count"), problem));
        }
        let embedding = self.tensor("token_embd.weight")?;
        let sliding_window = match keys.count("attention.sliding_window")? {
            Some(tokens) if tokens > 0 && gemma => Some(SlidingWindow {
                tokens,
                period: keys.window_period(layers)?,
                rope_base: keys.number_or("rope.freq_base_swa", 10_000.0)?,
            }),
            _ => None,
        };
        // The largest Gemma 3, of 62 layers, scales by its hidden width per head.
        let scaled = if gemma && layers == 62 { hidden / heads } else { key_length };
        Ok(ModelKeys {
            architecture,
            layers,
            hidden,
            feed_forward: keys.size("feed_forward_length")?,
            heads,
            kv_heads,
            key_length,
            value_length,
            vocabulary: usize::try_from(embedding.rows()).unwrap_or(usize::MAX),
            context: keys.size("context_length")?,
            norm_epsilon: keys.number("attention.layer_norm_rms_epsilon")?,
            rope_base: keys.number_or("rope.freq_base", 10_000.0)?,
            rope_dimensions,
            rope_scaling: keys.rope_scaling()?,
            rope_factors: self.find("rope_freqs.weight").is_some(),
            sliding_window,
            attention_scale: 1.0 / (scaled as f32).sqrt(),
            attention_softcap: keys.positive("attn_logit_softcapping")?,
            output_softcap: keys.positive("final_logit_softcapping")?,
            tied_output: self.find("output.weight").is_none(),
            permuted_rows: architecture == Architecture::Llama,
            shifted_norms: gemma,
        })
    }

    /// Checks that every tensor of a model is there, in its shape and in a format that is read.
    ///
    /// # Errors
    ///
    /// At the first tensor that is not.
    pub fn check_model(&self, keys: &ModelKeys) -> Result<()> {
        for (name, dims) in keys.tensors() {
            let joined = name.replace("attn_q.weight", "attn_qkv.weight");
            if let (None, Some(joined)) = (self.find(&name), self.find(&joined)) {
                let problem = "holds queries, keys and values in one matrix, which is not \
                               computed; take a file that has attn_q, attn_k and attn_v apart";
                return Err(self.at_tensor(joined.shard, &joined.name, problem.to_owned()));
            }
            self.format(self.expect(&name, &dims)?)?;
        }
        Ok(())
    }
}

impl ModelKeys {
    /// The names and shapes (innermost dimension first) of the model's tensors.
    pub fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let size = |n: usize| n as u64;
        let (hidden, wide) = (size(self.hidden), size(self.feed_forward));
        let queries = size(self.heads) * size(self.key_length);
        let keys = size(self.kv_heads) * size(self.key_length);
        let values = size(self.kv_heads) * size(self.value_length);
        let mixed = size(self.heads) * size(self.value_length);
        let mut out = vec![
            ("token_embd.weight".to_owned(), vec![hidden, size(self.vocabulary)]),
            ("output_norm.weight".to_owned(), vec![hidden]),
        ];
        if !self.tied_output {
            out.push(("output.weight".to_owned(), vec![hidden, size(self.vocabulary)]));
        }
        if self.rope_factors {
            let half = size(self.rope_dimensions / 2);
            out.push(("rope_freqs.weight".to_owned(), vec![half]));
        }
        let mut layer = vec![
            ("attn_norm.weight", vec![hidden]),
            ("attn_q.weight", vec![hidden, queries]),
            ("attn_k.weight", vec![hidden, keys]),
            ("attn_v.weight", vec![hidden, values]),
            ("attn_output.weight", vec![mixed, hidden]),
            ("ffn_norm.weight", vec![hidden]),
            ("ffn_gate.weight", vec![hidden, wide]),
            ("ffn_up.weight", vec![hidden, wide]),
            ("ffn_down.weight", vec![wide, hidden]),
        ];
        if self.architecture == Architecture::Qwen2 {
            layer.push(("attn_q.bias", vec![queries]));
            layer.push(("attn_k.bias", vec![keys]));
            layer.push(("attn_v.bias", vec![values]));
        }
        if matches!(self.architecture, Architecture::Qwen3 | Architecture::Gemma3) {
            layer.push(("attn_q_norm.weight", vec![size(self.key_length)]));
            layer.push(("attn_k_norm.weight", vec![size(self.key_length)]));
        }
        if self.architecture == Architecture::Gemma3 {
            layer.push(("post_attention_norm.weight", vec![hidden]));
            layer.push(("post_ffw_norm.weight", vec![hidden]));
        }
        for number in 0..self.layers {
            out.extend(
                layer.iter().map(|(name, dims)| (format!("blk.{number}.{name}"), dims.clone())),
            );
        }
        out
    }
}

/// Where a row of queries or keys stands in a file whose rows are permuted, for
/// [`GgufFile::matrix_in_order`].
///
/// Rotations turn pairs of values. Model folders have a head's first halves of the pairs and then
/// the second ones; files of the architecture `llama` have each pair together. Rows go back to
/// the folders' order here, in which adapters are trained, and no value is touched.
///
/// ```
/// use spring_gguf::rotation_row;
///
/// // A head of six rows: the file has 0 3 1 4 2 5.
/// let rows: Vec<usize> = (0..6).map(|row| rotation_row(row, 6)).collect();
/// assert_eq!(rows, [0, 2, 4, 1, 3, 5]);
/// ```
///
/// # Panics
///
/// If `head` is 0 or odd.
pub fn rotation_row(row: usize, head: usize) -> usize {
    assert!(head > 0 && head.is_multiple_of(2), "a head of {head} rows");
    let (start, row) = (row / head * head, row % head);
    let (half, pair) = (row / (head / 2), row % (head / 2));
    start + 2 * pair + half
}

/// Keys with an architecture's name in front.
struct Keys<'a> {
    file: &'a GgufFile,
    prefix: &'a str,
}

/// What to do about a key that no converter writes so.
const ANOTHER_FILE: &str = "take a file made by a current converter";

/// No count of a model is above this; it keeps products of two of them far from overflow.
const LARGEST: u64 = 1 << 28;

impl Keys<'_> {
    fn get(&self, name: &str) -> (String, Option<&Value>) {
        let key = format!("{}.{name}", self.prefix);
        let value = self.file.metadata().get(&key);
        (key, value)
    }

    /// A whole number, which may be 0. Some files state one per layer.
    fn count(&self, name: &str) -> Result<Option<usize>> {
        let (key, value) = self.get(name);
        let Some(value) = value else { return Ok(None) };
        let number = match value.to_u64s() {
            Some(each) => {
                if each.windows(2).any(|pair| pair[0] != pair[1]) {
                    let problem =
                        "differs from layer to layer, which is not computed; take another model";
                    return Err(self.file.at_key(&key, problem));
                }
                each.first().copied()
            }
            None => value.as_u64(),
        };
        match number {
            Some(number) if number <= LARGEST => Ok(Some(number as usize)),
            _ => {
                let problem =
                    format!("must be a whole number of at most {LARGEST}; {ANOTHER_FILE}");
                Err(self.file.at_key(&key, problem))
            }
        }
    }

    fn size(&self, name: &str) -> Result<usize> {
        match self.count(name)? {
            Some(0) => {
                let problem = format!("must not be 0; {ANOTHER_FILE}");
                Err(self.file.at_key(&self.get(name).0, problem))
            }
            Some(count) => Ok(count),
            None => Err(self.missing(name)),
        }
    }

    fn size_or(&self, name: &str, default: usize) -> Result<usize> {
        match self.get(name).1 {
            None if default > 0 => Ok(default),
            _ => self.size(name),
        }
    }

    /// From one layer without a window to the next: a number, or, in files of newer converters,
    /// for each layer whether it has the window.
    fn window_period(&self, layers: usize) -> Result<usize> {
        const KEY: &str = "attention.sliding_window_pattern";
        let (key, value) = self.get(KEY);
        let Some(each) = value.and_then(Value::as_bools) else { return self.size_or(KEY, 6) };
        if each.len() != layers {
            let problem = format!(
                "is a list of {} and there are {layers} layers; {ANOTHER_FILE}",
                each.len()
            );
            return Err(self.file.at_key(&key, problem));
        }
        // Where every layer has the window, the period is longer than there are layers.
        let first = each.iter().position(|window| !window).unwrap_or(layers);
        let period = first + 1;
        if each.iter().enumerate().any(|(layer, window)| *window != (layer % period != first)) {
            let problem = "has no period, which is not computed; take another model";
            return Err(self.file.at_key(&key, problem));
        }
        Ok(period)
    }

    fn optional(&self, name: &str) -> Result<Option<f32>> {
        let (key, value) = self.get(name);
        let Some(value) = value else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number.is_finite() && number >= 0.0 => Ok(Some(number as f32)),
            _ => {
                let problem = format!("must be a number that is not negative; {ANOTHER_FILE}");
                Err(self.file.at_key(&key, problem))
            }
        }
    }

    /// A number, where there is one above 0.
    fn positive(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.optional(name)?.filter(|&number| number > 0.0))
    }

    fn number(&self, name: &str) -> Result<f32> {
        self.optional(name)?.ok_or_else(|| self.missing(name))
    }

    fn number_or(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    fn missing(&self, name: &str) -> GgufError {
        self.file.at_key(&self.get(name).0, "is missing; take a complete file of this model")
    }

    fn rope_scaling(&self) -> Result<RopeScaling> {
        // The older key has the factor alone.
        let factor = match self.positive("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.positive("rope.scale_linear")?,
        };
        let key = format!("{}.rope.scaling.type", self.prefix);
        match (self.file.text(&key)?.unwrap_or("linear"), factor) {
            ("none", _) | ("linear" | "yarn", None) => Ok(RopeScaling::None),
            ("linear", Some(factor)) => Ok(RopeScaling::Linear { factor }),
            ("yarn", Some(factor)) => Ok(RopeScaling::Yarn {
                factor,
                original_context: self.count("rope.scaling.original_context_length")?,
                attention_factor: self.positive("rope.scaling.attn_factor")?,
            }),
            (other, _) => {
                let problem = format!("is {other:?}, which is not computed; take another model");
                Err(self.file.at_key(&key, problem))
            }
        }
    }
}

//! The decoder-only transformer of all supported architectures: embeddings, rotary attention with
//! grouped heads, gated feed-forward, norms. What differs between architectures is in
//! [`ModelConfig`].
//!
//! Weights keep the names and the `[out, in]` layout of the checkpoint. They are parameters without
//! gradient: the base is frozen, and what is trained is in [`LoraRows`].

mod packed;

use std::collections::HashMap;

pub(crate) use packed::Packed;

use burn::{
    module::{Module, Param},
    tensor::{Bool, DType, Int, Tensor, backend::Backend},
};
use spring_gguf::GgufFile;
use spring_lm::{RopeConfig, Weights, canonical, gguf_name, is_vision};

use crate::{
    Activation, LayerKind, ModelBackend, ModelConfig, ModelError, ModelFiles, Projection, Result,
    backend::{CachedPart, Mask, Rows, Visible},
    cache::{LayerCache, RowCache},
    head::Head,
    load::{self, Kept},
    lora::LoraRows,
    rotation::{self, Places},
    weight::Weight,
};

/// A transformer on a device.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    embed_tokens: Weight<B>,
    layers: Vec<Layer<B>>,
    norm: RmsNorm<B>,
    /// `None` when the output head is the embedding.
    lm_head: Option<Weight<B>>,
    #[module(skip)]
    config: ModelConfig,
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    input_layernorm: RmsNorm<B>,
    self_attn: Attention<B>,
    /// Before the feed-forward layer in most architectures; with sandwich norms, after the
    /// attention.
    post_attention_layernorm: RmsNorm<B>,
    /// Sandwich norms: before and after the feed-forward layer.
    feedforward_layernorms: Option<(RmsNorm<B>, RmsNorm<B>)>,
    mlp: Mlp<B>,
}

#[derive(Module, Debug)]
struct Attention<B: Backend> {
    q_proj: Linear<B>,
    k_proj: Linear<B>,
    v_proj: Linear<B>,
    o_proj: Linear<B>,
    /// Norms of each head of queries and of keys.
    q_k_norms: Option<(RmsNorm<B>, RmsNorm<B>)>,
}

#[derive(Module, Debug)]
struct Mlp<B: Backend> {
    gate_proj: Linear<B>,
    up_proj: Linear<B>,
    down_proj: Linear<B>,
}

#[derive(Module, Debug)]
struct Linear<B: Backend> {
    weight: Weight<B>,
    /// `[1, out]`
    bias: Option<Param<Tensor<B, 2>>>,
}

#[derive(Module, Debug)]
struct RmsNorm<B: Backend> {
    /// `[1, width]`
    weight: Param<Tensor<B, 2>>,
    epsilon: f64,
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// What every layer of one pass shares.
pub(crate) struct Pass<'a, B: Backend> {
    lora: &'a LoraRows<'a, B>,
    rows: usize,
    length: usize,
    /// Tokens of each row where rows have caches, and so lengths, of their own: `rows` then counts
    /// tokens, and `length` is 1.
    parts: Vec<usize>,
    /// What a row's numbers may depend on.
    of: Rows,
    /// By [`LayerKind`]; `None` for a kind that the model does not have.
    views: [Option<View<B>>; 2],
}

/// A row that has a cache, in a pass.
pub(crate) struct CachedRow<'a, B: Backend> {
    pub cache: &'a mut RowCache<B>,
    /// How many of the pass' tokens are the row's.
    pub length: usize,
    /// How many tokens of its text are known, those of later passes included.
    pub known: usize,
}

/// Where the tokens of a pass stand, and what they may look at.
struct View<B: Backend> {
    /// `[rows or 1, length, head_dim / 2]`
    cos: Tensor<B, 3>,
    sin: Tensor<B, 3>,
    /// One for all rows, or one for each that has a cache.
    masks: Vec<Mask<B>>,
}

impl<B: ModelBackend> Transformer<B> {
    /// Loads the weights of a checkpoint; matrices become `dtype`, norms and biases f32.
    pub(crate) fn load(
        files: &ModelFiles,
        config: &ModelConfig,
        dtype: DType,
        device: &B::Device,
    ) -> Result<Self> {
        let mut weights = HashMap::new();
        let wanted: HashMap<String, Vec<usize>> = wanted(config).into_iter().collect();
        let tied = config.tie_word_embeddings;
        let (mut vision, mut unknown) = (0, Vec::new());
        for file in files.weights() {
            let file = file?;
            for stored in file.names() {
                let name = match canonical(&stored) {
                    // One matrix, stored under either name; the embedding's counts if both are
                    // there.
                    head if tied && head == HEAD && !weights.contains_key(EMBEDDING) => {
                        EMBEDDING.into()
                    }
                    name => name,
                };
                match wanted.get(&name) {
                    Some(shape) => {
                        let dtype = if shape.len() == 2 { dtype } else { DType::F32 };
                        let offset = if config.norm_offset && name.ends_with("norm.weight") {
                            1.0
                        } else {
                            0.0
                        };
                        let tensor = load::tensor::<B>(
                            &file,
                            &stored,
                            shape,
                            dtype,
                            |x| x + offset,
                            device,
                        )?;
                        weights.insert(name, tensor);
                    }
                    None if config.multimodal && is_vision(&stored) => vision += 1,
                    None => check_unused(&file, &stored, config, &mut unknown)?,
                }
            }
        }
        if vision > 0 {
            tracing::warn!("{}: {vision} tensors of the vision part are left out", files.label());
        }
        if let Some(first) = unknown.first() {
            tracing::warn!(
                "{}: {} tensors are not used, {first} for one",
                files.label(),
                unknown.len()
            );
        }
        Self::build(config, |name, _| match weights.remove(&name) {
            Some(tensor) => Ok(Weight::dense(tensor)),
            None => Err(ModelError::MissingTensor { file: files.label().into(), tensor: name }),
        })
    }

    /// Loads the weights of a GGUF file, tensor by tensor.
    pub(crate) fn load_gguf(
        file: &GgufFile,
        config: &ModelConfig,
        kept: Kept,
        device: &B::Device,
    ) -> Result<Self> {
        let permuted = file.model_keys()?.permuted_rows;
        Self::build(config, |name, shape| {
            let missing = || ModelError::MissingTensor {
                file: file.path().display().to_string(),
                tensor: name.clone(),
            };
            let stored = gguf_name(&name, config.sandwich_norms).ok_or_else(missing)?;
            let turned = name.contains("q_proj") || name.contains("k_proj");
            let head = (permuted && turned).then_some(config.head_dim);
            match shape {
                [1, _] if name.ends_with("norm.weight") || name.ends_with("bias") => {
                    load::gguf_vector(file, &stored, head, device)
                }
                _ => load::gguf_matrix(file, &stored, head, kept, device),
            }
        })
    }

    /// A model whose tensors come from `tensor`, by name and shape; vectors are one row.
    pub(crate) fn build(
        config: &ModelConfig,
        mut tensor: impl FnMut(String, [usize; 2]) -> Result<Weight<B>>,
    ) -> Result<Self> {
        let shapes: HashMap<String, Vec<usize>> = wanted(config).into_iter().collect();
        let mut take = |name: String| {
            let shape = match shapes.get(&name).map(Vec::as_slice) {
                Some(&[rows, columns]) => [rows, columns],
                Some(&[width]) => [1, width],
                _ => [0, 0],
            };
            tensor(name, shape)
        };
        let layers = (0..config.num_layers)
            .map(|layer| Layer::load(layer, config, &mut take))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            layers,
            norm: RmsNorm::new(vector(&mut take, "model.norm.weight".into())?, config),
            embed_tokens: take("model.embed_tokens.weight".into())?,
            lm_head: if config.tie_word_embeddings {
                None
            } else {
                Some(take("lm_head.weight".into())?)
            },
            config: config.clone(),
        })
    }

    /// Whether any matrix is quantised.
    pub(crate) fn holds_blocks(&self) -> bool {
        let blocks = |weight: &Weight<B>| matches!(weight, Weight::Blocks(_));
        let in_layer = |layer: &Layer<B>| {
            let Attention { q_proj, k_proj, v_proj, o_proj, .. } = &layer.self_attn;
            let Mlp { gate_proj, up_proj, down_proj } = &layer.mlp;
            [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]
                .iter()
                .any(|linear| blocks(&linear.weight))
        };
        blocks(&self.embed_tokens)
            || self.lm_head.as_ref().is_some_and(blocks)
            || self.layers.iter().any(in_layer)
    }

    /// Whether every projection is of f32 or in blocks: the pass without a graph multiplies by no
    /// other type.
    pub(crate) fn is_packable(&self) -> bool {
        let is_fit = |linear: &Linear<B>| match &linear.weight {
            Weight::Dense(param) => param.val().dtype() == DType::F32,
            Weight::Blocks(_) => true,
        };
        self.layers.iter().all(|layer| {
            let Attention { q_proj, k_proj, v_proj, o_proj, .. } = &layer.self_attn;
            let Mlp { gate_proj, up_proj, down_proj } = &layer.mlp;
            [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj].into_iter().all(is_fit)
        })
    }

    /// Every parameter under its name in a checkpoint; vectors are one row.
    #[cfg(any(test, feature = "pretrain"))]
    pub(crate) fn parameters_mut(&mut self) -> Vec<(String, &mut Param<Tensor<B, 2>>)> {
        let mut all = vec![("model.norm.weight".to_owned(), &mut self.norm.weight)];
        let embedding = self.embed_tokens.param_mut();
        all.splice(0..0, embedding.map(|matrix| ("model.embed_tokens.weight".to_owned(), matrix)));
        let head = self.lm_head.as_mut().and_then(Weight::param_mut);
        all.extend(head.map(|head| ("lm_head.weight".to_owned(), head)));
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let Layer {
                input_layernorm,
                self_attn,
                post_attention_layernorm,
                feedforward_layernorms,
                mlp,
            } = layer;
            let Attention { q_proj, k_proj, v_proj, o_proj, q_k_norms } = self_attn;
            let Mlp { gate_proj, up_proj, down_proj } = mlp;
            let mut norms = vec![
                ("input_layernorm", input_layernorm),
                ("post_attention_layernorm", post_attention_layernorm),
            ];
            if let Some((before, after)) = feedforward_layernorms {
                norms.extend([
                    ("pre_feedforward_layernorm", before),
                    ("post_feedforward_layernorm", after),
                ]);
            }
            if let Some((q_norm, k_norm)) = q_k_norms {
                norms.extend([("self_attn.q_norm", q_norm), ("self_attn.k_norm", k_norm)]);
            }
            let prefix = format!("model.layers.{i}");
            all.extend(
                norms
                    .into_iter()
                    .map(|(name, norm)| (format!("{prefix}.{name}.weight"), &mut norm.weight)),
            );
            let linears = [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj];
            for (projection, linear) in Projection::ALL.into_iter().zip(linears) {
                let name = format!("{prefix}.{}", projection.path());
                all.extend(linear.bias.as_mut().map(|bias| (format!("{name}.bias"), bias)));
                all.extend(linear.weight.param_mut().map(|m| (format!("{name}.weight"), m)));
            }
        }
        all
    }

    /// The output head.
    pub(crate) fn head(&self) -> Head<B> {
        Head {
            weight: self.lm_head.as_ref().unwrap_or(&self.embed_tokens).clone(),
            softcap: self.config.final_softcap,
        }
    }

    /// Normalised final hidden states; rows are padded on the right, where causality keeps padding
    /// from being seen.
    ///
    /// # Shapes
    ///
    /// - tokens: `[rows, length]`
    /// - lengths: of each row without its padding, `[rows]`
    /// - output: `[rows * length, hidden]`
    pub(crate) fn forward(
        &self,
        tokens: Tensor<B, 2, Int>,
        lengths: &[usize],
        lora: &LoraRows<'_, B>,
    ) -> Tensor<B, 2> {
        let pass = self.pass(tokens.dims(), lengths, lora, &tokens.device());
        let mut x = self.embed(tokens);
        for layer in 0..self.layers.len() {
            x = self.layer(layer, x, &pass, None);
        }
        self.normalize(x)
    }

    /// The same for tokens that follow those in the rows' caches, in one pass: linear layers see
    /// the tokens of all rows below each other, attention sees each row's own cache.
    ///
    /// # Shapes
    ///
    /// - tokens: those of the first row, then those of the next; `[tokens]`
    /// - lora: an adapter per token
    /// - output: `[tokens, hidden]`
    pub(crate) fn forward_cached(
        &self,
        tokens: Tensor<B, 1, Int>,
        lora: &LoraRows<'_, B>,
        rows: &mut [CachedRow<'_, B>],
    ) -> Tensor<B, 2> {
        let (count, device) = (tokens.dims()[0], tokens.device());
        let places = |row: &CachedRow<'_, B>| {
            let positions = row.cache.positions(row.length);
            Places { reach: row.known.max(positions.end), positions }
        };
        let places: Vec<Places> = rows.iter().map(places).collect();
        for row in rows.iter_mut() {
            row.cache.reserve(row.length, &device);
        }
        let view = |kind| {
            let mask = |row: &CachedRow<'_, B>| {
                let visible = row.cache.visible(self.window(kind));
                let tensor = B::MASK_TENSOR
                    .then(|| row.cache.mask(row.length, &visible, &device))
                    .flatten()
                    .map(|mask| self.for_all_heads(mask, 1));
                Mask { visible, tensor }
            };
            let masks = rows.iter().map(mask).collect();
            self.view(kind, [count, 1], &places, masks, &device)
        };
        let pass = Pass {
            lora,
            rows: count,
            length: 1,
            parts: rows.iter().map(|row| row.length).collect(),
            of: if rows.len() == 1 { Rows::Batch } else { Rows::Texts },
            views: self.views(view),
        };
        let mut x = self.embed(tokens.unsqueeze_dim(1));
        for layer in 0..self.layers.len() {
            let caches = rows.iter_mut().filter_map(|row| row.cache.layer(layer)).collect();
            x = self.layer(layer, x, &pass, Some(caches));
        }
        for row in rows {
            row.cache.advance(row.length);
        }
        self.normalize(x)
    }

    /// A pass over rows that begin at their first token and have these lengths without padding.
    pub(crate) fn pass<'a>(
        &self,
        [rows, length]: [usize; 2],
        lengths: &[usize],
        lora: &'a LoraRows<'a, B>,
        device: &B::Device,
    ) -> Pass<'a, B> {
        let views = self.views_of([rows, length], lengths, device);
        Pass { lora, rows, length, parts: Vec::new(), of: Rows::Batch, views }
    }

    fn views_of(
        &self,
        [rows, length]: [usize; 2],
        lengths: &[usize],
        device: &B::Device,
    ) -> [Option<View<B>>; 2] {
        let places: Vec<Places> =
            lengths.iter().map(|own| Places { positions: 0..length, reach: *own }).collect();
        let view = |kind| {
            // One table for all rows, unless their lengths make a difference.
            let same = self.rope(kind).same_up_to();
            let apart = same.is_some_and(|same| lengths.iter().any(|own| *own > same));
            let tables = if apart { &places[..] } else { &places[..1.min(places.len())] };
            let window = self.window(kind);
            let mask = (B::MASK_TENSOR && length > 1).then(|| {
                let columns = Tensor::<B, 1, Int>::arange(0..length as i64, device);
                let keys = columns.clone().reshape([1, length]).expand([length, length]);
                let queries = columns.reshape([length, 1]).expand([length, length]);
                let mut forbidden = keys.clone().greater(queries.clone());
                if let Some(window) = window.filter(|window| *window < length) {
                    forbidden =
                        forbidden.bool_or(keys.add_scalar(window as i64).lower_equal(queries));
                }
                self.for_all_heads(forbidden.reshape([1, 1, 1, length, length]), rows)
            });
            let mask = Mask { visible: Visible { start: 0, window }, tensor: mask };
            self.view(kind, [tables.len(), length], tables, vec![mask], device)
        };
        self.views(view)
    }

    /// A view for each kind of layer that there is.
    fn views(&self, view: impl Fn(LayerKind) -> View<B>) -> [Option<View<B>>; 2] {
        [LayerKind::Full, LayerKind::Sliding]
            .map(|kind| self.config.layers.contains(&kind).then(|| view(kind)))
    }

    fn view(
        &self,
        kind: LayerKind,
        [rows, length]: [usize; 2],
        places: &[Places],
        masks: Vec<Mask<B>>,
        device: &B::Device,
    ) -> View<B> {
        let dim = self.config.head_dim;
        let [cos, sin] = rotation::tables::<B>(self.rope(kind), dim, places, device)
            .map(|t| t.reshape([rows, length, dim / 2]));
        View { cos, sin, masks }
    }

    fn rope(&self, kind: LayerKind) -> &RopeConfig {
        match kind {
            LayerKind::Full => &self.config.rope,
            LayerKind::Sliding => &self.config.sliding_rope,
        }
    }

    fn window(&self, kind: LayerKind) -> Option<usize> {
        match kind {
            LayerKind::Full => None,
            LayerKind::Sliding => self.config.sliding_window,
        }
    }

    /// Repeats a mask `[1 or rows, 1, 1, queries, keys]` for every row, if need be, and every head.
    fn for_all_heads(&self, mask: Tensor<B, 5, Bool>, rows: usize) -> Tensor<B, 5, Bool> {
        let ModelConfig { num_heads, num_kv_heads, .. } = self.config;
        mask.repeat(&[rows, num_kv_heads, num_heads / num_kv_heads, 1, 1])
    }

    /// # Shapes
    ///
    /// - tokens: `[rows, length]`
    /// - output: `[rows * length, hidden]`
    pub(crate) fn embed(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        let count = tokens.shape().num_elements();
        let x = self.embed_tokens.select(tokens.reshape([count]));
        match self.config.embedding_scale {
            Some(scale) => x.mul_scalar(scale),
            None => x,
        }
    }

    /// One block; input and output `[rows * length, hidden]`.
    pub(crate) fn layer(
        &self,
        layer: usize,
        x: Tensor<B, 2>,
        pass: &Pass<'_, B>,
        caches: Option<Vec<&mut LayerCache<B>>>,
    ) -> Tensor<B, 2> {
        let Layer {
            input_layernorm,
            self_attn,
            post_attention_layernorm,
            feedforward_layernorms,
            mlp,
        } = &self.layers[layer];
        let mut attended = self_attn.forward(
            input_layernorm.forward(x.clone()),
            layer,
            pass,
            &self.config,
            caches,
        );
        if feedforward_layernorms.is_some() {
            attended = post_attention_layernorm.forward(attended);
        }
        let x = x + attended;
        let (before, after) = match feedforward_layernorms {
            Some((before, after)) => (before, Some(after)),
            None => (post_attention_layernorm, None),
        };
        let mut fed = mlp.forward(before.forward(x.clone()), layer, pass, self.config.activation);
        if let Some(after) = after {
            fed = after.forward(fed);
        }
        x + fed
    }

    /// The final norm.
    pub(crate) fn normalize(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.norm.forward(x)
    }
}

impl<B: Backend> Layer<B> {
    fn load(
        layer: usize,
        config: &ModelConfig,
        take: &mut impl FnMut(String) -> Result<Weight<B>>,
    ) -> Result<Self> {
        let mut linear = |projection: Projection| -> Result<Linear<B>> {
            let name = format!("model.layers.{layer}.{}", projection.path());
            let bias = config
                .has_bias(projection)
                .then(|| vector(take, format!("{name}.bias")))
                .transpose()?;
            Ok(Linear { weight: take(format!("{name}.weight"))?, bias })
        };
        let [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj] =
            Projection::ALL.map(&mut linear);
        let mut norm = |name: &str| -> Result<RmsNorm<B>> {
            let name = format!("model.layers.{layer}.{name}.weight");
            Ok(RmsNorm::new(vector(take, name)?, config))
        };
        let mut pair = |wanted: bool, first: &str, second: &str| -> Result<_> {
            match wanted {
                true => Ok(Some((norm(first)?, norm(second)?))),
                false => Ok(None),
            }
        };
        Ok(Self {
            self_attn: Attention {
                q_proj: q_proj?,
                k_proj: k_proj?,
                v_proj: v_proj?,
                o_proj: o_proj?,
                q_k_norms: pair(config.qk_norm, "self_attn.q_norm", "self_attn.k_norm")?,
            },
            mlp: Mlp { gate_proj: gate_proj?, up_proj: up_proj?, down_proj: down_proj? },
            feedforward_layernorms: pair(
                config.sandwich_norms,
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            )?,
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
        })
    }
}

/// Norms and biases are numbers in every file.
fn vector<B: Backend>(
    take: &mut impl FnMut(String) -> Result<Weight<B>>,
    name: String,
) -> Result<Param<Tensor<B, 2>>> {
    take(name.clone())?.into_param(&name)
}

impl<B: ModelBackend> Attention<B> {
    fn forward(
        &self,
        x: Tensor<B, 2>,
        layer: usize,
        pass: &Pass<'_, B>,
        config: &ModelConfig,
        caches: Option<Vec<&mut LayerCache<B>>>,
    ) -> Tensor<B, 2> {
        let Some(view) = &pass.views[config.layers[layer] as usize] else { return x };
        let (rows, length, dim) = (pass.rows, pass.length, config.head_dim);
        let (heads, kv_heads) = (config.num_heads, config.num_kv_heads);
        let [mut query, mut key, value] = Linear::forward_all(
            [
                (&self.q_proj, Projection::Q),
                (&self.k_proj, Projection::K),
                (&self.v_proj, Projection::V),
            ],
            &x,
            layer,
            pass,
        );
        let value = value.reshape([rows, length, kv_heads, dim]);
        if let Some((q_norm, k_norm)) = &self.q_k_norms {
            query = q_norm.forward(query.reshape([rows * length * heads, dim]));
            key = k_norm.forward(key.reshape([rows * length * kv_heads, dim]));
        }
        let turn = |x: Tensor<B, 4>| B::rotate(x, view.cos.clone(), view.sin.clone());
        let query = turn(query.reshape([rows, length, heads, dim]));
        let key = turn(key.reshape([rows, length, kv_heads, dim]));
        let mixed = match (caches, &view.masks[..]) {
            (Some(caches), masks) => {
                let mut parts: Vec<CachedPart<'_, B>> = caches
                    .into_iter()
                    .zip(&pass.parts)
                    .zip(masks)
                    .map(|((cache, &length), mask)| CachedPart { length, mask, cache })
                    .collect();
                B::cached_attention(query, key, value, &mut parts, config.query_scale)
            }
            (None, [mask, ..]) => B::grouped_attention(query, key, value, mask, config.query_scale),
            (None, []) => return x,
        };
        let mixed = mixed.reshape([rows * length, heads * dim]);
        let [output] = Linear::forward_all([(&self.o_proj, Projection::O)], &mixed, layer, pass);
        output
    }
}

impl<B: ModelBackend> Mlp<B> {
    fn forward(
        &self,
        x: Tensor<B, 2>,
        layer: usize,
        pass: &Pass<'_, B>,
        activation: Activation,
    ) -> Tensor<B, 2> {
        let [gate, up] = Linear::forward_all(
            [(&self.gate_proj, Projection::Gate), (&self.up_proj, Projection::Up)],
            &x,
            layer,
            pass,
        );
        let inner = B::gated(gate, up, activation);
        let [output] =
            Linear::forward_all([(&self.down_proj, Projection::Down)], &inner, layer, pass);
        output
    }
}

impl<B: ModelBackend> Linear<B> {
    /// `xWᵀ + b`, plus every row's LoRA update, of several layers that see the same rows.
    fn forward_all<const N: usize>(
        linears: [(&Self, Projection); N],
        x: &Tensor<B, 2>,
        layer: usize,
        pass: &Pass<'_, B>,
    ) -> [Tensor<B, 2>; N] {
        let weights = linears.map(|(linear, _)| &linear.weight);
        let mut linears = linears.into_iter();
        Weight::project_all(weights, x.clone(), pass.of).map(|product| {
            let Some((linear, projection)) = linears.next() else { return product };
            let output = match &linear.bias {
                Some(bias) => product + bias.val(),
                None => product,
            };
            pass.lora.add(x, output, (layer, projection), pass.length, pass.of)
        })
    }
}

impl<B: Backend> RmsNorm<B> {
    fn new(weight: Param<Tensor<B, 2>>, config: &ModelConfig) -> Self {
        Self { weight, epsilon: config.rms_norm_eps }
    }
}

impl<B: ModelBackend> RmsNorm<B> {
    /// Normalises rows, `[rows, width]`.
    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        B::rms_norm(x, self.weight.val(), self.epsilon)
    }
}

/// Name and shape of every tensor that a configuration asks for.
fn wanted(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let embedding = vec![config.vocab_size, config.hidden_size];
    let mut wanted = vec![
        ("model.embed_tokens.weight".to_string(), embedding.clone()),
        ("model.norm.weight".to_string(), vec![config.hidden_size]),
    ];
    if !config.tie_word_embeddings {
        wanted.push(("lm_head.weight".into(), embedding));
    }
    let mut norms = vec![
        ("input_layernorm", config.hidden_size),
        ("post_attention_layernorm", config.hidden_size),
    ];
    if config.sandwich_norms {
        norms.extend([
            ("pre_feedforward_layernorm", config.hidden_size),
            ("post_feedforward_layernorm", config.hidden_size),
        ]);
    }
    if config.qk_norm {
        norms
            .extend([("self_attn.q_norm", config.head_dim), ("self_attn.k_norm", config.head_dim)]);
    }
    for layer in 0..config.num_layers {
        for (norm, width) in &norms {
            wanted.push((format!("model.layers.{layer}.{norm}.weight"), vec![*width]));
        }
        for projection in Projection::ALL {
            let (d_in, d_out) = config.projection_dims(projection);
            let name = format!("model.layers.{layer}.{}", projection.path());
            wanted.push((format!("{name}.weight"), vec![d_out, d_in]));
            if config.has_bias(projection) {
                wanted.push((format!("{name}.bias"), vec![d_out]));
            }
        }
    }
    wanted
}

/// A tensor inside a block that this model would not use means that the weights and config.json do
/// not fit; others are only counted.
fn check_unused(
    file: &Weights<'_>,
    stored: &str,
    config: &ModelConfig,
    unknown: &mut Vec<String>,
) -> Result<()> {
    let name = canonical(stored);
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    match layer.and_then(|(layer, part)| Some((layer.parse::<usize>().ok()?, part))) {
        // Old checkpoints store what every program computes.
        Some((_, part)) if part.ends_with("rotary_emb.inv_freq") => {}
        Some((layer, _)) if layer < config.num_layers => {
            return Err(ModelError::Config {
                file: file.label().into(),
                reason: format!(
                    "tensor {stored} is no part of a {} model with this config.json: weights and \
                     config.json do \
                     not belong together, or the model is of another kind than it says",
                    config.model_type
                ),
            });
        }
        _ if config.tie_word_embeddings && name == "lm_head.weight" => {}
        _ => unknown.push(stored.into()),
    }
    Ok(())
}

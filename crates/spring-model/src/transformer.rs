//! The decoder-only transformer: embeddings, rotary attention with grouped heads, gated feed-forward, final norm.
//!
//! Weights keep the names and the `[out, in]` layout of the checkpoint. They are parameters without gradient: the
//! base is frozen, and what is trained is in [`LoraRows`](crate::lora::LoraRows).

use std::collections::HashMap;

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Bool, Int, Tensor, TensorData, activation, backend::Backend},
};

use crate::{
    ModelBackend, ModelConfig, ModelError, ModelFiles, Projection, Result, checkpoint, lora::LoraRows,
    softmax::masked_softmax,
};

/// A transformer on a device.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    embed_tokens: Param<Tensor<B, 2>>,
    layers: Vec<Layer<B>>,
    norm: RmsNorm<B>,
    /// `None` when the output head is the embedding.
    lm_head: Option<Param<Tensor<B, 2>>>,
    rope: Rope<B>,
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    input_layernorm: RmsNorm<B>,
    self_attn: Attention<B>,
    post_attention_layernorm: RmsNorm<B>,
    mlp: Mlp<B>,
}

#[derive(Module, Debug)]
struct Attention<B: Backend> {
    q_proj: Param<Tensor<B, 2>>,
    k_proj: Param<Tensor<B, 2>>,
    v_proj: Param<Tensor<B, 2>>,
    o_proj: Param<Tensor<B, 2>>,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
}

#[derive(Module, Debug)]
struct Mlp<B: Backend> {
    gate_proj: Param<Tensor<B, 2>>,
    up_proj: Param<Tensor<B, 2>>,
    down_proj: Param<Tensor<B, 2>>,
}

#[derive(Module, Debug)]
struct RmsNorm<B: Backend> {
    /// `[1, hidden]`
    weight: Param<Tensor<B, 2>>,
    epsilon: f64,
}

/// Cosines and sines of the rotary embedding, `[max_positions, head_dim / 2]`.
#[derive(Module, Debug)]
struct Rope<B: Backend> {
    cos: Tensor<B, 2>,
    sin: Tensor<B, 2>,
}

/// Keys and values of the tokens seen so far, written in place.
///
/// Rows of different lengths are aligned at their right ends: row `i` starts at column `pads[i]`.
#[derive(Debug)]
pub(crate) struct KvCache<B: Backend> {
    /// Per layer, keys and values `[rows, kv_heads, capacity, head_dim]`; `None` only while a step writes them.
    layers: Vec<Option<(Tensor<B, 4>, Tensor<B, 4>)>>,
    pads: Vec<usize>,
    len: usize,
    capacity: usize,
}

/// What every layer of one pass shares.
struct Pass<'a, B: Backend> {
    lora: &'a LoraRows<'a, B>,
    rows: usize,
    length: usize,
    /// `[rows or 1, length, 1, head_dim / 2]`
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
    /// True where attention is forbidden, `[rows, kv_heads, group, length, keys]`; `None` when all is allowed. In full,
    /// as it is read once per layer and a broadcast one is slow to read.
    mask: Option<Tensor<B, 5, Bool>>,
    /// How many columns of the cache are already filled.
    start: usize,
}

impl<B: ModelBackend> Transformer<B> {
    /// Loads the weights of a checkpoint, in the backend's float type.
    pub(crate) fn load(files: &ModelFiles, config: &ModelConfig, device: &B::Device) -> Result<Self> {
        let wanted = wanted(config);
        let mut weights = HashMap::new();
        files.for_each_shard(|file, shard| {
            for (name, shape) in &wanted {
                if let Some(tensor) = checkpoint::tensor::<B>(shard, file, name, shape, device)? {
                    weights.insert(name.clone(), tensor);
                }
            }
            Ok(())
        })?;
        let mut take = |name: String| match weights.remove(&name) {
            Some(tensor) => Ok(Param::initialized(ParamId::new(), tensor)),
            None => Err(ModelError::MissingTensor { file: files.label().into(), tensor: name }),
        };
        let norm = |weight| RmsNorm { weight, epsilon: config.rms_norm_eps };
        let layers = (0..config.num_layers)
            .map(|i| {
                let mut part = |p: Projection| take(projection_name(i, p));
                Ok(Layer {
                    self_attn: Attention {
                        q_proj: part(Projection::Q)?,
                        k_proj: part(Projection::K)?,
                        v_proj: part(Projection::V)?,
                        o_proj: part(Projection::O)?,
                        num_heads: config.num_heads,
                        num_kv_heads: config.num_kv_heads,
                        head_dim: config.head_dim,
                    },
                    mlp: Mlp {
                        gate_proj: part(Projection::Gate)?,
                        up_proj: part(Projection::Up)?,
                        down_proj: part(Projection::Down)?,
                    },
                    input_layernorm: norm(take(format!("model.layers.{i}.input_layernorm.weight"))?),
                    post_attention_layernorm: norm(take(format!(
                        "model.layers.{i}.post_attention_layernorm.weight"
                    ))?),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            layers,
            norm: norm(take("model.norm.weight".into())?),
            embed_tokens: take("model.embed_tokens.weight".into())?,
            lm_head: if config.tie_word_embeddings { None } else { Some(take("lm_head.weight".into())?) },
            rope: Rope::init(config, device),
        })
    }

    /// The output head, `[vocabulary, hidden]`.
    pub(crate) fn head(&self) -> Tensor<B, 2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).val()
    }

    /// Normalised final hidden states; rows are padded on the right, where causality keeps padding from being seen.
    ///
    /// # Shapes
    ///
    /// - tokens: `[rows, length]`
    /// - output: `[rows * length, hidden]`
    pub(crate) fn forward(&self, tokens: Tensor<B, 2, Int>, lora: &LoraRows<'_, B>) -> Tensor<B, 2> {
        let [rows, length] = tokens.dims();
        let device = tokens.device();
        let columns = Tensor::<B, 1, Int>::arange(0..length as i64, &device);
        let keys = columns.clone().reshape([1, length]).expand([length, length]);
        let queries = columns.reshape([length, 1]).expand([length, length]);
        let half = self.rope.cos.dims()[1];
        let table = |t: &Tensor<B, 2>| t.clone().slice_dim(0, 0..length).reshape([1, length, 1, half]);
        let pass = Pass {
            lora,
            rows,
            length,
            cos: table(&self.rope.cos),
            sin: table(&self.rope.sin),
            mask: (length > 1)
                .then(|| self.for_all_heads(keys.greater(queries).reshape([1, 1, 1, length, length]), rows)),
            start: 0,
        };
        self.run(tokens, &pass, None)
    }

    /// The same for tokens that follow those in a cache; rows are aligned at their right ends.
    ///
    /// # Shapes
    ///
    /// - tokens: `[rows, length]`; in the first call shorter rows are padded on the left, as the cache's `pads` say
    /// - output: `[rows * length, hidden]`
    pub(crate) fn forward_cached(
        &self,
        tokens: Tensor<B, 2, Int>,
        lora: &LoraRows<'_, B>,
        cache: &mut KvCache<B>,
    ) -> Tensor<B, 2> {
        let [rows, length] = tokens.dims();
        let device = tokens.device();
        let (start, end) = (cache.len, cache.len + length);
        // Padding columns get position 0; the mask keeps them from being seen.
        let positions: Vec<i64> = cache
            .pads
            .iter()
            .flat_map(|pad| (start..end).map(move |column| column.saturating_sub(*pad) as i64))
            .collect();
        let positions = Tensor::<B, 1, Int>::from_data(TensorData::new(positions, [rows * length]), &device);
        let half = self.rope.cos.dims()[1];
        let table =
            |t: &Tensor<B, 2>| t.clone().select(0, positions.clone()).reshape([rows, length, 1, half]);
        let pass = Pass {
            lora,
            rows,
            length,
            cos: table(&self.rope.cos),
            sin: table(&self.rope.sin),
            mask: cache.mask(length, &device).map(|mask| self.for_all_heads(mask, 1)),
            start,
        };
        let hidden = self.run(tokens, &pass, Some(cache));
        cache.len = end;
        hidden
    }

    /// Repeats a mask `[1 or rows, 1, 1, queries, keys]` for every row, if need be, and every head.
    fn for_all_heads(&self, mask: Tensor<B, 5, Bool>, rows: usize) -> Tensor<B, 5, Bool> {
        let Some(Attention { num_heads, num_kv_heads, .. }) =
            self.layers.first().map(|layer| &layer.self_attn)
        else {
            return mask;
        };
        mask.repeat(&[rows, *num_kv_heads, num_heads / num_kv_heads, 1, 1])
    }

    fn run(
        &self,
        tokens: Tensor<B, 2, Int>,
        pass: &Pass<'_, B>,
        mut cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 2> {
        let mut x = self.embed_tokens.val().select(0, tokens.reshape([pass.rows * pass.length]));
        for (i, layer) in self.layers.iter().enumerate() {
            let slot = cache.as_mut().map(|cache| &mut cache.layers[i]);
            x = x.clone() + layer.self_attn.forward(layer.input_layernorm.forward(x), i, pass, slot);
            x = x.clone() + layer.mlp.forward(layer.post_attention_layernorm.forward(x), i, pass);
        }
        self.norm.forward(x)
    }
}

impl<B: ModelBackend> Attention<B> {
    fn forward(
        &self,
        x: Tensor<B, 2>,
        layer: usize,
        pass: &Pass<'_, B>,
        cache: Option<&mut Option<(Tensor<B, 4>, Tensor<B, 4>)>>,
    ) -> Tensor<B, 2> {
        let (rows, length, dim) = (pass.rows, pass.length, self.head_dim);
        let (kv_heads, group) = (self.num_kv_heads, self.num_heads / self.num_kv_heads);
        let project = |weight: &Param<Tensor<B, 2>>, p| linear(&x, weight, layer, p, pass);
        let query = project(&self.q_proj, Projection::Q).reshape([rows, length, self.num_heads, dim]);
        let key = project(&self.k_proj, Projection::K).reshape([rows, length, kv_heads, dim]);
        let value = project(&self.v_proj, Projection::V).reshape([rows, length, kv_heads, dim]);

        let query = rotate(query, pass).mul_scalar(1.0 / (dim as f64).sqrt());
        // The queries of a group stand below each other, so that one product serves them all and no key is copied.
        let query = query.reshape([rows, length, kv_heads, group, dim]).permute([0, 2, 3, 1, 4]).reshape([
            rows,
            kv_heads,
            group * length,
            dim,
        ]);
        let (mut key, mut value) = (rotate(key, pass).swap_dims(1, 2), value.swap_dims(1, 2));
        if let Some(slot) = cache {
            (key, value) = write_cache(slot, key, value, pass.start);
        }
        let keys = key.dims()[2];

        let shape = [rows, kv_heads, group, length, keys];
        let scores = query.matmul(key.transpose()).reshape(shape);
        let weights =
            masked_softmax(scores, pass.mask.clone()).reshape([rows, kv_heads, group * length, keys]);
        let mixed = weights
            .matmul(value)
            .reshape([rows, kv_heads, group, length, dim])
            .permute([0, 3, 1, 2, 4])
            .reshape([rows * length, self.num_heads * dim]);
        linear(&mixed, &self.o_proj, layer, Projection::O, pass)
    }
}

/// Writes the new columns in place and returns all columns filled so far.
fn write_cache<B: Backend>(
    slot: &mut Option<(Tensor<B, 4>, Tensor<B, 4>)>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    start: usize,
) -> (Tensor<B, 4>, Tensor<B, 4>) {
    // Taken out, so that nothing else holds the buffers and `slice_assign` does not copy them.
    let Some((keys, values)) = slot.take() else { return (key, value) };
    let [rows, heads, length, dim] = key.dims();
    let place = [0..rows, 0..heads, start..start + length, 0..dim];
    let keys = keys.slice_assign(place.clone(), key);
    let values = values.slice_assign(place, value);
    let filled = [0..rows, 0..heads, 0..start + length, 0..dim];
    let seen = (keys.clone().slice(filled.clone()), values.clone().slice(filled));
    *slot = Some((keys, values));
    seen
}

impl<B: Backend> Mlp<B> {
    fn forward(&self, x: Tensor<B, 2>, layer: usize, pass: &Pass<'_, B>) -> Tensor<B, 2> {
        let gate = linear(&x, &self.gate_proj, layer, Projection::Gate, pass);
        let up = linear(&x, &self.up_proj, layer, Projection::Up, pass);
        linear(&(activation::silu(gate) * up), &self.down_proj, layer, Projection::Down, pass)
    }
}

impl<B: Backend> RmsNorm<B> {
    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let mean_square = x.clone().square().mean_dim(1);
        let scale = mean_square.add_scalar(self.epsilon).sqrt().recip();
        x * scale * self.weight.val()
    }
}

/// `xWᵀ`, plus every row's LoRA update.
fn linear<B: Backend>(
    x: &Tensor<B, 2>,
    weight: &Param<Tensor<B, 2>>,
    layer: usize,
    projection: Projection,
    pass: &Pass<'_, B>,
) -> Tensor<B, 2> {
    let output = x.clone().matmul(weight.val().transpose());
    pass.lora.add(x, output, layer, projection, pass.length)
}

/// Rotates the two halves of each head by its position (RoPE, arXiv 2104.09864, in the half-split layout).
fn rotate<B: Backend>(x: Tensor<B, 4>, pass: &Pass<'_, B>) -> Tensor<B, 4> {
    let half = x.dims()[3] / 2;
    let (first, second) = (x.clone().slice_dim(3, 0..half), x.slice_dim(3, half..2 * half));
    let (cos, sin) = (pass.cos.clone(), pass.sin.clone());
    let real = first.clone() * cos.clone() - second.clone() * sin.clone();
    let imaginary = second * cos + first * sin;
    Tensor::cat(vec![real, imaginary], 3)
}

impl<B: Backend> Rope<B> {
    fn init(config: &ModelConfig, device: &B::Device) -> Self {
        let (positions, half) = (config.max_positions, config.head_dim / 2);
        // In f32 throughout, as transformers computes it.
        let inverse: Vec<f32> = (0..half)
            .map(|i| 1.0 / (config.rope_theta as f32).powf((2 * i) as f32 / config.head_dim as f32))
            .collect();
        let angle = |i: usize| (i / half) as f32 * inverse[i % half];
        let table = |f: fn(f32) -> f32| {
            let numbers: Vec<f32> = (0..positions * half).map(|i| f(angle(i))).collect();
            Tensor::from_data(TensorData::new(numbers, [positions, half]), device)
        };
        Self { cos: table(f32::cos), sin: table(f32::sin) }
    }
}

impl<B: Backend> KvCache<B> {
    /// An empty cache for rows of these prompt lengths and `capacity` columns.
    pub(crate) fn new(config: &ModelConfig, lengths: &[usize], capacity: usize, device: &B::Device) -> Self {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let shape = [lengths.len(), config.num_kv_heads, capacity, config.head_dim];
        let layer = || Some((Tensor::zeros(shape, device), Tensor::zeros(shape, device)));
        Self {
            layers: (0..config.num_layers).map(|_| layer()).collect(),
            pads: lengths.iter().map(|n| longest - n).collect(),
            len: 0,
            capacity,
        }
    }

    /// Columns still free.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// True where a query of the next `length` columns may not look: padding, and what comes after it.
    fn mask(&self, length: usize, device: &B::Device) -> Option<Tensor<B, 5, Bool>> {
        if length == 1 && self.pads.iter().all(|pad| *pad == 0) {
            return None;
        }
        let (start, keys) = (self.len, self.len + length);
        let forbidden: Vec<bool> = self
            .pads
            .iter()
            .flat_map(|pad| {
                // A padding query sees itself alone: a row with nothing allowed would be NaN.
                (start..keys).flat_map(move |q| (0..keys).map(move |k| k > q || (k < *pad && k != q)))
            })
            .collect();
        let data = TensorData::new(forbidden, [self.pads.len(), 1, 1, length, keys]);
        Some(Tensor::from_data(data, device))
    }
}

fn projection_name(layer: usize, projection: Projection) -> String {
    format!("model.layers.{layer}.{}.weight", projection.path())
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
    for layer in 0..config.num_layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            wanted.push((format!("model.layers.{layer}.{norm}.weight"), vec![config.hidden_size]));
        }
        for projection in Projection::ALL {
            let (d_in, d_out) = config.projection_dims(projection);
            wanted.push((projection_name(layer, projection), vec![d_out, d_in]));
        }
    }
    wanted
}

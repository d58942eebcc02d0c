//! `cargo run --example logits MODEL.gguf REFERENCE.safetensors`: a whole model over this crate's
//! products, compared with reference logits.
//!
//! The reference (see `benches/python/gguf_logits.py`) has `input_ids` `[rows, length]` and
//! `logits` `[rows, length, vocabulary]`. Printed are the largest difference of a logit in
//! `exact` arithmetic, and how far `fast` is from `exact`: the mean KL divergence in nats and how
//! often both put the same token first.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;

use spring_gguf::{
    Architecture, Compute, GgufFile, Matrix, ModelKeys, QuantisedRows, RopeScaling, rotation_row,
};

struct Layer {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    /// Biases and norms of queries, keys and values, empty where there are none.
    biases: [Vec<f32>; 3],
    head_norms: [Vec<f32>; 2],
    out: Matrix,
    after_attention: Vec<f32>,
    feed_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    after_feed: Vec<f32>,
}

struct Model {
    keys: ModelKeys,
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    output: Option<Matrix>,
    factors: Vec<f32>,
}

impl Model {
    fn load(file: &GgufFile) -> Result<Model, Box<dyn Error>> {
        let keys = file.model_keys()?;
        file.check_model(&keys)?;
        if !matches!(keys.rope_scaling, RopeScaling::None) {
            return Err("stretched positions are not computed here".into());
        }
        let head = keys.key_length;
        let values = |name: String| match file.find(&name) {
            Some(_) => file.values(&name),
            None => Ok(Vec::new()),
        };
        let rotated = |name: String| match keys.permuted_rows {
            true => file.matrix_in_order(&name, |row| rotation_row(row, head)),
            false => file.matrix(&name),
        };
        let layers = (0..keys.layers).map(|number| {
            let of = |name: &str| format!("blk.{number}.{name}");
            Ok(Layer {
                attention_norm: values(of("attn_norm.weight"))?,
                query: rotated(of("attn_q.weight"))?,
                key: rotated(of("attn_k.weight"))?,
                value: file.matrix(&of("attn_v.weight"))?,
                biases: [
                    values(of("attn_q.bias"))?,
                    values(of("attn_k.bias"))?,
                    values(of("attn_v.bias"))?,
                ],
                head_norms: [values(of("attn_q_norm.weight"))?, values(of("attn_k_norm.weight"))?],
                out: file.matrix(&of("attn_output.weight"))?,
                after_attention: values(of("post_attention_norm.weight"))?,
                feed_norm: values(of("ffn_norm.weight"))?,
                gate: file.matrix(&of("ffn_gate.weight"))?,
                up: file.matrix(&of("ffn_up.weight"))?,
                down: file.matrix(&of("ffn_down.weight"))?,
                after_feed: values(of("post_ffw_norm.weight"))?,
            })
        });
        let layers = layers.collect::<spring_gguf::Result<_>>()?;
        Ok(Model {
            embedding: file.matrix("token_embd.weight")?,
            layers,
            norm: values("output_norm.weight".to_owned())?,
            output: match keys.tied_output {
                true => None,
                false => Some(file.matrix("output.weight")?),
            },
            factors: values("rope_freqs.weight".to_owned())?,
            keys,
        })
    }

    /// The logits of every position of a text.
    fn logits(&self, ids: &[u32], fast: bool) -> Vec<f32> {
        let keys = &self.keys;
        let gemma = keys.architecture == Architecture::Gemma3;
        let times = |w: &Matrix, x: &[f32]| product(w, x, fast);
        let norm = |x: &[f32], weights: &[f32]| rms_norm(x, weights, keys.norm_epsilon);
        let mut hidden = vec![0.0; ids.len() * keys.hidden];
        for (row, &id) in hidden.chunks_exact_mut(keys.hidden).zip(ids) {
            self.embedding.row(id as usize, row);
            if gemma {
                let scale = (keys.hidden as f32).sqrt();
                row.iter_mut().for_each(|v| *v *= scale);
            }
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let x = norm(&hidden, &layer.attention_norm);
            let [mut q, mut k, mut v] =
                [&layer.query, &layer.key, &layer.value].map(|w| times(w, &x));
            for (values, bias) in [&mut q, &mut k, &mut v].into_iter().zip(&layer.biases) {
                if !bias.is_empty() {
                    values.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
                }
            }
            for (values, weights) in [&mut q, &mut k].into_iter().zip(&layer.head_norms) {
                if !weights.is_empty() {
                    *values = norm(values, weights);
                }
            }
            let window = keys.sliding_window.filter(|window| window.is_in(number));
            let base = window.map_or(keys.rope_base, |window| window.rope_base);
            self.rotate(&mut q, ids.len(), base);
            self.rotate(&mut k, ids.len(), base);
            let reach = window.map_or(usize::MAX, |window| window.tokens);
            let mixed = self.attend(&q, &k, &v, ids.len(), reach);
            let mut out = times(&layer.out, &mixed);
            if gemma {
                out = norm(&out, &layer.after_attention);
            }
            add(&mut hidden, &out);
            let x = norm(&hidden, &layer.feed_norm);
            let (mut gate, up) = (times(&layer.gate, &x), times(&layer.up, &x));
            for (gate, up) in gate.iter_mut().zip(&up) {
                *gate = up * if gemma { gelu(*gate) } else { *gate / (1.0 + (-*gate).exp()) };
            }
            let mut out = times(&layer.down, &gate);
            if gemma {
                out = norm(&out, &layer.after_feed);
            }
            add(&mut hidden, &out);
        }
        let hidden = norm(&hidden, &self.norm);
        times(self.output.as_ref().unwrap_or(&self.embedding), &hidden)
    }

    /// Turns the pairs of every head by its position.
    fn rotate(&self, values: &mut [f32], length: usize, base: f32) {
        let (head, turned) = (self.keys.key_length, self.keys.rope_dimensions);
        let per_position = values.len() / length;
        for (position, row) in values.chunks_exact_mut(per_position).enumerate() {
            for row in row.chunks_exact_mut(head) {
                for pair in 0..turned / 2 {
                    let frequency = base.powf(-2.0 * pair as f32 / turned as f32);
                    let factor = self.factors.get(pair).copied().unwrap_or(1.0);
                    let (sin, cos) = (position as f32 * frequency / factor).sin_cos();
                    let (a, b) = (row[pair], row[pair + turned / 2]);
                    row[pair] = a * cos - b * sin;
                    row[pair + turned / 2] = b * cos + a * sin;
                }
            }
        }
    }

    fn attend(&self, q: &[f32], k: &[f32], v: &[f32], length: usize, reach: usize) -> Vec<f32> {
        let keys = &self.keys;
        let (wide, deep) = (keys.key_length, keys.value_length);
        let shared = keys.heads / keys.kv_heads;
        let mut out = vec![0.0; length * keys.heads * deep];
        for position in 0..length {
            let first = (position + 1).saturating_sub(reach);
            for head in 0..keys.heads {
                let q = &q[(position * keys.heads + head) * wide..][..wide];
                let of = |other: usize| other * keys.kv_heads + head / shared;
                let scores = (first..=position).map(|other| {
                    let k = &k[of(other) * wide..][..wide];
                    q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * keys.attention_scale
                });
                let mut scores: Vec<f32> = scores.collect();
                let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores.iter_mut().for_each(|score| *score = (*score - largest).exp());
                let total: f32 = scores.iter().sum();
                let out = &mut out[(position * keys.heads + head) * deep..][..deep];
                for (other, score) in (first..=position).zip(scores) {
                    let v = &v[of(other) * deep..][..deep];
                    out.iter_mut().zip(v).for_each(|(out, v)| *out += score / total * v);
                }
            }
        }
        out
    }
}

fn product(w: &Matrix, x: &[f32], fast: bool) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / w.columns() * w.rows()];
    if fast && !w.format().is_float() {
        Compute::new().fast(w, &QuantisedRows::new(x, w.columns()), &mut y);
    } else {
        Compute::new().exact(w, x, &mut y);
    }
    y
}

/// Norms of rows as long as the weights.
fn rms_norm(x: &[f32], weights: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = x.to_vec();
    for row in out.chunks_exact_mut(weights.len()) {
        let mean = row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
        let scale = 1.0 / (mean + epsilon).sqrt();
        row.iter_mut().zip(weights).for_each(|(v, w)| *v *= scale * w);
    }
    out
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh())
}

/// Log-probabilities of a row of logits.
fn log_softmax(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
    row.iter().map(|&v| f64::from(v - largest) - total.ln()).collect()
}

fn first(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, reference] = args.as_slice() else {
        return Err("usage: logits MODEL.gguf REFERENCE.safetensors".into());
    };
    let start = Instant::now();
    let model = Model::load(&GgufFile::open(model)?)?;
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    let bytes = std::fs::read(reference)?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let (ids, logits) = (tensors.tensor("input_ids")?, tensors.tensor("logits")?);
    let length = *ids.shape().last().ok_or("input_ids must have rows")?;
    let ids: Vec<u32> =
        ids.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect();
    let want: Vec<f32> =
        logits.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let (mut largest, mut divergence, mut same, mut times) = (0.0f32, 0.0, 0, [0.0; 2]);
    for (ids, want) in
        ids.chunks_exact(length).zip(want.chunks_exact(length * model.keys.vocabulary))
    {
        let start = Instant::now();
        let exact = model.logits(ids, false);
        times[0] += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let fast = model.logits(ids, true);
        times[1] += start.elapsed().as_secs_f64();
        largest = exact.iter().zip(want).fold(largest, |max, (a, b)| max.max((a - b).abs()));
        let rows = exact.chunks_exact(model.keys.vocabulary);
        for (exact, fast) in rows.zip(fast.chunks_exact(model.keys.vocabulary)) {
            same += usize::from(first(exact) == first(fast));
            let terms = log_softmax(exact).into_iter().zip(log_softmax(fast));
            divergence += terms.map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        }
    }
    let count = ids.len() as f64;
    println!("exact against the reference: {largest:.2e} at most");
    println!("fast against exact: KL {:.6} nats per token", divergence / count);
    println!("the same token first: {same} of {}", ids.len());
    println!("tokens/s: exact {:.0}, fast {:.0}", count / times[0], count / times[1]);
    Ok(())
}

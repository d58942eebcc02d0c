//! The operations of [`ModelBackend`](super::ModelBackend) composed of burn's.

use burn::tensor::{
    DType, IndexingUpdateOp, Int, Tensor, TensorData, activation, backend::Backend,
};

use super::{BlockMatrix, CachedPart, LowRank, Mask, ModelBackend, blocks};
use crate::Activation;

pub(crate) fn project<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let weight = weight.transpose();
    match weight.dtype() {
        DType::F32 => x.matmul(weight),
        half => x.cast(half).matmul(weight).cast(DType::F32),
    }
}

fn numbers<B: Backend>(x: Tensor<B, 2>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

pub(super) fn project_blocks<B: Backend>(
    x: Tensor<B, 2>,
    weights: &[&BlockMatrix],
) -> Vec<Tensor<B, 2>> {
    let (rows, device) = (x.dims()[0], x.device());
    let products = blocks::products(&numbers(x), weights).into_iter().zip(weights);
    products
        .map(|(y, weight)| {
            Tensor::from_data(TensorData::new(y, [rows, weight.matrix.rows()]), &device)
        })
        .collect()
}

pub(super) fn project_blocks_backward<B: Backend>(
    gradient: Tensor<B, 2>,
    weight: &BlockMatrix,
) -> Tensor<B, 2> {
    let (rows, device) = (gradient.dims()[0], gradient.device());
    let x = blocks::transposed(&numbers(gradient), weight);
    Tensor::from_data(TensorData::new(x, [rows, weight.matrix.columns()]), &device)
}

/// One over the root mean square of each row, `[n, 1]`.
fn inverse_rms<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> Tensor<B, 2> {
    x.square().mean_dim(1).add_scalar(epsilon).sqrt().recip()
}

pub(super) fn rms_norm<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    epsilon: f64,
) -> Tensor<B, 2> {
    let inverse = inverse_rms(x.clone(), epsilon);
    x * inverse * weight
}

/// With s the inverse root mean square and h = g ⊙ w: s·h − s³·mean(h ⊙ x)·x, and Σ g ⊙ s·x.
pub(super) fn rms_norm_backward<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    epsilon: f64,
    gradient: Tensor<B, 2>,
    of_weight: bool,
) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
    let inverse = inverse_rms(x.clone(), epsilon);
    let normal = x * inverse.clone();
    let weight_gradient = of_weight.then(|| (gradient.clone() * normal.clone()).sum_dim(0));
    let scaled = gradient * weight;
    let along = (scaled.clone() * normal.clone()).mean_dim(1);
    ((scaled - normal * along) * inverse, weight_gradient)
}

pub(super) fn rotate<B: Backend>(
    x: Tensor<B, 4>,
    cos: Tensor<B, 3>,
    sin: Tensor<B, 3>,
) -> Tensor<B, 4> {
    let half = x.dims()[3] / 2;
    let (first, second) = (x.clone().slice_dim(3, 0..half), x.slice_dim(3, half..2 * half));
    let (cos, sin) = (cos.unsqueeze_dim::<4>(2), sin.unsqueeze_dim::<4>(2));
    let real = first.clone() * cos.clone() - second.clone() * sin.clone();
    let imaginary = second * cos + first * sin;
    Tensor::cat(vec![real, imaginary], 3)
}

pub(super) fn gated<B: Backend>(
    gate: Tensor<B, 2>,
    up: Tensor<B, 2>,
    activation: Activation,
) -> Tensor<B, 2> {
    let gate = match activation {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => activation::gelu_approximate(gate),
    };
    gate * up
}

/// √(2/π), of GELU's approximation by tanh.
pub(super) const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
/// The factor of x³ in the same.
pub(super) const GELU_CUBIC: f64 = 0.044_715;

pub(super) fn gated_backward<B: Backend>(
    gate: Tensor<B, 2>,
    up: Tensor<B, 2>,
    activation: Activation,
    gradient: Tensor<B, 2>,
) -> [Tensor<B, 2>; 2] {
    let x = gate;
    let (value, slope) = match activation {
        // σ(x)·(1 + x·(1 − σ(x)))
        Activation::Silu => {
            let sigmoid = activation::sigmoid(x.clone());
            let slope = sigmoid.clone()
                * (sigmoid.clone().neg().add_scalar(1.0) * x.clone()).add_scalar(1.0);
            (x * sigmoid, slope)
        }
        // With t = tanh(u): (1 + t)/2 + x/2·(1 − t²)·u'
        Activation::GeluTanh => {
            let square = x.clone().square();
            let inner = (square.clone().mul_scalar(GELU_CUBIC).add_scalar(1.0) * x.clone())
                .mul_scalar(GELU_SCALE);
            let tanh = inner.tanh();
            let inner_slope =
                square.mul_scalar(3.0 * GELU_CUBIC).add_scalar(1.0).mul_scalar(GELU_SCALE);
            let half = tanh.clone().add_scalar(1.0).mul_scalar(0.5);
            let bend =
                tanh.square().neg().add_scalar(1.0) * inner_slope * x.clone().mul_scalar(0.5);
            (x * half.clone(), half + bend)
        }
    };
    [gradient.clone() * up * slope, gradient * value]
}

/// `[rows, length, kv_heads * group, dim]` as `[rows, kv_heads, group * length, dim]`: the queries
/// of a group stand below each other, so that one product serves them all and no key is copied.
fn by_group<B: Backend>(x: Tensor<B, 4>, kv_heads: usize) -> Tensor<B, 4> {
    let [rows, length, heads, dim] = x.dims();
    let group = heads / kv_heads;
    x.reshape([rows, length, kv_heads, group, dim]).permute([0, 2, 3, 1, 4]).reshape([
        rows,
        kv_heads,
        group * length,
        dim,
    ])
}

/// The inverse of [`by_group`].
fn by_position<B: Backend>(x: Tensor<B, 4>, length: usize) -> Tensor<B, 4> {
    let [rows, kv_heads, queries, dim] = x.dims();
    let group = queries / length;
    x.reshape([rows, kv_heads, group, length, dim]).permute([0, 3, 1, 2, 4]).reshape([
        rows,
        length,
        kv_heads * group,
        dim,
    ])
}

/// Attention's weights, `[rows, kv_heads, group * queries, keys]`, of queries and keys `[rows,
/// kv_heads, …, dim]`.
fn weights<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    mask: &Mask<B>,
    length: usize,
) -> Tensor<B, 4> {
    let [rows, kv_heads, queries, _] = query.dims();
    let keys = key.dims()[2];
    let mut scores =
        query.matmul(key.transpose()).reshape([rows, kv_heads, queries / length, length, keys]);
    if let Some(mask) = &mask.tensor {
        // exp(−∞) is 0 at once; the exponential of a large negative number takes the slow path of
        // underflow.
        scores = scores.mask_fill(mask.clone(), f32::NEG_INFINITY);
    }
    activation::softmax(scores, 4).reshape([rows, kv_heads, queries, keys])
}

pub(super) fn grouped_attention<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: &Mask<B>,
    scale: f64,
) -> Tensor<B, 4> {
    let length = query.dims()[1];
    let query = by_group(query.mul_scalar(scale), key.dims()[2]);
    let (key, value) = (key.swap_dims(1, 2), value.swap_dims(1, 2));
    by_position(weights(query, key, mask, length).matmul(value), length)
}

/// With P the weights and dP = dO·Vᵀ: dS = P ⊙ (dP − Σ dP ⊙ P); a masked score has P = 0 and so no
/// gradient.
pub(super) fn grouped_attention_backward<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: &Mask<B>,
    scale: f64,
    gradient: Tensor<B, 4>,
) -> [Tensor<B, 4>; 3] {
    let (length, kv_heads) = (query.dims()[1], key.dims()[2]);
    let query = by_group(query.mul_scalar(scale), kv_heads);
    let gradient = by_group(gradient, kv_heads);
    let (key, value) = (key.swap_dims(1, 2), value.swap_dims(1, 2));
    let weights = weights(query.clone(), key.clone(), mask, length);
    let of_value = weights.clone().transpose().matmul(gradient.clone());
    let weighted = gradient.matmul(value.transpose()) * weights.clone();
    let total = weighted.clone().sum_dim(3);
    let of_scores = weighted - weights * total;
    let of_query = by_position(of_scores.clone().matmul(key).mul_scalar(scale), length);
    let of_key = of_scores.transpose().matmul(query);
    [of_query, of_key.swap_dims(1, 2), of_value.swap_dims(1, 2)]
}

pub(super) fn add_low_rank<B: ModelBackend>(
    mut output: Tensor<B, 2>,
    x: &Tensor<B, 2>,
    updates: &[LowRank<'_, B>],
) -> Tensor<B, 2> {
    let total = output.dims()[0];
    for LowRank { rows, a, b, scale } in updates {
        let is_all = *rows == (0..total);
        let x = if is_all { x.clone() } else { x.clone().slice([rows.clone()]) };
        let low_rank = B::project(x, (*a).clone()).mul_scalar(*scale);
        let update = B::project(low_rank, (*b).clone());
        output = if is_all {
            output + update
        } else {
            let sum = output.clone().slice([rows.clone()]) + update;
            output.slice_assign([rows.clone()], sum)
        };
    }
    output
}

pub(super) fn cached_attention<B: ModelBackend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    parts: &mut [CachedPart<'_, B>],
    scale: f64,
) -> Tensor<B, 4> {
    let (mut mixed, mut at) = (Vec::with_capacity(parts.len()), 0);
    for part in parts {
        let tokens = at..at + part.length;
        at = tokens.end;
        let [query, key, value] =
            [&query, &key, &value].map(|x| x.clone().slice([tokens.clone()]).swap_dims(0, 1));
        let [key, value] = part.write(key, value);
        let part = B::grouped_attention(query, key, value, part.mask, scale);
        mixed.push(part.swap_dims(0, 1));
    }
    Tensor::cat(mixed, 0)
}

pub(super) fn write_columns<B: Backend>(
    cache: Tensor<B, 4>,
    columns: Tensor<B, 4>,
    start: usize,
) -> Tensor<B, 4> {
    let [rows, length, heads, dim] = columns.dims();
    cache.slice_assign([0..rows, 0..heads, start..start + length, 0..dim], columns.swap_dims(1, 2))
}

pub(super) fn log_likelihoods<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let count = targets.dims()[0];
    activation::log_softmax(logits, 1).gather(1, targets.reshape([count, 1])).reshape([count])
}

pub(super) fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> (Tensor<B, 1>, Tensor<B, 2>) {
    let count = targets.dims()[0];
    let log_probs = activation::log_softmax(logits, 1);
    let target = targets.reshape([count, 1]);
    let likelihoods = log_probs.clone().gather(1, target.clone()).reshape([count]);
    let minus_one = Tensor::ones([count, 1], &log_probs.device()).neg();
    (likelihoods, log_probs.exp().scatter(1, target, minus_one, IndexingUpdateOp::Add))
}

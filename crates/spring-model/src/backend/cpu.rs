//! The operations of [`ModelBackend`] on burn's CPU backend, as loops over slices.

use std::ops::Range;

use burn::{
    backend::Flex,
    tensor::{DType, Int, Tensor, TensorData, TensorPrimitive, ops::FloatTensor},
};
use gemm::Parallelism;
use rayon::prelude::*;
use spring_numerics::exp::exp_taylor;
use spring_numerics::simd::dispatch;

use super::{
    BlockMatrix, CachedPart, LowRank, Mask, ModelBackend, Rows, Visible, blocks, composed,
    few::{AddLowRank, FewQueries, few_rows, shared},
    vector::{Matrix, dot, max, product, softmax, sum, sum_of_exp, sum_of_squares},
};
use crate::Activation;

/// Rows up to which [`few_rows`] is faster than a general product.
const FEW: usize = 16;

/// Queries of one head that attention handles together: their scores stay in the second cache.
const QUERIES: usize = 64;

/// Queries up to which attention goes by [`FewQueries`] instead of through products of matrices.
const FEW_QUERIES: usize = 4;

type Numbers = FloatTensor<Flex>;

/// The numbers behind a tensor, without gaps.
fn compact<const D: usize>(tensor: Tensor<Flex, D>) -> Numbers {
    let numbers = tensor.into_primitive().tensor();
    // Does nothing but count if there are no gaps; the first handle goes, so that the second may
    // write.
    numbers.to_contiguous()
}

fn tensor<const D: usize>(numbers: Numbers) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(numbers))
}

fn from_vec<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    Tensor::from_data(TensorData::new(numbers, shape), &Default::default())
}

/// A tensor `[rows, positions, heads, dim]` that may have gaps, as the filled part of a cache does.
struct Heads {
    numbers: Numbers,
    offset: usize,
    /// From row to row, from position to position, from head to head.
    strides: [usize; 3],
    positions: usize,
    dim: usize,
}

impl Heads {
    fn new(tensor: Tensor<Flex, 4>) -> Self {
        let [_, positions, _, dim] = tensor.dims();
        let mut numbers = tensor.into_primitive().tensor();
        if numbers.layout().strides()[3] != 1 || !numbers.layout().has_positive_strides() {
            numbers = numbers.to_contiguous();
        }
        let layout = numbers.layout();
        let strides = [0, 1, 2].map(|i| layout.strides()[i].unsigned_abs());
        Self { offset: layout.start_offset(), strides, positions, dim, numbers }
    }

    /// The positions of one head as the rows of a matrix.
    fn matrix(&self, row: usize, head: usize, positions: Range<usize>) -> Matrix<'_> {
        let [of_row, of_position, of_head] = self.strides;
        debug_assert!(positions.end <= self.positions);
        let start = self.offset + row * of_row + positions.start * of_position + head * of_head;
        let data = &self.numbers.storage::<f32>()[start..];
        Matrix { data, rows: positions.len(), columns: self.dim, strides: [of_position, 1] }
    }
}

/// Calls `work` with each block of queries, and with the columns that any of them sees.
fn for_each_block(
    visible: &Visible,
    queries: usize,
    mut work: impl FnMut(Range<usize>, Range<usize>),
) {
    for first in (0..queries).step_by(QUERIES) {
        let queries = first..(first + QUERIES).min(queries);
        let seen = queries.clone().map(|query| visible.columns(query));
        let columns =
            seen.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or_default();
        work(queries, columns);
    }
}

/// Attention's weights of a block of queries, `[queries, columns]`.
fn weights(
    into: &mut [f32],
    query: Matrix<'_>,
    key: Matrix<'_>,
    scale: f32,
    seen: impl Fn(usize) -> Range<usize>,
) {
    let columns = key.rows;
    product(into, columns, query, key.transposed(), scale, false, Parallelism::None);
    dispatch(
        #[inline(always)]
        || {
            for (i, scores) in into.chunks_exact_mut(columns).enumerate() {
                let seen = seen(i);
                scores[..seen.start].fill(0.0);
                scores[seen.end..].fill(0.0);
                softmax(&mut scores[seen]);
            }
        },
    );
}

/// A row's range within the columns of a block.
fn within(columns: &Range<usize>, seen: Range<usize>) -> Range<usize> {
    seen.start - columns.start..seen.end - columns.start
}

impl ModelBackend for Flex {
    const MASK_TENSOR: bool = false;
    const TOKENS_AT_ONCE: usize = 1024;
    const CONTEXT_AT_ONCE: usize = 128;
    const SIDE_BY_SIDE: bool = true;
    const KEEPS_BLOCKS: bool = true;

    // What gemm goes by: a number is summed in the order of `inner`, in parts that depend on
    // `inner`, and for small products on whether all three sizes are. Products with a vector, and
    // tiny ones, have kernels of their own.
    fn is_of_each_row(rows: usize, inner: usize, outputs: usize) -> bool {
        let is_plain = rows > 1 && inner > 2 && outputs > 1 && rows * outputs > 256;
        is_plain && (inner <= 512 || outputs > 64 || rows > 64)
    }

    fn project(x: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let ([rows, width], [outputs, _]) = (x.dims(), weight.dims());
        if width == 0 || weight.dtype() != DType::F32 {
            return composed::project(x, weight);
        }
        let (x, numbers) = (compact(x), weight.clone().into_primitive().tensor());
        let Some(weight) = numbers.as_slice::<f32>() else {
            return composed::project(tensor(x), weight);
        };
        let mut output = vec![0.0; rows * outputs];
        multiply(&mut output, x.storage(), weight, width, Rows::Batch);
        from_vec(output, [rows, outputs])
    }

    fn project_rows(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, rows: Rows) -> Tensor<Self, 2> {
        let ([count, width], [outputs, _]) = (x.dims(), weight.dims());
        if width == 0 || weight.dtype() != DType::F32 {
            return composed::project(x, weight);
        }
        let (x, weight) = (compact(x), compact(weight));
        let mut output = vec![0.0; count * outputs];
        multiply(&mut output, x.storage(), weight.storage(), width, rows);
        from_vec(output, [count, outputs])
    }

    fn project_blocks(x: Tensor<Self, 2>, weights: &[&BlockMatrix]) -> Vec<Tensor<Self, 2>> {
        let (rows, x) = (x.dims()[0], compact(x));
        let products = blocks::products(x.storage(), weights).into_iter().zip(weights);
        products.map(|(y, weight)| from_vec(y, [rows, weight.matrix.rows()])).collect()
    }

    fn project_blocks_backward(gradient: Tensor<Self, 2>, weight: &BlockMatrix) -> Tensor<Self, 2> {
        let (rows, gradient) = (gradient.dims()[0], compact(gradient));
        let x = blocks::transposed(gradient.storage(), weight);
        from_vec(x, [rows, weight.matrix.columns()])
    }

    fn by_column(b: Tensor<Self, 2>) -> Tensor<Self, 2> {
        tensor(compact(b.transpose())).transpose()
    }

    fn add_low_rank(
        output: Tensor<Self, 2>,
        x: &Tensor<Self, 2>,
        updates: &[LowRank<'_, Self>],
        of: Rows,
    ) -> Tensor<Self, 2> {
        let ([_, width], [_, outputs]) = (x.dims(), output.dims());
        if width == 0 || outputs == 0 || updates.is_empty() {
            return output;
        }
        let (x, mut output) = (compact(x.clone()), compact(output));
        let (x, numbers) = (x.storage::<f32>(), output.storage_mut::<f32>());
        for LowRank { rows, a, b, scale } in updates {
            let (rank, a) = (a.dims()[0], compact((*a).clone()));
            let mut low = vec![0.0; rows.len() * rank];
            let own = &x[rows.start * width..rows.end * width];
            multiply(&mut low, own, a.storage(), width, of);
            low.iter_mut().for_each(|x| *x *= *scale as f32);
            let into = &mut numbers[rows.start * outputs..rows.end * outputs];
            // Copies nothing where the columns lie without gaps, as `by_column` leaves them.
            let columns = compact((*b).clone().transpose());
            let columns = columns.storage();
            match is_few(rows.len(), of) {
                true => dispatch(AddLowRank { into, low: &low, columns, rank }),
                false => {
                    let b = Matrix {
                        data: columns,
                        rows: rank,
                        columns: outputs,
                        strides: [outputs, 1],
                    };
                    let mut update = vec![0.0; into.len()];
                    many_rows(&mut update, &low, b);
                    into.iter_mut().zip(&update).for_each(|(sum, x)| *sum += x);
                }
            }
        }
        tensor(output)
    }

    fn rms_norm(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        let width = x.dims()[1];
        let (mut x, weight) = (compact(x), compact(weight));
        let (numbers, weight) = (x.storage_mut::<f32>(), weight.storage::<f32>());
        dispatch(
            #[inline(always)]
            || {
                for row in numbers.chunks_exact_mut(width) {
                    let inverse = inverse_rms(row, epsilon);
                    for (x, w) in row.iter_mut().zip(weight) {
                        *x = *x * inverse * w;
                    }
                }
            },
        );
        tensor(x)
    }

    fn rms_norm_backward(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        epsilon: f64,
        gradient: Tensor<Self, 2>,
        of_weight: bool,
    ) -> (Tensor<Self, 2>, Option<Tensor<Self, 2>>) {
        let width = x.dims()[1];
        let (x, weight, mut gradient) = (compact(x), compact(weight), compact(gradient));
        let mut weight_gradient = vec![0.0; width];
        let (xs, weight, gs) =
            (x.storage::<f32>(), weight.storage::<f32>(), gradient.storage_mut::<f32>());
        dispatch(
            #[inline(always)]
            || {
                for (x, g) in xs.chunks_exact(width).zip(gs.chunks_exact_mut(width)) {
                    let inverse = inverse_rms(x, epsilon);
                    if of_weight {
                        for ((sum, x), g) in weight_gradient.iter_mut().zip(x).zip(&*g) {
                            *sum += g * x * inverse;
                        }
                    }
                    for (g, w) in g.iter_mut().zip(weight) {
                        *g *= w;
                    }
                    let along = dot(g, x) / width as f32 * inverse * inverse;
                    for (g, x) in g.iter_mut().zip(x) {
                        *g = (*g - x * along) * inverse;
                    }
                }
            },
        );
        (tensor(gradient), of_weight.then(|| from_vec(weight_gradient, [1, width])))
    }

    fn rotate(x: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        let [_, _, heads, dim] = x.dims();
        if dim < 2 {
            return x;
        }
        let (mut x, cos, sin) = (compact(x), compact(cos), compact(sin));
        let (numbers, cos, sin) =
            (x.storage_mut::<f32>(), cos.storage::<f32>(), sin.storage::<f32>());
        dispatch(
            #[inline(always)]
            || {
                let half = dim / 2;
                let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half)).cycle();
                for (position, (cos, sin)) in numbers.chunks_exact_mut(heads * dim).zip(angles) {
                    for head in position.chunks_exact_mut(dim) {
                        let (first, second) = head.split_at_mut(half);
                        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                        }
                    }
                }
            },
        );
        tensor(x)
    }

    fn gated(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        activation: Activation,
    ) -> Tensor<Self, 2> {
        let (mut gate, up) = (compact(gate), compact(up));
        let (gates, ups) = (gate.storage_mut::<f32>(), up.storage::<f32>());
        match activation {
            Activation::Silu => dispatch(
                #[inline(always)]
                || {
                    for (gate, up) in gates.iter_mut().zip(ups) {
                        *gate = silu(*gate).0 * up;
                    }
                },
            ),
            Activation::GeluTanh => dispatch(
                #[inline(always)]
                || {
                    for (gate, up) in gates.iter_mut().zip(ups) {
                        *gate = gelu(*gate).0 * up;
                    }
                },
            ),
        }
        tensor(gate)
    }

    fn gated_backward(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        activation: Activation,
        gradient: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        let (mut gate, up, mut gradient) = (compact(gate), compact(up), compact(gradient));
        let (gates, ups) = (gate.storage_mut::<f32>(), up.storage::<f32>());
        let gradients = gradient.storage_mut::<f32>();
        // The gate's numbers become its gradient, and the output's gradient that of `up`.
        match activation {
            Activation::Silu => dispatch(
                #[inline(always)]
                || {
                    for ((gate, up), gradient) in gates.iter_mut().zip(ups).zip(gradients) {
                        let (value, slope) = silu(*gate);
                        *gate = *gradient * up * slope;
                        *gradient *= value;
                    }
                },
            ),
            Activation::GeluTanh => dispatch(
                #[inline(always)]
                || {
                    for ((gate, up), gradient) in gates.iter_mut().zip(ups).zip(gradients) {
                        let (value, slope) = gelu(*gate);
                        *gate = *gradient * up * slope;
                        *gradient *= value;
                    }
                },
            ),
        }
        [tensor(gate), tensor(gradient)]
    }

    fn grouped_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &Mask<Self>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        let shape = query.dims();
        let ([rows, queries, heads, dim], kv_heads) = (shape, key.dims()[2]);
        let (key, value) = (Heads::new(key), Heads::new(value));
        if queries <= FEW_QUERIES {
            let of_row = |row| FewOfRow {
                tokens: row * queries..(row + 1) * queries,
                key: &key,
                value: &value,
                row,
                visible: &mask.visible,
            };
            let tokens = rows * queries;
            let query = Heads::new(query.reshape([tokens, 1, heads, dim]));
            let rows: Vec<FewOfRow<'_>> = (0..rows).map(of_row).collect();
            return from_vec(few_queries(&query, &rows, [tokens, heads, kv_heads], scale), shape);
        }
        from_vec(
            many_queries(&Heads::new(query), shape, kv_heads, [&key, &value], &mask.visible, scale),
            shape,
        )
    }

    fn cached_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        parts: &mut [CachedPart<'_, Self>],
        scale: f64,
    ) -> Tensor<Self, 4> {
        let (shape, kv_heads) = (query.dims(), key.dims()[2]);
        let [tokens, _, heads, _] = shape;
        if parts.iter().any(|part| part.length > FEW_QUERIES) {
            return composed::cached_attention(query, key, value, parts, scale);
        }
        let (mut all, mut at) = (Vec::with_capacity(parts.len()), 0);
        for part in parts.iter_mut() {
            let tokens = at..at + part.length;
            at = tokens.end;
            let [key, value] =
                [&key, &value].map(|x| x.clone().slice([tokens.clone()]).swap_dims(0, 1));
            let seen = part.write(key, value).map(Heads::new);
            all.push((tokens, seen, &part.mask.visible));
        }
        let rows: Vec<FewOfRow<'_>> = all
            .iter()
            .map(|(tokens, [key, value], visible)| FewOfRow {
                tokens: tokens.clone(),
                key,
                value,
                row: 0,
                visible,
            })
            .collect();
        let query = Heads::new(query);
        from_vec(few_queries(&query, &rows, [tokens, heads, kv_heads], scale), shape)
    }

    fn grouped_attention_backward(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &Mask<Self>,
        scale: f64,
        gradient: Tensor<Self, 4>,
    ) -> [Tensor<Self, 4>; 3] {
        let shape = query.dims();
        let ([rows, queries, heads, dim], kv_shape) = (shape, key.dims());
        let [_, keys, kv_heads, _] = kv_shape;
        let scale = scale as f32;
        let inputs = [query, key, value, gradient].map(Heads::new);
        let [query, key, value, gradient] = &inputs;
        let mut of_query = vec![0.0; rows * queries * heads * dim];
        let mut of_key = vec![0.0; rows * keys * kv_heads * dim];
        let mut of_value = of_key.clone();
        let mut buffers = [(); 2].map(|()| vec![0.0; queries.min(QUERIES) * keys]);
        let mut backward =
            |row: usize, head: usize, of_block: Range<usize>, columns: Range<usize>| {
                let kv_head = head * kv_heads / heads;
                let query = query.matrix(row, head, of_block.clone());
                let gradient = gradient.matrix(row, head, of_block.clone());
                let key = key.matrix(row, kv_head, columns.clone());
                let value = value.matrix(row, kv_head, columns.clone());
                let count = of_block.len() * columns.len();
                let [scores, of_scores] = &mut buffers;
                let (scores, of_scores) = (&mut scores[..count], &mut of_scores[..count]);
                let seen = |i| within(&columns, mask.visible.columns(of_block.start + i));
                weights(scores, query, key, scale, seen);
                product(
                    of_scores,
                    columns.len(),
                    gradient,
                    value.transposed(),
                    1.0,
                    false,
                    Parallelism::None,
                );
                dispatch(
                    #[inline(always)]
                    || {
                        let rows = scores.chunks_exact(columns.len());
                        for (weights, gradients) in
                            rows.zip(of_scores.chunks_exact_mut(columns.len()))
                        {
                            let total = dot(weights, gradients);
                            for (gradient, weight) in gradients.iter_mut().zip(weights) {
                                *gradient = (*gradient - total) * weight;
                            }
                        }
                    },
                );
                let block = |data| Matrix {
                    data,
                    rows: of_block.len(),
                    columns: columns.len(),
                    strides: [columns.len(), 1],
                };
                let (weights, of_scores) = (block(scores), block(of_scores));
                let at_key = ((row * keys + columns.start) * kv_heads + kv_head) * dim;
                let at_query = ((row * queries + of_block.start) * heads + head) * dim;
                product(
                    &mut of_value[at_key..],
                    kv_heads * dim,
                    weights.transposed(),
                    gradient,
                    1.0,
                    true,
                    Parallelism::None,
                );
                product(
                    &mut of_key[at_key..],
                    kv_heads * dim,
                    of_scores.transposed(),
                    query,
                    scale,
                    true,
                    Parallelism::None,
                );
                product(
                    &mut of_query[at_query..],
                    heads * dim,
                    of_scores,
                    key,
                    scale,
                    false,
                    Parallelism::None,
                );
            };
        for row in 0..rows {
            for head in 0..heads {
                for_each_block(&mask.visible, queries, |queries, columns| {
                    backward(row, head, queries, columns);
                });
            }
        }
        [from_vec(of_query, shape), from_vec(of_key, kv_shape), from_vec(of_value, kv_shape)]
    }

    // burn-flex's `slice_assign` holds the buffer twice and so copies it whole, for every token.
    fn write_columns(
        cache: Tensor<Self, 4>,
        columns: Tensor<Self, 4>,
        start: usize,
    ) -> Tensor<Self, 4> {
        let ([_, heads, capacity, dim], [rows, length, ..]) = (cache.dims(), columns.dims());
        let (mut cache, columns) = (compact(cache), Heads::new(columns));
        let numbers = cache.storage_mut::<f32>();
        for row in 0..rows {
            for head in 0..heads {
                let from = columns.matrix(row, head, 0..length);
                let into =
                    &mut numbers[((row * heads + head) * capacity + start) * dim..][..length * dim];
                for (into, from) in
                    into.chunks_exact_mut(dim).zip(from.data.chunks(from.strides[0]))
                {
                    into.copy_from_slice(&from[..dim]);
                }
            }
        }
        tensor(cache)
    }

    fn log_probs(logits: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let vocabulary = logits.dims()[1];
        let mut logits = compact(logits);
        let numbers = logits.storage_mut::<f32>();
        dispatch(
            #[inline(always)]
            || {
                for logits in numbers.chunks_exact_mut(vocabulary) {
                    let highest = max(logits);
                    let total = highest + sum_of_exp(logits, highest).ln();
                    for logit in logits {
                        *logit -= total;
                    }
                }
            },
        );
        tensor(logits)
    }

    fn log_likelihoods(logits: Tensor<Self, 2>, targets: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        let [count, vocabulary] = logits.dims();
        let (logits, targets) = (compact(logits), targets.into_data());
        let logits = logits.storage::<f32>();
        let mut output = Vec::with_capacity(count);
        dispatch(
            #[inline(always)]
            || {
                for (logits, target) in logits.chunks_exact(vocabulary).zip(targets.iter::<i64>()) {
                    let highest = max(logits);
                    output
                        .push(logits[target as usize] - highest - sum_of_exp(logits, highest).ln());
                }
            },
        );
        from_vec(output, [count])
    }

    fn cross_entropy(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
    ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
        let [count, vocabulary] = logits.dims();
        let (mut logits, targets) = (compact(logits), targets.into_data());
        let numbers = logits.storage_mut::<f32>();
        let mut output = Vec::with_capacity(count);
        dispatch(
            #[inline(always)]
            || {
                for (logits, target) in
                    numbers.chunks_exact_mut(vocabulary).zip(targets.iter::<i64>())
                {
                    let target = target as usize;
                    let (highest, of_target) = (max(logits), logits[target]);
                    for logit in logits.iter_mut() {
                        *logit = exp_taylor(*logit - highest);
                    }
                    let total = sum(logits);
                    let inverse = if of_target.is_finite() { 1.0 / total } else { f32::NAN };
                    for logit in logits.iter_mut() {
                        *logit *= inverse;
                    }
                    logits[target] -= 1.0;
                    output.push(of_target - highest - total.ln());
                }
            },
        );
        (from_vec(output, [count]), tensor(logits))
    }
}

/// One over the root mean square of a row.
#[inline(always)]
fn inverse_rms(row: &[f32], epsilon: f64) -> f32 {
    1.0 / (sum_of_squares(row) / row.len() as f32 + epsilon as f32).sqrt()
}

/// x·σ(x) and its slope.
#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp_taylor(-x));
    let value = x * sigmoid;
    (value, sigmoid + value * (1.0 - sigmoid))
}

/// GELU in its approximation by tanh, and its slope.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    const SCALE: f32 = composed::GELU_SCALE as f32;
    const CUBIC: f32 = composed::GELU_CUBIC as f32;
    let inner = SCALE * (x + CUBIC * x * x * x);
    // (1 + tanh(u))/2 = σ(2u)
    let half = 1.0 / (1.0 + exp_taylor(-2.0 * inner));
    let slope = half + x * 2.0 * half * (1.0 - half) * SCALE * (1.0 + 3.0 * CUBIC * x * x);
    (x * half, slope)
}

/// Attention of many queries of each row, as products of matrices.
fn many_queries(
    query: &Heads,
    [rows, queries, heads, dim]: [usize; 4],
    kv_heads: usize,
    [key, value]: [&Heads; 2],
    visible: &Visible,
    scale: f64,
) -> Vec<f32> {
    let attend = |row: usize, head: usize| {
        let kv_head = head * kv_heads / heads;
        let mut output = vec![0.0; queries * dim];
        let mut scores = vec![0.0; queries.min(QUERIES) * key.positions];
        for_each_block(visible, queries, |of_block, columns| {
            let query = query.matrix(row, head, of_block.clone());
            let key = key.matrix(row, kv_head, columns.clone());
            let value = value.matrix(row, kv_head, columns.clone());
            let scores = &mut scores[..of_block.len() * columns.len()];
            let seen = |i| within(&columns, visible.columns(of_block.start + i));
            weights(scores, query, key, scale as f32, seen);
            let weights = Matrix {
                data: scores,
                rows: of_block.len(),
                columns: columns.len(),
                strides: [columns.len(), 1],
            };
            product(
                &mut output[of_block.start * dim..],
                dim,
                weights,
                value,
                1.0,
                false,
                Parallelism::None,
            );
        });
        output
    };
    let all = 0..rows * heads;
    let attend = |i| attend(i / heads, i % heads);
    let parts: Vec<Vec<f32>> = match shared(rows * heads * queries * key.positions * dim / 16) {
        Some(helpers) => helpers.run(|| all.into_par_iter().map(attend).collect()),
        None => all.map(attend).collect(),
    };
    let mut output = vec![0.0; rows * queries * heads * dim];
    for (i, part) in parts.iter().enumerate() {
        for (query, part) in part.chunks_exact(dim).enumerate() {
            output[((i / heads * queries + query) * heads + i % heads) * dim..][..dim]
                .copy_from_slice(part);
        }
    }
    output
}

/// The few queries of one row, and the keys and values that they see.
struct FewOfRow<'a> {
    /// The row's queries among all.
    tokens: Range<usize>,
    key: &'a Heads,
    value: &'a Heads,
    /// The row within keys and values.
    row: usize,
    visible: &'a Visible,
}

/// Attention of a few queries of each row: those of all heads that share a head of keys go
/// together.
///
/// # Shapes
///
/// - query: `[tokens, 1, heads, dim]`
/// - output: the same, as numbers
fn few_queries(
    query: &Heads,
    rows: &[FewOfRow<'_>],
    [tokens, heads, kv_heads]: [usize; 3],
    scale: f64,
) -> Vec<f32> {
    let (group, dim) = (heads / kv_heads, query.dim);
    let attend = |i: usize| {
        let (FewOfRow { tokens, key, value, row, visible }, kv_head) =
            (&rows[i / kv_heads], i % kv_heads);
        let queries = tokens.len();
        let seen = |query| visible.columns(query);
        let first = (0..queries).map(|query| seen(query).start).min().unwrap_or(0);
        let columns = first..key.positions;
        let seen: Vec<Range<usize>> =
            (0..group * queries).map(|i| within(&columns, seen(i % queries))).collect();
        let mut own = Vec::with_capacity(group * queries * dim);
        for i in 0..group * queries {
            let (head, token) = (kv_head * group + i / queries, tokens.start + i % queries);
            own.extend_from_slice(&query.matrix(token, head, 0..1).data[..dim]);
        }
        let mut into = vec![0.0; own.len()];
        dispatch(FewQueries {
            queries: &own,
            key: key.matrix(*row, kv_head, columns.clone()),
            value: value.matrix(*row, kv_head, columns.clone()),
            scale: scale as f32,
            seen: &seen,
            scores: &mut vec![0.0; seen.len() * columns.len()],
            into: &mut into,
        });
        into
    };
    let all = 0..rows.len() * kv_heads;
    let keys: usize = rows.iter().map(|row| row.key.positions).sum();
    let parts: Vec<Vec<f32>> = match shared(2 * keys * kv_heads * dim) {
        Some(helpers) => helpers.run(|| all.into_par_iter().map(attend).collect()),
        None => all.map(attend).collect(),
    };
    let mut output = vec![0.0; tokens * heads * dim];
    for (i, part) in parts.iter().enumerate() {
        let (FewOfRow { tokens, .. }, kv_head) = (&rows[i / kv_heads], i % kv_heads);
        for (j, part) in part.chunks_exact(dim).enumerate() {
            let head = kv_head * group + j / tokens.len();
            let token = tokens.start + j % tokens.len();
            output[(token * heads + head) * dim..][..dim].copy_from_slice(part);
        }
    }
    output
}

/// `x·Wᵀ` by the product that suits the rows.
///
/// # Shapes
///
/// As in [`many_rows`]
fn multiply(into: &mut [f32], x: &[f32], weight: &[f32], width: usize, rows: Rows) {
    let count = x.len() / width;
    match is_few(count, rows) {
        true => few_rows(into, x, weight, width),
        false => {
            let rows = weight.len() / width;
            let weight = Matrix { data: weight, rows, columns: width, strides: [width, 1] };
            many_rows(into, x, weight.transposed());
        }
    }
}

/// Whether the product for a few rows suits so many.
fn is_few(count: usize, rows: Rows) -> bool {
    matches!(rows, Rows::Texts) || count <= FEW
}

/// `x·rhs` for many rows of x, by a general product.
///
/// # Shapes
///
/// - x: `[n, width]`
/// - rhs: `[width, out]`
/// - into: `[n, out]`
fn many_rows(into: &mut [f32], x: &[f32], rhs: Matrix<'_>) {
    let (width, outputs) = (rhs.rows, rhs.columns);
    let lhs = Matrix { data: x, rows: x.len() / width, columns: width, strides: [width, 1] };
    let mut multiply = |threads| product(into, outputs, lhs, rhs, 1.0, false, threads);
    // burn's own product has one thread.
    match shared(x.len() * outputs / 16) {
        Some(helpers) => helpers.run(|| multiply(Parallelism::Rayon(0))),
        None => multiply(Parallelism::None),
    }
}

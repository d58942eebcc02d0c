//! Products and attention of a few rows, as decoding has them: bound by the memory that is read, so
//! that nothing is read twice and nothing rearranged.

use std::ops::Range;

use rayon::prelude::*;
use spring_numerics::simd::{Simd, WithSimd, dispatch};

use super::vector::{Matrix, softmax};
use crate::workers::{Helpers, helpers};

/// `x·Wᵀ` for a few rows of x: each row of W is read once and not rearranged, as gemm does.
///
/// # Shapes
///
/// - x: `[n, width]`
/// - weight: `[out, width]`
/// - into: `[n, out]`
pub(super) fn few_rows(into: &mut [f32], x: &[f32], weight: &[f32], width: usize) {
    fn matrix(data: &[f32], width: usize) -> Matrix<'_> {
        Matrix { data, rows: data.len() / width, columns: width, strides: [width, 1] }
    }
    let (rows, outputs) = (x.len() / width, weight.len() / width);
    let Some(helpers) = shared(weight.len() * rows.div_ceil(16)) else {
        dispatch(FewRows { into, x, weight: matrix(weight, width) });
        return;
    };
    let of_part = outputs.div_ceil(helpers.threads()).next_multiple_of(4);
    let part_of = |weight: &[f32]| {
        let mut part = vec![0.0; rows * weight.len() / width];
        dispatch(FewRows { into: &mut part, x, weight: matrix(weight, width) });
        part
    };
    let parts: Vec<Vec<f32>> =
        helpers.run(|| weight.par_chunks(of_part * width).map(part_of).collect());
    for (i, into) in into.chunks_exact_mut(outputs).enumerate() {
        for (part, into) in parts.iter().zip(into.chunks_mut(of_part)) {
            into.copy_from_slice(&part[i * into.len()..][..into.len()]);
        }
    }
}

/// The threads that share a product, if they are free and worth their start: for reading this many
/// numbers, or for sixteen times as many multiplications in a cache.
pub(super) fn shared(numbers: usize) -> Option<Helpers> {
    if numbers >= 1 << 18 { helpers() } else { None }
}

struct FewRows<'a> {
    /// `[n, out]`
    into: &'a mut [f32],
    /// `[n, width]`
    x: &'a [f32],
    /// `[out, width]`, each row without gaps.
    weight: Matrix<'a>,
}

impl WithSimd for FewRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            into,
            x,
            weight: Matrix { data, rows: outputs, columns: width, strides: [stride, _] },
        } = self;
        let row = |i: usize| &x[i * width..(i + 1) * width];
        let weights = |o: usize| &data[o * stride..][..width];
        let rows = x.len() / width;
        for o in (0..outputs / 4 * 4).step_by(4) {
            fetch(data, o * stride + AHEAD, 4 * stride);
            let weights = [weights(o), weights(o + 1), weights(o + 2), weights(o + 3)];
            let mut i = 0;
            while i < rows {
                let at = i * outputs + o;
                if i + 4 <= rows {
                    let dots = dots(simd, [row(i), row(i + 1), row(i + 2), row(i + 3)], weights);
                    for (i, dots) in dots.into_iter().enumerate() {
                        into[at + i * outputs..][..4].copy_from_slice(&dots);
                    }
                    i += 4;
                } else if i + 2 <= rows {
                    for (i, dots) in
                        dots(simd, [row(i), row(i + 1)], weights).into_iter().enumerate()
                    {
                        into[at + i * outputs..][..4].copy_from_slice(&dots);
                    }
                    i += 2;
                } else {
                    let [dots] = dots(simd, [row(i)], weights);
                    into[at..][..4].copy_from_slice(&dots);
                    i += 1;
                }
            }
        }
        for o in outputs / 4 * 4..outputs {
            for i in 0..rows {
                let [[dot]] = dots(simd, [row(i)], [weights(o)]);
                into[i * outputs + o] = dot;
            }
        }
    }
}

/// Adds `low·Bᵀ` to a few rows, for a B whose columns lie without gaps: a LoRA's rank is less than
/// a vector has numbers, so that products along it would use none.
pub(super) struct AddLowRank<'a> {
    /// `[n, out]`
    pub into: &'a mut [f32],
    /// `[n, rank]`
    pub low: &'a [f32],
    /// The columns of B, `[rank, out]`.
    pub columns: &'a [f32],
    pub rank: usize,
}

impl WithSimd for AddLowRank<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { into, low, columns, rank } = self;
        let outputs = columns.len() / rank;
        for (into, low) in into.chunks_exact_mut(outputs).zip(low.chunks_exact(rank)) {
            let at = add_columns::<S, 4>(simd, into, low, columns, 0);
            let at = add_columns::<S, 1>(simd, into, low, columns, at);
            for (o, sum) in into.iter_mut().enumerate().skip(at) {
                let column = columns[o..].iter().step_by(outputs);
                *sum += low.iter().zip(column).map(|(low, b)| low * b).sum::<f32>();
            }
        }
    }
}

/// The same for one row's outputs from `at` on, W vectors of them at a time; gives the first that
/// is left.
#[inline(always)]
fn add_columns<S: Simd, const W: usize>(
    simd: S,
    into: &mut [f32],
    low: &[f32],
    columns: &[f32],
    mut at: usize,
) -> usize {
    let (outputs, width) = (into.len(), W * S::F32_LANES);
    while at + width <= outputs {
        let mut sums = [simd.splat_f32s(0.0); W];
        for (low, column) in low.iter().zip(columns.chunks_exact(outputs)) {
            let (column, _) = S::as_simd_f32s(&column[at..][..width]);
            let low = simd.splat_f32s(*low);
            for (sum, b) in sums.iter_mut().zip(column) {
                *sum = simd.mul_add_e_f32s(low, *b, *sum);
            }
        }
        let (into, _) = S::as_mut_simd_f32s(&mut into[at..][..width]);
        for (into, sum) in into.iter_mut().zip(sums) {
            *into = simd.add_f32s(*into, sum);
        }
        at += width;
    }
    at
}

/// How many numbers before they are needed they are asked for.
const AHEAD: usize = 512;

/// Asks for numbers that will be needed soon, in their order: processors foresee neither that
/// several rows are read side by side nor where the next page begins. Decoding eight rows with some
/// hundred columns each takes five sixths of the time with it, and one row of a base in float32
/// three quarters (docs/results/performance.md).
#[inline(always)]
fn fetch(numbers: &[f32], from: usize, count: usize) {
    const LINE: usize = 64 / size_of::<f32>();
    let soon = numbers.get(from..).unwrap_or_default();
    let lines = soon[..count.min(soon.len())].chunks(LINE);
    #[cfg(target_arch = "x86_64")]
    for line in lines {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every processor of x86_64 has the instruction, and it gives no number to the
        // program, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
    }
    // Or nothing would be read.
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(lines.fold(0, |bits, line| bits ^ line[0].to_bits()));
}

/// Every x times every y.
#[inline(always)]
fn dots<S: Simd, const X: usize, const Y: usize>(
    simd: S,
    xs: [&[f32]; X],
    ys: [&[f32]; Y],
) -> [[f32; Y]; X] {
    let xs = xs.map(S::as_simd_f32s);
    let ys = ys.map(S::as_simd_f32s);
    let whole = ys[0].0.len();
    let x_vectors = xs.map(|x| &x.0[..whole]);
    let y_vectors = ys.map(|y| &y.0[..whole]);
    let mut sums = [[simd.splat_f32s(0.0); Y]; X];
    for i in 0..whole {
        for (sums, x) in sums.iter_mut().zip(&x_vectors) {
            for (sum, y) in sums.iter_mut().zip(&y_vectors) {
                *sum = simd.mul_add_e_f32s(x[i], y[i], *sum);
            }
        }
    }
    let mut totals = [[0.0; Y]; X];
    for ((totals, sums), x) in totals.iter_mut().zip(sums).zip(&xs) {
        for ((total, sum), y) in totals.iter_mut().zip(sums).zip(&ys) {
            let rest: f32 = x.1.iter().zip(y.1).map(|(x, y)| x * y).sum();
            *total = simd.reduce_sum_f32s(sum) + rest;
        }
    }
    totals
}

/// Attention of a few queries over the same keys: `into = softmax(scale · q·Kᵀ)·V` for each.
pub(super) struct FewQueries<'a> {
    /// `[queries, dim]`
    pub queries: &'a [f32],
    /// `[keys, dim]`
    pub key: Matrix<'a>,
    pub value: Matrix<'a>,
    pub scale: f32,
    /// The keys that each query sees.
    pub seen: &'a [Range<usize>],
    /// Room for `queries · keys` numbers.
    pub scores: &'a mut [f32],
    /// `[queries, dim]`, zeros.
    pub into: &'a mut [f32],
}

impl WithSimd for FewQueries<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, key, value, scale, seen, scores, into } = self;
        let (keys, dim) = (key.rows, key.columns);
        FewRows { into: &mut *scores, x: queries, weight: key }.with_simd(simd);
        for (scores, seen) in scores.chunks_exact_mut(keys).zip(seen) {
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            let scores = &mut scores[seen.clone()];
            scores.iter_mut().for_each(|score| *score *= scale);
            softmax(scores);
        }
        let mut at = 0;
        while at < seen.len() {
            let scores = &scores[at * keys..];
            let into = &mut into[at * dim..];
            at += match seen.len() - at {
                4.. => mix_values::<S, 4>(simd, scores, value, into),
                3 => mix_values::<S, 3>(simd, scores, value, into),
                2 => mix_values::<S, 2>(simd, scores, value, into),
                _ => mix_values::<S, 1>(simd, scores, value, into),
            };
        }
    }
}

/// Adds the values, weighted by X rows of scores; gives X.
#[inline(always)]
fn mix_values<S: Simd, const X: usize>(
    simd: S,
    scores: &[f32],
    value: Matrix<'_>,
    into: &mut [f32],
) -> usize {
    let (keys, dim) = (value.rows, value.columns);
    let weights: [&[f32]; X] = std::array::from_fn(|i| &scores[i * keys..(i + 1) * keys]);
    // A whole value if it can be, but no more sums than the processor holds.
    let at = if X < 4 { mix_columns::<S, X, 4>(simd, weights, value, into, 0) } else { 0 };
    let at = mix_columns::<S, X, 2>(simd, weights, value, into, at);
    let at = mix_columns::<S, X, 1>(simd, weights, value, into, at);
    for (into, weights) in into.chunks_exact_mut(dim).zip(weights) {
        for (k, weight) in weights.iter().enumerate() {
            let values = &value.data[k * value.strides[0]..][at..dim];
            for (sum, value) in into[at..].iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
    }
    X
}

/// The same for the columns from `at` on, W vectors of them at a time; gives the first column that
/// is left.
#[inline(always)]
fn mix_columns<S: Simd, const X: usize, const W: usize>(
    simd: S,
    weights: [&[f32]; X],
    value: Matrix<'_>,
    into: &mut [f32],
    mut at: usize,
) -> usize {
    let (keys, dim, width) = (value.rows, value.columns, W * S::F32_LANES);
    while at + width <= dim {
        let mut sums = [[simd.splat_f32s(0.0); W]; X];
        for k in 0..keys {
            fetch(value.data, k * value.strides[0] + at + AHEAD, width);
            let (values, _) = S::as_simd_f32s(&value.data[k * value.strides[0] + at..][..width]);
            for (sums, weights) in sums.iter_mut().zip(&weights) {
                let weight = simd.splat_f32s(weights[k]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = simd.mul_add_e_f32s(weight, *value, *sum);
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            S::as_mut_simd_f32s(&mut into[i * dim + at..][..width]).0.copy_from_slice(&sums);
        }
        at += width;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{super::vector::product, *};

    #[test]
    fn products_of_few_rows_equal_those_of_many() {
        for (rows, width, outputs) in
            [(1, 1, 1), (1, 37, 9), (2, 64, 8), (3, 8, 31), (7, 130, 6), (3, 300, 1002)]
        {
            let numbers = |count: usize, k: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * k) % 17) as f32 - 8.0).collect()
            };
            let (x, weight) = (numbers(rows * width, 5), numbers(outputs * width, 7));
            let (mut few, mut many) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
            few_rows(&mut few, &x, &weight, width);
            let lhs = Matrix { data: &x, rows, columns: width, strides: [width, 1] };
            let rhs = Matrix { data: &weight, rows: outputs, columns: width, strides: [width, 1] };
            product(&mut many, outputs, lhs, rhs.transposed(), 1.0, false, gemm::Parallelism::None);
            assert_eq!(few, many);
        }
    }

    #[test]
    fn updates_of_low_rank_equal_their_sums() {
        for (rows, rank, outputs) in [(1, 1, 1), (1, 8, 9), (2, 8, 130), (3, 3, 64), (1, 20, 300)] {
            let numbers = |count: usize, k: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * k) % 17) as f32 - 8.0).collect()
            };
            let (low, columns) = (numbers(rows * rank, 5), numbers(rank * outputs, 7));
            let before = numbers(rows * outputs, 3);
            let mut into = before.clone();
            dispatch(AddLowRank { into: &mut into, low: &low, columns: &columns, rank });
            for (at, (sum, before)) in into.iter().zip(&before).enumerate() {
                let (row, o) = (at / outputs, at % outputs);
                let product = |k: usize| low[row * rank + k] * columns[k * outputs + o];
                assert_eq!(*sum, before + (0..rank).map(product).sum::<f32>(), "{row}, {o}");
            }
        }
    }
}

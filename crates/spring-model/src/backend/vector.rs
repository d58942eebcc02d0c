//! Loops compiled for the widest vectors of the machine at hand, and products of matrices in
//! slices.

use std::sync::OnceLock;

use gemm::Parallelism;
use pulp::{Arch, WithSimd};

/// Runs `work` with the instructions that this machine has.
///
/// Only what is inlined is compiled for them: write `#[inline(always)]` before the closure, and on
/// what it calls.
pub(super) fn vectorized<W: WithSimd>(work: W) -> W::Output {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    ARCH.get_or_init(Arch::new).dispatch(work)
}

/// Numbers added up side by side: sums in one order, whatever the width of the vectors.
const LANES: usize = 16;

/// Combines f(x) of all numbers.
#[inline(always)]
fn reduce(values: &[f32], start: f32, f: impl Fn(f32, f32) -> f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, value);
    }
    combined(lanes, combine)
}

/// All lanes as one, half onto half: four steps, where one after the other would be fifteen.
#[inline(always)]
fn combined(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The highest number, −∞ for none. A NaN may be passed over.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    reduce(values, f32::NEG_INFINITY, higher, higher)
}

/// Σ x.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    reduce(values, 0.0, |a, b| a + b, |a, b| a + b)
}

/// Σ e^(x − shift).
#[inline(always)]
pub(super) fn sum_of_exp(values: &[f32], shift: f32) -> f32 {
    reduce(values, 0.0, |a, b| a + exp(b - shift), |a, b| a + b)
}

/// Σ x².
#[inline(always)]
pub(super) fn sum_of_squares(values: &[f32]) -> f32 {
    reduce(values, 0.0, |a, b| a + b * b, |a, b| a + b)
}

/// Σ x·y.
#[inline(always)]
pub(super) fn dot(xs: &[f32], ys: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((x_chunks, x_rest), (y_chunks, y_rest)) = (xs.as_chunks::<LANES>(), ys.as_chunks::<LANES>());
    for (xs, ys) in x_chunks.iter().zip(y_chunks) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(xs.iter().zip(ys)) {
            *lane += x * y;
        }
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *lane += x * y;
    }
    combined(lanes, |a, b| a + b)
}

/// eˣ with a relative error below 3e-7, without a branch, so that loops over it become vector code.
/// Held between e⁻⁸⁷ and e⁸⁸, the range of normal numbers; a NaN becomes the lower end.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Added to a small number, 1.5 · 2²³ leaves its nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few enough bits that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    // Taylor's series on |r| ≤ ln 2 / 2, where the next term is 2e-7 of 1.
    let tail = (((1.0 / 720.0 * r + 1.0 / 120.0) * r + 1.0 / 24.0) * r + 1.0 / 6.0) * r + 0.5;
    let power = 1.0 + (r + r * r * tail);
    // Adding n to the exponent bits multiplies by 2ⁿ.
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Turns scores into their softmax; all NaN if the highest is not finite, so that a NaN is not
/// lost.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) {
    let highest = max(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
    }
    let total = if highest.is_finite() { sum(scores) } else { f32::NAN };
    let inverse = 1.0 / total;
    for score in scores.iter_mut() {
        *score *= inverse;
    }
}

/// A matrix in a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// Numbers from one row to the next, and from one column to the next.
    pub strides: [usize; 2],
}

impl Matrix<'_> {
    pub(super) fn transposed(self) -> Self {
        let Self { data, rows, columns, strides: [row, column] } = self;
        Self { data, rows: columns, columns: rows, strides: [column, row] }
    }
}

/// Numbers that a matrix spans.
fn span(rows: usize, columns: usize, [row, column]: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
}

/// Writes `scale · lhs · rhs` into the rows of `into`, or adds it to what is there. How many
/// threads take part changes no bit of the result.
///
/// By the gemm crate, which burn's CPU backend multiplies with: attention's small products ran at
/// twice the speed of those of the ndarray crate, which needs no `unsafe` (190 against 95 GFLOP/s
/// for 64 × 32 × 512 on a CPU with AVX-512).
///
/// # Panics
///
/// If the matrices do not fit each other or their slices.
pub(super) fn product(
    into: &mut [f32],
    row_stride: usize,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    add: bool,
    parallelism: Parallelism,
) {
    let (rows, inner, columns) = (lhs.rows, lhs.columns, rhs.columns);
    assert_eq!(inner, rhs.rows, "inner dimensions of a product");
    assert!(span(rows, inner, lhs.strides) <= lhs.data.len(), "left matrix of a product");
    assert!(span(inner, columns, rhs.strides) <= rhs.data.len(), "right matrix of a product");
    assert!(span(rows, columns, [row_stride, 1]) <= into.len(), "result of a product");
    assert!(rows < 2 || columns <= row_stride, "rows of a product overlap");
    // SAFETY: gemm reads and writes the elements (i, j) of the three matrices at i·row stride +
    // j·column stride, which the assertions above keep inside their slices; `into` is borrowed for
    // writing, so it is none of the others.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            into.as_mut_ptr(),
            1,
            row_stride as isize,
            add,
            lhs.data.as_ptr(),
            lhs.strides[1] as isize,
            lhs.strides[0] as isize,
            rhs.data.as_ptr(),
            rhs.strides[1] as isize,
            rhs.strides[0] as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_keeps_its_bound() {
        for step in 0..=1_750_000 {
            let x = step as f32 * 1e-4 - 87.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn softmax_does_not_lose_a_nan() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut scores = vec![bad; 5];
            softmax(&mut scores);
            assert!(scores.iter().all(|x| x.is_nan()));
        }
    }

    /// Whether a pass shares its products depends on what else is running, which must not show in a
    /// result.
    #[test]
    fn a_product_is_the_same_by_any_number_of_threads() {
        for (rows, inner, columns) in [(17, 700, 200), (60, 576, 64), (130, 1536, 96), (200, 96, 1000)] {
            let numbers = |count: usize, seed: u32| -> Vec<f32> {
                let number = |i: u32| (i.wrapping_mul(seed) >> 8) as f32 / (1u32 << 24) as f32 - 0.5;
                (0..count as u32).map(number).collect()
            };
            let (lhs, rhs) = (numbers(rows * inner, 2_654_435_761), numbers(columns * inner, 2_246_822_519));
            let product = |parallelism| {
                let matrix = |data, rows| Matrix { data, rows, columns: inner, strides: [inner, 1] };
                let (lhs, rhs) = (matrix(&lhs, rows), matrix(&rhs, columns).transposed());
                let mut into = vec![0.0; rows * columns];
                product(&mut into, columns, lhs, rhs, 1.0, false, parallelism);
                into
            };
            let one = product(Parallelism::None);
            for threads in [2, 3, 7, 16, 64] {
                assert_eq!(product(Parallelism::Rayon(threads)), one, "{threads} threads");
            }
        }
    }

    #[test]
    #[should_panic(expected = "right matrix of a product")]
    fn a_product_beyond_its_slice_is_refused() {
        let matrix = |rows| Matrix { data: &[1.0; 4], rows, columns: 2, strides: [2, 1] };
        product(
            &mut [0.0; 100],
            3,
            matrix(1),
            Matrix { columns: 3, ..matrix(2) },
            1.0,
            false,
            Parallelism::None,
        );
    }
}

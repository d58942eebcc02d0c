//! Loops for the inside of kernels, and products of matrices in slices.

use gemm::Parallelism;
use spring_numerics::exp::exp_taylor;
use spring_numerics::lanes::{fold, fold_pairs, halve};

/// The highest number, −∞ for none. A NaN may be passed over.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    halve(fold(values, f32::NEG_INFINITY, higher), higher)
}

/// Σ x.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    halve(fold(values, 0.0, |a, b| a + b), |a, b| a + b)
}

/// Σ e^(x − shift).
#[inline(always)]
pub(super) fn sum_of_exp(values: &[f32], shift: f32) -> f32 {
    halve(fold(values, 0.0, |a, b| a + exp_taylor(b - shift)), |a, b| a + b)
}

/// Σ x².
#[inline(always)]
pub(super) fn sum_of_squares(values: &[f32]) -> f32 {
    halve(fold(values, 0.0, |a, b| a + b * b), |a, b| a + b)
}

/// Σ x·y.
#[inline(always)]
pub(super) fn dot(xs: &[f32], ys: &[f32]) -> f32 {
    halve(fold_pairs(xs, ys, 0.0, |sum, x, y| sum + x * y), |a, b| a + b)
}

/// Turns scores into their softmax; all NaN if the highest is not finite, so that a NaN is not
/// lost.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) {
    let highest = max(scores);
    for score in scores.iter_mut() {
        *score = exp_taylor(*score - highest);
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
        for (rows, inner, columns) in
            [(17, 700, 200), (60, 576, 64), (130, 1536, 96), (200, 96, 1000)]
        {
            let numbers = |count: usize, seed: u32| -> Vec<f32> {
                let number =
                    |i: u32| (i.wrapping_mul(seed) >> 8) as f32 / (1u32 << 24) as f32 - 0.5;
                (0..count as u32).map(number).collect()
            };
            let (lhs, rhs) =
                (numbers(rows * inner, 2_654_435_761), numbers(columns * inner, 2_246_822_519));
            let product = |parallelism| {
                let matrix =
                    |data, rows| Matrix { data, rows, columns: inner, strides: [inner, 1] };
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

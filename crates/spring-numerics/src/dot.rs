//! The dot product of long vectors, the same to the last bit on every machine.
//!
//! Written here because general products (gemm, ndarray) fuse multiplication and addition where the
//! machine can, which changes the last bit from one machine to the next.

use crate::simd::{Simd, WithSimd, dispatch};

/// Partial sums: always this many, added up in the same order, without fused multiplication,
/// whatever the width of the machine's vectors. A multiple of the widest.
const LANES: usize = 32;

/// The dot product of two vectors of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    struct Pair<'v>(&'v [f32], &'v [f32]);

    impl WithSimd for Pair<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            dot_with(simd, self.0, self.1)
        }
    }

    dispatch(Pair(a, b))
}

/// [`dot`], for the inside of a [`WithSimd`]: choosing the instructions once for many products.
#[inline(always)]
pub fn dot_with<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    // As many sums as a chunk has vectors, so that they stay in registers.
    match S::F32_LANES {
        16 => sum_of_products::<S, 2>(simd, a, b),
        8 => sum_of_products::<S, 4>(simd, a, b),
        4 => sum_of_products::<S, 8>(simd, a, b),
        2 => sum_of_products::<S, 16>(simd, a, b),
        _ => sum_of_products::<S, LANES>(simd, a, b),
    }
}

#[inline(always)]
fn sum_of_products<S: Simd, const VECTORS: usize>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [simd.splat_f32s(0.0); VECTORS];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        add_products(simd, &mut sums, a, b);
    }
    if !a_rest.is_empty() {
        add_products(simd, &mut sums, &padded(a_rest), &padded(b_rest));
    }
    let mut lanes = [0.0; LANES];
    let (parts, _) = S::as_mut_simd_f32s(&mut lanes);
    for (part, sum) in parts.iter_mut().zip(sums) {
        *part = sum;
    }
    for half in [16, 8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

#[inline(always)]
fn add_products<S: Simd, const VECTORS: usize>(
    simd: S,
    sums: &mut [S::f32s; VECTORS],
    a: &[f32; LANES],
    b: &[f32; LANES],
) {
    let ((a, _), (b, _)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = simd.add_f32s(*sum, simd.mul_f32s(a[i], b[i]));
    }
}

#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Scalar;

    #[test]
    fn it_is_the_sum_of_the_products() {
        let mut state = 1u64;
        let mut number = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        for length in [0, 1, 31, 32, 33, 64, 100, 256] {
            let mut vector = || (0..length).map(|_| number()).collect::<Vec<f32>>();
            let (a, b) = (vector(), vector());
            let product = dot_with(Scalar::new(), &a, &b);
            let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!((f64::from(product) - exact).abs() < 1e-5, "{product} for {exact}");
            // The same bits with the machine's own instructions.
            assert_eq!(dot(&a, &b).to_bits(), product.to_bits());
        }
    }
}

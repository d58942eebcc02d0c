//! Dot products, compiled for the widest vectors of the machine at hand and the same everywhere to the last
//! bit.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// Partial sums: always as many, added up in the same order, without fused multiplication, whatever the
/// width of the machine's vectors.
const LANES: usize = 16;

/// Runs work with the instructions that this machine has. Its `with_simd` must be `#[inline(always)]` with all
/// that is to use them.
pub(crate) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    ARCH.get_or_init(Arch::new).dispatch(work)
}

/// The dot product of two vectors of one length, for use outside [`dispatch`].
#[cfg(feature = "hnsw")]
pub(crate) fn dot_once(a: &[f32], b: &[f32]) -> f32 {
    struct Pair<'v>(&'v [f32], &'v [f32]);

    impl WithSimd for Pair<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> f32 {
            dot(self.0, self.1)
        }
    }

    dispatch(Pair(a, b))
}

/// The dot product of two vectors of one length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [product] = dots(a, [b]);
    product
}

/// The dot products of one vector with several of its length. The processor reads them side by side, and none
/// waits for another to come from memory.
#[inline(always)]
pub(crate) fn dots<const N: usize>(query: &[f32], rows: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[0.0f32; LANES]; N];
    let (query_chunks, query_rest) = query.as_chunks::<LANES>();
    // One length for all, so that no index is checked in the loop.
    let rows = rows.map(|row| row[..query.len()].as_chunks::<LANES>());
    for (place, query) in query_chunks.iter().enumerate() {
        for (sums, (chunks, _)) in sums.iter_mut().zip(&rows) {
            let chunk = &chunks[place];
            for lane in 0..LANES {
                sums[lane] += query[lane] * chunk[lane];
            }
        }
    }
    for (sums, (_, rest)) in sums.iter_mut().zip(&rows) {
        for (sum, (query, value)) in sums.iter_mut().zip(query_rest.iter().zip(*rest)) {
            *sum += query * value;
        }
    }
    sums.map(sum_by_halves)
}

#[inline(always)]
fn sum_by_halves(mut sums: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_gives_the_same_bits() {
        let mut state = 1u64;
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        for length in [0, 1, 15, 16, 17, 64, 100, 256] {
            let mut vector = || (0..length).map(|_| number()).collect::<Vec<f32>>();
            let (query, rows) = (vector(), [vector(), vector(), vector(), vector()]);
            let together = dots(&query, rows.each_ref().map(Vec::as_slice));
            for (row, product) in rows.iter().zip(together) {
                assert_eq!(dot(&query, row).to_bits(), product.to_bits());
                let exact: f64 = query.iter().zip(row).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                assert!((f64::from(product) - exact).abs() < 1e-5, "{product} for {exact}");
                #[cfg(feature = "hnsw")]
                assert_eq!(dot_once(&query, row).to_bits(), product.to_bits());
            }
        }
    }
}

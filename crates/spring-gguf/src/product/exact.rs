//! Products in floats: blocks become floats, some columns at a time.

use std::ops::Range;

use super::split::{Stripes, put};
use super::{lanes, lanes_mut, values};
use crate::simd::{LANES, Simd, Task};
use crate::{Kernels, Matrix};

/// Columns that become floats together: 16 rows of them stay in the nearest cache.
const COLUMNS: usize = 256;
/// Sums per value: one after the other they would wait for each other.
const CHAINS: usize = 4;
/// Rows that are computed together.
const ROWS: usize = 4;

/// Computes some panels; see [`super::split::by_panels`].
pub(super) fn panels(
    kernels: Kernels,
    w: &Matrix,
    x: &[f32],
    panels: Range<usize>,
    mut stripe: Stripes<'_>,
) {
    let columns = w.columns();
    let rows = x.len() / columns;
    let mut tile = [[0.0; LANES]; COLUMNS];
    // The chains of all rows, from one stretch of columns to the next.
    let mut sums = vec![0.0; rows * CHAINS * LANES];
    let mut out = vec![0.0; rows * LANES];
    for (place, panel) in panels.enumerate() {
        let panel = w.panel(panel);
        sums.fill(0.0);
        for first in (0..columns).step_by(COLUMNS) {
            let tile = &mut tile[..COLUMNS.min(columns - first)];
            values(kernels, w.format(), panel, first, tile);
            kernels.run(Stretch { tile, x: &x[first..], columns, sums: &mut sums });
        }
        let sums = sums.as_chunks::<LANES>().0.as_chunks::<CHAINS>().0;
        for ([a, b, c, d], out) in sums.iter().zip(out.as_chunks_mut::<LANES>().0) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = (a[i] + b[i]) + (c[i] + d[i]);
            }
        }
        put(&mut stripe, place, &out);
    }
}

/// Adds the products of some columns with all rows.
struct Stretch<'a> {
    tile: &'a [[f32; LANES]],
    /// From the first of these columns of the first row on.
    x: &'a [f32],
    /// From one row to the next.
    columns: usize,
    sums: &'a mut [f32],
}

impl Task for Stretch<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Stretch { tile, x, columns, sums } = self;
        let rows = sums.len() / (CHAINS * LANES);
        let mut row = 0;
        while row < rows {
            let (x, sums) = (&x[row * columns..], &mut sums[row * CHAINS * LANES..]);
            row += match rows - row {
                ROWS.. => add::<S, ROWS>(s, tile, x, columns, sums),
                2.. => add::<S, 2>(s, tile, x, columns, sums),
                _ => add::<S, 1>(s, tile, x, columns, sums),
            };
        }
    }
}

/// Adds the products of some columns with `R` rows that lie `stride` apart.
#[inline(always)]
fn add<S: Simd, const R: usize>(
    s: S,
    tile: &[[f32; LANES]],
    x: &[f32],
    stride: usize,
    sums: &mut [f32],
) -> usize {
    let mut rows = [x; R];
    let mut chains = [[s.splat(0.0); CHAINS]; R];
    for (i, (row, chains)) in rows.iter_mut().zip(&mut chains).enumerate() {
        *row = &x[i * stride..][..tile.len()];
        for (j, chain) in chains.iter_mut().enumerate() {
            *chain = s.floats(lanes(sums, i * CHAINS + j));
        }
    }
    // The number of columns of a stretch is a multiple of the chains but in the last one.
    for (c, weights) in tile.chunks(CHAINS).enumerate() {
        for (j, weights) in weights.iter().enumerate() {
            let weights = s.floats(weights);
            for (row, chains) in rows.iter().zip(&mut chains) {
                chains[j] = s.fused(weights, s.splat(row[c * CHAINS + j]), chains[j]);
            }
        }
    }
    for (i, chains) in chains.into_iter().enumerate() {
        for (j, chain) in chains.into_iter().enumerate() {
            s.store(chain, lanes_mut(sums, i * CHAINS + j));
        }
    }
    R
}

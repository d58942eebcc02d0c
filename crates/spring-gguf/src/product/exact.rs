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
            row += match (rows - row).min(S::FLOAT_ROWS) {
                // As many sums as registers hold: all chains at a time, or two of them.
                4.. => add::<S, 4, CHAINS>(s, tile, x, columns, sums),
                3.. => add::<S, 3, 2>(s, tile, x, columns, sums),
                2.. => add::<S, 2, 2>(s, tile, x, columns, sums),
                _ => add::<S, 1, CHAINS>(s, tile, x, columns, sums),
            };
        }
    }
}

/// Adds the products of some columns with `R` rows that lie `stride` apart, `C` chains at a time.
#[inline(always)]
fn add<S: Simd, const R: usize, const C: usize>(
    s: S,
    tile: &[[f32; LANES]],
    x: &[f32],
    stride: usize,
    sums: &mut [f32],
) -> usize {
    // The number of columns of a stretch is a multiple of the chains but in the last one.
    let (tile, rest) = tile.as_chunks::<CHAINS>();
    let mut rows = [x; R];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &x[i * stride..][..tile.len() * CHAINS + rest.len()];
    }
    for first in (0..CHAINS).step_by(C) {
        let mut chains = [[s.splat(0.0); C]; R];
        for (i, chains) in chains.iter_mut().enumerate() {
            for (j, chain) in chains.iter_mut().enumerate() {
                *chain = s.floats(lanes(sums, i * CHAINS + first + j));
            }
        }
        let mut column = |column: usize, j: usize, weights: &[f32; LANES]| {
            let weights = s.floats(weights);
            for (row, chains) in rows.iter().zip(&mut chains) {
                chains[j] = s.fused(weights, s.splat(row[column]), chains[j]);
            }
        };
        for (c, weights) in tile.iter().enumerate() {
            for j in 0..C {
                column(c * CHAINS + first + j, j, &weights[first + j]);
            }
        }
        for (j, weights) in rest.iter().skip(first).take(C).enumerate() {
            column(tile.len() * CHAINS + first + j, j, weights);
        }
        for (i, chains) in chains.into_iter().enumerate() {
            for (j, chain) in chains.into_iter().enumerate() {
                s.store(chain, lanes_mut(sums, i * CHAINS + first + j));
            }
        }
    }
    R
}

//! The product that takes a gradient through a layer.

use super::split::{Threads, share, stripes};
use super::{lanes, lanes_mut, values};
use crate::simd::{LANES, Simd, Task};
use crate::{Kernels, Matrix};

/// Columns that become floats together, and the least that a thread takes.
const COLUMNS: usize = 64;
/// Columns that are summed together: their sums stay in registers.
const TOGETHER: usize = 8;

/// `dx = dy W`.
///
/// Lanes are rows of `dy` here, 16 of them, as all sums run over the rows of the matrix, which
/// lie across the lanes of its panels.
pub(super) fn product(
    kernels: Kernels,
    threads: &dyn Threads,
    w: &Matrix,
    dy: &[f32],
    dx: &mut [f32],
) {
    let (rows, columns) = (dy.len() / w.rows(), w.columns());
    if rows == 0 {
        return;
    }
    let groups = rows.div_ceil(LANES);
    // For each row of the matrix the values of all rows, filled up with zeros.
    let mut across = vec![0.0; w.panels() * LANES * groups * LANES];
    for (row, dy) in dy.chunks_exact(w.rows()).enumerate() {
        for (i, &value) in dy.iter().enumerate() {
            across[i * groups * LANES + row] = value;
        }
    }
    let pieces = columns.div_ceil(COLUMNS);
    let each = COLUMNS * pieces.div_ceil(threads.count().clamp(1, pieces));
    share(threads, stripes(dx, columns, each), |piece, mut stripe| {
        // For each column the values of all rows.
        let mut out = vec![0.0; COLUMNS * groups * LANES];
        let mut tile = [[0.0; LANES]; COLUMNS];
        let own = piece * each..columns.min((piece + 1) * each);
        for first in own.clone().step_by(COLUMNS) {
            let count = COLUMNS.min(own.end - first);
            let (tile, out) = (&mut tile[..count], &mut out[..count * groups * LANES]);
            out.fill(0.0);
            for (panel, across) in across.chunks_exact(LANES * groups * LANES).enumerate() {
                values(kernels, w.format(), w.panel(panel), first, tile);
                kernels.run(Panel { tile, across, groups, out });
            }
            for (row, dx) in stripe.iter_mut().enumerate() {
                let dx = &mut dx[first - own.start..][..count];
                for (column, dx) in dx.iter_mut().enumerate() {
                    *dx = out[column * groups * LANES + row];
                }
            }
        }
    });
}

/// Adds a panel's products with all rows, for some columns.
struct Panel<'a> {
    tile: &'a [[f32; LANES]],
    across: &'a [f32],
    /// Groups of 16 rows.
    groups: usize,
    out: &'a mut [f32],
}

impl Task for Panel<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Panel { tile, across, groups, out } = self;
        for group in 0..groups {
            let mut column = 0;
            while column < tile.len() {
                let (tile, out) = (&tile[column..], &mut out[column * groups * LANES..]);
                column += match tile.len() {
                    TOGETHER.. => add::<S, TOGETHER>(s, tile, across, groups, group, out),
                    _ => add::<S, 1>(s, tile, across, groups, group, out),
                };
            }
        }
    }
}

/// Adds a panel's products with 16 rows, for `N` columns.
#[inline(always)]
fn add<S: Simd, const N: usize>(
    s: S,
    tile: &[[f32; LANES]],
    across: &[f32],
    groups: usize,
    group: usize,
    out: &mut [f32],
) -> usize {
    let tile = &tile[..N];
    let mut sums = [s.splat(0.0); N];
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = s.floats(lanes(out, i * groups + group));
    }
    for row in 0..LANES {
        let dy = s.floats(lanes(across, row * groups + group));
        for (sum, weights) in sums.iter_mut().zip(tile) {
            *sum = s.fused(s.splat(weights[row]), dy, *sum);
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        s.store(sum, lanes_mut(out, i * groups + group));
    }
    N
}

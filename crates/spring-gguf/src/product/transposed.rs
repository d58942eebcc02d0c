//! The product that takes a gradient through a layer.

use super::split::{Threads, share, stripes};
use super::{lanes, lanes_mut, values};
use crate::simd::{LANES, Simd, Task};
use crate::{Kernels, Matrix};

/// Columns that become floats together, and the least that a thread takes.
const COLUMNS: usize = 64;
/// Panels that are added together: sums are loaded and stored once for all of them.
const PANELS: usize = 4;
/// Rows of the matrix in as many panels.
const ROWS: usize = PANELS * LANES;

/// Some columns of some panels.
type Tile = [[[f32; LANES]; COLUMNS]; PANELS];

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
    let across = across(threads, w.rows(), dy, groups);
    let pieces = columns.div_ceil(COLUMNS);
    let each = COLUMNS * pieces.div_ceil(threads.count().clamp(1, pieces));
    share(threads, stripes(dx, columns, each), |piece, mut stripe| {
        // For each group of rows the columns, with the values of 16 rows each.
        let mut out = vec![0.0; groups * COLUMNS * LANES];
        let mut tile: Tile = [[[0.0; LANES]; COLUMNS]; PANELS];
        let own = piece * each..columns.min((piece + 1) * each);
        for first in own.clone().step_by(COLUMNS) {
            let count = COLUMNS.min(own.end - first);
            out.fill(0.0);
            for (number, across) in across.chunks(groups * ROWS * LANES).enumerate() {
                let panels = PANELS.min(w.panels() - number * PANELS);
                let tile = &mut tile[..panels];
                for (i, tile) in tile.iter_mut().enumerate() {
                    let panel = w.panel(number * PANELS + i);
                    values(kernels, w.format(), panel, first, &mut tile[..count]);
                }
                kernels.run(Panels { tile, across, groups, count, out: &mut out });
            }
            for (row, dx) in stripe.iter_mut().enumerate() {
                let dx = &mut dx[first - own.start..][..count];
                let out = &out[row / LANES * COLUMNS * LANES..];
                for (column, dx) in dx.iter_mut().enumerate() {
                    *dx = out[column * LANES + row % LANES];
                }
            }
        }
    });
}

/// For each [`ROWS`] rows of the matrix and each group of 16 rows of `dy` its values, 16 for a row
/// of the matrix, filled up with zeros.
///
/// What is read together lies together: at steps of a power of two it would fall on the same few
/// lines of the cache.
fn across(threads: &dyn Threads, outputs: usize, dy: &[f32], groups: usize) -> Vec<f32> {
    let (block, chunks) = (ROWS * LANES, outputs.div_ceil(ROWS));
    let mut across = vec![0.0; chunks * groups * block];
    let each = chunks.div_ceil(threads.count().clamp(1, chunks));
    let pieces = across.chunks_mut(each * groups * block).collect();
    share(threads, pieces, |piece, across| {
        for (number, to) in across.chunks_exact_mut(block).enumerate() {
            let (chunk, group) = (piece * each + number / groups, number % groups);
            let own = chunk * ROWS..outputs.min((chunk + 1) * ROWS);
            let rows = dy.chunks_exact(outputs).skip(group * LANES).take(LANES);
            for (lane, dy) in rows.enumerate() {
                for (to, value) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(&dy[own.clone()]) {
                    to[lane] = *value;
                }
            }
        }
    });
    across
}

/// Adds some panels' products with all rows, for some columns.
struct Panels<'a> {
    tile: &'a [[[f32; LANES]; COLUMNS]],
    across: &'a [f32],
    /// Groups of 16 rows.
    groups: usize,
    /// Columns.
    count: usize,
    out: &'a mut [f32],
}

impl Task for Panels<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for group in 0..self.groups {
            let mut column = 0;
            while column < self.count {
                column += match (self.count - column).min(S::FLOAT_COLUMNS) {
                    8.. => self.add::<S, 8>(s, group, column),
                    4.. => self.add::<S, 4>(s, group, column),
                    _ => self.add::<S, 1>(s, group, column),
                };
            }
        }
    }
}

impl Panels<'_> {
    /// Adds the products with 16 rows, for `N` columns, whose sums stay in registers.
    #[inline(always)]
    fn add<S: Simd, const N: usize>(&mut self, s: S, group: usize, column: usize) -> usize {
        let mut sums = [s.splat(0.0); N];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = s.floats(lanes(self.out, group * COLUMNS + column + i));
        }
        for (number, tile) in self.tile.iter().enumerate() {
            let tile = &tile[column..][..N];
            for row in 0..LANES {
                let place = group * ROWS + number * LANES + row;
                let dy = s.floats(lanes(self.across, place));
                for (sum, weights) in sums.iter_mut().zip(tile) {
                    *sum = s.fused(s.splat(weights[row]), dy, *sum);
                }
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            s.store(sum, lanes_mut(self.out, group * COLUMNS + column + i));
        }
        N
    }
}

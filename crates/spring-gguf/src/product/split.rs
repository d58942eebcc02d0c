//! Which thread computes which rows of a matrix.

use std::ops::Range;

use rayon::prelude::*;

use super::Compute;
use crate::Matrix;
use crate::simd::LANES;

/// Products with less multiplications than this per thread are not worth a second one.
const WORTH: usize = 1 << 17;

/// Computes a product panel by panel and puts it in order.
///
/// `part` computes some panels; its output has, for each of them and each row of `x`, 16 values.
/// Threads take panels that lie together, so each reads one stretch of memory.
pub(super) fn by_panels(
    compute: Compute,
    w: &Matrix,
    rows: usize,
    y: &mut [f32],
    part: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    if rows == 0 {
        return;
    }
    let panels = w.panels();
    let worth = (rows * w.rows() * w.columns() / WORTH).max(1);
    let pieces = compute.threads.min(worth).min(panels);
    let each = panels.div_ceil(pieces);
    let run = |out: &mut [f32]| {
        if pieces == 1 {
            return part(0..panels, out);
        }
        out.par_chunks_mut(each * rows * LANES).enumerate().for_each(|(piece, out)| {
            part(piece * each..piece * each + out.len() / (rows * LANES), out);
        });
    };
    // The values of one row are in order already.
    if rows == 1 && w.rows().is_multiple_of(LANES) {
        return run(y);
    }
    let mut out = vec![0.0; panels * rows * LANES];
    run(&mut out);
    for (row, y) in y.chunks_exact_mut(w.rows()).enumerate() {
        for (panel, y) in y.chunks_mut(LANES).enumerate() {
            y.copy_from_slice(&out[(panel * rows + row) * LANES..][..y.len()]);
        }
    }
}

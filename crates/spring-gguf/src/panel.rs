//! The order of weights in memory: 16 rows side by side.
//!
//! A panel is 16 rows of a matrix. Where a file stores row after row, a panel stores block after
//! block, and in a block every field 16 times: the first row's, the second row's and so on, unit
//! by unit (two bytes of a half-precision scale, four bytes of codes).
//! One load then brings the same field of 16 rows, one lane each; sums need no adding across
//! lanes, and a panel is read from its first to its last byte, once. The size is that of the
//! file's blocks, but for the last panel, which is filled up with zeros.

use crate::BlockFormat;
use crate::simd::LANES;

/// Bytes of a panel of rows of `columns` values.
pub(crate) fn panel_bytes(format: BlockFormat, columns: usize) -> usize {
    columns / format.block_len() * format.block_bytes() * LANES
}

/// Writes one row's blocks into its lane of a panel.
pub(crate) fn set_lane(format: BlockFormat, row: &[u8], lane: usize, panel: &mut [u8]) {
    let bytes = format.block_bytes();
    for (from, to) in row.chunks_exact(bytes).zip(panel.chunks_exact_mut(LANES * bytes)) {
        let mut at = 0;
        for field in format.fields() {
            let end = at + field.unit * field.count;
            let (from, to) = (&from[at..end], &mut to[LANES * at..LANES * end]);
            match field.unit {
                1 => scatter::<1>(from, lane, to),
                2 => scatter::<2>(from, lane, to),
                _ => scatter::<4>(from, lane, to),
            }
            at = end;
        }
    }
}

/// Reads one lane's blocks back.
pub(crate) fn get_lane(format: BlockFormat, panel: &[u8], lane: usize, row: &mut [u8]) {
    let bytes = format.block_bytes();
    for (from, to) in panel.chunks_exact(LANES * bytes).zip(row.chunks_exact_mut(bytes)) {
        let mut at = 0;
        for field in format.fields() {
            let end = at + field.unit * field.count;
            let (from, to) = (&from[LANES * at..LANES * end], &mut to[at..end]);
            let units = from.chunks_exact(LANES * field.unit).zip(to.chunks_exact_mut(field.unit));
            for (from, to) in units {
                to.copy_from_slice(&from[lane * field.unit..][..field.unit]);
            }
            at = end;
        }
    }
}

fn scatter<const UNIT: usize>(from: &[u8], lane: usize, to: &mut [u8]) {
    for (from, to) in from.chunks_exact(UNIT).zip(to.chunks_exact_mut(LANES * UNIT)) {
        to[lane * UNIT..][..UNIT].copy_from_slice(from);
    }
}

//! Products of integers: weights' codes with rows of bytes.

use std::marker::PhantomData;
use std::ops::Range;

use crate::activations::Row;
use crate::simd::{LANES, Simd, Task};
use crate::unpack::*;
use crate::{BlockFormat, Kernels, Matrix, QuantisedRows};

/// Computes some panels; see [`super::split::by_panels`].
pub(super) fn panels(
    kernels: Kernels,
    w: &Matrix,
    x: &QuantisedRows,
    panels: Range<usize>,
    out: &mut [f32],
) {
    let part = Part { w, x, panels, out };
    match w.format() {
        BlockFormat::Q4_0 => part.run::<Q4_0>(kernels),
        BlockFormat::Q4_1 => part.run::<Q4_1>(kernels),
        BlockFormat::Q5_0 => part.run::<Q5_0>(kernels),
        BlockFormat::Q5_1 => part.run::<Q5_1>(kernels),
        BlockFormat::Q8_0 => part.run::<Q8_0>(kernels),
        BlockFormat::Q2_K => part.run::<Q2K>(kernels),
        BlockFormat::Q3_K => part.run::<Q3K>(kernels),
        BlockFormat::Q4_K => part.run::<Q4K>(kernels),
        BlockFormat::Q5_K => part.run::<Q5K>(kernels),
        BlockFormat::Q6_K => part.run::<Q6K>(kernels),
        BlockFormat::IQ4_NL => part.run::<Iq4Nl>(kernels),
        BlockFormat::IQ4_XS => part.run::<Iq4Xs>(kernels),
        BlockFormat::MXFP4 => part.run::<Mxfp4>(kernels),
        // The caller has refused these.
        BlockFormat::F32 | BlockFormat::F16 | BlockFormat::BF16 => {}
    }
}

struct Part<'a> {
    w: &'a Matrix,
    x: &'a QuantisedRows,
    panels: Range<usize>,
    out: &'a mut [f32],
}

impl Part<'_> {
    fn run<B: Blocks>(self, kernels: Kernels) {
        kernels.run(OfFormat::<B>(self, PhantomData));
    }
}

struct OfFormat<'a, B>(Part<'a>, PhantomData<B>);

impl<B: Blocks> Task for OfFormat<'_, B> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { w, x, panels, out } = self.0;
        let rows = x.rows();
        let mut unpacked = Unpacked::default();
        for (panel, out) in panels.zip(out.chunks_exact_mut(rows * LANES)) {
            let panel = w.panel(panel);
            if rows <= S::ROWS {
                // Each block is unpacked into registers, for all rows.
                tiles(s, x, 0, out, &Packed::<B>(panel, PhantomData));
            } else {
                // Each block is unpacked into memory of the nearest cache, for all rows.
                unpacked.fill::<S, B>(s, panel);
                tiles(s, x, 0, out, &Ready::<B>(&unpacked, PhantomData));
            }
        }
    }
}

/// Where a panel's groups come from.
trait Groups {
    /// The number of columns of a group, and so on.
    type Format: Blocks;
    fn group<S: Simd>(&self, s: S, group: usize) -> Group<S>;
}

struct Packed<'a, B>(&'a [u8], PhantomData<B>);

impl<B: Blocks> Groups for Packed<'_, B> {
    type Format = B;
    #[inline(always)]
    fn group<S: Simd>(&self, s: S, group: usize) -> Group<S> {
        let per_block = B::LEN / B::GROUP;
        let block = &self.0[group / per_block * LANES * B::BYTES..][..LANES * B::BYTES];
        B::group(s, block, group % per_block)
    }
}

/// A panel's groups: codes as bytes, and scales and minima.
#[derive(Default)]
struct Unpacked {
    codes: Vec<[u8; 64]>,
    factors: Vec<[[f32; LANES]; 2]>,
}

impl Unpacked {
    #[inline(always)]
    fn fill<S: Simd, B: Blocks>(&mut self, s: S, panel: &[u8]) {
        let groups = panel.len() / (LANES * B::BYTES) * (B::LEN / B::GROUP);
        self.codes.resize(groups * B::GROUP / 4, [0; 64]);
        self.factors.resize(groups, [[0.0; LANES]; 2]);
        let packed = Packed::<B>(panel, PhantomData);
        let codes = self.codes.chunks_exact_mut(B::GROUP / 4);
        for (group, (codes, factors)) in codes.zip(&mut self.factors).enumerate() {
            let unpacked = packed.group(s, group);
            for (to, words) in codes.iter_mut().zip(unpacked.codes) {
                s.store_words(words, to);
            }
            s.store(unpacked.scale, &mut factors[0]);
            s.store(unpacked.min, &mut factors[1]);
        }
    }
}

struct Ready<'a, B>(&'a Unpacked, PhantomData<B>);

impl<B: Blocks> Groups for Ready<'_, B> {
    type Format = B;
    #[inline(always)]
    fn group<S: Simd>(&self, s: S, group: usize) -> Group<S> {
        let mut codes = [s.word(0); 8];
        let from = &self.0.codes[group * B::GROUP / 4..][..B::GROUP / 4];
        for (code, from) in codes.iter_mut().zip(from) {
            *code = s.words(from);
        }
        let [scale, min] = &self.0.factors[group];
        Group { codes, scale: s.floats(scale), min: s.floats(min) }
    }
}

/// All rows from `row` on, as few times over the panel as registers allow.
#[inline(always)]
fn tiles<S: Simd, G: Groups>(s: S, x: &QuantisedRows, row: usize, out: &mut [f32], from: &G) {
    let mut row = row;
    while row < x.rows() {
        let out = &mut out[row * LANES..];
        row += match (x.rows() - row).min(S::ROWS) {
            8.. => tile::<S, G, 8>(s, x, row, out, from),
            4.. => tile::<S, G, 4>(s, x, row, out, from),
            2.. => tile::<S, G, 2>(s, x, row, out, from),
            _ => tile::<S, G, 1>(s, x, row, out, from),
        };
    }
}

/// The products of a panel with `R` rows.
///
/// Each lane adds up its groups in the columns' order, so that a value does not depend on what is
/// computed beside it.
#[inline(always)]
fn tile<S: Simd, G: Groups, const R: usize>(
    s: S,
    x: &QuantisedRows,
    first: usize,
    out: &mut [f32],
    from: &G,
) -> usize {
    let mut rows = [x.row(first); R];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = x.row(first + i);
    }
    let mut sums = [s.splat(0.0); R];
    let length = <G::Format as Blocks>::GROUP;
    for group in 0..x.columns() / length {
        let weights = from.group(s, group);
        for (sum, row) in sums.iter_mut().zip(&rows) {
            *sum = add_group::<S, G::Format>(s, *sum, &weights, row, group * length);
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        s.store(sum, super::lanes_mut(out, i));
    }
    R
}

/// Adds a group's product with a row of bytes, from a column on.
#[inline(always)]
fn add_group<S: Simd, B: Blocks>(
    s: S,
    sum: S::Floats,
    weights: &Group<S>,
    row: &Row<'_>,
    column: usize,
) -> S::Floats {
    let total = match B::GROUP {
        16 => row.sums[column / 16],
        _ => row.sums[column / 16] + row.sums[column / 16 + 1],
    };
    let scale = row.scales[column / 32];
    // Codes are OFFSET too large.
    let mut dot = s.word((-B::OFFSET * total) as u32);
    let codes = &row.codes[column / 4..][..B::GROUP / 4];
    for (code, &x) in weights.codes.iter().zip(codes) {
        dot = if B::WIDE { s.dot_wide(dot, *code, x) } else { s.dot(dot, *code, x) };
    }
    let mut sum = s.fused(s.to_floats(dot), s.mul(weights.scale, s.splat(scale)), sum);
    if B::MIN {
        sum = s.fused(weights.min, s.splat(scale * total as f32), sum);
    }
    sum
}

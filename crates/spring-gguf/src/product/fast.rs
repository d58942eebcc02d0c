//! Products of integers: weights' codes with the codes of rows.

use std::marker::PhantomData;
use std::ops::Range;

use super::split::{Stripes, put};
use super::{lanes, lanes_mut};
use crate::activations::{CHUNK, Chunk, SHARED, Shared};
use crate::simd::{LANES, Layout, Simd, Task};
use crate::unpack::*;
use crate::{BlockFormat, Kernels, Matrix, QuantisedRows};

/// Computes some panels; see [`super::split::by_panels`].
pub(super) fn panels(
    kernels: Kernels,
    w: &Matrix,
    x: &QuantisedRows,
    panels: Range<usize>,
    stripe: Stripes<'_>,
) {
    let run = match w.format() {
        BlockFormat::Q4_0 => of_format::<Q4_0>,
        BlockFormat::Q4_1 => of_format::<Q4_1>,
        BlockFormat::Q5_0 => of_format::<Q5_0>,
        BlockFormat::Q5_1 => of_format::<Q5_1>,
        BlockFormat::Q8_0 => of_format::<Q8_0>,
        BlockFormat::Q2_K => of_format::<Q2K>,
        BlockFormat::Q3_K => of_format::<Q3K>,
        BlockFormat::Q4_K => of_format::<Q4K>,
        BlockFormat::Q5_K => of_format::<Q5K>,
        BlockFormat::Q6_K => of_format::<Q6K>,
        BlockFormat::IQ4_NL => of_format::<Iq4Nl>,
        BlockFormat::IQ4_XS => of_format::<Iq4Xs>,
        BlockFormat::MXFP4 => of_format::<Mxfp4>,
        // The caller has refused these.
        BlockFormat::F32 | BlockFormat::F16 | BlockFormat::BF16 => return,
    };
    run(kernels, w, &x.in_layout(kernels.layout()), panels, stripe);
}

/// Bytes of weights that are gone through with all rows together: what a middle cache holds with
/// room.
const BLOCK: usize = 192 << 10;

fn of_format<B: Blocks>(
    kernels: Kernels,
    w: &Matrix,
    x: &QuantisedRows,
    panels: Range<usize>,
    stripe: Stripes<'_>,
) {
    kernels.run(Panels::<B> { w, x, panels, stripe, of: PhantomData });
}

/// Some panels of a product.
struct Panels<'a, B> {
    w: &'a Matrix,
    x: &'a QuantisedRows,
    panels: Range<usize>,
    stripe: Stripes<'a>,
    of: PhantomData<B>,
}

impl<B: Blocks> Task for Panels<'_, B> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let bytes = self.x.columns() / B::LEN * LANES * B::BYTES;
        let each = (BLOCK / bytes).max(1);
        let mut unpacked = Unpacked::default();
        let mut out = [0.0; CHUNK * LANES];
        let mut first = self.panels.start;
        while first < self.panels.end {
            let end = self.panels.end.min(first + each);
            // Formats with scales for 16 values take the longest to unpack.
            let easy = B::Shape::GROUP == SHARED || self.x.rows() <= CHUNK;
            if S::ROWS == CHUNK && easy {
                // Each block is unpacked into registers, for as many rows as these hold.
                for (chunk, stripe) in self.x.chunks().zip(self.stripe.chunks_mut(CHUNK)) {
                    for panel in first..end {
                        of_chunk::<S, B>(s, self.w.panels_from(panel), chunk, &mut out);
                        put(stripe, panel - self.panels.start, &out);
                    }
                }
            } else if S::ROWS < CHUNK && self.x.rows() == 1 {
                for (chunk, stripe) in self.x.chunks().zip(self.stripe.chunks_mut(1)) {
                    for panel in first..end {
                        of_rows::<S, B, 1>(s, self.w.panels_from(panel), chunk, 0, &mut out);
                        put(stripe, panel - self.panels.start, &out);
                    }
                }
            } else {
                // Each block is unpacked into memory of the nearest cache, once for all rows.
                for panel in first..end {
                    unpack::<S, B>(s, self.w.panel(panel), &mut unpacked);
                    for (chunk, stripe) in self.x.chunks().zip(self.stripe.chunks_mut(CHUNK)) {
                        tiles::<S, B::Shape>(s, &unpacked, chunk, &mut out);
                        put(stripe, panel - self.panels.start, &out);
                    }
                }
            }
            first = end;
        }
    }
}

/// The product of the first panel of some with a chunk of rows, as few times over it as registers
/// allow.
#[inline(always)]
fn of_chunk<S: Simd, B: Blocks>(s: S, panels: &[u8], x: Chunk<'_>, out: &mut [f32]) {
    let mut row = 0;
    while row < x.rows {
        let out = &mut out[row * LANES..];
        row += match (x.rows - row).min(S::ROWS) {
            8.. => of_rows::<S, B, 8>(s, panels, x, row, out),
            4.. => of_rows::<S, B, 4>(s, panels, x, row, out),
            2.. => of_rows::<S, B, 2>(s, panels, x, row, out),
            _ => of_rows::<S, B, 1>(s, panels, x, row, out),
        };
    }
}

/// Bytes that are asked for ahead, when rows are so many that computing takes as long as reading.
const AHEAD: usize = 8 << 10;

/// The product of the first panel of some with `R` rows of a chunk, from `first` on; gives `R`.
#[inline(always)]
fn of_rows<S: Simd, B: Blocks, const R: usize>(
    s: S,
    panels: &[u8],
    x: Chunk<'_>,
    first: usize,
    out: &mut [f32],
) -> usize {
    let mut sums = Sums::<S, B, R> { sums: [s.splat(0.0); R], x, first, group: 0, of: PhantomData };
    let blocks = x.places() * SHARED / B::LEN;
    for (i, block) in panels.chunks_exact(LANES * B::BYTES).take(blocks).enumerate() {
        if R > 2 {
            let at = i * LANES * B::BYTES + AHEAD;
            s.fetch(panels.get(at..at + LANES * B::BYTES).unwrap_or_default());
        }
        visit_groups::<S, B>(s, block, &mut sums);
    }
    for (i, sum) in sums.sums.into_iter().enumerate() {
        s.store(sum, lanes_mut(out, i));
    }
    R
}

struct Sums<'a, S: Simd, B, const R: usize> {
    sums: [S::Floats; R],
    x: Chunk<'a>,
    first: usize,
    group: usize,
    of: PhantomData<B>,
}

impl<S: Simd, B: Blocks, const R: usize> Visit<S> for Sums<'_, S, B, R> {
    #[inline(always)]
    fn visit(&mut self, s: S, group: Group<S>) {
        let per_shared = SHARED / B::Shape::GROUP;
        let (place, half) = (self.group / per_shared, self.group % per_shared);
        let x: &[Shared; R] = self.x.at(place, self.first);
        for (sum, x) in self.sums.iter_mut().zip(x) {
            *sum = add_group::<S, B::Shape>(s, *sum, &group, x, half);
        }
        self.group += 1;
    }
}

/// A panel's groups: codes as bytes, and scales and minima.
#[derive(Default)]
struct Unpacked {
    codes: Vec<[u8; 64]>,
    factors: Vec<f32>,
}

/// Unpacks a panel.
#[inline(always)]
fn unpack<S: Simd, B: Blocks>(s: S, panel: &[u8], to: &mut Unpacked) {
    let groups = panel.len() / (LANES * B::BYTES) * (B::LEN / B::Shape::GROUP);
    to.codes.resize(groups * B::Shape::GROUP / 4, [0; 64]);
    to.factors.resize(groups * 2 * LANES, 0.0);
    let mut place = Place::<B> { to, group: 0, of: PhantomData };
    for block in panel.chunks_exact(LANES * B::BYTES) {
        visit_groups::<S, B>(s, block, &mut place);
    }
}

struct Place<'a, B> {
    to: &'a mut Unpacked,
    group: usize,
    of: PhantomData<B>,
}

impl<S: Simd, B: Blocks> Visit<S> for Place<'_, B> {
    #[inline(always)]
    fn visit(&mut self, s: S, group: Group<S>) {
        let words = B::Shape::GROUP / 4;
        let codes = &mut self.to.codes[self.group * words..][..words];
        for (to, words) in codes.iter_mut().zip(group.codes) {
            s.store_words(words, to);
        }
        s.store(group.scale, lanes_mut(&mut self.to.factors, 2 * self.group));
        if B::Shape::MIN {
            s.store(group.min, lanes_mut(&mut self.to.factors, 2 * self.group + 1));
        }
        self.group += 1;
    }
}

/// The products of an unpacked panel with a chunk of rows, as few times over it as registers allow.
#[inline(always)]
fn tiles<S: Simd, H: Shape>(s: S, from: &Unpacked, x: Chunk<'_>, out: &mut [f32]) {
    let mut row = 0;
    while row < x.rows {
        let out = &mut out[row * LANES..];
        row += match (x.rows - row).min(S::ROWS) {
            // What a set does not use is not compiled for it.
            8.. if S::ROWS >= 8 => tile::<S, H, 8>(s, from, x, row, out),
            4.. if S::ROWS >= 4 => tile::<S, H, 4>(s, from, x, row, out),
            2.. => tile::<S, H, 2>(s, from, x, row, out),
            _ => tile::<S, H, 1>(s, from, x, row, out),
        };
    }
}

/// The products of an unpacked panel with `R` rows of a chunk, from `first` on; gives `R`.
///
/// Each lane adds up its groups in the columns' order, so that a value does not depend on what is
/// computed beside it.
#[inline(always)]
fn tile<S: Simd, H: Shape, const R: usize>(
    s: S,
    from: &Unpacked,
    x: Chunk<'_>,
    first: usize,
    out: &mut [f32],
) -> usize {
    let mut sums = [s.splat(0.0); R];
    for (number, words) in from.codes.chunks_exact(H::GROUP / 4).enumerate() {
        let scale = s.floats(lanes(&from.factors, 2 * number));
        let min = s.floats(lanes(&from.factors, 2 * number + 1));
        let per_shared = SHARED / H::GROUP;
        let (place, half) = (number / per_shared, number % per_shared);
        let x: &[Shared; R] = x.at(place, first);
        match S::LAYOUT {
            Layout::Bytes => {
                let mut codes = [s.word(0); 8];
                for (code, words) in codes.iter_mut().zip(words) {
                    *code = s.words(words);
                }
                let group = Group { codes, scale, min };
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = add_group::<S, H>(s, *sum, &group, x, half);
                }
            }
            // Spread codes are too many for the registers: each once for all rows.
            Layout::Pairs => {
                let mut dots = [[s.word(0); 2]; R];
                for (dots, x) in dots.iter_mut().zip(x) {
                    *dots = start::<S, H>(s, x, half);
                }
                for (q, words) in words.iter().enumerate() {
                    let codes = s.spread(s.words(words));
                    for (dots, x) in dots.iter_mut().zip(x) {
                        *dots = s.dot_wide(*dots, codes, &x.codes[half * (H::GROUP / 4) + q]);
                    }
                }
                for ((sum, dots), x) in sums.iter_mut().zip(dots).zip(x) {
                    *sum = scaled::<S, H>(s, *sum, dots, scale, min, x, half);
                }
            }
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        s.store(sum, lanes_mut(out, i));
    }
    R
}

/// Adds a group's product with a row's values: all 32 of them, or a half.
#[inline(always)]
fn add_group<S: Simd, H: Shape>(
    s: S,
    sum: S::Floats,
    weights: &Group<S>,
    x: &Shared,
    half: usize,
) -> S::Floats {
    let mut dots = start::<S, H>(s, x, half);
    let codes = &x.codes[half * (H::GROUP / 4)..][..H::GROUP / 4];
    for (code, x) in weights.codes.iter().zip(codes) {
        let code = s.spread(*code);
        dots = if H::WIDE { s.dot_wide(dots, code, x) } else { s.dot(dots, code, x) };
    }
    scaled::<S, H>(s, sum, dots, weights.scale, weights.min, x, half)
}

impl Shared {
    /// The sum of the codes that a group of weights is multiplied with.
    #[inline(always)]
    fn total<H: Shape>(&self, half: usize) -> i32 {
        self.sums[if H::GROUP == 16 { half } else { 2 }]
    }

    /// That sum as a float, times the scale.
    #[inline(always)]
    fn scaled_total<H: Shape>(&self, half: usize) -> f32 {
        self.scaled_sums[if H::GROUP == 16 { half } else { 2 }]
    }
}

/// Where the sum of a group's products begins: the weights' codes are too large by the offset.
///
/// Sums of 32 products of 8 and 16 bits fit 32 bits with room.
#[inline(always)]
fn start<S: Simd, H: Shape>(s: S, x: &Shared, half: usize) -> [S::Words; 2] {
    [s.word(0), s.word((-H::OFFSET * x.total::<H>(half)) as u32)]
}

/// Adds a group's product, which is one of integers so far.
#[inline(always)]
fn scaled<S: Simd, H: Shape>(
    s: S,
    sum: S::Floats,
    dots: [S::Words; 2],
    scale: S::Floats,
    min: S::Floats,
    x: &Shared,
    half: usize,
) -> S::Floats {
    let dot = s.to_floats(s.total(dots));
    let mut sum = s.fused(dot, s.mul(scale, s.splat(x.scale)), sum);
    if H::MIN {
        sum = s.fused(min, s.splat(x.scaled_total::<H>(half)), sum);
    }
    sum
}

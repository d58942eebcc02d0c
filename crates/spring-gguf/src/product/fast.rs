//! Products of integers: weights' codes with the codes of rows.

use std::marker::PhantomData;
use std::ops::Range;

use super::split::{Stripes, put};
use super::{lanes, lanes_mut};
use crate::activations::{SHARED, Shared};
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

/// Bytes of the rows that are gone through together: what a middle cache holds with room.
const BLOCK: usize = 192 << 10;
/// Rows that are gone through together at least: unpacking for fewer would count.
const LEAST: usize = 32;

fn of_format<B: Blocks>(
    kernels: Kernels,
    w: &Matrix,
    x: &QuantisedRows,
    panels: Range<usize>,
    mut stripe: Stripes<'_>,
) {
    let mut out = [0.0; LANES];
    if x.rows() == 1 {
        for (place, panel) in panels.enumerate() {
            // Each block is unpacked into registers.
            kernels.run(Lone::<B>(w.panel(panel), x.shared(), &mut out, PhantomData));
            put(&mut stripe, place, &out);
        }
        return;
    }
    let mut unpacked = Unpacked { offset: B::OFFSET, ..Unpacked::default() };
    let row_bytes = x.columns() / SHARED * size_of::<Shared>();
    let each = (BLOCK / row_bytes).max(LEAST).min(x.rows());
    let mut out = vec![0.0; each * LANES];
    for (number, block) in stripe.chunks_mut(each).enumerate() {
        let rows = number * each..number * each + block.len();
        let out = &mut out[..rows.len() * LANES];
        for (place, panel) in panels.clone().enumerate() {
            // Each block is unpacked into memory of the nearest cache, once for all these rows.
            kernels.run(Fill::<B>(w.panel(panel), &mut unpacked, PhantomData));
            kernels.run(Tiles::<B::Shape>(&unpacked, x, rows.clone(), out, PhantomData));
            put(block, place, out);
        }
    }
}

/// The product of a panel with one row.
struct Lone<'a, B>(&'a [u8], &'a [Shared], &'a mut [f32], PhantomData<B>);

impl<B: Blocks> Task for Lone<'_, B> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Lone(panel, x, out, _) = self;
        let mut sum = Sum::<S, B> { sum: s.splat(0.0), x, group: 0, of: PhantomData };
        let blocks = panel.chunks_exact(LANES * B::BYTES);
        for (block, x) in blocks.zip(x.chunks_exact(B::LEN / SHARED)) {
            (sum.x, sum.group) = (x, 0);
            visit_groups::<S, B>(s, block, &mut sum);
        }
        s.store(sum.sum, lanes_mut(out, 0));
    }
}

struct Sum<'a, S: Simd, B> {
    sum: S::Floats,
    /// The row's part for the block.
    x: &'a [Shared],
    group: usize,
    of: PhantomData<B>,
}

impl<S: Simd, B: Blocks> Visit<S> for Sum<'_, S, B> {
    #[inline(always)]
    fn visit(&mut self, s: S, group: Group<S>) {
        let per_shared = SHARED / B::Shape::GROUP;
        let (x, half) = (&self.x[self.group / per_shared], self.group % per_shared);
        self.sum = add_group::<S, B::Shape>(s, self.sum, &group, B::OFFSET, x, half);
        self.group += 1;
    }
}

/// A panel's groups: codes as bytes, and scales and minima.
#[derive(Default)]
struct Unpacked {
    codes: Vec<[u8; 64]>,
    factors: Vec<f32>,
    /// By how much codes are too large.
    offset: i32,
}

/// Unpacks a panel.
struct Fill<'a, B>(&'a [u8], &'a mut Unpacked, PhantomData<B>);

impl<B: Blocks> Task for Fill<'_, B> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Fill(panel, to, _) = self;
        let groups = panel.len() / (LANES * B::BYTES) * (B::LEN / B::Shape::GROUP);
        to.codes.resize(groups * B::Shape::GROUP / 4, [0; 64]);
        to.factors.resize(groups * 2 * LANES, 0.0);
        let mut place = Place::<B> { to, group: 0, of: PhantomData };
        for block in panel.chunks_exact(LANES * B::BYTES) {
            visit_groups::<S, B>(s, block, &mut place);
        }
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

/// The products of an unpacked panel with some rows, as few times over it as registers allow.
struct Tiles<'a, H>(&'a Unpacked, &'a QuantisedRows, Range<usize>, &'a mut [f32], PhantomData<H>);

impl<H: Shape> Task for Tiles<'_, H> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tiles(from, x, rows, out, _) = self;
        let mut row = rows.start;
        while row < rows.end {
            let out = &mut out[(row - rows.start) * LANES..];
            row += match (rows.end - row).min(S::ROWS) {
                8.. => tile::<S, H, 8>(s, from, x, row, out),
                4.. => tile::<S, H, 4>(s, from, x, row, out),
                2.. => tile::<S, H, 2>(s, from, x, row, out),
                _ => tile::<S, H, 1>(s, from, x, row, out),
            };
        }
    }
}

/// The products of an unpacked panel with `R` rows.
///
/// Each lane adds up its groups in the columns' order, so that a value does not depend on what is
/// computed beside it.
#[inline(always)]
fn tile<S: Simd, H: Shape, const R: usize>(
    s: S,
    from: &Unpacked,
    x: &QuantisedRows,
    first: usize,
    out: &mut [f32],
) -> usize {
    let mut sums = [s.splat(0.0); R];
    for (number, words) in from.codes.chunks_exact(H::GROUP / 4).enumerate() {
        let scale = s.floats(lanes(&from.factors, 2 * number));
        let min = s.floats(lanes(&from.factors, 2 * number + 1));
        let per_shared = SHARED / H::GROUP;
        let (place, half) = (number / per_shared, number % per_shared);
        let x: &[Shared; R] = match x.shared()[place * x.rows() + first..].first_chunk() {
            Some(rows) => rows,
            None => unreachable!("the caller has counted the rows"),
        };
        match S::LAYOUT {
            Layout::Bytes => {
                let mut codes = [s.word(0); 8];
                for (code, words) in codes.iter_mut().zip(words) {
                    *code = s.words(words);
                }
                let group = Group { codes, scale, min };
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = add_group::<S, H>(s, *sum, &group, from.offset, x, half);
                }
            }
            // Spread codes are too many for the registers: each once for all rows.
            Layout::Pairs => {
                let mut dots = [[s.word(0); 2]; R];
                for (dots, x) in dots.iter_mut().zip(x) {
                    *dots = start(s, from.offset, x.total::<H>(half));
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
    offset: i32,
    x: &Shared,
    half: usize,
) -> S::Floats {
    let mut dots = start(s, offset, x.total::<H>(half));
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
        match H::GROUP {
            16 => self.sums[half],
            _ => self.sums[0] + self.sums[1],
        }
    }
}

/// Where the sum of a group's products begins: the weights' codes are too large by the offset.
///
/// Sums of 32 products of 8 and 16 bits fit 32 bits with room.
#[inline(always)]
fn start<S: Simd>(s: S, offset: i32, total: i32) -> [S::Words; 2] {
    [s.word(0), s.word((-offset * total) as u32)]
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
        sum = s.fused(min, s.splat(x.scale * x.total::<H>(half) as f32), sum);
    }
    sum
}

//! Blocks of 16 rows at once: codes, scales and minima in lanes.

use crate::dequantise::{IQ4_LEVELS, MXFP4_LEVELS};
use crate::simd::{LANES, Simd};

/// Values that have one scale, of 16 rows.
pub(crate) struct Group<S: Simd> {
    /// Codes without a sign: a word holds those of four neighbouring columns. A group of 16
    /// columns has four of these, and four that are not used.
    pub(crate) codes: [S::Words; 8],
    pub(crate) scale: S::Floats,
    /// What is added to code times scale; zero without [`Shape::MIN`].
    pub(crate) min: S::Floats,
}

/// What formats have in common, so that they share kernels.
pub(crate) trait Shape {
    /// Columns with one scale, 16 or 32.
    const GROUP: usize;
    /// By how much codes are too large.
    const OFFSET: i32;
    /// Whether there are minima.
    const MIN: bool;
    /// Whether codes may be above 127.
    const WIDE: bool;
}

pub(crate) struct Of<const GROUP: usize, const OFFSET: i32, const MIN: bool, const WIDE: bool>;

impl<const GROUP: usize, const OFFSET: i32, const MIN: bool, const WIDE: bool> Shape
    for Of<GROUP, OFFSET, MIN, WIDE>
{
    const GROUP: usize = GROUP;
    const OFFSET: i32 = OFFSET;
    const MIN: bool = MIN;
    const WIDE: bool = WIDE;
}

type By32<const OFFSET: i32> = Of<32, OFFSET, false, false>;
type By32Min = Of<32, 0, true, false>;
type By32Wide = Of<32, 128, false, true>;
type By16<const OFFSET: i32> = Of<16, OFFSET, false, false>;
type By16Min = Of<16, 0, true, false>;

/// A block format as the kernels see it. A value is `scale · (code − offset) + min`, with
/// the offset of its shape.
pub(crate) trait Blocks {
    /// Columns of a block.
    const LEN: usize;
    /// Bytes of a block of one row.
    const BYTES: usize;
    /// What a product of unpacked groups has to know.
    type Shape: Shape;

    /// Unpacks a group of a block of 16 rows.
    fn group<S: Simd>(s: S, block: &[u8], group: usize) -> Group<S>;
}

/// The 16 units of `N / 16` bytes that begin at byte `at` of one row's block.
#[inline(always)]
fn units<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    match block[LANES * at..].first_chunk() {
        Some(units) => units,
        None => out_of_block(),
    }
}

/// Cannot be reached: places are constants of the format inside a block of its length.
#[cold]
fn out_of_block() -> ! {
    unreachable!("a field lies inside its block")
}

#[inline(always)]
fn low_nibbles<S: Simd>(s: S, words: S::Words) -> S::Words {
    s.and(words, s.word(0x0f0f_0f0f))
}

/// 32 codes of four bits from 16 bytes: first the low nibbles, then the high ones.
#[inline(always)]
fn nibbles<S: Simd>(s: S, block: &[u8], at: usize) -> [S::Words; 8] {
    let mut codes = [s.word(0); 8];
    for q in 0..4 {
        let words = s.words(units(block, at + 4 * q));
        codes[q] = low_nibbles(s, words);
        codes[q + 4] = low_nibbles(s, s.shift_right(words, 4));
    }
    codes
}

/// Adds fifth bits to codes of four: one bit per column in a word per row.
#[inline(always)]
fn add_fifth_bits<S: Simd>(s: S, codes: &mut [S::Words; 8], bits: S::Words) {
    for (q, code) in codes.iter_mut().enumerate() {
        // Four bits, spread so that each is the fifth of its byte.
        let four = s.and(s.shift_right(bits, 4 * q as u32), s.word(15));
        let spread = s.and(s.multiply(four, s.word(0x0204_0810)), s.word(0x1010_1010));
        *code = s.or(*code, spread);
    }
}

/// A format of 32 codes with a half-precision scale at its front and perhaps a minimum after it.
macro_rules! simple {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $shape:ty,
     |$s:ident, $block:ident| $codes:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Blocks for $name {
            const LEN: usize = 32;
            const BYTES: usize = $bytes;
            type Shape = $shape;

            #[inline(always)]
            fn group<S: Simd>($s: S, $block: &[u8], _: usize) -> Group<S> {
                let codes = $codes;
                let scale = $s.halves(units($block, 0));
                let min = if <$shape>::MIN { $s.halves(units($block, 2)) } else { $s.splat(0.0) };
                Group { codes, scale, min }
            }
        }
    };
}

simple!(Q4_0, 18, By32<8>, |s, block| nibbles(s, block, 2));
simple!(Q4_1, 20, By32Min, |s, block| nibbles(s, block, 4));
simple!(Q5_0, 22, By32<16>, |s, block| {
    let mut codes = nibbles(s, block, 6);
    add_fifth_bits(s, &mut codes, s.words(units(block, 2)));
    codes
});
simple!(Q5_1, 24, By32Min, |s, block| {
    let mut codes = nibbles(s, block, 8);
    add_fifth_bits(s, &mut codes, s.words(units(block, 4)));
    codes
});
simple!(Q8_0, 34, By32Wide, |s, block| {
    let mut codes = [s.word(0); 8];
    for (q, code) in codes.iter_mut().enumerate() {
        // The other top bit adds 128.
        *code = s.xor(s.words(units(block, 2 + 4 * q)), s.word(0x8080_8080));
    }
    codes
});
simple!(Iq4Nl, 18, By32Wide, |s, block| { levels(s, block, 2, &raised(&IQ4_LEVELS, 128)) });

/// A table whose entries are raised until none is negative.
const fn raised(table: &[i8; 16], by: i16) -> [u8; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        out[i] = (table[i] as i16 + by) as u8;
        i += 1;
    }
    out
}

#[inline(always)]
fn levels<S: Simd>(s: S, block: &[u8], at: usize, table: &[u8; 16]) -> [S::Words; 8] {
    let mut codes = nibbles(s, block, at);
    for code in &mut codes {
        *code = s.look_up(*code, table);
    }
    codes
}

pub(crate) struct Mxfp4;

impl Blocks for Mxfp4 {
    const LEN: usize = 32;
    const BYTES: usize = 17;
    type Shape = By32<12>;

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &[u8], _: usize) -> Group<S> {
        // Half of two to the power e − 127 has e − 1 as its exponent's bits, but for e below 2,
        // where it is subnormal. A comparison is the borrow of a subtraction.
        let e = s.bytes(units(block, 0));
        let below_1 = s.shift_right(s.subtract(e, s.word(1)), 31);
        let below_2 = s.shift_right(s.subtract(e, s.word(2)), 31);
        let normal = s.shift_left(s.subtract(e, s.subtract(s.word(1), below_1)), 23);
        let subnormal = s.subtract(
            s.multiply(below_2, s.word(0x0040_0000)),
            s.multiply(below_1, s.word(0x0020_0000)),
        );
        let scale = s.bits_as_floats(s.or(normal, subnormal));
        let codes = levels(s, block, 1, &raised(&MXFP4_LEVELS, 12));
        Group { codes, scale, min: s.splat(0.0) }
    }
}

/// 16 codes of two bits; see `two_bits` of the plain code.
#[inline(always)]
fn two_bits<S: Simd>(s: S, block: &[u8], at: usize, group: usize) -> [S::Words; 8] {
    let start = at + 32 * (group / 8) + 16 * (group % 2);
    let mut codes = [s.word(0); 8];
    for (q, code) in codes[..4].iter_mut().enumerate() {
        let words = s.words(units(block, start + 4 * q));
        *code = s.and(s.shift_right(words, 2 * (group % 8 / 2) as u32), s.word(0x0303_0303));
    }
    codes
}

/// A number between 0 and 255 in each lane, as a float.
#[inline(always)]
fn byte_float<S: Simd>(s: S, words: S::Words, bits: u32) -> S::Floats {
    s.to_floats(s.and(words, s.word((1 << bits) - 1)))
}

#[inline(always)]
fn negated<S: Simd>(s: S, floats: S::Floats) -> S::Floats {
    s.mul(floats, s.splat(-1.0))
}

pub(crate) struct Q2K;

impl Blocks for Q2K {
    const LEN: usize = 256;
    const BYTES: usize = 84;
    type Shape = By16Min;

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &[u8], group: usize) -> Group<S> {
        let both = s.bytes(units(block, group));
        let scale = s.mul(s.halves(units(block, 80)), byte_float(s, both, 4));
        let min = byte_float(s, s.shift_right(both, 4), 4);
        let min = negated(s, s.mul(s.halves(units(block, 82)), min));
        Group { codes: two_bits(s, block, 16, group), scale, min }
    }
}

pub(crate) struct Q3K;

impl Blocks for Q3K {
    const LEN: usize = 256;
    const BYTES: usize = 110;
    type Shape = By16<4>;

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &[u8], group: usize) -> Group<S> {
        let mut codes = two_bits(s, block, 32, group);
        for (q, code) in codes[..4].iter_mut().enumerate() {
            let mask = s.words(units(block, 16 * (group % 2) + 4 * q));
            let bit = s.and(s.shift_right(mask, (group / 2) as u32), s.word(0x0101_0101));
            *code = s.or(*code, s.shift_left(bit, 2));
        }
        let low = s.shift_right(s.bytes(units(block, 96 + group % 8)), 4 * (group / 8) as u32);
        let high = s.shift_right(s.bytes(units(block, 104 + group % 4)), 2 * (group / 4) as u32);
        let high = s.shift_left(s.and(high, s.word(3)), 4);
        let scale = s.or(s.and(low, s.word(15)), high);
        let scale = s.to_floats(s.subtract(scale, s.word(32)));
        let scale = s.mul(s.halves(units(block, 108)), scale);
        Group { codes, scale, min: s.splat(0.0) }
    }
}

/// Scales and minima of Q4_K and Q5_K; see `scale_and_min` of the plain code.
#[inline(always)]
fn scale_and_min<S: Simd>(s: S, block: &[u8], group: usize) -> (S::Floats, S::Floats) {
    let six = s.word(63);
    let (scale, min) = if group < 4 {
        let (scale, min) = (s.bytes(units(block, 4 + group)), s.bytes(units(block, 8 + group)));
        (s.and(scale, six), s.and(min, six))
    } else {
        let low = s.bytes(units(block, 8 + group));
        let scale_high = s.shift_right(s.bytes(units(block, group)), 6);
        let min_high = s.shift_right(s.bytes(units(block, 4 + group)), 6);
        let (scale_high, min_high) = (s.shift_left(scale_high, 4), s.shift_left(min_high, 4));
        (s.or(s.and(low, s.word(15)), scale_high), s.or(s.shift_right(low, 4), min_high))
    };
    let scale = s.mul(s.halves(units(block, 0)), s.to_floats(scale));
    let min = s.mul(s.halves(units(block, 2)), s.to_floats(min));
    (scale, negated(s, min))
}

/// 32 codes of four bits, one nibble of 32 bytes.
#[inline(always)]
fn half_bytes<S: Simd>(s: S, block: &[u8], at: usize, group: usize) -> [S::Words; 8] {
    let start = at + 32 * (group / 2);
    let mut codes = [s.word(0); 8];
    for (q, code) in codes.iter_mut().enumerate() {
        let words = s.words(units(block, start + 4 * q));
        *code = low_nibbles(s, s.shift_right(words, 4 * (group % 2) as u32));
    }
    codes
}

pub(crate) struct Q4K;

impl Blocks for Q4K {
    const LEN: usize = 256;
    const BYTES: usize = 144;
    type Shape = By32Min;

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &[u8], group: usize) -> Group<S> {
        let (scale, min) = scale_and_min(s, block, group);
        Group { codes: half_bytes(s, block, 16, group), scale, min }
    }
}

pub(crate) struct Q5K;

impl Blocks for Q5K {
    const LEN: usize = 256;
    const BYTES: usize = 176;
    type Shape = By32Min;

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &[u8], group: usize) -> Group<S> {
        let (scale, min) = scale_and_min(s, block, group);
        let mut codes = half_bytes(s, block, 48, group);
        for (q, code) in codes.iter_mut().enumerate() {
            let high = s.shift_right(s.words(units(block, 16 + 4 * q)), group as u32);
            *code = s.or(*code, s.shift_left(s.and(high, s.word(0x0101_0101)), 4));
        }
        Group { codes, scale, min }
    }
}

pub(crate) struct Q6K;

impl Blocks for Q6K {
    const LEN: usize = 256;
    const BYTES: usize = 210;
    type Shape = By16<32>;

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &[u8], group: usize) -> Group<S> {
        let (half, part, start) = (group / 8, group % 8 / 2, 16 * (group % 2));
        let (low, high) = (64 * half + 32 * (part % 2) + start, 128 + 32 * half + start);
        let mut codes = [s.word(0); 8];
        for (q, code) in codes[..4].iter_mut().enumerate() {
            let low = s.shift_right(s.words(units(block, low + 4 * q)), 4 * (part / 2) as u32);
            let high = s.shift_right(s.words(units(block, high + 4 * q)), 2 * part as u32);
            let high = s.shift_left(s.and(high, s.word(0x0303_0303)), 4);
            *code = s.or(low_nibbles(s, low), high);
        }
        // A byte with a sign: raised by 128 and lowered again.
        let scale = s.xor(s.bytes(units(block, 192 + group)), s.word(128));
        let scale = s.to_floats(s.subtract(scale, s.word(128)));
        let scale = s.mul(s.halves(units(block, 208)), scale);
        Group { codes, scale, min: s.splat(0.0) }
    }
}

pub(crate) struct Iq4Xs;

impl Blocks for Iq4Xs {
    const LEN: usize = 256;
    const BYTES: usize = 136;
    type Shape = By32Wide;

    #[inline(always)]
    fn group<S: Simd>(s: S, block: &[u8], group: usize) -> Group<S> {
        let low = s.shift_right(s.bytes(units(block, 4 + group / 2)), 4 * (group % 2) as u32);
        let high = s.shift_right(s.shorts(units(block, 2)), 2 * group as u32);
        let high = s.shift_left(s.and(high, s.word(3)), 4);
        let scale = s.or(s.and(low, s.word(15)), high);
        let scale = s.to_floats(s.subtract(scale, s.word(32)));
        let scale = s.mul(s.halves(units(block, 0)), scale);
        let codes = levels(s, block, 8 + 16 * group, &raised(&IQ4_LEVELS, 128));
        Group { codes, scale, min: s.splat(0.0) }
    }
}

/// Floats stored one by one, as the kernels see them.
pub(crate) trait Plain {
    /// The values of 16 rows in one column.
    fn column<S: Simd>(s: S, panel: &[u8], column: usize) -> S::Floats;
}

pub(crate) struct F32;
impl Plain for F32 {
    #[inline(always)]
    fn column<S: Simd>(s: S, panel: &[u8], column: usize) -> S::Floats {
        s.bits_as_floats(s.words(units(panel, 4 * column)))
    }
}

pub(crate) struct F16;
impl Plain for F16 {
    #[inline(always)]
    fn column<S: Simd>(s: S, panel: &[u8], column: usize) -> S::Floats {
        s.halves(units(panel, 2 * column))
    }
}

pub(crate) struct Bf16;
impl Plain for Bf16 {
    #[inline(always)]
    fn column<S: Simd>(s: S, panel: &[u8], column: usize) -> S::Floats {
        s.bits_as_floats(s.shift_left(s.shorts(units(panel, 2 * column)), 16))
    }
}

/// What is done with the groups of a block, in the columns' order.
pub(crate) trait Visit<S: Simd> {
    /// Is `#[inline(always)]`, as everything that is computed with `s`.
    fn visit(&mut self, s: S, group: Group<S>);
}

/// Unpacks the groups of a block of 16 rows one by one. Written out, so that places and shifts
/// are constants: with variables a row of Q6_K takes more than twice as long.
#[inline(always)]
pub(crate) fn visit_groups<S: Simd, B: Blocks>(s: S, block: &[u8], visit: &mut impl Visit<S>) {
    macro_rules! each {
        ($($group:literal)*) => {
            $(if $group * B::Shape::GROUP < B::LEN {
                visit.visit(s, B::group(s, block, $group));
            })*
        };
    }
    each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// Any format, as values: what `exact` products and the transposed one need.
pub(crate) trait Values {
    /// Writes the values of 16 rows in columns `first..first + tile.len()`; both ends must be
    /// multiples of 32 but for plain floats.
    fn tile<S: Simd>(s: S, panel: &[u8], first: usize, tile: &mut [[f32; LANES]]);
}

/// [`Values`] of a block format.
pub(crate) struct OfBlocks<B>(std::marker::PhantomData<B>);

impl<B: Blocks> Values for OfBlocks<B> {
    #[inline(always)]
    fn tile<S: Simd>(s: S, panel: &[u8], first: usize, tile: &mut [[f32; LANES]]) {
        let mut column = first;
        for tile in tile.chunks_exact_mut(B::Shape::GROUP) {
            let start = column / B::LEN * LANES * B::BYTES;
            let block = &panel[start..start + LANES * B::BYTES];
            let group = B::group(s, block, column % B::LEN / B::Shape::GROUP);
            for (q, four) in tile.chunks_exact_mut(4).enumerate() {
                for (i, out) in four.iter_mut().enumerate() {
                    let code = s.shift_right(group.codes[q], 8 * i as u32);
                    let code = s.and(code, s.word(255));
                    let code = s.to_floats(s.subtract(code, s.word(B::Shape::OFFSET as u32)));
                    let mut value = s.mul(group.scale, code);
                    if B::Shape::MIN {
                        value = s.add(value, group.min);
                    }
                    s.store(value, out);
                }
            }
            column += B::Shape::GROUP;
        }
    }
}

/// [`Values`] of plain floats.
pub(crate) struct OfPlain<P>(std::marker::PhantomData<P>);

impl<P: Plain> Values for OfPlain<P> {
    #[inline(always)]
    fn tile<S: Simd>(s: S, panel: &[u8], first: usize, tile: &mut [[f32; LANES]]) {
        for (i, out) in tile.iter_mut().enumerate() {
            s.store(P::column(s, panel, first + i), out);
        }
    }
}

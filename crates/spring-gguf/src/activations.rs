use std::borrow::Cow;

use crate::Kernels;
use crate::simd::{Layout, Simd, Task};

/// Columns that share a scale.
pub(crate) const SHARED: usize = 32;

/// Rows that lie together: as many as any kernel computes at a time.
pub(crate) const CHUNK: usize = 8;

/// Steps from zero to the largest of the values that share a scale: the high byte of a code is at
/// most 127.
const STEPS: f32 = 127.0 * 256.0;

/// Rows of floats as integers of 16 bits with a scale per 32 values.
///
/// Made once for all products of the same rows, such as those of queries, keys and values.
/// Eight bits would be faster by half where there are many rows, and a model's outputs would be
/// visibly others: what that costs is in docs/results/gguf.md.
/// Values that are not numbers, or not finite, make every product of their row with the same 32
/// columns not a number.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantisedRows {
    rows: usize,
    columns: usize,
    layout: Layout,
    /// For each 8 rows, for each 32 columns, those of all these rows, as products read them.
    shared: Vec<Shared>,
}

/// 32 values of a row. Aligned, so that few of them lie across two lines of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(align(32))]
pub(crate) struct Shared {
    /// Four codes each, in the layout of the rows.
    pub(crate) codes: [[u32; 2]; SHARED / 4],
    /// What a code is multiplied with.
    pub(crate) scale: f32,
    /// Sums of the first 16 codes, of the others, and of all.
    pub(crate) sums: [i32; 3],
    /// The scale times these.
    pub(crate) scaled_sums: [f32; 3],
}

impl QuantisedRows {
    /// Quantises rows of `columns` values that lie one after the other.
    ///
    /// # Panics
    ///
    /// If `columns` is no multiple of 32 or 0, or `x` does not consist of whole rows.
    pub fn new(x: &[f32], columns: usize) -> QuantisedRows {
        assert!(columns > 0 && columns.is_multiple_of(SHARED), "{columns} columns");
        assert!(x.len().is_multiple_of(columns), "{} values in {columns} columns", x.len());
        let (kernels, rows) = (Kernels::detect(), x.len() / columns);
        let mut shared = vec![Shared::default(); x.len() / SHARED];
        let layout = kernels.layout();
        kernels.run(Quantise { x, columns, layout, to: &mut shared });
        QuantisedRows { rows, columns, layout, shared }
    }

    /// The same rows as another instruction set reads them.
    pub(crate) fn in_layout(&self, layout: Layout) -> Cow<'_, QuantisedRows> {
        if self.layout == layout {
            return Cow::Borrowed(self);
        }
        let mut other = QuantisedRows { layout, ..self.clone() };
        for words in other.shared.iter_mut().flat_map(|shared| &mut shared.codes) {
            *words = layout.words(self.layout.codes(*words));
        }
        Cow::Owned(other)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values per row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// For each 8 rows, the last of which may be fewer, and each 32 columns: those of these rows.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> + Clone {
        let places = self.columns / SHARED;
        let chunks = self.shared.chunks(CHUNK * places);
        chunks.map(move |shared| Chunk { shared, rows: shared.len() / places })
    }
}

/// Some rows that lie together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    shared: &'a [Shared],
    pub(crate) rows: usize,
}

impl<'a> Chunk<'a> {
    /// How many times 32 columns there are.
    #[inline(always)]
    pub(crate) fn places(self) -> usize {
        self.shared.len() / self.rows
    }

    /// `R` of the rows, from `first` on, in the 32 columns at `place`.
    ///
    /// # Panics
    ///
    /// If there are not so many rows or columns.
    #[inline(always)]
    pub(crate) fn at<const R: usize>(self, place: usize, first: usize) -> &'a [Shared; R] {
        match self.shared[place * self.rows + first..].first_chunk() {
            Some(rows) => rows,
            None => unreachable!("the caller has counted the rows"),
        }
    }
}

impl Layout {
    /// Four codes in this layout.
    #[inline(always)]
    pub(crate) fn words(self, codes: [i32; 4]) -> [u32; 2] {
        match self {
            Layout::Bytes => {
                // The low byte has a sign too, so the high one is the nearest.
                let high = codes.map(|code| (code + 128) >> 8);
                let low: [u8; 4] = std::array::from_fn(|i| (codes[i] - (high[i] << 8)) as u8);
                [high.map(|high| high as u8), low].map(u32::from_le_bytes)
            }
            Layout::Pairs => {
                let pair = |low: i32, high: i32| u32::from(low as u16) | ((high as u32) << 16);
                [pair(codes[0], codes[2]), pair(codes[1], codes[3])]
            }
        }
    }

    /// [`Layout::words`] undone.
    fn codes(self, words: [u32; 2]) -> [i32; 4] {
        match self {
            Layout::Bytes => {
                let [high, low] = words.map(|word| word.to_le_bytes().map(|byte| byte as i8));
                std::array::from_fn(|i| 256 * i32::from(high[i]) + i32::from(low[i]))
            }
            Layout::Pairs => {
                std::array::from_fn(|i| i32::from((words[i % 2] >> (i / 2 * 16)) as i16))
            }
        }
    }
}

struct Quantise<'a> {
    x: &'a [f32],
    columns: usize,
    layout: Layout,
    to: &'a mut [Shared],
}

impl Task for Quantise<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let places = self.columns / SHARED;
        let chunks = self.to.chunks_mut(CHUNK * places);
        for (to, x) in chunks.zip(self.x.chunks(CHUNK * self.columns)) {
            let rows = x.len() / self.columns;
            for (row, x) in x.chunks_exact(self.columns).enumerate() {
                for (place, x) in x.as_chunks::<SHARED>().0.iter().enumerate() {
                    to[place * rows + row] = Shared::new(x, self.layout);
                }
            }
        }
    }
}

/// Added to a float of at most 2²² and taken off again, it leaves the nearest integer, the even
/// one of two: a call of the standard library for each value would take longer than the rest.
const TO_INTEGER: f32 = 12_582_912.0;

impl Shared {
    #[inline(always)]
    fn new(x: &[f32; SHARED], layout: Layout) -> Shared {
        // Integers compare as the magnitudes do, and those that are no numbers are the largest.
        let largest = x.iter().fold(0, |max, v| max.max(v.abs().to_bits()));
        let largest = f32::from_bits(largest);
        if !largest.is_finite() {
            return Shared { scale: f32::NAN, scaled_sums: [f32::NAN; 3], ..Shared::default() };
        }
        let inverse = STEPS / largest;
        // Of zero, or of a subnormal.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut out = Shared { scale: largest / STEPS, ..Shared::default() };
        let integer = |v: f32| (v * inverse + TO_INTEGER).to_bits() as i32;
        let codes = x.map(|v| integer(v) - TO_INTEGER.to_bits() as i32);
        let [first, second] =
            [&codes[..SHARED / 2], &codes[SHARED / 2..]].map(|half| half.iter().sum());
        out.sums = [first, second, first + second];
        out.scaled_sums = out.sums.map(|sum| out.scale * sum as f32);
        for (words, codes) in out.codes.iter_mut().zip(codes.as_chunks::<4>().0) {
            *words = layout.words(*codes);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUTS: [Layout; 2] = [Layout::Bytes, Layout::Pairs];

    fn code(rows: &QuantisedRows, shared: &Shared, column: usize) -> i32 {
        rows.layout.codes(shared.codes[column / 4])[column % 4]
    }

    #[test]
    fn codes_are_the_nearest_multiples_of_the_scale() {
        let x: Vec<f32> = (0..640).map(|i| ((i * 37) % 641) as f32 / 7.0 - 40.0).collect();
        let rows = QuantisedRows::new(&x, 64);
        assert_eq!(rows.chunks().map(|chunk| chunk.rows).collect::<Vec<_>>(), [8, 2]);
        for (i, x) in x.iter().enumerate() {
            let (row, place, column) = (i / 64, i % 64 / 32, i % 32);
            let chunk = rows.chunks().nth(row / 8).unwrap();
            let [shared] = chunk.at(place, row % 8);
            let error = shared.scale * code(&rows, shared, column) as f32 - x;
            assert!(error.abs() <= shared.scale * 0.51, "{error}");
        }
        for shared in &rows.shared {
            for (half, sum) in shared.sums[..2].iter().enumerate() {
                let codes = (16 * half..16 * half + 16).map(|column| code(&rows, shared, column));
                assert_eq!(*sum, codes.sum::<i32>());
            }
        }
    }

    #[test]
    fn odd_values_stay_odd() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            let mut x = [1.0; 64];
            x[40] = odd;
            let rows = QuantisedRows::new(&x, 64);
            assert_eq!(rows.shared[0].scale, 1.0 / STEPS);
            assert!(rows.shared[1].scale.is_nan());
        }
        for tiny in [0.0, 1e-45, -1e-40] {
            assert!(Shared::new(&[tiny; 32], Layout::Pairs).scale.is_finite());
        }
        for (largest, want) in [(f32::MAX, 32512), (f32::MIN, -32512)] {
            for layout in LAYOUTS {
                let words = Shared::new(&[largest; 32], layout).codes[0];
                assert_eq!(layout.codes(words), [want; 4]);
            }
        }
    }

    #[test]
    fn layouts_hold_the_same_codes() {
        let x: Vec<f32> = (0..96).map(|i| ((i * 37) % 97) as f32 - 48.0).collect();
        let rows = QuantisedRows::new(&x, 32);
        for layout in LAYOUTS {
            let other = rows.in_layout(layout);
            assert_eq!(*other.in_layout(rows.layout), rows);
            for (a, b) in rows.shared.iter().zip(&other.shared) {
                assert!((0..32).all(|i| code(&rows, a, i) == code(&other, b, i)));
            }
        }
    }
}

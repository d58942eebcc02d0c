/// Columns that share a scale.
pub(crate) const SHARED: usize = 32;

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
    /// For each 32 columns those of all rows, as products read them.
    shared: Vec<Shared>,
}

/// 32 values of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Shared {
    /// The high and the low bytes, both with a sign, of four codes each.
    pub(crate) codes: [[u32; 2]; SHARED / 4],
    /// What a code is multiplied with.
    pub(crate) scale: f32,
    /// Sums of 16 codes.
    pub(crate) sums: [i32; 2],
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
        let rows = x.len() / columns;
        let mut shared = vec![Shared::default(); x.len() / SHARED];
        for (row, x) in x.chunks_exact(columns).enumerate() {
            for (place, x) in x.as_chunks::<SHARED>().0.iter().enumerate() {
                shared[place * rows + row] = Shared::new(x);
            }
        }
        QuantisedRows { rows, columns, shared }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values per row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// For each 32 columns those of all rows.
    pub(crate) fn shared(&self) -> &[Shared] {
        &self.shared
    }
}

impl Shared {
    fn new(x: &[f32; SHARED]) -> Shared {
        // Integers compare as the magnitudes do, and those that are no numbers are the largest.
        let largest = x.iter().fold(0, |max, v| max.max(v.abs().to_bits()));
        let largest = f32::from_bits(largest);
        let (scale, inverse) = match largest {
            0.0 => (0.0, 0.0),
            l if l.is_finite() => (l / STEPS, STEPS / l),
            _ => (f32::NAN, 0.0),
        };
        // A subnormal's inverse may be infinite.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut out = Shared { scale, ..Shared::default() };
        for (i, (words, four)) in out.codes.iter_mut().zip(x.as_chunks::<4>().0).enumerate() {
            // The cast makes 0 of what is not a number.
            let codes = four.map(|v| (v * inverse).round_ties_even().clamp(-STEPS, STEPS) as i32);
            out.sums[i / 4] += codes.iter().sum::<i32>();
            // The low byte has a sign too, so the high one is the nearest.
            let high = codes.map(|code| (code + 128) >> 8);
            let low: [u8; 4] = std::array::from_fn(|i| (codes[i] - (high[i] << 8)) as u8);
            *words = [high.map(|high| high as u8), low].map(u32::from_le_bytes);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(shared: &Shared, column: usize) -> i32 {
        let [high, low] = shared.codes[column / 4].map(|w| w.to_le_bytes()[column % 4] as i8);
        256 * i32::from(high) + i32::from(low)
    }

    #[test]
    fn codes_are_the_nearest_multiples_of_the_scale() {
        let x: Vec<f32> = (0..640).map(|i| ((i * 37) % 641) as f32 / 7.0 - 40.0).collect();
        let rows = QuantisedRows::new(&x, 64);
        assert_eq!(rows.shared().len(), 20);
        for (i, x) in x.iter().enumerate() {
            let (row, place, column) = (i / 64, i % 64 / 32, i % 32);
            let shared = &rows.shared()[place * 10 + row];
            let error = shared.scale * code(shared, column) as f32 - x;
            assert!(error.abs() <= shared.scale * 0.51, "{error}");
        }
        for shared in rows.shared() {
            for (half, sum) in shared.sums.into_iter().enumerate() {
                let codes = (16 * half..16 * half + 16).map(|column| code(shared, column));
                assert_eq!(sum, codes.sum::<i32>());
            }
        }
    }

    #[test]
    fn odd_values_stay_odd() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            let mut x = [1.0; 64];
            x[40] = odd;
            let rows = QuantisedRows::new(&x, 64);
            assert_eq!(rows.shared()[0].scale, 1.0 / STEPS);
            assert!(rows.shared()[1].scale.is_nan());
        }
        for tiny in [0.0, 1e-45, -1e-40] {
            assert!(Shared::new(&[tiny; 32]).scale.is_finite());
        }
        for (largest, want) in [(f32::MAX, 32512), (f32::MIN, -32512)] {
            assert_eq!(code(&Shared::new(&[largest; 32]), 0), want);
        }
    }
}

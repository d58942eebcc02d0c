/// Columns that share a scale.
pub(crate) const SHARED: usize = 32;

/// Rows of floats as bytes: 8 bits and a scale per 32 values.
///
/// Made once for all products of the same rows, such as those of queries, keys and values.
/// Values that are not numbers, or not finite, make every product of their row with the same 32
/// columns not a number.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantisedRows {
    rows: usize,
    columns: usize,
    /// Four codes of −127 to 127 in each word, row by row.
    codes: Vec<u32>,
    /// One per 32 columns, row by row.
    scales: Vec<f32>,
    /// Sums of 16 codes, row by row.
    sums: Vec<i32>,
}

/// One of [`QuantisedRows`].
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) codes: &'a [u32],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
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
        let mut out = QuantisedRows {
            rows: x.len() / columns,
            columns,
            codes: Vec::with_capacity(x.len() / 4),
            scales: Vec::with_capacity(x.len() / SHARED),
            sums: Vec::with_capacity(x.len() / 16),
        };
        for shared in x.as_chunks::<SHARED>().0 {
            out.push(shared);
        }
        out
    }

    fn push(&mut self, x: &[f32; SHARED]) {
        // Integers compare as the magnitudes do, and those that are no numbers are the largest.
        let largest = x.iter().fold(0, |max, v| max.max(v.abs().to_bits()));
        let largest = f32::from_bits(largest);
        let (scale, inverse) = match largest {
            0.0 => (0.0, 0.0),
            // Nothing larger than this has an inverse that keeps codes within 127.
            l if l.is_finite() => (l / 127.0, 127.0 / l),
            _ => (f32::NAN, 0.0),
        };
        // A subnormal's inverse may be infinite.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut codes = [0i8; SHARED];
        for (code, v) in codes.iter_mut().zip(x) {
            // The cast makes 0 of what is not a number.
            *code = (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
        self.scales.push(scale);
        for half in codes.as_chunks::<16>().0 {
            self.sums.push(half.iter().map(|&code| i32::from(code)).sum());
        }
        for four in codes.as_chunks::<4>().0 {
            self.codes.push(u32::from_le_bytes(four.map(|code| code as u8)));
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values per row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn row(&self, row: usize) -> Row<'_> {
        let part = |per: usize| row * self.columns / per..(row + 1) * self.columns / per;
        Row {
            codes: &self.codes[part(4)],
            scales: &self.scales[part(SHARED)],
            sums: &self.sums[part(16)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_nearest_multiples_of_the_scale() {
        let x: Vec<f32> = (0..64).map(|i| ((i * 37) % 64) as f32 - 30.0).collect();
        let rows = QuantisedRows::new(&x, 64);
        let row = rows.row(0);
        for (i, x) in x.iter().enumerate() {
            let code = row.codes[i / 4].to_le_bytes()[i % 4] as i8;
            assert!((row.scales[i / 32] * f32::from(code) - x).abs() <= row.scales[i / 32] / 2.0);
        }
        let codes = row.codes.iter().flat_map(|c| c.to_le_bytes());
        let total: i32 = codes.map(|code| i32::from(code as i8)).sum();
        assert_eq!(row.sums.iter().sum::<i32>(), total);
    }

    #[test]
    fn odd_values_stay_odd() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            let mut x = [1.0; 64];
            x[40] = odd;
            let rows = QuantisedRows::new(&x, 64);
            assert_eq!(rows.row(0).scales[0], 1.0 / 127.0);
            assert!(rows.row(0).scales[1].is_nan());
        }
        for tiny in [0.0, 1e-45, -1e-40] {
            let rows = QuantisedRows::new(&[tiny; 32], 32);
            assert!(rows.row(0).scales[0].is_finite());
            assert!(rows.row(0).codes.iter().all(|&c| c == 0 || c == rows.row(0).codes[0]));
        }
        let rows = QuantisedRows::new(&[f32::MAX; 32], 32);
        assert_eq!(rows.row(0).codes[0], 0x7f7f_7f7f);
    }
}

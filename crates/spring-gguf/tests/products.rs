//! Products against sums in 64-bit floats, and against themselves: with other instructions, other
//! threads and other company they are the same to the last bit.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[path = "support/blocks.rs"]
mod blocks;

use blocks::{random, values};
use spring_gguf::{BlockFormat, Compute, Kernels, Matrix, QuantisedRows, Threads};

const ROWS: usize = 40; // two panels and a half
const COLUMNS: usize = 512;

fn inputs(rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| ((i * 7919 + i / 31) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn matrix(format: BlockFormat, columns: usize) -> (Matrix, Vec<f32>) {
    let bytes = random(format, ROWS, columns, 7);
    let values = values(format, &bytes);
    assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|v| *v != 0.0));
    (Matrix::from_bytes(format, ROWS, columns, &bytes).unwrap(), values)
}

fn columns_of(format: BlockFormat) -> usize {
    // Floats may have any number of columns.
    if format.is_float() { 301 } else { COLUMNS }
}

fn fast(compute: Compute, w: &Matrix, x: &[f32]) -> Vec<f32> {
    let rows = QuantisedRows::new(x, w.columns());
    let mut y = vec![f32::NAN; rows.rows() * w.rows()];
    compute.fast(w, &rows, &mut y);
    y
}

fn exact(compute: Compute, w: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / w.columns() * w.rows()];
    compute.exact(w, x, &mut y);
    y
}

fn transposed(compute: Compute, w: &Matrix, dy: &[f32]) -> Vec<f32> {
    let mut dx = vec![f32::NAN; dy.len() / w.rows() * w.columns()];
    compute.transposed(w, dy, &mut dx);
    dx
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn products_are_those_of_the_values() {
    for format in BlockFormat::ALL {
        let columns = columns_of(format);
        let (w, values) = matrix(format, columns);
        let x = inputs(3, columns);
        let y = exact(Compute::new(), &w, &x);
        let quick = (!format.is_float()).then(|| fast(Compute::new(), &w, &x));
        for (row, x) in x.chunks_exact(columns).enumerate() {
            for (out, w) in values.chunks_exact(columns).enumerate() {
                let terms = || w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
                let (want, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                let got = f64::from(y[row * ROWS + out]);
                assert!((got - want).abs() <= 2e-6 * size, "{format}: {got}, {want}");
                // Each value of x is rounded by at most half a step of its 32.
                let steps = w.chunks(32).zip(x.chunks(32)).map(|(w, x)| {
                    let largest = x.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    w.iter().map(|w| f64::from(w.abs())).sum::<f64>() * f64::from(largest) / 65024.0
                });
                if let Some(quick) = &quick {
                    let got = f64::from(quick[row * ROWS + out]);
                    let bound = 1.001 * steps.sum::<f64>() + 2e-6 * size;
                    assert!((got - want).abs() <= bound, "{format}: {got}, {want}, {bound}");
                }
            }
        }
    }
}

#[test]
fn transposed_products_are_those_of_the_values() {
    for format in BlockFormat::ALL {
        let columns = columns_of(format);
        let (w, values) = matrix(format, columns);
        let dy = inputs(19, ROWS);
        let dx = transposed(Compute::new(), &w, &dy);
        for (row, dy) in dy.chunks_exact(ROWS).enumerate() {
            for column in 0..columns {
                let terms = || {
                    let weights = values.iter().skip(column).step_by(columns);
                    dy.iter().zip(weights).map(|(&y, &w)| f64::from(y) * f64::from(w))
                };
                let (want, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                let got = f64::from(dx[row * columns + column]);
                assert!((got - want).abs() <= 2e-6 * size, "{format}: {got}, {want}");
            }
        }
    }
}

/// The three products of a matrix with some rows, as bits.
fn all(compute: Compute, w: &Matrix, rows: usize) -> [Vec<u32>; 3] {
    let (x, dy) = (inputs(rows, w.columns()), inputs(rows, w.rows()));
    let quick = if w.format().is_float() { Vec::new() } else { fast(compute, w, &x) };
    [quick, exact(compute, w, &x), transposed(compute, w, &dy)].map(|v| bits(&v))
}

#[test]
fn instructions_and_threads_change_no_bit() {
    for format in BlockFormat::ALL {
        let (w, _) = matrix(format, columns_of(format));
        for rows in [1, 2, 5, 11] {
            let portable = Compute::new().with_kernels(Kernels::available()[0]).with_threads(1);
            let want = all(portable, &w, rows);
            for kernels in Kernels::available() {
                for threads in [1, 2, 3, 64] {
                    let compute = Compute::new().with_kernels(kernels).with_threads(threads);
                    let got = all(compute, &w, rows);
                    assert!(got == want, "{format}, {rows} rows, {kernels}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn threads_of_a_large_product_change_no_bit() {
    // Large enough that pieces are worth their threads.
    let bytes = random(BlockFormat::Q4_K, 1000, 1024, 5);
    let w = Matrix::from_bytes(BlockFormat::Q4_K, 1000, 1024, &bytes).unwrap();
    let want = all(Compute::new().with_threads(1), &w, 3);
    for threads in [2, 3, 7, 62, 63, 64] {
        assert!(all(Compute::new().with_threads(threads), &w, 3) == want, "{threads}");
    }
}

#[test]
fn the_order_of_a_large_product_changes_no_bit() {
    // More weights than are gone through together, and more rows than lie together.
    for format in [BlockFormat::Q4_K, BlockFormat::Q6_K] {
        let bytes = random(format, 1000, 1024, 5);
        let w = Matrix::from_bytes(format, 1000, 1024, &bytes).unwrap();
        let x = inputs(19, 1024);
        let alone: Vec<Vec<f32>> =
            x.chunks(1024).map(|row| fast(Compute::new(), &w, row)).collect();
        for kernels in Kernels::available() {
            let together = fast(Compute::new().with_kernels(kernels), &w, &x);
            assert!(bits(&together) == bits(&alone.concat()), "{format}, {kernels}");
        }
    }
}

/// Threads without rayon, the pieces taken from the last to the first.
struct Own(usize);

impl Threads for Own {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, pieces: usize, piece: &(dyn Fn(usize) + Sync)) {
        assert!((2..=self.0).contains(&pieces), "{pieces} pieces for {} threads", self.0);
        std::thread::scope(|scope| {
            for number in (0..pieces).rev() {
                scope.spawn(move || piece(number));
            }
        });
    }
}

#[test]
fn threads_of_the_caller_s_own_change_no_bit() {
    for (format, columns) in [(BlockFormat::Q6_K, 1024), (BlockFormat::F32, 1000)] {
        let bytes = random(format, 1000, columns, 5);
        let w = Matrix::from_bytes(format, 1000, columns, &bytes).unwrap();
        for rows in [1, 3, 40] {
            let want = all(Compute::new().with_threads(1), &w, rows);
            let (x, dy) = (inputs(rows, columns), inputs(rows, 1000));
            for threads in [1, 2, 3, 7, 64] {
                let (compute, own) = (Compute::new(), Own(threads));
                let mut y = vec![f32::NAN; rows * 1000];
                compute.exact_on(&own, &w, &x, &mut y);
                assert!(bits(&y) == want[1], "exact {format}, {rows} rows, {threads} threads");
                let mut dx = vec![f32::NAN; rows * columns];
                compute.transposed_on(&own, &w, &dy, &mut dx);
                assert!(bits(&dx) == want[2], "transposed {format}, {rows} rows, {threads}");
                if !format.is_float() {
                    y.fill(f32::NAN);
                    compute.fast_on(&own, &w, &QuantisedRows::new(&x, columns), &mut y);
                    assert!(bits(&y) == want[0], "fast {format}, {rows} rows, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn parts_of_a_product_change_no_bit() {
    let (w, _) = matrix(BlockFormat::Q5_0, COLUMNS);
    for rows in [1, 5, 40] {
        let x = inputs(rows, COLUMNS);
        let quick = QuantisedRows::new(&x, COLUMNS);
        let whole = [fast(Compute::new(), &w, &x), exact(Compute::new(), &w, &x)];
        for part in [0..16, 16..40, 0..40, 32..40, 16..32, 16..16] {
            let of = |all: &[f32]| {
                let rows = all.chunks_exact(ROWS).flat_map(|row| &row[part.clone()]);
                rows.map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            let mut y = vec![f32::NAN; rows * part.len()];
            Compute::new().fast_rows(&w, &quick, part.clone(), &mut y);
            assert_eq!(bits(&y), of(&whole[0]), "{part:?}");
            y.fill(f32::NAN);
            Compute::new().exact_rows(&w, &x, part.clone(), &mut y);
            assert_eq!(bits(&y), of(&whole[1]), "{part:?}");
        }
    }
}

#[test]
#[should_panic(expected = "rows 8..16 of a matrix with 40")]
fn a_part_that_begins_inside_a_panel_is_refused() {
    let (w, _) = matrix(BlockFormat::Q5_0, COLUMNS);
    Compute::new().exact_rows(&w, &inputs(1, COLUMNS), 8..16, &mut [0.0; 8]);
}

#[test]
fn company_changes_no_bit() {
    for kernels in Kernels::available() {
        let compute = Compute::new().with_kernels(kernels);
        for format in BlockFormat::ALL {
            let (w, _) = matrix(format, columns_of(format));
            let (x, dy) = (inputs(23, w.columns()), inputs(23, ROWS));
            let together = [exact(compute, &w, &x), transposed(compute, &w, &dy)];
            let quick = (!format.is_float()).then(|| fast(compute, &w, &x));
            for row in [0, 7, 8, 16, 19, 22] {
                let x = &x[row * w.columns()..][..w.columns()];
                let dy = &dy[row * ROWS..][..ROWS];
                let of = |all: &[f32], n: usize| bits(&all[row * n..][..n]);
                assert_eq!(bits(&exact(compute, &w, x)), of(&together[0], ROWS), "{format}");
                let dx = bits(&transposed(compute, &w, dy));
                assert_eq!(dx, of(&together[1], w.columns()), "{format}");
                if let Some(quick) = &quick {
                    assert_eq!(bits(&fast(compute, &w, x)), of(quick, ROWS), "{format}");
                }
            }
        }
    }
}

#[test]
fn a_row_that_is_no_number_harms_no_other() {
    let (w, _) = matrix(BlockFormat::Q6_K, COLUMNS);
    let mut x = inputs(9, COLUMNS);
    let clean = fast(Compute::new(), &w, &x);
    x[4 * COLUMNS + 100] = f32::NAN;
    let got = fast(Compute::new(), &w, &x);
    for (row, (got, clean)) in got.chunks(ROWS).zip(clean.chunks(ROWS)).enumerate() {
        if row == 4 {
            assert!(got.iter().all(|v| v.is_nan()));
        } else {
            assert_eq!(bits(got), bits(clean));
        }
    }
}

#[test]
fn kernels_unpack_the_reference_s_blocks() {
    // Each block as a row of its own, times the unit vectors: the values come out again.
    let mut rest = include_bytes!("fixtures/blocks.bin").as_slice();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (format, bytes) = (BlockFormat::from_id(word(0)).unwrap(), word(4) as usize);
        let (rows, columns) = (bytes / format.block_bytes(), format.block_len());
        let values = values(format, &rest[8..8 + bytes]);
        let w = Matrix::from_bytes(format, rows, columns, &rest[8..8 + bytes]).unwrap();
        let mut x = vec![0.0; columns * columns];
        (0..columns).for_each(|i| x[i * columns + i] = 1.0);
        let mut dy = vec![0.0; rows * rows];
        (0..rows).for_each(|i| dy[i * rows + i] = 1.0);
        for kernels in Kernels::available() {
            let compute = Compute::new().with_kernels(kernels);
            let y = exact(compute, &w, &x);
            for (i, value) in values.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                assert!(y[column * rows + row] == *value, "{format}, {kernels}: {row}, {column}");
            }
            assert!(transposed(compute, &w, &dy) == values, "{format}, {kernels}");
        }
        for row in 0..rows {
            let mut out = vec![f32::NAN; columns];
            w.row(row, &mut out);
            assert_eq!(bits(&out), bits(&values[row * columns..][..columns]), "{format}");
        }
        rest = &rest[8 + bytes + 4 * values.len()..];
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let bytes = random(BlockFormat::Q8_0, 2, 64, 1);
    assert!(Matrix::from_bytes(BlockFormat::Q8_0, 2, 64, &bytes).is_some());
    assert!(Matrix::from_bytes(BlockFormat::Q8_0, 3, 64, &bytes).is_none());
    assert!(Matrix::from_bytes(BlockFormat::Q8_0, 2, 63, &bytes).is_none());
    assert!(Matrix::from_bytes(BlockFormat::Q8_0, 0, 64, &[]).is_none());
    assert!(Matrix::from_bytes(BlockFormat::Q8_0, usize::MAX, 64, &bytes).is_none());
}

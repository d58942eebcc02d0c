//! `cargo bench -p spring-gguf`: products against the plain way (a row of blocks becomes floats,
//! and these are multiplied), and against reading memory alone.
//!
//! With the names of model files as arguments, instead: all products of a model with 1, 8, 16 and
//! 512 rows, which is the arithmetic of decoded tokens and of a prompt but for the attention.
//!
//! Written by hand, as what counts is ratios of things that run in turns, so that whatever else
//! the machine does falls on all of them; a table in Markdown is printed.

use std::hint::black_box;
use std::time::Instant;

use spring_gguf::{BlockFormat, Compute, GgufFile, Kernels, Matrix, QuantisedRows, dequantise};

/// Bytes of a matrix: more than caches hold.
const BYTES: usize = 64 << 20;
const COLUMNS: usize = 2048;
const TURNS: usize = 7;

/// Any bytes are blocks; scales are kept finite.
fn blocks(format: BlockFormat, rows: usize) -> Vec<u8> {
    let count = rows * COLUMNS / format.block_len();
    let mut state = 1u32;
    let mut bytes: Vec<u8> = (0..count * format.block_bytes())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let scales: &[usize] = match format {
        BlockFormat::Q6_K => &[208],
        BlockFormat::Q4_1 | BlockFormat::Q4_K => &[0, 2],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        // 2 to the power −8 and some.
        scales.iter().for_each(|&at| block[at + 1] = 0x1c);
    }
    bytes
}

fn plain(format: BlockFormat, bytes: &[u8], x: &[f32], y: &mut [f32]) {
    let row_bytes = COLUMNS / format.block_len() * format.block_bytes();
    let mut row = vec![0.0; COLUMNS];
    let count = x.len() / COLUMNS;
    for (i, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        dequantise(format, bytes, &mut row);
        for (j, x) in x.chunks_exact(COLUMNS).enumerate() {
            let mut lanes = [0.0; 16];
            for (w, x) in row.as_chunks::<16>().0.iter().zip(x.as_chunks::<16>().0) {
                (0..16).for_each(|k| lanes[k] += w[k] * x[k]);
            }
            y[i * count + j] = lanes.iter().sum();
        }
    }
}

/// Seconds of the fastest of some turns, of each of some things.
fn race(things: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; things.len()];
    for _ in 0..TURNS {
        for (thing, best) in things.iter_mut().zip(&mut best) {
            let start = Instant::now();
            thing();
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}

/// Prints how many tokens per second a model's products allow.
fn model(path: &str) -> spring_gguf::Result<()> {
    let file = GgufFile::open(path)?;
    let keys = file.model_keys()?;
    let names: Vec<String> = keys.tensors().into_iter().map(|(name, _)| name).collect();
    let is_matrix = |name: &&String| file.find(name).is_some_and(|tensor| tensor.rows() > 1);
    let matrices = names.iter().filter(is_matrix).map(|name| file.matrix(name));
    let matrices: Vec<Matrix> = matrices.collect::<spring_gguf::Result<_>>()?;
    let bytes: usize = matrices.iter().map(Matrix::bytes).sum();
    let kernels = Kernels::available();
    for rows in [1, 8, 16, 512] {
        // A prompt needs the output for its last token alone.
        let rows_of =
            |matrix: &Matrix| if rows > 16 && matrix.rows() == keys.vocabulary { 1 } else { rows };
        let x: Vec<QuantisedRows> = matrices
            .iter()
            .map(|matrix| {
                let count = rows_of(matrix) * matrix.columns();
                let x: Vec<f32> = (0..count).map(|i| (i % 97) as f32).collect();
                QuantisedRows::new(&x, matrix.columns())
            })
            .collect();
        let most = matrices.iter().map(|matrix| rows_of(matrix) * matrix.rows()).max();
        let y = std::cell::RefCell::new(vec![0.0; most.unwrap_or(0)]);
        let products = |kernels: Kernels| {
            for (matrix, x) in matrices.iter().zip(&x) {
                let y = &mut y.borrow_mut()[..x.rows() * matrix.rows()];
                Compute::new().with_kernels(kernels).fast(matrix, x, y);
                black_box(y);
            }
        };
        // Plain Rust is left out: it takes minutes.
        let products = &products;
        let mut things: Vec<_> = kernels[1..].iter().map(|&each| move || products(each)).collect();
        let mut things: Vec<&mut dyn FnMut()> =
            things.iter_mut().map(|thing| thing as &mut dyn FnMut()).collect();
        for (kernels, time) in kernels[1..].iter().zip(race(&mut things)) {
            let (speed, rate) = (rows as f64 / time, bytes as f64 / time / 1e9);
            println!(
                "{path}, {rows} rows, {kernels}: {speed:.0} tokens/s, {rate:.1} GB/s of {bytes} \
                 bytes"
            );
        }
    }
    Ok(())
}

fn main() {
    let models: Vec<String> = std::env::args().filter(|arg| arg.ends_with(".gguf")).collect();
    if !models.is_empty() {
        for path in models {
            if let Err(error) = model(&path) {
                eprintln!("{error}");
            }
        }
        return;
    }
    let threads = rayon::current_num_threads();
    println!("{threads} threads; kernels {:?}", Kernels::available().last());
    let columns = ["plain, 1 thread", "exact", "fast", "fast, 1 thread", "fast, AVX2, 1 thread"];
    println!("| format | rows | {} | reading, 1 thread |", columns.join(" | "));
    println!("|---|---|---|---|---|---|---|---|");
    for format in [
        BlockFormat::Q4_1,
        BlockFormat::Q8_0,
        BlockFormat::Q5_0,
        BlockFormat::Q4_K,
        BlockFormat::Q6_K,
    ] {
        let row_bytes = COLUMNS / format.block_len() * format.block_bytes();
        let out = BYTES / row_bytes / 16 * 16;
        let bytes = blocks(format, out);
        let w = Matrix::from_bytes(format, out, COLUMNS, &bytes).expect("whole blocks");
        for rows in [1, 8, 64] {
            let x: Vec<f32> = (0..rows * COLUMNS).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect();
            let quick = QuantisedRows::new(&x, COLUMNS);
            let all = Compute::new();
            let one = all.with_threads(1);
            let names = Kernels::available();
            let avx2 = names.iter().find(|k| k.name() == "avx2").copied().unwrap_or(all.kernels);
            let mut y: [Vec<f32>; 5] = std::array::from_fn(|_| vec![0.0; rows * out]);
            let [a, b, c, d, e] = &mut y;
            let times = race(&mut [
                &mut || plain(format, &bytes, &x, a),
                &mut || all.exact(&w, &x, b),
                &mut || all.fast(&w, &quick, c),
                &mut || one.fast(&w, &quick, d),
                &mut || one.with_kernels(avx2).fast(&w, &quick, e),
                &mut || {
                    let words = bytes.as_chunks::<8>().0.iter();
                    black_box(
                        words.fold(0, |sum: u64, w| sum.wrapping_add(u64::from_le_bytes(*w))),
                    );
                },
            ]);
            let cells: Vec<String> = times
                .iter()
                .map(|time| {
                    let rate = bytes.len() as f64 / time / 1e9;
                    let products = (rows * out * COLUMNS) as f64 / time / 1e9;
                    format!("{:.2} ({rate:.1} GB/s, {products:.0} G/s)", times[0] / time)
                })
                .collect();
            println!("| {format} | {rows} | {} |", cells.join(" | "));
        }
    }
}

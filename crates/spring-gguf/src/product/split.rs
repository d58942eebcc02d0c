//! Which thread computes which rows of a matrix.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::Matrix;
use crate::simd::LANES;

/// Products with less multiplications than this per thread are not worth a second one.
const WORTH: usize = 1 << 17;

/// Threads that products are shared among: rayon's, or a caller's own.
///
/// ```
/// use spring_gguf::{BlockFormat, Compute, Matrix, Threads};
///
/// /// Starts a thread per piece.
/// struct Scoped;
///
/// impl Threads for Scoped {
///     fn count(&self) -> usize {
///         2
///     }
///     fn run(&self, pieces: usize, piece: &(dyn Fn(usize) + Sync)) {
///         std::thread::scope(|scope| {
///             for number in 0..pieces {
///                 scope.spawn(move || piece(number));
///             }
///         });
///     }
/// }
///
/// let matrix = Matrix::from_bytes(BlockFormat::F32, 512, 512, &[0; 4 * 512 * 512]).unwrap();
/// let mut y = vec![f32::NAN; 512];
/// Compute::new().exact_on(&Scoped, &matrix, &[1.0; 512], &mut y);
/// assert_eq!(y, [0.0; 512]);
/// ```
pub trait Threads {
    /// How many may work at a time: at most this many pieces are made.
    fn count(&self) -> usize;

    /// Calls `piece` once with every number below `pieces`, each on any thread, and returns when
    /// all calls have.
    fn run(&self, pieces: usize, piece: &(dyn Fn(usize) + Sync));
}

/// The threads of the rayon pool that the caller runs in.
pub(super) struct Rayon(pub(super) usize);

impl Threads for Rayon {
    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, pieces: usize, piece: &(dyn Fn(usize) + Sync)) {
        (0..pieces).into_par_iter().for_each(piece);
    }
}

/// Columns of a row-major product, in pieces: for each piece its part of every row.
pub(super) type Stripes<'a> = Vec<&'a mut [f32]>;

/// Cuts a product of rows of `columns` values into stripes of `each` columns.
pub(super) fn stripes(y: &mut [f32], columns: usize, each: usize) -> Vec<Stripes<'_>> {
    let rows = y.len() / columns;
    let mut stripes: Vec<Stripes<'_>> = Vec::new();
    stripes.resize_with(columns.div_ceil(each), || Vec::with_capacity(rows));
    for row in y.chunks_exact_mut(columns) {
        for (part, stripe) in row.chunks_mut(each).zip(&mut stripes) {
            stripe.push(part);
        }
    }
    stripes
}

/// Runs pieces of work, each of which owns something; one piece runs on the calling thread.
pub(super) fn share<T: Send>(threads: &dyn Threads, items: Vec<T>, work: impl Fn(usize, T) + Sync) {
    if items.len() == 1 {
        return items.into_iter().for_each(|item| work(0, item));
    }
    // Each is taken by the one call for its piece.
    let items: Vec<Mutex<Option<T>>> =
        items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    threads.run(items.len(), &|piece| {
        let item = items[piece].lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(item) = item {
            work(piece, item);
        }
    });
}

/// Computes a product of `rows` rows panel by panel; `part` computes some panels.
///
/// Threads take panels that lie together, so each reads one stretch of memory.
pub(super) fn by_panels(
    threads: &dyn Threads,
    w: &Matrix,
    rows: usize,
    y: &mut [f32],
    part: impl Fn(Range<usize>, Stripes<'_>) + Sync,
) {
    if rows == 0 {
        return;
    }
    let panels = w.panels();
    let worth = (rows * w.rows() * w.columns() / WORTH).max(1);
    let pieces = threads.count().min(worth).clamp(1, panels);
    let each = panels.div_ceil(pieces);
    share(threads, stripes(y, w.rows(), each * LANES), |piece, stripe| {
        let first = piece * each;
        part(first..(first + each).min(panels), stripe);
    });
}

/// Writes a panel's values, 16 for each row, into some rows of a stripe; the stripe's first panel
/// is number 0.
pub(super) fn put(rows: &mut [&mut [f32]], panel: usize, values: &[f32]) {
    let values = values.as_chunks::<LANES>().0;
    for (row, values) in rows.iter_mut().zip(values) {
        let row = &mut row[panel * LANES..];
        match row.first_chunk_mut() {
            Some(whole) => *whole = *values,
            None => row.copy_from_slice(&values[..row.len()]),
        }
    }
}

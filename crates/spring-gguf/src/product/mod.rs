//! Products of matrices in blocks with rows of floats.

mod exact;
mod fast;
mod split;
mod transposed;

use std::ops::Range;

use split::Rayon;
pub use split::Threads;

use crate::simd::{LANES, Simd, Task};
use crate::unpack::*;
use crate::{BlockFormat, Kernels, Matrix, QuantisedRows};

/// How products are computed: with which instructions, on how many threads.
///
/// Neither changes a result by a single bit, and no row's result depends on the rows that are
/// computed with it.
///
/// Threads are those of the rayon pool that the caller runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compute {
    /// The instruction set.
    pub kernels: Kernels,
    /// In how many pieces a large product is cut; 1 computes on the calling thread.
    pub threads: usize,
}

impl Default for Compute {
    fn default() -> Self {
        Compute { kernels: Kernels::detect(), threads: rayon::current_num_threads() }
    }
}

impl Compute {
    /// The fastest instructions, on as many threads as the rayon pool has.
    pub fn new() -> Compute {
        Compute::default()
    }

    /// The fastest instructions, on the calling thread; no pool of rayon is asked, nor started.
    pub fn on_this_thread() -> Compute {
        Compute { kernels: Kernels::detect(), threads: 1 }
    }

    /// With other instructions.
    pub fn with_kernels(self, kernels: Kernels) -> Compute {
        Compute { kernels, ..self }
    }

    /// With other pieces, at least one.
    pub fn with_threads(self, threads: usize) -> Compute {
        Compute { threads: threads.max(1), ..self }
    }

    /// `y = W x` for every row `x`, in integers: the rows have been quantised to 16 bits, and
    /// products of integers are exact, so that this rounding is what differs from
    /// [`Compute::exact`].
    ///
    /// `y` has [`Matrix::rows`] values for each row of `x`, one row after the other.
    ///
    /// # Panics
    ///
    /// If the matrix is one of plain floats ([`BlockFormat::is_float`]: use [`Compute::exact`]), or
    /// the lengths do not fit.
    pub fn fast(self, w: &Matrix, x: &QuantisedRows, y: &mut [f32]) {
        self.fast_on(&Rayon(self.threads), w, x, y);
    }

    /// [`Compute::fast`] on other threads than rayon's; [`Compute::threads`] does not count.
    ///
    /// # Panics
    ///
    /// As [`Compute::fast`].
    pub fn fast_on(self, threads: &dyn Threads, w: &Matrix, x: &QuantisedRows, y: &mut [f32]) {
        assert_fast(w, x);
        assert_eq!(y.len(), x.rows() * w.rows(), "values of the product");
        split::by_panels(threads, w, x.rows(), y, |panels, stripe| {
            fast::panels(self.kernels, w, x, panels, stripe);
        });
    }

    /// Some rows of a matrix times every row `x`, on the calling thread: a part of
    /// [`Compute::fast`] and equal to it to the last bit.
    ///
    /// `rows` begins at a multiple of [`Matrix::PANEL`] and ends at one or at the last row. `y` has
    /// as many values as `rows` for each row of `x`, one row after the other.
    ///
    /// # Panics
    ///
    /// As [`Compute::fast`], and if `rows` lies outside the matrix or begins or ends inside a
    /// panel.
    pub fn fast_rows(self, w: &Matrix, x: &QuantisedRows, rows: Range<usize>, y: &mut [f32]) {
        assert_fast(w, x);
        assert_eq!(y.len(), x.rows() * rows.len(), "values of the product");
        if let Some((panels, stripe)) = part(w, rows, y) {
            fast::panels(self.kernels, w, x, panels, stripe);
        }
    }

    /// `y = W x` for every row `x`, in 32-bit floats: blocks become floats on the way.
    ///
    /// Lengths are those of [`Compute::fast`]. Each value is summed in four chains, of the columns
    /// that are equal modulo 4, in the columns' order.
    ///
    /// # Panics
    ///
    /// If the lengths do not fit.
    pub fn exact(self, w: &Matrix, x: &[f32], y: &mut [f32]) {
        self.exact_on(&Rayon(self.threads), w, x, y);
    }

    /// [`Compute::exact`] on other threads than rayon's; [`Compute::threads`] does not count.
    ///
    /// # Panics
    ///
    /// If the lengths do not fit.
    pub fn exact_on(self, threads: &dyn Threads, w: &Matrix, x: &[f32], y: &mut [f32]) {
        let rows = rows_of(x, w.columns());
        assert_eq!(y.len(), rows * w.rows(), "values of the product");
        split::by_panels(threads, w, rows, y, |panels, stripe| {
            exact::panels(self.kernels, w, x, panels, stripe);
        });
    }

    /// Some rows of a matrix times every row `x`, on the calling thread: a part of
    /// [`Compute::exact`]; see [`Compute::fast_rows`].
    ///
    /// # Panics
    ///
    /// If the lengths do not fit, and if `rows` lies outside the matrix or begins or ends inside
    /// a panel.
    pub fn exact_rows(self, w: &Matrix, x: &[f32], rows: Range<usize>, y: &mut [f32]) {
        assert_eq!(y.len(), rows_of(x, w.columns()) * rows.len(), "values of the product");
        if let Some((panels, stripe)) = part(w, rows, y) {
            exact::panels(self.kernels, w, x, panels, stripe);
        }
    }

    /// `dx = dy W` for every row `dy`, in 32-bit floats: what a gradient takes through the layer.
    ///
    /// `dx` has [`Matrix::columns`] values for each row of `dy`. Each is summed in the order of
    /// the matrix's rows.
    ///
    /// # Panics
    ///
    /// If the lengths do not fit.
    pub fn transposed(self, w: &Matrix, dy: &[f32], dx: &mut [f32]) {
        self.transposed_on(&Rayon(self.threads), w, dy, dx);
    }

    /// [`Compute::transposed`] on other threads than rayon's; [`Compute::threads`] does not count.
    ///
    /// # Panics
    ///
    /// If the lengths do not fit.
    pub fn transposed_on(self, threads: &dyn Threads, w: &Matrix, dy: &[f32], dx: &mut [f32]) {
        let rows = rows_of(dy, w.rows());
        assert_eq!(dx.len(), rows * w.columns(), "values of the product");
        transposed::product(self.kernels, threads, w, dy, dx);
    }
}

fn assert_fast(w: &Matrix, x: &QuantisedRows) {
    assert_eq!(x.columns(), w.columns(), "columns of the rows and of the matrix");
    assert!(!w.format().is_float(), "fast products are for blocks, not for {}", w.format());
}

fn rows_of(x: &[f32], columns: usize) -> usize {
    assert!(x.len().is_multiple_of(columns), "{} values in rows of {columns}", x.len());
    x.len() / columns
}

/// The panels of some rows of a matrix and the places of their values; none if there are none.
fn part<'y>(
    w: &Matrix,
    rows: Range<usize>,
    y: &'y mut [f32],
) -> Option<(Range<usize>, split::Stripes<'y>)> {
    let whole = |row: usize| row.is_multiple_of(LANES) || row == w.rows();
    assert!(
        rows.end <= w.rows() && whole(rows.start) && whole(rows.end),
        "rows {rows:?} of a matrix with {}",
        w.rows()
    );
    if y.is_empty() {
        return None;
    }
    let stripe = y.chunks_exact_mut(rows.len()).collect();
    Some((rows.start / LANES..rows.end.div_ceil(LANES), stripe))
}

/// Writes the values of a panel's 16 rows in the columns from `first` on; see [`Values::tile`].
fn values(
    kernels: Kernels,
    format: BlockFormat,
    panel: &[u8],
    first: usize,
    tile: &mut [[f32; LANES]],
) {
    struct Tile<'a, V>(&'a [u8], usize, &'a mut [[f32; LANES]], std::marker::PhantomData<V>);
    impl<V: Values> Task for Tile<'_, V> {
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            V::tile(s, self.0, self.1, self.2);
        }
    }
    fn with<V: Values>(kernels: Kernels, panel: &[u8], first: usize, tile: &mut [[f32; LANES]]) {
        kernels.run(Tile::<V>(panel, first, tile, std::marker::PhantomData));
    }
    let run = match format {
        BlockFormat::F32 => with::<OfPlain<F32>>,
        BlockFormat::F16 => with::<OfPlain<F16>>,
        BlockFormat::BF16 => with::<OfPlain<Bf16>>,
        BlockFormat::Q4_0 => with::<OfBlocks<Q4_0>>,
        BlockFormat::Q4_1 => with::<OfBlocks<Q4_1>>,
        BlockFormat::Q5_0 => with::<OfBlocks<Q5_0>>,
        BlockFormat::Q5_1 => with::<OfBlocks<Q5_1>>,
        BlockFormat::Q8_0 => with::<OfBlocks<Q8_0>>,
        BlockFormat::Q2_K => with::<OfBlocks<Q2K>>,
        BlockFormat::Q3_K => with::<OfBlocks<Q3K>>,
        BlockFormat::Q4_K => with::<OfBlocks<Q4K>>,
        BlockFormat::Q5_K => with::<OfBlocks<Q5K>>,
        BlockFormat::Q6_K => with::<OfBlocks<Q6K>>,
        BlockFormat::IQ4_NL => with::<OfBlocks<Iq4Nl>>,
        BlockFormat::IQ4_XS => with::<OfBlocks<Iq4Xs>>,
        BlockFormat::MXFP4 => with::<OfBlocks<Mxfp4>>,
    };
    run(kernels, panel, first, tile);
}

/// The `i`-th group of 16 of a slice of lanes.
#[inline(always)]
fn lanes(slice: &[f32], i: usize) -> &[f32; LANES] {
    &slice.as_chunks::<LANES>().0[i]
}

/// The `i`-th group of 16 of a slice of lanes, to write to.
#[inline(always)]
fn lanes_mut(slice: &mut [f32], i: usize) -> &mut [f32; LANES] {
    &mut slice.as_chunks_mut::<LANES>().0[i]
}

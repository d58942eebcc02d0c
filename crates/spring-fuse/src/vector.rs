//! Loops compiled for the widest vectors of the machine at hand.

use std::marker::PhantomData;
use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// Numbers that a loop handles side by side, on every machine: so sums are added up in the same order, and
/// the results are the same bits, whatever the width of its vectors.
pub(crate) const LANES: usize = 16;

/// Values that all passes of an operation go over before it turns to the next ones: they stay in the fastest
/// cache. Sums over a block are in `f32`, sums of blocks in `f64`.
pub(crate) const BLOCK: usize = 2048;

/// A loop to be compiled once per instruction set.
pub(crate) trait Kernel<I> {
    type Output;

    /// Must be `#[inline(always)]`, with all that it calls: only what is inlined is compiled for the wider
    /// vectors.
    fn run(input: I) -> Self::Output;
}

/// Runs `K` with the instructions that this machine has.
pub(crate) fn dispatch<K: Kernel<I>, I>(input: I) -> K::Output {
    struct Work<K, I>(PhantomData<K>, I);

    impl<K: Kernel<I>, I> WithSimd for Work<K, I> {
        type Output = K::Output;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> K::Output {
            K::run(self.1)
        }
    }

    static ARCH: OnceLock<Arch> = OnceLock::new();
    ARCH.get_or_init(Arch::new).dispatch(Work(PhantomData::<K>, input))
}

/// Declares a function that [`dispatch`]es its body.
macro_rules! vectorized {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($arg:ident: $type:ty),+) $(-> $output:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($arg: $type),+) $(-> $output)? {
            struct Body;

            impl crate::vector::Kernel<($($type,)+)> for Body {
                type Output = crate::vector::vectorized!(@output $($output)?);

                #[inline(always)]
                fn run(($($arg,)+): ($($type,)+)) $(-> $output)? $body
            }

            crate::vector::dispatch::<Body, _>(($($arg,)+))
        }
    };
    (@output) => { () };
    (@output $output:ty) => { $output };
}

pub(crate) use vectorized;

vectorized! {
    /// [`max`], for use outside a kernel.
    pub(crate) fn highest_of(values: &[f32]) -> f32 {
        max(values)
    }
}

/// Σ f(x).
#[inline(always)]
pub(crate) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f(value);
    }
    sums.iter().sum()
}

/// Σ f(x, y).
#[inline(always)]
pub(crate) fn sum_pairs(xs: &[f32], ys: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let ((x_chunks, x_rest), (y_chunks, y_rest)) = (xs.as_chunks::<LANES>(), ys.as_chunks::<LANES>());
    for (xs, ys) in x_chunks.iter().zip(y_chunks) {
        for (sum, (&x, &y)) in sums.iter_mut().zip(xs.iter().zip(ys)) {
            *sum += f(x, y);
        }
    }
    for (sum, (&x, &y)) in sums.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *sum += f(x, y);
    }
    sums.iter().sum()
}

/// The highest value, −∞ for none; NaN if there is a NaN.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut highest = [f32::NEG_INFINITY; LANES];
    let mut nans = [0u32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for ((highest, nan), &value) in highest.iter_mut().zip(&mut nans).zip(chunk) {
            *highest = if value > *highest { value } else { *highest };
            *nan |= u32::from(value.is_nan());
        }
    }
    for ((highest, nan), &value) in highest.iter_mut().zip(&mut nans).zip(rest) {
        *highest = if value > *highest { value } else { *highest };
        *nan |= u32::from(value.is_nan());
    }
    let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if nans.iter().any(|&nan| nan > 0) { f32::NAN } else { highest }
}

/// The position of the highest value, the first of equals; `None` for no values or a NaN.
pub(crate) fn argmax(values: &[f32]) -> Option<usize> {
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (index, block) in values.chunks(BLOCK).enumerate() {
        let block_highest = highest_of(block);
        if block_highest.is_nan() {
            return None;
        }
        if block_highest > highest {
            (best, highest) = (index, block_highest);
        }
    }
    let block = values.chunks(BLOCK).nth(best)?;
    block.iter().position(|&value| value == highest).map(|index| best * BLOCK + index)
}

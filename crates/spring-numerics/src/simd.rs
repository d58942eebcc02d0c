//! Loops compiled for the widest vectors of the machine that runs them.

use std::marker::PhantomData;
use std::sync::OnceLock;

use pulp::Arch;
pub use pulp::{Scalar, Simd, WithSimd};

/// Runs `work` with the instructions that this machine has.
///
/// Only what is inlined is compiled for them: write `#[inline(always)]` before `with_simd` and
/// before all that it calls.
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    ARCH.get_or_init(Arch::new).dispatch(work)
}

/// A loop over plain slices, to be compiled once per instruction set; [`vectorized!`] declares one.
///
/// [`vectorized!`]: crate::vectorized
pub trait Kernel<I> {
    /// What the loop gives.
    type Output;

    /// The loop. It must be `#[inline(always)]`, with all that it calls.
    fn run(input: I) -> Self::Output;
}

/// [`dispatch`]es a [`Kernel`].
pub fn run<K: Kernel<I>, I>(input: I) -> K::Output {
    struct Work<K, I>(PhantomData<K>, I);

    impl<K: Kernel<I>, I> WithSimd for Work<K, I> {
        type Output = K::Output;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> K::Output {
            K::run(self.1)
        }
    }

    dispatch(Work(PhantomData::<K>, input))
}

/// Declares a function whose body is compiled once per instruction set and runs with the widest one
/// that the machine has.
///
/// ```
/// spring_numerics::vectorized! {
///     /// Doubles all values.
///     fn double(values: &mut [f32]) {
///         for value in values {
///             *value *= 2.0;
///         }
///     }
/// }
/// let mut values = [1.0, 2.0];
/// double(&mut values);
/// assert_eq!(values, [2.0, 4.0]);
/// ```
#[macro_export]
macro_rules! vectorized {
    (
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident($($arg:ident: $type:ty),+) $(-> $output:ty)? $body:block
    ) => {
        $(#[$meta])*
        $visibility fn $name($($arg: $type),+) $(-> $output)? {
            struct Body;

            impl $crate::simd::Kernel<($($type,)+)> for Body {
                type Output = $crate::vectorized!(@output $($output)?);

                #[inline(always)]
                fn run(($($arg,)+): ($($type,)+)) $(-> $output)? $body
            }

            $crate::simd::run::<Body, _>(($($arg,)+))
        }
    };
    (@output) => { () };
    (@output $output:ty) => { $output };
}

//! x86-64 with AVX-512 and its byte products (VNNI): a vector is one register.

// A build for one processor alone may have the features anyway, and then they need no `unsafe`.
#![allow(unused_unsafe)]

use std::arch::x86_64::*;

use super::{Layout, Simd, Task};

/// Proof that the processor has what is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Asks the processor.
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni"))
        .then_some(Avx512(()))
    }

    /// Runs a task, compiled for this instruction set.
    pub(crate) fn run(self, task: impl Task) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        fn inner(simd: Avx512, task: impl Task) {
            task.run(simd);
        }
        // SAFETY: `self` is made by `new` alone, which has found these features.
        unsafe { inner(self, task) }
    }
}

/// Calls intrinsics.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: a value of `Avx512` exists only where the processor has AVX-512 F, BW, VL and
        // VNNI; the intrinsics that take pointers get references to arrays of their full width,
        // and these need no alignment.
        unsafe { $call }
    };
}

impl Simd for Avx512 {
    type Words = __m512i;
    type Floats = __m512;
    type Spread = __m512i;
    const ROWS: usize = 8;
    const FLOAT_ROWS: usize = 4;
    const FLOAT_COLUMNS: usize = 8;
    const LAYOUT: Layout = Layout::Bytes;

    #[inline(always)]
    fn words(self, from: &[u8; 64]) -> __m512i {
        intrinsic!(_mm512_loadu_si512(from.as_ptr().cast()))
    }
    #[inline(always)]
    fn store_words(self, words: __m512i, to: &mut [u8; 64]) {
        intrinsic!(_mm512_storeu_si512(to.as_mut_ptr().cast(), words))
    }
    #[inline(always)]
    fn bytes(self, from: &[u8; 16]) -> __m512i {
        intrinsic!(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast())))
    }
    #[inline(always)]
    fn shorts(self, from: &[u8; 32]) -> __m512i {
        intrinsic!(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast())))
    }
    #[inline(always)]
    fn word(self, word: u32) -> __m512i {
        intrinsic!(_mm512_set1_epi32(word as i32))
    }
    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_and_si512(a, b))
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_or_si512(a, b))
    }
    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_xor_si512(a, b))
    }
    #[inline(always)]
    fn shift_left(self, words: __m512i, bits: u32) -> __m512i {
        intrinsic!(_mm512_sll_epi32(words, _mm_cvtsi32_si128(bits as i32)))
    }
    #[inline(always)]
    fn shift_right(self, words: __m512i, bits: u32) -> __m512i {
        intrinsic!(_mm512_srl_epi32(words, _mm_cvtsi32_si128(bits as i32)))
    }
    #[inline(always)]
    fn sum(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn subtract(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_sub_epi32(a, b))
    }
    #[inline(always)]
    fn multiply(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_mullo_epi32(a, b))
    }
    #[inline(always)]
    fn look_up(self, codes: __m512i, table: &[u8; 16]) -> __m512i {
        intrinsic!({
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, codes)
        })
    }
    #[inline(always)]
    fn spread(self, codes: __m512i) -> __m512i {
        codes
    }
    #[inline(always)]
    fn dot(self, [high, low]: [__m512i; 2], codes: __m512i, x: &[u32; 2]) -> [__m512i; 2] {
        intrinsic!([
            _mm512_dpbusd_epi32(high, codes, _mm512_set1_epi32(x[0] as i32)),
            _mm512_dpbusd_epi32(low, codes, _mm512_set1_epi32(x[1] as i32)),
        ])
    }
    #[inline(always)]
    fn total(self, [high, low]: [__m512i; 2]) -> __m512i {
        self.sum(low, self.shift_left(high, 8))
    }

    #[inline(always)]
    fn fetch(self, soon: &[u8]) {
        for line in soon.chunks(64) {
            intrinsic!(_mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()));
        }
    }

    #[inline(always)]
    fn floats(self, from: &[f32; 16]) -> __m512 {
        intrinsic!(_mm512_loadu_ps(from.as_ptr()))
    }
    #[inline(always)]
    fn store(self, floats: __m512, to: &mut [f32; 16]) {
        intrinsic!(_mm512_storeu_ps(to.as_mut_ptr(), floats))
    }
    #[inline(always)]
    fn halves(self, from: &[u8; 32]) -> __m512 {
        intrinsic!(_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())))
    }
    #[inline(always)]
    fn bits_as_floats(self, words: __m512i) -> __m512 {
        intrinsic!(_mm512_castsi512_ps(words))
    }
    #[inline(always)]
    fn to_floats(self, words: __m512i) -> __m512 {
        intrinsic!(_mm512_cvtepi32_ps(words))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn fused(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsic!(_mm512_fmadd_ps(a, b, c))
    }
}

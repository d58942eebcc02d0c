//! x86-64 with AVX2, FMA and half precision: a vector is two registers.

// A build for one processor alone may have the features anyway, and then they need no `unsafe`.
#![allow(unused_unsafe)]

use std::arch::x86_64::*;

use super::{Layout, Simd, Task};

/// Proof that the processor has what is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Asks the processor.
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Avx2(()))
    }

    /// Runs a task, compiled for this instruction set.
    pub(crate) fn run(self, task: impl Task) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner(simd: Avx2, task: impl Task) {
            task.run(simd);
        }
        // SAFETY: `self` is made by `new` alone, which has found these features.
        unsafe { inner(self, task) }
    }
}

/// Calls intrinsics.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: a value of `Avx2` exists only where the processor has AVX2, FMA and F16C; the
        // intrinsics that take pointers get places inside references to arrays, half of which is
        // one register, and need no alignment.
        unsafe { $call }
    };
}

type Words = [__m256i; 2];
type Floats = [__m256; 2];

/// Sums of two products of 16 bits per lane.
#[inline(always)]
fn dot_one(sum: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    intrinsic!(_mm256_add_epi32(sum, _mm256_madd_epi16(codes, x)))
}

impl Simd for Avx2 {
    type Words = Words;
    type Floats = Floats;
    type Spread = [Words; 2];
    const ROWS: usize = 4;
    // A vector is two of sixteen registers: sums of three rows in two chains, or of four columns.
    const FLOAT_ROWS: usize = 3;
    const FLOAT_COLUMNS: usize = 4;
    const LAYOUT: Layout = Layout::Pairs;

    #[inline(always)]
    fn words(self, from: &[u8; 64]) -> Words {
        let from = from.as_ptr();
        intrinsic!([_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())])
    }
    #[inline(always)]
    fn store_words(self, words: Words, to: &mut [u8; 64]) {
        let to = to.as_mut_ptr();
        intrinsic!({
            _mm256_storeu_si256(to.cast(), words[0]);
            _mm256_storeu_si256(to.add(32).cast(), words[1]);
        })
    }
    #[inline(always)]
    fn bytes(self, from: &[u8; 16]) -> Words {
        intrinsic!({
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            [_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))]
        })
    }
    #[inline(always)]
    fn shorts(self, from: &[u8; 32]) -> Words {
        let from = from.as_ptr();
        intrinsic!([
            _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16).cast())),
        ])
    }
    #[inline(always)]
    fn word(self, word: u32) -> Words {
        intrinsic!([_mm256_set1_epi32(word as i32); 2])
    }
    #[inline(always)]
    fn and(self, a: Words, b: Words) -> Words {
        intrinsic!([_mm256_and_si256(a[0], b[0]), _mm256_and_si256(a[1], b[1])])
    }
    #[inline(always)]
    fn or(self, a: Words, b: Words) -> Words {
        intrinsic!([_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])])
    }
    #[inline(always)]
    fn xor(self, a: Words, b: Words) -> Words {
        intrinsic!([_mm256_xor_si256(a[0], b[0]), _mm256_xor_si256(a[1], b[1])])
    }
    #[inline(always)]
    fn shift_left(self, words: Words, bits: u32) -> Words {
        intrinsic!({
            let bits = _mm_cvtsi32_si128(bits as i32);
            [_mm256_sll_epi32(words[0], bits), _mm256_sll_epi32(words[1], bits)]
        })
    }
    #[inline(always)]
    fn shift_right(self, words: Words, bits: u32) -> Words {
        intrinsic!({
            let bits = _mm_cvtsi32_si128(bits as i32);
            [_mm256_srl_epi32(words[0], bits), _mm256_srl_epi32(words[1], bits)]
        })
    }
    #[inline(always)]
    fn sum(self, a: Words, b: Words) -> Words {
        intrinsic!([_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])])
    }
    #[inline(always)]
    fn subtract(self, a: Words, b: Words) -> Words {
        intrinsic!([_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])])
    }
    #[inline(always)]
    fn multiply(self, a: Words, b: Words) -> Words {
        intrinsic!([_mm256_mullo_epi32(a[0], b[0]), _mm256_mullo_epi32(a[1], b[1])])
    }
    #[inline(always)]
    fn look_up(self, codes: Words, table: &[u8; 16]) -> Words {
        intrinsic!({
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, codes[0]), _mm256_shuffle_epi8(table, codes[1])]
        })
    }
    #[inline(always)]
    fn spread(self, codes: Words) -> [Words; 2] {
        let even = self.and(codes, self.word(0x00ff_00ff));
        let odd = intrinsic!([_mm256_srli_epi16::<8>(codes[0]), _mm256_srli_epi16::<8>(codes[1]),]);
        [even, odd]
    }
    #[inline(always)]
    fn dot(self, sums: [Words; 2], codes: [Words; 2], x: &[u32; 2]) -> [Words; 2] {
        let [none, mut sum] = sums;
        for (codes, x) in codes.into_iter().zip(x) {
            // From memory to all lanes in one operation that the loads do.
            let x = intrinsic!(_mm256_castps_si256(_mm256_broadcast_ss(&f32::from_bits(*x))));
            sum = [dot_one(sum[0], codes[0], x), dot_one(sum[1], codes[1], x)];
        }
        [none, sum]
    }
    #[inline(always)]
    fn total(self, [_, sum]: [Words; 2]) -> Words {
        sum
    }

    #[inline(always)]
    fn floats(self, from: &[f32; 16]) -> Floats {
        let from = from.as_ptr();
        intrinsic!([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))])
    }
    #[inline(always)]
    fn store(self, floats: Floats, to: &mut [f32; 16]) {
        let to = to.as_mut_ptr();
        intrinsic!({
            _mm256_storeu_ps(to, floats[0]);
            _mm256_storeu_ps(to.add(8), floats[1]);
        })
    }
    #[inline(always)]
    fn halves(self, from: &[u8; 32]) -> Floats {
        let from = from.as_ptr();
        intrinsic!([
            _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
        ])
    }
    #[inline(always)]
    fn bits_as_floats(self, words: Words) -> Floats {
        intrinsic!([_mm256_castsi256_ps(words[0]), _mm256_castsi256_ps(words[1])])
    }
    #[inline(always)]
    fn to_floats(self, words: Words) -> Floats {
        intrinsic!([_mm256_cvtepi32_ps(words[0]), _mm256_cvtepi32_ps(words[1])])
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Floats {
        intrinsic!([_mm256_set1_ps(x); 2])
    }
    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        intrinsic!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        intrinsic!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn fused(self, a: Floats, b: Floats, c: Floats) -> Floats {
        intrinsic!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }
}

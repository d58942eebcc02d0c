//! 64-bit ARM: a vector is four registers.

// A build for one processor alone may have the features anyway, and then they need no `unsafe`.
#![allow(unused_unsafe)]

use std::arch::aarch64::*;

use super::{Layout, Simd, Task};

/// Proof that the processor has what is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Neon(());

impl Neon {
    /// Asks the processor.
    pub(crate) fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    /// Runs a task, compiled for this instruction set.
    pub(crate) fn run(self, task: impl Task) {
        #[target_feature(enable = "neon")]
        fn inner(simd: Neon, task: impl Task) {
            task.run(simd);
        }
        // SAFETY: `self` is made by `new` alone, which has found this feature.
        unsafe { inner(self, task) }
    }
}

/// Calls intrinsics.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: a value of `Neon` exists only where the processor has NEON; the intrinsics that
        // take pointers get places inside references to arrays that are wide enough.
        unsafe { $call }
    };
}

type Words = [uint32x4_t; 4];
type Floats = [float32x4_t; 4];

/// Adds to each lane the product of its four codes, bytes of at most 127, with four with a sign.
#[inline(always)]
fn dot_bytes(sum: Words, codes: Words, x: u32) -> Words {
    // Codes of at most 127 are the same bytes with a sign.
    intrinsic!({
        let x = vreinterpretq_s8_u32(vdupq_n_u32(x));
        std::array::from_fn(|i| {
            let codes = vreinterpretq_s8_u32(codes[i]);
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(codes), vget_low_s8(x)));
            let high = vpaddlq_s16(vmull_s8(vget_high_s8(codes), vget_high_s8(x)));
            vaddq_u32(sum[i], vreinterpretq_u32_s32(vpaddq_s32(low, high)))
        })
    })
}

impl Simd for Neon {
    type Words = Words;
    type Floats = Floats;
    type Spread = Words;
    const ROWS: usize = 2;
    const FLOAT_ROWS: usize = 1;
    const FLOAT_COLUMNS: usize = 4;
    const LAYOUT: Layout = Layout::Bytes;

    #[inline(always)]
    fn words(self, from: &[u8; 64]) -> Words {
        let from = from.as_ptr();
        intrinsic!(std::array::from_fn(|i| vreinterpretq_u32_u8(vld1q_u8(from.add(16 * i)))))
    }
    #[inline(always)]
    fn store_words(self, words: Words, to: &mut [u8; 64]) {
        let to = to.as_mut_ptr();
        for (i, word) in words.into_iter().enumerate() {
            intrinsic!(vst1q_u8(to.add(16 * i), vreinterpretq_u8_u32(word)));
        }
    }
    #[inline(always)]
    fn bytes(self, from: &[u8; 16]) -> Words {
        intrinsic!({
            let bytes = vld1q_u8(from.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)));
            [
                vmovl_u16(vget_low_u16(low)),
                vmovl_u16(vget_high_u16(low)),
                vmovl_u16(vget_low_u16(high)),
                vmovl_u16(vget_high_u16(high)),
            ]
        })
    }
    #[inline(always)]
    fn shorts(self, from: &[u8; 32]) -> Words {
        let from = from.as_ptr();
        intrinsic!({
            let low = vreinterpretq_u16_u8(vld1q_u8(from));
            let high = vreinterpretq_u16_u8(vld1q_u8(from.add(16)));
            [
                vmovl_u16(vget_low_u16(low)),
                vmovl_u16(vget_high_u16(low)),
                vmovl_u16(vget_low_u16(high)),
                vmovl_u16(vget_high_u16(high)),
            ]
        })
    }
    #[inline(always)]
    fn word(self, word: u32) -> Words {
        intrinsic!([vdupq_n_u32(word); 4])
    }
    #[inline(always)]
    fn and(self, a: Words, b: Words) -> Words {
        intrinsic!(std::array::from_fn(|i| vandq_u32(a[i], b[i])))
    }
    #[inline(always)]
    fn or(self, a: Words, b: Words) -> Words {
        intrinsic!(std::array::from_fn(|i| vorrq_u32(a[i], b[i])))
    }
    #[inline(always)]
    fn xor(self, a: Words, b: Words) -> Words {
        intrinsic!(std::array::from_fn(|i| veorq_u32(a[i], b[i])))
    }
    #[inline(always)]
    fn shift_left(self, words: Words, bits: u32) -> Words {
        intrinsic!({
            let bits = vdupq_n_s32(bits as i32);
            std::array::from_fn(|i| vshlq_u32(words[i], bits))
        })
    }
    #[inline(always)]
    fn shift_right(self, words: Words, bits: u32) -> Words {
        intrinsic!({
            let bits = vdupq_n_s32(-(bits as i32));
            std::array::from_fn(|i| vshlq_u32(words[i], bits))
        })
    }
    #[inline(always)]
    fn sum(self, a: Words, b: Words) -> Words {
        intrinsic!(std::array::from_fn(|i| vaddq_u32(a[i], b[i])))
    }
    #[inline(always)]
    fn subtract(self, a: Words, b: Words) -> Words {
        intrinsic!(std::array::from_fn(|i| vsubq_u32(a[i], b[i])))
    }
    #[inline(always)]
    fn multiply(self, a: Words, b: Words) -> Words {
        intrinsic!(std::array::from_fn(|i| vmulq_u32(a[i], b[i])))
    }
    #[inline(always)]
    fn look_up(self, codes: Words, table: &[u8; 16]) -> Words {
        intrinsic!({
            let table = vld1q_u8(table.as_ptr());
            std::array::from_fn(|i| {
                vreinterpretq_u32_u8(vqtbl1q_u8(table, vreinterpretq_u8_u32(codes[i])))
            })
        })
    }
    #[inline(always)]
    fn spread(self, codes: Words) -> Words {
        codes
    }
    #[inline(always)]
    fn dot(self, [high, low]: [Words; 2], codes: Words, x: &[u32; 2]) -> [Words; 2] {
        [dot_bytes(high, codes, x[0]), dot_bytes(low, codes, x[1])]
    }
    #[inline(always)]
    fn dot_wide(self, [high, low]: [Words; 2], codes: Words, x: &[u32; 2]) -> [Words; 2] {
        // A code is 128 more than the byte with a sign whose top bit is the other one.
        let offset = |x: u32| {
            let total: i32 = x.to_le_bytes().iter().map(|&byte| i32::from(byte as i8)).sum();
            self.word((-128 * total) as u32)
        };
        let signed = self.xor(codes, self.word(0x8080_8080));
        let high = self.subtract(high, offset(x[0]));
        let low = self.subtract(low, offset(x[1]));
        self.dot([high, low], signed, x)
    }
    #[inline(always)]
    fn total(self, [high, low]: [Words; 2]) -> Words {
        self.sum(low, self.shift_left(high, 8))
    }

    #[inline(always)]
    fn floats(self, from: &[f32; 16]) -> Floats {
        let from = from.as_ptr();
        intrinsic!(std::array::from_fn(|i| vld1q_f32(from.add(4 * i))))
    }
    #[inline(always)]
    fn store(self, floats: Floats, to: &mut [f32; 16]) {
        let to = to.as_mut_ptr();
        for (i, four) in floats.into_iter().enumerate() {
            intrinsic!(vst1q_f32(to.add(4 * i), four));
        }
    }
    #[inline(always)]
    fn halves(self, from: &[u8; 32]) -> Floats {
        // The intrinsics for half precision are not in stable Rust yet.
        let floats =
            std::array::from_fn(|i| half::f16::from_le_bytes([from[2 * i], from[2 * i + 1]]));
        self.floats(&floats.map(half::f16::to_f32))
    }
    #[inline(always)]
    fn bits_as_floats(self, words: Words) -> Floats {
        intrinsic!(std::array::from_fn(|i| vreinterpretq_f32_u32(words[i])))
    }
    #[inline(always)]
    fn to_floats(self, words: Words) -> Floats {
        intrinsic!(std::array::from_fn(|i| vcvtq_f32_s32(vreinterpretq_s32_u32(words[i]))))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Floats {
        intrinsic!([vdupq_n_f32(x); 4])
    }
    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        intrinsic!(std::array::from_fn(|i| vaddq_f32(a[i], b[i])))
    }
    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        intrinsic!(std::array::from_fn(|i| vmulq_f32(a[i], b[i])))
    }
    #[inline(always)]
    fn fused(self, a: Floats, b: Floats, c: Floats) -> Floats {
        intrinsic!(std::array::from_fn(|i| vfmaq_f32(c[i], a[i], b[i])))
    }
}

//! Plain Rust, for processors without the others and as what they are compared with.

use super::{Layout, Simd};

/// Lanes in arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

fn pairwise<T: Copy>(a: [T; 16], b: [T; 16], f: impl Fn(T, T) -> T) -> [T; 16] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type Words = [u32; 16];
    type Floats = [f32; 16];
    type Spread = [u32; 16];
    const ROWS: usize = 4;
    const FLOAT_ROWS: usize = 4;
    const FLOAT_COLUMNS: usize = 8;
    const LAYOUT: Layout = Layout::Pairs;

    fn words(self, from: &[u8; 64]) -> [u32; 16] {
        std::array::from_fn(|i| {
            u32::from_le_bytes([from[4 * i], from[4 * i + 1], from[4 * i + 2], from[4 * i + 3]])
        })
    }
    fn store_words(self, words: [u32; 16], to: &mut [u8; 64]) {
        for (to, word) in to.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
    }
    fn bytes(self, from: &[u8; 16]) -> [u32; 16] {
        from.map(u32::from)
    }
    fn shorts(self, from: &[u8; 32]) -> [u32; 16] {
        std::array::from_fn(|i| u16::from_le_bytes([from[2 * i], from[2 * i + 1]]).into())
    }
    fn word(self, word: u32) -> [u32; 16] {
        [word; 16]
    }
    fn and(self, a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        pairwise(a, b, |a, b| a & b)
    }
    fn or(self, a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        pairwise(a, b, |a, b| a | b)
    }
    fn xor(self, a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        pairwise(a, b, |a, b| a ^ b)
    }
    fn shift_left(self, words: [u32; 16], bits: u32) -> [u32; 16] {
        words.map(|word| word << bits)
    }
    fn shift_right(self, words: [u32; 16], bits: u32) -> [u32; 16] {
        words.map(|word| word >> bits)
    }
    fn sum(self, a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        pairwise(a, b, u32::wrapping_add)
    }
    fn subtract(self, a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        pairwise(a, b, u32::wrapping_sub)
    }
    fn multiply(self, a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        pairwise(a, b, u32::wrapping_mul)
    }
    fn look_up(self, codes: [u32; 16], table: &[u8; 16]) -> [u32; 16] {
        codes.map(|word| {
            u32::from_le_bytes(word.to_le_bytes().map(|code| table[usize::from(code & 15)]))
        })
    }
    fn spread(self, codes: [u32; 16]) -> [u32; 16] {
        codes
    }
    fn dot(self, [none, sum]: [[u32; 16]; 2], codes: [u32; 16], x: &[u32; 2]) -> [[u32; 16]; 2] {
        let half = |word: u32, high: u32| i32::from((word >> (16 * high)) as i16);
        let x = [half(x[0], 0), half(x[1], 0), half(x[0], 1), half(x[1], 1)];
        let sum = pairwise(sum, codes, |sum, codes| {
            let codes = codes.to_le_bytes();
            let dot: i32 = (0..4).map(|i| i32::from(codes[i]) * x[i]).sum();
            sum.wrapping_add(dot as u32)
        });
        [none, sum]
    }
    fn total(self, [_, sum]: [[u32; 16]; 2]) -> [u32; 16] {
        sum
    }

    fn floats(self, from: &[f32; 16]) -> [f32; 16] {
        *from
    }
    fn store(self, floats: [f32; 16], to: &mut [f32; 16]) {
        *to = floats;
    }
    fn halves(self, from: &[u8; 32]) -> [f32; 16] {
        std::array::from_fn(|i| half::f16::from_le_bytes([from[2 * i], from[2 * i + 1]]).to_f32())
    }
    fn bits_as_floats(self, words: [u32; 16]) -> [f32; 16] {
        words.map(f32::from_bits)
    }
    fn to_floats(self, words: [u32; 16]) -> [f32; 16] {
        words.map(|word| word as i32 as f32)
    }
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        pairwise(a, b, |a, b| a + b)
    }
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        pairwise(a, b, |a, b| a * b)
    }
    fn fused(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        // Slow where the processor cannot do it, but the same number everywhere.
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
}

//! Vectors of 16 lanes: one lane per weight row of a panel.
//!
//! A kernel is written once over [`Simd`] and compiled for each instruction set; which one runs
//! is chosen when the program runs.
//! Every operation gives the same bits on each of them: integers are exact, and floats are
//! multiplied, added and fused in the order in which the kernel says it, lane by lane.
//!
//! `unsafe` stands here alone: intrinsics are unsafe to call where the compiler does not know
//! that the processor has them, and the values of these types are made only after the processor
//! was asked. What this brings is measured in `benches/products.rs` and docs/results/gguf.md.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

/// Lanes of a vector, which are the weight rows of a panel.
pub(crate) const LANES: usize = 16;

/// The operations that the kernels are written in.
pub(crate) trait Simd: Copy + Send + Sync {
    /// 16 words of 32 bits: four bytes each, or integers with a sign.
    type Words: Copy;
    /// 16 floats.
    type Floats: Copy;
    /// Codes of four columns as [`Simd::dot`] takes them.
    type Spread: Copy;
    /// Rows that are computed together: their sums and a group's codes fill the registers.
    const ROWS: usize;
    /// Rows that are computed together in floats.
    const FLOAT_ROWS: usize;
    /// Columns of a transposed product that are computed together.
    const FLOAT_COLUMNS: usize;
    /// How codes of rows are laid out for [`Simd::dot`].
    const LAYOUT: Layout;

    /// Loads 16 words.
    fn words(self, from: &[u8; 64]) -> Self::Words;
    /// Stores 16 words.
    fn store_words(self, words: Self::Words, to: &mut [u8; 64]);
    /// 16 bytes without a sign, one per lane.
    fn bytes(self, from: &[u8; 16]) -> Self::Words;
    /// 16 integers of two bytes without a sign, one per lane.
    fn shorts(self, from: &[u8; 32]) -> Self::Words;
    /// The same word in all lanes.
    fn word(self, word: u32) -> Self::Words;
    fn and(self, a: Self::Words, b: Self::Words) -> Self::Words;
    fn or(self, a: Self::Words, b: Self::Words) -> Self::Words;
    fn xor(self, a: Self::Words, b: Self::Words) -> Self::Words;
    fn shift_left(self, words: Self::Words, bits: u32) -> Self::Words;
    /// A shift that brings in zeros.
    fn shift_right(self, words: Self::Words, bits: u32) -> Self::Words;
    fn sum(self, a: Self::Words, b: Self::Words) -> Self::Words;
    fn subtract(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// The low 32 bits of each product.
    fn multiply(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Looks every byte, which is below 16, up in a table.
    fn look_up(self, codes: Self::Words, table: &[u8; 16]) -> Self::Words;
    /// Prepares the codes of four columns, bytes without a sign, for several products.
    fn spread(self, codes: Self::Words) -> Self::Spread;
    /// Adds to each lane the product of its four codes, each at most 127, with the codes of a row
    /// in this set's layout. The sum is in two parts, which [`Simd::total`] adds up.
    fn dot(self, sums: [Self::Words; 2], codes: Self::Spread, x: &[u32; 2]) -> [Self::Words; 2];
    /// [`Simd::dot`] with codes up to 255.
    fn dot_wide(
        self,
        sums: [Self::Words; 2],
        codes: Self::Spread,
        x: &[u32; 2],
    ) -> [Self::Words; 2] {
        self.dot(sums, codes, x)
    }
    /// The sum of what [`Simd::dot`] has added up.
    fn total(self, sums: [Self::Words; 2]) -> Self::Words;

    /// Asks for bytes that will be needed soon, where the set can.
    fn fetch(self, _soon: &[u8]) {}

    /// Loads 16 floats.
    fn floats(self, from: &[f32; 16]) -> Self::Floats;
    /// Stores 16 floats.
    fn store(self, floats: Self::Floats, to: &mut [f32; 16]);
    /// 16 floats of half precision.
    fn halves(self, from: &[u8; 32]) -> Self::Floats;
    /// The floats with these bits.
    fn bits_as_floats(self, words: Self::Words) -> Self::Floats;
    /// Integers with a sign as floats.
    fn to_floats(self, words: Self::Words) -> Self::Floats;
    /// The same float in all lanes.
    fn splat(self, x: f32) -> Self::Floats;
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b + c`, rounded once.
    fn fused(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
}

/// How four codes of 16 bits of a row lie in two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The high bytes, then the low ones, both with a sign: for products of bytes.
    Bytes,
    /// The first and the third code, then the second and the fourth: for products of 16 bits,
    /// which take a word's bytes apart in two operations.
    Pairs,
}

/// A computation that is compiled for each instruction set.
///
/// `run` and everything that it calls with `simd` must be `#[inline(always)]`: the instruction
/// set is a property of the function that they end up in.
pub(crate) trait Task {
    fn run<S: Simd>(self, simd: S);
}

/// The instruction set that products are computed with.
///
/// All of them give the same results to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernels(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

impl Kernels {
    /// The fastest that this processor has.
    pub fn detect() -> Kernels {
        Kernels::available().pop().unwrap_or(Kernels(Set::Portable))
    }

    /// All that this processor has, the slowest (plain Rust) first.
    pub fn available() -> Vec<Kernels> {
        let mut sets = vec![Set::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(avx2::Avx2::new().map(Set::Avx2));
            sets.extend(avx512::Avx512::new().map(Set::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        sets.extend(neon::Neon::new().map(Set::Neon));
        sets.into_iter().map(Kernels).collect()
    }

    /// The name: `portable`, `avx2`, `avx512-vnni` or `neon`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512-vnni",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
        }
    }

    /// How codes of rows are laid out for this set.
    pub(crate) fn layout(self) -> Layout {
        match self.0 {
            Set::Portable => portable::Portable::LAYOUT,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => avx2::Avx2::LAYOUT,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => avx512::Avx512::LAYOUT,
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => neon::Neon::LAYOUT,
        }
    }

    pub(crate) fn run(self, task: impl Task) {
        match self.0 {
            Set::Portable => task.run(portable::Portable),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => simd.run(task),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => simd.run(task),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(simd) => simd.run(task),
        }
    }
}

impl std::fmt::Display for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs every operation on odd values and collects the results' bits.
    struct All<'a>(&'a mut Vec<u32>);

    impl Task for All<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let bytes: [u8; 64] = std::array::from_fn(|i| (i * 37 + 11) as u8);
            let other: [u8; 64] = std::array::from_fn(|i| (i * 101 + 200) as u8);
            let (a, b) = (s.words(&bytes), s.words(&other));
            let low = s.and(a, s.word(0x7f7f_7f7f));
            let xs = [[1, -2, 300, -4000], [32_512; 4], [-32_512; 4], [-32_512, 32_512, 127, -128]];
            let mut words = vec![
                a,
                s.bytes(bytes[..16].try_into().unwrap()),
                s.shorts(bytes[..32].try_into().unwrap()),
                s.and(a, b),
                s.or(a, b),
                s.xor(a, b),
                s.shift_left(a, 5),
                s.shift_right(a, 7),
                s.sum(a, b),
                s.subtract(a, b),
                s.multiply(a, b),
                s.look_up(s.and(a, s.word(0x0f0f_0f0f)), bytes[..16].try_into().unwrap()),
            ];
            for x in xs {
                let (x, sums) = (&S::LAYOUT.words(x), [s.word(0), b]);
                words.push(s.total(s.dot(sums, s.spread(low), x)));
                words.push(s.total(s.dot_wide(sums, s.spread(a), x)));
                words.push(s.total(s.dot_wide(sums, s.spread(s.word(u32::MAX)), x)));
                words.push(s.total(s.dot(sums, s.spread(s.word(0x7f7f_7f7f)), x)));
            }
            for word in words {
                let mut out = [0; 64];
                s.store_words(word, &mut out);
                let each = out.chunks_exact(4);
                self.0.extend(each.map(|w| u32::from_le_bytes(w.try_into().unwrap())));
            }
            let x = s.to_floats(s.shift_right(a, 3));
            let y = s.halves(&std::array::from_fn(|i| if i % 2 == 1 { 0x35 } else { i as u8 }));
            let sums = [x, y, s.add(x, y), s.mul(x, y), s.fused(x, y, s.splat(1e-7))];
            for floats in
                sums.into_iter().chain([s.bits_as_floats(s.bytes(&[3; 16])), s.to_floats(a)])
            {
                let mut out = [0.0; 16];
                s.store(floats, &mut out);
                s.store(s.floats(&out), &mut out);
                self.0.extend(out.map(f32::to_bits));
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let results: Vec<Vec<u32>> = Kernels::available()
            .into_iter()
            .map(|kernels| {
                let mut bits = Vec::new();
                kernels.run(All(&mut bits));
                bits
            })
            .collect();
        for (result, kernels) in results.iter().zip(Kernels::available()) {
            assert_eq!(result, &results[0], "{kernels}");
        }
    }
}

//! Keyed randomness: every random choice depends on its key alone, never on what ran before it.
//!
//! A run's choices are keyed from the outside in: [`seed`] for (seed, user, period, purpose),
//! [`split`] for the step and the row below that, and a numbered [`stream`] of ChaCha8 for what is
//! drawn there. No two places share a generator.

#[cfg(feature = "random")]
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

#[cfg(feature = "digest")]
use crate::digest::Digest;

/// The seed of one purpose: the same for any order of users, any number of jobs and threads.
#[cfg(feature = "digest")]
pub fn seed(seed: u64, user: &str, period: u32, purpose: &str) -> u64 {
    let mut digest = Digest::new();
    digest.update_part(seed.to_le_bytes());
    digest.update_part(user);
    digest.update_part(period.to_le_bytes());
    digest.update_part(purpose);
    digest.number()
}

/// Another seed for each index: the `index`-th number, from 0, of SplitMix64 (Steele, Lea and Flood
/// 2014) started at `seed`, so that seeds of seeds do not meet. For one index, a bijection of
/// seeds.
pub fn split(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `number`-th stream of random numbers of `seed`; those of one seed are independent.
#[cfg(feature = "random")]
pub fn stream(seed: u64, number: u64) -> KeyedRng {
    Streams::new(seed).get(number)
}

/// The random numbers of one stream: those of ChaCha with 8 rounds.
#[cfg(feature = "random")]
#[derive(Debug, Clone)]
pub struct KeyedRng(ChaCha8Rng);

#[cfg(feature = "random")]
impl RngCore for KeyedRng {
    #[inline]
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    #[inline]
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    #[inline]
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// The streams of one seed, for taking many.
#[cfg(feature = "random")]
#[derive(Debug, Clone)]
pub struct Streams(ChaCha8Rng);

#[cfg(feature = "random")]
impl Streams {
    /// Of this seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The `number`-th, from its beginning.
    pub fn get(&self, number: u64) -> KeyedRng {
        let mut stream = self.0.clone();
        stream.set_stream(number);
        KeyedRng(stream)
    }
}

#[cfg(all(test, feature = "digest", feature = "random"))]
mod tests {
    use rand::Rng;

    use super::*;

    /// What was learned with these numbers is kept in states: they must not change.
    #[test]
    fn the_numbers_stay() {
        assert_eq!(seed(7, "ada", 3, "adapter"), seed(7, "ada", 3, "adapter"));
        for other in [
            seed(8, "ada", 3, "adapter"),
            seed(7, "ad", 3, "aadapter"),
            seed(7, "ada", 4, "adapter"),
        ] {
            assert_ne!(seed(7, "ada", 3, "adapter"), other);
        }
        // The first outputs of the reference implementation, started at 1234567.
        let reference =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([0, 1, 2].map(|index| split(1_234_567, index)), reference);
    }

    #[test]
    fn a_stream_is_one_of_chacha8() {
        let (mut ours, mut bytes) = (stream(5, 9), [0; 13]);
        let (mut theirs, mut expected) = (ChaCha8Rng::seed_from_u64(5), [0; 13]);
        theirs.set_stream(9);
        for _ in 0..20 {
            assert_eq!(ours.next_u32(), theirs.next_u32());
            ours.fill_bytes(&mut bytes);
            theirs.fill_bytes(&mut expected);
            assert_eq!((ours.next_u64(), bytes), (theirs.next_u64(), expected));
        }
    }

    #[test]
    fn a_stream_depends_on_its_number_alone() {
        let streams = Streams::new(5);
        let first: u64 = streams.get(9).random();
        let _: u64 = streams.get(4).random();
        assert_eq!(first, streams.get(9).random::<u64>());
        assert_eq!(first, stream(5, 9).random::<u64>());
        assert_ne!(first, stream(5, 8).random::<u64>());
        assert_ne!(first, stream(6, 9).random::<u64>());
    }
}

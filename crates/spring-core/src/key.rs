//! Keyed randomness: every random choice depends on its key alone, never on what ran before it.

use sha2::{Digest, Sha256};

/// The seed of one purpose: the same for any order of users, any number of jobs and threads.
pub fn seed(seed: u64, user: &str, period: u32, purpose: &str) -> u64 {
    let mut hash = Sha256::new();
    for part in [&seed.to_le_bytes()[..], user.as_bytes(), &period.to_le_bytes(), purpose.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

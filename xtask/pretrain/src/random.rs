//! Random numbers that depend on a seed, a purpose and a number alone: no draw moves another.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The generator of one purpose's `number`-th draw.
pub fn keyed(seed: u64, purpose: &str, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::from_seed(
        Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose).finalize().into(),
    );
    rng.set_stream(number);
    rng
}

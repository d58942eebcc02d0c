//! A number for some content: SHA-256, cut to 64 bits.

use sha2::{Digest, Sha256};

/// The first 8 bytes of the SHA-256 of some parts, each with its length in front, so that no two
/// lists of parts read alike.
pub(crate) fn of_parts(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

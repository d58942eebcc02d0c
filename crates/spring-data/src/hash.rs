//! A number for some content: SHA-256, cut to 64 bits.

use spring_numerics::digest::Digest;

/// The first 8 bytes of the SHA-256 of some parts, each with its length in front, so that no two
/// lists of parts read alike.
pub(crate) fn of_parts(parts: &[&[u8]]) -> u64 {
    let mut digest = Digest::new();
    parts.iter().for_each(|part| digest.update_part(part));
    digest.number()
}

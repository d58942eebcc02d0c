//! SHA-256 of bytes that come in parts: names for content, never keys of random numbers.

use std::io;

use sha2::{Digest as _, Sha256};

/// A SHA-256 that is still being computed. Anything that writes can write into it.
///
/// ```
/// use spring_numerics::digest::Digest;
/// let mut digest = Digest::new();
/// digest.update(b"abc");
/// assert!(digest.hex().starts_with("ba7816bf"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// Appends the number of bytes (64 bits, little-endian) and then the bytes, so that no other
    /// division of the same bytes into parts has the same digest.
    pub fn update_part(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The 32 bytes.
    pub fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The bytes in 64 hexadecimal digits.
    pub fn hex(self) -> String {
        hex(self.bytes())
    }

    /// The first eight bytes as a number, the most significant first.
    pub fn number(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The SHA-256 of `bytes` in 64 hexadecimal digits.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    let mut digest = Digest::new();
    digest.update(bytes);
    digest.hex()
}

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The vectors of FIPS 180-2.
    #[test]
    fn it_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((sha256_hex(""), sha256_hex("abc")), (empty.to_owned(), abc.to_owned()));
        let mut digest = Digest::new();
        digest.write_all(b"a").unwrap();
        digest.update("bc");
        assert_eq!(digest.clone().number(), 0xba78_16bf_8f01_cfea);
        assert_eq!(digest.hex(), abc);
    }

    #[test]
    fn parts_are_kept_apart() {
        let of = |parts: [&str; 2]| {
            let mut digest = Digest::new();
            parts.iter().for_each(|part| digest.update_part(part));
            digest.hex()
        };
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}

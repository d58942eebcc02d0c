//! The fingerprint of a model's files.

use std::{borrow::Cow, io::Read, path::Path};

use spring_numerics::digest::Digest;

use super::{ModelFiles, Shard};
use crate::{ModelError, Result};

impl ModelFiles {
    /// Identifies config, tokenizer, chat template and weights: adapters and states carry it, and
    /// refuse another base.
    ///
    /// SHA-256 over them, in hexadecimal. Of a weights file above 64 MiB, the length and 64 evenly
    /// spaced blocks of 64 KiB stand for the whole: training changes all of a file, and reading it
    /// all would cost as much as loading. What stands before the tensors of a GGUF file, tokenizer
    /// and template among it, is always read whole.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] if a weights file cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Digest::new();
        if let Some(file) = &self.gguf {
            for (shard, path) in file.paths().enumerate() {
                let tensors = file.tensors().iter().filter(|tensor| tensor.shard == shard);
                let head = tensors.map(|tensor| tensor.start).min().unwrap_or(u64::MAX);
                hash_head(&mut hash, path, head)
                    .and_then(|()| hash_file(&mut hash, path))
                    .map_err(|source| ModelError::Io { path: path.into(), source })?;
            }
            return Ok(hash.hex());
        }
        for part in [&self.config, self.tokenizer.as_ref().unwrap_or(&Cow::Borrowed(&[]))] {
            hash.update_part(part);
        }
        // Another template makes other prompts of the same texts. Without one, nothing is added.
        let config = self.tokenizer_config.as_ref();
        let config = config.filter(|json| json.windows(13).any(|part| part == b"chat_template"));
        let templates = self.chat_templates.values();
        for part in config.into_iter().chain(&self.chat_template).chain(templates) {
            hash.update_part(part);
        }
        // Tokens that the tokenizer has from another file make other ids of the same texts.
        for token in self.foreign_tokens() {
            hash.update_part(token);
        }
        for shard in &self.weights {
            match shard {
                Shard::Bytes(bytes) => hash_blocks(&mut hash, bytes.len() as u64, |at, buffer| {
                    let at = at as usize;
                    buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
                    Ok(())
                }),
                Shard::File(path) => hash_file(&mut hash, path),
            }
            .map_err(|source| ModelError::Io { path: shard.path(), source })?;
        }
        Ok(hash.hex())
    }
}

const HASHED_WHOLE: u64 = 64 << 20;
const BLOCK: u64 = 64 << 10;

fn hash_blocks(
    hash: &mut Digest,
    len: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    hash.update(len.to_le_bytes());
    let blocks = if len <= HASHED_WHOLE { len.div_ceil(BLOCK) } else { 64 };
    let mut buffer = vec![0; BLOCK as usize];
    for block in 0..blocks {
        let at = if len <= HASHED_WHOLE { block * BLOCK } else { (len - BLOCK) / 63 * block };
        let size = BLOCK.min(len - at) as usize;
        read(at, &mut buffer[..size])?;
        hash.update(&buffer[..size]);
    }
    Ok(())
}

/// The first bytes of a file, whole.
fn hash_head(hash: &mut Digest, path: &Path, len: u64) -> std::io::Result<()> {
    let (mut file, mut buffer) = (spring_numerics::file::open(path)?.take(len), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        };
    }
}

fn hash_file(hash: &mut Digest, path: &Path) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut file = spring_numerics::file::open(path)?;
    let len = file.metadata()?.len();
    hash_blocks(hash, len, |at, buffer| {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(buffer)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// A file of 80 MiB of zeros, with other bytes at some places. It takes no room on the disk.
    fn hash_of(places: &[u64]) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(80 << 20).unwrap();
        for place in places {
            file.seek(SeekFrom::Start(*place)).unwrap();
            file.write_all(&[1]).unwrap();
        }
        let mut hash = Digest::new();
        hash_file(&mut hash, file.path()).unwrap();
        hash.hex()
    }

    #[test]
    fn of_a_large_file_a_change_in_a_block_is_seen_and_one_between_them_is_not() {
        let plain = hash_of(&[]);
        // Its length and 64 blocks of zeros: adapters and states have such hashes in them.
        assert_eq!(plain, "1bac4c53b6a1c1f6d4aa288e4c44e9b4417ca8efdf1e72a9fe6b45d2cecd1f42");
        let last = ((80 << 20) - BLOCK) / 63 * 63;
        let step = last / 63;
        for place in [0, BLOCK - 1, step, 40 * step + 7, last, last + BLOCK - 1] {
            assert_ne!(hash_of(&[place]), plain, "{place}");
        }
        for place in [BLOCK, step - 1, 40 * step + BLOCK] {
            assert_eq!(hash_of(&[place]), plain, "{place}");
        }
    }

    #[test]
    fn a_small_file_is_hashed_whole() {
        let hash = |bytes: &[u8]| {
            let mut hash = Digest::new();
            let read = |at: u64, buffer: &mut [u8]| {
                buffer.copy_from_slice(&bytes[at as usize..][..buffer.len()]);
                Ok(())
            };
            hash_blocks(&mut hash, bytes.len() as u64, read).unwrap();
            hash.hex()
        };
        let bytes = vec![0; 200_000];
        for place in [0, 65_535, 65_536, 199_999] {
            let mut changed = bytes.clone();
            changed[place] = 1;
            assert_ne!(hash(&changed), hash(&bytes), "{place}");
        }
    }
}

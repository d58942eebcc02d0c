//! The texts: read as a stream, without repetitions, and split into those for training and those
//! kept from it.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A prompt and its response.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Text {
    /// What the response answers.
    pub prompt: String,
    /// What is to be written.
    pub response: String,
}

impl Text {
    /// The first three words of the prompt: texts of one prompt template share them.
    pub fn group(&self) -> String {
        self.prompt.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    }

    /// Equal for equal texts alone.
    fn digest(&self) -> [u8; 32] {
        let length = (self.prompt.len() as u64).to_le_bytes();
        Sha256::new()
            .chain_update(length)
            .chain_update(&self.prompt)
            .chain_update(&self.response)
            .finalize()
            .into()
    }
}

/// All texts of a run.
#[derive(Debug)]
pub struct Texts {
    /// Texts to train on, in the order of the files.
    pub train: Vec<Text>,
    /// Texts kept from training.
    pub valid: Vec<Text>,
    /// Lines left out because an earlier one is the same.
    pub repeated: usize,
    /// Identifies the texts and the split, in hexadecimal.
    pub fingerprint: String,
}

impl Texts {
    /// Reads JSONL files (`.zst` ones are decompressed), at most `limit` texts, and keeps `valid`
    /// of them from training: those whose seeded hash is smallest, whatever their place.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; a line that is not an object with `prompt` and `response`, or
    /// has an empty response, by file and line; too few texts.
    pub fn read(files: &[PathBuf], limit: Option<usize>, valid: usize, seed: u64) -> Result<Self> {
        let mut texts = Vec::new();
        let (mut known, mut repeated) = (HashSet::new(), 0);
        let limit = limit.unwrap_or(usize::MAX);
        'files: for path in files {
            for (number, line) in open(path)?.lines().enumerate() {
                if texts.len() == limit {
                    break 'files;
                }
                let place = || format!("{}, line {}", path.display(), number + 1);
                let line = line.with_context(place)?;
                let text: Text = serde_json::from_str(&line).with_context(place)?;
                if text.response.is_empty() {
                    bail!("{}: the response is empty", place());
                }
                let digest = text.digest();
                match known.insert(digest) {
                    true => texts.push((rank(&digest, seed), text)),
                    false => repeated += 1,
                }
            }
        }
        ensure!(
            texts.len() > valid,
            "{} texts are too few to keep {valid} from training",
            texts.len()
        );
        let mut ranks: Vec<u64> = texts.iter().map(|(rank, _)| *rank).collect();
        ranks.sort_unstable();
        // Two ranks of 64 bits do not meet.
        let bound = ranks[valid];
        let mut whole = Sha256::new();
        let (mut train, mut kept) =
            (Vec::with_capacity(texts.len() - valid), Vec::with_capacity(valid));
        for (rank, text) in texts {
            whole.update(rank.to_le_bytes());
            if rank < bound { kept.push(text) } else { train.push(text) }
        }
        whole.update(bound.to_le_bytes());
        let fingerprint = whole.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { train, valid: kept, repeated, fingerprint })
    }
}

fn rank(digest: &[u8; 32], seed: u64) -> u64 {
    let hash: [u8; 32] =
        Sha256::new().chain_update(seed.to_le_bytes()).chain_update(digest).finalize().into();
    hash.iter().take(8).fold(0, |rank, byte| rank << 8 | u64::from(*byte))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let file = BufReader::with_capacity(1 << 20, file);
    match path.extension().is_some_and(|extension| extension == "zst") {
        true => Ok(Box::new(BufReader::with_capacity(
            1 << 20,
            Frames { source: Some(file), decoder: None },
        ))),
        false => Ok(Box::new(file)),
    }
}

/// The content of all Zstandard frames of a file, one after the other.
struct Frames<R: BufRead> {
    source: Option<R>,
    decoder: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(mut decoder) = self.decoder.take() {
                let count = decoder.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    self.decoder = Some(decoder);
                    return Ok(count);
                }
                self.source = Some(decoder.into_inner());
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            if source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.decoder = Some(StreamingDecoder::new(source).map_err(io::Error::other)?);
        }
    }
}

//! Reading forward through a file of known length, never believing a count.

use std::io::Read;
use std::path::Path;

use crate::error::{GgufError, Result};

/// A reader that knows where it is and how far it may go.
pub(crate) struct Cursor<'p, R> {
    from: R,
    at: u64,
    length: u64,
    limit: u64,
    path: &'p Path,
}

impl<'p, R: Read> Cursor<'p, R> {
    /// Reads a file of `length` bytes, at most `limit` of them.
    pub(crate) fn new(from: R, length: u64, path: &'p Path, limit: u64) -> Self {
        Cursor { from, at: 0, length, limit, path }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn path(&self) -> &'p Path {
        self.path
    }

    /// Checks that a count is within its limit, and that the rest of the file is long enough for
    /// this many things of `each` bytes at least.
    pub(crate) fn believe(&self, what: &str, count: u64, each: u64, limit: u64) -> Result<()> {
        if count > limit {
            return Err(self.above(format!("the number of elements of {what}"), count, limit));
        }
        let needed = count.saturating_mul(each);
        if needed > self.length - self.at {
            return Err(self.truncated(what));
        }
        if needed > self.limit - self.at {
            let what = format!("the length of the header, in {what},");
            return Err(self.above(what, self.at.saturating_add(needed), self.limit));
        }
        Ok(())
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, what: &str, count: u64) -> Result<Vec<u8>> {
        self.believe(what, count, 1, u64::MAX)?;
        let mut bytes = vec![0; count as usize];
        self.fill(what, &mut bytes)?;
        Ok(bytes)
    }

    /// Four bytes, or what is there where the file is shorter.
    pub(crate) fn up_to_four(&mut self) -> Result<Vec<u8>> {
        self.bytes("the first letters", self.length.min(4))
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32> {
        let mut bytes = [0; 4];
        self.believe(what, 4, 1, 4)?;
        self.fill(what, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64> {
        let mut bytes = [0; 8];
        self.believe(what, 8, 1, 8)?;
        self.fill(what, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A text with its length in front; `what` is the key, or names the text.
    pub(crate) fn string(&mut self, what: &str, limit: u64) -> Result<String> {
        let length = self.u64(what)?;
        if length > limit {
            return Err(self.above(format!("the length of a text of {what}"), length, limit));
        }
        String::from_utf8(self.bytes(what, length)?)
            .map_err(|_| self.at_key(what, "holds a text that is not UTF-8; fetch the file again"))
    }

    pub(crate) fn at_key(&self, key: &str, problem: &str) -> GgufError {
        let (path, key) = (self.path.into(), key.to_owned());
        GgufError::Key { path, key, problem: problem.to_owned() }
    }

    fn fill(&mut self, what: &str, bytes: &mut [u8]) -> Result<()> {
        self.from.read_exact(bytes).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => self.truncated(what),
            _ => GgufError::Io { path: self.path.into(), doing: format!("read {what}"), source },
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn above(&self, what: String, value: u64, limit: u64) -> GgufError {
        GgufError::Limit { path: self.path.into(), what, value, limit }
    }

    fn truncated(&self, what: &str) -> GgufError {
        let (path, what) = (self.path.into(), what.to_owned());
        GgufError::Truncated { path, what, at: self.at, length: self.length }
    }
}

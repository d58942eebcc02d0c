use std::fmt::{self, Write};
use std::path::PathBuf;

use spring_numerics::words;

/// What goes wrong with a GGUF file.
///
/// Every message names the file, the key or tensor where there is one, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file could not be opened or read.
    #[error(
        "{path}: cannot {doing}: {}",
        words::of_system(source),
        path = path.display(),
        doing = InLine(doing)
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done, as a verb and its object.
        doing: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file does not begin with the four letters `GGUF`.
    #[error(
        "{path}: not a GGUF file: {}",
        other_kind(found),
        path = path.display()
    )]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// The file's first four bytes, or fewer where it is shorter.
        found: Vec<u8>,
    },
    /// A version of the format that is not read.
    #[error(
        "{path}: GGUF version {version} is not read, only 2 and 3; convert the model again with \
         a current converter",
        path = path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that the file states.
        version: u32,
    },
    /// The file's numbers are big-endian.
    #[error(
        "{path}: a big-endian GGUF file, and only little-endian ones are read; convert it with \
         `gguf-convert-endian FILE little`",
        path = path.display()
    )]
    BigEndian {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before what it announces.
    #[error(
        "{path}: the file ends before {what} (byte {at} of {length}); it is cut off or damaged: \
         fetch it again",
        path = path.display(),
        what = InLine(what)
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What was to be read.
        what: String,
        /// Where it should have begun, in bytes from the file's start.
        at: u64,
        /// The file's length in bytes.
        length: u64,
    },
    /// A count or a length is above what [`Limits`](crate::Limits) allows.
    #[error(
        "{path}: {what} is {value}, above the limit of {limit}; the file is damaged, or raise \
         the limit",
        path = path.display(),
        what = InLine(what)
    )]
    Limit {
        /// The file.
        path: PathBuf,
        /// The quantity.
        what: String,
        /// Its value in the file.
        value: u64,
        /// The largest value allowed.
        limit: u64,
    },
    /// A metadata key is missing, twice there, or holds something else than it should.
    #[error(
        "{path}: key {key}: {problem}",
        path = path.display(),
        key = InLine(key),
        problem = InLine(problem)
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A tensor is missing, twice there, or its shape or place is wrong.
    #[error(
        "{path}: tensor {tensor}: {problem}",
        path = path.display(),
        tensor = InLine(tensor),
        problem = InLine(problem)
    )]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A tensor is stored in a format that is not read.
    #[error(
        "{path}: tensor {tensor} is stored as {found}, which is not read; take a file quantised \
         as one of {supported}",
        path = path.display(),
        tensor = InLine(tensor)
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The name of its format, or its number where it has no known name.
        found: String,
        /// The formats that are read, with commas between.
        supported: String,
    },
    /// The file holds something else than a language model.
    #[error("{path}: this GGUF file holds {found}; name the file of the language model itself",
        path = path.display(), found = InLine(found))]
    Kind {
        /// The file.
        path: PathBuf,
        /// What the file holds, with its article.
        found: String,
    },
    /// The file holds something else than a LoRA adapter.
    #[error("{path}: this GGUF file holds {found}, not a LoRA adapter; name an adapter's file",
        path = path.display(), found = InLine(found))]
    Adapter {
        /// The file.
        path: PathBuf,
        /// What the file holds, with its article.
        found: String,
    },
    /// The parts of a model in several files do not fit together.
    #[error("{path}: {problem}", path = path.display(), problem = InLine(problem))]
    Shards {
        /// The part at fault.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// Names and texts of a file in a message: whatever they hold, it stays one line and moves no
/// cursor.
struct InLine<'a>(&'a str);

impl fmt::Display for InLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A result whose error is [`GgufError`].
pub type Result<T, E = GgufError> = std::result::Result<T, E>;

/// What a file is that does not begin with `GGUF`, as far as its first bytes tell, and what to do.
fn other_kind(found: &[u8]) -> String {
    let known = match found {
        [] => "the file is empty: fetch it again",
        // `version https://git-lfs`
        b"vers" => words::GIT_LFS_ADVICE,
        b"ggml" | b"lmgg" | b"ggjt" | b"tjgg" | b"ggla" | b"algg" => {
            "a GGML file of the time before GGUF: take the model as a .gguf file"
        }
        [b'P', b'K', 3, 4] => "a zip archive: unpack it, and name the .gguf file in it",
        [0x1f, 0x8b, ..] => "a gzip archive: unpack it first (`gunzip`)",
        [b'<', b'!', ..] | b"<htm" => "a web page, not the file: fetch it again",
        [b'{' | b'[', ..] => "a JSON file: name a model's folder, or its .gguf file",
        // Little-endian length of a header below 16 MiB, and zeros: safetensors.
        [_, _, _, 0] => {
            "perhaps one of safetensors: name the model's folder, or its \
             .gguf file"
        }
        _ => "it does not begin with the letters GGUF: name a .gguf file, or a model's folder",
    };
    known.to_owned()
}

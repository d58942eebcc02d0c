//! Reading interactions from JSON Lines, as a stream and within fixed bounds.

use std::{
    io::{self, BufRead},
    iter::FusedIterator,
};

use serde_json::error::Category;
use spring_numerics::words;
use thiserror::Error;

use crate::Interaction;

const BOM: &[u8] = b"\xef\xbb\xbf";
const MAX_MESSAGE_CHARS: usize = 300;

/// What a [`JsonlReader`] accepts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JsonlLimits {
    /// The longest line, without its line break; the reader never holds more than this. Default 1
    /// MiB.
    pub line: usize,
    /// The longest prompt. Default 256 KiB.
    pub prompt: usize,
    /// The longest response. Default 256 KiB.
    pub response: usize,
}

impl Default for JsonlLimits {
    fn default() -> Self {
        Self { line: 1 << 20, prompt: 1 << 18, response: 1 << 18 }
    }
}

spring_numerics::setters! {
    JsonlLimits {
        with_line(line: usize);
        with_prompt(prompt: usize);
        with_response(response: usize);
    }
}

/// Why a line is not an interaction. Every message starts with `file:line`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JsonlError {
    /// The file could not be read on; the reader ends here.
    #[error("{label}:{line}: cannot be read: {}", words::of_system(source))]
    Io {
        /// The file's label.
        label: String,
        /// The line, from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The line has more bytes than [`JsonlLimits::line`].
    #[error("{label}:{line}: the line is longer than {limit} bytes: shorten it or raise the limit")]
    LineTooLong {
        /// The file's label.
        label: String,
        /// The line, from 1.
        line: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The prompt or the response has more bytes than allowed.
    #[error(
        "{label}:{line}: {field} has {bytes} bytes, more than {limit}: shorten it or raise the \
         limit"
    )]
    FieldTooLong {
        /// The file's label.
        label: String,
        /// The line, from 1.
        line: u64,
        /// `prompt` or `response`.
        field: &'static str,
        /// The field's length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The line is not UTF-8.
    #[error("{label}:{line}: not UTF-8 from byte {byte} of the line on: convert the file to UTF-8")]
    NotUtf8 {
        /// The file's label.
        label: String,
        /// The line, from 1.
        line: u64,
        /// The first bad byte of the line, from 1.
        byte: usize,
    },
    /// The line is not JSON.
    #[error("{label}:{line}: not JSON at byte {column}: {message}")]
    NotJson {
        /// The file's label.
        label: String,
        /// The line, from 1.
        line: u64,
        /// Where in the line, in bytes from 1.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// The file is of another kind: an archive, a mailbox, one JSON list, another program's data.
    #[error("{label}:{line}: {kind}")]
    OtherKind {
        /// The file's label.
        label: String,
        /// The line, from 1.
        line: u64,
        /// What it is, and what to do with it.
        kind: &'static str,
    },
    /// The line is JSON, but not an interaction: a missing, unknown, doubled or ill-formed field.
    #[error("{label}:{line}: not an interaction: {message}")]
    NotInteraction {
        /// The file's label.
        label: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong, naming the field.
        message: String,
    },
}

impl JsonlError {
    /// The line that the error is about, from 1.
    pub fn line(&self) -> u64 {
        match self {
            Self::Io { line, .. }
            | Self::LineTooLong { line, .. }
            | Self::FieldTooLong { line, .. }
            | Self::NotUtf8 { line, .. }
            | Self::NotJson { line, .. }
            | Self::OtherKind { line, .. }
            | Self::NotInteraction { line, .. } => *line,
        }
    }
}

/// An iterator over the interactions of a JSON Lines stream, one `(line, interaction)` a line,
/// lines counted from 1.
///
/// Blank lines are skipped, a byte order mark at the start too. A bad line gives one error and
/// reading goes on after it, so that a caller may list all of them; after [`JsonlError::Io`] the
/// iterator has ended. No input makes it panic or hold more than [`JsonlLimits::line`] bytes of
/// text (a record's own fields come on top of that).
///
/// ```
/// use spring_memory::JsonlReader;
/// let text = concat!(
///     r#"{"user":"ada","id":"1","time":"2026-01-31T09:30:00Z","#,
///     r#""prompt":"Hi","response":"Hello"}"#,
/// );
/// let (line, interaction) = JsonlReader::new(text.as_bytes(), "ada.jsonl").next().unwrap()?;
/// assert_eq!((line, interaction.response.as_str()), (1, "Hello"));
/// # Ok::<(), spring_memory::JsonlError>(())
/// ```
#[derive(Debug)]
pub struct JsonlReader<R> {
    reader: R,
    label: String,
    limits: JsonlLimits,
    line: u64,
    buffer: Vec<u8>,
    /// An over-long line was reported and its rest is still to be skipped.
    inside_long_line: bool,
    ended: bool,
}

enum Line {
    Complete,
    TooLong,
    End,
}

impl<R: BufRead> JsonlReader<R> {
    /// Reads from `reader`; `label` stands for the file in error messages.
    pub fn new(reader: R, label: impl Into<String>) -> Self {
        Self::with_limits(reader, label, JsonlLimits::default())
    }

    /// The same with other limits than the default ones.
    pub fn with_limits(reader: R, label: impl Into<String>, limits: JsonlLimits) -> Self {
        Self {
            reader,
            label: label.into(),
            limits,
            line: 0,
            buffer: Vec::new(),
            inside_long_line: false,
            ended: false,
        }
    }

    /// Leaves the next line in `self.buffer`, without its line break.
    fn read_line(&mut self) -> io::Result<Line> {
        self.buffer.clear();
        let mut begun = false;
        loop {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if available.is_empty() {
                self.inside_long_line = false;
                return Ok(if begun { Line::Complete } else { Line::End });
            }
            let line_break = available.iter().position(|&byte| byte == b'\n');
            let piece = &available[..line_break.unwrap_or(available.len())];
            let consumed = piece.len() + usize::from(line_break.is_some());
            if self.inside_long_line {
                self.inside_long_line = line_break.is_none();
                self.reader.consume(consumed);
                continue;
            }
            if !begun {
                begun = true;
                self.line += 1;
            }
            if self.buffer.len() + piece.len() > self.limits.line {
                // The rest is skipped at the next call: an endless line must not delay its own
                // error.
                self.inside_long_line = line_break.is_none();
                // Its beginning may show what the file is.
                self.buffer.extend_from_slice(&piece[..self.limits.line - self.buffer.len()]);
                self.reader.consume(consumed);
                return Ok(Line::TooLong);
            }
            self.buffer.extend_from_slice(piece);
            self.reader.consume(consumed);
            if line_break.is_some() {
                return Ok(Line::Complete);
            }
        }
    }

    fn parse(&self, text: &[u8]) -> Result<Interaction, JsonlError> {
        let (label, line) = (self.label.clone(), self.line);
        let other = |kind| JsonlError::OtherKind { label: label.clone(), line, kind };
        // What a whole file is shows in its first line.
        let kind = if line == 1 { kind_of(text) } else { None };
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => {
                let byte = error.valid_up_to() + 1;
                return Err(
                    kind.map_or(JsonlError::NotUtf8 { label: label.clone(), line, byte }, other)
                );
            }
        };
        if let Some(kind) = kind {
            return Err(other(kind));
        }
        let refuse = |error: &serde_json::Error| match error.classify() {
            Category::Data => {
                let message =
                    wrong_field(text).unwrap_or_else(|| printable(&words::of_json(error)));
                JsonlError::NotInteraction { label: label.clone(), line, message }
            }
            _ if text.trim_start().starts_with('[') => other(LIST),
            _ => {
                let message = printable(&words::of_json(error));
                JsonlError::NotJson { label: label.clone(), line, column: error.column(), message }
            }
        };
        // The parser would read a list's items as the fields in their order.
        if text.trim_start().starts_with('[') {
            return Err(match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => {
                    let message = "a list; one object a line is needed".into();
                    JsonlError::NotInteraction { label: label.clone(), line, message }
                }
                Err(error) => refuse(&error),
            });
        }
        let interaction: Interaction = match serde_json::from_str(text) {
            Ok(interaction) => interaction,
            Err(error) => {
                match without_lone_surrogates(text).map(|text| serde_json::from_str(&text)) {
                    Some(Ok(interaction)) => interaction,
                    _ => return Err(refuse(&error)),
                }
            }
        };
        for (field, bytes, limit) in [
            ("prompt", interaction.prompt.len(), self.limits.prompt),
            ("response", interaction.response.len(), self.limits.response),
        ] {
            if bytes > limit {
                return Err(JsonlError::FieldTooLong { label, line, field, bytes, limit });
            }
        }
        Ok(interaction)
    }
}

const LIST: &str = "a JSON list; one object a line is needed: `jq -c .[]` takes the list apart";
const LAMP: &str = "a LaMP file; `spring data convert` makes lines of it";
const CARRIAGE_RETURNS: &str =
    "its lines end with carriage returns alone; convert them to line feeds (`tr '\\r' '\\n'`)";

/// How files of other kinds begin, and what to do with them.
const MAGIC: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "a gzip archive; unpack it first (`gunzip`)"),
    (b"PK\x03\x04", "a zip archive; unpack it first (`unzip`)"),
    (b"BZh", "a bzip2 archive; unpack it first (`bunzip2`)"),
    (b"\xfd7zXZ", "an xz archive; unpack it first (`unxz`)"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first (`unzstd`)"),
    (b"SQLite format 3", "a SQLite file, such as a state; `ingest` takes JSON Lines"),
    (b"PAR1", "a Parquet file; write it as JSON Lines first"),
    (b"\xff\xfe", "UTF-16; convert it to UTF-8 (`iconv -f UTF-16 -t UTF-8`)"),
    (b"\xfe\xff", "UTF-16; convert it to UTF-8 (`iconv -f UTF-16 -t UTF-8`)"),
    (words::GIT_LFS, words::GIT_LFS_ADVICE),
    (b"GGUF", "a GGUF file, which holds a model; name it by --model"),
    (b"From ", "an mbox of mails; write a JSON object a line for each mail"),
];

/// What a file is by its first line, if it is known not to be JSON Lines.
fn kind_of(line: &[u8]) -> Option<&'static str> {
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| line.starts_with(magic)) {
        return Some(kind);
    }
    let line = line.trim_ascii();
    let holds = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
    match line.first() {
        Some(b'[' | b'{') if holds(b"\"profile\"") => Some(LAMP),
        _ if holds(b"}\r{") => Some(CARRIAGE_RETURNS),
        // A pretty printer's first line, or a list of records.
        Some(b'[') if line == b"[" || line[1..].trim_ascii_start().starts_with(b"{") => Some(LIST),
        Some(b'{') if line == b"{" => {
            Some("one JSON object over several lines; one object a line is needed (`jq -c .`)")
        }
        _ => None,
    }
}

/// Which field of a line has another kind of value than an interaction's.
fn wrong_field(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let Some(object) = value.as_object() else {
        return Some(format!("{}; an object is needed", kind_name(&value)));
    };
    let (field, value) = ["user", "id", "time", "prompt", "response"]
        .into_iter()
        .filter_map(|field| Some((field, object.get(field)?)))
        .find(|(_, value)| !value.is_string())?;
    let wanted = match field {
        "time" => "an RFC 3339 text such as \"2026-01-31T09:30:00Z\" is needed",
        _ => "a text is needed",
    };
    Some(format!("`{field}` is {}: {wanted}", kind_name(value)))
}

fn kind_name(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "true or false",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a text",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
    }
}

/// JSON in which every escape of half a character, which other programs write and UTF-8 cannot
/// hold, became the replacement character; `None` if there is none.
pub fn without_lone_surrogates(json: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut at, mut copied, mut found) = (String::new(), 0, 0, false);
    while let Some(next) = json[at..].find('\\').map(|offset| at + offset) {
        let (high, low) = (unit(next), unit(next + 6));
        at = match high {
            Some(0xd800..=0xdbff) if matches!(low, Some(0xdc00..=0xdfff)) => next + 12,
            Some(0xd800..=0xdfff) => {
                out.push_str(&json[copied..next]);
                out.push_str("\\ufffd");
                (copied, found) = (next + 6, true);
                copied
            }
            // What follows the backslash may be one too.
            _ => next + 1 + json[next + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    found.then(|| out + &json[copied..])
}

/// A message cut to a length and with control characters escaped: it may quote the input.
fn printable(message: &str) -> String {
    let mut printable = String::new();
    for (index, character) in message.chars().enumerate() {
        if index == MAX_MESSAGE_CHARS {
            printable.push('…');
            break;
        }
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

impl<R: BufRead> Iterator for JsonlReader<R> {
    type Item = Result<(u64, Interaction), JsonlError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read_line() {
                Err(source) => {
                    self.ended = true;
                    let (label, line) = (self.label.clone(), self.line + 1);
                    return Some(Err(JsonlError::Io { label, line, source }));
                }
                Ok(Line::End) => self.ended = true,
                Ok(Line::TooLong) => {
                    if let Some(kind) = kind_of(&self.buffer).filter(|_| self.line == 1) {
                        let (label, line) = (self.label.clone(), self.line);
                        return Some(Err(JsonlError::OtherKind { label, line, kind }));
                    }
                    let (label, line, limit) = (self.label.clone(), self.line, self.limits.line);
                    return Some(Err(JsonlError::LineTooLong { label, line, limit }));
                }
                Ok(Line::Complete) => {
                    let mut text = self.buffer.as_slice();
                    if self.line == 1 {
                        text = text.strip_prefix(BOM).unwrap_or(text);
                    }
                    if !text.trim_ascii().is_empty() {
                        return Some(self.parse(text).map(|interaction| (self.line, interaction)));
                    }
                }
            }
        }
        None
    }
}

impl<R: BufRead> FusedIterator for JsonlReader<R> {}

//! Reading interactions from JSON Lines, as a stream and within fixed bounds.

use std::{
    io::{self, BufRead},
    iter::FusedIterator,
};

use serde_json::error::Category;
use thiserror::Error;

use crate::Interaction;

const BOM: &[u8] = b"\xef\xbb\xbf";
const MAX_MESSAGE_CHARS: usize = 300;

/// What a [`JsonlReader`] accepts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonlLimits {
    /// The longest line, without its line break; the reader never holds more than this. Default 1 MiB.
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

/// Why a line is not an interaction. Every message starts with `file:line`.
#[derive(Debug, Error)]
pub enum JsonlError {
    /// The file could not be read on; the reader ends here.
    #[error("{label}:{line}: cannot read: {source}")]
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
    #[error("{label}:{line}: {field} has {bytes} bytes, more than {limit}: shorten it or raise the limit")]
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
            | Self::NotInteraction { line, .. } => *line,
        }
    }
}

/// An iterator over the interactions of a JSON Lines stream, one `(line, interaction)` a line, lines counted
/// from 1.
///
/// Blank lines are skipped, a byte order mark at the start too. A bad line gives one error and reading goes
/// on after it, so that a caller may list all of them; after [`JsonlError::Io`] the iterator has ended. No
/// input makes it panic or hold more than [`JsonlLimits::line`] bytes of text (a record's own fields come on
/// top of that).
///
/// ```
/// use spring_memory::JsonlReader;
/// let text = r#"{"user":"ada","id":"1","time":"2026-01-31T09:30:00Z","prompt":"Hi","response":"Hello"}"#;
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
                // The rest is skipped at the next call: an endless line must not delay its own error.
                self.inside_long_line = line_break.is_none();
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
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return Err(JsonlError::NotUtf8 { label, line, byte: error.valid_up_to() + 1 }),
        };
        let interaction: Interaction = match serde_json::from_str(text) {
            Ok(interaction) => interaction,
            Err(error) => {
                let message = printable(&error);
                return Err(match error.classify() {
                    Category::Data => JsonlError::NotInteraction { label, line, message },
                    _ => JsonlError::NotJson { label, line, column: error.column(), message },
                });
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

/// The parser's message without its own line count, cut to a length and with control characters escaped: it
/// may quote the input.
fn printable(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
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

//! Text out of tokens as they come, never a part of a character.

use crate::{Result, Tokenize};

/// What a decoder writes for bytes that are no character, or not yet.
const NOT_YET: char = '\u{fffd}';

/// Turns tokens into text one by one.
///
/// A character may take several tokens; its text comes with the last of them. The texts of all
/// tokens and of [`finish`](Self::finish), one after the other, are what
/// [`decode_text`](Tokenize::decode_text) makes of all tokens at once.
#[derive(Debug, Clone, Default)]
pub struct Detokenizer {
    ids: Vec<u32>,
    /// Where the tokens begin that are decoded again with each new one. What a token looks like can
    /// depend on the one before: many decoders leave out the space before the first.
    start: usize,
    /// Up to here the tokens' text has been given.
    given: usize,
    /// The text of the tokens from `start` to `given`.
    known: String,
    /// Whether the newest tokens are bytes.
    in_bytes: bool,
}

impl Detokenizer {
    /// Before the first token.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that one more token makes certain; empty in the middle of a character.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode the tokens.
    pub fn push(&mut self, tokenizer: &dyn Tokenize, id: u32) -> Result<String> {
        self.ids.push(id);
        // Bytes are one piece until something else follows: one that does not fit the others turns
        // all of them into marks of what cannot be read.
        self.in_bytes = match self.in_bytes {
            // A special token has no text, and does not come between bytes.
            true => tokenizer.is_byte(id) || tokenizer.decode_text(&[id])?.is_empty(),
            false => tokenizer.is_byte(id),
        };
        if self.in_bytes {
            return Ok(String::new());
        }
        let text = tokenizer.decode_text(&self.ids[self.start..])?;
        let Some(new) = text.strip_prefix(self.known.as_str()) else { return Ok(String::new()) };
        if new.is_empty() || new.ends_with(NOT_YET) {
            return Ok(String::new());
        }
        let new = new.to_owned();
        // From now on only the tokens of this text are decoded again.
        self.known = tokenizer.decode_text(&self.ids[self.given..])?;
        self.start = self.given;
        if self.known.is_empty() {
            // The decoder left out all of it, as if a text began there: it needs those before.
            self.start = 0;
            self.known = tokenizer.decode_text(&self.ids)?;
        }
        self.given = self.ids.len();
        Ok(new)
    }

    /// What is left at the end: bytes that became no character.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode the tokens.
    pub fn finish(&mut self, tokenizer: &dyn Tokenize) -> Result<String> {
        let text = tokenizer.decode_text(&self.ids[self.start..])?;
        let rest = text.strip_prefix(self.known.as_str()).unwrap_or_default().to_owned();
        (self.known, self.given) = (text, self.ids.len());
        Ok(rest)
    }
}

//! Text out of tokens as they come: never a part of a character, and nothing of a stop string.

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

/// Looks for stop strings in a text that comes in parts, and holds back what may become one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    /// Looks for these; empty ones are left out.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new() }
    }

    /// The text that is certain after one more part, and whether a stop string ends it.
    ///
    /// It ends with the stop string that is complete first, whatever the parts are; of those that
    /// are complete at the same character, with the longest.
    pub fn push(&mut self, part: &str) -> (String, bool) {
        self.held.push_str(part);
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = found.min() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return (text, true);
        }
        let begins =
            |start: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*start..]));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let starts = self.held.char_indices().map(|(at, _)| at).filter(|at| *at >= from);
        let certain = starts.into_iter().find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(certain);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back and became no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Turns tokens into the text that is certain: whole characters, up to the first stop string.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    detokenizer: Detokenizer,
    stop: StopStrings,
}

impl TextStream {
    /// Before the first token, of a text that ends before the first of these strings.
    pub fn new(stops: &[String]) -> Self {
        Self { detokenizer: Detokenizer::new(), stop: StopStrings::new(stops) }
    }

    /// The text that is certain after one more token, and whether a stop string ends it.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode the tokens.
    pub fn push(&mut self, tokenizer: &dyn Tokenize, id: u32) -> Result<(String, bool)> {
        let text = self.detokenizer.push(tokenizer, id)?;
        Ok(self.stop.push(&text))
    }

    /// The rest of the text after its last token, and whether a stop string ends it.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode the tokens.
    pub fn finish(&mut self, tokenizer: &dyn Tokenize) -> Result<(String, bool)> {
        let rest = self.detokenizer.finish(tokenizer)?;
        let (mut text, is_stopped) = self.stop.push(&rest);
        if !is_stopped {
            text.push_str(&self.stop.finish());
        }
        Ok((text, is_stopped))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text up to the first stop string, character by character.
    fn expected(text: &str, stops: &[String]) -> (String, bool) {
        for (at, character) in text.char_indices() {
            let end = at + character.len_utf8();
            let ends = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str()));
            if let Some(longest) = ends.map(String::len).max() {
                return (text[..end - longest].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn a_text_ends_before_the_first_stop_string_however_it_comes(
            parts in prop::collection::vec("[abé]{0,3}", 0..12),
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
        ) {
            let (wanted, stopped) = expected(&parts.concat(), &stops);
            let (mut strings, mut text) = (StopStrings::new(&stops), String::new());
            let mut found = false;
            for part in &parts {
                let (certain, is_end) = strings.push(part);
                text.push_str(&certain);
                // Nothing leaks: what has been given is never taken back.
                prop_assert!(wanted.starts_with(&text), "{text} of {wanted}");
                found = is_end;
                if found {
                    break;
                }
            }
            if !found {
                text.push_str(&strings.finish());
            }
            prop_assert_eq!((text, found), (wanted, stopped));
        }
    }

    #[test]
    fn without_stop_strings_nothing_is_held_back() {
        let mut none = StopStrings::new(&[String::new()]);
        assert_eq!(none.push("any text\n"), ("any text\n".into(), false));
        assert_eq!(none.finish(), "");
    }
}

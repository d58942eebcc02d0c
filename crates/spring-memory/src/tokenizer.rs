//! How a text becomes the terms that BM25 counts.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use spring_numerics::whitespace::split_as_python;

/// Splits a text into terms, in order and with repetitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tokenizer {
    /// Split at white space, case kept: Python's `str.split()`, which is what rank_bm25 is usually
    /// given.
    #[default]
    Whitespace,
    /// Runs of letters and digits, lower-cased: punctuation and case no longer part terms.
    Words,
}

impl Tokenizer {
    /// The terms of `text`.
    pub fn terms<'t>(&self, text: &'t str) -> Vec<Cow<'t, str>> {
        match self {
            Self::Whitespace => split_as_python(text).map(Cow::Borrowed).collect(),
            Self::Words => text
                .split(|character: char| !character.is_alphanumeric())
                .filter(|term| !term.is_empty())
                .map(|term| Cow::Owned(term.to_lowercase()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_is_pythons_split() {
        assert_eq!(
            Tokenizer::Whitespace.terms(" A b,\tA\u{1c}c\u{a0}d\n"),
            ["A", "b,", "A", "c", "d"]
        );
        assert!(Tokenizer::Whitespace.terms(" \n").is_empty());
    }

    #[test]
    fn words_drop_case_and_punctuation() {
        assert_eq!(Tokenizer::Words.terms("Don't, ÉTÉ-2026!"), ["don", "t", "été", "2026"]);
    }
}

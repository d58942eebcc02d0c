//! How a text becomes the terms that BM25 counts.

use std::{borrow::Cow, str::FromStr};

use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};
use spring_numerics::{SettingError, whitespace::split_as_python};

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
    /// The same, cut to their stems by the Snowball stemmer of a language: "plums" is "plum" then.
    Stemmed(Language),
}

/// A language with a Snowball stemmer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
}

impl Language {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Arabic => Algorithm::Arabic,
            Self::Danish => Algorithm::Danish,
            Self::Dutch => Algorithm::Dutch,
            Self::English => Algorithm::English,
            Self::Finnish => Algorithm::Finnish,
            Self::French => Algorithm::French,
            Self::German => Algorithm::German,
            Self::Greek => Algorithm::Greek,
            Self::Hungarian => Algorithm::Hungarian,
            Self::Italian => Algorithm::Italian,
            Self::Norwegian => Algorithm::Norwegian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Romanian => Algorithm::Romanian,
            Self::Russian => Algorithm::Russian,
            Self::Spanish => Algorithm::Spanish,
            Self::Swedish => Algorithm::Swedish,
            Self::Tamil => Algorithm::Tamil,
            Self::Turkish => Algorithm::Turkish,
        }
    }
}

impl FromStr for Language {
    type Err = SettingError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let text = serde_json::Value::String(name.to_lowercase());
        serde_json::from_value(text).map_err(|_| {
            SettingError::new("language", name, "english, german, french or another of Snowball's")
        })
    }
}

/// Runs of letters and digits in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|term| !term.is_empty())
        .map(str::to_lowercase)
}

impl Tokenizer {
    /// The terms of `text`.
    pub fn terms<'t>(&self, text: &'t str) -> Vec<Cow<'t, str>> {
        match self {
            Self::Whitespace => split_as_python(text).map(Cow::Borrowed).collect(),
            Self::Words => words(text).map(Cow::Owned).collect(),
            Self::Stemmed(language) => {
                let stemmer = Stemmer::create(language.algorithm());
                words(text).map(|word| Cow::Owned(stemmer.stem(&word).into_owned())).collect()
            }
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

    #[test]
    fn stems_are_those_of_snowball() {
        let english = Tokenizer::Stemmed(Language::English);
        assert_eq!(english.terms("Plums, kettles humming"), ["plum", "kettl", "hum"]);
        let german = Tokenizer::Stemmed("German".parse().unwrap());
        assert_eq!(german.terms("Die Pflaumen"), ["die", "pflaum"]);
        assert!("Klingon".parse::<Language>().unwrap_err().to_string().contains("Klingon"));
        let text = r#"{"stemmed":"english"}"#;
        assert_eq!(serde_json::from_str::<Tokenizer>(text).unwrap(), english);
        assert_eq!(serde_json::to_string(&english).unwrap(), text);
    }
}

//! The vocabulary that a model file carries.

mod pre_tokenizer;
#[cfg(feature = "tokenizer")]
mod tokenizer;

use crate::error::Result;
use crate::{GgufFile, Value};

pub use pre_tokenizer::PreTokenizer;

/// How text is cut into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabularyModel {
    /// Byte pairs over bytes, after a pre-tokenizer (`gpt2` in files).
    BytePairs(PreTokenizer),
    /// SentencePiece: the best-scored pieces are joined first, and what has no piece is spelled
    /// in bytes (`llama` in files).
    SentencePiece,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for what cannot be spelled.
    Unknown,
    /// Controls the model, such as a turn's end; text holds it only where that is wanted.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// Not in use.
    Unused,
    /// A single byte.
    Byte,
}

/// A vocabulary: tokens, how text is cut into them, and which of them mean something.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Vocabulary {
    /// How text is cut.
    pub model: VocabularyModel,
    /// The tokens' texts, by id; those of byte pairs in the byte alphabet.
    pub tokens: Vec<String>,
    /// What each token is for.
    pub kinds: Vec<TokenKind>,
    /// SentencePiece's scores, the best highest; empty for byte pairs.
    pub scores: Vec<f32>,
    /// The pairs that are joined, the first first, each with a space between; empty for
    /// SentencePiece.
    pub merges: Vec<String>,
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what cannot be spelled.
    pub unknown: Option<u32>,
    /// Fills rows up.
    pub padding: Option<u32>,
    /// Ends a turn of a chat, where the file names it.
    pub end_of_turn: Option<u32>,
    /// Whether texts begin with [`Vocabulary::bos`].
    pub add_bos: bool,
    /// Whether texts end with [`Vocabulary::eos`].
    pub add_eos: bool,
    /// Whether SentencePiece puts a space in front of texts, and after every special token.
    pub add_space_prefix: bool,
}

/// Texts of tokens that end what a model writes. Files often name one of them and mean more, and
/// some give them the wrong kind.
const ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "<|return|>",
];

/// Texts of other tokens that llama.cpp takes for control tokens, whatever kind a file gives them.
const CONTROLS: [&str; 15] = [
    "</s>",
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<PRE>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<SUF>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<MID>",
    "<|fim_pad|>",
    "<fim-pad>",
];

const TOKENS: &str = "tokenizer.ggml.tokens";

impl GgufFile {
    /// The file's vocabulary.
    ///
    /// # Errors
    ///
    /// If keys are missing or disagree, the tokens are not as many as the embedding has rows, or
    /// the tokenizer is of a kind that is not read.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        let tokens = self
            .strings(TOKENS)?
            .ok_or_else(|| self.at_key(TOKENS, "is missing; take a file with its tokenizer"))?;
        if let Some(embedding) = self.find("token_embd.weight")
            && embedding.rows() != tokens.len() as u64
        {
            let problem = format!(
                "has {} tokens and the tensor token_embd.weight {} rows; take a file made by a \
                 current converter",
                tokens.len(),
                embedding.rows()
            );
            return Err(self.at_key(TOKENS, problem));
        }
        let model = self.vocabulary_model()?;
        let byte_pairs = match model {
            VocabularyModel::BytePairs(pre) => Some(pre),
            VocabularyModel::SentencePiece => None,
        };
        let kinds = self.kinds(tokens)?;
        let scores = match byte_pairs {
            Some(_) => Vec::new(),
            None => self.scores(tokens.len())?,
        };
        let merges = "tokenizer.ggml.merges";
        let merges = match byte_pairs {
            Some(_) => self
                .strings(merges)?
                .ok_or_else(|| self.at_key(merges, "is missing; take a complete file"))?
                .to_vec(),
            None => Vec::new(),
        };
        let id = |name: &str, default| self.token_id(name, tokens.len(), default);
        let flag = |name: &str, default| self.flag(&format!("tokenizer.ggml.{name}"), default);
        // SentencePiece has its first three tokens in this order where the file does not say.
        let by_default = |id: u32| byte_pairs.is_none().then_some(id);
        Ok(Vocabulary {
            model,
            bos: id("bos_token_id", by_default(1))?,
            eos: id("eos_token_id", by_default(2))?,
            unknown: id("unknown_token_id", by_default(0))?,
            padding: id("padding_token_id", None)?,
            end_of_turn: id("eot_token_id", None)?,
            add_bos: flag("add_bos_token", byte_pairs.is_none_or(PreTokenizer::adds_bos))?,
            add_eos: flag("add_eos_token", false)?,
            add_space_prefix: flag("add_space_prefix", byte_pairs.is_none())?,
            tokens: tokens.to_vec(),
            kinds,
            scores,
            merges,
        })
    }

    /// The chat template, a Jinja text; `name` picks one of several.
    pub fn chat_template(&self, name: Option<&str>) -> Option<&str> {
        const KEY: &str = "tokenizer.chat_template";
        let named = name.map(|name| format!("{KEY}.{name}"));
        self.metadata().get(named.as_deref().unwrap_or(KEY)).and_then(Value::as_str)
    }

    fn vocabulary_model(&self) -> Result<VocabularyModel> {
        let (model, pre) = ("tokenizer.ggml.model", "tokenizer.ggml.pre");
        match self.text(model)? {
            Some("llama") => Ok(VocabularyModel::SentencePiece),
            Some("gpt2") => {
                let name = self.text(pre)?.unwrap_or("default");
                match PreTokenizer::from_name(name) {
                    Some(pre) => Ok(VocabularyModel::BytePairs(pre)),
                    None => Err(self.at_key(
                        pre,
                        format!(
                            "names the pre-tokenizer {name:?}, which is not known, and with \
                             another one texts would be cut wrongly; take a model with one of {}",
                            PreTokenizer::names()
                        ),
                    )),
                }
            }
            Some(other) => {
                let problem = format!("is {other:?}; take a model with one of gpt2 and llama");
                Err(self.at_key(model, problem))
            }
            None => Err(self.at_key(model, "is missing; take a file with its tokenizer")),
        }
    }

    fn kinds(&self, tokens: &[String]) -> Result<Vec<TokenKind>> {
        const KEY: &str = "tokenizer.ggml.token_type";
        let mut kinds = match self.metadata().get(KEY) {
            None => vec![TokenKind::Normal; tokens.len()],
            Some(value) => {
                let numbers = value.to_u64s().unwrap_or_default();
                let kinds = numbers.iter().map(|&number| match number {
                    1 => Some(TokenKind::Normal),
                    2 => Some(TokenKind::Unknown),
                    3 => Some(TokenKind::Control),
                    4 => Some(TokenKind::UserDefined),
                    5 => Some(TokenKind::Unused),
                    6 => Some(TokenKind::Byte),
                    _ => None,
                });
                let kinds = kinds.collect::<Option<Vec<_>>>();
                kinds.filter(|kinds| kinds.len() == tokens.len()).ok_or_else(|| {
                    let problem = format!(
                        "must be a list of {} numbers from 1 to 6; take a complete file",
                        tokens.len()
                    );
                    self.at_key(KEY, problem)
                })?
            }
        };
        for (token, kind) in tokens.iter().zip(&mut kinds) {
            if ENDS.contains(&token.as_str()) || CONTROLS.contains(&token.as_str()) {
                *kind = TokenKind::Control;
            }
        }
        Ok(kinds)
    }

    fn scores(&self, count: usize) -> Result<Vec<f32>> {
        const KEY: &str = "tokenizer.ggml.scores";
        let scores = self.metadata().get(KEY).and_then(Value::as_f64s);
        match scores {
            Some(scores) if scores.len() == count && scores.iter().all(|s| !s.is_nan()) => {
                Ok(scores.iter().map(|&score| score as f32).collect())
            }
            _ => {
                let problem = format!("must be a list of {count} numbers; take a complete file");
                Err(self.at_key(KEY, problem))
            }
        }
    }

    fn token_id(&self, name: &str, count: usize, default: Option<u32>) -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}");
        let Some(value) = self.metadata().get(&key) else {
            return Ok(default.filter(|&id| (id as usize) < count));
        };
        // Some converters write −1 or the largest number for none.
        if matches!(value, Value::Signed(-1)) || value.as_u64() == Some(u32::MAX.into()) {
            return Ok(None);
        }
        match value.as_u64() {
            Some(id) if id < count as u64 => Ok(Some(id as u32)),
            _ => {
                let problem = format!("is no token: there are {count}; take a complete file");
                Err(self.at_key(&key, problem))
            }
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.metadata().get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| {
                self.at_key(key, format!("must be a truth value and is {}", value.kind()))
            }),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| self.at_key(key, format!("must be a text and is {}", value.kind()))),
        }
    }

    fn strings(&self, key: &str) -> Result<Option<&[String]>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(value) => value.as_strings().map(Some).ok_or_else(|| {
                self.at_key(key, format!("must be a list of texts and is {}", value.kind()))
            }),
        }
    }
}

impl Vocabulary {
    /// All tokens that end what a model writes, in order: those that the file names, and those
    /// whose text says so, such as `<end_of_turn>`.
    pub fn ends(&self) -> Vec<u32> {
        let named = self
            .tokens
            .iter()
            .zip(0..)
            .filter_map(|(token, id)| ENDS.contains(&token.as_str()).then_some(id));
        let mut ends: Vec<u32> = named.chain(self.eos).chain(self.end_of_turn).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }
}

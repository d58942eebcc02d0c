//! What a model is, in a few numbers.

use crate::{ModelConfig, Tokenizer};

/// What the loop needs to know of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Identifies base and tokenizer.
    pub fingerprint: String,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// The token that begins a text, if the model has one.
    pub bos: Option<u32>,
    /// The tokens that end a text; the first is the one written after a response: that of the chat
    /// template, or else the tokenizer's own, or else the first that the model's files name.
    pub eos: Vec<u32>,
    /// What stands before a text that is embedded, so that the empty text has an embedding too:
    /// `bos`, or else the first end token that the model's files name.
    pub start: Option<u32>,
    /// Whether prompts go through a chat template.
    pub chat: bool,
}

impl ModelInfo {
    /// What a model's files say; `fingerprint` is that of [`ModelFiles`](crate::ModelFiles).
    pub fn new(fingerprint: &str, config: &ModelConfig, tokenizer: Option<&Tokenizer>) -> Self {
        // What the tokenizer's own files say comes before config.json.
        let bos = tokenizer.map_or(config.bos, |tokenizer| tokenizer.begin_token(config.bos));
        Self {
            fingerprint: fingerprint.into(),
            context: config.max_positions,
            vocabulary: config.vocab_size,
            bos,
            eos: tokenizer.map_or_else(|| config.eos.clone(), |t| t.end_tokens(&config.eos)),
            start: bos.or(config.eos.first().copied()),
            chat: tokenizer.is_some_and(Tokenizer::has_chat_template),
        }
    }
}

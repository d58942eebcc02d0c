//! Text to token ids and back, by the tokenizers library.

use crate::{ModelError, ModelFiles, Result};

/// The tokenizer of a model folder.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: String,
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a model.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if it is malformed, or knows more tokens than the model (`vocab_size`).
    pub fn load(files: &ModelFiles, vocab_size: usize) -> Result<Self> {
        let file = files.file("tokenizer.json");
        let mut inner = tokenizers::Tokenizer::from_bytes(files.tokenizer()?)
            .map_err(|e| ModelError::Tokenizer { file: file.clone(), reason: e.to_string() })?;
        let tokens = inner.get_vocab_size(true);
        if tokens > vocab_size {
            let reason = format!("{tokens} tokens, but the model's vocab_size is {vocab_size}");
            return Err(ModelError::Tokenizer { file, reason });
        }
        // Text that spells a special token stays text.
        inner.set_encode_special_tokens(true);
        // Lengths are cut by the caller, who records each cut.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| ModelError::Tokenizer { file: file.clone(), reason: e.to_string() })?;
        Ok(Self { inner, file })
    }

    /// The ids of a text, without the special tokens that a template would add.
    ///
    /// Text that spells a special token is read as plain text, so that no user can forge the end of a turn.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if the library refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let fail =
            |e: tokenizers::Error| ModelError::Tokenizer { file: self.file.clone(), reason: e.to_string() };
        Ok(self.inner.encode_fast(text, false).map_err(fail)?.get_ids().to_vec())
    }

    /// The text of some ids; special tokens are left out.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if the library cannot decode them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|e| ModelError::Tokenizer { file: self.file.clone(), reason: e.to_string() })
    }
}

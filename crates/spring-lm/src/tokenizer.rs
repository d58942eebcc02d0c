//! Text to token ids and back, by the tokenizers library.

use crate::{Message, ModelError, ModelFiles, Result, Role, chat::ChatTemplate};

/// The tokenizer of a model folder, and its chat template if it has one.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// Reads everything as plain text.
    inner: tokenizers::Tokenizer,
    chat: Option<Chat>,
    file: String,
}

#[derive(Debug, Clone)]
struct Chat {
    template: ChatTemplate,
    /// Reads a template's special tokens as such.
    inner: tokenizers::Tokenizer,
    /// Texts of the special tokens.
    special: Vec<(String, u32)>,
    end_of_turn: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model, and the chat template of `chat_template.jinja` or `tokenizer_config.json`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if it is malformed; [`ModelError::Config`] for a template that cannot be read. One that
    /// knows more tokens than the model (`vocab_size`) is only warned of: some families share a tokenizer in which their
    /// text models lack a token for images. Whatever runs the model refuses ids outside its vocabulary.
    pub fn load(files: &ModelFiles, vocab_size: usize) -> Result<Self> {
        let file = files.file("tokenizer.json");
        let fail = |reason: String| ModelError::Tokenizer { file: file.clone(), reason };
        let mut inner = read(files.tokenizer()?).map_err(&fail)?;
        let tokens = inner.get_vocab_size(true);
        if tokens > vocab_size {
            tracing::warn!("{file}: {tokens} tokens, but the model's vocab_size is {vocab_size}");
        }
        // Lengths are cut by the caller, who records each cut.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        let chat = ChatTemplate::load(files)?.map(|template| {
            let added = inner.get_added_tokens_decoder();
            let special = added.iter().filter(|(_, token)| token.special);
            Chat {
                template,
                special: special.map(|(id, token)| (token.content.clone(), *id)).collect(),
                inner: inner.clone(),
                end_of_turn: None,
            }
        });
        // Text that spells a special token stays text.
        inner.set_encode_special_tokens(true);
        let mut tokenizer = Self { inner, chat, file };
        let end_of_turn = tokenizer.find_end_of_turn();
        if let Some(chat) = &mut tokenizer.chat {
            chat.end_of_turn = end_of_turn;
        }
        Ok(tokenizer)
    }

    /// The ids of a text, without the special tokens that a template would add.
    ///
    /// Text that spells a special token is read as plain text, so that no user can forge the end of a turn.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if the library refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(&self.inner, text)
    }

    fn ids(&self, tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
        let encoding = tokenizer.encode_fast(text, false);
        Ok(encoding.map_err(|e| self.fail(&e))?.get_ids().to_vec())
    }

    fn fail(&self, error: &tokenizers::Error) -> ModelError {
        ModelError::Tokenizer { file: self.file.clone(), reason: error.to_string() }
    }

    /// Whether the model has a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.chat.is_some()
    }

    /// The ids of a conversation under the model's chat template, up to where its next turn begins; `None` for a model
    /// without a template.
    ///
    /// They are those of transformers' `apply_chat_template`, unless a message spells a special token: then the
    /// messages are encoded apart from the template's own text, so that the token stays plain text.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] if the template refuses the conversation (some want the roles to alternate),
    /// [`ModelError::Tokenizer`] if the library refuses a text.
    pub fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Option<Vec<u32>>> {
        let Some(chat) = &self.chat else { return Ok(None) };
        let forged = |text: &str| chat.special.iter().any(|(token, _)| text.contains(token.as_str()));
        if !messages.iter().any(|message| forged(message.content)) {
            return Ok(Some(self.ids(&chat.inner, &chat.template.render(messages, true)?)?));
        }
        let marks: Vec<String> = (0..messages.len()).map(mark).collect();
        let marked: Vec<Message<'_>> = messages
            .iter()
            .zip(&marks)
            .map(|(message, mark)| Message { role: message.role, content: mark })
            .collect();
        let rendered = chat.template.render(&marked, true)?;
        let mut ids = Vec::new();
        let mut rest = rendered.as_str();
        for (message, mark) in messages.iter().zip(&marks) {
            // A template may leave a message out.
            let Some((before, after)) = rest.split_once(mark.as_str()) else { continue };
            ids.extend(self.ids(&chat.inner, before)?);
            ids.extend(self.encode(message.content)?);
            rest = after;
        }
        ids.extend(self.ids(&chat.inner, rest)?);
        Ok(Some(ids))
    }

    /// The token that ends the model's own turns under its chat template; `None` without a template.
    pub fn end_of_turn(&self) -> Option<u32> {
        self.chat.as_ref()?.end_of_turn
    }

    /// The special token that the template writes after a turn of the model.
    fn find_end_of_turn(&self) -> Option<u32> {
        let chat = self.chat.as_ref()?;
        let mark = mark(0);
        let messages =
            [Message { role: Role::User, content: "-" }, Message { role: Role::Assistant, content: &mark }];
        let rendered = chat.template.render(&messages, false).ok()?;
        let after = rendered.rsplit_once(&mark)?.1.trim_start();
        let follows = chat.special.iter().filter(|(token, _)| after.starts_with(token.as_str()));
        follows.max_by_key(|(token, _)| token.len()).map(|(_, id)| *id)
    }

    /// Whether a token is a single byte that becomes text only with those around it: `<0xE2>`, as
    /// the vocabularies with byte fallback have them.
    pub fn is_byte(&self, id: u32) -> bool {
        let piece = self.inner.id_to_token(id);
        piece.and_then(|piece| piece.strip_prefix("<0x")?.strip_suffix('>').map(str::len)) == Some(2)
    }

    /// The text of some ids; special tokens are left out.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if the library cannot decode them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| self.fail(&e))
    }
}

/// The library panics on some malformed files; here that is an error like any other.
fn read(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, String> {
    // The usual damage, a file that is cut short, is found without the panic's message on the terminal.
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| e.to_string())?;
    std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes))
        .map_err(|_| "the tokenizers library cannot read it".to_owned())?
        .map_err(|e| e.to_string())
}

/// Stands for a message in a rendered template: characters of private use, which no template looks for.
fn mark(index: usize) -> String {
    format!("\u{f8f0}{index}\u{f8f1}")
}

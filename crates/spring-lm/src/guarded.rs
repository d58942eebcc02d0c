//! The tokenizer of a model, here or in a process of its own.

use std::sync::Arc;

use crate::{
    Message, ModelFiles, Result,
    helper::{Facts, Helper},
    tokenizer::{LocalTokenizer, contained},
};

/// The tokenizer of a model folder, and its chat template if it has one.
///
/// In a program that has called [`helper::use_program`](crate::helper::use_program) it runs in a
/// second process, which what is in the files can at worst end.
#[derive(Debug, Clone)]
pub struct Tokenizer(Place);

#[derive(Debug, Clone)]
enum Place {
    Here(Box<LocalTokenizer>),
    Apart(Arc<Helper>, Facts),
}

impl Tokenizer {
    /// Reads a model's tokenizer: `tokenizer.json`, the tokens that `tokenizer_config.json`,
    /// `special_tokens_map.json` and `added_tokens.json` add, and the chat template. A GGUF file
    /// has all of it in its keys.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`](crate::ModelError::Tokenizer) if it is malformed;
    /// [`ModelError::Config`](crate::ModelError::Config) for another file that is, or a template
    /// that cannot be read or fails on a plain question. One that knows more tokens than the model
    /// (`vocab_size`) is only warned of: some families share a tokenizer in which their text models
    /// lack a token for images. Whatever runs the model refuses ids outside its vocabulary.
    pub fn load(files: &ModelFiles, vocab_size: usize) -> Result<Self> {
        let (place, tokens) = match Helper::start(files, vocab_size)? {
            Some((helper, facts)) => {
                let tokens = facts.tokens;
                (Place::Apart(Arc::new(helper), facts), tokens)
            }
            None => {
                let file = files.file("tokenizer.json");
                let here = contained(&file, || LocalTokenizer::load(files, vocab_size))?;
                let tokens = here.tokens();
                (Place::Here(Box::new(here)), tokens)
            }
        };
        if tokens > vocab_size {
            let file = files.file("tokenizer.json");
            tracing::warn!("{file}: {tokens} tokens, but the model's vocab_size is {vocab_size}");
        }
        Ok(Self(place))
    }

    /// The ids of a text, without the special tokens that a template would add.
    ///
    /// Text that spells a token which steers the model is read as plain text, so that no user can
    /// forge the end of a turn: special tokens, those that the model's template writes, and
    /// whatever a normalizer turns into one.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`](crate::ModelError::Tokenizer) if the library refuses the text, or
    /// has no other ids for it than a control token's.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match &self.0 {
            Place::Here(here) => contained(here.file(), || here.encode(text)),
            Place::Apart(helper, _) => helper.encode(text),
        }
    }

    /// The ids of a conversation under the model's chat template, up to where its next turn begins;
    /// `None` for a model without a template.
    ///
    /// They are those of transformers' `apply_chat_template`, unless a message brings in a token
    /// that steers the model: then the messages are encoded apart from the template's own text, so
    /// that the token stays plain text.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`](crate::ModelError::Config) if the template refuses the conversation
    /// (some want the roles to alternate), [`ModelError::Tokenizer`](crate::ModelError::Tokenizer)
    /// if the library refuses a text.
    pub fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Option<Vec<u32>>> {
        match &self.0 {
            Place::Here(here) => contained(here.file(), || here.encode_chat(messages)),
            Place::Apart(_, facts) if !facts.has_chat => Ok(None),
            Place::Apart(helper, _) => helper.encode_chat(messages),
        }
    }

    /// The text of some ids; special tokens are left out.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`](crate::ModelError::Tokenizer) if the library cannot decode them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match &self.0 {
            Place::Here(here) => contained(here.file(), || here.decode(ids)),
            Place::Apart(helper, _) => helper.decode(ids),
        }
    }

    /// Whether a token is a single byte that becomes text only with those around it: `<0xE2>`, as
    /// the vocabularies with byte fallback have them.
    pub fn is_byte(&self, id: u32) -> bool {
        match &self.0 {
            Place::Here(here) => here.is_byte(id),
            Place::Apart(helper, _) => helper.is_byte(id),
        }
    }

    /// The bytes that a token stands for in the middle of a text: a part of a character where it is
    /// only that, with the space that a token which begins a word brings along, and a special token
    /// as it is spelled. None of an id that is no token.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        match &self.0 {
            Place::Here(here) => here.token_bytes(id),
            Place::Apart(helper, _) => helper.token_bytes(id),
        }
    }

    /// Whether the model has a chat template.
    pub fn has_chat_template(&self) -> bool {
        match &self.0 {
            Place::Here(here) => here.has_chat_template(),
            Place::Apart(_, facts) => facts.has_chat,
        }
    }

    /// The token that begins a text without a template: what the tokenizer's own files say, be it
    /// none, and `configured` where they say nothing.
    pub fn begin_token(&self, configured: Option<u32>) -> Option<u32> {
        match &self.0 {
            Place::Here(here) => here.begin_token(configured),
            Place::Apart(_, facts) if facts.says_begin => facts.begin,
            Place::Apart(..) => configured,
        }
    }

    /// The tokens that end a response, the one that is written after it first: what the template
    /// writes after a turn, then the tokenizer's own end, then those `configured`.
    pub fn end_tokens(&self, configured: &[u32]) -> Vec<u32> {
        let mut ends = match &self.0 {
            Place::Here(here) => return here.end_tokens(configured),
            Place::Apart(_, facts) => facts.ends.clone(),
        };
        for id in configured {
            if !ends.contains(id) {
                ends.push(*id);
            }
        }
        ends
    }

    /// The token that ends the model's own turns under its chat template; `None` without a
    /// template.
    pub fn end_of_turn(&self) -> Option<u32> {
        match &self.0 {
            Place::Here(here) => here.end_of_turn(),
            Place::Apart(_, facts) => facts.end_of_turn,
        }
    }
}

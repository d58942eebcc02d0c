//! Chat templates: the turns of a conversation as the text that a model was tuned on.

use std::io::{self, Write};

use minijinja::{Environment, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use crate::{ModelError, ModelFiles, Result};

/// Who wrote a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the conversation; not every model's template knows it.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// Who wrote it.
    pub role: Role,
    /// What was written.
    pub content: &'a str,
}

/// Steps that a template may take: some hundred times what a long conversation needs.
const FUEL: u64 = 10_000_000;
/// The longest conversation that a template may write, in bytes: several times the longest context of any model.
const LONGEST: usize = 16 << 20;
const NAME: &str = "chat_template";

/// A model's template, as transformers renders it (Jinja with trimmed blocks and Python's string methods).
///
/// `strftime_now` is not defined, as a prompt that changes with the day could not be compared; templates fall back to a
/// fixed date.
#[derive(Debug, Clone)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: Option<String>,
    eos_token: Option<String>,
    file: String,
}

/// `tokenizer_config.json`, as far as it is read.
#[derive(Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    chat_template: Option<Templates>,
    #[serde(default)]
    bos_token: Option<SpecialToken>,
    #[serde(default)]
    eos_token: Option<SpecialToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Token { content: String },
}

impl SpecialToken {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Token { content: text } => text,
        }
    }
}

impl ChatTemplate {
    /// The template of a model's files; `None` without.
    pub(crate) fn load(files: &ModelFiles) -> Result<Option<Self>> {
        let file = files.file("tokenizer_config.json");
        let fail = |reason: String| ModelError::Config { file: file.clone(), reason };
        let json = files.tokenizer_config.as_deref().unwrap_or(b"{}");
        let config: TokenizerConfig = serde_json::from_slice(json).map_err(|e| fail(e.to_string()))?;
        // `chat_template.jinja` comes first, as in transformers.
        let own = files.chat_template.is_some();
        let file = files.file(if own { "chat_template.jinja" } else { "tokenizer_config.json" });
        let fail = |reason: String| ModelError::Config { file: file.clone(), reason };
        let source = match (&files.chat_template, config.chat_template) {
            (Some(bytes), _) => Some(String::from_utf8(bytes.clone()).map_err(|e| fail(e.to_string()))?),
            (None, Some(Templates::One(source))) => Some(source),
            (None, Some(Templates::Named(list))) => {
                list.into_iter().find(|named| named.name == "default").map(|named| named.template)
            }
            (None, None) => None,
        };
        let Some(source) = source else { return Ok(None) };
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source).map_err(|e| fail(format!("chat template: {e:#}")))?;
        let [bos_token, eos_token] =
            [config.bos_token, config.eos_token].map(|token| token.map(SpecialToken::into_text));
        Ok(Some(Self { environment, bos_token, eos_token, file }))
    }

    /// The text of some turns; with `add_generation_prompt` it ends where the model's next turn begins.
    pub(crate) fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<String> {
        let fail = |e: minijinja::Error| ModelError::Config {
            file: self.file.clone(),
            reason: format!("chat template: {e:#}"),
        };
        let template = self.environment.get_template(NAME).map_err(fail)?;
        let mut text = Bounded(Vec::new());
        let context = context! {
            messages, add_generation_prompt, bos_token => self.bos_token, eos_token => self.eos_token
        };
        template.render_captured_to(context, &mut text).map_err(fail)?;
        String::from_utf8(text.0).map_err(|e| ModelError::Config {
            file: self.file.clone(),
            reason: format!("chat template: {e}"),
        })
    }
}

/// A text of at most [`LONGEST`] bytes: few steps of a template write very much.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::other(format!("it writes more than {LONGEST} bytes")));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Chat templates: the turns of a conversation as the text that a model was tuned on.

mod printf;
mod python;
mod source;
mod text;

use std::io::{self, Write};

use minijinja::{Environment, Value, syntax::SyntaxConfig};
use serde::{Deserialize, Serialize};

use crate::{ModelError, ModelFiles, Result, checkpoint::TEMPLATES, special::TokenSettings};

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

impl Role {
    /// Its name in a template.
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
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
/// The longest conversation that a template may write, in bytes: several times the longest context
/// of any model.
const LONGEST: usize = 16 << 20;
const NAME: &str = "chat_template";
/// The template that is taken where a model has several; the others are for tools or documents.
const DEFAULT: &str = "default";

/// A chat template, rendered as transformers renders it: Jinja over Python's values.
///
/// A template sees `messages`, `add_generation_prompt`, `tools` and `documents` (none), the tokens
/// that the model's files name, and transformers' `raise_exception` and `strftime_now`. The time is
/// the computer's own; `SOURCE_DATE_EPOCH`, in seconds since 1970, fixes it, so that prompts with a
/// date can be compared between days.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Name and text of the tokens that the template may write.
    tokens: Vec<(String, String)>,
    source: String,
    file: String,
}

impl ChatTemplate {
    /// Compiles a template's source; `tokens` are the special tokens by their names, such as
    /// `bos_token`, and `file` is how errors name it.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for a source that is no template, with its line.
    pub fn new(source: &str, tokens: Vec<(String, String)>, file: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| failure(file, &e))?);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false);
        python::install(&mut environment);
        environment.add_function("strftime_now", strftime_now);
        let compiled = environment.add_template_owned(NAME, source::rewrite(source));
        compiled.map_err(|e| failure(file, &e))?;
        Ok(Self { environment, tokens, source: source.into(), file: file.into() })
    }

    /// The template of a model's files; `None` without.
    pub(crate) fn load(files: &ModelFiles, settings: &TokenSettings) -> Result<Option<Self>> {
        let Some((source, file)) = choose(files, settings)? else { return Ok(None) };
        Self::new(&source, settings.named.clone(), &file).map(Some)
    }

    /// The source that was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of some turns; with `add_generation_prompt` it ends where the model's next turn
    /// begins.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] if the template refuses the conversation or fails on it.
    pub fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<String> {
        let fail = |e: minijinja::Error| failure(&self.file, &e);
        let template = self.environment.get_template(NAME).map_err(fail)?;
        let messages: Value = messages
            .iter()
            .map(|message| {
                Value::from_pairs([("role", message.role.name()), ("content", message.content)])
            })
            .collect();
        let none = || Value::from(());
        let fixed = [
            ("messages".to_owned(), messages),
            ("tools".into(), none()),
            ("documents".into(), none()),
            ("add_generation_prompt".into(), add_generation_prompt.into()),
        ];
        let tokens =
            self.tokens.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
        let mut text = Bounded(Vec::new());
        template
            .render_captured_to(Value::from_pairs(tokens.chain(fixed)), &mut text)
            .map_err(fail)?;
        String::from_utf8(text.0).map_err(|e| ModelError::Config {
            file: self.file.clone(),
            reason: format!("chat template: {e}"),
        })
    }
}

fn failure(file: &str, error: &minijinja::Error) -> ModelError {
    let line = error.line().map_or(String::new(), |line| format!("line {line}: "));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let source =
        std::error::Error::source(error).map_or(String::new(), |source| format!(": {source}"));
    ModelError::Config {
        file: file.into(),
        reason: format!("chat template: {line}{detail}{source}"),
    }
}

/// The source that transformers takes for a conversation without tools, and the file it is from.
fn choose(files: &ModelFiles, settings: &TokenSettings) -> Result<Option<(String, String)>> {
    let config = files.file("tokenizer_config.json");
    // Template files come before the configuration's entry.
    let own =
        files.chat_template.iter().map(|bytes| (DEFAULT, files.file("chat_template.jinja"), bytes));
    let more = files.chat_templates.iter().map(|(name, bytes)| {
        (name.as_str(), files.file(&format!("{TEMPLATES}/{name}.jinja")), bytes)
    });
    let mut named: Vec<(String, String, String)> = Vec::new();
    for (name, file, bytes) in own.chain(more) {
        if bytes.starts_with(crate::json::GIT_LFS) {
            let reason = crate::json::GIT_LFS_ADVICE.into();
            return Err(ModelError::Config { file, reason });
        }
        let source = std::str::from_utf8(bytes).map_err(|e| ModelError::Config {
            file: file.clone(),
            reason: format!("not UTF-8 from byte {} on", e.valid_up_to() + 1),
        })?;
        named.push((name.into(), file, source.into()));
    }
    if named.is_empty() {
        let bad = |what: &str| ModelError::Config {
            file: config.clone(),
            reason: format!(
                "chat_template is {what}; a text, or a list of objects with name and template, is \
                 wanted"
            ),
        };
        match &settings.chat_template {
            None => return Ok(None),
            Some(serde_json::Value::String(source)) => return Ok(Some((source.clone(), config))),
            Some(serde_json::Value::Array(list)) => {
                for entry in list {
                    let text = |key: &str| {
                        entry.get(key).and_then(serde_json::Value::as_str).map(str::to_owned)
                    };
                    let entry = text("name")
                        .zip(text("template"))
                        .ok_or_else(|| bad("a list with other entries"))?;
                    named.push((entry.0, config.clone(), entry.1));
                }
            }
            Some(other) => return Err(bad(crate::json::kind(other))),
        }
    }
    // Of two with one name the later counts.
    match named.iter().rev().find(|(name, ..)| name == DEFAULT) {
        Some((_, file, source)) => Ok(Some((source.clone(), file.clone()))),
        None => {
            let names: Vec<&str> = named.iter().map(|(name, ..)| name.as_str()).collect();
            Err(ModelError::Config {
                file: config,
                reason: format!(
                    "none of the model's chat templates ({}) is called {DEFAULT:?}: name the one \
                     to use so, or put it \
                     into chat_template.jinja",
                    names.join(", ")
                ),
            })
        }
    }
}

/// Now, in Python's notation of times.
fn strftime_now(format: &str) -> std::result::Result<String, minijinja::Error> {
    let fail =
        |reason: String| minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, reason);
    let now = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => {
            let seconds = seconds.parse().map_err(|_| {
                fail(format!("SOURCE_DATE_EPOCH = {seconds:?} is no whole number of seconds"))
            })?;
            let time = jiff::Timestamp::from_second(seconds)
                .map_err(|e| fail(format!("SOURCE_DATE_EPOCH: {e}")))?;
            time.to_zoned(jiff::tz::TimeZone::UTC)
        }
        Err(_) => jiff::Zoned::now(),
    };
    written(format, &now).map_err(|e| fail(format!("strftime_now: {e}")))
}

/// A time in Python's notation.
fn written(format: &str, now: &jiff::Zoned) -> std::result::Result<String, jiff::Error> {
    // Where Python's notation is another: the C locale's forms, a naive time's empty zone, and six
    // digits of a second.
    let mut notation = String::with_capacity(format.len());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        notation.push_str(before);
        let kind = after.chars().next();
        let mut own = String::new();
        notation.push_str(match kind {
            Some('c') => "%a %b %e %H:%M:%S %Y",
            Some('x') => "%m/%d/%y",
            Some('X') => "%H:%M:%S",
            Some('f') => "%6f",
            Some('Z' | 'z') => "",
            Some('%') => "%%",
            Some(other) => {
                own.extend(['%', other]);
                &own
            }
            None => "%%",
        });
        rest = &after[kind.map_or(0, char::len_utf8)..];
    }
    notation.push_str(rest);
    jiff::fmt::strtime::format(&notation, now)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_python_writes_them() {
        let now =
            jiff::Timestamp::from_second(1_764_374_400).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        for (format, text) in [
            ("%d %b %Y", "29 Nov 2025"),
            (
                "%Y-%m-%d %H:%M:%S %A %B %j %-d %y %p %I %Z|",
                "2025-11-29 00:00:00 Saturday November 333 29 25 AM 12 |",
            ),
            ("%c; %x; %X; %f; %%", "Sat Nov 29 00:00:00 2025; 11/29/25; 00:00:00; 000000; %"),
        ] {
            assert_eq!(written(format, &now).unwrap(), text);
        }
    }
}

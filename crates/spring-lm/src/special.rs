//! Special tokens: what a model's own files say of them, read as transformers reads them.

use serde_json::{Map, Value};
use spring_gguf::GgufFile;
use tokenizers::AddedToken;

use crate::{ModelError, ModelFiles, Result};

const CONFIG: &str = "tokenizer_config.json";
const MAP: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
const DECODER: &str = "added_tokens_decoder";

/// The names that transformers gives a tokenizer's tokens, in its order.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What a tokenizer class sets where its file says nothing.
const CLASS_DEFAULTS: &[(&str, &[(&str, &str)])] = &[
    (
        "Qwen2Tokenizer",
        &[
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
            ("pad_token", "<|endoftext|>"),
        ],
    ),
    (
        "GemmaTokenizer",
        &[
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
    ),
    (
        "GPT2Tokenizer",
        &[
            ("bos_token", "<|endoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
        ],
    ),
];

/// What `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` say of tokens.
#[derive(Debug, Default)]
pub(crate) struct TokenSettings {
    /// Tokens by their names, such as `bos_token`: a template's variables.
    pub(crate) named: Vec<(String, String)>,
    /// Tokens that the tokenizer has beside those of `tokenizer.json`.
    pub(crate) added: Vec<AddedToken>,
    /// Tokens that steer a conversation, where the file lists them (`chat_control_tokens`).
    pub(crate) control: Option<Vec<String>>,
    /// `add_bos_token`
    pub(crate) adds_begin: Option<bool>,
    /// Whether `bos_token` is null, and not only left out.
    pub(crate) no_begin: bool,
    /// `chat_template`
    pub(crate) chat_template: Option<Value>,
}

impl TokenSettings {
    pub(crate) fn load(files: &ModelFiles) -> Result<Self> {
        if let Some(file) = files.gguf() {
            return of_gguf(file);
        }
        let config = object(files, CONFIG, files.tokenizer_config.as_deref())?;
        let mut config = config.unwrap_or_default();
        let mut added = Vec::new();
        match config.get(DECODER).cloned() {
            Some(Value::Object(tokens)) => {
                for (id, token) in by_id(tokens) {
                    let token = added_token(&token).ok_or_else(|| {
                        bad(
                            files,
                            CONFIG,
                            format!("{DECODER}, token {id}: no object with a text content"),
                        )
                    })?;
                    added.push(token);
                }
            }
            // The older files say the same in two more.
            _ => {
                let map = object(files, MAP, files.special_tokens_map.as_deref())?;
                config.extend(map.into_iter().flatten());
                let named: Vec<String> = config.values().filter_map(text).collect();
                let older =
                    object(files, ADDED, files.added_tokens.as_deref())?.unwrap_or_default();
                for (_, content) in by_id(
                    older.into_iter().map(|(text, id)| (id.to_string(), text.into())).collect(),
                ) {
                    let Value::String(content) = content else { continue };
                    let special = named.contains(&content);
                    added.push(AddedToken::from(content, special).normalized(!special));
                }
            }
        }
        let named = named(files, &config)?;
        // What has a name is special, whatever its entry says, and is added if it is no token yet.
        for token in &mut added {
            token.special |= named.iter().any(|(_, text)| *text == token.content);
        }
        let extra = ["additional_special_tokens", "extra_special_tokens"];
        let listed =
            extra.iter().filter_map(|key| config.get(*key)?.as_array()).flatten().filter_map(text);
        for content in named.iter().map(|(_, text)| text.clone()).chain(listed) {
            if !added.iter().any(|token| token.content == content) {
                added.push(AddedToken::from(content, true));
            }
        }
        let control = config.get("chat_control_tokens").and_then(Value::as_array);
        Ok(Self {
            named,
            added,
            control: control.map(|list| list.iter().filter_map(text).collect()),
            adds_begin: config.get("add_bos_token").and_then(Value::as_bool),
            no_begin: config.get("bos_token").is_some_and(Value::is_null),
            chat_template: config.remove("chat_template").filter(|template| !template.is_null()),
        })
    }

    /// The token of a name, such as `eos_token`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

/// What a GGUF file says.
fn of_gguf(file: &GgufFile) -> Result<TokenSettings> {
    let vocabulary = file.vocabulary()?;
    let named = [
        ("bos_token", vocabulary.bos),
        ("eos_token", vocabulary.eos),
        ("unk_token", vocabulary.unknown),
        ("pad_token", vocabulary.padding),
    ];
    let text = |id: u32| vocabulary.tokens.get(id as usize).cloned();
    Ok(TokenSettings {
        named: named
            .into_iter()
            .filter_map(|(name, id)| Some((name.to_owned(), text(id?)?)))
            .collect(),
        adds_begin: Some(vocabulary.add_bos),
        ..TokenSettings::default()
    })
}

fn bad(files: &ModelFiles, name: &str, reason: String) -> ModelError {
    ModelError::Config { file: files.file(name), reason }
}

fn object(
    files: &ModelFiles,
    name: &str,
    json: Option<&[u8]>,
) -> Result<Option<Map<String, Value>>> {
    let Some(json) = json else { return Ok(None) };
    match crate::json::parse(json).map_err(|reason| bad(files, name, reason))? {
        Value::Object(map) => Ok(Some(map)),
        other => Err(bad(
            files,
            name,
            format!("{} where an object is wanted", crate::json::kind(&other)),
        )),
    }
}

/// The text of a token, which files write as such or as an object.
fn text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

fn by_id(tokens: Map<String, Value>) -> Vec<(u64, Value)> {
    let mut tokens: Vec<_> =
        tokens.into_iter().map(|(id, token)| (id.parse().unwrap_or(u64::MAX), token)).collect();
    tokens.sort_by_key(|(id, _)| *id);
    tokens
}

fn added_token(value: &Value) -> Option<AddedToken> {
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    Some(
        AddedToken::from(value.get("content")?.as_str()?, special)
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special)),
    )
}

fn named(files: &ModelFiles, config: &Map<String, Value>) -> Result<Vec<(String, String)>> {
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    let class = class.strip_suffix("Fast").unwrap_or(class);
    let defaults =
        CLASS_DEFAULTS.iter().find(|(name, _)| *name == class).map_or(&[][..], |(_, list)| list);
    let mut named = Vec::new();
    for name in NAMES {
        let token = match config.get(name) {
            None => defaults
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, text)| (*text).to_owned()),
            Some(Value::Null) => None,
            Some(value) => Some(text(value).ok_or_else(|| {
                bad(
                    files,
                    CONFIG,
                    format!("{name} is {}; a text is wanted", crate::json::kind(value)),
                )
            })?),
        };
        named.extend(token.map(|text| (name.to_owned(), text)));
    }
    // A model's own names are variables too.
    let others =
        config.iter().filter(|(key, _)| key.ends_with("_token") && !NAMES.contains(&key.as_str()));
    named.extend(others.filter_map(|(key, value)| Some((key.clone(), text(value)?))));
    if let Some(Value::Object(extra)) = config.get("extra_special_tokens") {
        named.extend(extra.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))));
    }
    Ok(named)
}

//! JSON files of models: what is wrong with one, said by place and kind.

use serde_json::Value;
use spring_numerics::words::Unread;
pub(crate) use spring_numerics::words::{GIT_LFS, GIT_LFS_ADVICE};

/// The value of a file, or what is wrong with it: its line and column, and what was found.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    read(bytes)
}

/// The same without keeping the value.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    read::<serde::de::IgnoredAny>(bytes).map(drop)
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.starts_with(GIT_LFS) {
        return Err(GIT_LFS_ADVICE.into());
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        format!("not UTF-8 from byte {} on: convert it to UTF-8", e.valid_up_to() + 1)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|e| not_json(&Unread::from(&e), text))
}

/// What the parser saw, with its place.
fn not_json(error: &Unread, text: &str) -> String {
    let (line, column) = (error.line, error.column);
    let place = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let rest = place.get(column.saturating_sub(1)..).unwrap_or_default();
    let hint = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| {
        rest.starts_with(word)
            || place.get(column.saturating_sub(2)..).is_some_and(|rest| rest.starts_with(word))
    });
    match hint {
        Some(word) => {
            format!("line {line}, column {column}: {word} is no JSON; write a number or null")
        }
        None if error.said.starts_with("it ends too early") => {
            format!("the file ends too early, in line {line}: it is cut short")
        }
        None => error.to_string(),
    }
}

/// What a JSON value is, as a sentence calls it.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

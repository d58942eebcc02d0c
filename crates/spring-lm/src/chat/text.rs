//! How Python writes values: `str`, `repr` and `json.dumps`.

use std::fmt::Write;

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, ValueKind},
};

/// What `{{ … }}` writes of a value.
pub(super) fn python_str(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value),
    }
}

/// What a value looks like inside a list.
pub(super) fn repr(value: &Value) -> String {
    let list = |open: &str, close: &str| {
        let items = value.try_iter().map(|items| items.map(|item| repr(&item)).collect::<Vec<_>>());
        format!("{open}{}{close}", items.unwrap_or_default().join(", "))
    };
    match value.kind() {
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number => number(value),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq if value.is_tuple() => match value.len() {
            Some(1) => list("(", ",)"),
            _ => list("(", ")"),
        },
        ValueKind::Seq | ValueKind::Iterable => list("[", "]"),
        ValueKind::Map => {
            let pairs = value.try_iter().map(|keys| {
                let pair = |key: Value| {
                    let item = value.get_item(&key).unwrap_or_default();
                    format!("{}: {}", repr(&key), repr(&item))
                };
                keys.map(pair).collect::<Vec<_>>()
            });
            format!("{{{}}}", pairs.unwrap_or_default().join(", "))
        }
        _ => value.to_string(),
    }
}

/// A number as `repr` writes it: floats with the fewest digits that give it back.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => float_repr(float),
        _ => value.to_string(),
    }
}

fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        // Python changes its notation at these exponents.
        -4..16 => match value.to_string() {
            plain if plain.contains('.') => plain,
            plain => plain + ".0",
        },
        exponent => {
            format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
    }
}

/// A string in quotes, as `repr` writes it.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        let code = u32::from(c);
        let _ = match c {
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if c == quote => write!(out, "\\{c}"),
            c if is_printable(c) => write!(out, "{c}"),
            _ if code <= 0xff => write!(out, "\\x{code:02x}"),
            _ if code <= 0xffff => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push(quote);
    out
}

/// Python's `str.isprintable` of one character: no control, format, private or unassigned one, and
/// no separator but the space.
pub(super) fn is_printable(c: char) -> bool {
    static HIDDEN: std::sync::LazyLock<Option<fancy_regex::Regex>> =
        std::sync::LazyLock::new(|| fancy_regex::Regex::new(r"^[\p{C}\p{Z}]$").ok());
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    let hidden = HIDDEN.as_ref().and_then(|regex| regex.is_match(c.encode_utf8(&mut [0; 4])).ok());
    !hidden.unwrap_or(false)
}

/// transformers' filter `tojson`: `json.dumps` with non-ASCII characters kept, and nothing escaped
/// for HTML.
pub(super) fn tojson(value: &Value, positional: &[Value], named: &Kwargs) -> Result<Value, Error> {
    let argument = |index: usize, name: &str| -> Result<Value, Error> {
        let given: Option<Value> = named.get(name)?;
        Ok(positional.get(index).cloned().or(given).unwrap_or(Value::from(())))
    };
    let ascii = argument(0, "ensure_ascii")?.is_true();
    let indent = argument(1, "indent")?;
    let separators = argument(2, "separators")?;
    let sorted = argument(3, "sort_keys")?.is_true();
    named.assert_all_used()?;
    let indent = match (indent.as_str(), i64::try_from(indent.clone())) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Ok(width)) => Some(" ".repeat(usize::try_from(width).unwrap_or(0).min(MAX_INDENT))),
        (None, Err(_)) if indent.is_none() => None,
        (None, Err(_)) => return Err(bad("tojson: indent is no number and no text")),
    };
    let [item, key] = match separators.try_iter() {
        Ok(list) if !separators.is_none() => match list.collect::<Vec<_>>().as_slice() {
            [item, key] => [item, key].map(python_str),
            _ => return Err(bad("tojson: separators are two texts")),
        },
        _ => [if indent.is_some() { "," } else { ", " }.into(), ": ".into()],
    };
    let mut json = Json { out: String::new(), ascii, indent, item, key, sorted };
    json.write(value, 0)?;
    Ok(Value::from(json.out))
}

const MAX_INDENT: usize = 64;
/// Deeper values are refused before the stack is.
const MAX_DEPTH: usize = 128;

fn bad(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

struct Json {
    out: String,
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sorted: bool,
}

impl Json {
    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(bad("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&json_number(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items = value.try_iter()?.collect::<Vec<_>>();
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        let separator = self.item.clone();
                        self.out.push_str(&separator);
                    }
                    self.line(depth + 1);
                    self.write(item, depth + 1)?;
                }
                if !items.is_empty() {
                    self.line(depth);
                }
                self.out.push(']');
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.collect::<Vec<_>>();
                if self.sorted {
                    keys.sort();
                }
                self.out.push('{');
                for (index, key) in keys.iter().enumerate() {
                    if index > 0 {
                        let separator = self.item.clone();
                        self.out.push_str(&separator);
                    }
                    self.line(depth + 1);
                    match key.kind() {
                        ValueKind::String => self.text(key.as_str().unwrap_or_default()),
                        ValueKind::None => self.text("null"),
                        ValueKind::Bool => self.text(if key.is_true() { "true" } else { "false" }),
                        ValueKind::Number => self.text(&json_number(key)),
                        kind => return Err(bad(format!("tojson: a key is a {kind}"))),
                    }
                    let separator = self.key.clone();
                    self.out.push_str(&separator);
                    self.write(&value.get_item(key)?, depth + 1)?;
                }
                if !keys.is_empty() {
                    self.line(depth);
                }
                self.out.push('}');
            }
            kind => return Err(bad(format!("tojson: a value of kind {kind} is no JSON"))),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            let _ = match c {
                '"' => write!(self.out, "\\\""),
                '\\' => write!(self.out, "\\\\"),
                '\n' => write!(self.out, "\\n"),
                '\r' => write!(self.out, "\\r"),
                '\t' => write!(self.out, "\\t"),
                '\u{8}' => write!(self.out, "\\b"),
                '\u{c}' => write!(self.out, "\\f"),
                c if u32::from(c) < 0x20 => write!(self.out, "\\u{:04x}", u32::from(c)),
                c if self.ascii && !(' '..='~').contains(&c) => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .try_for_each(|unit| write!(self.out, "\\u{unit:04x}")),
                c => write!(self.out, "{c}"),
            };
        }
        self.out.push('"');
    }
}

fn json_number(value: &Value) -> String {
    match number(value).as_str() {
        "nan" => "NaN".into(),
        "inf" => "Infinity".into(),
        "-inf" => "-Infinity".into(),
        text => text.into(),
    }
}

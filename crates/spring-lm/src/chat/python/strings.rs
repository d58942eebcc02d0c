//! The methods of Python's strings.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Tuple, from_args},
};

use super::{bad, sequence, slice};
use crate::chat::text::{is_printable, python_str};

/// A string that is looked through by characters, whatever their length in bytes.
struct Part<'a> {
    text: &'a str,
    /// Characters before it.
    before: usize,
}

fn part<'a>(text: &'a str, from: Option<i64>, to: Option<i64>) -> Part<'a> {
    if from.is_none() && to.is_none() {
        return Part { text, before: 0 };
    }
    let range = slice(text.chars().count(), from, to);
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Part { text: &text[byte(range.start)..byte(range.end)], before: range.start }
}

/// Python's `str.isspace` of one character.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

pub(super) enum Side {
    Left,
    Right,
    Both,
}

pub(super) fn padded(
    state: &State,
    text: &str,
    width: usize,
    fill: char,
    side: Side,
) -> Result<Value, Error> {
    let missing = width.saturating_sub(text.chars().count());
    // The engine counts what a template does; a wide text is paid for before it is made.
    state.consume_fuel(missing as u64)?;
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        Side::Both => missing / 2 + (missing & width & 1),
    };
    let fill = |count: usize| fill.to_string().repeat(count);
    Ok(Value::from(format!("{}{text}{}", fill(left), fill(missing - left))))
}

fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    items.into_iter().map(Value::from).collect()
}

/// The lines of a text, ended by any of Python's line ends.
fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let ends = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + ends } else { at }]);
        rest = &rest[at + ends..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `split` and `rsplit`, without a separator at runs of white space.
fn split<'a>(
    text: &'a str,
    separator: Option<&str>,
    limit: Option<i64>,
    from_right: bool,
) -> Result<Value, Error> {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let mut parts: Vec<&'a str> = Vec::new();
    match separator {
        Some("") => return Err(bad("split: the separator is empty")),
        Some(separator) => {
            let count = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
            match from_right {
                true => parts.extend(text.rsplitn(count, separator)),
                false => parts.extend(text.splitn(count, separator)),
            }
        }
        None => {
            let trim = |rest: &'a str| match from_right {
                true => rest.trim_end_matches(is_space),
                false => rest.trim_start_matches(is_space),
            };
            let mut rest = trim(text);
            while !rest.is_empty() {
                let end = match (limit.is_some_and(|limit| parts.len() == limit), from_right) {
                    (true, _) => None,
                    (false, true) => rest.rfind(is_space).map(|at| {
                        (rest[at..].chars().next().map_or(at, |c| at + c.len_utf8()), at)
                    }),
                    (false, false) => rest.find(is_space).map(|at| (at, at)),
                };
                match (end, from_right) {
                    (None, _) => {
                        // After the last split the other side's white space stays.
                        parts.push(rest);
                        break;
                    }
                    (Some((begin, at)), true) => {
                        parts.push(&rest[begin..]);
                        rest = trim(&rest[..at]);
                    }
                    (Some((end, _)), false) => {
                        parts.push(&rest[..end]);
                        rest = trim(&rest[end..]);
                    }
                }
            }
        }
    }
    if from_right {
        parts.reverse();
    }
    Ok(list(parts))
}

/// A letter that begins a word: of one that becomes several the first is large.
fn title_case(c: char) -> String {
    match c {
        'Ǆ' | 'ǆ' | 'ǅ' => "ǅ".into(),
        'Ǉ' | 'ǉ' | 'ǈ' => "ǈ".into(),
        'Ǌ' | 'ǌ' | 'ǋ' => "ǋ".into(),
        'Ǳ' | 'ǳ' | 'ǲ' => "ǲ".into(),
        'ŉ' => "ʼN".into(),
        c => {
            let mut large = c.to_uppercase();
            let first = large.next().map(String::from).unwrap_or_default();
            first + &large.flat_map(char::to_lowercase).collect::<String>()
        }
    }
}

/// Python's `str.casefold` of one character: what is written in several ways becomes one.
fn folded(c: char) -> String {
    match c {
        'ẞ' => "ss".into(),
        // It has no other form.
        'ı' => c.into(),
        // Cherokee is folded to its large letters.
        '\u{13a0}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => c.to_uppercase().collect(),
        c => c.to_uppercase().flat_map(char::to_lowercase).collect(),
    }
}

fn title(text: &str) -> String {
    let mut after_letter = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match after_letter {
            true => out.extend(c.to_lowercase()),
            false => out.push_str(&title_case(c)),
        }
        after_letter = c.is_lowercase() || c.is_uppercase();
    }
    out
}

/// Whether a text has letters with case, and all of them this one.
fn all_cased(text: &str, wanted: impl Fn(char) -> bool, other: impl Fn(char) -> bool) -> bool {
    text.chars().any(&wanted) && !text.chars().any(other)
}

pub(super) fn string_method(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else { return Err(Error::from(ErrorKind::UnknownMethod)) };
    let all = |test: fn(char) -> bool| Ok(Value::from(!text.is_empty() && text.chars().all(test)));
    let strip = |left: bool, right: bool| -> Result<Value, Error> {
        let (chars,): (Option<&Value>,) = from_args(args)?;
        let chars: Option<Vec<char>> = match chars.filter(|chars| !chars.is_none()) {
            Some(chars) => Some(
                chars
                    .as_str()
                    .ok_or_else(|| bad("strip: the characters are no string"))?
                    .chars()
                    .collect(),
            ),
            None => None,
        };
        let test = |c: char| chars.as_ref().map_or(is_space(c), |chars| chars.contains(&c));
        let stripped = if left { text.trim_start_matches(test) } else { text };
        Ok(Value::from(if right { stripped.trim_end_matches(test) } else { stripped }))
    };
    let affix = |end: bool| -> Result<Value, Error> {
        let (affixes, from, to): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
        let part = part(text, from, to).text;
        let fits = |affix: &str| if end { part.ends_with(affix) } else { part.starts_with(affix) };
        match (affixes.as_str(), affixes.is_tuple()) {
            (Some(affix), _) => Ok(Value::from(fits(affix))),
            (None, true) => {
                Ok(Value::from(affixes.try_iter()?.any(|a| a.as_str().is_some_and(&fits))))
            }
            (None, false) => Err(bad(format!("{name}: a string or a tuple of strings is wanted"))),
        }
    };
    let place = |from_right: bool, must: bool| -> Result<Value, Error> {
        let (wanted, from, to): (&str, Option<i64>, Option<i64>) = from_args(args)?;
        let part = part(text, from, to);
        let found = if from_right { part.text.rfind(wanted) } else { part.text.find(wanted) };
        match found {
            Some(at) => Ok(Value::from(part.before + part.text[..at].chars().count())),
            None if must => Err(bad(format!("{name}: the text is not in the string"))),
            None => Ok(Value::from(-1)),
        }
    };
    let splits = |from_right: bool| -> Result<Value, Error> {
        let (positional, named): (&[Value], Kwargs) = from_args(args)?;
        let named_separator: Option<Value> = named.get("sep")?;
        let named_limit: Option<i64> = named.get("maxsplit")?;
        named.assert_all_used()?;
        let separator =
            positional.first().cloned().or(named_separator).filter(|value| !value.is_none());
        let limit = match positional.get(1) {
            Some(limit) => Some(i64::try_from(limit.clone())?),
            None => named_limit,
        };
        match &separator {
            Some(value) => {
                let separator =
                    value.as_str().ok_or_else(|| bad("split: the separator is no string"))?;
                split(text, Some(separator), limit, from_right)
            }
            None => split(text, None, limit, from_right),
        }
    };
    let pad = |side: Side| -> Result<Value, Error> {
        let (width, fill): (i64, Option<char>) = from_args(args)?;
        padded(state, text, usize::try_from(width).unwrap_or(0), fill.unwrap_or(' '), side)
    };
    let partition = |from_right: bool| -> Result<Value, Error> {
        let (separator,): (&str,) = from_args(args)?;
        let parts = match (text.split_once(separator), text.rsplit_once(separator)) {
            (Some((before, _)), _) if !from_right => {
                [before, separator, &text[before.len() + separator.len()..]]
            }
            (_, Some((before, after))) => [before, separator, after],
            _ if from_right => ["", "", text],
            _ => [text, "", ""],
        };
        Ok(Value::from(Tuple::new(parts.map(Value::from).to_vec())))
    };
    match name {
        "strip" => strip(true, true),
        "lstrip" => strip(true, false),
        "rstrip" => strip(false, true),
        "startswith" => affix(false),
        "endswith" => affix(true),
        "find" => place(false, false),
        "rfind" => place(true, false),
        "index" => place(false, true),
        "rindex" => place(true, true),
        "split" => splits(false),
        "rsplit" => splits(true),
        "partition" => partition(false),
        "rpartition" => partition(true),
        "ljust" => pad(Side::Right),
        "rjust" => pad(Side::Left),
        "center" => pad(Side::Both),
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let (sign, digits) = match text.strip_prefix(['+', '-']) {
                Some(digits) => (&text[..1], digits),
                None => ("", text),
            };
            let width = usize::try_from(width).unwrap_or(0).saturating_sub(sign.len());
            let filled = padded(state, digits, width, '0', Side::Left)?;
            Ok(Value::from(format!("{sign}{}", python_str(&filled))))
        }
        "splitlines" => {
            let (positional, named): (&[Value], Kwargs) = from_args(args)?;
            let keep: Option<bool> = named.get("keepends")?;
            named.assert_all_used()?;
            Ok(list(lines(text, positional.first().map_or(keep.unwrap_or(false), Value::is_true))))
        }
        "removeprefix" => from_args(args)
            .map(|(prefix,): (&str,)| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(suffix,): (&str,)| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "count" => {
            let (wanted, from, to): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            Ok(Value::from(part(text, from, to).text.matches(wanted).count()))
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let items: Vec<Value> = sequence(items)?.try_iter()?.collect();
            if let Some(item) = items.iter().find(|item| item.as_str().is_none()) {
                return Err(bad(format!(
                    "join: a string is wanted, not a value of kind {}",
                    item.kind()
                )));
            }
            state.consume_fuel((items.len() * text.len()) as u64 / 64)?;
            Ok(Value::from(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(text)))
        }
        "title" => Ok(Value::from(title(text))),
        "swapcase" => {
            let swap = |c: char| -> String {
                if c.is_uppercase() {
                    c.to_lowercase().collect()
                } else {
                    c.to_uppercase().collect()
                }
            };
            Ok(Value::from(text.chars().map(swap).collect::<String>()))
        }
        "casefold" => Ok(Value::from(text.chars().map(folded).collect::<String>())),
        "expandtabs" => {
            let (width,): (Option<u16>,) = from_args(args)?;
            Ok(Value::from(expand_tabs(text, usize::from(width.unwrap_or(8)))))
        }
        "isspace" => all(is_space),
        "isdecimal" => all(|c| digit_kind(c) == Some(Digit::Decimal)),
        "isdigit" => all(|c| digit_kind(c).is_some()),
        "isprintable" => Ok(Value::from(text.chars().all(is_printable))),
        "istitle" => Ok(Value::from(
            text.chars().any(|c| c.is_uppercase() || c.is_lowercase()) && title(text) == text,
        )),
        "isidentifier" => {
            let mut chars = text.chars();
            let first = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
            Ok(Value::from(first && chars.all(|c| c.is_alphanumeric() || c == '_')))
        }
        "islower" => Ok(Value::from(all_cased(text, char::is_lowercase, char::is_uppercase))),
        "isupper" => Ok(Value::from(all_cased(text, char::is_uppercase, char::is_lowercase))),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

#[derive(PartialEq)]
enum Digit {
    Decimal,
    /// A superscript, or one in a circle.
    Other,
}

/// What Python's `isdigit` counts; fractions and other numerals are none.
fn digit_kind(c: char) -> Option<Digit> {
    static DECIMAL: std::sync::LazyLock<Option<fancy_regex::Regex>> =
        std::sync::LazyLock::new(|| fancy_regex::Regex::new(r"^\p{Nd}$").ok());
    let decimal =
        DECIMAL.as_ref().and_then(|regex| regex.is_match(c.encode_utf8(&mut [0; 4])).ok());
    match c {
        _ if decimal == Some(true) => Some(Digit::Decimal),
        '\u{b2}'
        | '\u{b3}'
        | '\u{b9}'
        | '\u{2070}'
        | '\u{2074}'..='\u{2079}'
        | '\u{2080}'..='\u{2089}' => Some(Digit::Other),
        '\u{2460}'..='\u{2468}' | '\u{2474}'..='\u{247c}' | '\u{2488}'..='\u{2490}' => {
            Some(Digit::Other)
        }
        _ => None,
    }
}

fn expand_tabs(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if width == 0 => {}
            '\t' => {
                let spaces = width - column % width;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out
}

//! Python's `%` on a string: the text with its places filled in.

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

use super::text::{python_str, repr};

/// Wider places and longer fractions than this are refused.
const WIDEST: usize = 1 << 16;

/// `template % right`.
///
/// # Errors
///
/// As Python: for too few or too many values, a value of another kind, and a place of no known
/// kind.
pub(super) fn printf(template: &str, right: &Value) -> Result<String, Error> {
    let is_tuple = right.is_tuple();
    let mut values: std::collections::VecDeque<Value> = match is_tuple {
        true => right.try_iter()?.collect(),
        false => [right.clone()].into(),
    };
    let is_map = right.kind() == ValueKind::Map;
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut place = Place::default();
        let mut named = None;
        if chars.next_if_eq(&'(').is_some() {
            let mut name = String::new();
            let mut depth = 1;
            for c in chars.by_ref() {
                depth += i32::from(c == '(') - i32::from(c == ')');
                if depth == 0 {
                    break;
                }
                name.push(c);
            }
            if !is_map {
                return Err(bad("%: a name in brackets wants a dict on its right"));
            }
            let value = right.get_item(&Value::from(name.as_str()))?;
            if value.is_undefined() {
                return Err(bad(format!("%: the dict has no {name:?}")));
            }
            named = Some(value);
        }
        while let Some(flag) = chars.next_if(|c| "#0- +".contains(*c)) {
            place.flags.push(flag);
        }
        let mut next = || values.pop_front().ok_or_else(|| bad("%: there are too few values"));
        place.width = match chars.next_if_eq(&'*') {
            Some(_) => {
                let width = whole(&next()?)?;
                if width < 0 {
                    place.flags.push('-');
                }
                size(width.unsigned_abs())?
            }
            None => digits(&mut chars)?.unwrap_or(0),
        };
        if chars.next_if_eq(&'.').is_some() {
            place.precision = Some(match chars.next_if_eq(&'*') {
                Some(_) => size(whole(&next()?)?.max(0).unsigned_abs())?,
                None => digits(&mut chars)?.unwrap_or(0),
            });
        }
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let Some(kind) = chars.next() else { return Err(bad("%: the text ends within a place")) };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => next()?,
        };
        out.push_str(&place.filled(kind, &value)?);
    }
    // A list has places too, as Python sees it.
    let may_stay = !is_tuple && matches!(right.kind(), ValueKind::Map | ValueKind::Seq);
    match values.is_empty() || may_stay {
        true => Ok(out),
        false => Err(bad("%: there are more values than places")),
    }
}

fn bad(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

fn size(number: u128) -> Result<usize, Error> {
    usize::try_from(number)
        .ok()
        .filter(|size| *size <= WIDEST)
        .ok_or_else(|| bad(format!("%: more than {WIDEST} characters for one place")))
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, Error> {
    let mut number = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        let next = number.unwrap_or(0) as u128 * 10 + u128::from(digit);
        number = Some(size(next)?);
    }
    Ok(number)
}

fn is_number(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
}

/// A number or a truth value as a float.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// A number without its fraction.
fn whole(value: &Value) -> Result<i128, Error> {
    let wanted = || bad(format!("%: a number is wanted, and not {}", repr(value)));
    if !is_number(value) {
        return Err(wanted());
    }
    match i128::try_from(value.clone()) {
        Ok(number) if value.is_integer() || value.kind() == ValueKind::Bool => Ok(number),
        _ => as_float(value)
            .filter(|number| number.is_finite())
            .map(|number| number.trunc() as i128)
            .ok_or_else(wanted),
    }
}

#[derive(Default)]
struct Place {
    flags: String,
    width: usize,
    precision: Option<usize>,
}

impl Place {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    fn filled(&self, kind: char, value: &Value) -> Result<String, Error> {
        let text = match kind {
            's' => python_str(value),
            'r' => repr(value),
            'a' => ascii(&repr(value)),
            'c' => match value.as_str() {
                Some(text) if text.chars().count() == 1 => text.to_owned(),
                Some(_) => return Err(bad("%c: one character is wanted")),
                None => u32::try_from(whole(value)?)
                    .ok()
                    .and_then(char::from_u32)
                    .map(String::from)
                    .ok_or_else(|| bad("%c: a character's number is wanted"))?,
            },
            'd' | 'i' | 'u' => return Ok(self.integer(whole(value)?, "", |n| n.to_string())),
            'o' | 'x' | 'X' => {
                if !value.is_integer() && value.kind() != ValueKind::Bool {
                    let found = repr(value);
                    return Err(bad(format!("%{kind}: a whole number is wanted, and not {found}")));
                }
                let number = whole(value)?;
                return Ok(match kind {
                    'o' => self.integer(number, "0o", |n| format!("{n:o}")),
                    'x' => self.integer(number, "0x", |n| format!("{n:x}")),
                    _ => self.integer(number, "0X", |n| format!("{n:X}")),
                });
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let number =
                    as_float(value).ok_or_else(|| bad(format!("%{kind}: a number is wanted")))?;
                return Ok(self.float(kind, number));
            }
            other => return Err(bad(format!("%{other}: a place of no known kind"))),
        };
        let text = match self.precision.filter(|_| kind != 'c') {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        };
        Ok(self.padded("", &text, false))
    }

    fn integer(&self, number: i128, prefix: &str, digits: fn(u128) -> String) -> String {
        let digits = digits(number.unsigned_abs());
        let missing = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let prefix = if self.has('#') { prefix } else { "" };
        let sign = format!("{}{prefix}", self.sign(number < 0));
        self.padded(&sign, &("0".repeat(missing) + &digits), true)
    }

    fn float(&self, kind: char, number: f64) -> String {
        let sign = self.sign(number.is_sign_negative() && !number.is_nan());
        let number = number.abs();
        let precision = self.precision.unwrap_or(6);
        let text = match kind.to_ascii_lowercase() {
            _ if number.is_nan() => "nan".into(),
            _ if number.is_infinite() => "inf".into(),
            'f' => format!("{number:.precision$}"),
            'e' => exponential(number, precision),
            _ => general(number, precision.max(1), self.has('#')),
        };
        let text = if kind.is_ascii_uppercase() { text.to_uppercase() } else { text };
        self.padded(sign, &text, number.is_finite())
    }

    fn sign(&self, is_negative: bool) -> &'static str {
        match is_negative {
            true => "-",
            false if self.has('+') => "+",
            false if self.has(' ') => " ",
            false => "",
        }
    }

    fn padded(&self, sign: &str, text: &str, may_have_zeros: bool) -> String {
        let missing = self.width.saturating_sub(sign.chars().count() + text.chars().count());
        match (self.has('-'), self.has('0') && may_have_zeros) {
            (true, _) => format!("{sign}{text}{}", " ".repeat(missing)),
            (false, true) => format!("{sign}{}{text}", "0".repeat(missing)),
            (false, false) => format!("{}{sign}{text}", " ".repeat(missing)),
        }
    }
}

/// `1.5e+03`
fn exponential(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The shorter of the two notations, without the zeros at its end.
fn general(number: f64, precision: usize, keeps_zeros: bool) -> String {
    let scientific = format!("{number:.*e}", precision - 1);
    let exponent: i32 = scientific.split_once('e').map_or(0, |(_, e)| e.parse().unwrap_or(0));
    let is_plain = exponent >= -4 && i64::from(exponent) < precision as i64;
    let text = match is_plain {
        true => {
            let decimals = (precision as i64 - 1 - i64::from(exponent)).max(0) as usize;
            format!("{number:.decimals$}")
        }
        false => exponential(number, precision - 1),
    };
    let (digits, rest) = match text.find('e') {
        Some(at) => text.split_at(at),
        None => (&*text, ""),
    };
    match digits.contains('.') && !keeps_zeros {
        true => format!("{}{rest}", digits.trim_end_matches('0').trim_end_matches('.')),
        false => text,
    }
}

fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match u32::from(c) {
            0..=0x7f => c.to_string(),
            code @ 0x80..=0xff => format!("\\x{code:02x}"),
            code @ 0x100..=0xffff => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        })
        .collect()
}

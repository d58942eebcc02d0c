//! Python's methods of strings, lists and dicts, and Jinja's filters and tests where the engine's
//! differ from them.

mod strings;

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, Value,
    value::{Kwargs, Rest, Tuple, ValueKind, from_args},
};

use super::{
    printf::{as_float, printf},
    source::{REMAINDER, SEQUENCE},
    text::{python_str, tojson},
};
use strings::{Side, padded, string_method};

/// Makes an environment's values behave as Python's.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, state, value| {
        // Within `autoescape` alone.
        let text = match matches!(state.auto_escape(), AutoEscape::Html) && !value.is_safe() {
            true => escaped(&python_str(value)),
            false => python_str(value),
        };
        Ok(out.write_str(&text)?)
    });

    minijinja_contrib::add_to_environment(environment);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordwrap", word_wrap);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("format", |text: &Value, positional: Rest<Value>, named: Kwargs| {
        formatted(&python_str(text), &positional, &named)
    });
    environment.add_filter("list", |value: &Value| -> Result<Value, Error> {
        Ok(sequence(value)?.try_iter()?.collect())
    });
    for name in ["escape", "e"] {
        environment.add_filter(name, |value: &Value| match value.is_safe() {
            true => value.clone(),
            false => Value::from_safe_string(escaped(&python_str(value))),
        });
    }
    environment.add_filter("forceescape", |value: &Value| {
        Value::from_safe_string(escaped(&python_str(value)))
    });
    environment.add_filter("tojson", |value: &Value, positional: Rest<Value>, named: Kwargs| {
        tojson(value, &positional, &named)
    });
    environment.add_filter("string", |value: &Value| python_str(value));
    environment.add_filter("center", |state: &State, text: &Value, width: Option<usize>| {
        padded(state, &python_str(text), width.unwrap_or(80), ' ', Side::Both)
    });
    environment.add_filter(SEQUENCE, sequence);
    environment.add_filter(REMAINDER, remainder);
    // A Python string is a sequence of its characters, and a dict has a length and items too.
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined
        )
    });
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    environment.add_test("callable", |value: &Value| {
        value.as_object().is_some_and(|object| object.downcast_ref::<Tuple>().is_none())
            && !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
    });
    environment.add_function("dict", dict);
    environment.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(bad(python_str(message)))
    });
}

/// A text for HTML, as markupsafe writes it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// The arguments of a call by position or name, as Python takes them.
fn arguments<const N: usize>(
    names: [&str; N],
    positional: &[Value],
    named: &Kwargs,
) -> Result<[Option<Value>; N], Error> {
    if positional.len() > N {
        return Err(bad(format!("{N} arguments at most are wanted")));
    }
    let mut values = [const { None }; N];
    for (index, (value, name)) in values.iter_mut().zip(names).enumerate() {
        let by_name: Option<Value> = named.get(name)?;
        *value = positional.get(index).cloned().or(by_name);
    }
    named.assert_all_used()?;
    Ok(values)
}

/// A text of at most a length, cut at a word unless `killwords`.
fn truncate(text: &Value, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [length, kill, end, leeway] =
        arguments(["length", "killwords", "end", "leeway"], &positional, &named)?;
    let number = |value: Option<Value>, default: usize| value.map_or(Ok(default), usize::try_from);
    let (length, leeway) = (number(length, 255)?, number(leeway, 5)?);
    let end = end.map_or("...".into(), |end| python_str(&end));
    let text = python_str(text);
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        return Err(bad(format!("truncate: {length} characters do not hold the end {end:?}")));
    };
    if text.chars().count() <= length + leeway {
        return Ok(text);
    }
    let mut cut: String = text.chars().take(kept).collect();
    if !kill.is_some_and(|kill| kill.is_true()) {
        cut.truncate(cut.rfind(' ').unwrap_or(cut.len()));
    }
    Ok(cut + &end)
}

/// The engine's filter takes its settings by name alone.
fn word_wrap(
    state: &State,
    text: &Value,
    positional: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let given = arguments(names, &positional, &named)?;
    let named = names.into_iter().zip(given).filter_map(|(name, value)| Some((name, value?)));
    let call = [text.clone(), named.collect::<Kwargs>().into()];
    let wrap = Value::from_function(minijinja_contrib::filters::wordwrap);
    state.consume_fuel(1)?;
    wrap.call(&mut state.env().empty_state(), &call)
}

/// A whole number, or `default` for what is none.
fn int(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default, base] = arguments(["default", "base"], &positional, &named)?;
    let default = default.unwrap_or(Value::from(0));
    let base = base.map_or(Ok(10), u32::try_from)?;
    let parsed = match value.as_str() {
        Some(text) => {
            let text = text.trim().replace('_', "");
            let whole = (2..=36)
                .contains(&base)
                .then(|| i128::from_str_radix(&without_prefix(&text, base), base).ok())
                .flatten();
            whole.or_else(|| {
                text.parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite())
                    .map(|n| n.trunc() as i128)
            })
        }
        None => match value.kind() {
            ValueKind::Bool => Some(i128::from(value.is_true())),
            ValueKind::Number if value.is_integer() => return Ok(value.clone()),
            ValueKind::Number => {
                f64::try_from(value.clone()).ok().map(|number| number.trunc() as i128)
            }
            _ => None,
        },
    };
    Ok(parsed.map_or(default, Value::from))
}

/// `0x1f` without what says that its base is 16, where that is the base.
fn without_prefix(text: &str, base: u32) -> String {
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => return text.to_owned(),
    };
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    match digits.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix)) {
        true => format!("{sign}{}", &digits[2..]),
        false => text.to_owned(),
    }
}

/// A number with a point, or `default` for what is none.
fn float(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default] = arguments(["default"], &positional, &named)?;
    let parsed = match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse::<f64>().ok(),
        None => as_float(value),
    };
    Ok(parsed.map_or(default.unwrap_or(Value::from(0.0)), Value::from))
}

/// `text|format(…)` is `text % (…)`.
fn formatted(text: &str, positional: &[Value], named: &Kwargs) -> Result<String, Error> {
    let names: Vec<&str> = named.args().collect();
    if names.is_empty() {
        return printf(text, &Value::from(Tuple::new(positional.to_vec())));
    }
    if !positional.is_empty() {
        return Err(bad("format: values by position or by name are wanted, not both"));
    }
    let pairs = names
        .into_iter()
        .map(|name| Ok((Value::from(name), named.get::<Value>(name)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    printf(text, &Value::from_pairs(pairs))
}

/// `dict`, from another one, from pairs, or from named values.
fn dict(positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    match positional.as_slice() {
        [] => {}
        [map] if map.kind() == ValueKind::Map => {
            for key in map.try_iter()? {
                let value = map.get_item(&key)?;
                pairs.push((key, value));
            }
        }
        [list] => {
            for item in sequence(list)?.try_iter()? {
                match item.try_iter()?.collect::<Vec<_>>().as_slice() {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return Err(bad("dict: pairs of a key and a value are wanted")),
                }
            }
        }
        _ => return Err(bad("dict: one argument at most is wanted")),
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.get(name)?));
    }
    named.assert_all_used()?;
    Ok(Value::from_pairs(pairs))
}

fn bad(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

/// What a `for` runs over: the engine knows the length of lists alone, Python that of all.
fn sequence(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Iterable => Ok(value.try_iter()?.collect()),
        ValueKind::Seq | ValueKind::Map | ValueKind::Undefined => Ok(value.clone()),
        kind => Err(bad(format!("a value of kind {kind} cannot be looped over"))),
    }
}

/// `left % right`: of numbers the remainder, of a string the text with its places filled in.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(template) = left.as_str() {
        return printf(template, right).map(Value::from);
    }
    let zero = || bad("the remainder of a division by zero");
    let whole = |value: &Value| i128::try_from(value.clone()).ok();
    let is_whole = |value: &Value| value.is_integer() || value.kind() == ValueKind::Bool;
    match (whole(left), whole(right)) {
        (Some(left), Some(right_value)) if is_whole(right) && right_value != 0 => {
            let rest = left.checked_rem(right_value).unwrap_or(0);
            let across = rest != 0 && (rest < 0) != (right_value < 0);
            Ok(Value::from(if across { rest + right_value } else { rest }))
        }
        (Some(_), Some(0)) => Err(zero()),
        _ => match (as_float(left), as_float(right)) {
            (_, Some(0.0)) => Err(zero()),
            (Some(left), Some(right)) => {
                let rest = left % right;
                let across = rest != 0.0 && (rest < 0.0) != (right < 0.0);
                Ok(Value::from(if across { rest + right } else { rest }))
            }
            _ => Err(bad("% wants two numbers, or a string on its left")),
        },
    }
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string_method(state, value, name, args),
        ValueKind::Seq => sequence_method(value, name, args),
        ValueKind::Map => map_method(state, value, name, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn map_method(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match name {
        "copy" => from_args(args).map(|()| value.clone()),
        "clear" | "pop" | "popitem" | "setdefault" | "update" => Err(immutable("dict", name)),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn sequence_method(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "copy" => from_args(args).map(|()| value.clone()),
        "count" => {
            let (wanted,): (&Value,) = from_args(args)?;
            Ok(Value::from(value.try_iter()?.filter(|item| item == wanted).count()))
        }
        "index" => {
            let (wanted, from, to): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
            let items: Vec<Value> = value.try_iter()?.collect();
            let range = slice(items.len(), from, to);
            let place = items[range.clone()].iter().position(|item| item == wanted);
            place
                .map(|at| Value::from(range.start + at))
                .ok_or_else(|| bad("the value is not in the list"))
        }
        "append" | "clear" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" => {
            Err(immutable("list", name))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// transformers' sandbox refuses what would change a value too.
fn immutable(kind: &str, name: &str) -> Error {
    bad(format!("{kind}.{name} would change a value, which templates may not"))
}

/// A slice's range, counted from the end where it is negative.
fn slice(len: usize, from: Option<i64>, to: Option<i64>) -> std::ops::Range<usize> {
    let place = |at: i64| {
        let at = if at < 0 { at.saturating_add(len as i64).max(0) } else { at };
        usize::try_from(at).unwrap_or(len).min(len)
    };
    let start = from.map_or(0, place);
    start..to.map_or(len, place).max(start)
}

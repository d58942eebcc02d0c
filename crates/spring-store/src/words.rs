//! What a parser of TOML says, in the words of TOML.

use std::ops::Range;

/// What is wrong with a text, with its line and what stands there.
///
/// `message` and `span` are the parser's; the message of a value of the wrong kind names a type of
/// the program, which says nothing to whoever wrote the file.
pub fn toml_reason(text: &str, message: &str, span: Option<Range<usize>>) -> String {
    let said = toml_words(message);
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return said };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    let shown: String = line.chars().take(80).filter(|c| !c.is_control()).collect();
    format!("line {}: {said} ({shown})", number + 1)
}

/// The same of a message alone.
pub fn toml_words(message: &str) -> String {
    let message = message.trim_end();
    let rest = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|begin| message.strip_prefix(begin)?.rsplit_once(", expected "));
    match rest {
        Some((found, wanted)) => format!("{} where {} is wanted", kind(found), wish(wanted)),
        None if message.contains("untagged enum") => "none of the forms that it may have".into(),
        None => message.to_owned(),
    }
}

/// A value that was found, such as `integer 4`.
fn kind(found: &str) -> String {
    let value = |text: &str| text.trim().trim_matches('`').to_owned();
    match found.split(' ').next().unwrap_or_default() {
        "string" => format!("the text {}", value(&found["string".len()..])),
        "integer" => format!("the number {}", value(&found["integer".len()..])),
        "floating" => format!("the number {}", value(found.trim_start_matches("floating point"))),
        "boolean" => value(&found["boolean".len()..]),
        "map" => "a table".into(),
        "sequence" => "a list".into(),
        _ => found.to_owned(),
    }
}

/// What was expected, such as `usize`.
fn wish(wanted: &str) -> &str {
    match wanted {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number from 0 on",
        "isize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        "variant identifier" => "a name",
        other if other.starts_with("struct ") => "a table",
        other if other.starts_with("enum ") || other.contains("enum") => "a name",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_of_the_program_is_named() {
        for (message, said) in [
            (
                "invalid type: string \"three\", expected usize",
                "the text \"three\" where a whole number from 0 on is wanted",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                "the number -1 where a whole number from 0 on is wanted",
            ),
            (
                "invalid type: integer `4`, expected struct SamplerConfig",
                "the number 4 where a table is wanted",
            ),
            (
                "invalid type: floating point `1.5`, expected a string",
                "the number 1.5 where a text is wanted",
            ),
            ("invalid type: boolean `true`, expected f64", "true where a number is wanted"),
            ("invalid type: map, expected variant identifier", "a table where a name is wanted"),
            (
                "data did not match any variant of untagged enum X",
                "none of the forms that it may have",
            ),
            ("unknown field `a`, expected `b`", "unknown field `a`, expected `b`"),
        ] {
            assert_eq!(toml_words(message), said);
        }
        let text = "[training]\nepochs = \"three\"\n";
        let said =
            toml_reason(text, "invalid type: string \"three\", expected usize", Some(20..27));
        assert!(
            said.starts_with("line 2: the text \"three\"")
                && said.ends_with("(epochs = \"three\")")
        );
    }
}

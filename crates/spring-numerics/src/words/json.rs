//! JSON read into values of the program, and what is wrong with it said by place and field.

use std::fmt;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, error::Category};

use super::{GIT_LFS, GIT_LFS_ADVICE, Language, parsed};

/// Why a text of JSON was not read: where, in which field, what was found and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unread {
    /// The line, from 1; 0 where there is no text but a value.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The way to the field, such as `decoding.sampler.top_p`.
    pub field: Option<String>,
    /// What is wrong.
    pub said: String,
    /// Whether the text is JSON, and only something else than was wanted.
    pub is_json: bool,
}

impl Unread {
    fn of(error: &serde_json::Error, field: Option<String>) -> Self {
        Self {
            line: error.line(),
            column: error.column(),
            field,
            said: parsed(&error.to_string(), Language::Json),
            is_json: error.classify() == Category::Data,
        }
    }

    /// The same without the line, for a file whose lines are read one by one.
    pub fn in_its_line(&self) -> String {
        match (&self.field, self.is_json) {
            (Some(field), true) => format!("`{field}`: {}", self.said),
            (None, true) => self.said.clone(),
            (_, false) => format!("not JSON at column {}: {}", self.column, self.said),
        }
    }
}

/// What a text is instead of JSON, if it can be told.
fn other_kind(bytes: &[u8]) -> Result<(), Unread> {
    match bytes.starts_with(GIT_LFS) {
        false => Ok(()),
        true => {
            let said = GIT_LFS_ADVICE.to_owned();
            Err(Unread { line: 0, column: 0, field: None, said, is_json: true })
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.is_json) {
            (0, _) => {}
            (line, true) => write!(f, "line {line}: ")?,
            (line, false) => write!(f, "not JSON at line {line}, column {}: ", self.column)?,
        }
        if let (Some(field), true) = (&self.field, self.is_json) {
            write!(f, "`{field}`: ")?;
        }
        f.write_str(&self.said)
    }
}

impl std::error::Error for Unread {}

impl From<&serde_json::Error> for Unread {
    fn from(error: &serde_json::Error) -> Self {
        Self::of(error, None)
    }
}

/// What an error of serde_json says, without its place.
pub fn of_json(error: &serde_json::Error) -> String {
    parsed(&error.to_string(), Language::Json)
}

/// Reads JSON.
///
/// ```
/// # #[derive(Debug, serde::Deserialize)]
/// # struct Settings { #[allow(dead_code)] epochs: u32 }
/// let error = spring_numerics::words::from_json::<Settings>(b"{\n\"epochs\": \"three\"}");
/// assert_eq!(
///     error.unwrap_err().to_string(),
///     "line 2: `epochs`: the text \"three\" where a whole number from 0 on is wanted"
/// );
/// ```
///
/// # Errors
///
/// With the place and the field.
pub fn from_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Unread> {
    other_kind(bytes)?;
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(of_path)?;
    parser.end().map_err(|error| Unread::of(&error, None))?;
    Ok(value)
}

/// Reads a value of JSON that was parsed before.
///
/// # Errors
///
/// With the field.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Unread> {
    serde_path_to_error::deserialize(value).map_err(of_path)
}

/// The value of a text.
///
/// # Errors
///
/// With the place.
pub fn json_value(bytes: &[u8]) -> Result<Value, Unread> {
    other_kind(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| Unread::of(&error, None))
}

fn of_path(error: serde_path_to_error::Error<serde_json::Error>) -> Unread {
    let path = error.path().to_string();
    // What the path does not lead into is a point or has question marks.
    let field = Some(path).filter(|path| !path.contains('?') && path != ".");
    Unread::of(error.inner(), field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code)]
        count: u32,
    }

    #[test]
    fn the_field_and_the_place_are_told() {
        for (text, said) in [
            (
                "{\"inner\": [{\"count\": 1}, {\"count\": -2}]}",
                "line 1: `inner[1].count`: the number -2 where a whole number from 0 on is wanted",
            ),
            (
                "{\"inner\": [\n{\"count\": null}]}",
                "line 2: `inner[0].count`: null where a whole number from 0 on is wanted",
            ),
            ("{\"inner\": {}}", "line 1: `inner`: an object where a list is wanted"),
            ("{\"inner\": [{}]}", "line 1: `inner[0]`: `count` is missing"),
            ("{\"inner\": [], \"x\": 1}", "line 1: `x`: there is no `x` here; `inner` is known"),
            ("[1, 2]", "line 1: `[0]`: the number 1 where a list is wanted"),
            (
                "{\"inner\": [], }",
                "not JSON at line 1, column 15: a comma before the end of a list or an object",
            ),
            ("{\"inner\": []", "not JSON at line 1, column 12: it ends too early: it is cut short"),
        ] {
            let error = from_json::<Outer>(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, said);
        }
        let error = from_value::<Outer>(serde_json::json!({"inner": [{"count": true}]}));
        let said = "`inner[0].count`: true where a whole number from 0 on is wanted";
        assert_eq!(error.unwrap_err().to_string(), said);
    }

    #[test]
    fn a_text_of_any_depth_is_read_or_refused() {
        let deep = "[".repeat(100_000);
        let error = json_value(deep.as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with("more than 128 deep"), "{error}");
        let error = json_value(b"[1e999]").unwrap_err().to_string();
        assert!(error.ends_with("larger than a program can hold"), "{error}");
    }
}

//! What parsers and the system say, in the words of whoever wrote the file.
//!
//! The libraries that read TOML and JSON name types of the program (`expected usize`, `untagged
//! enum`), and the system's errors end with a number. Here is the one place for each where that
//! becomes what was found, what is allowed, and what to do.

use std::{io, ops::Range};

#[cfg(feature = "json")]
mod json;

#[cfg(feature = "json")]
pub use json::{Unread, from_json, from_value, json_value, of_json};

/// How a pointer of Git LFS begins, which stands in place of a file after a clone without it.
pub const GIT_LFS: &[u8] = b"version https://git-lfs";

/// What to do about one.
pub const GIT_LFS_ADVICE: &str =
    "a pointer of Git LFS, not the file: run `git lfs pull` in the folder, or fetch the file anew";

/// The language of a file, for what it calls its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// Tables and keys.
    Toml,
    /// Objects and fields.
    Json,
}

impl Language {
    fn table(self) -> &'static str {
        match self {
            Self::Toml => "a table",
            Self::Json => "an object",
        }
    }
}

/// What is wrong with a text of TOML, with its line and what stands there.
///
/// `message` and `span` are the parser's.
///
/// ```
/// use spring_numerics::words::toml_reason;
/// let text = "[training]\nepochs = \"three\"\n";
/// let said = "invalid type: string \"three\", expected usize";
/// assert_eq!(
///     toml_reason(text, said, Some(20..27)),
///     "line 2: the text \"three\" where a whole number from 0 on is wanted (epochs = \"three\")"
/// );
/// ```
pub fn toml_reason(text: &str, message: &str, span: Option<Range<usize>>) -> String {
    if text.as_bytes().starts_with(GIT_LFS) {
        return GIT_LFS_ADVICE.to_owned();
    }
    let said = parsed(message, Language::Toml);
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return said };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    let shown: String = line.chars().take(80).filter(|c| !c.is_control()).collect();
    format!("line {}: {said} ({shown})", number + 1)
}

/// A parser's message without the words that only its authors know.
///
/// ```
/// use spring_numerics::words::{Language, parsed};
/// let said = "unknown field `epoch`, expected one of `epochs`, `batch_size`";
/// assert_eq!(
///     parsed(said, Language::Toml),
///     "there is no `epoch` here; `epochs`, `batch_size` are known"
/// );
/// ```
pub fn parsed(message: &str, language: Language) -> String {
    let message = without_place(message.trim_end());
    let quoted = |rest: &str| Some(rest.split_once('`')?.0.to_owned());
    for (begin, missing) in [("unknown field `", true), ("unknown variant `", false)] {
        let Some(rest) = message.strip_prefix(begin) else { continue };
        let (Some(name), Some((_, known))) = (quoted(rest), rest.split_once(", ")) else {
            continue;
        };
        let what = match missing {
            true => format!("there is no `{name}` here"),
            false => format!("`{name}` is not one of those there are"),
        };
        return format!("{what}; {}", known_names(known));
    }
    if let Some(name) = message.strip_prefix("missing field `").and_then(quoted) {
        return format!("`{name}` is missing");
    }
    if let Some(name) = message.strip_prefix("duplicate field `").and_then(quoted) {
        return format!("`{name}` is there twice; leave one of them");
    }
    if let Some(rest) = message.strip_prefix("invalid length ")
        && let Some((found, wanted)) = rest.split_once(", expected ")
    {
        return format!("{found} values where {} is wanted", wish(wanted, language));
    }
    let mismatch = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|begin| message.strip_prefix(begin)?.rsplit_once(", expected "));
    if let Some((found, wanted)) = mismatch {
        return format!("{} where {} is wanted", kind(found, language), wish(wanted, language));
    }
    if message.contains("did not match any variant") || message.contains("untagged enum") {
        return "none of the forms that it may have".into();
    }
    match SYNTAX.iter().find(|(said, _)| message.starts_with(said)) {
        Some((_, plain)) => (*plain).to_owned(),
        None => message.to_owned(),
    }
}

/// What the parser of JSON says of a text that is not JSON.
const SYNTAX: &[(&str, &str)] = &[
    ("EOF while parsing", "it ends too early: it is cut short"),
    ("expected value", "a value is missing"),
    ("expected ident", "a word that JSON does not have; true, false and null are those it has"),
    ("expected `,` or `]`", "`,` or `]` is missing"),
    ("expected `,` or `}`", "`,` or `}` is missing"),
    ("expected `:`", "`:` is missing"),
    ("expected `,`", "`,` is missing"),
    ("expected `\"`", "a quotation mark is missing"),
    ("key must be a string", "a name without quotation marks"),
    ("trailing characters", "something stands behind the end of the value"),
    ("trailing comma", "a comma before the end of a list or an object"),
    ("recursion limit exceeded", "lists and objects within each other more than 128 deep"),
    // Of TOML.
    ("recursion limit", "tables and lists that lie too deep in each other"),
    ("cannot recurse further", "tables and lists that lie too deep in each other"),
    ("number out of range", "a number that is larger than a program can hold"),
    ("invalid number", "a number that is not written as one"),
    ("invalid escape", "a backslash before a character that it does not go with"),
    (
        "control character",
        "a line break or control character in a text: write it as \\n or \\u000a",
    ),
    ("lone leading surrogate", "half of a pair of surrogates (\\ud800 to \\udfff)"),
    ("lone trailing surrogate", "half of a pair of surrogates (\\ud800 to \\udfff)"),
    ("unexpected end of hex escape", "half of a pair of surrogates (\\ud800 to \\udfff)"),
    ("invalid unicode code point", "a text that is not UTF-8"),
];

/// Without the place that serde_json puts behind its messages.
fn without_place(message: &str) -> &str {
    match message.rsplit_once(" at line ") {
        Some((said, place)) if place.bytes().all(|b| b"0123456789 column".contains(&b)) => said,
        _ => message,
    }
}

/// ``expected one of `a`, `b` `` or `there are no fields`.
fn known_names(known: &str) -> String {
    let names = known.strip_prefix("expected ").unwrap_or_default();
    let names = names.strip_prefix("one of ").unwrap_or(names);
    match names.matches('`').count() {
        0 => "none is known".into(),
        1 | 2 => format!("{names} is known"),
        3 | 4 => format!("{} are known", names.replace("` or `", "`, `")),
        _ => format!("{names} are known"),
    }
}

/// A value that was found, such as `integer 4`.
fn kind(found: &str, language: Language) -> String {
    let value = |word: &str| found[word.len()..].trim().trim_matches('`').to_owned();
    match found.split([' ', '`']).next().unwrap_or_default() {
        "string" => format!("the text {}", shortened(&value("string"))),
        "character" => format!("the text {:?}", value("character")),
        "integer" => format!("the number {}", value("integer")),
        "floating" => format!("the number {}", value("floating point")),
        "number" => "a number".into(),
        "boolean" => value("boolean"),
        "null" | "unit" | "Option" => "null".into(),
        "map" | "newtype" | "struct" | "enum" => language.table().into(),
        "sequence" | "tuple" | "byte" => "a list".into(),
        _ => found.to_owned(),
    }
}

/// Of a long text that was found its beginning.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…\"", &text[..at]),
        None => text.to_owned(),
    }
}

/// What was expected, such as `usize`.
fn wish(wanted: &str, language: Language) -> String {
    if let Some(count) = wanted.strip_prefix("a tuple of size ") {
        return format!("a list of {count}");
    }
    if let Some((_, count)) = wanted.rsplit_once(" with ").filter(|(of, _)| of.contains("struct")) {
        return format!("{} with {count}", language.table());
    }
    let plain = match wanted {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number from 0 on",
        "isize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "a borrowed string" | "str" | "string" | "a character" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" | "map" => language.table(),
        "unit" => "null",
        "variant identifier" | "field identifier" => "a name",
        "string or map" | "map with a single key" if language == Language::Json => {
            "a text or an object"
        }
        "string or map" | "map with a single key" => "a name or a table",
        other if other.starts_with("a nonzero u") => "a whole number from 1 on",
        other if other.starts_with("a nonzero i") => "a whole number other than 0",
        other if other.contains("tagged enum") => language.table(),
        other if other.starts_with("enum ") => "a name",
        other if other.contains("tuple ") => "a list",
        other if other.contains("struct ") => language.table(),
        other if other.contains("enum") || other.contains("variant") => "a name",
        other => other,
    };
    plain.to_owned()
}

/// Why the system did not do something with a file, and what to do; without the number that the
/// standard library puts behind it.
///
/// ```
/// let error = std::fs::File::open("no/such/file").unwrap_err();
/// let said = spring_numerics::words::of_system(&error);
/// assert_eq!(said, "there is no such file or folder; check its name");
/// ```
pub fn of_system(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let plain = match error.kind() {
        // What a program put in words is told as it is.
        _ if error.get_ref().is_some() && !error.to_string().contains("(os error ") => {
            return error.to_string();
        }
        Kind::NotFound => "there is no such file or folder; check its name",
        Kind::PermissionDenied => {
            "the system does not permit it; check the permissions of the file and of its folder, \
             or run this as their owner"
        }
        Kind::AlreadyExists => "it is there already; choose another name, or move it away",
        Kind::NotADirectory => {
            "a part of its path is a file where a folder should be; check its name"
        }
        Kind::IsADirectory => "it is a folder, and a file is needed",
        Kind::DirectoryNotEmpty => "the folder is not empty; choose another",
        Kind::StorageFull => "the disk is full; free some space, then run this again",
        Kind::QuotaExceeded => {
            "your share of the disk is used up; free some space, then run this again"
        }
        Kind::FileTooLarge => {
            "it would be larger than a file may be here; raise the limit (`ulimit -f`)"
        }
        Kind::ReadOnlyFilesystem => {
            "it is on a file system that may only be read; choose another place"
        }
        Kind::InvalidFilename => "the system does not take such a name; choose a shorter one",
        Kind::InvalidData => "it is not UTF-8; convert it to UTF-8",
        Kind::UnexpectedEof => "it ends too early: it is cut short, so fetch or write it anew",
        Kind::WriteZero => "nothing more could be written; free some space, then run this again",
        Kind::BrokenPipe => "nobody reads what is written there any more",
        Kind::OutOfMemory => {
            "there is not enough memory; close other programs, then run this again"
        }
        Kind::Interrupted => "it was interrupted; run this again",
        Kind::TimedOut => "nobody answered in time; check the connection, then run this again",
        Kind::ConnectionRefused => "nobody takes connections there; check the address",
        Kind::ConnectionReset | Kind::ConnectionAborted => {
            "the connection was ended by the other side; run this again"
        }
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            "the network does not lead there; check the connection"
        }
        Kind::AddrInUse => "somebody else uses this address; choose another port",
        Kind::AddrNotAvailable => "this machine does not have this address; choose another",
        _ => match error.raw_os_error() {
            // Of Linux, where the numbers are these.
            Some(5) if cfg!(target_os = "linux") => {
                "the disk reports an error; check it, and take a copy of what is on it"
            }
            Some(23 | 24) if cfg!(unix) => {
                "too many files are open; close other programs, or raise the limit (`ulimit -n`)"
            }
            Some(40) if cfg!(target_os = "linux") => {
                "its links lead in a circle; name the file itself"
            }
            _ => return without_number(&error.to_string()),
        },
    };
    plain.to_owned()
}

/// `Some words (os error 5)` without the number and without the capital.
fn without_number(said: &str) -> String {
    let said = said.rsplit_once(" (os error ").map_or(said, |(said, _)| said);
    let mut letters = said.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    first + letters.as_str()
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
                "invalid type: sequence, expected internally tagged enum K",
                "a list where a table is wanted",
            ),
            (
                "invalid length 3, expected a tuple of size 2",
                "3 values where a list of 2 is wanted",
            ),
            (
                "invalid length 1, expected struct Pair with 2 elements",
                "1 values where a table with 2 elements is wanted",
            ),
            (
                "data did not match any variant of untagged enum X",
                "none of the forms that it may have",
            ),
            ("unknown field `a`, expected `b`", "there is no `a` here; `b` is known"),
            ("unknown field `a`, expected `b` or `c`", "there is no `a` here; `b`, `c` are known"),
            ("unknown field `a`, there are no fields", "there is no `a` here; none is known"),
            (
                "unknown variant `x`, expected one of `a`, `b`, `c`",
                "`x` is not one of those there are; `a`, `b`, `c` are known",
            ),
            ("missing field `r` at line 1 column 8", "`r` is missing"),
            ("duplicate field `r`", "`r` is there twice; leave one of them"),
            ("trailing comma at line 2 column 1", "a comma before the end of a list or an object"),
            ("the name of a gate", "the name of a gate"),
        ] {
            assert_eq!(parsed(message, Language::Toml), said);
        }
    }

    #[test]
    fn every_reason_of_the_system_is_told_without_a_number() {
        for number in 1..134 {
            let said = of_system(&io::Error::from_raw_os_error(number));
            assert!(!said.contains("os error") && !said.is_empty(), "{number}: {said}");
            assert!(said.starts_with(|first: char| !first.is_uppercase()), "{number}: {said}");
        }
        assert_eq!(of_system(&io::Error::other("a pipe")), "a pipe");
    }
}

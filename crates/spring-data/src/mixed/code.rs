//! Code and logs that stand in people's texts.

use std::{io::Read, path::Path};

use spring_memory::Interaction;
use spring_numerics::words::of_system;

use crate::{Error, Result, read_streams};

/// A block of code or of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passage {
    /// The block.
    pub text: String,
    /// Who wrote it, or the file that it is of.
    pub by: String,
}

impl Passage {
    /// A block, and who wrote it.
    pub fn new(text: impl Into<String>, by: impl Into<String>) -> Self {
        Self { text: text.into(), by: by.into() }
    }

    /// The blocks in a person's text.
    pub fn all_of(text: &Interaction) -> impl Iterator<Item = Self> {
        let passages = code_passages(&text.response).into_iter();
        passages.map(|passage| Self::new(passage, text.user.as_str()))
    }
}

/// The fewest lines of a block, and the most.
const LINES: (usize, usize) = (3, 40);

/// The fewest characters of a block, blanks not counted.
const CHARACTERS: usize = 60;

/// The fewest signs of code among the characters of an indented block; prose has less.
const SIGNS: f64 = 0.09;

/// The longest file of code, in bytes.
const LONGEST: u64 = 16 << 20;

/// The blocks of code or logs in a text: what stands between lines of three backticks, and runs of
/// at least three lines that are indented or begin like a shell's or a diff's, where the signs of
/// code are frequent enough. Blocks of more than 40 lines are cut there.
pub fn code_passages(text: &str) -> Vec<&str> {
    let mut passages = Vec::new();
    // The block that is open: its beginning and end, its lines, and whether it is fenced.
    let mut open: Option<(usize, usize, usize, bool)> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let (from, end) = (start, start + line.len());
        start = end;
        let is_fence = line.trim_start().starts_with("```");
        open = match open {
            Some((begin, last, lines, true)) if is_fence => {
                passages.extend(block(&text[begin..last], lines, true));
                None
            }
            Some((begin, _, lines, true)) => Some((begin, end, lines + 1, true)),
            Some((begin, last, lines, false)) if !is_code(line) || is_fence => {
                passages.extend(block(&text[begin..last], lines, false));
                is_fence.then_some((end, end, 0, true))
            }
            Some((begin, _, lines, false)) => Some((begin, end, lines + 1, false)),
            None if is_fence => Some((end, end, 0, true)),
            None => is_code(line).then_some((from, end, 1, false)),
        };
    }
    // A fence that is never closed is none.
    if let Some((begin, last, lines, false)) = open {
        passages.extend(block(&text[begin..last], lines, false));
    }
    passages
}

/// Whether a line may be one of a block without a fence.
fn is_code(line: &str) -> bool {
    const BEGINNINGS: [&str; 7] = ["\t", "    ", "$ ", "@@ ", "diff --git ", "index ", "--- "];
    let is_changed = line.starts_with(['+', '-'])
        && line.chars().nth(1).is_some_and(|next| !next.is_whitespace() && next != '-');
    !line.trim().is_empty()
        && (is_changed || BEGINNINGS.iter().any(|beginning| line.starts_with(beginning)))
}

/// A run of lines, if it is long enough and, without a fence, has enough signs of code.
fn block(text: &str, lines: usize, fenced: bool) -> Option<&str> {
    let text = cut(text).trim_end();
    let visible = || text.chars().filter(|sign| !sign.is_whitespace());
    let (all, signs) = (visible().count(), visible().filter(|sign| is_sign(*sign)).count());
    let is_shell = text.lines().any(|line| line.trim_start().starts_with("$ "));
    let is_code = fenced || is_shell || signs as f64 >= SIGNS * all as f64;
    (lines >= LINES.0 && all >= CHARACTERS && is_code).then_some(text)
}

/// The first lines of a block.
fn cut(text: &str) -> &str {
    let end = text.match_indices('\n').nth(LINES.1 - 1).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn is_sign(sign: char) -> bool {
    "{}()[];=<>|&$*/\\_#+:@~^%`\"".contains(sign)
}

/// The blocks of a file: of a data set (`.json`, `.jsonl`) those in its users' texts; of any other
/// file, which is code or a log as a whole, its parts between empty lines, the short ones together.
///
/// # Errors
///
/// [`Error::File`] if the file cannot be read, is longer than 16 MiB or not UTF-8, or has no block;
/// as [`read_streams`] for a data set.
pub fn passages_of_file(path: &Path) -> Result<Vec<Passage>> {
    let fail = |reason: String| Error::File { file: path.display().to_string(), reason };
    let extension = path.extension().and_then(|extension| extension.to_str());
    let passages: Vec<Passage> = if matches!(extension, Some("json" | "jsonl")) {
        let streams = read_streams(path, None, &|_| true)?;
        streams.iter().flat_map(|stream| &stream.texts).flat_map(Passage::all_of).collect()
    } else {
        let mut text = String::new();
        let file = spring_numerics::file::open(path).map_err(|error| fail(of_system(&error)))?;
        file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => fail("not UTF-8; convert the file to UTF-8".into()),
            _ => fail(of_system(&error)),
        })?;
        if text.len() as u64 > LONGEST {
            return Err(fail(format!("longer than {LONGEST} bytes")));
        }
        let by = path.file_name().unwrap_or_default().to_string_lossy();
        parts(&text).into_iter().map(|part| Passage::new(part, by.clone())).collect()
    };
    match passages.is_empty() {
        true => Err(fail(
            "no block of code or of a log: at least 3 lines and 60 characters, in a data set \
             indented, fenced or a diff"
                .into(),
        )),
        false => Ok(passages),
    }
}

/// The parts of a file between empty lines; one that is too short goes with the next.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut start, mut lines) = (Vec::new(), 0, 0, 0);
    let mut was_empty = true;
    for line in text.split_inclusive('\n') {
        (start, lines) = (start + line.len(), lines + 1);
        let is_empty = line.trim().is_empty();
        // Many empty lines end a part once.
        let ends = is_empty && !was_empty || !is_empty && lines >= LINES.1 || start == text.len();
        was_empty = is_empty;
        if !ends {
            continue;
        }
        let part = text[begin..start].trim_matches(['\n', '\r']).trim_end();
        if block(part, part.lines().count(), true).is_some() {
            parts.push(part);
            (begin, lines) = (start, 0);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/x.c b/x.c\n@@ -1,2 +1,2 @@\n-int first = 1;\n+int first = 2;\n\
                        +int second(void) { return first; }\n";

    #[test]
    fn blocks_are_found_and_prose_is_not() {
        let shell = "\t$ git init there\n\tInitialized empty Git repository\n\t$ git status\n\
                     \tOn branch master, no commits yet\n";
        let fenced = "fn main() {\n\n    let all = [1, 2, 3, 4].iter().sum::<u32>();\n    \
                      println!(\"the sum is {all}\");\n}\n";
        let quoted = "    As somebody said, it is pointless to store the callback in the\n    \
                      first place, and nobody would be able to call it ever after, or\n    \
                      before, or at all in any case that we know of.\n";
        let items = "- one thing that is to be done before the other\n- the other thing, later\n\
                     - and a third thing that nobody has thought of\n";
        let text = format!(
            "This does it:\n\n{DIFF}\nand so:\n{shell}\nor\n```rust\n{fenced}```\n{quoted}{items}\
             \tfoo(1);\n\tbar(2);\n"
        );
        let found = code_passages(&text);
        assert_eq!(found, [DIFF.trim_end(), shell.trim_end(), fenced.trim_end()]);
        // The end of the text ends a block; a fence that stays open is none.
        assert_eq!(code_passages(DIFF.trim_end()), [DIFF.trim_end()]);
        assert!(code_passages(&format!("```\n{fenced}")).is_empty());
        assert!(code_passages("").is_empty() && code_passages("```\n```\n").is_empty());
    }

    #[test]
    fn a_long_block_is_cut_after_forty_lines() {
        let long: String = (0..100).map(|i| format!("\tvalue[{i}] = {i};\n")).collect();
        let found = code_passages(&long);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines().count(), 40);
        assert!(found[0].ends_with("value[39] = 39;"));
    }

    #[test]
    fn a_file_of_code_falls_into_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.c");
        let one = "int first(int a) {\n    return a + 1; /* the next number */\n    \
                   /* not reached by anybody */\n}";
        let two = "int second(int b) {\n    return b + 2; /* one more number */\n    \
                   /* not reached by anybody */\n}";
        std::fs::write(&path, format!("\n{one}\n\n/* a word */\n\n{two}\n")).unwrap();
        let found = passages_of_file(&path).unwrap();
        let expected = [one.to_owned(), format!("/* a word */\n\n{two}")];
        assert_eq!(found, expected.map(|text| Passage::new(text, "x.c")));

        std::fs::write(&path, "too short\n").unwrap();
        let error = passages_of_file(&path).unwrap_err().to_string();
        assert!(error.contains("x.c: no block of code"), "{error}");
        std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
        let error = passages_of_file(&path).unwrap_err().to_string();
        assert!(error.contains("x.c: not UTF-8"), "{error}");
        let error = passages_of_file(&dir.path().join("none.c")).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
    }

    #[test]
    fn another_data_set_lends_the_code_in_its_texts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("texts.jsonl");
        let line = |response: &str| {
            let text = serde_json::json!({
                "user": "dev", "id": response.len().to_string(), "time": "2024-01-01T00:00:00Z",
                "prompt": "p", "response": response
            });
            format!("{text}\n")
        };
        std::fs::write(&path, line("no code here") + &line(&format!("see\n{DIFF}end"))).unwrap();
        assert_eq!(passages_of_file(&path).unwrap(), [Passage::new(DIFF.trim_end(), "dev")]);
    }
}

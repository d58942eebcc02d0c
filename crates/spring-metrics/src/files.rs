//! Predictions and references from files: JSON Lines of strings.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use spring_numerics::words::{GIT_LFS, GIT_LFS_ADVICE, of_system};

use crate::{Error, Result, TextScores};

/// The longest line, in bytes.
const LONGEST: u64 = 1 << 20;

/// The mean scores of a file of predictions against one of references, line by line; the files are
/// read as streams.
///
/// # Errors
///
/// [`Error::File`] if a file cannot be read, has no lines, or fewer than the other; [`Error::Line`]
/// for a line that is not a JSON string.
pub fn score_files(predictions: &Path, references: &Path) -> Result<TextScores> {
    let (mut predicted, mut expected) = (Strings::open(predictions)?, Strings::open(references)?);
    let (mut sum, mut count) = (TextScores::default(), 0usize);
    while let Some((prediction, reference)) = both(&mut predicted, &mut expected)? {
        let score = TextScores::of(&prediction, &reference);
        sum.rouge1 += score.rouge1;
        sum.rouge2 += score.rouge2;
        sum.rouge_l += score.rouge_l;
        sum.meteor += score.meteor;
        count += 1;
    }
    if count == 0 {
        return Err(predicted.error("there are no lines; expected one JSON string a line".into()));
    }
    let n = count as f64;
    Ok(TextScores {
        rouge1: sum.rouge1 / n,
        rouge2: sum.rouge2 / n,
        rouge_l: sum.rouge_l / n,
        meteor: sum.meteor / n,
    })
}

/// The strings of two files with as many lines, whole: labels and numbers are scored together.
///
/// # Errors
///
/// As [`score_files`].
pub fn read_string_pairs(
    predictions: &Path,
    references: &Path,
) -> Result<(Vec<String>, Vec<String>)> {
    let (mut predicted, mut expected) = (Strings::open(predictions)?, Strings::open(references)?);
    let mut pairs = (Vec::new(), Vec::new());
    while let Some((prediction, reference)) = both(&mut predicted, &mut expected)? {
        pairs.0.push(prediction);
        pairs.1.push(reference);
    }
    if pairs.0.is_empty() {
        return Err(predicted.error("there are no lines; expected one JSON string a line".into()));
    }
    Ok(pairs)
}

fn both(predictions: &mut Strings, references: &mut Strings) -> Result<Option<(String, String)>> {
    match (predictions.next()?, references.next()?) {
        (Some(prediction), Some(reference)) => Ok(Some((prediction, reference))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(references.ends_early(predictions)),
        (None, Some(_)) => Err(predictions.ends_early(references)),
    }
}

/// What a line holds instead of a JSON string.
fn not_a_string(line: &[u8], error: &serde_json::Error) -> String {
    let wanted = "one JSON string a line is wanted, such as \"a text\"";
    if std::str::from_utf8(line).is_err() {
        return format!("not UTF-8: convert the file to UTF-8; {wanted}");
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(line) {
        Ok(_) => {
            let found = match line.trim_ascii_start().first() {
                Some(b'{') => "an object",
                Some(b'[') => "a list",
                Some(b'n') => "null",
                Some(b't' | b'f') => "true or false",
                _ => "a number",
            };
            format!("not a JSON string: {found}; {wanted}")
        }
        Err(_) if line.starts_with(GIT_LFS) => GIT_LFS_ADVICE.into(),
        Err(_) => format!("not a JSON string: no JSON at column {}; {wanted}", error.column()),
    }
}

/// The strings of a file, one a line; blank lines are skipped.
struct Strings {
    reader: BufReader<File>,
    label: String,
    line: u64,
    strings: u64,
}

impl Strings {
    fn open(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        match spring_numerics::file::open(path) {
            Ok(file) => Ok(Self { reader: BufReader::new(file), label, line: 0, strings: 0 }),
            Err(error) => Err(Error::File { file: label, reason: of_system(&error) }),
        }
    }

    fn next(&mut self) -> Result<Option<String>> {
        loop {
            let mut line = Vec::new();
            self.line += 1;
            let read = (&mut self.reader).take(LONGEST + 1).read_until(b'\n', &mut line);
            read.map_err(|error| self.error(format!("cannot be read: {}", of_system(&error))))?;
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() as u64 > LONGEST {
                return Err(self.bad_line(format!("the line is longer than {LONGEST} bytes")));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.strings += 1;
            let line = if self.line == 1 {
                line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line)
            } else {
                &line
            };
            return match serde_json::from_slice(line) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(self.bad_line(not_a_string(line, &error))),
            };
        }
    }

    fn ends_early(&self, other: &Self) -> Error {
        self.error(format!("ends after {} strings, but {} has more", self.strings, other.label))
    }

    fn bad_line(&self, reason: String) -> Error {
        Error::Line { file: self.label.clone(), line: self.line, row: self.strings, reason }
    }

    fn error(&self, reason: String) -> Error {
        Error::File { file: self.label.clone(), reason }
    }
}

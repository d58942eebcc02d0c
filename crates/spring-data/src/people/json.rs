//! JSON: a list of records, records one after the other (JSON Lines), or one object with a list.

use std::io::{BufRead, Cursor};

use jiff::Timestamp;
use serde_json::{Map, Value, error::Category};
use spring_memory::{Interaction, JsonlError, JsonlReader, without_lone_surrogates};
use spring_numerics::words::{of_json, of_system};

use super::{
    error::{Error, Result, shown},
    found::{Found, LONGEST_TEXT, Pair},
    input::{Bundle, Entry, decoded, file_error, read_line},
    left_out::Reason,
    options::{Columns, Options},
    reader::Reader,
    rows::{Roles, Rows, scalar},
};
use crate::elements::Elements;

/// Records of any shape; those with user, id, time, prompt and response are the program's own.
pub(crate) struct Json;

/// The longest line of JSON Lines, as for interactions everywhere.
const LONGEST_LINE: usize = 1 << 20;

/// The fields of an interaction.
const FIELDS: &[&str] = &["user", "id", "time", "prompt", "response", "meta"];

impl Reader for Json {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        for entry in entries {
            let file = found.file(&entry.label);
            let head = bundle.head(entry)?;
            let mut sink = Sink { file, label: entry.label.clone(), rows: None };
            let is_wide = head.starts_with(b"\xff\xfe")
                || head.starts_with(b"\xfe\xff")
                || head.get(..4).is_some_and(|head| head.contains(&0));
            if is_wide {
                let text = decoded(bundle.bytes(entry)?);
                read(&mut Cursor::new(text), decoded(head).as_bytes(), &mut sink, options, found)?;
            } else {
                bundle.read(entry, |reader| read(reader, &head, &mut sink, options, found))?;
            }
            if let Some(rows) = sink.rows {
                rows.finish(options, found, &entry.label);
            }
        }
        Ok(())
    }
}

fn read(
    reader: &mut dyn BufRead,
    head: &[u8],
    sink: &mut Sink,
    options: &Options,
    found: &mut Found,
) -> Result<()> {
    let label = sink.label.clone();
    let io = |error: std::io::Error| match (options.stop)() {
        true => Error::Stopped,
        false => file_error(&label, &of_system(&error)),
    };
    if !is_lines(head) {
        // A list or values over several lines: what is broken there leaves nothing to go on with.
        let text = |error: crate::Error| match (options.stop)() {
            true => Error::Stopped,
            false => match error {
                crate::Error::Record { file, line, reason, .. } => {
                    Error::File { file: format!("{file}:{line}"), reason }
                }
                other => file_error(&label, &other.to_string()),
            },
        };
        let mut elements = Elements::new(reader, &label).map_err(text)?;
        while let Some((line, bytes)) = elements.next().map_err(text)? {
            sink.take(bytes, line, options, found)?;
        }
        return Ok(());
    }
    let (mut line, mut number) = (Vec::new(), 0);
    while read_line(reader, &mut line, LONGEST_LINE + 1).map_err(io)? {
        number += 1;
        let mut bytes = line.as_slice();
        if number == 1 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        if bytes.len() > LONGEST_LINE {
            found.problem(sink.file, number, None, "the line is longer than 1 MiB");
        } else if !bytes.trim_ascii().is_empty() {
            sink.take(bytes, number, options, found)?;
        }
    }
    Ok(())
}

/// Whether the first line is a whole record.
fn is_lines(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let head = head.trim_ascii_start();
    let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if !first.starts_with(b"{") {
        return !first.starts_with(b"[");
    }
    let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(first);
    match is_whole {
        Ok(_) => true,
        // A pretty printer's first line ends in the middle; a broken line of many is one of many.
        Err(error) if error.classify() == Category::Eof => {
            let second = head.split(|byte| *byte == b'\n').nth(1).map(<[u8]>::trim_ascii);
            second.is_none_or(|second| second.starts_with(b"{") || second.is_empty())
        }
        Err(_) => true,
    }
}

/// Where records go.
struct Sink {
    file: usize,
    label: String,
    rows: Option<Rows>,
}

impl Sink {
    fn take(
        &mut self,
        bytes: &[u8],
        line: u64,
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let file = self.file;
        if self.rows.is_none() {
            match serde_json::from_slice::<Interaction>(bytes) {
                Ok(own) if own.prompt.len().max(own.response.len()) <= LONGEST_TEXT => {
                    return self.push(own, line, found);
                }
                // Whose text it is, or which, cannot be told.
                Err(error) if of_json(&error).ends_with("leave one of them") => {
                    found.problem(file, line, None, of_json(&error));
                    return Ok(());
                }
                _ => {}
            }
        }
        let value = match parse(bytes) {
            Ok(value) => value,
            Err(error) => {
                found.problem(file, line, None, said_by(bytes, &error));
                return Ok(());
            }
        };
        let Value::Object(row) = value else {
            found.problem(file, line, None, "not an object: a record with named fields is needed");
            return Ok(());
        };
        // One object with one list of records: the list is what counts.
        let lists: Vec<&Vec<Value>> = row
            .values()
            .filter_map(Value::as_array)
            .filter(|list| list.first().is_some_and(Value::is_object))
            .collect();
        if let [list] = lists[..]
            && Roles::find(&row.keys().cloned().collect::<Vec<_>>(), options, &self.label).is_err()
        {
            for (place, item) in (1..).zip(list) {
                match item {
                    Value::Object(row) => self.row(row, place, options, found)?,
                    _ => found.problem(file, place, None, "not an object"),
                }
            }
            return Ok(());
        }
        self.row(&row, line, options, found)
    }

    fn row(
        &mut self,
        row: &Map<String, Value>,
        line: u64,
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let is_own = ["user", "prompt", "response"].iter().all(|field| row.contains_key(*field));
        if is_own && options.columns == Columns::default() {
            return self.own(row, line, options, found);
        }
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                let columns: Vec<String> = row.keys().cloned().collect();
                self.rows.insert(Rows::new(Roles::find(&columns, options, &self.label)?))
            }
        };
        rows.add(row, self.file, line, options, found)
    }

    fn push(&self, own: Interaction, line: u64, found: &mut Found) -> Result<()> {
        found.push_pair(Pair {
            user: Some(own.user.into()),
            id: Some(own.id.into()),
            time: Some(own.time),
            prompt: own.prompt,
            response: own.response,
            meta: own.meta,
            file: self.file,
            line,
        })
    }

    /// An interaction with a number for an id, a date without a zone, or neither of them: what a
    /// person or a script writes.
    fn own(
        &self,
        row: &Map<String, Value>,
        line: u64,
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let file = self.file;
        let before = found.problem_count;
        if let Some(unknown) = row.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let known = FIELDS.join(", ");
            found.problem(
                file,
                line,
                Some(unknown.as_str()),
                format!("unknown field; known are {known}"),
            );
        }
        let mut text = |field: &str| match scalar(row.get(field)) {
            Ok(text) => text,
            Err(kind) => {
                found.problem(file, line, Some(field), format!("{kind}: a text is needed"));
                String::new()
            }
        };
        let (user, id, when) = (text("user"), text("id"), text("time"));
        let (prompt, response) = (text("prompt"), text("response"));
        for (field, bytes) in [("prompt", prompt.len()), ("response", response.len())] {
            if bytes > LONGEST_TEXT {
                let reason = format!("{bytes} bytes, more than {}", LONGEST_TEXT);
                found.problem(file, line, Some(field), reason);
            }
        }
        if response.trim().is_empty() {
            found.problem(file, line, Some("response"), "blank: there is nothing to learn from it");
        }
        if let Err(error) = spring_memory::UserId::new(user.clone()) {
            found.problem(file, line, Some("user"), error.to_string());
        }
        if !id.is_empty()
            && let Err(error) = spring_memory::InteractionId::new(id.clone())
        {
            found.problem(file, line, Some("id"), error.to_string());
        }
        let mut time: Option<Timestamp> = None;
        if !when.is_empty() {
            time = found.time(&when, options);
            if time.is_none() {
                let reason = format!(
                    "\"{}\" is not a time such as 2026-01-31T09:30:00Z or 2026-01-31",
                    shown(&when)
                );
                found.problem(file, line, Some("time"), reason);
            }
        }
        if found.problem_count > before {
            return Ok(());
        }
        let id = (!id.is_empty()).then_some(id);
        let meta = row.get("meta").filter(|meta| !meta.is_null()).cloned();
        found.push_pair(Pair { user: Some(user), id, time, prompt, response, meta, file, line })
    }
}

fn parse(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| {
        let repaired = std::str::from_utf8(bytes).ok().and_then(without_lone_surrogates);
        repaired.map_or(Err(error), |text| serde_json::from_str(&text))
    })
}

/// What is wrong with a line, in the words of the reader of interactions.
fn said_by(bytes: &[u8], error: &serde_json::Error) -> String {
    match JsonlReader::new(bytes, "").next() {
        Some(Err(JsonlError::NotUtf8 { byte, .. })) => {
            format!("not UTF-8 from byte {byte} of the line on: convert the file to UTF-8")
        }
        Some(Err(JsonlError::NotJson { column, message, .. })) => {
            format!("not JSON at byte {column}: {message}")
        }
        Some(Err(JsonlError::OtherKind { kind, .. })) => kind.to_owned(),
        Some(Err(JsonlError::NotInteraction { message, .. })) => message,
        _ => format!("not JSON: {}", shown(&of_json(error))),
    }
}

/// Leaves a file out that has no columns for this, where it lies beside others.
pub(crate) fn is_other_file(error: &Error) -> Option<Reason> {
    matches!(error, Error::Column { .. }).then_some(Reason::OtherFile)
}

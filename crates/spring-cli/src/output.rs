//! Printing: tables for people, JSON for programs.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

/// Prints one JSON value on a line.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Prints a line; unlike `println!` it returns what went wrong as an error.
pub fn line(text: &str) -> Result<()> {
    whole(format!("{text}\n").as_bytes())
}

/// Prints bytes, to the last one.
pub fn whole(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    Ok(written.map_err(Unprinted)?)
}

/// Standard output takes no more: its disk is full, or nobody reads it.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
pub struct Unprinted(#[source] pub io::Error);

/// Whether the error is that nobody reads standard output any more.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Unprinted>().is_some_and(|e| e.0.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints a line on standard error; unlike `eprintln!` it does not end the program where that is
/// closed or full.
pub fn say(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Columns of a terminal that is none.
const WIDTH: u16 = 80;

/// A table with these headings, in the form of Markdown, so that it can be pasted. It is as wide as
/// the terminal at most; the cells of the columns that `wraps` names take several lines for it, and
/// numbers are never broken.
pub fn table(headings: &[&str], wraps: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    table.set_header(headings.iter().copied());
    for (place, column) in table.column_iter_mut().enumerate() {
        if !wraps.contains(&place) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// The beginning of a text on one line; control characters become spaces, so that no text can steer
/// a terminal.
pub fn excerpt(text: &str, characters: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if clean.chars().count() <= characters {
        return clean;
    }
    clean.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

/// A text without control characters other than line breaks and tabs.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A number with three decimals, or a dash.
pub fn number(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

/// "1 period", "3 periods".
pub fn count(number: impl Into<u64>, thing: &str) -> String {
    match number.into() {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}

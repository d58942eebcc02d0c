//! Tables as text: CSV and TSV.

use serde_json::{Map, Value};

use super::{
    error::{Error, Result},
    found::Found,
    input::{Bundle, Entry, decoded, file_error},
    options::Options,
    reader::Reader,
    rows::{Roles, Rows},
};

/// Values with a separator between them (RFC 4180): a comma, or what the first line has, such as
/// the semicolons of spreadsheets in Europe.
pub(crate) struct Csv;

/// Values with tabs between them.
pub(crate) struct Tsv;

/// The longest field.
const LONGEST_FIELD: usize = 1 << 20;

impl Reader for Csv {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        entries.iter().try_for_each(|entry| read(bundle, entry, None, options, found))
    }
}

impl Reader for Tsv {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        entries.iter().try_for_each(|entry| read(bundle, entry, Some(b'\t'), options, found))
    }
}

fn read(
    bundle: &Bundle,
    entry: &Entry,
    delimiter: Option<u8>,
    options: &Options,
    found: &mut Found,
) -> Result<()> {
    let file = found.file(&entry.label);
    let text = decoded(bundle.bytes(entry)?);
    // What Excel writes to say its own separator.
    let (said, text, first) = match text.strip_prefix("sep=") {
        Some(rest) => (rest.bytes().next(), rest.split_once('\n').map_or("", |(_, rest)| rest), 1),
        None => (None, text.as_str(), 0),
    };
    let delimiter = delimiter.or(said).unwrap_or_else(|| delimiter_of(text));
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let mut next = |record: &mut csv::StringRecord| {
        if (options.stop)() {
            return Err(Error::Stopped);
        }
        reader.read_record(record).map_err(|error| file_error(&entry.label, &error.to_string()))
    };
    if !next(&mut record)? {
        return Err(file_error(&entry.label, "the table is empty"));
    }
    let columns: Vec<String> = match options.header {
        true => record.iter().map(|name| name.trim().to_owned()).collect(),
        false => (1..=record.len()).map(|number| number.to_string()).collect(),
    };
    let mut rows = Rows::new(Roles::find(&columns, options, &entry.label)?);
    let mut pending = !options.header;
    loop {
        if !pending && !next(&mut record)? {
            break;
        }
        pending = false;
        let line = first + record.position().map_or(0, csv::Position::line);
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        if record.len() > columns.len() {
            let reason = format!(
                "{} values for {} columns: a text with the separator in it needs quotes",
                record.len(),
                columns.len()
            );
            found.problem(file, line, None, reason);
            continue;
        }
        if let Some(at) = record.iter().position(|field| field.len() > LONGEST_FIELD) {
            found.problem(file, line, Some(columns[at].as_str()), "longer than 1 MiB");
            continue;
        }
        let row: Map<String, Value> = columns
            .iter()
            .zip(record.iter())
            .map(|(column, field)| (column.clone(), Value::String(field.to_owned())))
            .collect();
        rows.add(&row, file, line, options, found)?;
    }
    rows.finish(options, found, &entry.label);
    Ok(())
}

/// The separator that the first line has most often, outside quotes.
pub(crate) fn delimiter_of(text: &str) -> u8 {
    let (mut counts, mut inside) = ([0; 4], false);
    const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];
    for byte in text.bytes() {
        match byte {
            b'"' => inside = !inside,
            b'\n' if !inside => break,
            _ if inside => {}
            _ => {
                if let Some(at) = SEPARATORS.iter().position(|separator| *separator == byte) {
                    counts[at] += 1;
                }
            }
        }
    }
    let best = (0..4).rev().max_by_key(|at| counts[*at]).unwrap_or(0);
    SEPARATORS[best]
}

//! Tables in Parquet files, as data sets are handed round.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::{
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row},
};
use jiff::{SignedDuration, Timestamp, civil};
use serde_json::{Map, Value};

use super::{
    error::{Error, Result},
    found::Found,
    input::{Bundle, Entry, file_error},
    options::Options,
    reader::Reader,
    rows::{Roles, Rows},
};

/// A table; its columns are found as those of CSV.
pub(crate) struct Parquet;

impl Reader for Parquet {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        for entry in entries {
            // The library panics on some damaged files and on kinds of columns that it does not
            // know; what is left behind in `found` goes with the error.
            let read = AssertUnwindSafe(|| table(bundle, entry, options, found));
            catch_unwind(read).unwrap_or_else(|_| {
                let reason = "a damaged Parquet file, or a kind of column that is not known; write \
                              it again as CSV";
                Err(file_error(&entry.label, reason))
            })?;
        }
        Ok(())
    }
}

/// Reads one file.
fn table(bundle: &Bundle, entry: &Entry, options: &Options, found: &mut Found) -> Result<()> {
    let file = found.file(&entry.label);
    let fail =
        |error: ParquetError| file_error(&entry.label, &format!("a damaged Parquet file: {error}"));
    let bytes = bytes::Bytes::from(bundle.bytes(entry)?);
    let reader = SerializedFileReader::new(bytes).map_err(fail)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns: Vec<String> =
        schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Rows::new(Roles::find(&columns, options, &entry.label)?);
    for (line, row) in (1..).zip(reader.get_row_iter(None).map_err(fail)?) {
        if (options.stop)() {
            return Err(Error::Stopped);
        }
        rows.add(&object(&row.map_err(fail)?), file, line, options, found)?;
    }
    rows.finish(options, found, &entry.label);
    Ok(())
}

fn object(row: &Row) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

/// A field as JSON has it; times as RFC 3339.
fn value(field: &Field) -> Value {
    let time = |time: Option<Timestamp>| time.map_or(Value::Null, |t| t.to_string().into());
    match field {
        Field::Str(text) => text.clone().into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        Field::Float(number) => f64::from(*number).into(),
        Field::Double(number) => (*number).into(),
        Field::Bool(flag) => (*flag).into(),
        // Text that its schema does not call one.
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => text.into(),
            Err(_) => Value::Null,
        },
        Field::TimestampMillis(number) => time(Timestamp::from_millisecond(*number).ok()),
        Field::TimestampMicros(number) => time(Timestamp::from_microsecond(*number).ok()),
        Field::Date(days) => civil::date(1970, 1, 1)
            .checked_add(SignedDuration::from_hours(i64::from(*days) * 24))
            .map_or(Value::Null, |date| date.to_string().into()),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect()),
        _ => Value::Null,
    }
}

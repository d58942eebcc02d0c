//! Tables as CSV.

use std::borrow::Cow;

use crate::{Error, Result};

/// A table with a heading. Cells that hold texts of the data go through [`text`].
pub(super) fn csv<'r>(
    heading: &[impl AsRef<[u8]>],
    rows: impl Iterator<Item = Vec<Cow<'r, str>>>,
) -> Result<String> {
    let fail = |reason: String| Error::Table { reason };
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(heading).map_err(|error| fail(error.to_string()))?;
    for row in rows {
        writer
            .write_record(row.iter().map(|cell| cell.as_bytes()))
            .map_err(|error| fail(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| fail(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| fail(error.to_string()))
}

/// A cell from somebody else's text: what a spreadsheet would take for a formula gets an apostrophe
/// in front.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

/// A number with six decimals; empty where there is none.
pub(super) fn number<'c>(value: impl Into<Option<f64>>) -> Cow<'c, str> {
    value.into().map_or(Cow::Borrowed(""), |value| format!("{value:.6}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_never_formulas() {
        let texts = ["=1+1", "+a", "-a", "@a", "\ta", "a,b", "say \"a\"", "two\nlines", "a=b", ""];
        let rows = texts.iter().map(|cell| vec![text(cell), number(-1.5)]);
        let table = csv(&["name", "value"], rows).unwrap();
        let expected = "name,value\n'=1+1,-1.500000\n'+a,-1.500000\n'-a,-1.500000\n'@a,-1.500000\n\
            '\ta,-1.500000\n\"a,b\",-1.500000\n\"say \"\"a\"\"\",-1.500000\n\
            \"two\nlines\",-1.500000\na=b,-1.500000\n,-1.500000\n";
        assert_eq!(table, expected);
        assert_eq!(number(None), "");
    }
}

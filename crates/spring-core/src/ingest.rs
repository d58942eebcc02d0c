//! Interactions from a file of JSON lines into a state.

use std::io::BufRead;

use spring_memory::JsonlReader;
use spring_store::{IngestReport, Store};

use crate::{Error, Result};

/// Adds the interactions of a JSONL stream to a state, all of them or none; `label` stands for the
/// file in errors.
///
/// # Errors
///
/// The first line that is not an interaction, or whose id is taken by other content.
pub fn ingest_jsonl(store: &Store, reader: impl BufRead, label: &str) -> Result<IngestReport> {
    // Blank lines are skipped: the place of a text does not tell its line.
    let mut lines = Vec::new();
    let interactions = JsonlReader::new(reader, label).map(|item| {
        let (line, interaction) = item?;
        lines.push(line);
        Ok::<_, Error>(interaction)
    });
    let result = store.try_ingest(interactions);
    result.map_err(|error| match error {
        Error::Store(spring_store::Error::DuplicateId { index, user, id }) => {
            let line = usize::try_from(index).ok().and_then(|index| lines.get(index));
            Error::DuplicateId { file: label.into(), line: line.copied().unwrap_or(0), user, id }
        }
        other => other,
    })
}

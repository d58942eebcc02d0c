//! The files of LaMP, LongLaMP and OPPU, which this crate reads as data sets.

use super::{
    error::{Error, Result},
    found::{Found, Pair},
    input::{Bundle, Entry, file_error},
    left_out::Reason,
    options::Options,
    reader::Reader,
};
use crate::DataReader;

/// Users with their profiles; every entry becomes a pair with its task's prompt.
pub(crate) struct Benchmarks;

impl Reader for Benchmarks {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        for entry in entries {
            let file = found.file(&entry.label);
            let fail = |error: crate::Error| match error {
                _ if (options.stop)() => Error::Stopped,
                crate::Error::Record { file, line, reason, .. } => {
                    Error::File { file: format!("{file}:{line}"), reason }
                }
                other => file_error(&entry.label, &other.to_string()),
            };
            // The first record's entries may leave open which task it is of.
            let task = bundle.read(entry, |reader| {
                DataReader::new(reader, &entry.label).and_then(|mut r| r.settle()).map_err(fail)
            })?;
            bundle.read(entry, |reader| {
                let mut reader = DataReader::new(reader, &entry.label).map_err(fail)?;
                reader.set_task(task);
                let mut line = 0;
                while let Some(record) = reader.next_record().map_err(fail)? {
                    line += 1;
                    let label = entry.label.as_str();
                    found.tally.add_many(Reason::Empty, label, line, record.blank as u64);
                    found.tally.add_many(Reason::Odd, label, line, record.odd as u64);
                    for text in record.texts {
                        found.push_pair(Pair {
                            user: Some(text.user.into()),
                            id: Some(text.id.into()),
                            time: Some(text.time),
                            prompt: text.prompt,
                            response: text.response,
                            meta: text.meta,
                            file,
                            line,
                        })?;
                    }
                }
                found.note(format!("these are texts of {}", reader.format()));
                Ok(())
            })?;
        }
        Ok(())
    }
}

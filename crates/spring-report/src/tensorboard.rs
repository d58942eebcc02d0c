//! Numbers over time as an event file, which TensorBoard and what reads its files can show.
//!
//! A file is a sequence of records: length, checksum of the length, message, checksum of the
//! message, as TensorFlow's record writer defines them; a message is a `tensorflow.Event` in
//! Protocol Buffers.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use prost::Message;
use spring_eval::SuiteOutcome;

use crate::{table::groups, words::file_name};

/// A `tensorflow.Event`, as far as scalars need it.
#[derive(Clone, PartialEq, Message)]
struct EventMessage {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<SummaryMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryMessage {
    #[prost(message, repeated, tag = "1")]
    values: Vec<ValueMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueMessage {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    scalar: Option<f32>,
}

/// An event file that scalars are added to.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Begins a file in a folder, which is one run for TensorBoard. `seconds` since 1970 become
    /// part of its name.
    ///
    /// # Errors
    ///
    /// If folder or file cannot be made.
    pub fn create(folder: &Path, seconds: f64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let name = format!("events.out.tfevents.{seconds:.6}.{}.spring", std::process::id());
        let path = folder.join(name);
        let mut this = Self { file: File::create_new(&path)?, path };
        let version = Some("brain.Event:2".to_owned());
        this.write(&EventMessage {
            wall_time: seconds,
            file_version: version,
            ..EventMessage::default()
        })?;
        Ok(this)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a number under a name.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn scalar(&mut self, tag: &str, step: i64, value: f64, seconds: f64) -> io::Result<()> {
        let value = ValueMessage { tag: tag.to_owned(), scalar: Some(value as f32) };
        let summary = Some(SummaryMessage { values: vec![value] });
        self.write(&EventMessage { wall_time: seconds, step, file_version: None, summary })
    }

    fn write(&mut self, event: &EventMessage) -> io::Result<()> {
        let message = event.encode_to_vec();
        let length = (message.len() as u64).to_le_bytes();
        let parts = [
            &length[..],
            &masked_checksum(&length).to_le_bytes(),
            &message,
            &masked_checksum(&message).to_le_bytes(),
        ];
        self.file.write_all(&parts.concat())
    }
}

/// The CRC-32C of bytes, turned and shifted: a checksum of data that holds checksums is weak.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The losses of a suite over its periods, the mean over users and seeds in nats per byte: a run
/// for each method, data set and budget, so that methods are lines of one chart.
///
/// # Errors
///
/// If a file cannot be written.
pub fn suite_events(outcome: &SuiteOutcome, folder: &Path, seconds: f64) -> io::Result<()> {
    for rows in groups(&outcome.summary) {
        for row in rows {
            let lines = outcome
                .runs
                .iter()
                .filter(|line| line.key.data == row.data && line.key.budget == row.budget);
            let runs: Vec<_> = lines.filter_map(|line| line.run.methods.get(&row.runs)).collect();
            let periods = runs.iter().map(|run| run.matrix.len()).max().unwrap_or(0);
            // A program has no losses.
            if periods == 0 {
                continue;
            }
            let mut file = EventFile::create(
                &folder
                    .join(file_name(&row.method))
                    .join(file_name(&row.data))
                    .join(row.budget.name()),
                seconds,
            )?;
            for period in 0..periods {
                let losses = runs.iter().filter_map(|run| run.matrix.get(period)?.get(period));
                let losses: Vec<f64> = losses.map(|loss| loss.per_byte()).collect();
                let mean = losses.iter().sum::<f64>() / losses.len() as f64;
                file.scalar("nats_per_byte", period as i64 + 1, mean, seconds)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn records_are_framed_as_tensorflow_frames_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 1.5).unwrap();
        file.scalar("loss", 3, 0.25, 2.5).unwrap();
        let bytes = fs::read(file.path()).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let checksum = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let message = &rest[12..12 + length];
            assert_eq!(checksum(8), masked_checksum(&rest[..8]));
            assert_eq!(checksum(12 + length), masked_checksum(message));
            events.push(EventMessage::decode(message).unwrap());
            rest = &rest[16 + length..];
        }
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let value = &events[1].summary.as_ref().unwrap().values[0];
        assert_eq!((events[1].step, value.tag.as_str(), value.scalar), (3, "loss", Some(0.25)));
    }
}

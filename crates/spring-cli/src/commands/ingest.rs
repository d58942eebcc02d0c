//! `spring ingest`

use std::{
    fs::File,
    io::{self, BufReader, Read},
};

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, Error, ingest_jsonl};

use crate::{
    args::{Args, IngestArgs},
    interrupt::{self, Interrupted},
    output, session,
};

/// Ends with an error once Ctrl-C was pressed, so that the file is not added.
struct Interruptible<R>(R);

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer);
        if interrupt::requested() { Err(io::Error::other("interrupted")) } else { read }
    }
}

pub fn run(args: &Args, command: &IngestArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadWrite)?;
    let mut reports = Vec::new();
    for path in &command.files {
        let label = path.display().to_string();
        let file = File::open(path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let reader = BufReader::new(Interruptible(file));
        let report = match ingest_jsonl(&store, reader, &label) {
            Err(_) if interrupt::requested() => return Err(Interrupted.into()),
            other => other?,
        };
        if !args.json {
            output::line(&format!(
                "{label}: {} interactions added, {} known already, {} new users",
                report.added, report.skipped, report.new_users
            ))?;
        }
        reports.push(json!({"file": label, "report": report}));
    }
    if args.json { output::json(&reports) } else { Ok(()) }
}

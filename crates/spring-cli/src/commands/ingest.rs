//! `spring ingest`

use std::{fs::File, io::BufReader};

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, Error, StateStore, spring_memory::JsonlReader};

use crate::{
    args::{Args, IngestArgs},
    output, session,
};

pub fn run(args: &Args, command: &IngestArgs) -> Result<()> {
    let mut store = session::open(&command.state.state, Access::ReadWrite)?;
    let mut reports = Vec::new();
    for path in &command.files {
        let label = path.display().to_string();
        let file = File::open(path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let mut lines = JsonlReader::new(BufReader::new(file), &label);
        let report = store.ingest(&label, &mut lines)?;
        if !args.json {
            output::line(&format!(
                "{label}: {} interactions added, {} there already, {} new users",
                report.added, report.skipped, report.new_users
            ))?;
        }
        reports.push(json!({"file": label, "report": report}));
    }
    if args.json { output::json(&reports) } else { Ok(()) }
}

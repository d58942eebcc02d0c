//! `spring eval table`

use std::{fs, path::Path};

use anyhow::{Context, Result};
use spring_eval::{Methods, Suite, SuiteOutcome, read_suite_run_against};
use spring_report::{TableFormat, suite_events, suite_pictures, summary_table};

use super::summary;
use crate::{
    args::{Args, TableArgs, TableKind},
    files, output,
};

/// Pixels to a point, for screens and paper alike.
const SCALE: f32 = 2.0;

pub fn run(args: &Args, command: &TableArgs) -> Result<()> {
    let against = command.against.as_deref();
    let (asked, outcome) = read_suite_run_against(&command.folder, &Methods::default(), against)?;
    if !args.quiet {
        let missing = missing(&asked, &outcome);
        let said = missing.iter().chain(&outcome.notices);
        said.for_each(|said| output::say(&format!("spring: {said}")));
    }
    if let Some(folder) = &command.plots {
        draw(&outcome, folder)?;
    }
    if let Some(folder) = &command.tensorboard {
        let seconds = jiff::Timestamp::now().as_microsecond() as f64 / 1e6;
        suite_events(&outcome, folder, seconds).with_context(|| folder.display().to_string())?;
    }
    let format = match command.format {
        _ if args.json => return output::json(&outcome.summary),
        TableKind::Text => return summary::print(&outcome.summary),
        TableKind::Md => TableFormat::Markdown,
        TableKind::Latex => TableFormat::Latex,
        TableKind::Csv => TableFormat::Csv,
    };
    output::whole(summary_table(&outcome.summary, format)?.as_bytes())
}

/// What a run that is not finished lacks.
fn missing(asked: &Suite, outcome: &SuiteOutcome) -> Option<String> {
    let evaluated = outcome.data.iter().flat_map(|data| &data.users);
    let reported = evaluated.filter(|user| user.excluded.is_none()).count();
    let reported = if asked.choose.is_empty() { reported } else { return None };
    let jobs = reported * asked.seeds.len() * asked.budgets.len();
    let done = outcome.runs.len();
    (done < jobs).then(|| {
        format!("the run is not finished: {done} of {jobs} jobs; the table has what is there")
    })
}

fn draw(outcome: &SuiteOutcome, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for picture in suite_pictures(outcome)? {
        let path = folder.join(&picture.name);
        files::write_for_everybody(&path.with_extension("svg"), picture.svg.as_bytes())?;
        files::write_for_everybody(&path.with_extension("png"), &picture.png(SCALE)?)?;
    }
    Ok(())
}

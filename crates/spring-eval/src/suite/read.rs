//! A run read from its folder, without a model.

use std::{fs, path::Path};

use spring_numerics::words::{from_json, of_system};

use super::{
    Suite, Summary, attribution,
    choice::{candidates, stages},
    measure,
    others::{known_others, of_others, put_others},
    run::SuiteOutcome,
    runs::KnownRuns,
};
use crate::{Budget, Error, Half, Methods, Result, RunKey, SuiteData};

/// What a folder holds of a run, finished or not, and the suite that was asked for.
///
/// # Errors
///
/// [`Error::File`] or [`Error::Line`] if the folder holds no run, or a damaged one; methods of your
/// own have to be in `methods`. What is there but of no use is left out, with a word in
/// [`SuiteOutcome::notices`].
pub fn read_suite_run(folder: &Path, methods: &Methods) -> Result<(Suite, SuiteOutcome)> {
    read_suite_run_against(folder, methods, None)
}

/// The same with every method tested against another one than the suite says: one of its methods,
/// or the name of a row of its choices. Nothing in the folder changes.
///
/// # Errors
///
/// As [`read_suite_run`], and [`Error::Method`] if the run has no such row, or one without losses.
pub fn read_suite_run_against(
    folder: &Path,
    methods: &Methods,
    against: Option<&str>,
) -> Result<(Suite, SuiteOutcome)> {
    let path = folder.join("suite.toml");
    if !path.exists() {
        let reason = "holds no run: suite.toml is missing; name the folder that `spring eval \
                      --suite` wrote"
            .into();
        return Err(Error::File { file: folder.display().to_string(), reason });
    }
    let asked = Suite::load_with(&path, methods)?;
    let own = asked.reference().to_owned();
    let suite = match against {
        Some(against) => asked.tested_against(against)?,
        None => asked,
    };
    let data = users(folder)?;
    let keys = |half: &dyn Fn(Option<Half>) -> bool| keys(&suite, &data, half);
    let (choosing, reporting) =
        (keys(&|half| half == Some(Half::Choosing)), keys(&|half| half != Some(Half::Choosing)));
    let runs = KnownRuns::read(&folder.join("runs.jsonl"))?;
    let mut tried = Vec::new();
    for stage in 0..stages(&suite) {
        let found = candidates(&suite, stage, &tried, &runs.lines(choosing.iter()));
        tried.extend(found);
    }
    let mut lines = runs.lines(reporting.iter());
    if !of_others(&suite).is_empty() {
        let keys: Vec<&RunKey> = reporting.iter().collect();
        let others = known_others(&folder.join("others.jsonl"), &keys)?;
        put_others(&suite, others, &mut lines);
    }
    measure::known(&suite, folder, &mut lines)?;
    let mut attributions = attribution::known(folder)?;
    let mut notices = Vec::new();
    attributions.retain(|of| {
        let is_of = of.is_of(&lines);
        if !is_of && lines.iter().any(|line| line.key.data == of.data) {
            notices.push(format!(
                "{}: attribution.json is of other users than the runs, so nothing is attributed \
                 here; run the suite to its end, which makes it anew",
                of.data
            ));
        }
        is_of
    });
    attribution::put(&attributions, &mut lines);
    let mut summary = Summary::of(&suite, &data, &lines, tried, &attributions);
    summary.in_place_of = (own != summary.against).then_some(own);
    let outcome = SuiteOutcome { summary, data, runs: lines, folder: folder.to_owned(), notices };
    Ok((suite, outcome))
}

fn users(folder: &Path) -> Result<Vec<SuiteData>> {
    let path = folder.join("users.json");
    let fail = |reason: String| Error::File { file: path.display().to_string(), reason };
    let bytes = fs::read(&path).map_err(|error| fail(of_system(&error)))?;
    from_json(&bytes)
        .map_err(|error| fail(format!("damaged: {error}; run the suite again, which writes it")))
}

/// The runs that a suite asks for, in its order.
fn keys(suite: &Suite, data: &[SuiteData], half: &dyn Fn(Option<Half>) -> bool) -> Vec<RunKey> {
    let mut keys = Vec::new();
    for set in data {
        let users = || set.users.iter().filter(|user| user.excluded.is_none() && half(user.half));
        let mut add = |budget: Budget, seed: u64| {
            keys.extend(users().map(|user| RunKey {
                data: set.data.clone(),
                budget,
                seed,
                user: user.user.clone(),
            }));
        };
        for &budget in &suite.budgets {
            suite.seeds.iter().for_each(|&seed| add(budget, seed));
        }
    }
    keys
}

//! `others.jsonl`: how well the adapters of other users explain a user, alone and with a bank of
//! the user's own.

use std::{collections::HashMap, path::Path, sync::Mutex};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use spring_core::{Event, LanguageModel, spring_memory::UserId};

use super::{
    Suite,
    folder::{append, append_line, load_adapters, read_lines},
    job::{Job, adapters_of, known_banks},
    runner::named,
    watch::{SuiteEvent, Watch, stop_if},
};
use crate::{Method, MethodRun, Result, RunKey, RunLine, run_other_user, run_other_user_reading};

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct OtherLine {
    #[serde(flatten)]
    key: RunKey,
    #[serde(default = "alone", skip_serializing_if = "is_alone")]
    method: String,
    /// Whose adapters.
    #[serde(default)]
    lenders: Vec<UserId>,
    run: MethodRun,
}

/// The method of a line that names none.
const ALONE: &str = "other_user";

fn alone() -> String {
    ALONE.into()
}

fn is_alone(method: &str) -> bool {
    method == ALONE
}

/// What was measured of some methods in some runs.
pub(super) type Others = HashMap<(RunKey, String), MethodRun>;

/// The methods of a suite that are scored with others' adapters.
pub(super) fn of_others(suite: &Suite) -> Vec<&Method> {
    suite.methods.iter().filter(|method| method.is_of_others()).collect()
}

/// Puts them beside the other methods of the same runs.
pub(super) fn put_others(suite: &Suite, mut others: Others, lines: &mut [RunLine]) {
    for line in lines {
        for method in of_others(suite) {
            let run = others.remove(&(line.key.clone(), method.name().to_owned()));
            line.run.methods.extend(run.map(|run| (method.name().to_owned(), run)));
        }
    }
}

/// The three runs after one, of the same data set, budget and seed and in a circle, whose users'
/// adapters it is scored with.
fn lenders<'k>(keys: &[&'k RunKey], own: &RunKey) -> Vec<&'k RunKey> {
    let is_like =
        |key: &RunKey| (&key.data, key.budget, key.seed) == (&own.data, own.budget, own.seed);
    let group: Vec<&RunKey> = keys.iter().copied().filter(|key| is_like(key)).collect();
    let place = group.iter().position(|key| *key == own).unwrap_or(0);
    (1..group.len()).take(3).map(|step| group[(place + step) % group.len()]).collect()
}

/// What is known of some runs. Users who came to a run after a line was written may be among those
/// whose adapters count now, and then the line does not.
pub(super) fn known_others(path: &Path, keys: &[&RunKey]) -> Result<Others> {
    let lines = read_lines::<OtherLine>(path)?.into_iter();
    let counts = |line: &OtherLine| {
        let now = lenders(keys, &line.key);
        now.len() == line.lenders.len()
            && now.iter().zip(&line.lenders).all(|(key, lender)| key.user == *lender)
    };
    Ok(lines.filter(counts).map(|line| ((line.key, line.method), line.run)).collect())
}

/// Scores every user with the adapters of the users that follow, by each of the suite's methods
/// that does so. Where a method could not be run on a data set, it has no bank and is left out.
pub(super) fn lend(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    jobs: &[&Job<'_>],
    watch: Watch<'_>,
) -> Result<Others> {
    let keys: Vec<&RunKey> = jobs.iter().map(|job| &job.key).collect();
    let path = folder.join("others.jsonl");
    let mut runs = known_others(&path, &keys)?;
    let file = Mutex::new(append(&path)?);
    let mut missing: Vec<(&Job<'_>, &Method)> = Vec::new();
    for method in of_others(suite) {
        let is_known =
            |job: &Job<'_>| runs.contains_key(&(job.key.clone(), method.name().to_owned()));
        missing.extend(jobs.iter().filter(|job| !is_known(job)).map(|job| (*job, method)));
    }
    let new = missing.par_iter().map(|(job, method)| -> Result<Option<OtherLine>> {
        stop_if(watch(SuiteEvent::Step))?;
        let lenders = lenders(&keys, &job.key);
        let adapters = lenders
            .iter()
            .map(|key| load_adapters(&adapters_of(folder, key)))
            .collect::<Result<Vec<_>>>()?;
        let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
        let config = method.configure(&suite.config_on(&job.key.data))?;
        let (splits, generation) = (job.splits, suite.generation);
        let run = if method.has_lent_bank() {
            let banks = known_banks(folder, &job.key)?;
            let Some(bank) = banks.get(method.name()) else { return Ok(None) };
            let progress = &mut progress;
            run_other_user_reading(model, &config, splits, bank, &adapters, generation, progress)
        } else {
            run_other_user(model, &config, splits, &adapters, generation, &mut progress)
        };
        let run = run.map_err(|error| named(error, &job.key.user))?;
        let lenders = lenders.iter().map(|key| key.user.clone()).collect();
        let line = OtherLine { key: job.key.clone(), method: method.name().into(), lenders, run };
        append_line(&file, &line)?;
        Ok(Some(line))
    });
    let new: Vec<Option<OtherLine>> = new.collect::<Result<_>>()?;
    runs.extend(new.into_iter().flatten().map(|line| ((line.key, line.method), line.run)));
    Ok(runs)
}

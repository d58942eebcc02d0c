//! `others.jsonl`: how well the adapters of other users explain a user.

use std::{collections::HashMap, path::Path, sync::Mutex};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use spring_core::{Event, LanguageModel, spring_memory::UserId};

use super::{
    Suite,
    folder::{append, append_line, load_adapters, read_lines},
    job::{Job, adapters_of},
    runner::named,
    watch::{SuiteEvent, Watch, stop_if},
};
use crate::{MethodRun, Result, RunKey, run_other_user};

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct OtherLine {
    #[serde(flatten)]
    key: RunKey,
    /// Whose adapters.
    #[serde(default)]
    lenders: Vec<UserId>,
    run: MethodRun,
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
pub(super) fn known_others(path: &Path, keys: &[&RunKey]) -> Result<HashMap<RunKey, MethodRun>> {
    let lines = read_lines::<OtherLine>(path)?.into_iter();
    let counts = |line: &OtherLine| {
        let now = lenders(keys, &line.key);
        now.len() == line.lenders.len()
            && now.iter().zip(&line.lenders).all(|(key, lender)| key.user == *lender)
    };
    Ok(lines.filter(counts).map(|line| (line.key, line.run)).collect())
}

/// Scores every user with the adapters of the users that follow.
pub(super) fn lend(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    jobs: &[&Job<'_>],
    watch: Watch<'_>,
) -> Result<HashMap<RunKey, MethodRun>> {
    let keys: Vec<&RunKey> = jobs.iter().map(|job| &job.key).collect();
    let path = folder.join("others.jsonl");
    let mut runs = known_others(&path, &keys)?;
    let file = Mutex::new(append(&path)?);
    let missing: Vec<&&Job<'_>> = jobs.iter().filter(|job| !runs.contains_key(&job.key)).collect();
    let new = missing.par_iter().map(|job| -> Result<(RunKey, MethodRun)> {
        stop_if(watch(SuiteEvent::Step))?;
        let lenders = lenders(&keys, &job.key);
        let adapters = lenders
            .iter()
            .map(|key| load_adapters(&adapters_of(folder, key)))
            .collect::<Result<Vec<_>>>()?;
        let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
        let config = suite.config_on(&job.key.data);
        let run =
            run_other_user(model, &config, job.splits, &adapters, suite.generation, &mut progress)
                .map_err(|error| named(error, &job.key.user))?;
        let lenders = lenders.iter().map(|key| key.user.clone()).collect();
        let line = OtherLine { key: job.key.clone(), lenders, run };
        append_line(&file, &line)?;
        Ok((line.key, line.run))
    });
    runs.extend(new.collect::<Result<Vec<_>>>()?);
    Ok(runs)
}

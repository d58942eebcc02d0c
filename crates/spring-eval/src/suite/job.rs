//! The jobs of a suite: one for each data set, budget, seed and user.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use spring_numerics::{
    digest::Digest,
    words::{from_json, of_system},
};

use super::{
    Suite,
    folder::{unwritable, write},
    load::LoadedData,
};
use crate::{Error, Half, Result, RunKey, Split, protocol::asked};

/// One user with a budget and a seed.
pub(super) struct Job<'a> {
    pub(super) key: RunKey,
    pub(super) half: Option<Half>,
    pub(super) splits: &'a [Split],
}

pub(super) fn jobs<'a>(suite: &Suite, data: &'a [LoadedData]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for loaded in data {
        for &budget in &suite.budgets {
            for &seed in &suite.seeds {
                for (place, (user, splits)) in loaded.users.iter().enumerate() {
                    let key =
                        RunKey { data: loaded.name.clone(), budget, seed, user: user.clone() };
                    jobs.push(Job { key, half: suite.half(place), splits });
                }
            }
        }
    }
    jobs
}

/// The prompts that are answered in a run, in the order of the texts that come of it.
pub(super) fn prompts<'j>(suite: &Suite, job: &Job<'j>) -> Vec<&'j str> {
    let asked = job.splits.iter().flat_map(|split| asked(split, suite.generation));
    asked.map(|text| text.interaction.prompt.as_str()).collect()
}

/// Where the adapters of a run are.
pub(super) fn adapters_of(folder: &Path, key: &RunKey) -> PathBuf {
    let RunKey { data, budget, seed, user } = key;
    let name = format!("{data:?} {} {seed} {:?}", budget.name(), user.as_str());
    folder.join("adapters").join(file_name(&name))
}

/// What methods read of a user beside others' adapters, by their names; as
/// [`UserOutcome::banks`](crate::UserOutcome::banks).
pub(super) type Banks = BTreeMap<String, Vec<Vec<u64>>>;

/// The banks of a run, beside its adapters; none where no method needs one.
pub(super) fn known_banks(folder: &Path, key: &RunKey) -> Result<Banks> {
    let path = adapters_of(folder, key).join("banks.json");
    let fail = |reason: String| Error::File { file: path.display().to_string(), reason };
    match fs::read(&path) {
        Ok(bytes) => from_json(&bytes)
            .map_err(|error| fail(format!("damaged: {error}; delete it, and run the suite again"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Banks::new()),
        Err(error) => Err(fail(of_system(&error))),
    }
}

/// Keeps banks beside those that are there; the folder of the run's adapters is.
pub(super) fn keep_banks(folder: &Path, key: &RunKey, banks: Banks) -> Result<()> {
    let mut all = known_banks(folder, key)?;
    all.extend(banks);
    let json = serde_json::to_vec(&all).map_err(unwritable)?;
    write(&adapters_of(folder, key).join("banks.json"), &json)
}

/// A name for a file: names of users and data sets may hold anything.
pub(super) fn file_name(name: &str) -> String {
    let mut digest = Digest::new();
    digest.update(name);
    digest.hex()[..16].to_owned()
}

//! The jobs of a suite: one for each data set, budget, seed and user.

use std::path::{Path, PathBuf};

use spring_numerics::digest::Digest;

use super::{Suite, load::LoadedData};
use crate::{Half, RunKey, Split, protocol::asked};

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

/// A name for a file: names of users and data sets may hold anything.
pub(super) fn file_name(name: &str) -> String {
    let mut digest = Digest::new();
    digest.update(name);
    digest.hex()[..16].to_owned()
}

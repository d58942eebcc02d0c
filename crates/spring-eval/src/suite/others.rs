//! `others.jsonl`: how well the adapters of other users explain a user.

use std::{collections::HashMap, path::Path};

use serde::{Deserialize, Serialize};
use spring_core::spring_memory::UserId;

use super::folder::read_lines;
use crate::{MethodRun, Result, RunKey};

/// One line of the file.
#[derive(Serialize, Deserialize)]
pub(super) struct OtherLine {
    #[serde(flatten)]
    pub(super) key: RunKey,
    /// Whose adapters.
    #[serde(default)]
    pub(super) lenders: Vec<UserId>,
    pub(super) run: MethodRun,
}

/// The three runs after one, of the same data set, budget and seed and in a circle, whose users'
/// adapters it is scored with.
pub(super) fn lenders<'k>(keys: &[&'k RunKey], own: &RunKey) -> Vec<&'k RunKey> {
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

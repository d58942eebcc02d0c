//! `runs.jsonl`: what was measured of each user, seed and budget. It is read once, when a run
//! begins, and written line by line.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::folder::{append, append_line, read_lines};
use crate::{Result, RunKey, RunLine, UserRun};

/// The lines so far, and the file that they are added to.
pub(super) struct Runs {
    file: Mutex<File>,
    known: Mutex<HashMap<RunKey, UserRun>>,
}

impl Runs {
    /// Reads what earlier runs left, none if there is no file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut known = HashMap::new();
        read_lines(path)?.into_iter().for_each(|line| merge(&mut known, line));
        Ok(Self { file: Mutex::new(append(path)?), known: Mutex::new(known) })
    }

    /// Adds a line, to the file first.
    pub(super) fn add(&self, line: RunLine) -> Result<()> {
        append_line(&self.file, &line)?;
        merge(&mut self.known(), line);
        Ok(())
    }

    /// Whether anything is known of a run.
    pub(super) fn has(&self, key: &RunKey) -> bool {
        self.known().contains_key(key)
    }

    /// Whether a run has a method.
    pub(super) fn has_method(&self, key: &RunKey, method: &str) -> bool {
        self.known().get(key).is_some_and(|run| run.methods.contains_key(method))
    }

    /// What is known of some runs, in their order.
    pub(super) fn lines<'k>(&self, keys: impl Iterator<Item = &'k RunKey>) -> Vec<RunLine> {
        let known = self.known();
        keys.filter_map(|key| Some(RunLine { key: key.clone(), run: known.get(key)?.clone() }))
            .collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<RunKey, UserRun>> {
        // Nothing panics between two changes of the map.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Several lines about one run are put together.
fn merge(known: &mut HashMap<RunKey, UserRun>, RunLine { key, run }: RunLine) {
    match known.entry(key) {
        Entry::Occupied(mut before) => before.get_mut().methods.extend(run.methods),
        Entry::Vacant(place) => drop(place.insert(run)),
    }
}

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

/// What the lines of a file say.
#[derive(Default)]
pub(super) struct KnownRuns(HashMap<RunKey, UserRun>);

impl KnownRuns {
    /// Reads what earlier runs left, nothing if there is no file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut known = Self::default();
        read_lines(path)?.into_iter().for_each(|line| known.merge(line));
        Ok(known)
    }

    /// What is known of some runs, in their order.
    pub(super) fn lines<'k>(&self, keys: impl Iterator<Item = &'k RunKey>) -> Vec<RunLine> {
        keys.filter_map(|key| Some(RunLine { key: key.clone(), run: self.0.get(key)?.clone() }))
            .collect()
    }

    /// Several lines about one run are put together.
    fn merge(&mut self, RunLine { key, run }: RunLine) {
        match self.0.entry(key) {
            Entry::Occupied(mut before) => before.get_mut().methods.extend(run.methods),
            Entry::Vacant(place) => drop(place.insert(run)),
        }
    }
}

/// The lines so far, and the file that they are added to.
pub(super) struct Runs {
    file: Mutex<File>,
    known: Mutex<KnownRuns>,
}

impl Runs {
    /// Reads what earlier runs left, none if there is no file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let known = KnownRuns::read(path)?;
        Ok(Self { file: Mutex::new(append(path)?), known: Mutex::new(known) })
    }

    /// Adds a line, to the file first.
    pub(super) fn add(&self, line: RunLine) -> Result<()> {
        append_line(&self.file, &line)?;
        self.known().merge(line);
        Ok(())
    }

    /// Whether anything is known of a run.
    pub(super) fn has(&self, key: &RunKey) -> bool {
        self.known().0.contains_key(key)
    }

    /// Whether a run has a method.
    pub(super) fn has_method(&self, key: &RunKey, method: &str) -> bool {
        self.known().0.get(key).is_some_and(|run| run.methods.contains_key(method))
    }

    /// What is known of some runs, in their order.
    pub(super) fn lines<'k>(&self, keys: impl Iterator<Item = &'k RunKey>) -> Vec<RunLine> {
        self.known().lines(keys)
    }

    fn known(&self) -> MutexGuard<'_, KnownRuns> {
        // Nothing panics between two changes of the map.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A file of a data set, and what is known of it beforehand.

use std::path::{Path, PathBuf};

use crate::Task;

/// A file, and its task where the file alone does not tell: entries of several tasks have the same
/// fields.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DataFile<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its task; `None` where the file is to tell.
    pub task: Option<Task>,
}

impl<'a> DataFile<'a> {
    /// A file that tells its own task.
    pub fn new(path: &'a Path) -> Self {
        Self { path, task: None }
    }

    /// The same with a task that is known; `None` where the file is to tell.
    #[must_use]
    pub fn with_task(self, task: Option<Task>) -> Self {
        Self { task, ..self }
    }
}

impl<'a> From<&'a Path> for DataFile<'a> {
    fn from(path: &'a Path) -> Self {
        Self::new(path)
    }
}

impl<'a> From<&'a PathBuf> for DataFile<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::new(path)
    }
}

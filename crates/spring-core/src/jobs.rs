//! The same work on several threads.

use std::{panic, thread};

use crate::Result;

/// How many users are learned at a time. Results depend on none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Jobs {
    /// Batches at a time.
    pub jobs: usize,
    /// Users of a batch: their updates are trained side by side, which takes less time than one
    /// after the other, and memory for each of them.
    pub batch: usize,
}

impl Default for Jobs {
    /// One user at a time.
    fn default() -> Self {
        Self { jobs: 1, batch: 1 }
    }
}

impl From<usize> for Jobs {
    /// So many users at a time, each trained alone.
    fn from(jobs: usize) -> Self {
        Self { jobs, batch: 1 }
    }
}

spring_numerics::setters! {
    Jobs {
        with_jobs(jobs: usize);
        with_batch(batch: usize);
    }
}

/// Does some work on as many threads as there are jobs, and waits for all of them; the first error
/// is the result.
pub(crate) fn side_by_side(jobs: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        // Where no more threads can be started, the others do the work.
        let start = |_| thread::Builder::new().spawn_scoped(scope, &work).ok();
        let started: Vec<_> = (0..jobs.max(1)).filter_map(start).collect();
        if started.is_empty() {
            return work();
        }
        let results: Vec<_> = started
            .into_iter()
            .map(|job| job.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
            .collect();
        results.into_iter().collect()
    })
}

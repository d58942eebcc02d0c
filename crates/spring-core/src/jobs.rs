//! The same work on several threads.

use std::{panic, thread};

use spring_numerics::setting::require;

use crate::Result;

/// How many users are learned at a time. Results depend on none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Jobs {
    /// Batches at a time.
    pub jobs: usize,
    /// Users of a batch: their updates are trained side by side, which shares passes over the base
    /// on a CPU, and takes memory for each of them. With `jobs` it makes 256 users at most.
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

/// Users at a time: each has threads, and memory for an update.
const MOST: usize = 256;

impl Jobs {
    /// Refuses more users at a time than a process has threads for.
    pub(crate) fn check(self) -> Result<()> {
        let users = self.jobs.max(1).saturating_mul(self.batch.max(1));
        Ok(require("jobs × batch", users, users <= MOST, "256 or less")?)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_more_users_at_a_time_than_a_process_has_threads_for() {
        let check = |jobs, batch| Jobs { jobs, batch }.check().map_err(|error| error.to_string());
        for (jobs, batch) in [(0, 0), (1, 256), (256, 1), (16, 16)] {
            assert_eq!(check(jobs, batch), Ok(()), "{jobs} × {batch}");
        }
        for (jobs, batch) in [(257, 1), (2, 129), (256, 256), (usize::MAX, 2)] {
            let told = check(jobs, batch).unwrap_err();
            assert!(told.contains("jobs × batch") && told.contains("256"), "{told}");
        }
    }
}

//! The same work on several threads.

use std::{panic, thread};

use crate::Result;

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

//! Passes side by side on the threads of a processor.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Threads of this process that are in a pass.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Takes part in the count of busy threads.
struct Busy(usize);

impl Busy {
    /// Takes up to `wanted` threads of `workers`, but at least one.
    fn take(workers: usize, wanted: usize) -> Self {
        let free = |busy: usize| workers.saturating_sub(busy).clamp(1, wanted.max(1));
        let taken = BUSY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| Some(busy + free(busy)));
        Self(free(taken.unwrap_or_else(|busy| busy)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Whether at most one pass is counted, so that it may share its work with the other threads.
#[cfg(feature = "cpu")]
pub(crate) fn is_alone() -> bool {
    BUSY.load(Ordering::Relaxed) < 2
}

/// Runs `work` on every item, several at a time; the results are in the order of the items, whatever the number of
/// workers. Where several users are served at once, their passes share the workers.
pub(crate) fn on_workers<T: Sync, R: Send>(
    workers: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let busy = Busy::take(workers, items.len());
    if busy.0 < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(i) else { return done };
            done.push((i, work(item)));
        }
    };
    let mut all: Vec<(usize, R)> = thread::scope(|scope| {
        let handles: Vec<_> = (1..busy.0).map(|_| scope.spawn(take)).collect();
        let mut all = take();
        for handle in handles {
            all.extend(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_threads_are_given_back() {
        let items: Vec<usize> = (0..100).collect();
        for workers in [1, 2, 7] {
            let squares = on_workers(workers, &items, |i| on_workers(workers, &items[..3], |j| i * j));
            assert_eq!(squares[99], [0, 99, 198]);
        }
        assert!(on_workers(4, &[] as &[usize], |i| *i).is_empty());
    }
}

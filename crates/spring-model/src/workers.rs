//! The threads that a model's passes share.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A budget of threads for the passes of one model, or of several that are given the same one.
///
/// Scoring and training run several passes side by side, decoding one or, for many rows, several;
/// each counts as work. A pass that is alone may share its products among all threads of the
/// budget. Results do not depend on how many there are, nor on what else is running. Devices that
/// one pass keeps busy, as GPUs are, run one pass at a time.
///
/// A clone is the same budget.
#[derive(Clone)]
pub struct Workers(Arc<Budget>);

struct Budget {
    threads: usize,
    /// Threads that are in a pass.
    busy: AtomicUsize,
    /// Started by the first product that is shared; `None` if the system refuses the threads.
    #[cfg(feature = "cpu")]
    pool: std::sync::OnceLock<Option<rayon::ThreadPool>>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.0.threads).finish_non_exhaustive()
    }
}

impl Default for Workers {
    /// As many threads as the machine runs at a time.
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }
}

thread_local! {
    /// The budget of the pass that this thread is in.
    static OF_THIS_PASS: RefCell<Option<Workers>> = const { RefCell::new(None) };
}

impl Workers {
    /// A budget of this number of threads, but at least one.
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Budget {
            threads: threads.max(1),
            busy: AtomicUsize::new(0),
            #[cfg(feature = "cpu")]
            pool: std::sync::OnceLock::new(),
        }))
    }

    /// Threads of the budget.
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// Runs one pass. A pass that is alone and whose products may be `shared` runs on a thread of
    /// the pool that shares them: each product would otherwise wait for one to take it up.
    pub(crate) fn pass<R: Send>(&self, shared: bool, work: impl FnOnce() -> R + Send) -> R {
        let _busy = Busy::take(self, 1);
        #[cfg(feature = "cpu")]
        if shared && let Some(helpers) = self.helpers() {
            return helpers.run(|| self.here(work));
        }
        let _ = shared;
        self.here(work)
    }

    #[cfg(feature = "cpu")]
    fn helpers(&self) -> Option<Helpers> {
        let budget = &*self.0;
        if budget.threads < 2 || budget.busy.load(Ordering::Relaxed) > 1 {
            return None;
        }
        let start = || rayon::ThreadPoolBuilder::new().num_threads(budget.threads).build().ok();
        budget.pool.get_or_init(start).as_ref()?;
        Some(Helpers(self.clone()))
    }

    /// Runs `work` on every item, several at a time if the backend gains by it; the results are in
    /// the order of the items, whatever the number of threads. Where several users are served at
    /// once, their passes share the budget.
    pub(crate) fn passes<T: Sync, R: Send>(
        &self,
        side_by_side: bool,
        items: &[T],
        work: impl Fn(&T) -> R + Sync,
    ) -> Vec<R> {
        let busy = Busy::take(self, if side_by_side { items.len() } else { 1 });
        if busy.taken < 2 {
            return self.here(|| items.iter().map(work).collect());
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
            // Where no more threads can be started, this one does the work.
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, || self.here(take)).ok();
            let handles: Vec<_> = (1..busy.taken).filter_map(spawn).collect();
            let mut all = self.here(take);
            for handle in handles {
                all.extend(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        });
        all.sort_by_key(|(i, _)| *i);
        all.into_iter().map(|(_, result)| result).collect()
    }

    /// Runs `work` on all items, as one pass or, if the backend gains by it, as several side by
    /// side: one for each thread that is free, of `least` items at least. The results are in the
    /// order of the items.
    pub(crate) fn divided<T: Send, R: Send>(
        &self,
        side_by_side: bool,
        items: &mut [T],
        least: usize,
        work: impl Fn(&mut [T]) -> R + Send + Sync,
    ) -> Vec<R> {
        let free = self.threads().saturating_sub(self.0.busy.load(Ordering::Relaxed));
        let parts = free.min(items.len() / least.max(1));
        if !side_by_side || parts < 2 {
            return vec![self.pass(side_by_side, || work(items))];
        }
        let of_part = items.len().div_ceil(parts);
        let parts: Vec<Mutex<&mut [T]>> = items.chunks_mut(of_part).map(Mutex::new).collect();
        // Each is locked once, by the thread that takes it.
        let work =
            |part: &Mutex<&mut [T]>| work(&mut part.lock().unwrap_or_else(PoisonError::into_inner));
        self.passes(side_by_side, &parts, work)
    }

    /// Runs `work` as a pass of this budget, so that its products know whom they may share with.
    fn here<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Workers>);
        impl Drop for Restore {
            fn drop(&mut self) {
                OF_THIS_PASS.set(self.0.take());
            }
        }
        let _restore = Restore(OF_THIS_PASS.replace(Some(self.clone())));
        work()
    }
}

/// The threads that may help the pass on this thread; `None` outside a pass, for a budget of one,
/// and while other passes are running: the threads have work of their own then, and waiting for
/// them a pass would take up another user's.
#[cfg(feature = "cpu")]
pub(crate) fn helpers() -> Option<Helpers> {
    OF_THIS_PASS.with_borrow(Clone::clone)?.helpers()
}

/// Threads that share one product.
#[cfg(feature = "cpu")]
pub(crate) struct Helpers(Workers);

#[cfg(feature = "cpu")]
impl Helpers {
    pub(crate) fn threads(&self) -> usize {
        self.0.threads()
    }

    /// Runs rayon's parallel iterators on these threads.
    ///
    /// A thread of another pool does not wait for them itself: rayon would have it take up other
    /// work of its own pool meanwhile, such as another user's.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let Some(Some(pool)) = self.0.0.pool.get() else { return work() };
        let is_of_another = || rayon::current_thread_index().is_some();
        if pool.current_thread_index().is_some() || !is_of_another() {
            return pool.install(work);
        }
        thread::scope(|scope| {
            let shared = scope.spawn(|| pool.install(work)).join();
            shared.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Takes part in the count of busy threads.
struct Busy<'a> {
    workers: &'a Workers,
    taken: usize,
}

impl<'a> Busy<'a> {
    /// Takes up to `wanted` free threads, but at least one.
    fn take(workers: &'a Workers, wanted: usize) -> Self {
        let Budget { threads, busy, .. } = &*workers.0;
        let free = |busy: usize| threads.saturating_sub(busy).clamp(1, wanted.max(1));
        let update = |now| Some(now + free(now));
        let before = busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        Self { workers, taken: free(before.unwrap_or_else(|now| now)) }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.workers.0.busy.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_threads_are_given_back() {
        let items: Vec<usize> = (0..100).collect();
        for workers in [1, 2, 7].map(Workers::new) {
            let square = |i: &usize| workers.passes(true, &items[..3], |j| i * j);
            let squares = workers.passes(true, &items, square);
            assert_eq!(squares[99], [0, 99, 198]);
            assert_eq!(workers.0.busy.load(Ordering::Relaxed), 0);
        }
        assert!(Workers::new(4).passes(true, &[] as &[usize], |i| *i).is_empty());
    }

    #[test]
    fn items_are_divided_among_the_threads_that_are_free() {
        let parts = |workers: &Workers, side_by_side, count: usize, least| {
            let mut items: Vec<usize> = (0..count).collect();
            let double = |part: &mut [usize]| {
                part.iter_mut().for_each(|item| *item *= 2);
                part.len()
            };
            let parts = workers.divided(side_by_side, &mut items, least, double);
            assert!(items.iter().enumerate().all(|(i, item)| *item == 2 * i), "{items:?}");
            assert_eq!(workers.0.busy.load(Ordering::Relaxed), 0);
            parts
        };
        let three = Workers::new(3);
        assert_eq!(parts(&three, true, 8, 2), [3, 3, 2]);
        assert_eq!(parts(&three, true, 8, 4), [4, 4]);
        assert_eq!(parts(&three, true, 7, 4), [7]);
        assert_eq!(parts(&three, false, 8, 2), [8]);
        assert_eq!(parts(&Workers::new(1), true, 8, 2), [8]);
        let beside = three.pass(true, || {
            three.pass(true, || three.divided(true, &mut [0; 8], 1, |part: &mut [i32]| part.len()))
        });
        assert_eq!(beside, [8], "two of three threads have work");
    }

    #[test]
    #[cfg(feature = "cpu")]
    fn a_pass_has_helpers_only_while_it_is_alone() {
        let two = Workers::new(2);
        assert!(helpers().is_none(), "outside a pass");
        assert_eq!(two.pass(true, || helpers().map(|helpers| helpers.threads())), Some(2));
        assert!(Workers::new(1).pass(true, || helpers().is_none()));
        assert!(
            two.pass(true, || two.pass(true, || helpers().is_none())),
            "another pass is running"
        );
        assert!(two.pass(false, || helpers().is_some()), "the other one has ended");
        let mine =
            two.pass(true, || helpers().map(|helpers| helpers.run(rayon::current_num_threads)));
        assert_eq!(mine, Some(2));
    }

    #[test]
    #[cfg(feature = "cpu")]
    #[allow(clippy::unwrap_used)]
    fn a_job_that_waits_for_a_product_begins_no_other() {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (two, running) = (Workers::new(2), AtomicUsize::new(0));
        let job = || {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "a job inside another");
            let pause = || thread::sleep(std::time::Duration::from_millis(5));
            assert!(two.pass(true, || helpers().map(|helpers| helpers.run(pause))).is_some());
            running.fetch_sub(1, Ordering::SeqCst);
        };
        one.scope(|scope| (0..4).for_each(|_| scope.spawn(|_| job())));
    }
}

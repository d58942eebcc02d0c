//! What the callers, the scheduler and the learner share.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    time::{Duration, Instant},
};

use spring_core::{TextGeneration, spring_memory::UserId};

use crate::{
    Dropped, Receipt, Sink,
    prefixes::Reader,
    queue::{FairQueue, Place, Places},
    stats::Counters,
};

/// A request that is ready to join the batch.
pub(crate) struct Waiting {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) texts: Vec<TextGeneration>,
    /// There once the texts are.
    pub(crate) receipt: Option<Box<Receipt>>,
    pub(crate) user: Option<UserId>,
    pub(crate) reader: Reader,
    pub(crate) queued: Instant,
    /// Given back when it leaves the queue.
    pub(crate) place: Place,
}

impl Waiting {
    /// Rows that it takes in the batch.
    pub(crate) fn rows(&self) -> usize {
        self.texts.iter().map(TextGeneration::row_count).sum()
    }

    /// Tokens that these may come to hold.
    pub(crate) fn tokens(&self) -> usize {
        self.texts.iter().map(TextGeneration::most_tokens).sum()
    }
}

/// What comes to the scheduler from outside.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) queue: FairQueue<Waiting>,
    /// Users whose requests are to end, and where it is told what went.
    pub(crate) removals: Vec<(UserId, SyncSender<Dropped>)>,
    /// Counts those, so that a request that was being made ready meanwhile looks again.
    pub(crate) removed: u64,
    /// Users of whom there is a new generation: what is kept of the one before is of no use.
    pub(crate) renewed: Vec<UserId>,
    /// From when on nothing is written any more, once the engine is to end.
    pub(crate) drain: Option<Instant>,
    /// The scheduler has ended.
    pub(crate) ended: bool,
}

/// The engine's common ground.
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    /// Told when something is in the inbox.
    pub(crate) wake: Condvar,
    pub(crate) activity: Activity,
    pub(crate) counters: Counters,
    pub(crate) places: Arc<Places>,
}

impl Shared {
    pub(crate) fn new(places: Arc<Places>) -> Self {
        Self {
            inbox: Mutex::default(),
            wake: Condvar::new(),
            activity: Activity::new(),
            counters: Counters::new(),
            places,
        }
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether answers are being written.
pub(crate) struct Activity {
    /// Since when they are not; `None` while they are.
    idle: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Activity {
    fn new() -> Self {
        Self { idle: Mutex::new(Some(Instant::now())), changed: Condvar::new() }
    }

    pub(crate) fn set_busy(&self, is_busy: bool) {
        let mut idle = self.lock();
        match (is_busy, *idle) {
            (true, Some(_)) => *idle = None,
            (false, None) => {
                *idle = Some(Instant::now());
                self.changed.notify_all();
            }
            _ => {}
        }
    }

    /// For how long no answer has been written.
    pub(crate) fn idle_for(&self) -> Duration {
        self.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits until no answer is being written, but no longer than this; says whether it is so.
    pub(crate) fn wait_until_idle(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        let mut idle = self.lock();
        while idle.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            idle = self.changed.wait_timeout(idle, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Calls that block, on plain threads.
//!
//! Not on tokio's blocking threads: clients of databases that bring a runtime of their own refuse
//! to start one there. A thread for each call: some tens of microseconds, beside calls that read a
//! database, and nothing of one call can be left for the next.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use crate::{
    error::{ApiError, ApiResult},
    rate,
};

/// How long a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which calls a call waits with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lane {
    /// Calls of milliseconds.
    Short,
    /// Calls of seconds and minutes.
    Long,
}

#[derive(Debug)]
pub(crate) struct Workers {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Workers {
    pub fn new(short: usize, long: usize) -> Self {
        let semaphore = |n: usize| Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS)));
        Self { short: semaphore(short), long: semaphore(long) }
    }

    /// Makes a call. If the caller goes, the call runs to its end, and what it gives is dropped;
    /// the request that it was made for counts as open until then.
    pub async fn run<T, F>(&self, lane: Lane, call: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let lane = match lane {
            Lane::Short => &self.short,
            Lane::Long => &self.long,
        };
        let permit = match timeout(PATIENCE, Arc::clone(lane).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(ApiError::overloaded(PATIENCE)),
        };
        let (sender, receiver) = oneshot::channel();
        let open = rate::current();
        let call = move || {
            let held = (permit, open);
            let done = call();
            // First: whoever has the answer may ask the next thing at once.
            drop(held);
            // The caller may be gone.
            let _ = sender.send(done);
        };
        thread::Builder::new()
            .name("spring-serve call".into())
            .spawn(call)
            .map_err(|error| ApiError::internal(format!("cannot start a thread: {error}")))?;
        receiver.await.map_err(|_| ApiError::internal("a call of the service panicked"))
    }
}

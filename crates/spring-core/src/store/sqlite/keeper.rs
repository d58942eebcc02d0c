//! Renews a lease while its holder is at work: some steps, such as scoring a long history, tell of no progress for long.

use std::{
    path::Path,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Access, SqliteStore, file};
use crate::store::{Lease, StateStore};

/// Renews until it is dropped, over a connection of its own.
pub(super) struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins; the first time is after `every`.
    pub(super) fn start(path: &Path, lease: &Lease, every: Duration) -> Self {
        let (path, mut lease) = (path.to_owned(), lease.clone());
        let (stop, stopped) = mpsc::channel::<()>();
        let work = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // What is in the way may be gone the next time; who has lost the lease is told by the next commit.
                if let Err(error) = renew(&path, &mut lease) {
                    tracing::debug!("the lease of user {} is not renewed: {error}", lease.user);
                }
            }
        };
        Self { stop: Some(stop), thread: Some(thread::spawn(work)) }
    }
}

fn renew(path: &Path, lease: &mut Lease) -> crate::Result<()> {
    let (connection, settings) = file::open(path, Access::ReadWrite).map_err(|fault| fault.at(path))?;
    SqliteStore::of(connection, path, settings).renew(lease)
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, the lease would end by itself.
            let _ = thread.join();
        }
    }
}

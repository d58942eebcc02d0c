//! How much memory the bodies of requests may take together.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Limits,
    error::{ApiError, ApiResult},
};

/// Bodies take room in steps of so many bytes, as these come: what a length announces may never.
pub(crate) const STEP: usize = 64 << 10;

/// Room for the bodies that are read and worked on at once, in bytes.
#[derive(Debug)]
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
}

impl Bodies {
    /// Room for one body of the greatest length at least.
    pub fn new(limits: &Limits) -> Self {
        let most = limits.bodies.max(limits.body).saturating_add(STEP);
        Self { room: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))) }
    }

    /// Room for some more bytes, or a refusal: whoever waited for it would hold what it has.
    pub fn take(&self, bytes: usize) -> ApiResult<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        room.map_err(|_| ApiError::overloaded(Duration::from_secs(1)))
    }
}

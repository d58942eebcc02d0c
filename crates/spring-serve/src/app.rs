//! What all requests share.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    ServeConfig, Service, ServiceResult,
    admission::Admission,
    bodies::Bodies,
    error::{ApiError, ApiResult},
    keys::Keys,
    metrics::Metrics,
    rate::Rates,
    workers::{Lane, Workers},
};

/// The most names of fields that are remembered.
const MOST_NAMES: usize = 256;

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// It is to end soon: it says that it is not ready, and answers whoever asks all the same.
    Leaving,
    /// It takes no new requests.
    Draining,
    /// It cuts what still runs.
    Cutting,
}

pub(crate) struct App {
    pub service: Arc<dyn Service>,
    pub config: ServeConfig,
    pub workers: Workers,
    pub admission: Arc<Admission>,
    pub bodies: Bodies,
    pub rates: Arc<Rates>,
    pub keys: Arc<Keys>,
    pub metrics: Metrics,
    pub phase: watch::Receiver<Phase>,
    /// Fields that were ignored, each with one line in the log.
    ignored: Mutex<HashSet<String>>,
}

pub(crate) type Shared = Arc<App>;

impl App {
    pub fn new(
        service: Arc<dyn Service>,
        config: ServeConfig,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let limits = &config.limits;
        Self {
            workers: Workers::new(limits.calls, limits.long_calls),
            admission: Arc::new(Admission::new(limits)),
            bodies: Bodies::new(limits),
            rates: Arc::new(Rates::new(limits)),
            keys: Arc::default(),
            metrics: Metrics::new(),
            ignored: Mutex::default(),
            service,
            config,
            phase,
        }
    }

    /// A call of the service, on a thread that may block.
    pub async fn call<T, F>(&self, lane: Lane, call: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Service) -> ServiceResult<T> + Send + 'static,
    {
        let service = Arc::clone(&self.service);
        self.workers.run(lane, move || call(&*service)).await?.map_err(ApiError::from)
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Says once of each field that it is ignored.
    pub fn warn_of(&self, fields: &[String]) {
        let mut known = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        for field in fields {
            if known.len() < MOST_NAMES && known.insert(field.clone()) {
                let field = field.escape_debug();
                tracing::warn!(%field, "requests have a field that is ignored");
            }
        }
    }
}

/// A name that no other request or answer has.
pub(crate) fn new_id(prefix: &str) -> ApiResult<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|error| ApiError::internal(format!("no random numbers: {error}")))?;
    let mut id = prefix.to_owned();
    for byte in bytes {
        id.push_str(&format!("{byte:02x}"));
    }
    Ok(id)
}

//! A server over a small service that lives in memory.
#![allow(dead_code)]

pub mod client;
pub mod memory;

use std::{sync::Arc, thread::JoinHandle};

use spring_serve::{Access, Key, KeyHash, Limits, ServeConfig, Server, Shutdown};

pub use client::{Client, Reply, Stream};
pub use memory::MemoryService;

/// A server that runs until it is dropped.
pub struct Running {
    pub service: Arc<MemoryService>,
    pub client: Client,
    pub shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn with(config: ServeConfig, service: MemoryService) -> Self {
        let service = Arc::new(service);
        let config = config.with_listen("127.0.0.1:0".parse().unwrap());
        let server = Server::bind(config, Arc::clone(&service) as _).unwrap();
        let (client, shutdown) = (Client::new(server.address()), server.shutdown());
        let thread = Some(server.spawn().unwrap());
        Self { service, client, shutdown, thread }
    }

    pub fn start() -> Self {
        Self::with(ServeConfig::default(), MemoryService::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::with(ServeConfig::default().with_limits(limits), MemoryService::default())
    }

    /// With keys `ada` and `bob` (users), `gateway` and `admin`; their tokens are their names.
    pub fn with_keys(config: ServeConfig) -> Self {
        let service = MemoryService::default();
        for (id, access) in [
            ("ada", Access::User("ada".into())),
            ("bob", Access::User("bob".into())),
            ("gateway", Access::Gateway),
            ("admin", Access::Admin),
        ] {
            service.add_key(KeyHash::of(id), Key::new(id, access));
        }
        Self::with(config, service)
    }

    /// Waits for the server's end.
    pub fn join(&mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.shut_down();
        self.shutdown.shut_down();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

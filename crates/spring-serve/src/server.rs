//! The server: connections in, and out again in an orderly way.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    ServeConfig, Service, ServiceError,
    app::{App, Phase, Shared},
    routes::router,
};

/// How long connections have for their last bytes.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// How long the listener rests after it could not take a connection, as when there are no files
/// left to open.
const REST: Duration = Duration::from_millis(50);

/// Why a server does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Everybody on the network could read and change everything.
    #[error(
        "{0} can be reached from elsewhere, and there are no keys: make one, listen on 127.0.0.1 \
         behind a proxy that knows who asks, or let everybody in with --insecure"
    )]
    Open(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start the server's threads: {0}")]
    Threads(#[source] io::Error),
    /// The service does not say whether there are keys.
    #[error("cannot read the keys: {0}")]
    Keys(#[source] ServiceError),
}

/// A server that listens, and answers once it [runs](Self::run).
pub struct Server {
    runtime: tokio::runtime::Runtime,
    listener: TcpListener,
    address: SocketAddr,
    app: Shared,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Asks a server to end, from any thread.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: Arc<Mutex<watch::Sender<Phase>>>,
}

impl Shutdown {
    /// That the end is near: `/readyz` says 503 and answers close their connections, so that
    /// whoever sends requests goes elsewhere; those that come all the same are answered. Does
    /// nothing once the server [shuts down](Self::shut_down).
    pub fn leave(&self) {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        phase.send_modify(|phase| *phase = (*phase).max(Phase::Leaving));
    }

    /// The first time: `/readyz` says 503 and new requests are refused, while running answers have
    /// [`Limits::drain_time`](crate::Limits::drain_time) to finish. The second time: they are cut.
    pub fn shut_down(&self) {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        phase.send_modify(|phase| {
            *phase = match phase {
                Phase::Running | Phase::Leaving => Phase::Draining,
                Phase::Draining | Phase::Cutting => Phase::Cutting,
            };
        });
    }

    fn cut(&self) {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        phase.send_replace(Phase::Cutting);
    }
}

impl Server {
    /// Listens. The service may still be loading: `/readyz` says so.
    ///
    /// # Errors
    ///
    /// [`ServeError`]: the address cannot be had, or is open to everybody.
    pub fn bind(config: ServeConfig, service: Arc<dyn Service>) -> Result<Self, ServeError> {
        let address = config.listen;
        let open = !address.ip().is_loopback() && !config.insecure;
        if open && !service.has_keys().map_err(ServeError::Keys)? {
            return Err(ServeError::Open(address));
        }
        // It moves bytes; the work is on other threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("spring-serve")
            .enable_all()
            .build()
            .map_err(ServeError::Threads)?;
        let listen = |source| ServeError::Listen { address, source };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (sender, phase) = watch::channel(Phase::Running);
        let shutdown = Shutdown { phase: Arc::new(Mutex::new(sender)) };
        let app = Arc::new(App::new(service, config, phase));
        Ok(Self { runtime, listener, address, app, shutdown })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends it.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Answers until it is shut down; then all answers have ended, and no thread of it is left but
    /// those of long calls that no client waits for.
    pub fn run(self) {
        let Self { runtime, listener, app, shutdown, .. } = self;
        runtime.block_on(serve(listener, &app, &shutdown));
        runtime.shutdown_timeout(LAST_BYTES);
    }

    /// The same on a thread of its own.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn spawn(self) -> io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("spring-serve".into()).spawn(move || self.run())
    }
}

async fn serve(listener: TcpListener, app: &Shared, shutdown: &Shutdown) {
    let router = router(app);
    let limits = &app.config.limits;
    let connections = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(limits.headers.max(1))
        // Below some 8 KiB it panics.
        .max_buf_size(limits.head.max(8192))
        .keep_alive(true)
        // A client that closed its side is gone.
        .half_close(false);
    let mut phase = app.phase.clone();
    let mut drained = std::pin::pin!(drained(app, shutdown));
    loop {
        let accepted = tokio::select! {
            // Readiness says 503 first, so new requests are still taken, and refused.
            () = &mut drained => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let (stream, permit) = accepted;
        // A token is sent when it is there.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _permit = permit;
            // Clients go at any time.
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
        });
    }
    drop(listener);
    let _ = phase.wait_for(|phase| *phase == Phase::Cutting).await;
    let _ = timeout(LAST_BYTES, graceful.shutdown()).await;
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // It is never closed.
    let permit = Arc::clone(connections).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                sleep(REST).await;
            }
        }
    }
}

/// Waits until the server is to end and nothing runs any more, or has been cut.
async fn drained(app: &Shared, shutdown: &Shutdown) {
    let mut phase = app.phase.clone();
    let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    let begun = Instant::now();
    tracing::info!("shutting down: {} answers are running", app.admission.active());
    while app.phase() == Phase::Draining {
        if app.admission.active() == 0 || begun.elapsed() >= app.config.limits.drain_time {
            shutdown.cut();
            break;
        }
        let next = Duration::from_millis(50);
        let _ = timeout(next, phase.wait_for(|phase| *phase == Phase::Cutting)).await;
    }
    // Time to say that an answer was cut.
    let cut = Instant::now();
    while app.admission.active() > 0 && cut.elapsed() < LAST_BYTES {
        sleep(Duration::from_millis(10)).await;
    }
}

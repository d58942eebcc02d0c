//! A server over the tests' service in memory, to try clients without a model.
//!
//! `cargo run -p spring-serve --example echo -- 127.0.0.1:8080`
//!
//! One key may have two answers at once, and running answers have two seconds at the end, which a
//! SIGTERM asks for.

#[path = "../tests/common/memory.rs"]
#[allow(clippy::unwrap_used, dead_code)]
mod memory;

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use spring_serve::{Limits, ServeConfig, Server, Service};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let listen: SocketAddr = std::env::args().nth(1).ok_or("give an address")?.parse()?;
    let limits = Limits::default().with_answers_per_key(2).with_drain_time(Duration::from_secs(2));
    let service = memory::MemoryService::default();
    service.create_user("ada")?;
    let config = ServeConfig::default().with_listen(listen).with_limits(limits);
    let server = Server::bind(config, Arc::new(service))?;
    println!("listening on http://{}", server.address());
    let shutdown = server.shutdown();
    ctrlc::set_handler(move || shutdown.shut_down())?;
    server.run();
    Ok(())
}

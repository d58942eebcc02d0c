//! Ctrl-C, SIGTERM and SIGHUP: a flag that long work looks at, so that it ends between two steps
//! and nothing half-done is kept; and an end for work that does not look in time.

use std::{
    process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::output;

/// The exit code of a program that SIGINT ended, as shells expect it; SIGTERM and SIGHUP give the
/// same.
pub const INTERRUPTED: u8 = 130;

/// How long a step may take to end. A state stays whole when the program ends in the middle of one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The error of a command that was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; what was committed before is kept, nothing else was changed")]
pub struct Interrupted;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// What is done at a signal in place of setting the flag.
static INSTEAD: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// From now on the first two signals call this, which must not block, and the third ends the
/// program at once. The first call counts.
pub fn call(instead: impl Fn() + Send + Sync + 'static) {
    let _ = INSTEAD.set(Box::new(instead));
}

/// From now on the first signal sets the flag; a second one, or five seconds, end the program at
/// once. Called once, by `main`.
///
/// # Errors
///
/// If the thread that waits for signals cannot be started: the program could not be stopped.
pub fn install() -> Result<()> {
    let handler = ctrlc::set_handler(|| {
        if let Some(instead) = INSTEAD.get() {
            static CALLED: AtomicU8 = AtomicU8::new(0);
            match CALLED.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => return instead(),
                _ => process::exit(INTERRUPTED.into()),
            }
        }
        if REQUESTED.swap(true, Ordering::SeqCst) {
            process::exit(INTERRUPTED.into());
        }
        output::say(
            "\nstopping after this step; again to end at once (the state stays whole either way)",
        );
        let wait = thread::Builder::new().spawn(|| {
            thread::sleep(PATIENCE);
            output::say("spring: ended within a step; what was committed before is kept");
            process::exit(INTERRUPTED.into());
        });
        if wait.is_err() {
            process::exit(INTERRUPTED.into());
        }
    });
    handler.context("starting the thread that waits for Ctrl-C")
}

/// Whether Ctrl-C was pressed. Long work asks this between two steps.
pub fn requested() -> bool {
    #[cfg(debug_assertions)]
    wait_where_a_test_asks();
    REQUESTED.load(Ordering::SeqCst)
}

/// In debug builds, `SPRING_WAIT_AT=N` makes the N-th question of [`requested`] wait for Ctrl-C, so
/// that a test meets the program at work without racing it.
#[cfg(debug_assertions)]
fn wait_where_a_test_asks() {
    use std::{sync::atomic::AtomicU64, time::Instant};

    static ASKED: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.fetch_add(1, Ordering::SeqCst) + 1;
    let place = std::env::var("SPRING_WAIT_AT").ok().and_then(|place| place.parse().ok());
    if place == Some(asked) {
        output::say("waiting for Ctrl-C");
        let begin = Instant::now();
        while !REQUESTED.load(Ordering::SeqCst) && begin.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Turns the library's "stopped" into [`Interrupted`].
pub fn or_interrupted<T>(result: Result<T, impl Into<spring_core::Error>>) -> Result<T> {
    result
        .map_err(Into::into)
        .map_err(|error| if error.is_stopped() { Interrupted.into() } else { error.into() })
}

//! Ctrl-C: a flag that long work looks at, so that it ends between two steps and nothing half-done
//! is kept.

use std::sync::atomic::{AtomicBool, Ordering};

/// The error of a command that was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; what was committed before is kept, nothing else was changed")]
pub struct Interrupted;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C sets the flag; a second one ends the program at once. Called once,
/// by `main`.
pub fn install() {
    let handler = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!(
            "\nstopping after this step; again to end at once (the state stays whole either way)"
        );
    });
    if let Err(error) = handler {
        eprintln!("spring: Ctrl-C will end the program at once: {error}");
    }
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
    use std::{
        sync::atomic::AtomicU64,
        thread,
        time::{Duration, Instant},
    };

    static ASKED: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.fetch_add(1, Ordering::SeqCst) + 1;
    let place = std::env::var("SPRING_WAIT_AT").ok().and_then(|place| place.parse().ok());
    if place == Some(asked) {
        eprintln!("waiting for Ctrl-C");
        let begin = Instant::now();
        while !REQUESTED.load(Ordering::SeqCst) && begin.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Turns the library's "stopped" into [`Interrupted`].
pub fn or_interrupted<T>(result: Result<T, impl Into<spring_core::Error>>) -> anyhow::Result<T> {
    result
        .map_err(Into::into)
        .map_err(|error| if error.is_stopped() { Interrupted.into() } else { error.into() })
}

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
        eprintln!("\nstopping after this step; again to end at once (the state stays whole either way)");
    });
    if let Err(error) = handler {
        eprintln!("spring: Ctrl-C will not be handled gently: {error}");
    }
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Turns the library's "stopped" into [`Interrupted`].
pub fn or_interrupted<T>(result: spring_core::Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| if error.is_stopped() { Interrupted.into() } else { error.into() })
}

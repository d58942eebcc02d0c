//! What the program asks of the system for itself, before any command runs.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::{Context, Result, anyhow};

/// Makes what the program writes its owner's alone, and a limit on the size of files an error like
/// a full disk instead of the program's end. Called once, by `main`.
///
/// # Errors
///
/// If the system refuses.
pub fn prepare() -> Result<()> {
    #[cfg(unix)]
    {
        umask::owner_alone();
        // SIGXFSZ ends who does not handle it; who does gets EFBIG from the write.
        let is_seen = std::sync::Arc::default();
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, is_seen)?;
    }
    // What a library's panic on a malformed file says is kept until nobody has caught it.
    std::panic::set_hook(Box::new(|panic| {
        let reason = panic.payload_as_str().unwrap_or("no reason");
        let place = panic.location().map_or(String::new(), |place| format!(" ({place})"));
        *last_panic() = format!("{reason}{place}");
    }));
    Ok(())
}

/// What the last panic said.
pub fn last_panic() -> MutexGuard<'static, String> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This program's own file.
///
/// # Errors
///
/// If the system does not say.
pub fn own_program() -> Result<PathBuf> {
    // Also where the file was replaced since.
    let of_linux = Path::new("/proc/self/exe");
    match cfg!(target_os = "linux") && of_linux.exists() {
        true => Ok(of_linux.into()),
        false => std::env::current_exe().context("the program's own file"),
    }
}

/// Starts the threads that products of matrices share; the library ends the program where it cannot
/// start them itself.
///
/// # Errors
///
/// If the system allows no more threads.
pub fn start_threads() -> Result<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || match rayon::ThreadPoolBuilder::new().build_global() {
        // Without a cause they are running already.
        Err(error) if std::error::Error::source(&error).is_some() => Err(error.to_string()),
        _ => Ok(()),
    };
    STARTED.get_or_init(start).clone().map_err(|reason| {
        anyhow!("cannot start threads: {reason}; RAYON_NUM_THREADS=1 asks for a single one")
    })
}

/// Runs `work`, whose files are for everybody, as far as the system's settings say.
pub fn for_everybody<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    let _private_again = umask::as_found();
    work()
}

#[cfg(unix)]
mod umask {
    use std::sync::OnceLock;

    use rustix::{fs::Mode, process::umask};

    static FOUND: OnceLock<Mode> = OnceLock::new();

    /// Of what the program was started with nothing is allowed that was not.
    pub(super) fn owner_alone() {
        let others = Mode::RWXG | Mode::RWXO;
        let found = umask(others);
        umask(*FOUND.get_or_init(|| found) | others);
    }

    /// What the program was started with, until the value goes.
    pub(super) fn as_found() -> impl Drop {
        struct Until;
        impl Drop for Until {
            fn drop(&mut self) {
                owner_alone();
            }
        }
        if let Some(found) = FOUND.get() {
            umask(*found);
        }
        Until
    }
}

//! The `spring` program: continual personalization of language models.
//!
//! Thin: each command reads its arguments, makes one call into spring-core or spring-eval, and
//! prints the result.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod embedded;
mod files;
mod hints;
mod interrupt;
mod log;
mod output;
mod progress;
mod serve;
mod session;
mod system;

use std::process::ExitCode;

use clap::Parser;
use spring_lm::helper;
use spring_numerics::words;

use crate::{
    args::Args,
    interrupt::{INTERRUPTED, Interrupted},
};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code where nobody reads standard output any more: what shells expect of a program that
/// SIGPIPE ended.
const UNREAD: u8 = 141;
/// The exit code of a bug.
const INTERNAL: u8 = 70;

/// With this first argument the program runs a model's tokenizer for another process of it.
const HELPER: &str = "--tokenizer-helper";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == HELPER) {
        return helper::serve();
    }
    let args = Args::parse();
    if let Err(error) = system::prepare() {
        return failed(&error);
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("SPRING_LOG")
                .unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        // It would end the program where standard error is closed.
        .log_internal_errors(false)
        .without_time()
        .init();
    match system::own_program() {
        Ok(program) => helper::use_program(program, vec![HELPER.into()]),
        Err(error) => return failed(&error),
    }
    let run = || interrupt::install().and_then(|()| commands::run(&args));
    let Ok(result) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) else {
        output::say(&format!("spring: internal error, which is a bug: {}", system::last_panic()));
        return ExitCode::from(INTERNAL);
    };
    match result {
        // The work was done before Ctrl-C could stop it.
        Ok(()) if interrupt::requested() => ExitCode::from(INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            output::say(&format!("spring: {error}"));
            ExitCode::from(INTERRUPTED)
        }
        // A reader that closed the pipe, such as `head`, has read enough.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::from(UNREAD),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let said = said_once(error);
    output::say(&match error.chain().find_map(hints::hint) {
        Some(hint) => format!("spring: {said}; {hint}"),
        None => format!("spring: {said}"),
    });
    ExitCode::FAILURE
}

/// A cause in plain words, be it the system's or a parser's.
fn plain(cause: &(dyn std::error::Error + 'static)) -> String {
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        return words::of_system(error);
    }
    if let Some(error) = cause.downcast_ref::<serde_json::Error>() {
        return words::of_json(error);
    }
    match cause.downcast_ref::<toml::de::Error>() {
        Some(error) => words::parsed(error.message(), words::Language::Toml),
        None => cause.to_string(),
    }
}

/// An error with its causes; a cause that the message before it tells already is not told again.
fn said_once(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(plain) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

//! The `spring` program: continual personalization of language models.
//!
//! Thin: each command reads its arguments, makes one call into spring-core or spring-eval, and
//! prints the result.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod embedded;
mod hints;
mod interrupt;
mod output;
mod progress;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, interrupt::Interrupted};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What shells expect of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("SPRING_LOG")
                .unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    interrupt::install();
    match commands::run(&args) {
        // The work was done before Ctrl-C could stop it.
        Ok(()) if interrupt::requested() => ExitCode::from(INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("spring: {error}");
            ExitCode::from(INTERRUPTED)
        }
        // A reader that closed the pipe, such as `head`, has read enough.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            match error.chain().find_map(hints::hint) {
                Some(hint) => eprintln!("spring: {}; {hint}", said_once(&error)),
                None => eprintln!("spring: {}", said_once(&error)),
            }
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes; a cause that the message before it tells already is not told again.
fn said_once(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

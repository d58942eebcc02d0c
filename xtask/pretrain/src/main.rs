//! `cargo xtask pretrain`: trains a tokenizer and a small Llama from JSONL, and measures it.

mod batches;
mod codec;
mod folder;
mod layout;
mod progress;
mod random;
mod readme;
mod related;
mod report;
mod settings;
mod show;
#[cfg(test)]
mod tests;
mod texts;
mod train;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use clap::Parser;

use crate::{settings::Settings, train::End};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match start(&Settings::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: &Settings) -> Result<ExitCode> {
    if let Some(dir) = &settings.report_only {
        let report = train::report_only(settings, dir)?;
        match settings.json {
            true => println!("{:#}", report.json()),
            false => print!("{}", report.markdown()),
        }
        return Ok(ExitCode::SUCCESS);
    }
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; again to end at once, back to the last checkpoint");
    })
    .context("cannot listen for Ctrl-C")?;
    match train::run(settings, &|_| STOP.load(Ordering::SeqCst))? {
        End::Finished => Ok(ExitCode::SUCCESS),
        End::Stopped => Ok(ExitCode::from(130)),
    }
}

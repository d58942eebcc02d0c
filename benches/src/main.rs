//! End-to-end comparisons with other systems: the same work in turns, medians and ratios.
//!
//! `cargo xtask bench --peers` builds and runs this.

mod compare;
mod greedy;
mod inputs;
mod ours;
mod plan;
mod protocol;
mod table;
mod work;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "Compares this project with other systems on the same work")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run the comparisons; print each section as a block of Markdown between markers.
    Compare(Compare),
    /// Write a random adapter on all projections as a GGUF file; for python/gguf_lora.py.
    Adapter {
        /// The model's folder or GGUF file
        model: PathBuf,
        /// The file to write
        out: PathBuf,
    },
    /// Continue prompts greedily; print ids and how far the best token was ahead, as JSON.
    Greedy {
        /// The model's folder or GGUF file
        model: PathBuf,
        /// A JSON list of texts
        prompts: PathBuf,
        /// Most tokens for each
        tokens: usize,
        /// A GGUF file
        #[arg(long, value_name = "FILE")]
        adapter: Option<PathBuf>,
    },
    /// Be the worker of this project's side for one task.
    #[command(hide = true)]
    Work {
        /// The task's file
        file: PathBuf,
    },
}

/// The settings of `compare`.
#[derive(Debug, Args)]
struct Compare {
    /// Folder of the small model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Folder with the workers in Python
    #[arg(long, value_name = "DIR")]
    scripts: PathBuf,
    /// Python with torch, transformers, peft, rank_bm25 and hnswlib; what it lacks is left out with
    /// a message
    #[arg(long, default_value = "python3", value_name = "PATH")]
    python: PathBuf,
    /// The worker of candle [default: it is left out]
    #[arg(long, value_name = "PATH")]
    candle: Option<PathBuf>,
    /// Folder with the GGUF files of the sections of their names [default: these are left out]
    #[arg(long, value_name = "DIR")]
    gguf: Option<PathBuf>,
    /// How many times each system does the work, after one time that checks that all come to the
    /// same
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// These sections alone: model-5m, model-135m, gguf-smollm2, gguf-gemma3, bm25, dense, fuse,
    /// history, users
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = plan::SECTIONS)]
    only: Vec<String>,
    /// Small work and one round, to see that everything runs; the numbers mean nothing
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Compare(settings) => compare::run(&settings),
        Task::Adapter { model, out } => greedy::write_adapter(&model, &out),
        Task::Greedy { model, prompts, tokens, adapter } => {
            greedy::run(&model, &prompts, tokens, adapter.as_deref())
        }
        Task::Work { file } => ours::work(&file),
    }
}

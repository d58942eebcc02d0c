//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser};
use spring_model::{Device, PretrainConfig};

/// Train a tokenizer and a small Llama from JSONL.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "spring-pretrain",
    bin_name = "cargo xtask pretrain",
    version,
    after_help = EXAMPLES
)]
pub struct Settings {
    /// Texts: JSONL with "prompt" and "response", perhaps compressed (.zst)
    #[arg(required = true, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Folder of the run: log.csv, checkpoint/ and in the end model/ and report.{md,json}
    #[arg(long, value_name = "DIR", required_unless_present = "report_only")]
    pub out: Option<PathBuf>,
    /// Go on from the last checkpoint in --out; only the steps, the schedule and the intervals may
    /// differ
    #[arg(long)]
    pub resume: bool,
    /// Start from this model folder and its tokenizer instead of random weights
    #[arg(long, value_name = "DIR", conflicts_with = "tokenizer")]
    pub start: Option<PathBuf>,
    /// Measure this model folder on the texts kept from training, and train nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["resume", "start"])]
    pub report_only: Option<PathBuf>,
    /// Print the report of --report-only as JSON
    #[arg(long, requires = "report_only")]
    pub json: bool,
    /// Where to train: cpu, wgpu or cuda
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// What everything random depends on
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub texts: TextSettings,
    #[command(flatten)]
    pub shape: Shape,
    #[command(flatten)]
    pub training: Training,
}

/// What is done with the texts.
#[derive(Debug, Clone, Args)]
pub struct TextSettings {
    /// Texts kept from training
    #[arg(long, default_value_t = 250)]
    pub valid: usize,
    /// Read no more texts than this
    #[arg(long)]
    pub limit: Option<usize>,
    /// Use this tokenizer.json instead of training one
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens of the tokenizer
    #[arg(long, default_value_t = 4096)]
    pub vocabulary: usize,
    /// Texts that the tokenizer is trained on
    #[arg(long, default_value_t = 20_000)]
    pub tokenizer_texts: usize,
    /// Part of the sequences that have 1 to 3 related texts before their target
    #[arg(long, default_value_t = 0.4)]
    pub related: f64,
    /// Part of the sequences that have their target itself before it: they teach to copy from the
    /// context
    #[arg(long, default_value_t = 0.05)]
    pub copies: f64,
}

/// The model's shape.
#[derive(Debug, Clone, Args)]
pub struct Shape {
    /// Width
    #[arg(long, default_value_t = 256)]
    pub hidden: usize,
    /// Blocks
    #[arg(long, default_value_t = 6)]
    pub layers: usize,
    /// Query heads
    #[arg(long, default_value_t = 8)]
    pub heads: usize,
    /// Key/value heads
    #[arg(long, default_value_t = 4)]
    pub kv_heads: usize,
    /// Width of the feed-forward layers
    #[arg(long, default_value_t = 704)]
    pub intermediate: usize,
    /// Longest sequence
    #[arg(long, default_value_t = 1024)]
    pub context: usize,
    /// An output head of its own
    #[arg(long)]
    pub untied: bool,
    /// Base of the rotary embedding
    #[arg(long, default_value_t = 10_000.0)]
    pub rope_theta: f64,
}

/// How it is trained.
#[derive(Debug, Clone, Args)]
pub struct Training {
    /// Optimiser steps in all
    #[arg(long, default_value_t = PretrainConfig::default().steps)]
    pub steps: usize,
    /// Tokens of a batch, about
    #[arg(long, default_value_t = 8192)]
    pub batch_tokens: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = PretrainConfig::default().learning_rate)]
    pub learning_rate: f64,
    /// Part of the steps over which the rate rises
    #[arg(long, default_value_t = PretrainConfig::default().warmup)]
    pub warmup: f64,
    /// Part of the steps over which the rate falls to 0 at the end
    #[arg(long, default_value_t = PretrainConfig::default().decay)]
    pub decay: f64,
    /// Weight decay of the matrices inside the blocks
    #[arg(long, default_value_t = PretrainConfig::default().weight_decay)]
    pub weight_decay: f64,
    /// Steps between two lines of the log
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub log_interval: u64,
    /// Steps between two losses on the texts kept from training
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub valid_interval: u64,
    /// Steps between two checkpoints
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_interval: u64,
}

impl Training {
    /// The part that the trainer needs.
    pub fn config(&self) -> PretrainConfig {
        PretrainConfig::default()
            .with_learning_rate(self.learning_rate)
            .with_steps(self.steps)
            .with_warmup(self.warmup)
            .with_decay(self.decay)
            .with_weight_decay(self.weight_decay)
    }
}

const EXAMPLES: &str = "\
Ctrl-C ends the run after the step at hand, with a checkpoint; --resume goes on with the same \
batches.

Examples:
  cargo xtask pretrain texts.jsonl.zst --out run --steps 2000
  cargo xtask pretrain texts.jsonl.zst --out run --steps 3000 --resume
  cargo xtask pretrain texts.jsonl --out run --hidden 512 --layers 8 --device cuda
  cargo xtask pretrain texts.jsonl.zst --report-only run/model --json";

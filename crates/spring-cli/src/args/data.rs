//! `spring data`

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use spring_data::{Task, synth::Drift};

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Show what a file holds: format, users, texts, words, time. Reads LaMP, LongLaMP, OPPU's
    /// histories and our JSONL.
    #[command(after_help = "Example:\n  spring data inspect dev_questions.json")]
    Inspect(InspectArgs),
    /// Write a LaMP, LongLaMP or OPPU file to standard output as the JSONL that `spring ingest`
    /// takes.
    #[command(after_help = "Example:\n  \
        spring data convert dev_questions.json --outputs dev_outputs.json > history.jsonl")]
    Convert(ConvertArgs),
    /// Write made-up users, whose preferences drift in a known way, to standard output as JSONL.
    #[command(
        after_help = "The truth about each text is in its meta: drift, style, noise, and the same\n\
        message in the user's other style.\n\nExample:\n  \
        spring data synth --users 12 --texts 200 --noise 0.2 --seed 7 > synthetic.jsonl"
    )]
    Synth(SynthArgs),
}

#[derive(Debug, ClapArgs)]
pub struct SynthArgs {
    /// Number of users; they get the kinds of drift in turn.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub users: usize,
    /// Number of texts of each user.
    #[arg(long, default_value_t = 120, value_name = "N")]
    pub texts: usize,
    /// Kinds of drift, separated by commas: none, sudden, gradual, recurring.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "none,sudden,gradual,recurring",
        value_name = "KINDS"
    )]
    pub drift: Vec<Drift>,
    /// Share of messages that are noise.
    #[arg(long, default_value_t = 0.1, value_name = "PART")]
    pub noise: f64,
    /// Seed; another one gives other users.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, ClapArgs)]
pub struct InspectArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The task, where the file alone does not tell: LaMP-1 to LaMP-7, product_review,
    /// abstract_generation or topic_writing.
    #[arg(long, value_name = "TASK")]
    pub task: Option<Task>,
}

#[derive(Debug, ClapArgs)]
pub struct ConvertArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The task, where the file alone does not tell: LaMP-1 to LaMP-7, product_review,
    /// abstract_generation or topic_writing.
    #[arg(long, value_name = "TASK")]
    pub task: Option<Task>,
    /// LaMP's outputs: a question with an answer becomes its user's last text.
    #[arg(long, value_name = "FILE")]
    pub outputs: Option<PathBuf>,
}

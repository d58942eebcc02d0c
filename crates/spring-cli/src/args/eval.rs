//! `spring eval`

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use spring_core::Preset;

#[derive(Debug, ClapArgs)]
pub struct EvalArgs {
    #[command(subcommand)]
    pub command: Option<EvalCommand>,
    #[command(flatten)]
    pub suite: SuiteArgs,
}

#[derive(Debug, ClapArgs)]
pub struct SuiteArgs {
    /// Run a suite: data, methods, seeds and budgets in TOML, or the built-in "first-loop". It goes
    /// on where it was interrupted, and a finished run grows by what is added.
    #[arg(long, value_name = "FILE")]
    pub suite: Option<PathBuf>,
    /// The base model in place of the suite's: a folder in the Hugging Face layout, a GGUF file,
    /// hub:owner/name or hub:owner/name/file.gguf, or "embedded".
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The file of one of the suite's data sets, in place of its own; may be repeated.
    #[arg(long, value_name = "NAME=FILE")]
    pub data: Vec<String>,
    /// Leave out this data set of the suite; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub without: Vec<String>,
    /// LaMP's task of one of the suite's data sets, where its file alone does not tell; may be
    /// repeated.
    #[arg(long, value_name = "NAME=TASK")]
    pub task: Vec<String>,
    /// The learning rate on one of the suite's data sets, in place of its own; may be repeated. A
    /// rate suits a base: what was chosen for one says little of another.
    #[arg(long, value_name = "NAME=RATE")]
    pub learning_rate: Vec<String>,
    /// The number of users of every data set, in place of the suite's.
    #[arg(long, value_name = "N")]
    pub users: Option<usize>,
    /// Skip this many of the users with most texts, in every data set.
    #[arg(long, value_name = "N")]
    pub skip: Option<usize>,
    /// Settings by name in place of the suite's, its data sets' learning rates among them but for
    /// those of --learning-rate. paper: those of the paper, whatever the defaults are.
    #[arg(long, value_name = "NAME", value_parser = super::state::preset())]
    pub preset: Option<Preset>,
    /// The run's folder; by default, runs/ and the suite's name.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Users to run side by side; by default, one per core.
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Estimate the time and run nothing.
    #[arg(long)]
    pub estimate: bool,
    /// Start the programs that the suite names as methods and metrics; read their commands before
    /// you do, they can do whatever you can.
    #[arg(long)]
    pub run_programs: bool,
}

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Score generated texts, labels or numbers against references.
    #[command(after_help = "Each line of both files is one JSON string.\n\nExample:\n  \
        spring eval metrics --predictions predicted.jsonl --references written.jsonl --json")]
    Metrics(MetricsArgs),
    /// Print the table of a run, finished or not, and draw its plots.
    #[command(after_help = "Examples:\n  spring eval table runs/main\n  \
        spring eval table runs/main --format latex > table.tex\n  \
        spring eval table runs/main --format md --plots plots\n  \
        spring eval table runs/main --against everything")]
    Table(TableArgs),
}

#[derive(Debug, ClapArgs)]
pub struct TableArgs {
    /// The run's folder, which `spring eval --suite` wrote.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// text: for the terminal; md: Markdown; latex: a tabular with booktabs; csv: every column.
    #[arg(long, value_enum, default_value_t = TableKind::Text, value_name = "FORMAT")]
    pub format: TableKind,
    /// Test every method against this one, in place of the suite's: one of its methods, or the name
    /// of a row of its choices. Plots are drawn with it too; nothing in the run's folder changes.
    #[arg(long, value_name = "METHOD")]
    pub against: Option<String>,
    /// Also write the plots into this folder, each as SVG and as PNG.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Also write the losses into this folder as TensorBoard's event files.
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableKind {
    /// For the terminal.
    Text,
    /// Markdown.
    Md,
    /// LaTeX.
    Latex,
    /// Every column.
    Csv,
}

#[derive(Debug, ClapArgs)]
pub struct MetricsArgs {
    /// The predictions: JSONL of strings.
    #[arg(long, value_name = "FILE")]
    pub predictions: PathBuf,
    /// The references: JSONL of strings, line by line.
    #[arg(long, value_name = "FILE")]
    pub references: PathBuf,
    /// texts: ROUGE-1/2/L and METEOR; labels: accuracy and macro F1; numbers: MAE and RMSE.
    #[arg(long = "as", value_enum, default_value_t = MetricKind::Texts, value_name = "KIND")]
    pub kind: MetricKind,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MetricKind {
    /// Running text.
    Texts,
    /// Classes.
    Labels,
    /// Ratings.
    Numbers,
}

//! Asking a state: what it writes, finds, scores, and how it came to that.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use jiff::Timestamp;
use spring_core::spring_memory::{Language, SearchMode};

use super::StateArg;

#[derive(Debug, ClapArgs)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// The prompt, as --prompt.
    #[arg(value_name = "PROMPT", id = "text", conflicts_with_all = ["prompt", "prompt_file"])]
    pub text: Option<String>,
    /// The prompt.
    #[arg(long, required_unless_present_any = ["prompt_file", "text"])]
    pub prompt: Option<String>,
    /// The prompt is in this file, or on standard input (-), and so not in the list of processes.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompt_file: Option<PathBuf>,
    /// Also show the gate's decision, the retrieved texts, and the probabilities of each branch.
    #[arg(long)]
    pub explain: bool,
    /// Limit of new tokens.
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<usize>,
    /// End the answer before this text; may be given several times.
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub stop: Vec<String>,
    /// Print the answer as it is written, as on a terminal, into a pipe or a file too.
    #[arg(long)]
    pub stream: bool,
    /// 0 is greedy; above it, tokens are sampled.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Seed of the sampler.
    #[arg(long)]
    pub seed: Option<u64>,
    /// One setting of gate, fusion or decoding for this answer alone, such as gate=always or
    /// decoding.sampler.top_p=0.9; the state keeps its own. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct ChatArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// The page.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What to answer on the page; by default, the prompt of the user's latest text.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct SearchArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// bm25 (shared words), dense (embeddings) or hybrid (both); by default, what the settings say.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<SearchMode>,
    /// Limit of results; by default, what the settings say.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Only texts from this time on: a date (its beginning, UTC) or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Timestamp>,
    /// Only texts before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Timestamp>,
    /// Only texts of this period.
    #[arg(long, value_name = "N")]
    pub period: Option<u32>,
    /// Also find texts that are held out for evaluation.
    #[arg(long)]
    pub held_out: bool,
    /// Also find other forms of the words, such as plurals, by the Snowball stemmer of a language
    /// (english, german, french, …).
    #[arg(
        long,
        value_name = "LANGUAGE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "english"
    )]
    pub stem: Option<Language>,
    /// What to look for.
    #[arg(value_name = "QUERY", required_unless_present = "query_file")]
    pub query: Option<String>,
    /// What to look for is in this file, or on standard input (-), and so not in the list of
    /// processes.
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    pub query_file: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// One period; by default, all.
    #[arg(long, conflicts_with_all = ["generation_id", "since", "until", "text"])]
    pub period: Option<u32>,
    /// The period that one generation learned, even if it is no longer in use.
    #[arg(long, value_name = "G", conflicts_with_all = ["since", "until", "text"])]
    pub generation_id: Option<u32>,
    /// What was learned of texts written from this day on (2024-03-01, in UTC, or RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Timestamp>,
    /// What was learned of texts written before this day.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Timestamp>,
    /// Why the model wrote this, or may write it: its record, and the learned texts that it
    /// resembles.
    #[arg(long, conflicts_with_all = ["since", "until"])]
    pub text: Option<String>,
    /// The text of --text is in this file, or on standard input (-), and so not in the list of
    /// processes.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["text", "since", "until", "period", "generation_id"]
    )]
    pub text_file: Option<PathBuf>,
    /// Texts to show per table.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub rows: usize,
    /// Also show the method's own terms: novelty N, quality Q, the drift score S, what they decide
    /// by, and λ of an answer's tokens.
    #[arg(long, visible_alias = "explain")]
    pub terms: bool,
}

/// A day in UTC, or a moment.
fn parse_time(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse().or_else(|_| {
        let day: jiff::civil::Date = text.parse()?;
        Ok(day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
    })
}

#[derive(Debug, ClapArgs)]
pub struct InspectUserArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// Also show the method's own terms: novelty N, quality Q, the drift score S, and what they
    /// decide by.
    #[arg(long, visible_alias = "explain")]
    pub terms: bool,
}

#[derive(Debug, ClapArgs)]
pub struct UsersArgs {
    #[command(flatten)]
    pub state: StateArg,
}

#[derive(Debug, ClapArgs)]
pub struct ScoreArgs {
    /// The base model: a folder in the Hugging Face layout, a GGUF file, hub:owner/name or
    /// hub:owner/name/file.gguf to download one, or "embedded".
    #[arg(long, default_value = crate::embedded::NAME, value_name = "MODEL")]
    pub model: String,
    /// An adapter: a PEFT folder or a GGUF file.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// A JSONL file of interactions; - is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

//! The command line.

mod ingest;
mod key;

use std::path::PathBuf;

use anyhow::Context;
use clap::{
    Args as ClapArgs, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use jiff::Timestamp;
use spring_core::{
    Config, StatePlace,
    spring_memory::{Language, SearchMode},
};
use spring_data::{Task, synth::Drift};
use spring_model::{Arithmetic, Device, Precision};

pub use ingest::IngestArgs;
pub use key::{KeyAddArgs, KeyCommand, KeyListArgs, KeyRevokeArgs};

/// Continual personalization of language models: a small adapter and a small memory for each user,
/// on one frozen base.
#[derive(Debug, Parser)]
#[command(
    name = "spring",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  spring demo --out report.html
  spring init --state me.db --model path/to/model
  spring ingest --state me.db history.jsonl
  spring adapt --state me.db --periods 5 --hold-out 0.1
  spring generate --state me.db --user ada \"Write a review of …\" --explain

Exit codes: 0 done, 1 an error, 2 a wrong command line, 70 a bug, 130 ended by Ctrl-C, SIGTERM or
SIGHUP, 141 nobody reads the output any more."
)]
pub struct Args {
    /// Where the model runs: cpu, wgpu or cuda, if the program was built with it.
    #[arg(long, global = true, default_value = "cpu", value_name = "DEVICE")]
    pub device: Device,
    /// Float type of the base model's matrices: f32, and on GPUs f16 or bf16. By default f32; the
    /// quantised matrices of a GGUF file stay as they are on the processor and become f16 or bf16
    /// on GPUs.
    #[arg(long, global = true, value_name = "TYPE")]
    pub precision: Option<Precision>,
    /// Products with the quantised matrices of a GGUF file on the processor: fast, in integers of
    /// 16 bits, or exact, in f32. Results differ in their last digits.
    #[arg(long, global = true, default_value = "fast", value_name = "KIND")]
    pub arithmetic: Arithmetic,
    /// Print results as JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress bars.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the method on a built-in person's history, with the built-in model or another.
    #[command(after_help = "Examples:\n  spring demo\n  spring demo --out report.html\n  \
        spring demo --model path/to/model.gguf")]
    Demo(DemoArgs),
    /// Create a state file for a base model.
    #[command(after_help = "Examples:\n  spring init --state me.db --model path/to/model\n  \
        spring init --state me.db --config spring.toml     (the built-in model)")]
    Init(InitArgs),
    /// Add texts of people: mails, chats, notes, tables, commits; a file is added whole or not at
    /// all.
    #[command(
        after_help = "Examples:\n  spring ingest --state me.db Sent.mbox\n  \
        spring ingest --dry-run Sent.mbox\n  \
        spring ingest --state me.db --me Mara \"WhatsApp Chat with Tom.txt\"\n  \
        zcat history.jsonl.gz | spring ingest --state me.db -\n\n\
        What a file is shows in its content; `spring ingest --help` lists the formats.",
        after_long_help = ingest::long_help()
    )]
    Ingest(IngestArgs),
    /// Learn what users have written since the last period.
    #[command(after_help = "Examples:\n  spring adapt --state me.db\n  \
        spring adapt --state me.db --user ada --periods 5 --hold-out 0.1\n  \
        spring adapt --state many.db --jobs 4\n  \
        spring adapt --state me.db --set drift.scorer=novelty --set training.epochs=4\n\n\
        Settings that are given stay in the state.")]
    Adapt(AdaptArgs),
    /// Learn what users write, as long as it runs: any number of workers share one state.
    ///
    /// A worker takes one user after the other who has something new: in a database the one who
    /// has waited longest, in a file the one with most. It renews its hold on a user while it
    /// learns, and what it learned after it lost that is not kept.
    #[command(after_help = "Examples:\n  \
        spring worker --state postgres://spring@db.example/spring --jobs 2\n  \
        spring worker --state me.db --once                  (until nothing is left to learn)")]
    Worker(WorkerArgs),
    /// Go back to an earlier generation of a user; the same command also goes forward again.
    #[command(after_help = "Examples:\n  \
        spring rollback --state me.db --user ada            (to the one before)\n  \
        spring rollback --state me.db --user ada --to 3\n  \
        spring rollback --state me.db --user ada --to 0     (the base alone)\n\n\
        The next `spring adapt` learns the later periods again.")]
    Rollback(RollbackArgs),
    /// End the reservation of a user whom a process that is gone was training.
    #[command(
        after_help = "A process that trains a user reserves the user for ten minutes at a time.\n\
        On Linux the reservation ends with the process; elsewhere, and on other machines, with\n\
        its time. If the process runs after all, what it learns is not kept.\n\n\
        Example:\n  spring unlock --state me.db --user ada"
    )]
    Unlock(UnlockArgs),
    /// Remove a user, or one interaction and everything that was learned from it.
    #[command(after_help = "Examples:\n  spring forget --state me.db --user ada\n  \
        spring forget --state me.db --user ada --interaction 2024-05-01/3\n\n\
        Delete earlier exports and copies yourself.")]
    Forget(ForgetArgs),
    /// Write all that is kept of a user to a folder: texts as JSONL, adapters as PEFT folders,
    /// records and settings.
    #[command(after_help = "Example:\n  spring export --state me.db --user ada --out ada/")]
    Export(ExportArgs),
    /// Add a user from a folder that `spring export` wrote.
    #[command(after_help = "Example:\n  spring import --state other.db ada/")]
    Import(ImportArgs),
    /// Copy a whole state to another place, such as from a file to a database and back, and compare
    /// each user by digest.
    ///
    /// It may be run again after a break: users who are there already are compared and not copied
    /// again. Let nothing be learned meanwhile.
    #[command(
        name = "move",
        after_help = "Keys move along: TO opens to those of FROM, and a key that was revoked in\n\
        either opens nothing. Keys that TO alone has stay, and are listed at the end; with\n\
        --replace, those of the users who are replaced are revoked.\n\n\
        Examples:\n  \
        spring move --from me.db --to postgres://spring@db.example/spring\n  \
        spring move --from postgres://spring@db.example/spring --to back.db"
    )]
    Move(MoveArgs),
    /// Read a whole state and say whether anything in it is damaged.
    #[command(
        after_help = "With --json, one line per user with the SHA-256 of all that is kept of\n\
        them, except for the times at which it was computed.\n\n\
        Example:\n  spring check --state me.db"
    )]
    Check(CheckArgs),
    /// Write a response as a user would.
    #[command(after_help = "Examples:\n  \
        spring generate --state me.db --user ada --prompt \"Write a review of …\" --explain\n  \
        spring generate --state me.db --user ada --prompt-file prompt.txt\n  \
        spring generate --state me.db --user ada --prompt \"…\" --set gate=always --set \
        fusion.lambda=0.2")]
    Generate(GenerateArgs),
    /// Talk with a user's model; answers appear as they are written.
    #[command(after_help = "In the conversation: /why, /base, /undo, /new, /help, /quit.\n\n\
        Examples:\n  spring chat --state me.db --user ada\n  \
        echo \"What would you say?\" | spring chat --state me.db")]
    Chat(ChatArgs),
    /// Answer over HTTP as OpenAI's API does: every user is a model, and learns meanwhile.
    #[command(after_help = "Clients name a user by the model \"BASE:USER\", or by the fields \
        safety_identifier and user.\nSIGTERM lets running answers end; a second one cuts them.\n\n\
        Examples:\n  spring serve --state me.db\n  \
        spring serve --state team.db --listen 127.0.0.1:9000 --adapt-idle 600\n  \
        curl localhost:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n    \
        -d '{\"model\": \"embedded:ada\", \"messages\": \
        [{\"role\": \"user\", \"content\": \"Hello\"}]}'")]
    Serve(ServeArgs),
    /// Make, list and revoke the keys that a server asks for.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show or change whether a user's conversations with a server are kept and learned from.
    #[command(after_help = "Example:\n  spring consent --state team.db --user ada --set yes")]
    Consent(ConsentArgs),
    /// Write a page about one user: what was learned and why, losses, the buffer, an answer.
    #[command(after_help = "Example:\n  spring report --state me.db --user ada --out ada.html")]
    Report(ReportArgs),
    /// Find texts in a user's whole history.
    #[command(
        after_help = "Examples:\n  spring search --state me.db --user ada \"kettle that hums\"\n  \
        spring search --state me.db --user ada --mode hybrid --since 2024-01-01 \
        \"kettle\"\n\n\
        Case and punctuation do not count; --stem finds plurals too. bm25 (the default) needs no\n\
        model. dense and hybrid embed each text once with the base\n\
        and keep the embedding in the state."
    )]
    Search(SearchArgs),
    /// Show what was scored, selected, learned and kept, and why.
    #[command(after_help = "Examples:\n  spring explain --state me.db --user ada\n  \
        spring explain --state me.db --user ada --period 3 --json\n  \
        spring explain --state me.db --user ada --since 2024-03-01 --until 2024-04-01\n  \
        spring explain --state me.db --user ada --text \"Worth every\"   (why did it write this?)")]
    Explain(ExplainArgs),
    /// Show a user's generations, sizes, drift over time, buffer and gate.
    #[command(after_help = "Example:\n  spring inspect --state me.db --user ada")]
    Inspect(InspectUserArgs),
    /// List the users of a state.
    #[command(after_help = "Example:\n  spring users --state me.db")]
    Users(UsersArgs),
    /// Score the responses of a JSONL file under a model, with or without an adapter.
    #[command(
        after_help = "Example:\n  spring score --model path/to/model --adapter path/to/peft \
                      history.jsonl"
    )]
    Score(ScoreArgs),
    /// Compare methods on data with time.
    #[command(
        args_conflicts_with_subcommands = true,
        arg_required_else_help = true,
        after_help = "Examples:\n  spring eval --suite suites/main.toml --estimate\n  \
        spring eval --suite suites/main.toml --data commits=mine.jsonl --out runs/mine\n  \
        spring eval metrics --predictions predicted.jsonl --references written.jsonl --json"
    )]
    Eval(Box<EvalArgs>),
    /// Inspect, convert and generate data files.
    #[command(subcommand)]
    Data(DataCommand),
    /// Print a script that completes the arguments of `spring` in a shell.
    #[command(after_help = "Examples:\n  \
        spring completions bash > ~/.local/share/bash-completion/completions/spring\n  \
        spring completions zsh > ~/.zfunc/_spring           (a folder of $fpath)\n  \
        spring completions fish > ~/.config/fish/completions/spring.fish\n  \
        spring completions powershell >> $PROFILE")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write the pages of all commands to a folder.
    #[command(after_help = "Examples:\n  spring man | man -l -\n  \
        spring man --out ~/.local/share/man/man1")]
    Man(ManArgs),
}

#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub struct ManArgs {
    /// Write spring.1 and a page for each command into this folder, which must exist.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct DemoArgs {
    /// The base model: a folder in the Hugging Face layout, a GGUF file, hub:owner/name or
    /// hub:owner/name/file.gguf to download one, or "embedded".
    #[arg(long, default_value = crate::embedded::NAME, value_name = "MODEL")]
    pub model: String,
    /// Also write everything as an HTML page with plots.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Also show the method's own terms: novelty N, quality Q, the drift score S, and what they
    /// decide by.
    #[arg(long, visible_alias = "explain")]
    pub terms: bool,
}

#[derive(Debug, ClapArgs)]
pub struct StateArg {
    /// The state: a file, or postgres://USER@HOST/DATABASE, with the password in PGPASSWORD.
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "SPRING_STATE",
        // It may have a password in it.
        hide_env_values = true,
        value_parser = state_place()
    )]
    pub state: StatePlace,
}

/// How a state is named: no text is refused here, as a refusal would show it with its password.
fn state_place() -> impl TypedValueParser<Value = StatePlace> {
    OsStringValueParser::new().map(StatePlace::from)
}

#[derive(Debug, ClapArgs)]
pub struct MoveArgs {
    /// The state that is there: a file or postgres://…; it stays as it is.
    #[arg(long, value_name = "FILE|URL", value_parser = state_place())]
    pub from: StatePlace,
    /// Where it is to be; made if there is none, with the same base and settings.
    #[arg(long, value_name = "FILE|URL", value_parser = state_place())]
    pub to: StatePlace,
    /// Replace users there who differ; their keys are revoked, but for those that FROM has too.
    #[arg(long)]
    pub replace: bool,
}

#[derive(Debug, ClapArgs)]
pub struct ConfigArgs {
    /// Settings in TOML; what is absent has the paper's value.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, such as training.epochs=3 or gate=always; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Whether the file or a single setting has a value for this key.
    pub fn names(&self, table: &str, key: &str) -> anyhow::Result<bool> {
        let name = format!("{table}.{key}");
        let set = self.set.iter().any(|change| {
            change.split_once('=').is_some_and(|(changed, _)| changed.trim() == name)
        });
        let Some(path) = self.config.as_ref().filter(|_| !set) else { return Ok(set) };
        // Whatever is wrong with the file is said where it is read as settings.
        Config::load(path)?;
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let file: toml::Table = text.parse().with_context(|| path.display().to_string())?;
        let mut parts = name.split('.');
        let first = parts.next().and_then(|part| file.get(part));
        Ok(parts.try_fold(first, |value, part| Some(value?.get(part))).flatten().is_some())
    }

    /// The settings of the file, or `base` without one, with the single ones changed.
    pub fn over(&self, base: &Config) -> anyhow::Result<Config> {
        match &self.config {
            Some(path) => {
                crate::files::plain(path)?;
                Ok(Config::load(path)?.with_changes(&self.set)?)
            }
            None => Ok(base.with_changes(&self.set)?),
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct InitArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The base model: a folder in the Hugging Face layout, a GGUF file, hub:owner/name or
    /// hub:owner/name/file.gguf to download one, or "embedded".
    #[arg(long, default_value = crate::embedded::NAME, value_name = "MODEL")]
    pub model: String,
    #[command(flatten)]
    pub settings: ConfigArgs,
}

#[derive(Debug, ClapArgs)]
pub struct AdaptArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// One user; by default, every user with new texts.
    #[arg(long)]
    pub user: Option<String>,
    /// Cut the new texts into this many periods of equal count; by default one for every 40 texts,
    /// 8 at most, so that a small history is learned whole.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub periods: Option<u32>,
    /// Hold out this part of each period, its latest texts, to see what was learned; by default
    /// 0.15, and nothing of fewer than 12 new texts.
    #[arg(long, value_name = "PART")]
    pub hold_out: Option<f64>,
    /// Keep what was learned even if it predicts the held-out texts worse than before.
    #[arg(long)]
    pub keep: bool,
    /// Users to train side by side; the results are the same for any number.
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub jobs: u16,
    #[command(flatten)]
    pub settings: ConfigArgs,
    /// Log the losses of the training into this folder, as JSONL and as TensorBoard's event files.
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// Users to train side by side; the results are the same for any number.
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub jobs: u16,
    /// End once nobody is left who can be taken, in place of waiting for new texts.
    #[arg(long)]
    pub once: bool,
    /// Seconds from one look for new texts to the next, where there were none.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub poll: f64,
    /// As in `spring adapt`.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub periods: Option<u32>,
    /// As in `spring adapt`.
    #[arg(long, value_name = "PART")]
    pub hold_out: Option<f64>,
}

#[derive(Debug, ClapArgs)]
pub struct ServeArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// Where the state's model is now, if it is not where it was when the state was made.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The address; port 0 takes any that is free, and says which.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: std::net::SocketAddr,
    /// Let everybody in who reaches the address, where there are no keys.
    #[arg(long)]
    pub insecure: bool,
    /// A name that clients may reach it by, besides localhost and addresses; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// An origin whose pages may call it, such as `https://chat.example.org`; may be repeated.
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Vec<String>,
    /// Requests that a key may make in a minute, unless it has a limit of its own; 0 sets none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub requests_per_minute: u32,
    /// Requests that a key may have open at once, unless it has a limit of its own; 0 sets none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub requests_at_once: u32,
    #[command(flatten)]
    pub audit: AuditArg,
    /// Rows of the batch: a text that is written is one, or two where its gate is open.
    #[arg(
        long,
        default_value_t = 32,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(2..=4096)
    )]
    pub rows: u16,
    /// MiB of people's models that are kept ready.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub cache: u32,
    /// MiB of what prompts began with, read already, for prompts that begin alike; 0 for none.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    pub prefix_cache: u32,
    /// Learn a user's new texts once there are this many.
    #[arg(
        long,
        default_value_t = 40,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub adapt_pending: u64,
    /// Learn fewer, too, once nobody has been answered for this many seconds.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub adapt_idle: u64,
    /// Learn only when a client asks for it.
    #[arg(long, conflicts_with_all = ["adapt_pending", "adapt_idle"])]
    pub no_adapt: bool,
    /// How long running answers have to end when the program is to.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub drain: u64,
}

#[derive(Debug, ClapArgs)]
pub struct AuditArg {
    /// Put administrative acts on record in this file: a JSON object on a line for each, without
    /// texts.
    #[arg(long, value_name = "FILE", env = "SPRING_AUDIT")]
    pub audit: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct ConsentArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// Whether they are kept from now on; without it, it is shown.
    #[arg(long, value_name = "ANSWER")]
    pub set: Option<Said>,
    #[command(flatten)]
    pub audit: AuditArg,
}

/// What a user says to being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Said {
    /// They are kept.
    Yes,
    /// They are not.
    No,
}

#[derive(Debug, ClapArgs)]
pub struct RollbackArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// The generation to go to; by default, the one before. 0 is the base alone.
    #[arg(long, value_name = "N")]
    pub to: Option<u32>,
    #[command(flatten)]
    pub audit: AuditArg,
}

#[derive(Debug, ClapArgs)]
pub struct UnlockArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct ForgetArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// One interaction, by its id; by default, the whole user.
    #[arg(long, value_name = "ID")]
    pub interaction: Option<String>,
    /// Do it without asking.
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub audit: AuditArg,
}

#[derive(Debug, ClapArgs)]
pub struct ExportArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long)]
    pub user: Option<String>,
    /// The folder to create.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How adapters are written; `gguf` adds a file for llama.cpp beside each PEFT folder.
    #[arg(long, value_enum, default_value_t = AdapterFormat::Peft)]
    pub adapter_format: AdapterFormat,
    #[command(flatten)]
    pub audit: AuditArg,
}

/// How an adapter is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AdapterFormat {
    /// PEFT folders.
    Peft,
    /// PEFT folders, and beside each a GGUF file.
    Gguf,
}

#[derive(Debug, ClapArgs)]
pub struct ImportArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The folder that was exported.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub audit: AuditArg,
}

#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    #[command(flatten)]
    pub state: StateArg,
}

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
    /// The number of users of every data set, in place of the suite's.
    #[arg(long, value_name = "N")]
    pub users: Option<usize>,
    /// Skip this many of the users with most texts, in every data set.
    #[arg(long, value_name = "N")]
    pub skip: Option<usize>,
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
        spring eval table runs/main --format md --plots plots")]
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

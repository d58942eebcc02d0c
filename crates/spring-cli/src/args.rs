//! The command line.

mod ask;
mod data;
mod eval;
mod ingest;
mod key;
mod prior;
mod state;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use spring_core::StatePlace;
use spring_model::{Arithmetic, Device, Precision};

use self::state::state_place;
pub use self::{
    ask::{
        ChatArgs, ExplainArgs, GenerateArgs, InspectUserArgs, ReportArgs, ScoreArgs, SearchArgs,
        UsersArgs,
    },
    data::{ConvertArgs, DataCommand, InspectArgs, SynthArgs},
    eval::{EvalArgs, EvalCommand, MetricKind, MetricsArgs, SuiteArgs, TableArgs, TableKind},
    ingest::IngestArgs,
    key::{KeyAddArgs, KeyCommand, KeyListArgs, KeyRevokeArgs},
    prior::{PriorApplyArgs, PriorCommand, PriorDropArgs, PriorShowArgs, PriorTrainArgs},
    state::{ConfigArgs, StateArg},
};

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
        spring init --state me.db --config spring.toml     (the built-in model)\n  \
        spring init --state me.db --model path/to/model --preset paper")]
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
        spring rollback --state me.db --user ada --to 0     (the prior, or the base alone)\n\n\
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
        spring forget --state me.db --user ada --interaction 2024-05-01/3\n  \
        spring forget --state me.db --user ada --dry-run\n\n\
        Delete earlier exports and copies yourself.")]
    Forget(ForgetArgs),
    /// Write all that is kept of a user to a folder: texts as JSONL, adapters as PEFT folders,
    /// records and settings.
    #[command(after_help = "Example:\n  spring export --state me.db --user ada --out ada/")]
    Export(ExportArgs),
    /// Add a user from a folder that `spring export` wrote, or begin one with a LoRA adapter.
    #[command(after_help = "Examples:
        spring import --state other.db ada/
        spring import --state me.db --user ada adapter.gguf")]
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
        spring serve --state postgres://spring@db/spring --listen 0.0.0.0:8080 \\\n    \
        --advertise http://10.0.0.5:8080   (one of several; /route says whom each is warm for)\n  \
        curl localhost:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n    \
        -d '{\"model\": \"embedded:ada\", \"messages\": \
        [{\"role\": \"user\", \"content\": \"Hello\"}]}'")]
    Serve(ServeArgs),
    /// Make, list and revoke the keys that a server asks for.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show or change what a user agrees to: that conversations with a server are kept and learned
    /// from, and that others start from what is learned of their texts.
    #[command(after_help = "Examples:\n  \
        spring consent --state team.db --user ada --set yes\n  \
        spring consent --state team.db --user ada --contribute no")]
    Consent(ConsentArgs),
    /// Learn what everybody new starts from, from users who agree.
    #[command(subcommand)]
    Prior(PriorCommand),
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
        spring eval --suite suites/main.toml --preset paper --out runs/paper\n  \
        spring eval table runs/mine --format latex\n  \
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
    /// Users of each job, whose updates are trained together in one batch: on a CPU they share
    /// passes over the base, on a GPU nothing is gained. It takes memory for each, and the results
    /// are the same for any number. With --jobs it makes 256 users at most.
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub batch: u16,
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
    /// As in `spring adapt`.
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub batch: u16,
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
    /// What becomes of a request for a user who is not there.
    #[arg(long, default_value = "refuse", value_name = "ANSWER")]
    pub unknown_users: UnknownUsers,
    /// The address under which proxies reach this server, where several serve one state: `/route`
    /// and a header then say which of them is warm for a user.
    #[arg(long, value_name = "URL", value_parser = spring_serve::advertised)]
    pub advertise: Option<String>,
    /// Requests that a key may make in a minute, unless it has a limit of its own; 0 sets none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub requests_per_minute: u32,
    /// Requests that a key may have open at once, unless it has a limit of its own; 0 sets none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub requests_at_once: u32,
    #[command(flatten)]
    pub audit: AuditArg,
    /// Rows of the batch: a text that is written is one, or two where its gate is open, and one
    /// more with fusion.contrast.
    #[arg(
        long,
        default_value_t = 32,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(2..=4096)
    )]
    pub rows: u16,
    /// MiB of keys and values that the rows of the batch may come to hold; by default as many as
    /// 65,536 tokens take, or half of the memory that the caches leave free if that is less, but
    /// no fewer than the model's context (up to 65,536).
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub kv_cache: Option<u32>,
    /// MiB of people's models that are kept ready.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub cache: u32,
    /// A user whose model is kept ready, whatever the cache holds; may be repeated. The
    /// program warns of one who is not there, and goes on.
    #[arg(long, value_name = "USER")]
    pub pin: Vec<String>,
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

/// What becomes of a request for a user who is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownUsers {
    /// It is refused with 404.
    Refuse,
    /// The base answers it, and says so in a header.
    Base,
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
    /// Whether conversations are kept from now on; without it, it is shown.
    #[arg(long, value_name = "ANSWER")]
    pub set: Option<Said>,
    /// Whether priors may be learned from the user's texts from now on (`spring prior train`);
    /// without it, what was said is shown.
    #[arg(long, value_name = "ANSWER")]
    pub contribute: Option<Said>,
    #[command(flatten)]
    pub audit: AuditArg,
}

/// What a user says to being kept, or learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Said {
    /// They are kept, or learned from.
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
    /// The generation to go to; by default, the one before. 0 is what
    /// everybody starts from: the prior, or the base alone.
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
    /// Say what would be removed and learned again, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
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
    /// The folder that was exported; or a LoRA adapter, as a GGUF file or a PEFT folder, for a
    /// user who has learned nothing yet.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Whose adapter it is; the user may be new.
    #[arg(long)]
    pub user: Option<String>,
    #[command(flatten)]
    pub audit: AuditArg,
}

#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    #[command(flatten)]
    pub state: StateArg,
}

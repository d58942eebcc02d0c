//! The arguments of `spring ingest`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, builder::PossibleValuesParser};
use jiff::{SignedDuration, tz::TimeZone};
use spring_core::StatePlace;
use spring_data::people::{Columns, DateOrder, FORMATS, Options, PromptFrom, parse_zone};

#[derive(Debug, ClapArgs)]
pub struct IngestArgs {
    /// The state: a file, or postgres://USER@HOST/DATABASE; not needed with --dry-run.
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "SPRING_STATE",
        hide_env_values = true,
        required_unless_present = "dry_run",
        value_parser = super::state_place()
    )]
    pub state: Option<StatePlace>,
    /// Files, folders, archives (zip, gz, zst); - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The format, in place of what the content looks like.
    #[arg(long, value_name = "FORMAT", value_parser = names())]
    pub from: Option<String>,
    /// Whose side is learned: a mail address, a name or an id in the file; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub me: Vec<String>,
    /// The user of the state; by default from the person's name.
    #[arg(long)]
    pub user: Option<String>,
    /// Show ten pairs and the counts, and add nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// What becomes the prompt: auto (what is answered, else the title), before (what is answered,
    /// else left out) or title.
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub prompt_from: PromptFrom,
    /// The prompt's wording, with {before}, {title}, {from} and {to}.
    #[arg(long, value_name = "TEXT")]
    pub template: Option<String>,
    /// Chats: how many turns before an answer the prompt has.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub turns: u16,
    /// Chats: messages of one side within this time are one text.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub join_within: SignedDuration,
    /// Chats: an answer comes at most this long after what it answers.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub answer_within: SignedDuration,
    /// Tables: the column with what was asked, by name or number.
    #[arg(long, value_name = "COLUMN")]
    pub prompt: Option<String>,
    /// Tables: the column with what the person wrote.
    #[arg(long, value_name = "COLUMN")]
    pub response: Option<String>,
    /// Tables: the column with the time.
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// Tables: the column with the id.
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// Tables: the first line has values, not the names of columns.
    #[arg(long)]
    pub no_header: bool,
    /// The zone of times that have none, such as Europe/London or +02:00; by default the system's.
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    pub zone: Option<TimeZone>,
    /// Day and month of dates such as 03/04/2024: dmy, mdy or ymd; by default decided from the
    /// whole file.
    #[arg(long, value_name = "ORDER")]
    pub date_order: Option<DateOrder>,
    /// Leave out records that cannot be read, in place of refusing their file.
    #[arg(long)]
    pub skip_errors: bool,
}

impl IngestArgs {
    /// How the files are to be read.
    pub fn options(&self, stop: fn() -> bool) -> Options {
        let columns = Columns::default()
            .with_prompt(self.prompt.clone())
            .with_response(self.response.clone())
            .with_time(self.time.clone())
            .with_id(self.id.clone());
        let zone = self.zone.clone();
        Options::default()
            .with_from(self.from.clone())
            .with_me(self.me.clone())
            .with_zone(zone.unwrap_or_else(|| TimeZone::try_system().unwrap_or(TimeZone::UTC)))
            .with_date_order(self.date_order)
            .with_prompt_from(self.prompt_from)
            .with_template(self.template.clone())
            .with_turns(self.turns.into())
            .with_join_within(self.join_within)
            .with_answer_within(self.answer_within)
            .with_columns(columns)
            .with_header(!self.no_header)
            .with_skip_errors(self.skip_errors)
            .with_stop(stop)
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(FORMATS.iter().map(|format| format.name))
}

/// The table of formats, for `--help`.
pub fn long_help() -> String {
    let mut help = String::from("Formats, and what becomes prompt and response:\n");
    for format in FORMATS {
        help += &format!("  {:<9}  {}\n{:13}{}\n", format.name, format.what, "", format.pair);
    }
    help += "\nLeft out and counted: quoted text, signatures, forwarded mails, attachments, HTML \
             beside the same in plain text, system messages, media, deleted messages, drafts, \
             empty texts.\n\nExamples:\n  spring ingest --state me.db Sent.mbox\n  \
             spring ingest --dry-run Sent.mbox\n  \
             spring ingest --state me.db --me Mara \"WhatsApp Chat with Tom.txt\"\n  \
             spring ingest --state me.db --response reply --prompt incoming mails.csv\n  \
             spring ingest --state me.db --user mara vault/\n  \
             zcat history.jsonl.gz | spring ingest --state me.db -";
    help
}

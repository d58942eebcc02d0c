//! The table of formats: from it come `--help`, the documentation and the readers.

use super::{
    assistants::{ChatGpt, Claude},
    benchmarks::Benchmarks,
    discord::Discord,
    git::Git,
    json::Json,
    mail::{Eml, Maildir, Mbox},
    markdown::{Markdown, Obsidian},
    reader::Reader,
    slack::Slack,
    table::{Csv, Tsv},
    telegram::Telegram,
    whatsapp::WhatsApp,
};

/// A format of people's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, and where it comes from.
    pub what: &'static str,
    /// What becomes prompt and response.
    pub pair: &'static str,
}

const fn format(name: &'static str, what: &'static str, pair: &'static str) -> Format {
    Format { name, what, pair }
}

const MAIL: &str = "reply to the quoted mail, or to the mail before; else the text to its subject";
const CHAT: &str = "answer to the last turns of the others; else a message to the chat";
const ASSISTANT: &str = "answer to the assistant's last turn; the first message to the title";
const TABLE: &str = "two columns, found by common names";

/// All formats.
pub const FORMATS: &[Format] = &[
    format("mbox", "a mailbox: Gmail's Takeout, Thunderbird, Apple Mail", MAIL),
    format("maildir", "a Maildir folder: cur and new with a file a mail", MAIL),
    format("eml", "single mails", MAIL),
    format("csv", "a table with commas, semicolons or bars", TABLE),
    format("tsv", "a table with tabs", TABLE),
    format("json", "a list of records, or one a line; also this program's own JSONL", TABLE),
    format("chatgpt", "conversations.json of ChatGPT's export, or its archive", ASSISTANT),
    format("claude", "conversations.json of Claude's export, or its archive", ASSISTANT),
    format("whatsapp", "a chat exported as text, or its archive", CHAT),
    format("telegram", "result.json of Telegram Desktop's export", CHAT),
    format("slack", "a workspace's export: folder or archive", CHAT),
    format("discord", "JSON of DiscordChatExporter, or the package of one's own data", CHAT),
    format("markdown", "notes, a file each", "the text to its title"),
    format("obsidian", "a vault of notes", "the text to its title"),
    format("git", "a repository, or what `git log` prints", "the body to its subject"),
    format("parquet", "a table in a Parquet file", TABLE),
    format("lamp", "files of LaMP, LongLaMP and OPPU", "the task's own prompt"),
];

/// The format of this name.
pub fn format_named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// The reader of a format; `None` for one that this build is without.
pub(crate) fn reader_of(name: &str) -> Option<&'static dyn Reader> {
    Some(match name {
        "mbox" => &Mbox,
        "maildir" => &Maildir,
        "eml" => &Eml,
        "csv" => &Csv,
        "tsv" => &Tsv,
        "json" => &Json,
        "chatgpt" => &ChatGpt,
        "claude" => &Claude,
        "whatsapp" => &WhatsApp,
        "telegram" => &Telegram,
        "slack" => &Slack,
        "discord" => &Discord,
        "markdown" => &Markdown,
        "obsidian" => &Obsidian,
        "git" => &Git,
        #[cfg(feature = "parquet")]
        "parquet" => &super::parquet::Parquet,
        "lamp" => &Benchmarks,
        _ => return None,
    })
}

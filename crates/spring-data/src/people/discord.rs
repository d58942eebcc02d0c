//! Discord: the JSON of DiscordChatExporter, which has whole channels, and the packages of one's
//! own data, which have one's own messages alone.

use serde::Deserialize;
use serde_json::Value;
use spring_numerics::words::from_json;

use super::{
    assistants::each,
    error::Result,
    found::{Found, Kind, Message},
    input::{Bundle, Entry, file_error},
    left_out::Reason,
    options::Options,
    reader::Reader,
    rows::scalar,
};

/// Both.
pub(crate) struct Discord;

#[derive(Debug, Deserialize)]
struct Export {
    channel: Channel,
    #[serde(default)]
    messages: Vec<Raw>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    id: Option<Value>,
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    id: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    timestamp: Option<String>,
    #[serde(default)]
    content: String,
    author: Author,
    #[serde(default)]
    attachments: Vec<Value>,
    #[serde(default)]
    stickers: Vec<Value>,
    #[serde(default)]
    embeds: Vec<Value>,
    reference: Option<Reference>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Author {
    id: String,
    name: Option<String>,
    nickname: Option<String>,
    #[serde(default)]
    is_bot: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    message_id: Option<String>,
}

/// A message of a package.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Own {
    #[serde(rename = "ID")]
    id: Value,
    timestamp: Option<String>,
    #[serde(default)]
    contents: String,
    attachments: Option<Value>,
}

impl Reader for Discord {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        for entry in entries {
            match entry.file_name() {
                // Beside the messages of a channel in a package: its name.
                "channel.json" => continue,
                "index.json" => continue,
                _ => {}
            }
            if bundle.head(entry)?.trim_ascii_start().starts_with(b"[") {
                package(bundle, entry, entries, options, found)?;
            } else {
                export(bundle, entry, options, found)?;
            }
        }
        Ok(())
    }
}

fn export(bundle: &Bundle, entry: &Entry, options: &Options, found: &mut Found) -> Result<()> {
    let file = found.file(&entry.label);
    let export: Export = from_json(bundle.text(entry)?.as_bytes()).map_err(|error| {
        let place = format!("{}:{}", entry.label, error.line);
        file_error(&place, &format!("not an export of Discord: {}", error.in_its_line()))
    })?;
    let title = export.channel.name.unwrap_or_default();
    let id = scalar(export.channel.id.as_ref()).unwrap_or_default();
    let is_direct = scalar(export.channel.kind.as_ref()).is_ok_and(|kind| kind.contains("Direct"));
    let title = if is_direct || title.is_empty() { title } else { format!("#{title}") };
    let conversation = found.conversation(&format!("discord {id}"), Kind::Chat, &title);
    for (place, raw) in (1..).zip(export.messages) {
        let reason =
            if !matches!(raw.kind.as_deref(), None | Some("Default" | "Reply" | "19" | "0")) {
                Some(Reason::System)
            } else if raw.author.is_bot {
                Some(Reason::Automatic)
            } else if raw.content.trim().is_empty() {
                let files = raw.attachments.len() + raw.stickers.len() + raw.embeds.len();
                Some(if files > 0 { Reason::Media } else { Reason::Empty })
            } else {
                None
            };
        if let Some(reason) = reason {
            found.leave_out(reason, file, place);
            continue;
        }
        let name = raw.author.nickname.or(raw.author.name).unwrap_or_default();
        let from = found.person(&name, &raw.author.id)?;
        let time = found.time(raw.timestamp.as_deref().unwrap_or_default(), options);
        let answers = raw.reference.and_then(|reference| reference.message_id);
        found.push(Message {
            conversation,
            from,
            id: Some(format!("discord/{}", raw.id)),
            time,
            text: raw.content.trim().to_owned(),
            answers: answers.map(|id| format!("discord/{id}")).into_iter().collect(),
            file,
            line: place,
            ..Message::default()
        })?;
    }
    Ok(())
}

/// One channel of a package; all of it is the person's own.
fn package(
    bundle: &Bundle,
    entry: &Entry,
    entries: &[&Entry],
    options: &Options,
    found: &mut Found,
) -> Result<()> {
    let beside = entries
        .iter()
        .find(|other| other.folder() == entry.folder() && other.file_name() == "channel.json");
    let channel: Option<Channel> = beside
        .map(|other| bundle.text(other))
        .transpose()?
        .and_then(|t| serde_json::from_str(&t).ok());
    let title = channel.and_then(|channel| channel.name).map(|name| format!("#{name}"));
    let title = title.unwrap_or_default();
    let key = format!("discord package {}", entry.folder());
    let conversation = found.conversation(&key, Kind::Chat, &title);
    let me = found.person("me", "discord-package")?;
    each(bundle, &[entry], options, found, |bytes, file, line, found| {
        let own: Own = match from_json(bytes) {
            Ok(own) => own,
            Err(error) => {
                found.problem(file, line, None, format!("not a message: {}", error.in_its_line()));
                return Ok(());
            }
        };
        let text = own.contents.trim();
        if text.is_empty() {
            let files = scalar(own.attachments.as_ref()).is_ok_and(|files| !files.is_empty());
            let reason = if files { Reason::Media } else { Reason::Empty };
            found.leave_out(reason, file, line);
            return Ok(());
        }
        // Packages have times in UTC without saying it.
        let utc = Options { zone: jiff::tz::TimeZone::UTC, ..options.clone() };
        let used = found.zone_used;
        let time = found.time(own.timestamp.as_deref().unwrap_or_default(), &utc);
        found.zone_used = used;
        found.push(Message {
            conversation,
            from: me,
            id: scalar(Some(&own.id)).ok().map(|id| format!("discord/{id}")),
            time,
            text: text.to_owned(),
            file,
            line,
            ..Message::default()
        })
    })?;
    found.guess = Some((vec![me], "the owner of the package".into()));
    Ok(())
}

//! Which format a file is of, by its content first and its name where that says nothing.

use super::{
    error::{Error, Result},
    formats::{FORMATS, format_named},
    input::{Bundle, Entry, decoded, is_maildir},
    left_out::{Reason, Tally},
    options::Options,
    slack, table, whatsapp,
};

/// A format's name, and the entries of it.
pub(crate) type Group<'b> = (&'static str, Vec<&'b Entry>);

/// The entries of each format, in the order in which the formats occur.
pub(crate) fn groups<'b>(
    bundle: &'b Bundle,
    options: &Options,
    tally: &mut Tally,
) -> Result<Vec<Group<'b>>> {
    let all: Vec<&Entry> = bundle.entries.iter().collect();
    if let Some(name) = &options.from {
        let Some(format) = format_named(name) else {
            let known = names();
            return Err(Error::Option(format!("no format is called {name:?}; there are {known}")));
        };
        return Ok(vec![(format.name, all)]);
    }
    let formats = recognise(bundle)?;
    let mut groups: Vec<Group<'b>> = Vec::new();
    if bundle.entries.is_empty() {
        groups.extend(formats.first().copied().flatten().map(|format| (format, Vec::new())));
    }
    for (entry, format) in all.iter().zip(&formats) {
        match format {
            None => tally.add(Reason::OtherFile, &entry.label, 0),
            Some(format) => match groups.iter_mut().find(|(known, _)| known == format) {
                Some((_, entries)) => entries.push(entry),
                None => groups.push((format, vec![entry])),
            },
        }
    }
    // Lists of an export's other things, beside the export.
    let is_export =
        |name: &str| matches!(name, "chatgpt" | "claude" | "telegram" | "slack" | "discord");
    if bundle.folder.is_none() && groups.iter().any(|(format, _)| is_export(format)) {
        groups.retain(|(format, entries)| {
            let other = matches!(*format, "json" | "csv" | "markdown" | "lamp");
            if other {
                tally.add_many(Reason::OtherFile, &entries[0].label, 0, entries.len() as u64);
            }
            !other
        });
    }
    match groups.is_empty() {
        false => Ok(groups),
        true => Err(Error::Unknown {
            file: bundle.label.clone(),
            reason: match bundle.entries.len() {
                0 => "there is no file in it".into(),
                1 => "neither its content nor its name says".into(),
                count => format!("none of its {count} files is of a known format"),
            },
            formats: names(),
        }),
    }
}

/// The format's name of each entry, or nothing for a file of no known format. A folder or archive
/// that is one thing as a whole gives one name for all.
fn recognise(bundle: &Bundle) -> Result<Vec<Option<&'static str>>> {
    if let Some(folder) = &bundle.folder {
        if folder.join(".git").exists() {
            return Ok(vec![Some("git")]);
        }
        if is_maildir(folder) {
            return Ok(of_all(bundle, "maildir", |entry| {
                let folder = entry.folder().rsplit('/').next().unwrap_or_default();
                matches!(folder, "cur" | "new")
            }));
        }
        if folder.join(".obsidian").is_dir() {
            return Ok(of_all(bundle, "obsidian", is_markdown));
        }
    }
    let has = |name: &str| bundle.entries.iter().any(|entry| entry.name.ends_with(name));
    if bundle.entries.len() > 1 && has("users.json") && (has("channels.json") || has("dms.json")) {
        return Ok(of_all(bundle, "slack", |entry| entry.name.ends_with(".json")));
    }
    let mut formats = Vec::new();
    for entry in &bundle.entries {
        formats.push(of_entry(bundle, entry)?);
    }
    Ok(formats)
}

fn of_all(
    bundle: &Bundle,
    name: &'static str,
    is_part: impl Fn(&Entry) -> bool,
) -> Vec<Option<&'static str>> {
    bundle.entries.iter().map(|entry| is_part(entry).then_some(name)).collect()
}

fn is_markdown(entry: &Entry) -> bool {
    let lower = entry.name.to_lowercase();
    lower.ends_with(".md") || lower.ends_with(".markdown")
}

fn of_entry(bundle: &Bundle, entry: &Entry) -> Result<Option<&'static str>> {
    let head = match bundle.head(entry) {
        // One file of many that cannot be unpacked is a file of another kind.
        Err(Error::File { .. }) if bundle.entries.len() > 1 => return Ok(None),
        other => other?,
    };
    if head.starts_with(b"PAR1") {
        return Ok(Some("parquet"));
    }
    let name = entry.name.to_lowercase();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
    if is_binary(&head) {
        return Ok(None);
    }
    let text = decoded(head);
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().rev().nth(1).is_some_and(|folder| matches!(*folder, "cur" | "new"))
        && looks_like_mail(&text)
    {
        return Ok(Some("maildir"));
    }
    let start = text.trim_start();
    if start.is_empty() && bundle.entries.len() == 1 {
        // Nothing in whatever format: no texts.
        return Ok(Some("json"));
    }
    if text.starts_with("From ") && text.lines().skip(1).take(1).any(is_header) {
        return Ok(Some("mbox"));
    }
    if is_markdown(entry) {
        return Ok(Some("markdown"));
    }
    if start.starts_with(['{', '[']) && text.lines().find_map(whatsapp::begin).is_none() {
        return Ok(of_json(start, &parts));
    }
    if start
        .strip_prefix("commit ")
        .is_some_and(|rest| rest.bytes().take(40).filter(u8::is_ascii_hexdigit).count() == 40)
    {
        return Ok(Some("git"));
    }
    if text.lines().take(20).filter_map(whatsapp::begin).count() > 0 {
        return Ok(Some("whatsapp"));
    }
    if name.ends_with(".tsv") || name.ends_with(".tab") {
        return Ok(Some("tsv"));
    }
    if name.ends_with(".csv") {
        return Ok(Some("csv"));
    }
    if looks_like_mail(&text) {
        return Ok(Some("eml"));
    }
    if start.starts_with("---\n") || start.starts_with("# ") {
        return Ok(Some("markdown"));
    }
    let first = start.lines().next().unwrap_or_default();
    let second = start.lines().nth(1).unwrap_or_default();
    let delimiter = char::from(table::delimiter_of(start));
    let columns = first.matches(delimiter).count();
    if columns > 0 && second.matches(delimiter).count() >= columns && !first.contains(". ") {
        return Ok(Some(if delimiter == '\t' { "tsv" } else { "csv" }));
    }
    Ok(None)
}

/// Zero bytes that are not UTF-16's.
fn is_binary(head: &[u8]) -> bool {
    let zeros = head.iter().take(4096).filter(|byte| **byte == 0).count();
    let is_wide = head.starts_with(b"\xff\xfe")
        || head.starts_with(b"\xfe\xff")
        || zeros * 3 >= head.len().min(4096) && zeros > 0 && head.first() != head.get(1);
    zeros > 0 && !is_wide
        || head.starts_with(b"\x89PNG")
        || head.starts_with(b"\xff\xd8\xff")
        || head.starts_with(b"%PDF")
        || head.starts_with(b"OggS")
}

fn is_header(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// A header of a mail: fields, with an author, a date or a subject among them.
fn looks_like_mail(text: &str) -> bool {
    let header: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).take(200).collect();
    let has = |name: &str| {
        header
            .iter()
            .any(|line| line.get(..name.len()).is_some_and(|l| l.eq_ignore_ascii_case(name)))
    };
    header.first().is_some_and(|line| is_header(line))
        && header.iter().all(|line| is_header(line) || line.starts_with([' ', '\t']))
        && has("From:")
        && (has("Date:") || has("Subject:") || has("Message-ID:") || has("Received:"))
}

/// By the names of fields that only one program writes.
fn of_json(text: &str, path: &[&str]) -> Option<&'static str> {
    let has = |field: &str| {
        let quoted = format!("\"{field}\"");
        text.match_indices(&quoted)
            .any(|(at, _)| text[at + quoted.len()..].trim_start().starts_with(':'))
    };
    let file = path.last().copied().unwrap_or_default();
    if has("mapping") && (has("current_node") || has("conversation_id") || has("create_time")) {
        return Some("chatgpt");
    }
    if has("chat_messages") {
        return Some("claude");
    }
    if has("personal_information") && has("chats")
        || has("messages")
            && has("type")
            && (has("from_id") || has("actor_id") || has("date_unixtime"))
    {
        return Some("telegram");
    }
    if has("exportedAt") || has("dateRange") && has("channel") || has("guild") && has("channel") {
        return Some("discord");
    }
    if has("ID") && has("Timestamp") && has("Contents") {
        return Some("discord");
    }
    // Beside the messages of Discord's packages.
    if path.contains(&"messages") && matches!(file, "channel.json" | "index.json") {
        return Some("discord");
    }
    if has("ts") && has("type") && (has("user") || has("bot_id")) && !has("prompt")
        || slack::LISTS.contains(&file) && path.len() > 1
    {
        return Some("slack");
    }
    if has("profile") && (has("input") || has("query")) || has("golds") {
        return Some("lamp");
    }
    Some("json")
}

/// The names of all formats.
pub(crate) fn names() -> String {
    FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

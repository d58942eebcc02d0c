//! Slack: an export of a workspace, a folder or archive with a folder for each channel and a file
//! for each day.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use spring_numerics::words::from_json;

use super::{
    assistants::each,
    error::Result,
    found::{Found, Kind, Message},
    input::{Bundle, Entry},
    left_out::Reason,
    options::Options,
    reader::Reader,
    time,
};

/// The whole export, or files of days.
pub(crate) struct Slack;

/// Subtypes of what people write; all others are the program's own words.
const WRITTEN: [&str; 5] = ["", "thread_broadcast", "me_message", "file_share", "file_comment"];

#[derive(Debug, Default, Deserialize)]
struct Profile {
    real_name: Option<String>,
    display_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: String,
    name: Option<String>,
    real_name: Option<String>,
    profile: Option<Profile>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    id: Option<String>,
    name: Option<String>,
    #[serde(default)]
    members: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: Option<String>,
    subtype: Option<String>,
    user: Option<String>,
    bot_id: Option<String>,
    #[serde(default)]
    text: String,
    ts: Option<String>,
    thread_ts: Option<String>,
    #[serde(default)]
    files: Vec<Value>,
    user_profile: Option<Profile>,
    #[serde(default)]
    hidden: bool,
}

/// Files of an export that hold no messages.
pub(crate) const LISTS: &[&str] = &[
    "users.json",
    "channels.json",
    "dms.json",
    "groups.json",
    "mpims.json",
    "integration_logs.json",
    "canvases.json",
    "org_users.json",
    "file_conversations.json",
    "huddle_transcripts.json",
    "lists.json",
];

impl Reader for Slack {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let mut names: HashMap<String, String> = HashMap::new();
        let mut titles: HashMap<String, String> = HashMap::new();
        let with = |name: &str| {
            entries.iter().copied().filter(move |e| e.file_name() == name).collect::<Vec<_>>()
        };
        each(bundle, &with("users.json"), options, found, |bytes, file, line, found| {
            match from_json::<User>(bytes) {
                Ok(user) => {
                    let profile = user.profile.unwrap_or_default();
                    let all = [profile.display_name, user.real_name, profile.real_name, user.name];
                    let name = all.into_iter().flatten().find(|name| !name.trim().is_empty());
                    names.insert(user.id, name.unwrap_or_default());
                }
                Err(error) => {
                    found.problem(file, line, None, format!("not a user: {}", error.in_its_line()))
                }
            }
            Ok(())
        })?;
        for list in ["channels.json", "groups.json", "mpims.json", "dms.json"] {
            each(bundle, &with(list), options, found, |bytes, file, line, found| {
                match from_json::<Channel>(bytes) {
                    Ok(channel) => {
                        // A direct message's folder has its id for a name.
                        let key = channel.name.clone().or(channel.id).unwrap_or_default();
                        let people: Vec<&str> = channel
                            .members
                            .iter()
                            .filter_map(|id| names.get(id).map(String::as_str))
                            .collect();
                        let title = match channel.name {
                            Some(name) if list == "channels.json" => format!("#{name}"),
                            _ => people.join(", "),
                        };
                        titles.insert(key, title);
                    }
                    Err(error) => found.problem(
                        file,
                        line,
                        None,
                        format!("not a channel: {}", error.in_its_line()),
                    ),
                }
                Ok(())
            })?;
        }
        for entry in entries.iter().filter(|entry| !LISTS.contains(&entry.file_name())) {
            let folder = entry.folder().rsplit('/').next().unwrap_or_default().to_owned();
            let channel = if folder.is_empty() { bundle.label.clone() } else { folder };
            let title =
                titles.get(&channel).cloned().unwrap_or_else(|| match channel.contains('/') {
                    true => String::new(),
                    false => format!("#{channel}"),
                });
            each(bundle, &[*entry], options, found, |bytes, file, line, found| {
                match from_json::<Raw>(bytes) {
                    Ok(raw) => take(raw, &channel, &title, &names, (file, line), found),
                    Err(error) => {
                        found.problem(
                            file,
                            line,
                            None,
                            format!("not a message: {}", error.in_its_line()),
                        );
                        Ok(())
                    }
                }
            })?;
        }
        Ok(())
    }
}

fn take(
    raw: Raw,
    channel: &str,
    title: &str,
    names: &HashMap<String, String>,
    (file, line): (usize, u64),
    found: &mut Found,
) -> Result<()> {
    let text = plain(&raw.text, names);
    let subtype = raw.subtype.as_deref().unwrap_or_default();
    let reason = if subtype == "tombstone" {
        Some(Reason::Deleted)
    } else if subtype == "bot_message" || (raw.bot_id.is_some() && raw.user.is_none()) {
        Some(Reason::Automatic)
    } else if raw.kind.as_deref() != Some("message") || raw.hidden || !WRITTEN.contains(&subtype) {
        Some(Reason::System)
    } else if text.trim().is_empty() {
        Some(if raw.files.is_empty() { Reason::Empty } else { Reason::Media })
    } else {
        None
    };
    let (Some(ts), Some(user)) = (raw.ts.as_deref(), raw.user.as_deref()) else {
        found.leave_out(reason.unwrap_or(Reason::Automatic), file, line);
        return Ok(());
    };
    if let Some(reason) = reason {
        found.leave_out(reason, file, line);
        return Ok(());
    }
    let profile = raw.user_profile.unwrap_or_default();
    let mut own = [profile.display_name, profile.real_name].into_iter().flatten();
    let own = own.find(|name| !name.trim().is_empty());
    let name = names.get(user).cloned().or(own).unwrap_or_default();
    let from = found.person(&name, user)?;
    // The answers in a thread are a talk of their own.
    let thread = raw.thread_ts.as_deref().unwrap_or_default();
    let is_root = thread.is_empty() || thread == ts;
    let key = if is_root { String::new() } else { thread.to_owned() };
    let known = found.conversations.len();
    let conversation = found.conversation(&format!("slack {channel} {key}"), Kind::Chat, title);
    let opens_thread = !is_root && found.conversations.len() > known;
    let time = ts.parse().ok().and_then(time::of_number);
    found.push(Message {
        conversation,
        from,
        id: Some(format!("slack/{channel}/{ts}")),
        time: time.and_then(|time| time.in_zone(&jiff::tz::TimeZone::UTC)),
        text: text.trim().to_owned(),
        // The message above the thread is what its first answer answers; later ones the one before.
        answers: if opens_thread { vec![format!("slack/{channel}/{thread}")] } else { vec![] },
        file,
        line,
        ..Message::default()
    })
}

/// Slack's marks as text: `<@U1>` is a person, `<#C1|name>` a channel, `<address|words>` a link.
fn plain(text: &str, names: &HashMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(end) = rest.find('>') else {
            out.push('<');
            continue;
        };
        let inner = &rest[..end];
        rest = &rest[end + 1..];
        let (target, words) = inner.split_once('|').unwrap_or((inner, ""));
        match target.chars().next() {
            Some('@') => {
                let name = names.get(&target[1..]).map_or(&target[1..], String::as_str);
                out.push('@');
                out.push_str(if words.is_empty() { name } else { words });
            }
            Some('#') => {
                out.push('#');
                out.push_str(if words.is_empty() { &target[1..] } else { words });
            }
            Some('!') => {
                out.push('@');
                out.push_str(if words.is_empty() { &target[1..] } else { words });
            }
            _ => out.push_str(if words.is_empty() { target } else { words }),
        }
    }
    out.push_str(rest);
    out.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_words() {
        let names = HashMap::from([("U1".to_owned(), "Ada".to_owned())]);
        assert_eq!(
            plain(
                "<@U1> see <#C1|bees>, <https://example.org|here> &amp; <!here> 1 &lt; 2 <",
                &names
            ),
            "@Ada see #bees, here & @here 1 < 2 <"
        );
    }
}

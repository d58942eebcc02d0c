//! Telegram Desktop: "Export chat history" and "Export Telegram data" as JSON, `result.json`.

use serde::Deserialize;
use serde_json::Value;
use spring_numerics::words::from_json;

use super::{
    error::Result,
    found::{Found, Kind, Message},
    input::{Bundle, Entry, file_error},
    left_out::Reason,
    options::Options,
    reader::Reader,
    rows::scalar,
    time,
    whose::shown,
};

/// One chat, or all of an account.
pub(crate) struct Telegram;

#[derive(Debug, Deserialize)]
struct Export {
    personal_information: Option<Owner>,
    chats: Option<Chats>,
    left_chats: Option<Chats>,
    #[serde(flatten)]
    chat: Chat,
}

#[derive(Debug, Deserialize)]
struct Owner {
    user_id: Option<u64>,
    first_name: Option<String>,
    last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Chats {
    #[serde(default)]
    list: Vec<Chat>,
}

#[derive(Debug, Default, Deserialize)]
struct Chat {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<i64>,
    #[serde(default)]
    messages: Vec<Raw>,
}

#[derive(Debug, Deserialize)]
struct Raw {
    id: Option<i64>,
    #[serde(rename = "type", default)]
    kind: String,
    date: Option<String>,
    date_unixtime: Option<Value>,
    from: Option<String>,
    from_id: Option<Value>,
    #[serde(default)]
    text: Value,
    reply_to_message_id: Option<i64>,
    forwarded_from: Option<Value>,
    via_bot: Option<String>,
    photo: Option<Value>,
    file: Option<Value>,
    media_type: Option<String>,
}

impl Reader for Telegram {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        for entry in entries {
            let file = found.file(&entry.label);
            let text = bundle.text(entry)?;
            let export: Export = from_json(text.as_bytes()).map_err(|error| {
                let place = format!("{}:{}", entry.label, error.line);
                file_error(&place, &format!("not an export of Telegram: {}", error.in_its_line()))
            })?;
            let owner = export.personal_information;
            let more = [export.chats, export.left_chats].into_iter().flatten();
            let chats: Vec<Chat> =
                std::iter::once(export.chat).chain(more.flat_map(|chats| chats.list)).collect();
            let only = (chats.iter().filter(|chat| !chat.messages.is_empty()).count() == 1)
                .then(|| chats.iter().find(|chat| !chat.messages.is_empty()))
                .flatten()
                .filter(|chat| chat.kind.as_deref() == Some("personal_chat"))
                .and_then(|chat| chat.name.clone());
            for chat in chats {
                read_chat(chat, file, options, found)?;
            }
            if let Some(owner) = owner {
                let id = owner.user_id.map(|id| format!("user{id}")).unwrap_or_default();
                let names = [owner.first_name, owner.last_name];
                let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
                let person = found.person(&name, &id)?;
                let who = shown(&found.people[person]);
                found.guess = Some((vec![person], format!("{who}, whose account it is")));
            } else if let Some(other) = only {
                // A personal chat has the other one's name.
                let mine: Vec<usize> = (0..found.people.len())
                    .filter(|place| found.people[*place].count > 0)
                    .filter(|place| found.people[*place].name != other)
                    .collect();
                if let [me] = mine[..] {
                    let who = shown(&found.people[me]);
                    found.guess = Some((vec![me], format!("{who}; the chat is with {other}")));
                }
            }
        }
        Ok(())
    }
}

fn read_chat(chat: Chat, file: usize, options: &Options, found: &mut Found) -> Result<()> {
    let title = chat.name.unwrap_or_default();
    let key = chat.id.map_or_else(|| title.clone(), |id| id.to_string());
    let conversation = found.conversation(&format!("telegram {file} {key}"), Kind::Chat, &title);
    let id_of = |id: i64| format!("telegram/{key}/{id}");
    for (place, raw) in (1..).zip(chat.messages) {
        let text = text_of(&raw.text);
        let reason = if raw.kind != "message" {
            Some(Reason::System)
        } else if raw.forwarded_from.is_some() {
            Some(Reason::ForwardedMessage)
        } else if raw.via_bot.is_some() {
            Some(Reason::Automatic)
        } else if text.trim().is_empty() {
            let has_file = raw.photo.is_some() || raw.file.is_some() || raw.media_type.is_some();
            Some(if has_file { Reason::Media } else { Reason::Empty })
        } else {
            None
        };
        if let Some(reason) = reason {
            found.leave_out(reason, file, place);
            continue;
        }
        let id = scalar(raw.from_id.as_ref()).unwrap_or_default();
        let from = match (raw.from.as_deref(), id.as_str()) {
            // The account was deleted.
            (None | Some(""), "") => {
                found.leave_out(Reason::Deleted, file, place);
                continue;
            }
            (name, id) => {
                // Older exports have the number alone.
                let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
                let id = if is_number && !id.is_empty() { format!("user{id}") } else { id.into() };
                found.person(name.unwrap_or_default(), &id)?
            }
        };
        // The date is the clock's time of the computer that exported; the number needs no zone.
        let seconds = scalar(raw.date_unixtime.as_ref()).ok().and_then(|text| text.parse().ok());
        let moment = seconds.and_then(time::of_number);
        let time = match moment {
            Some(moment) => found.moment(moment, options),
            None => found.time(raw.date.as_deref().unwrap_or_default(), options),
        };
        found.push(Message {
            conversation,
            from,
            id: raw.id.map(id_of),
            time,
            text: text.trim().to_owned(),
            answers: raw.reply_to_message_id.map(id_of).into_iter().collect(),
            file,
            line: place,
            ..Message::default()
        })?;
    }
    Ok(())
}

/// A text, or a list of texts and of objects with a text.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str()))
            .collect(),
        _ => String::new(),
    }
}

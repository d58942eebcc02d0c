//! Exports of assistants: ChatGPT's and Claude's `conversations.json`, in which the user's side is
//! learned.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use spring_numerics::words::from_json;

use super::{
    error::{Error, Result},
    found::{Found, Kind, Message},
    input::{Bundle, Entry, file_error},
    left_out::Reason,
    options::Options,
    reader::Reader,
    time,
};
use crate::elements::Elements;

/// ChatGPT: a list of conversations, each a tree of messages, of which one branch was kept.
pub(crate) struct ChatGpt;

/// Claude: a list of conversations with their messages in order.
pub(crate) struct Claude;

impl Reader for ChatGpt {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        each(bundle, entries, options, found, |bytes, file, line, found| {
            match from_json::<GptConversation>(bytes) {
                Ok(conversation) => conversation.read(file, line, found),
                Err(error) => {
                    found.problem(
                        file,
                        line,
                        None,
                        format!("not a conversation: {}", error.in_its_line()),
                    );
                    Ok(())
                }
            }
        })?;
        guess(found);
        Ok(())
    }
}

impl Reader for Claude {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        each(bundle, entries, options, found, |bytes, file, line, found| {
            match from_json::<ClaudeConversation>(bytes) {
                Ok(conversation) => conversation.read(file, line, options, found),
                Err(error) => {
                    found.problem(
                        file,
                        line,
                        None,
                        format!("not a conversation: {}", error.in_its_line()),
                    );
                    Ok(())
                }
            }
        })?;
        guess(found);
        Ok(())
    }
}

fn guess(found: &mut Found) {
    let user = found.people.iter().position(|person| person.address == "user");
    if let Some(user) = user {
        found.guess = Some((vec![user], "the user of the assistant".into()));
    }
}

/// Hands each conversation of each file to `take`.
pub(crate) fn each(
    bundle: &Bundle,
    entries: &[&Entry],
    options: &Options,
    found: &mut Found,
    mut take: impl FnMut(&[u8], usize, u64, &mut Found) -> Result<()>,
) -> Result<()> {
    for entry in entries {
        let file = found.file(&entry.label);
        bundle.read(entry, |reader| {
            let fail = |error: crate::Error| match error {
                _ if (options.stop)() => Error::Stopped,
                crate::Error::Record { file, line, reason, .. } => {
                    Error::File { file: format!("{file}:{line}"), reason }
                }
                other => file_error(&entry.label, &other.to_string()),
            };
            let mut elements = Elements::new(reader, &entry.label).map_err(fail)?;
            while let Some((line, bytes)) = elements.next().map_err(fail)? {
                take(bytes, file, line, found)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct GptConversation {
    title: Option<String>,
    conversation_id: Option<String>,
    id: Option<String>,
    current_node: Option<String>,
    #[serde(default)]
    mapping: BTreeMap<String, GptNode>,
}

#[derive(Debug, Deserialize)]
struct GptNode {
    message: Option<GptMessage>,
    parent: Option<String>,
    #[serde(default)]
    children: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct GptMessage {
    id: Option<String>,
    author: GptAuthor,
    create_time: Option<f64>,
    content: Option<GptContent>,
    recipient: Option<String>,
    #[serde(default)]
    metadata: Value,
}

#[derive(Debug, Deserialize)]
struct GptAuthor {
    role: String,
}

#[derive(Debug, Deserialize)]
struct GptContent {
    content_type: Option<String>,
    #[serde(default)]
    parts: Vec<Value>,
    text: Option<String>,
}

impl GptConversation {
    /// The nodes of the branch that was kept, from the root on.
    fn branch(&self) -> Vec<&GptNode> {
        let is_leaf = |id: &&String| self.mapping[*id].children.is_empty();
        let time = |id: &String| {
            let message = self.mapping[id].message.as_ref();
            message.and_then(|message| message.create_time).unwrap_or(0.0)
        };
        let latest = || {
            let leaves = self.mapping.keys().filter(is_leaf);
            leaves.max_by(|a, b| time(a).total_cmp(&time(b)))
        };
        let named = self.current_node.as_ref().filter(|id| self.mapping.contains_key(*id));
        let (mut branch, mut seen) = (Vec::new(), HashSet::new());
        let mut next = named.or_else(latest);
        while let Some(id) = next {
            // A circle would be no tree.
            if !seen.insert(id) {
                break;
            }
            let Some(node) = self.mapping.get(id) else { break };
            branch.push(node);
            next = node.parent.as_ref();
        }
        branch.reverse();
        branch
    }

    fn read(self, file: usize, line: u64, found: &mut Found) -> Result<()> {
        let title = self.title.clone().unwrap_or_default();
        let key = self
            .conversation_id
            .clone()
            .or(self.id.clone())
            .unwrap_or_else(|| format!("{file}:{line}:{title}"));
        let conversation = found.conversation(&format!("chatgpt {key}"), Kind::Assistant, &title);
        let branch = self.branch();
        let with_words =
            |node: &&GptNode| node.message.as_ref().is_some_and(|m| !m.text().is_empty());
        let all = self.mapping.values().filter(with_words).count();
        let kept = branch.iter().copied().filter(|node| with_words(node)).count();
        let label = found.files.get(file).cloned().unwrap_or_default();
        found.tally.add_many(Reason::OtherVersion, &label, line, all.saturating_sub(kept) as u64);
        for message in branch.into_iter().filter_map(|node| node.message.as_ref()) {
            let role = message.author.role.as_str();
            let flag =
                |name: &str| message.metadata.get(name).and_then(Value::as_bool) == Some(true);
            let kind = message.content.as_ref().and_then(|content| content.content_type.as_deref());
            let text = message.text();
            let reason = match role {
                "system" => Some(Reason::System),
                "tool" => Some(Reason::Tool),
                _ if flag("is_visually_hidden_from_conversation")
                    || flag("is_user_system_message") =>
                {
                    Some(Reason::System)
                }
                _ if kind == Some("user_editable_context")
                    || kind == Some("model_editable_context") =>
                {
                    Some(Reason::System)
                }
                // Calls of tools, and what the model thinks.
                _ if message.recipient.as_deref().is_some_and(|to| to != "all") => {
                    Some(Reason::Tool)
                }
                _ if matches!(
                    kind,
                    Some("code" | "execution_output" | "thoughts" | "reasoning_recap")
                ) =>
                {
                    Some(Reason::Tool)
                }
                _ if text.is_empty() && kind == Some("multimodal_text") => Some(Reason::Media),
                _ if text.is_empty() => Some(Reason::Empty),
                _ => None,
            };
            if let Some(reason) = reason {
                // An empty message of the system opens every conversation.
                if !(role == "system" && text.is_empty()) {
                    found.leave_out(reason, file, line);
                }
                continue;
            }
            let from = found.person("", role)?;
            let time = message.create_time.and_then(time::of_number);
            found.push(Message {
                conversation,
                from,
                // The conversation's too: ids of messages need not differ between conversations.
                id: message.id.as_ref().map(|id| format!("{key}/{id}")),
                time: time.and_then(|time| time.in_zone(&jiff::tz::TimeZone::UTC)),
                text,
                file,
                line,
                ..Message::default()
            })?;
        }
        Ok(())
    }
}

impl GptMessage {
    /// Its words: parts that are text, and what was said into a microphone.
    fn text(&self) -> String {
        let Some(content) = &self.content else { return String::new() };
        let parts = content.parts.iter().filter_map(|part| match part {
            Value::String(text) => Some(text.as_str()),
            Value::Object(part) => match part.get("content_type")?.as_str()? {
                "audio_transcription" | "text" => part.get("text")?.as_str(),
                _ => None,
            },
            _ => None,
        });
        let parts: Vec<&str> = parts.chain(content.text.as_deref()).collect();
        parts.join("\n").trim().to_owned()
    }
}

#[derive(Debug, Deserialize)]
struct ClaudeConversation {
    uuid: Option<String>,
    name: Option<String>,
    #[serde(default)]
    chat_messages: Vec<ClaudeMessage>,
}

#[derive(Debug, Deserialize)]
struct ClaudeMessage {
    uuid: Option<String>,
    sender: String,
    created_at: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    content: Vec<Value>,
    #[serde(default)]
    attachments: Vec<Value>,
    #[serde(default)]
    files: Vec<Value>,
}

impl ClaudeConversation {
    fn read(self, file: usize, line: u64, options: &Options, found: &mut Found) -> Result<()> {
        let title = self.name.unwrap_or_default();
        let key = self.uuid.unwrap_or_else(|| format!("{file}:{line}:{title}"));
        let conversation = found.conversation(&format!("claude {key}"), Kind::Assistant, &title);
        for message in self.chat_messages {
            let attached = message.attachments.len() + message.files.len();
            let label = found.files.get(file).cloned().unwrap_or_default();
            found.tally.add_many(Reason::Attachment, &label, line, attached as u64);
            let mut texts: Vec<&str> = Vec::new();
            for part in &message.content {
                match part.get("type").and_then(Value::as_str) {
                    Some("text") => texts.extend(part.get("text").and_then(Value::as_str)),
                    Some("tool_use" | "tool_result" | "thinking") => {
                        found.leave_out(Reason::Tool, file, line);
                    }
                    _ => {}
                }
            }
            let joined = texts.join("\n");
            // Older exports have the text alone.
            let text = if joined.trim().is_empty() { message.text.trim() } else { joined.trim() };
            if text.is_empty() {
                let reason = if attached > 0 { Reason::Media } else { Reason::Empty };
                found.leave_out(reason, file, line);
                continue;
            }
            let role = if message.sender == "human" { "user" } else { &message.sender };
            let from = found.person("", role)?;
            let when = message.created_at.as_deref().unwrap_or_default();
            let time = found.time(when, options);
            found.push(Message {
                conversation,
                from,
                id: message.uuid.map(|id| format!("{key}/{id}")),
                time,
                text: text.to_owned(),
                file,
                line,
                ..Message::default()
            })?;
        }
        Ok(())
    }
}

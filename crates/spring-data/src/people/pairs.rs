//! From messages to pairs of prompt and response: the answer to the quoted mail or the mail before,
//! the answer to the last turns of a chat, the text to its title.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    error::Result,
    found::{Found, Kind, Message, Pair},
    left_out::Reason,
    options::{Options, PromptFrom},
};

/// What a prompt is made of.
#[derive(Debug, Default)]
struct Parts<'m> {
    /// What is answered; may be empty.
    before: &'m str,
    title: &'m str,
    /// Who wrote what is answered.
    from: &'m str,
    /// To whom the text goes.
    to: &'m str,
}

/// Makes pairs of the messages by `me`, and puts them to those that were found.
pub(crate) fn pair_up(found: &mut Found, me: &[usize], options: &Options) -> Result<()> {
    let messages = std::mem::take(&mut found.messages);
    let mut is_mine = vec![false; found.people.len()];
    me.iter().for_each(|place| is_mine[*place] = true);
    let mut by_conversation: Vec<Vec<usize>> = vec![Vec::new(); found.conversations.len()];
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    for (place, message) in messages.iter().enumerate() {
        by_conversation[message.conversation].push(place);
        if let Some(id) = &message.id {
            by_id.entry(id).or_insert(place);
        }
    }
    let mut pairing = Pairing { found, messages: &messages, by_id, is_mine, options };
    for (conversation, mut places) in by_conversation.into_iter().enumerate() {
        // Mails lie in a box in any order; a file of a chat may be put together from several.
        places.sort_by_key(|place| messages[*place].time);
        match pairing.found.conversations[conversation].kind {
            Kind::Mail => pairing.mails(&places)?,
            Kind::Chat | Kind::Assistant => pairing.chat(conversation, &places)?,
            Kind::Note | Kind::Commit => pairing.notes(conversation, &places)?,
        }
    }
    Ok(())
}

struct Pairing<'p> {
    found: &'p mut Found,
    messages: &'p [Message],
    by_id: HashMap<&'p str, usize>,
    is_mine: Vec<bool>,
    options: &'p Options,
}

impl<'p> Pairing<'p> {
    fn is_mine(&self, message: &Message) -> bool {
        self.is_mine[message.from]
    }

    fn name(&self, message: &Message) -> String {
        let person = &self.found.people[message.from];
        if person.name.is_empty() { person.address.clone() } else { person.name.clone() }
    }

    fn answered(&self, message: &Message) -> Option<&'p Message> {
        let places = message.answers.iter().rev().filter_map(|id| self.by_id.get(id.as_str()));
        places.map(|place| &self.messages[*place]).find(|other| !self.is_mine(other))
    }

    fn mails(&mut self, places: &[usize]) -> Result<()> {
        for (at, place) in places.iter().enumerate() {
            let message = &self.messages[*place];
            if !self.is_mine(message) {
                self.found.leave_out(Reason::Others, message.file, message.line);
                continue;
            }
            let title = message.title.clone().unwrap_or_default();
            // The mail that it names; else the one before in a conversation that the mail program
            // knows.
            let answered = self.answered(message).or_else(|| {
                let mut before = places[..at].iter().rev().map(|place| &self.messages[*place]);
                before.find(|other| !self.is_mine(other) && !other.text.is_empty())
            });
            let from = answered.map_or_else(|| message.to.clone(), |other| self.name(other));
            let before = match (&message.quoted, answered) {
                (Some(quoted), _) => quoted.as_str(),
                (None, Some(other)) => other.text.as_str(),
                (None, None) => "",
            };
            let parts = Parts { before, title: &title, from: &from, to: &message.to };
            let prompt = prompt(Kind::Mail, &parts, self.options);
            self.take(prompt, message, message.text.clone(), message.id.clone())?;
        }
        Ok(())
    }

    fn notes(&mut self, conversation: usize, places: &[usize]) -> Result<()> {
        let kind = self.found.conversations[conversation].kind;
        for place in places {
            let message = &self.messages[*place];
            if !self.is_mine(message) {
                self.found.leave_out(Reason::Others, message.file, message.line);
                continue;
            }
            let title = message.title.as_deref().unwrap_or_default();
            let prompt = prompt(kind, &Parts { title, ..Parts::default() }, self.options);
            self.take(prompt, message, message.text.clone(), message.id.clone())?;
        }
        Ok(())
    }

    fn chat(&mut self, conversation: usize, places: &[usize]) -> Result<()> {
        let kind = self.found.conversations[conversation].kind;
        let title = self.found.conversations[conversation].title.clone();
        let mut others: Vec<usize> = Vec::new();
        for place in places {
            let from = self.messages[*place].from;
            if !self.is_mine[from] && !others.contains(&from) && others.len() < 2 {
                others.push(from);
            }
        }
        let is_group = others.len() > 1;
        let to = match (is_group, others.first()) {
            (false, Some(other)) => self.found.people[*other].name.clone(),
            _ => title.clone(),
        };
        let blocks = self.blocks(places);
        for (at, block) in blocks.iter().enumerate() {
            let first = &self.messages[block[0]];
            if !self.is_mine(first) {
                for place in block {
                    let message = &self.messages[*place];
                    self.found.leave_out(Reason::Others, message.file, message.line);
                }
                continue;
            }
            let turns = self.turns_before(&blocks, at);
            let (before, from) = match (self.answered(first), turns.is_empty()) {
                // An answer to a message that it names, which need not be the last one.
                (Some(other), _) => (other.text.clone(), self.name(other)),
                (None, true) => (String::new(), String::new()),
                (None, false) => {
                    let last = &self.messages[*turns.last().and_then(|b| b.last()).unwrap_or(&0)];
                    let with_names = is_group || turns.len() > 1;
                    (self.told(&turns, with_names), self.name(last))
                }
            };
            let texts: Vec<&str> =
                block.iter().map(|place| self.messages[*place].text.trim()).collect();
            let response = texts.join("\n");
            let parts = Parts { before: &before, title: &title, from: &from, to: &to };
            let prompt = prompt(kind, &parts, self.options);
            // A message may join later ones when it is exported again: then the text is another.
            let id = if block.len() == 1 { first.id.clone() } else { None };
            self.take(prompt, first, response, id)?;
        }
        Ok(())
    }

    /// Messages of one side that follow each other within the time to join.
    fn blocks(&self, places: &[usize]) -> Vec<Vec<usize>> {
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        for place in places {
            let message = &self.messages[*place];
            let joins = blocks.last().and_then(|block| block.last()).is_some_and(|last| {
                let last = &self.messages[*last];
                self.is_mine(last) == self.is_mine(message)
                    && within(last.time, message.time, self.options.join_within)
            });
            match blocks.last_mut() {
                Some(block) if joins => block.push(*place),
                _ => blocks.push(vec![*place]),
            }
        }
        blocks
    }

    /// The blocks that come before a block of the person's and belong to the same talk; none if the
    /// last word was the person's own.
    fn turns_before<'b>(&self, blocks: &'b [Vec<usize>], at: usize) -> Vec<&'b [usize]> {
        let mut turns: Vec<&[usize]> = Vec::new();
        let mut next = &self.messages[blocks[at][0]];
        for block in blocks[..at].iter().rev().take(self.options.turns.max(1)) {
            let (first, last) = (block[0], block[block.len() - 1]);
            let last = &self.messages[last];
            let opens = turns.is_empty() && self.is_mine(last);
            if opens || !within(last.time, next.time, self.options.answer_within) {
                break;
            }
            turns.insert(0, block);
            next = &self.messages[first];
        }
        turns
    }

    /// Turns as text, with the names of those who speak where there are several.
    fn told(&self, turns: &[&[usize]], with_names: bool) -> String {
        let messages = turns.iter().flat_map(|block| block.iter());
        let lines: Vec<String> = messages
            .map(|place| {
                let message = &self.messages[*place];
                match with_names {
                    true => format!("{}: {}", self.name(message), message.text.trim()),
                    false => message.text.trim().to_owned(),
                }
            })
            .collect();
        lines.join("\n")
    }

    fn take(
        &mut self,
        prompt: Option<String>,
        message: &Message,
        response: String,
        id: Option<String>,
    ) -> Result<()> {
        let (file, line) = (message.file, message.line);
        match prompt {
            _ if response.trim().is_empty() => self.found.leave_out(Reason::Empty, file, line),
            None => self.found.leave_out(Reason::NoPrompt, file, line),
            Some(prompt) => {
                let response = response.trim().to_owned();
                let time = message.time;
                let pair = Pair { user: None, id, time, prompt, response, meta: None, file, line };
                self.found.push_pair(pair)?;
            }
        }
        Ok(())
    }
}

fn within(from: Option<Timestamp>, to: Option<Timestamp>, limit: SignedDuration) -> bool {
    match (from, to) {
        (Some(from), Some(to)) => to.duration_since(from).abs() <= limit,
        _ => true,
    }
}

/// The prompt of a text; `None` where there is nothing to make one of.
fn prompt(kind: Kind, parts: &Parts<'_>, options: &Options) -> Option<String> {
    let before = match options.prompt_from {
        PromptFrom::Title => "",
        _ => parts.before.trim(),
    };
    let with_title =
        options.prompt_from != PromptFrom::Before || matches!(kind, Kind::Note | Kind::Commit);
    let title = parts.title;
    if before.is_empty() && (!with_title || (title.is_empty() && parts.to.is_empty())) {
        return None;
    }
    if let Some(template) = &options.template {
        let filled = fill(template, &Parts { before, ..*parts });
        return (!filled.trim().is_empty()).then_some(filled);
    }
    let named = |word: &str, name: &str| match name {
        "" => String::new(),
        name => format!(" {word} {name}"),
    };
    let subject = if title.is_empty() { String::new() } else { format!(" (subject: {title})") };
    Some(match (kind, before) {
        (Kind::Mail, "") => format!("Write a mail{}{subject}.", named("to", parts.to)),
        (Kind::Mail, before) => {
            format!("Reply to this mail{}{subject}:\n\n{before}", named("from", parts.from))
        }
        (Kind::Chat, "") => format!("Write a message{}.", named("to", parts.to)),
        (Kind::Assistant, "") => format!("Write to an assistant about: {title}"),
        (Kind::Chat | Kind::Assistant, before) => before.to_owned(),
        (Kind::Note, _) => format!("Write a note with the title: {title}"),
        (Kind::Commit, _) => format!("Describe a commit with the subject: {title}"),
    })
}

/// A template with its placeholders replaced, each once: what is put in is not looked at again.
fn fill(template: &str, parts: &Parts<'_>) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [
            ("{before}", parts.before),
            ("{title}", parts.title),
            ("{from}", parts.from),
            ("{to}", parts.to),
        ];
        match known.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

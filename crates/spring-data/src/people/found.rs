//! What the readers of all formats give: messages with their authors, or pairs of prompt and
//! response.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    error::{Error, Problem, Result},
    left_out::{Reason, Tally},
    options::Options,
    time,
};

/// The most texts that are held at once, and the most bytes of them.
const MOST_TEXTS: usize = 5_000_000;
const MOST_BYTES: usize = 2 << 30;

/// The longest prompt and the longest response, in bytes.
pub(crate) const LONGEST_TEXT: usize = 256 << 10;

/// Problems that are kept for the message.
const MOST_PROBLEMS: usize = 20;

/// People of one file.
const MOST_PEOPLE: usize = 200_000;

/// What a conversation is: it says what an answer's prompt looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mail,
    Chat,
    Assistant,
    Note,
    Commit,
}

/// Somebody who writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Person {
    pub(crate) name: String,
    /// A mail address or the program's id; may be empty.
    pub(crate) address: String,
    /// Messages by this person.
    pub(crate) count: u64,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) kind: Kind,
    /// The subject, title, or name of the chat; may be empty.
    pub(crate) title: String,
}

#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) conversation: usize,
    /// Its author, as a place in the list of people.
    pub(crate) from: usize,
    pub(crate) id: Option<String>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) text: String,
    /// Text that it quotes.
    pub(crate) quoted: Option<String>,
    /// Who wrote what it quotes, or to whom it goes.
    pub(crate) to: String,
    /// Its own title, where that differs from the conversation's.
    pub(crate) title: Option<String>,
    /// Ids of what it answers, the nearest last.
    pub(crate) answers: Vec<String>,
    pub(crate) file: usize,
    pub(crate) line: u64,
}

/// A prompt with its response.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) user: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) prompt: String,
    pub(crate) response: String,
    pub(crate) meta: Option<Value>,
    pub(crate) file: usize,
    pub(crate) line: u64,
}

/// All that the readers found in one argument.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) files: Vec<String>,
    pub(crate) people: Vec<Person>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) messages: Vec<Message>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) tally: Tally,
    pub(crate) problems: Vec<Problem>,
    pub(crate) problem_count: u64,
    /// What the program should tell of how it read.
    pub(crate) notes: Vec<String>,
    /// Who the readers think the person is, and why.
    pub(crate) guess: Option<(Vec<usize>, String)>,
    /// Everything is the person's own, whoever that is.
    pub(crate) all_mine: bool,
    /// A time without a zone was read.
    pub(crate) zone_used: bool,
    people_by_key: HashMap<String, usize>,
    conversations_by_key: HashMap<String, usize>,
    bytes: usize,
}

impl Found {
    /// Nothing yet, but what was left out before.
    pub(crate) fn with_tally(tally: Tally) -> Self {
        Self { tally, ..Self::default() }
    }

    /// The place of a file in the list of files.
    pub(crate) fn file(&mut self, label: &str) -> usize {
        if self.files.last().is_none_or(|last| last != label) {
            self.files.push(label.to_owned());
        }
        self.files.len() - 1
    }

    fn last_file(&self) -> &str {
        self.files.last().map_or("", String::as_str)
    }

    /// The place of a person, by address where there is one, else by name.
    pub(crate) fn person(&mut self, name: &str, address: &str) -> Result<usize> {
        let (name, address) = (name.trim(), address.trim());
        let key = if address.is_empty() { name } else { address }.to_lowercase();
        if let Some(place) = self.people_by_key.get(&key) {
            let known = &mut self.people[*place];
            if known.name.is_empty() {
                name.clone_into(&mut known.name);
            }
            return Ok(*place);
        }
        if self.people.len() == MOST_PEOPLE {
            let reason = format!("more than {MOST_PEOPLE} people");
            return Err(Error::File { file: self.last_file().to_owned(), reason });
        }
        let (name, address) = (cut(name, 200), cut(address, 200));
        self.people.push(Person { name, address, count: 0 });
        self.people_by_key.insert(key, self.people.len() - 1);
        Ok(self.people.len() - 1)
    }

    /// The conversation with this key, made if there is none.
    pub(crate) fn conversation(&mut self, key: &str, kind: Kind, title: &str) -> usize {
        if let Some(place) = self.conversations_by_key.get(key) {
            return *place;
        }
        self.conversations.push(Conversation { kind, title: one_line(title) });
        let place = self.conversations.len() - 1;
        self.conversations_by_key.insert(key.to_owned(), place);
        place
    }

    fn make_room(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        let texts = self.messages.len() + self.pairs.len();
        if texts >= MOST_TEXTS || self.bytes > MOST_BYTES {
            let reason = format!(
                "more than {MOST_TEXTS} texts or {} GiB of them: take it apart first",
                MOST_BYTES >> 30
            );
            return Err(Error::File { file: self.last_file().to_owned(), reason });
        }
        Ok(())
    }

    /// Takes a message.
    pub(crate) fn push(&mut self, message: Message) -> Result<()> {
        let quoted = message.quoted.as_ref().map_or(0, String::len);
        self.make_room(message.text.len() + quoted)?;
        self.people[message.from].count += 1;
        self.messages.push(message);
        Ok(())
    }

    /// Takes a pair.
    pub(crate) fn push_pair(&mut self, pair: Pair) -> Result<()> {
        self.make_room(pair.prompt.len() + pair.response.len())?;
        self.pairs.push(pair);
        Ok(())
    }

    /// Counts something as left out.
    pub(crate) fn leave_out(&mut self, reason: Reason, file: usize, line: u64) {
        let label = self.files.get(file).map_or("", String::as_str);
        self.tally.add(reason, label, line);
    }

    /// Keeps a record that cannot be read.
    pub(crate) fn problem(
        &mut self,
        file: usize,
        line: u64,
        field: Option<&str>,
        reason: impl Into<String>,
    ) {
        self.problem_count += 1;
        let label = self.files.get(file).cloned().unwrap_or_default();
        self.tally.add(Reason::Unreadable, &label, line);
        if self.problems.len() < MOST_PROBLEMS {
            let (field, reason) = (field.map(str::to_owned), reason.into());
            self.problems.push(Problem { file: label, line, field, reason });
        }
    }

    /// A time of a file, in the zone of the options where it names none.
    pub(crate) fn time(&mut self, text: &str, options: &Options) -> Option<Timestamp> {
        self.moment(time::parse(text, options.date_order)?, options)
    }

    /// The point in time that a moment is.
    pub(crate) fn moment(&mut self, moment: time::Moment, options: &Options) -> Option<Timestamp> {
        self.zone_used |= matches!(moment, time::Moment::Local(_));
        moment.in_zone(&options.zone)
    }

    /// Tells something once.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// White space, line breaks among it, as single spaces; at most 300 characters.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    cut(&line, 300)
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

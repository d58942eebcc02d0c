//! What was left out of a file, counted by its reason.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Why something is not learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Quoted text of somebody else within a mail.
    Quoted,
    /// What stands behind the signature's delimiter.
    Signature,
    /// A forwarded mail within a mail.
    Forwarded,
    /// An attachment.
    Attachment,
    /// The footer of a mailing list.
    ListFooter,
    /// An HTML part beside the same in plain text.
    HtmlPart,
    /// A message that the program itself wrote.
    System,
    /// A message of a program: a bot, an automatic reply.
    Automatic,
    /// A picture, recording, sticker or file without words.
    Media,
    /// A message that was deleted.
    Deleted,
    /// A draft.
    Draft,
    /// A mail in the spam or the trash.
    Discarded,
    /// A message that somebody else wrote first.
    ForwardedMessage,
    /// A version of a message that was replaced.
    OtherVersion,
    /// A call of a tool or its result.
    Tool,
    /// There are no words of the person's own.
    Empty,
    /// Nothing before it that it could answer, and no title.
    NoPrompt,
    /// A commit with a subject alone.
    NoBody,
    /// A merge.
    Merge,
    /// It has no time that can be read.
    NoTime,
    /// The same text under the same id again.
    Again,
    /// Another text under an id that came before.
    SameId,
    /// A text beyond the limit of 256 KiB.
    TooLong,
    /// A record that cannot be read.
    Unreadable,
    /// A field that is missing or odd.
    Odd,
    /// Another person's text.
    Others,
    /// A file that is of no known format, or has nothing for this one.
    OtherFile,
    /// A link within a folder.
    Link,
}

impl Reason {
    /// The reason in words, with what is counted.
    pub fn text(self) -> &'static str {
        match self {
            Self::Quoted => "quoted text within mails, which the prompts are made of",
            Self::Signature => "signatures",
            Self::Forwarded => "forwarded mails within mails",
            Self::Attachment => "attachments",
            Self::ListFooter => "footers of mailing lists",
            Self::HtmlPart => "HTML beside the same in plain text",
            Self::System => "system messages",
            Self::Automatic => "messages of bots and automatic replies",
            Self::Media => "pictures, recordings and files without words",
            Self::Deleted => "deleted messages",
            Self::Draft => "drafts",
            Self::Discarded => "mails in spam or trash",
            Self::ForwardedMessage => "forwarded messages",
            Self::OtherVersion => "replaced versions of messages",
            Self::Tool => "calls of tools and their results",
            Self::Empty => "texts without words of the person's own",
            Self::NoPrompt => "texts with nothing before them to answer",
            Self::NoBody => "commits with a subject alone",
            Self::Merge => "merges",
            Self::NoTime => "texts without a readable time",
            Self::Again => "texts that come again",
            Self::SameId => "other texts under an id that came before",
            Self::TooLong => "texts longer than 256 KiB",
            Self::Unreadable => "records that cannot be read",
            Self::Odd => "entries with a missing or odd field",
            Self::Others => "texts of others",
            Self::OtherFile => "files of other kinds",
            Self::Link => "links in folders, which are not followed",
        }
    }

    /// Whether it is about a part of a text that is learned otherwise.
    pub fn is_part(self) -> bool {
        matches!(
            self,
            Self::Quoted
                | Self::Signature
                | Self::Forwarded
                | Self::Attachment
                | Self::ListFooter
                | Self::HtmlPart
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

/// How often something was left out for one reason, and where first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Why.
    pub reason: Reason,
    /// How often.
    pub count: u64,
    /// The file of the first.
    pub file: String,
    /// The line of the first, from 1; 0 where it is the file as a whole.
    pub line: u64,
}

/// The counts of a reading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(BTreeMap<Reason, LeftOut>);

impl Tally {
    pub(crate) fn add(&mut self, reason: Reason, file: &str, line: u64) {
        self.add_many(reason, file, line, 1);
    }

    pub(crate) fn add_many(&mut self, reason: Reason, file: &str, line: u64, count: u64) {
        if count > 0 {
            self.0
                .entry(reason)
                .or_insert_with(|| LeftOut { reason, count: 0, file: file.to_owned(), line })
                .count += count;
        }
    }

    pub(crate) fn into_list(self) -> Vec<LeftOut> {
        self.0.into_values().collect()
    }
}

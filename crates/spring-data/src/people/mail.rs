//! Mails: mbox files, Maildir folders, single messages.
//!
//! RFC 5322 and MIME by mail-parser; its dates are not used, which are missing without seconds and
//! wrong for zones such as CEST.

use mail_parser::{Address, Message as Mail, MessageParser, MessagePart, MimeHeaders, PartType};

use super::{
    error::{Error, Result},
    found::{Found, Kind, Message, one_line},
    input::{Bundle, Entry, file_error, read_line, unix_lines},
    left_out::Reason,
    options::Options,
    quoted,
    reader::Reader,
};

/// As much of a mail as is read; text comes before attachments.
const LONGEST: usize = 16 << 20;

/// The longest text of a mail that is looked through.
const LONGEST_TEXT: usize = 1 << 20;

/// The most names of a mail in References.
const MOST_ANSWERED: usize = 100;

/// An mbox file: mails behind lines that begin with "From ", as Gmail's Takeout, Thunderbird and
/// Apple Mail write them (RFC 4155; `>From ` is unquoted as in mboxrd).
pub(crate) struct Mbox;

/// A Maildir folder: a file for each mail in `cur` and `new`, with flags in its name.
pub(crate) struct Maildir;

/// One mail in a file.
pub(crate) struct Eml;

impl Reader for Mbox {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let mut mails = Mails::default();
        for entry in entries {
            let file = found.file(&entry.label);
            let is_sent = is_sent_folder(&entry.name);
            bundle.read(entry, |reader| {
                let (mut line, mut mail) = (Vec::new(), Vec::new());
                let (mut number, mut begin, mut after_blank) = (0_u64, 0_u64, true);
                loop {
                    let more = read_line(reader, &mut line, LONGEST);
                    let more = more.map_err(|error| match (options.stop)() {
                        true => Error::Stopped,
                        false => file_error(&entry.label, &error.to_string()),
                    })?;
                    number += 1;
                    let begins = more && after_blank && line.starts_with(b"From ");
                    if (begins || !more) && begin > 0 {
                        mails.add(&mail, &Place { file, line: begin, is_sent }, options, found)?;
                        mail.clear();
                    }
                    if !more {
                        return Ok(());
                    }
                    after_blank = matches!(line.as_slice(), b"\n" | b"\r\n");
                    if begins {
                        begin = number;
                        continue;
                    }
                    let quoted = line.iter().take_while(|byte| **byte == b'>').count();
                    let from = quoted > 0 && line[quoted..].starts_with(b"From ");
                    let line = &line[usize::from(from)..];
                    if begin > 0 && mail.len() + line.len() <= LONGEST {
                        mail.extend_from_slice(line);
                    }
                }
            })?;
        }
        mails.guess(found);
        Ok(())
    }
}

impl Reader for Maildir {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let mut mails = Mails::default();
        for entry in entries {
            let file = found.file(&entry.label);
            // "…:2,DS" ends in the flags of the mail.
            let flags = entry.file_name().rsplit_once("2,").map_or("", |(_, flags)| flags);
            if flags.contains('D') {
                found.leave_out(Reason::Draft, file, 0);
            } else if flags.contains('T') {
                found.leave_out(Reason::Discarded, file, 0);
            } else {
                let is_sent = is_sent_folder(&entry.label);
                mails.add(
                    &bundle.bytes(entry)?,
                    &Place { file, line: 1, is_sent },
                    options,
                    found,
                )?;
            }
        }
        mails.guess(found);
        Ok(())
    }
}

impl Reader for Eml {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let mut mails = Mails::default();
        for entry in entries {
            let file = found.file(&entry.label);
            let is_sent = is_sent_folder(&entry.label);
            mails.add(&bundle.bytes(entry)?, &Place { file, line: 1, is_sent }, options, found)?;
        }
        mails.guess(found);
        Ok(())
    }
}

/// Where a mail stands.
struct Place {
    file: usize,
    line: u64,
    is_sent: bool,
}

/// What all mails together tell of whose they are.
#[derive(Default)]
struct Mails {
    /// Authors of mails that were sent from this box, with their number.
    senders: Vec<(usize, u64)>,
    /// Addresses to which mails of this box were delivered.
    delivered: Vec<(String, u64)>,
}

impl Mails {
    fn add(
        &mut self,
        bytes: &[u8],
        place: &Place,
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        if (options.stop)() {
            return Err(Error::Stopped);
        }
        let Place { file, line, is_sent } = *place;
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        let Some(mail) = MessageParser::default().parse(bytes) else {
            found.problem(file, line, None, "not a mail: it has no header");
            return Ok(());
        };
        let field = |name: &'static str| mail.header_raw(name).map(str::trim).unwrap_or_default();
        let labels = field("X-Gmail-Labels").to_lowercase();
        let labelled = |names: &[&str]| {
            labels.split(',').any(|label| names.contains(&label.trim().trim_matches('"')))
        };
        let mozilla = u32::from_str_radix(field("X-Mozilla-Status"), 16).unwrap_or(0);
        if labelled(&["drafts", "draft", "entwürfe", "brouillons", "borradores"])
            || !field("X-Mozilla-Draft-Info").is_empty()
                && mozilla == 0
                && field("Message-ID").is_empty()
        {
            found.leave_out(Reason::Draft, file, line);
            return Ok(());
        }
        if labelled(&["spam", "trash", "bin", "papierkorb", "corbeille"]) || mozilla & 0x8 != 0 {
            found.leave_out(Reason::Discarded, file, line);
            return Ok(());
        }
        let automatic = field("Auto-Submitted").to_lowercase();
        if !automatic.is_empty() && automatic != "no" || field("X-Autoreply") == "yes" {
            found.leave_out(Reason::Automatic, file, line);
            return Ok(());
        }
        let (name, address) = first_address(mail.from());
        if address.is_empty() && name.is_empty() {
            found.problem(file, line, Some("From"), "nobody is named there");
            return Ok(());
        }
        let from = found.person(&name, &address)?;
        let delivered = field("Delivered-To").to_lowercase();
        if !delivered.is_empty() {
            count(&mut self.delivered, delivered);
        }
        if is_sent || labelled(&["sent", "gesendet", "messages envoyés", "enviados"]) {
            count(&mut self.senders, from);
        }
        let text = own_text(&mail, file, line, found);
        let body = quoted::split(&text);
        for (is_there, reason) in [
            (body.quoted.is_some(), Reason::Quoted),
            (body.signature, Reason::Signature),
            (body.forwarded, Reason::Forwarded),
            (body.list_footer, Reason::ListFooter),
        ] {
            if is_there {
                found.leave_out(reason, file, line);
            }
        }
        let date = field("Date").to_owned();
        let received = field("Received").rsplit(';').next().unwrap_or_default().to_owned();
        let time = found.time(&date, options).or_else(|| found.time(&received, options));
        let mut answers: Vec<String> = Vec::new();
        for header in [mail.references(), mail.in_reply_to()] {
            let ids = header.as_text_list().unwrap_or_default();
            answers.extend(ids.iter().take(MOST_ANSWERED).map(|id| id.to_string()));
        }
        let (to, to_address) = first_address(mail.to());
        let thread = match field("X-GM-THRID") {
            "" => answers.first().cloned().or_else(|| mail.message_id().map(str::to_owned)),
            thread => Some(thread.to_owned()),
        };
        let key = thread.unwrap_or_else(|| format!("{file}:{line}"));
        let conversation = found.conversation(&format!("mail {key}"), Kind::Mail, "");
        found.push(Message {
            conversation,
            from,
            id: mail.message_id().map(str::to_owned),
            time,
            text: body.own,
            quoted: body.quoted,
            to: one_line(if to.is_empty() { &to_address } else { &to }),
            title: Some(subject(mail.subject().unwrap_or_default())),
            answers,
            file,
            line,
        })
    }

    /// The author of the sent mails; else who gets what is delivered here.
    fn guess(&self, found: &mut Found) {
        let sender = self.senders.iter().max_by_key(|(_, count)| *count);
        let all: u64 = self.senders.iter().map(|(_, count)| count).sum();
        if let Some((person, count)) = sender.filter(|(_, count)| count * 10 >= all * 8) {
            let who = super::whose::shown(&found.people[*person]);
            let why = format!("{who}, the author of {count} of {all} sent mails");
            found.guess = Some((vec![*person], why));
            return;
        }
        let receiver = self.delivered.iter().max_by_key(|(_, count)| *count);
        let person = receiver.and_then(|(address, _)| {
            found.people.iter().position(|person| person.address.to_lowercase() == *address)
        });
        if let Some(person) = person {
            let who = super::whose::shown(&found.people[person]);
            found.guess = Some((vec![person], format!("{who}, to whom the mails were delivered")));
        }
    }
}

fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, item: T) {
    // More would be no box of one person.
    const MOST: usize = 1000;
    let place = counts.iter().position(|(known, _)| *known == item);
    match place {
        Some(place) => counts[place].1 += 1,
        None if counts.len() < MOST => counts.push((item, 1)),
        None => {}
    }
}

/// Whether a path is that of a folder with sent mails.
fn is_sent_folder(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut parts = lower.rsplit(['/', '\\']).take(3);
    let names = ["sent", "gesendet", "envoy", "enviad", "inviat", "verzonden", "skickat"];
    parts.any(|part| names.iter().any(|name| part.trim_start_matches('.').starts_with(name)))
}

fn first_address(address: Option<&Address<'_>>) -> (String, String) {
    let first = address.and_then(Address::first);
    let name = first.and_then(|address| address.name()).unwrap_or_default();
    let address = first.and_then(|address| address.address()).unwrap_or_default();
    (one_line(name), one_line(address))
}

/// A subject without the marks of answers and forwarded mails.
fn subject(subject: &str) -> String {
    let mut subject = subject.trim();
    let marks =
        ["re", "aw", "antw", "sv", "vs", "ref", "rif", "res", "fw", "fwd", "wg", "tr", "rv", "enc"];
    while let Some((mark, rest)) = subject.split_once(':') {
        // "Re[2]" is a second answer.
        let mark = mark.split('[').next().unwrap_or_default().trim().to_lowercase();
        if !marks.contains(&mark.as_str()) {
            break;
        }
        subject = rest.trim_start();
    }
    one_line(subject)
}

/// The text of a mail: its plain text, else its HTML as text. Everything else is counted.
fn own_text(mail: &Mail<'_>, file: usize, line: u64, found: &mut Found) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut bodies: Vec<u32> = mail.text_body.clone();
    if bodies.is_empty() {
        bodies.clone_from(&mail.html_body);
    }
    let part = |id: &u32| mail.parts.get(*id as usize);
    let is_file = |part: &MessagePart<'_>| {
        part.attachment_name().is_some()
            || part.content_disposition().is_some_and(|kind| kind.is_attachment())
    };
    let is_text =
        |part: &MessagePart<'_>| matches!(part.body, PartType::Text(_) | PartType::Html(_));
    let mut attachments = 0;
    // Of a mail that is cut off, mail-parser takes the last text for an attachment.
    for id in &mail.attachments {
        match part(id) {
            Some(text) if bodies.is_empty() && is_text(text) && !is_file(text) => bodies.push(*id),
            Some(_) => attachments += 1,
            None => {}
        }
    }
    for _ in 0..attachments {
        found.leave_out(Reason::Attachment, file, line);
    }
    let has_plain =
        bodies.iter().filter_map(part).any(|part| matches!(part.body, PartType::Text(_)));
    if has_plain
        && mail.html_body.iter().filter_map(part).any(|part| matches!(part.body, PartType::Html(_)))
    {
        found.leave_out(Reason::HtmlPart, file, line);
    }
    for part in bodies.iter().filter_map(part).filter(|part| !is_file(part)) {
        let text = match &part.body {
            PartType::Text(text) => {
                let text = match part.is_encoding_problem {
                    true => repaired(mail, part).unwrap_or_else(|| text.to_string()),
                    false => text.to_string(),
                };
                let kind = part.content_type();
                let attribute = |name: &str| kind.and_then(|kind| kind.attribute(name));
                let is = |name: &str, wanted: &str| {
                    attribute(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
                };
                let text = unix_lines(text);
                if is("format", "flowed") {
                    quoted::unflowed(&text, is("delsp", "yes"))
                } else {
                    text
                }
            }
            PartType::Html(html) if !has_plain => text_of_html(html),
            _ => continue,
        };
        texts.push(cut(&text).to_owned());
    }
    texts.join("\n\n")
}

/// Quotations keep their marks, so that they are parted as in plain text.
fn text_of_html(html: &str) -> String {
    // Lines are as long as their paragraphs: what breaks them is the mail program, not the person.
    const WIDTH: usize = 100_000;
    let config = html2text::config::plain_no_decorate()
        .no_link_wrapping()
        .allow_width_overflow()
        .no_table_borders()
        .empty_img_mode(html2text::config::ImageRenderMode::IgnoreEmpty);
    let text = config.string_from_read(cut(html).as_bytes(), WIDTH).unwrap_or_default();
    // A rule would be as long as the width.
    let is_rule = |line: &&str| line.len() > 300 && !line.contains(char::is_alphanumeric);
    let lines: Vec<&str> = text.lines().filter(|line| !is_rule(line)).collect();
    lines.join("\n").replace('\u{a0}', " ")
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT.min(text.len()))]
}

/// The text of a base64 part with other lines behind it, as mailing lists add them: mail-parser
/// leaves that as it is.
fn repaired(mail: &Mail<'_>, part: &MessagePart<'_>) -> Option<String> {
    let raw = mail.raw_message.get(part.offset_body as usize..part.offset_end as usize)?;
    let is_code = |line: &&[u8]| {
        !line.is_empty()
            && line.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
    };
    let lines = raw.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let code: Vec<u8> = lines.take_while(is_code).flatten().copied().collect();
    if code.is_empty() {
        return None;
    }
    let bytes = mail_parser::decoders::base64::base64_decode(&code)?;
    let charset = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or("utf-8");
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes())?;
    Some(encoding.decode(&bytes).0.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_answers_are_no_part_of_a_subject() {
        for (given, kept) in [
            ("Re: AW: Fwd: Kitchen", "Kitchen"),
            ("RE[2]: Roof: two", "Roof: two"),
            ("Note: later", "Note: later"),
        ] {
            assert_eq!(subject(given), kept);
        }
    }

    #[test]
    fn html_keeps_its_quotations() {
        let html = "<p>Yes&nbsp;please.</p><div class=\"gmail_quote\"><div>On Mon, 8 Jan 2024 Ada \
                    wrote:</div><blockquote>Tea?</blockquote></div>";
        let body = quoted::split(&text_of_html(html));
        assert_eq!((body.own.as_str(), body.quoted.as_deref()), ("Yes please.", Some("Tea?")));
    }
}

//! WhatsApp: "Export chat" writes a text file, whose dates are as the telephone shows them.

use super::{
    error::Result,
    found::{Found, Kind, Message},
    input::{Bundle, Entry},
    left_out::Reason,
    options::Options,
    reader::Reader,
    time::{self, Parts},
    whose::shown,
};

/// A chat: `date, time - name: text` on Android, `[date, time] name: text` on the iPhone; lines
/// without a date go on with the message before.
pub(crate) struct WhatsApp;

/// What stands for a file that was not exported, in the languages of most users.
const MEDIA: &[&str] = &[
    "<media omitted>",
    "image omitted",
    "video omitted",
    "audio omitted",
    "sticker omitted",
    "gif omitted",
    "document omitted",
    "contact card omitted",
    "video note omitted",
    "<medien ausgeschlossen>",
    "bild weggelassen",
    "video weggelassen",
    "audio weggelassen",
    "sticker weggelassen",
    "gif weggelassen",
    "dokument weggelassen",
    "<médias omis>",
    "<médias exclus>",
    "image absente",
    "vidéo absente",
    "audio omis",
    "<multimedia omitido>",
    "imagen omitida",
    "video omitido",
    "audio omitido",
    "sticker omitido",
    "<mídia oculta>",
    "<arquivo de mídia oculto>",
    "imagem ocultada",
    "vídeo omitido",
    "áudio ocultado",
    "<media omessi>",
    "immagine omessa",
    "video omesso",
    "audio omesso",
    "<media weggelaten>",
    "afbeelding weggelaten",
    "<без медиафайлов>",
];

const DELETED: &[&str] = &[
    "this message was deleted",
    "you deleted this message",
    "diese nachricht wurde gelöscht",
    "du hast diese nachricht gelöscht",
    "ce message a été supprimé",
    "vous avez supprimé ce message",
    "se eliminó este mensaje",
    "eliminaste este mensaje",
    "mensagem apagada",
    "essa mensagem foi apagada",
    "questo messaggio è stato eliminato",
    "hai eliminato questo messaggio",
    "dit bericht is verwijderd",
    "je hebt dit bericht verwijderd",
];

/// Messages that the program writes in a person's name.
const SYSTEM: &[&str] = &[
    "messages and calls are end-to-end encrypted",
    "messages to this chat and calls are now secured",
    "nachrichten und anrufe sind ende-zu-ende-verschlüsselt",
    "les messages et les appels sont chiffrés de bout en bout",
    "los mensajes y las llamadas están cifrados de extremo a extremo",
    "as mensagens e as ligações são protegidas",
    "i messaggi e le chiamate sono crittografati end-to-end",
    "missed voice call",
    "missed video call",
    "null",
];

/// Ends of edited messages.
const EDITED: &[&str] = &[
    "<this message was edited>",
    "<diese nachricht wurde bearbeitet.>",
    "<diese nachricht wurde bearbeitet>",
    "<ce message a été modifié>",
    "<se editó este mensaje.>",
    "<questo messaggio è stato modificato>",
];

/// The longest message, in lines.
const MOST_LINES: usize = 20_000;

struct Raw<'t> {
    line: u64,
    date: Parts,
    rest: String,
    more: Vec<&'t str>,
}

impl Reader for WhatsApp {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        for entry in entries {
            let text = bundle.text(entry)?;
            read(&text, entry, &bundle.label, options, found)?;
        }
        Ok(())
    }
}

fn read(
    text: &str,
    entry: &Entry,
    bundle: &str,
    options: &Options,
    found: &mut Found,
) -> Result<()> {
    let file = found.file(&entry.label);
    let mut raws: Vec<Raw<'_>> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match begin(line) {
            Some((date, rest)) => raws.push(Raw { line: number, date, rest, more: Vec::new() }),
            None => match raws.last_mut() {
                Some(raw) if raw.more.len() < MOST_LINES => raw.more.push(line),
                Some(_) => found.leave_out(Reason::TooLong, file, number),
                None if line.trim().is_empty() => {}
                None => found.problem(file, number, None, "a line before the first date"),
            },
        }
    }
    let dates: Vec<Parts> = raws.iter().map(|raw| raw.date).collect();
    let order = options.date_order.unwrap_or_else(|| {
        let (order, certain) = time::order_of(&dates);
        if !certain {
            found.note(format!(
                "{}: day and month of its dates cannot be told apart; the day is taken to come \
                 first (--date-order mdy overrides)",
                entry.label
            ));
        }
        order
    });
    let title = title_of(entry, bundle);
    let conversation = found.conversation(&format!("whatsapp {}", entry.label), Kind::Chat, &title);
    for raw in raws {
        let Raw { line, date, rest, more } = raw;
        let Some((name, first)) =
            rest.split_once(": ").or_else(|| rest.strip_suffix(':').map(|name| (name, "")))
        else {
            found.leave_out(Reason::System, file, line);
            continue;
        };
        let mut text = first.to_owned();
        for line in more {
            text.push('\n');
            text.push_str(line);
        }
        let marked = first.starts_with('\u{200e}');
        let mut text: String = text.chars().filter(|c| !is_mark(*c)).collect();
        let lower = text.trim().to_lowercase();
        let plain = lower.trim_end_matches('.');
        let reason = if DELETED.contains(&plain) {
            Some(Reason::Deleted)
        } else if MEDIA.contains(&plain)
            || lower.starts_with("<attached:")
            || is_attached(&lower)
            || (marked && (plain.ends_with(" omitted") || plain.ends_with(" weggelassen")))
        {
            Some(Reason::Media)
        } else if SYSTEM
            .iter()
            .any(|words| lower == *words || (words.len() > 10 && lower.starts_with(words)))
        {
            Some(Reason::System)
        } else if lower.is_empty() {
            Some(Reason::Empty)
        } else {
            None
        };
        if let Some(reason) = reason {
            found.leave_out(reason, file, line);
            continue;
        }
        if let Some(end) = EDITED.iter().find(|end| lower.ends_with(**end)) {
            // Lower case may have another length; the mark has none but ASCII where it matters.
            let characters = text.trim_end().chars().count() - end.chars().count();
            text = text.trim_end().chars().take(characters).collect();
        }
        let Some(time) = date.moment(order).and_then(|moment| found.moment(moment, options)) else {
            found.problem(
                file,
                line,
                Some("date"),
                "not a date in the order of the others; see --date-order",
            );
            continue;
        };
        let name: String = name.chars().filter(|c| !is_mark(*c)).collect();
        let from = found.person(name.trim().trim_start_matches('~').trim(), "")?;
        found.push(Message {
            conversation,
            from,
            time: Some(time),
            text: text.trim().to_owned(),
            file,
            line,
            ..Message::default()
        })?;
    }
    // Of two who write, the chat has the other one's name.
    let people: Vec<usize> =
        (0..found.people.len()).filter(|place| found.people[*place].count > 0).collect();
    if let [a, b] = people[..] {
        let other = [(a, b), (b, a)]
            .into_iter()
            .find(|(_, other)| !title.is_empty() && found.people[*other].name == title);
        if let Some((me, other)) = other {
            let (me_name, other) = (shown(&found.people[me]), shown(&found.people[other]));
            found.guess = Some((vec![me], format!("{me_name}; the chat is with {other}")));
        }
    }
    Ok(())
}

/// Marks of direction that the iPhone puts before what it writes itself.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// "IMG-20240108-WA0001.jpg (file attached)", in any language.
fn is_attached(lower: &str) -> bool {
    let first = lower.lines().next().unwrap_or_default();
    let Some((name, rest)) = first.split_once(" (") else { return false };
    let is_file = name.rsplit_once('.').is_some_and(|(stem, ending)| {
        (2..=5).contains(&ending.len()) && !stem.is_empty() && !name.contains(' ')
    });
    is_file && rest.ends_with(')')
}

/// The date at the beginning of a message, and what is behind it.
pub(crate) fn begin(line: &str) -> Option<(Parts, String)> {
    let line = line.trim_start_matches(|c| is_mark(c) || c == '\u{feff}');
    let (date, rest) = match line.strip_prefix('[') {
        Some(inner) => inner.split_once("] ")?,
        None => line.split_once(" - ")?,
    };
    if date.len() > 60 || !date.starts_with(|c: char| c.is_numeric()) {
        return None;
    }
    if date.contains(':') {
        return Some((time::parts(date)?, rest.to_owned()));
    }
    // "6.8.2016 klo 13.18", as in the north.
    let (day, clock) = date.split_once(' ')?;
    let clock = clock.rsplit(' ').next()?;
    let (hour, minute) = clock.split_once('.')?;
    let is_number = |text: &str| text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hour) || !is_number(minute.split('.').next()?) {
        return None;
    }
    Some((time::parts(&format!("{day} {}", clock.replace('.', ":")))?, rest.to_owned()))
}

/// The other one's name, or the group's: from the file's name, or the archive's.
fn title_of(entry: &Entry, bundle: &str) -> String {
    let name = match entry.file_name() {
        "_chat.txt" => bundle.rsplit(['/', '\\']).next().unwrap_or_default(),
        name => name,
    };
    let name = name.trim_end_matches(".txt").trim_end_matches(".zip");
    let before = [
        "WhatsApp Chat with ",
        "WhatsApp Chat - ",
        "WhatsApp-Chat mit ",
        "Chat WhatsApp con ",
        "Chat de WhatsApp con ",
        "Discussion WhatsApp avec ",
        "Conversa do WhatsApp com ",
        "WhatsApp-chat met ",
    ];
    before.iter().find_map(|before| name.strip_prefix(before)).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::options::DateOrder;

    #[test]
    fn dates_of_several_telephones_begin_a_message() {
        for (line, time) in [
            ("08/01/2024, 09:12 - Tom: x", "2024-01-08T09:12:00"),
            ("\u{200e}[08.01.24, 09:12:33] Tom: x", "2024-01-08T09:12:33"),
            ("[08/01/24, 9:12:33\u{202f}PM] Tom: x", "2024-01-08T21:12:33"),
            ("8.1.2024 klo 9.12 - Tom: x", "2024-01-08T09:12:00"),
            ("2024-01-08, 09:12 - Tom: x", "2024-01-08T09:12:00"),
        ] {
            let (parts, rest) = begin(line).unwrap();
            assert_eq!(rest, "Tom: x");
            let Some(time::Moment::Local(clock)) = parts.moment(DateOrder::DayFirst) else {
                panic!("{line}")
            };
            assert_eq!(clock.to_string(), time, "{line}");
        }
        for line in ["[1, 2] - x", "12 - 13: x", "no date - Tom: x", "1.5 - 2: x", "10.20 - a b: x"]
        {
            assert!(begin(line).is_none(), "{line}");
        }
    }
}

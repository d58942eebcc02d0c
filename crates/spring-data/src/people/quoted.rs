//! Takes a mail's text apart: what the person wrote, and what is quoted, forwarded or a signature.
//!
//! Written here: crates for this know English alone, or are bindings.

/// The parts of a mail's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// What the person wrote.
    pub(crate) own: String,
    /// What is quoted, of the mail that is answered alone: older mails within it are left out.
    pub(crate) quoted: Option<String>,
    pub(crate) signature: bool,
    pub(crate) forwarded: bool,
    pub(crate) list_footer: bool,
}

/// Words between the date and the end of the line above a quotation.
const WROTE: &[&str] = &[
    "wrote",
    "writes",
    "schrieb",
    "a écrit",
    "escribió",
    "escreveu",
    "ha scritto",
    "schreef",
    "skrev",
    "napisał",
    "napsal",
    "kirjoitti",
    "написал",
    "пишет",
    "yazdı",
    "写道",
    "のメッセージ",
];

/// Lines between dashes above the mail that is answered.
const ORIGINAL: &[&str] = &[
    "original message",
    "ursprüngliche nachricht",
    "original-nachricht",
    "message d'origine",
    "mensaje original",
    "mensagem original",
    "messaggio originale",
    "oorspronkelijk bericht",
];

/// Lines above a forwarded mail.
const FORWARDED: &[&str] = &[
    "forwarded message",
    "weitergeleitete nachricht",
    "message transféré",
    "mensaje reenviado",
    "mensagem encaminhada",
    "messaggio inoltrato",
    "doorgestuurd bericht",
    "begin forwarded message",
    "anfang der weitergeleiteten nachricht",
];

/// The fields of the block that Outlook puts above a quotation: author, then date, recipient,
/// subject.
const AUTHOR: &[&str] = &["from:", "von:", "de:", "da:", "van:", "från:", "fra:", "od:"];
const OTHER_FIELDS: &[&str] = &[
    "sent:",
    "date:",
    "to:",
    "cc:",
    "subject:",
    "gesendet:",
    "datum:",
    "an:",
    "betreff:",
    "envoyé:",
    "envoyé :",
    "à:",
    "à :",
    "objet:",
    "objet :",
    "enviado:",
    "enviado el:",
    "para:",
    "asunto:",
    "assunto:",
    "inviato:",
    "data:",
    "a:",
    "oggetto:",
    "verzonden:",
    "aan:",
    "onderwerp:",
    "skickat:",
    "till:",
    "ämne:",
];

/// What telephones put below a mail.
const SENT_FROM: &[&str] = &[
    "sent from my ",
    "sent from outlook",
    "sent from yahoo",
    "sent from mail for",
    "get outlook for ",
    "von meinem iphone gesendet",
    "von meinem ipad gesendet",
    "diese nachricht wurde von meinem android",
    "envoyé de mon iphone",
    "enviado desde mi ",
    "inviato da iphone",
    "verstuurd vanaf mijn ",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Own,
    Quoted,
    Forwarded,
    Signature,
    Footer,
}

/// Takes a text with line feeds apart.
pub(crate) fn split(text: &str) -> Body {
    let lines: Vec<&str> = text.lines().collect();
    let (mut own, mut quoted): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    let mut body = Body::default();
    let mut part = Part::Own;
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let trimmed = line.trim();
        let lower = trimmed.to_lowercase();
        // What ends everything before it.
        if matches!(part, Part::Own | Part::Signature | Part::Quoted)
            && is_between(&lower, FORWARDED)
        {
            body.forwarded = true;
            part = Part::Forwarded;
        } else if part == Part::Own && is_list_footer(&lines[at..]) {
            body.list_footer = true;
            part = Part::Footer;
        } else if let Some(used) =
            (part != Part::Forwarded).then(|| header_of_quotation(&lines[at..])).flatten()
        {
            // A second one is the mail before the one that is answered.
            if part == Part::Quoted && !quoted.is_empty() {
                break;
            }
            part = Part::Quoted;
            at += used;
            continue;
        } else if part == Part::Own
            && let Some(used) = attribution(&lines[at..])
        {
            at += used;
            continue;
        } else if matches!(part, Part::Own | Part::Quoted) && is_delimiter(line) {
            body.signature |= part == Part::Own;
            // In a quotation without marks nothing tells where a signature ends.
            part = if part == Part::Own { Part::Signature } else { Part::Footer };
        } else if let Some(rest) =
            (matches!(part, Part::Own | Part::Signature)).then(|| unquoted(line)).flatten()
        {
            // An answer may go on below a quotation; a signature does not.
            if unquoted(rest).is_none() {
                quoted.push(rest.to_owned());
            }
            if part == Part::Signature {
                part = Part::Own;
            }
        } else {
            match part {
                Part::Own if SENT_FROM.iter().any(|words| lower.starts_with(words)) => {
                    body.signature = true;
                }
                Part::Own => own.push(line),
                Part::Quoted => match unquoted(line) {
                    // Marks within it are of an older mail.
                    Some(_) => {}
                    None if attribution(&lines[at..]).is_some() => part = Part::Footer,
                    None => quoted.push(line.to_owned()),
                },
                _ => {}
            }
        }
        at += 1;
    }
    body.own = tidy(&own);
    let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
    let quoted = tidy(&without_signature(&quoted));
    body.quoted = (!quoted.is_empty()).then_some(quoted);
    body
}

/// The line without its mark of quotation.
fn unquoted(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('>')?;
    Some(rest.strip_prefix(' ').unwrap_or(rest))
}

fn is_delimiter(line: &str) -> bool {
    matches!(line, "-- " | "--" | "--\u{a0}")
}

/// `---- words ----`, or the words with a colon behind them.
fn is_between(lower: &str, words: &[&str]) -> bool {
    let inner = lower.trim_matches(['-', ' ', '_']).trim_end_matches(':').trim();
    let marked = lower.starts_with("--") || lower.ends_with(':');
    marked && words.iter().any(|word| inner == *word || inner == word.replace('\'', "’"))
}

fn is_list_footer(lines: &[&str]) -> bool {
    let line = lines[0].trim();
    let is_rule = line.len() >= 40 && line.bytes().all(|byte| byte == b'_');
    let says_list = |line: &&str| {
        let lower = line.to_lowercase();
        lower.contains("mailing list") || lower.contains("unsubscribe")
    };
    is_rule && lines.iter().skip(1).take(4).any(says_list)
}

/// How many lines the head of a quotation without marks has: dashes with words, or Outlook's block
/// of fields, which may have a rule above it.
fn header_of_quotation(lines: &[&str]) -> Option<usize> {
    let lower = |at: usize| lines.get(at).map(|line| line.trim().trim_matches('*').to_lowercase());
    let first = lower(0)?;
    let mut at = 0;
    let dashes = first.starts_with("--") && is_between(&first, ORIGINAL);
    let rule = first.len() >= 10 && first.bytes().all(|byte| byte == b'_');
    if dashes || rule {
        at = 1;
        while at < 4 && lower(at).is_some_and(|line| line.is_empty()) {
            at += 1;
        }
    }
    let begins = |line: &Option<String>, fields: &[&str]| {
        line.as_ref().is_some_and(|line| {
            fields.iter().any(|field| {
                line.strip_prefix(field).is_some_and(|rest| rest.starts_with([' ', '*', '\t']))
            })
        })
    };
    if begins(&lower(at), AUTHOR) {
        let mut fields = 1;
        while fields < 8 && begins(&lower(at + fields), OTHER_FIELDS) {
            fields += 1;
        }
        if fields >= 3 {
            return Some(at + fields);
        }
    }
    dashes.then_some(at)
}

/// How many lines the line above a quotation takes ("On …, Ada wrote:", which programs break), if
/// marks of quotation follow it.
fn attribution(lines: &[&str]) -> Option<usize> {
    if lines[0].trim().is_empty() || lines[0].starts_with('>') {
        return None;
    }
    for used in 1..=3.min(lines.len()) {
        let line = lines[used - 1].trim();
        if line.is_empty() {
            return None;
        }
        if !line.ends_with([':', '：']) {
            continue;
        }
        let whole = lines[..used].join(" ").to_lowercase();
        let says_wrote = WROTE.iter().any(|word| whole.contains(word));
        let has_date = whole.chars().any(|c| c.is_ascii_digit()) || whole.contains('@');
        let next = lines[used..].iter().position(|line| !line.trim().is_empty());
        let is_quoted =
            next.is_some_and(|next| next <= 2 && lines[used + next].trim_start().starts_with('>'));
        return (is_quoted && (says_wrote || has_date) && whole.len() < 400).then_some(used);
    }
    None
}

/// Lines up to a signature's delimiter.
fn without_signature<'l>(lines: &[&'l str]) -> Vec<&'l str> {
    let end = lines.iter().position(|line| is_delimiter(line)).unwrap_or(lines.len());
    let is_kept = |line: &&&str| {
        let lower = line.trim().to_lowercase();
        !SENT_FROM.iter().any(|words| lower.starts_with(words))
    };
    lines[..end].iter().filter(is_kept).copied().collect()
}

/// Joins lines, without spaces at their ends, and with one blank line at most between others.
fn tidy(lines: &[&str]) -> String {
    let mut text = String::new();
    let mut blank = 0;
    for line in lines {
        let line = line.trim_end();
        if line.trim().is_empty() {
            blank += 1;
            continue;
        }
        if !text.is_empty() {
            text.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        text.push_str(line);
        blank = 0;
    }
    text.trim().to_owned()
}

/// Joins the lines that `format=flowed` broke (RFC 3676), with `delsp` without the space.
pub(crate) fn unflowed(text: &str, delsp: bool) -> String {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let depth = line.bytes().take_while(|byte| *byte == b'>').count();
        let content = &line[depth..];
        let content = content.strip_prefix(' ').unwrap_or(content);
        let is_delimiter = content == "-- ";
        let flows = content.ends_with(' ') && !is_delimiter;
        let kept = if flows && delsp { &content[..content.len() - 1] } else { content };
        match lines.last_mut() {
            Some((last, joined)) if open && *last == depth && !is_delimiter => {
                joined.push_str(kept)
            }
            _ => lines.push((depth, kept.to_owned())),
        }
        open = flows;
    }
    let lines = lines.into_iter().map(|(depth, line)| match depth {
        0 => line,
        _ => format!("{} {line}", ">".repeat(depth)),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_parted_from_what_is_written() {
        for (text, own, quoted) in [
            ("Hello.\n\nOn Mon, 8 Jan 2024 Ada wrote:\n\n> Hi?\n>> older", "Hello.", Some("Hi?")),
            // Broken in two, as Gmail does.
            (
                "Yes.\n\nOn Mon, Jan 8, 2024 at 9:12 AM Ada Lovelace <ada@example.org>\nwrote:\n\n\
                 > Coming?\n",
                "Yes.",
                Some("Coming?"),
            ),
            (
                "Ja.\n\nAm 08.01.24 um 09:12 schrieb Ada:\n> Kommst du?\n> Morgen?",
                "Ja.",
                Some("Kommst du?\nMorgen?"),
            ),
            // Answers between the quoted lines.
            ("> One?\nFirst.\n\n> Two?\nSecond.", "First.\n\nSecond.", Some("One?\nTwo?")),
            (
                "Fine.\n\n________________________________\nFrom: Ada <ada@example.org>\n\
                 Sent: Monday\nTo: Bob\nSubject: Plan\n\nIs it fine?\n\n\
                 From: Bob\nSent: Sunday\nTo: Ada\nOlder.",
                "Fine.",
                Some("Is it fine?"),
            ),
            (
                "Gut.\n\n-----Ursprüngliche Nachricht-----\nVon: Ada\nGesendet: Montag\nAn: Bob\n\
                 Betreff: Plan\n\nGut so?",
                "Gut.",
                Some("Gut so?"),
            ),
            ("Nothing quoted:\nreally.", "Nothing quoted:\nreally.", None),
            ("From: here to there\nis a line.", "From: here to there\nis a line.", None),
        ] {
            let body = split(text);
            assert_eq!((body.own.as_str(), body.quoted.as_deref()), (own, quoted), "{text}");
        }
    }

    #[test]
    fn signatures_forwarded_mails_and_footers_are_cut() {
        let body = split("See below.\n-- \nBob\nHead of Bobs\n\n> quoted\n> -- \n> Ada");
        assert_eq!(body.own, "See below.");
        assert_eq!(body.quoted.as_deref(), Some("quoted"));
        assert!(body.signature && !body.forwarded);
        let body = split("FYI\n\n---------- Forwarded message ---------\nFrom: Ada\n\nLong text.");
        assert_eq!((body.own.as_str(), body.quoted), ("FYI", None));
        assert!(body.forwarded);
        let body = split(&format!("Yes\n{}\nbees mailing list\nbees@example.org", "_".repeat(47)));
        assert_eq!(body.own, "Yes");
        assert!(body.list_footer);
        let body = split("On it.\n\nSent from my iPhone");
        assert_eq!(body.own, "On it.");
        // A dash and a name are the person's own way to end.
        assert_eq!(split("fine.\n\n— m.").own, "fine.\n\n— m.");
    }

    #[test]
    fn flowed_lines_are_joined_within_their_depth() {
        let text = "This is one \nparagraph.\n> quoted \n> on.\n -- not a signature\n-- \nAda";
        assert_eq!(
            unflowed(text, false),
            "This is one paragraph.\n> quoted on.\n-- not a signature\n-- \nAda"
        );
        assert_eq!(unflowed("日 \n本", true), "日本");
    }
}

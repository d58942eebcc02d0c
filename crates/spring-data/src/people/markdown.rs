//! Notes: Markdown files, and Obsidian's vaults of them.

use super::{
    error::Result,
    found::{Found, Kind, Message, one_line},
    input::{Bundle, Entry},
    left_out::Reason,
    options::Options,
    reader::Reader,
    time,
};

/// A file for each note, with front matter or without.
pub(crate) struct Markdown;

/// The same with Obsidian's links, embedded files and comments.
pub(crate) struct Obsidian;

impl Reader for Markdown {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        read(bundle, entries, false, options, found)
    }
}

impl Reader for Obsidian {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        read(bundle, entries, true, options, found)
    }
}

fn read(
    bundle: &Bundle,
    entries: &[&Entry],
    is_obsidian: bool,
    options: &Options,
    found: &mut Found,
) -> Result<()> {
    let me = found.person("", "me")?;
    let mut undated = 0;
    for entry in entries {
        let name = entry.file_name();
        if !name.to_lowercase().ends_with(".md")
            && !name.to_lowercase().ends_with(".markdown")
            && entries.len() > 1
        {
            let file = found.file(&entry.label);
            found.leave_out(Reason::OtherFile, file, 0);
            continue;
        }
        let file = found.file(&entry.label);
        let text = bundle.text(entry)?;
        let (front, body) = front_matter(&text);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        if entry.name.to_lowercase().split('/').any(|part| part == "templates" || part == ".trash")
            || field(front, &["excalidraw-plugin", "kanban-plugin"]).is_some()
        {
            found.leave_out(Reason::OtherFile, file, 0);
            continue;
        }
        let (heading, body) = heading(body);
        // A daily note's name begins with its date.
        let (dated, plain) = date_in(stem);
        let title = field(front, &["title"]).or(heading).map_or_else(
            || if plain.is_empty() { stem.to_owned() } else { plain.to_owned() },
            str::to_owned,
        );
        let body = if is_obsidian { without_marks(body) } else { body.to_owned() };
        let body = body.trim();
        if body.is_empty() {
            found.leave_out(Reason::Empty, file, 1);
            continue;
        }
        let when = field(
            front,
            &["created", "date", "date created", "created_at", "day", "updated", "modified"],
        );
        let mut time = when.and_then(|when| found.time(when, options));
        if time.is_none() {
            time = dated.and_then(|dated| found.time(dated, options));
        }
        undated += u64::from(time.is_none());
        let conversation = found.conversation("notes", Kind::Note, "");
        found.push(Message {
            conversation,
            from: me,
            id: Some(entry.name.clone()),
            time,
            text: body.to_owned(),
            title: Some(one_line(&title)),
            file,
            line: 1,
            ..Message::default()
        })?;
    }
    if undated > 0 {
        found.note(format!(
            "{undated} notes have no date in their front matter or name; the order of their names \
             stands for it"
        ));
    }
    found.all_mine = true;
    Ok(())
}

/// Text between lines of three hyphens at the beginning, and the rest.
fn front_matter(text: &str) -> (&str, &str) {
    let Some(rest) = text.strip_prefix("---\n") else { return ("", text) };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if matches!(line.trim_end(), "---" | "...") {
            return (&rest[..at], &rest[at + line.len()..]);
        }
        at += line.len();
    }
    ("", text)
}

/// A scalar of the front matter. Read by hand: of its YAML three or four plain keys are of use.
fn field<'f>(front: &'f str, names: &[&str]) -> Option<&'f str> {
    names.iter().find_map(|name| {
        front.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            let value = value.trim();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let value = match quote {
                Some(quote) if value.len() > 1 => {
                    value[1..].split(quote).next().unwrap_or_default()
                }
                _ => value.split(" #").next().unwrap_or_default().trim(),
            };
            (key.eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value)
        })
    })
}

/// The heading that a note begins with, and what is behind it.
fn heading(body: &str) -> (Option<&str>, &str) {
    let body = body.trim_start();
    let (first, rest) = body.split_once('\n').unwrap_or((body, ""));
    match first.strip_prefix("# ") {
        Some(heading) if !heading.trim().is_empty() => (Some(heading.trim()), rest),
        _ => (None, body),
    }
}

/// A date at the beginning of a name, such as 2024-01-08 or 20240108, and the rest.
fn date_in(stem: &str) -> (Option<&str>, &str) {
    let Some(date) = stem.get(..10) else { return (None, stem) };
    let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => matches!(byte, b'-' | b'_' | b'.'),
        _ => byte.is_ascii_digit(),
    });
    if is_date && time::parse(date, None).is_some() {
        return (Some(date), stem[10..].trim_matches([' ', '-', '_']));
    }
    (None, stem)
}

/// Obsidian's marks as text: `[[note|words]]` are words, `![[file]]` is a file, `%%…%%` a comment,
/// and `^id` at the end of a line a place to link to.
fn without_marks(body: &str) -> String {
    let mut text = String::new();
    let mut rest = body;
    while let Some(at) = rest.find("%%") {
        text.push_str(&rest[..at]);
        rest = match rest[at + 2..].find("%%") {
            Some(end) => &rest[at + 2 + end + 2..],
            None => "",
        };
    }
    text.push_str(rest);
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("[[") {
        let is_file = rest[..at].ends_with('!');
        out.push_str(&rest[..at - usize::from(is_file)]);
        let Some(end) = rest[at..].find("]]") else {
            out.push_str(&rest[at - usize::from(is_file)..]);
            rest = "";
            break;
        };
        let inner = &rest[at + 2..at + end];
        if !is_file {
            out.push_str(inner.rsplit_once('|').map_or(inner, |(_, words)| words));
        }
        rest = &rest[at + end + 2..];
    }
    out.push_str(rest);
    let lines = out.lines().map(|line| match line.rsplit_once(" ^") {
        Some((before, id))
            if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
        {
            before
        }
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_obsidian_become_words() {
        let text =
            "See [[Bees|the bees]] and [[Hive]].\n![[comb.png]]\nDone. ^a1\n%%not\nthis%%end";
        assert_eq!(without_marks(text), "See the bees and Hive.\n\nDone.\nend");
    }

    #[test]
    fn front_matter_is_read() {
        let (front, body) =
            front_matter("---\ntitle: \"A: b\"\ncreated: 2024-01-08 # day\n---\ntext");
        assert_eq!(field(front, &["title"]), Some("A: b"));
        assert_eq!(field(front, &["date", "created"]), Some("2024-01-08"));
        assert_eq!(body, "text");
        assert_eq!(front_matter("---\nno end"), ("", "---\nno end"));
    }
}

//! Pieces of HTML. The pages are XML as well, so that a test can parse them.

/// Rows of a table that are seen without unfolding it.
const ROWS: usize = 12;

/// Rows of a table at most; a page is for reading, `spring explain --json` has everything.
const MOST_ROWS: usize = 500;

/// Text as HTML, for elements and quoted attributes. What no page may contain becomes U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' | '\t' => html.push(c),
            '\u{fffe}' | '\u{ffff}' => html.push('\u{fffd}'),
            c if c.is_control() => html.push('\u{fffd}'),
            c => html.push(c),
        }
    }
    html
}

/// The beginning of a text on one line, escaped.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    // Enough words for the excerpt; a text can be long.
    let mut line = text.split_whitespace().take(most).collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(most) {
        line.truncate(cut);
        line.push('…');
    }
    escape(&line)
}

/// A number with a true minus sign; a dash where there is none.
pub(crate) fn number(value: impl Into<Option<f64>>, decimals: usize) -> String {
    match value.into().filter(|value| value.is_finite()) {
        Some(value) => {
            let digits = format!("{:.decimals$}", value.abs());
            let zero = digits.bytes().all(|digit| matches!(digit, b'0' | b'.'));
            if value < 0.0 && !zero { format!("−{digits}") } else { digits }
        }
        None => "–".into(),
    }
}

/// A whole number and its noun: "1 text", "2 texts".
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A part in percent.
pub(crate) fn percent(part: f64) -> String {
    format!("{}\u{a0}%", number(100.0 * part, 0))
}

/// "1", "1 and 2", "1, 2 and 3".
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Right-aligned digits.
    Number(&'static str),
    /// A few words on one line.
    Word(&'static str),
    /// A word under a name of several lines.
    Label(&'static str),
    /// Running text.
    Text(&'static str),
}

impl Column {
    fn class_and_name(self) -> (&'static str, &'static str) {
        match self {
            Self::Number(name) => ("number", name),
            Self::Word(name) => ("word", name),
            Self::Label(name) => ("label", name),
            Self::Text(name) => ("text", name),
        }
    }
}

/// A table in a container of its own that scrolls; the cells are HTML.
pub(crate) fn table(label: &str, columns: &[Column], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cell: &dyn Fn(usize, &'static str) -> String| -> String {
        let each = columns.iter().enumerate().map(|(i, column)| {
            let (class, name) = column.class_and_name();
            format!("<{tag} class=\"{class}\">{}</{tag}>", cell(i, name))
        });
        each.collect()
    };
    let head = cells("th", &|_, name| name.into());
    let body: String = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", cells("td", &|i, _| row.get(i).cloned().unwrap_or_default())))
        .collect();
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{}\" tabindex=\"0\"><table>\n\
         <thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n",
        escape(label)
    )
}

/// A table whose rows beyond the first ones are folded away.
pub(crate) fn folded_table(label: &str, columns: &[Column], rows: &[Vec<String>]) -> String {
    let (seen, folded) = rows.split_at(rows.len().min(ROWS));
    let mut html = table(label, columns, seen);
    if !folded.is_empty() {
        html += &details(&format!("{} more", folded.len()), label, columns, folded);
    }
    html
}

/// A table that is folded away whole.
pub(crate) fn details(summary: &str, label: &str, columns: &[Column], rows: &[Vec<String>]) -> String {
    let (shown, rest) = rows.split_at(rows.len().min(MOST_ROWS));
    let rest = match rest.len() {
        0 => String::new(),
        n => format!("<p class=\"note\">{n} more are not on this page.</p>"),
    };
    format!("<details><summary>{summary}</summary>\n{}{rest}</details>\n", table(label, columns, shown))
}

/// A plot with a legend above and a caption below; `label` is what a screen reader says.
pub(crate) fn figure(label: &str, legend: &str, plot: &str, caption: &str) -> String {
    let legend = if legend.is_empty() { String::new() } else { format!("<p class=\"legend\">{legend}</p>") };
    format!(
        "<figure>{legend}<div role=\"img\" \
         aria-label=\"{}\">{plot}</div><figcaption>{caption}</figcaption></figure>\n",
        escape(label)
    )
}

/// Numbers with what they are, side by side.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let each = facts.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
    format!("<dl class=\"facts\">{}</dl>\n", each.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_markup_and_what_no_page_may_hold() {
        assert_eq!(
            escape("<a b='c'>&\"\n\u{0}\u{1b}é"),
            "&lt;a b=&#39;c&#39;&gt;&amp;&quot;\n\u{fffd}\u{fffd}é"
        );
        assert_eq!(excerpt(" one\n two\tthree", 7), "one two…");
        assert_eq!(excerpt("<b>&", 3), "&lt;b&gt;…");
        assert_eq!(excerpt("naïve", 5), "naïve");
    }

    #[test]
    fn writes_numbers_and_lists() {
        assert_eq!(number(-1.25, 1), "−1.2");
        assert_eq!(number(-0.0004, 3), "0.000");
        assert_eq!((number(f64::NAN, 2), number(None, 2)), ("–".into(), "–".into()));
        assert_eq!((count(1, "text"), count(0, "text")), ("1 text".into(), "0 texts".into()));
        let names = ["a", "b", "c"].map(String::from);
        assert_eq!(
            (listed(&names), listed(&names[..2]), listed(&names[..1])),
            ("a, b and c".into(), "a and b".into(), "a".into())
        );
    }

    #[test]
    fn folds_what_is_long_and_says_what_it_leaves_out() {
        let rows: Vec<Vec<String>> = (0..ROWS + MOST_ROWS + 3).map(|i| vec![format!("r{i}")]).collect();
        let html = folded_table("t", &[Column::Word("w")], &rows);
        assert_eq!(html.matches("<tr>").count(), 2 + ROWS + MOST_ROWS);
        assert!(html.contains("3 more are not on this page"));
        assert!(!folded_table("t", &[Column::Word("w")], &rows[..ROWS]).contains("<details>"));
    }
}

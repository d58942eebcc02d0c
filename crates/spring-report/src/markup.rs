//! Pieces of HTML. The pages are XML as well, so that a test can parse them.

use std::borrow::Cow;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::plots;
pub(crate) use crate::words::{count, listed, number, percent};

/// Rows of a table that are seen without unfolding it.
const ROWS: usize = 12;

/// Rows of a table at most; a page is for reading, `spring explain --json` has everything.
const MOST_ROWS: usize = 500;

/// A text of the data: what no page may contain becomes U+FFFD, and maud escapes the rest.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| {
        matches!(c, '\u{fffe}' | '\u{ffff}') || c.is_control() && !matches!(c, '\n' | '\t')
    };
    match text.contains(is_bad) {
        true => text.replace(is_bad, "\u{fffd}").into(),
        false => text.into(),
    }
}

/// The beginning of a text on one line.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    // Enough words for the excerpt; a text can be long.
    let mut line = text.split_whitespace().take(most).collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(most) {
        line.truncate(cut);
        line.push('…');
    }
    clean(&line).into_owned()
}

/// A whole page; `title` is what a browser shows for it.
pub(crate) fn page(title: &str, main: &Markup, footer: &Markup) -> String {
    // With their own ends, unlike maud's: the pages are XML.
    let meta = PreEscaped(concat!(
        "<meta charset=\"utf-8\"/>\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n",
    ));
    let style = PreEscaped(format!("{}{}", include_str!("style.css"), plots::ink_rules()));
    let page = html! {
        (DOCTYPE) "\n"
        html lang="en" {
            head { "\n" (meta) title { (clean(title)) } "\n" style { (style) } "\n" }
            "\n"
            body { "\n" main { "\n" (main) } "\n" footer { (footer) } "\n" }
        }
        "\n"
    };
    page.into_string()
}

/// A section with a heading.
pub(crate) fn section(id: &str, title: &str, body: &Markup) -> Markup {
    html! { section id=(id) { "\n" h2 { (clean(title)) } "\n" (body) } "\n" }
}

/// Links to the sections, by their ids and titles.
pub(crate) fn links<'s>(sections: impl Iterator<Item = (&'s str, &'s str)>) -> Markup {
    html! {
        nav aria-label="Sections" {
            @for (id, title) in sections { a href={ "#" (id) } { (clean(title)) } " " }
        }
        "\n"
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column<'n> {
    /// Right-aligned digits.
    Number(&'n str),
    /// A few words on one line.
    Word(&'n str),
    /// A word under a name of several lines.
    Label(&'n str),
    /// Running text.
    Text(&'n str),
}

impl<'n> Column<'n> {
    fn class_and_name(self) -> (&'static str, &'n str) {
        match self {
            Self::Number(name) => ("number", name),
            Self::Word(name) => ("word", name),
            Self::Label(name) => ("label", name),
            Self::Text(name) => ("text", name),
        }
    }
}

/// A cell of a table from a text of the data or words of ours.
pub(crate) fn cell(text: impl AsRef<str>) -> Markup {
    html! { (clean(text.as_ref())) }
}

/// A cell with something smaller below.
pub(crate) fn cell_with(text: impl maud::Render, below: impl AsRef<str>) -> Markup {
    html! { (text) span.sub { (below.as_ref()) } }
}

/// A number, bold if it is the best.
pub(crate) fn bold_if(best: bool, number: &str) -> Markup {
    if best {
        html! { strong { (number) } }
    } else {
        cell(number)
    }
}

/// More columns than this without texts become pairs of name and number in narrow windows.
const MOST_COLUMNS: usize = 4;

/// A table in a container of its own that scrolls.
pub(crate) fn table(label: &str, columns: &[Column<'_>], rows: &[Vec<Markup>]) -> Markup {
    let texts = columns.iter().filter(|column| matches!(column, Column::Text(_))).count();
    let kind = match (texts, columns.len() > MOST_COLUMNS) {
        (0, true) => "cards",
        (0, false) => "plain",
        (1, _) => "texts",
        _ => "texts several",
    };
    let others = format!("--columns:{}", columns.len() - texts);
    let columns: Vec<_> = columns.iter().map(|column| column.class_and_name()).collect();
    html! {
        div.scroll role="region" aria-label=(clean(label)) tabindex="0" {
            table class=(kind) style=(others) {
                "\n"
                thead { tr { @for (class, name) in &columns { th class=(class) { (name) } } } }
                "\n"
                tbody {
                    "\n"
                    @for row in rows {
                        tr {
                            @for (i, (class, name)) in columns.iter().enumerate() {
                                td class=(class) data-name=(name) {
                                    @if let Some(cell) = row.get(i) { (cell) }
                                }
                            }
                        }
                        "\n"
                    }
                }
            }
        }
        "\n"
    }
}

/// A table whose rows beyond the first ones are folded away.
pub(crate) fn folded_table(label: &str, columns: &[Column<'_>], rows: &[Vec<Markup>]) -> Markup {
    let (seen, folded) = rows.split_at(rows.len().min(ROWS));
    html! {
        (table(label, columns, seen))
        @if !folded.is_empty() {
            (details(&format!("{} more", folded.len()), label, columns, folded))
        }
    }
}

/// A table that is folded away whole.
pub(crate) fn details(
    summary: &str,
    label: &str,
    columns: &[Column<'_>],
    rows: &[Vec<Markup>],
) -> Markup {
    let (shown, rest) = rows.split_at(rows.len().min(MOST_ROWS));
    html! {
        details {
            summary { (summary) } "\n"
            (table(label, columns, shown))
            @if !rest.is_empty() { p.note { (rest.len()) " more are not on this page." } }
        }
        "\n"
    }
}

/// A plot with a legend above and a caption below; `label` is what a screen reader says, and `plot`
/// is SVG.
pub(crate) fn figure(label: &str, legend: &Markup, plot: String, caption: &str) -> Markup {
    html! {
        figure {
            @if !legend.0.is_empty() { p.legend { (legend) } }
            div role="img" aria-label=(clean(label)) { (PreEscaped(plot)) }
            figcaption { (caption) }
        }
        "\n"
    }
}

/// An entry of a legend: a sign in an ink of the style sheet, and what it stands for.
pub(crate) fn key(ink: &str, sign: &str, name: &str) -> Markup {
    html! { span.key { span style={ "color:var(--" (ink) ")" } { (sign) } " " (clean(name)) } " " }
}

/// Numbers with what they are, side by side.
pub(crate) fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (clean(value)) } } } }
        "\n"
    }
}

/// The cell of what is not there.
pub(crate) fn none() -> Markup {
    cell("–")
}

/// An interval in words.
pub(crate) fn interval(of: spring_metrics::Interval, decimals: usize) -> String {
    format!("{} to {}", number(of.low, decimals), number(of.high, decimals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_markup_and_what_no_page_may_hold() {
        assert_eq!(
            cell("<a b='c'>&\"\n\u{0}\u{1b}é").into_string(),
            "&lt;a b='c'&gt;&amp;&quot;\n\u{fffd}\u{fffd}é"
        );
        assert_eq!(excerpt(" one\n two\tthree", 7), "one two…");
        assert_eq!(cell(excerpt("<b>&", 3)).into_string(), "&lt;b&gt;…");
        assert_eq!(excerpt("naïve", 5), "naïve");
    }

    #[test]
    fn folds_what_is_long_and_says_what_it_leaves_out() {
        let row = |i: usize| vec![cell(format!("r{i}"))];
        let rows: Vec<Vec<Markup>> = (0..ROWS + MOST_ROWS + 3).map(row).collect();
        let html = folded_table("t", &[Column::Word("w")], &rows).into_string();
        assert_eq!(html.matches("<tr>").count(), 2 + ROWS + MOST_ROWS);
        assert!(html.contains("3 more are not on this page"));
        let short = folded_table("t", &[Column::Word("w")], &rows[..ROWS]).into_string();
        assert!(!short.contains("<details>"));
    }
}

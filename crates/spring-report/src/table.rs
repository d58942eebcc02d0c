//! A suite's table as text: for a page of Markdown, a paper in LaTeX, a program that reads CSV.

mod losses;
mod persons;
mod scores;
mod users;

use std::{collections::HashMap, fmt::Write, str::FromStr};

use spring_eval::{Difference, Summary, SummaryRow};
use spring_metrics::Interval;

use crate::{Error, Result, words::number};

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableFormat {
    /// Tables of GitHub's Markdown for each data set and budget.
    Markdown,
    /// The same as `tabular`s with the rules of the package booktabs.
    Latex,
    /// One table with every column, as `summary.csv`.
    Csv,
}

impl TableFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Markdown, Self::Latex, Self::Csv];

    /// Its name in arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Latex => "latex",
            Self::Csv => "csv",
        }
    }
}

impl FromStr for TableFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| "md, latex and csv are the choices".into())
    }
}

/// The tables of a run, of each data set and budget:
///
/// - the loss after each period on its own test part with its 95 % interval, the difference to the
///   method that the others are tested against with Holm's p, forgetting, tokens trained on, and
///   scores of generated texts where there are any: those of the task, the share that is attributed
///   to its user, and the longest passage copied from texts that could be learned, as a share of
///   the text. Where streams have noise, the share without noise of what was learned, and the share
///   of what is no noise that was learned; where they have a turning point, the loss after it, the
///   delay in periods, and the stale-preference rates. The best loss of a table is bold, and the
///   lowest of all methods that train on at most as many tokens has a dagger;
/// - the difference to the base with its interval and p, the user who fares worst, beside the base
///   and beside the method of the tests, and for how many users the method is worse than the base;
/// - persons and streams: attribution with its differences to the base and to another user's
///   adapter, copying, and what was learned of streams whose truth is known, with intervals;
/// - every score beside the loss with its interval and its test, a row each.
///
/// # Errors
///
/// [`Error::Table`] if the table cannot be written as CSV.
pub fn summary_table(summary: &Summary, format: TableFormat) -> Result<String> {
    if format == TableFormat::Csv {
        return summary.csv().map_err(|error| Error::Table(error.to_string()));
    }
    let mut text = String::new();
    for rows in groups(summary) {
        let beside = [
            users::table(&rows, &summary.against),
            persons::table(&rows),
            scores::table(&rows, &summary.against),
        ];
        let tables = [Some(losses::table(&rows, summary))].into_iter().chain(beside);
        for table in tables.flatten() {
            match format {
                TableFormat::Latex => table.latex(&mut text),
                _ => table.markdown(&mut text),
            }
        }
    }
    Ok(text)
}

/// Rows of one data set and budget.
pub(crate) fn groups(summary: &Summary) -> Vec<Vec<&SummaryRow>> {
    let mut groups: Vec<Vec<&SummaryRow>> = Vec::new();
    for row in &summary.rows {
        let same = |group: &&mut Vec<&SummaryRow>| {
            group[0].data == row.data && group[0].budget == row.budget
        };
        match groups.last_mut().filter(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// A table in words, for Markdown and LaTeX.
struct Table {
    title: String,
    heading: Vec<String>,
    /// Columns of words, on the left; the others are numbers.
    words: usize,
    rows: Vec<Vec<String>>,
    /// Signs at cells, by row and column.
    signs: HashMap<(usize, usize), Sign>,
    /// What stands below.
    notes: Vec<String>,
}

/// What stands out about a number.
#[derive(Debug, Clone, Copy, Default)]
struct Sign {
    bold: bool,
    dagger: bool,
}

impl Table {
    fn new(title: String, heading: &[&str]) -> Self {
        Self {
            title,
            heading: heading.iter().map(|name| (*name).to_owned()).collect(),
            words: 1,
            rows: vec![],
            signs: HashMap::new(),
            notes: vec![],
        }
    }

    fn markdown(&self, text: &mut String) {
        if !text.is_empty() {
            text.push('\n');
        }
        let line = |cells: &mut dyn Iterator<Item = String>| {
            cells.fold(String::from("|"), |line, cell| line + " " + &cell + " |") + "\n"
        };
        *text += &format!("**{}**\n\n", escaped_markdown(&self.title));
        *text += &line(&mut self.heading.iter().map(|name| escaped_markdown(name)));
        let numbers = self.heading.len() - self.words;
        *text += &format!("|{}{}\n", "---|".repeat(self.words), "---:|".repeat(numbers));
        for (place, row) in self.rows.iter().enumerate() {
            let cell = |(column, cell): (usize, &String)| {
                let Sign { bold, dagger } =
                    self.signs.get(&(place, column)).copied().unwrap_or_default();
                let cell = escaped_markdown(cell);
                let cell = if bold { format!("**{cell}**") } else { cell };
                if dagger { format!("{cell} †") } else { cell }
            };
            *text += &line(&mut row.iter().enumerate().map(cell));
        }
        *text += &self.notes.iter().map(|note| format!("\n{note}\n")).collect::<String>();
    }

    fn latex(&self, text: &mut String) {
        if !text.is_empty() {
            text.push('\n');
        }
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells.collect();
            format!("{} \\\\\n", cells.join(" & "))
        };
        let columns = "l".repeat(self.words) + &"r".repeat(self.heading.len() - self.words);
        *text += &format!("% {}\n", self.title.replace(['\n', '\r'], " "));
        let comment = |note: &String| format!("% {}\n", note.replace(['\n', '\r'], " "));
        *text += &self.notes.iter().map(comment).collect::<String>();
        *text += &format!("\\begin{{tabular}}{{{columns}}}\n\\toprule\n");
        *text += &line(&mut self.heading.iter().map(|name| escaped_latex(name)));
        *text += "\\midrule\n";
        for (place, row) in self.rows.iter().enumerate() {
            let cell = |(column, cell): (usize, &String)| {
                let Sign { bold, dagger } =
                    self.signs.get(&(place, column)).copied().unwrap_or_default();
                let cell = escaped_latex(cell);
                let cell = if bold { format!("\\textbf{{{cell}}}") } else { cell };
                if dagger { format!("{cell}$^{{\\dagger}}$") } else { cell }
            };
            *text += &line(&mut row.iter().enumerate().map(cell));
        }
        *text += "\\bottomrule\n\\end{tabular}\n";
    }
}

/// The data set and the budget of some rows.
fn group_name(rows: &[&SummaryRow]) -> String {
    format!("{}, budget {}", rows[0].data, rows[0].budget.name())
}

fn interval(of: Interval, decimals: usize) -> String {
    format!("{} to {}", number(of.low, decimals), number(of.high, decimals))
}

/// A mean over users with its interval.
fn mean_and_interval(of: Interval, decimals: usize) -> String {
    format!("{} ({})", number(of.mean, decimals), interval(of, decimals))
}

/// A corrected p; a dash where nothing is tested.
fn p_holm(difference: Option<Difference>) -> String {
    number(difference.and_then(Difference::test).map(|test| test.p_holm), 3)
}

fn escaped_markdown(cell: &str) -> String {
    let mut escaped = String::new();
    for sign in cell.chars() {
        match sign {
            '\n' | '\r' => escaped.push(' '),
            '|' | '*' | '_' | '`' | '<' | '[' | '\\' => escaped.extend(['\\', sign]),
            _ => escaped.push(sign),
        }
    }
    escaped
}

fn escaped_latex(cell: &str) -> String {
    let mut escaped = String::new();
    for sign in cell.chars() {
        match sign {
            '\n' | '\r' => escaped.push(' '),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', sign]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '−' => escaped.push_str("$-$"),
            '–' => escaped.push_str("--"),
            '†' => escaped.push_str("$\\dagger$"),
            '<' | '>' => _ = write!(escaped, "${sign}$"),
            _ => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_data_stay_names() {
        assert_eq!(escaped_markdown("a|b_<b>*\n[x]\\"), "a\\|b\\_\\<b>\\* \\[x]\\\\");
        assert_eq!(
            escaped_latex("a_b & 50 % {x}\\~^ −0.1 – <b>"),
            "a\\_b \\& 50 \\% \\{x\\}\\textbackslash{}\\textasciitilde{}\\textasciicircum{} \
             $-$0.1 -- $<$b$>$"
        );
    }
}

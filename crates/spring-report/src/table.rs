//! A suite's table as text: for a page of Markdown, a paper in LaTeX, a program that reads CSV.

use std::{fmt::Write, str::FromStr};

use spring_eval::{AttributionScores, Budget, Summary, SummaryRow};
use spring_metrics::Interval;

use crate::{Error, Result, words::number};

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableFormat {
    /// A table of GitHub's Markdown for each data set and budget.
    Markdown,
    /// A `tabular` with the rules of the package booktabs for each data set and budget.
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

/// The table of a run: the loss after each period on its own test part with its 95 % interval, the
/// difference to the method that the others are tested against with Holm's p, forgetting, tokens
/// trained on, and scores of generated texts where there are any: those of the task, the share that
/// is attributed to its user, and the longest passage copied from texts that could be learned, as a
/// share of the text. Where streams have noise, the share without noise of what was learned, and
/// the share of what is no noise that was learned; where they have a turning point, the loss after
/// it, the delay in periods, and the stale-preference rates. The best loss of a table is bold.
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
        let table = Table::of(&rows, &summary.against);
        match format {
            TableFormat::Latex => table.latex(&mut text),
            _ => table.markdown(&mut text),
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

struct Table<'s> {
    data: &'s str,
    budget: Budget,
    users: usize,
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
    /// The row with the lowest loss.
    best: Option<usize>,
    /// What the attributions are to be compared with.
    note: Option<String>,
}

impl<'s> Table<'s> {
    fn of(rows: &[&'s SummaryRow], against: &str) -> Self {
        let mut heading = ["method", "nats/byte", "95 %"].map(str::to_owned).to_vec();
        heading.extend([format!("difference to {against}"), "p (Holm)".into()]);
        heading.extend(["forgetting", "tokens"].map(str::to_owned));
        let scores = scores_of(rows[0]);
        heading.extend(scores.iter().map(|(name, _)| (*name).to_owned()));
        let truths = truths_of(rows);
        let texts = heading.len();
        heading.extend(truths.iter().map(|(name, _)| (*name).to_owned()));
        let has_attributions = rows.iter().any(|row| row.attribution.is_some());
        let has_copies = rows.iter().any(|row| row.copying.is_some());
        heading.extend(has_attributions.then(|| "attributed".to_owned()));
        heading.extend(has_copies.then(|| "copied".to_owned()));
        heading.extend(rows[0].metrics.iter().map(|metric| metric.name.clone()));
        let cells = |row: &SummaryRow| {
            let (loss, test) = (row.per_byte, row.difference);
            let mut cells = vec![
                row.label.clone(),
                number(loss.map(|loss| loss.mean), 4),
                loss.map_or("–".into(), |loss| interval(loss, 4)),
                number(test.map(|test| test.difference.mean), 4),
                number(test.map(|test| test.p_holm), 3),
                number(row.continual.forgetting, 4),
                number(row.tokens, 0),
            ];
            cells.extend(scores_of(row).into_iter().map(|(_, score)| number(score, 3)));
            cells.resize(texts, "–".into());
            cells.extend(truths.iter().map(|(_, of)| number(of(row), 3)));
            let attributed = number(row.attribution.map(|of| of.generated.mean), 3);
            cells.extend(has_attributions.then_some(attributed));
            let copied = number(row.copying.map(|of| of.training[1]), 3);
            cells.extend(has_copies.then_some(copied));
            cells.extend(row.metrics.iter().map(|metric| match metric.score {
                Some(score) => format!("{} ({})", number(score.mean, 3), interval(score, 3)),
                None => "–".into(),
            }));
            cells
        };
        let rows_of_cells = rows.iter().map(|row| cells(row)).collect();
        let means =
            rows.iter().enumerate().filter_map(|(place, r)| Some((place, r.per_byte?.mean)));
        let best = means.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(place, _)| place);
        Self {
            data: &rows[0].data,
            budget: rows[0].budget,
            users: rows.iter().map(|row| row.users).max().unwrap_or(0),
            heading,
            rows: rows_of_cells,
            best,
            note: rows.iter().find_map(|row| row.attribution).map(note),
        }
    }

    fn title(&self) -> String {
        let (data, budget, users) = (self.data, self.budget.name(), self.users);
        format!("{data}, budget {budget}, {users} users")
    }

    fn markdown(&self, text: &mut String) {
        if !text.is_empty() {
            text.push('\n');
        }
        let line = |cells: &mut dyn Iterator<Item = String>| {
            cells.fold(String::from("|"), |line, cell| line + " " + &cell + " |") + "\n"
        };
        *text += &format!("**{}**\n\n", escaped_markdown(&self.title()));
        *text += &line(&mut self.heading.iter().map(|name| escaped_markdown(name)));
        let numbers = self.heading.len() - 1;
        *text += &format!("|---|{}\n", "---:|".repeat(numbers));
        for (place, row) in self.rows.iter().enumerate() {
            let cell = |(column, cell): (usize, &String)| match column {
                1 if self.best == Some(place) => format!("**{cell}**"),
                _ => escaped_markdown(cell),
            };
            *text += &line(&mut row.iter().enumerate().map(cell));
        }
        *text += &self.note.iter().map(|note| format!("\n{note}\n")).collect::<String>();
    }

    fn latex(&self, text: &mut String) {
        if !text.is_empty() {
            text.push('\n');
        }
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells.collect();
            format!("{} \\\\\n", cells.join(" & "))
        };
        let columns = "r".repeat(self.heading.len() - 1);
        *text += &format!("% {}\n", self.title().replace(['\n', '\r'], " "));
        *text += &self.note.iter().map(|note| format!("% {note}\n")).collect::<String>();
        *text += &format!("\\begin{{tabular}}{{l{columns}}}\n\\toprule\n");
        *text += &line(&mut self.heading.iter().map(|name| escaped_latex(name)));
        *text += "\\midrule\n";
        for (place, row) in self.rows.iter().enumerate() {
            let cell = |(column, cell): (usize, &String)| match column {
                1 if self.best == Some(place) => format!("\\textbf{{{}}}", escaped_latex(cell)),
                _ => escaped_latex(cell),
            };
            *text += &line(&mut row.iter().enumerate().map(cell));
        }
        *text += "\\bottomrule\n\\end{tabular}\n";
    }
}

/// What shares of attributed texts are to be compared with, and what of the texts is copied.
fn note(AttributionScores { real, chance, .. }: AttributionScores) -> String {
    format!(
        "Of real held-out texts {} (95 %: {}) are attributed to their user, by chance {}. Chance \
         is a mean over users, and a verbatim copy of a text that could be learned counts as \
         attributed, so read it together with what is copied.",
        number(real.mean, 3),
        interval(real, 3),
        number(chance, 3)
    )
}

fn interval(of: Interval, decimals: usize) -> String {
    format!("{} to {}", number(of.low, decimals), number(of.high, decimals))
}

/// A column's number.
type Of = fn(&SummaryRow) -> Option<f64>;

/// What is known of streams with noise or a turning point, as far as a table's rows have it.
fn truths_of(rows: &[&SummaryRow]) -> Vec<(&'static str, Of)> {
    let mut columns: Vec<(&str, Of)> = Vec::new();
    if rows.iter().any(|row| row.has_noise()) {
        columns.push(("clean", |row| row.synthetic.and_then(|of| of[2])));
        columns.push(("clean learned", |row| row.synthetic.and_then(|of| of[5])));
    }
    if rows.iter().any(|row| row.turn.is_some()) {
        columns.push(("loss after the turn", |row| row.turn.map(|turn| turn.loss)));
        columns.push(("delay", |row| row.turn.and_then(|turn| turn.delay)));
    }
    if rows.iter().any(|row| row.turn.is_some() && row.synthetic.is_some_and(|of| of[4].is_some()))
    {
        columns.push(("stale", |row| row.synthetic.and_then(|of| of[4])));
    }
    if rows.iter().any(|row| row.turn.is_some_and(|turn| turn.stale_written.is_some())) {
        columns.push(("stale, written", |row| row.turn.and_then(|turn| turn.stale_written)));
    }
    columns
}

/// Scores of what was generated, as the task asks for them.
fn scores_of(row: &SummaryRow) -> Vec<(&'static str, f64)> {
    match (row.labels, row.numbers, row.generated) {
        (Some(labels), _, _) => vec![("accuracy", labels.accuracy), ("F1", labels.f1)],
        (_, Some(numbers), _) => vec![("MAE", numbers.mae), ("RMSE", numbers.rmse)],
        (_, _, Some(texts)) => {
            vec![("ROUGE-1", texts.rouge1), ("ROUGE-L", texts.rouge_l), ("METEOR", texts.meteor)]
        }
        _ => vec![],
    }
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

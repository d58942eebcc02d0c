//! Scores beside the loss with their intervals and tests.

use maud::{Markup, html};
use spring_eval::{Measure, SummaryRow};

use super::Group;
use crate::markup::{Column, cell, cell_with, details, interval, none, number};

/// A score's mean over its interval.
pub(super) fn measured(row: &SummaryRow, measure: Measure) -> Markup {
    let decimals = measure.decimals();
    match row.measures.iter().find(|score| score.measure == measure) {
        Some(of) => cell_with(number(of.score.mean, decimals), interval(of.score, decimals)),
        None => none(),
    }
}

impl Group<'_> {
    /// All of them, folded away: a row for each score and method.
    pub(super) fn scores_table(&self) -> Markup {
        let cells = |measure: Measure, row: &SummaryRow| -> Option<Vec<Markup>> {
            let score = row.measures.iter().find(|score| score.measure == measure)?;
            let decimals = measure.decimals();
            let difference = score.difference.map_or_else(none, |difference| {
                let of = difference.interval();
                cell_with(number(of.mean, decimals), interval(of, decimals))
            });
            let test = score.difference.and_then(|difference| difference.test());
            let p =
                test.map_or_else(none, |test| cell_with(number(test.p_holm, 3), number(test.p, 3)));
            let users = cell(score.score.users.to_string());
            let names = [cell(measure.name()), cell(&row.label), measured(row, measure)];
            Some(names.into_iter().chain([users, difference, p]).collect())
        };
        let rows = Measure::ALL
            .into_iter()
            .flat_map(|measure| self.rows.iter().filter_map(move |row| cells(measure, row)));
        let rows: Vec<Vec<Markup>> = rows.collect();
        if rows.is_empty() {
            return html! {};
        }
        let against = self.against.map_or("", |row| row.label.as_str());
        let difference = format!("difference to {against}");
        let columns = [
            Column::Word("score"),
            Column::Label("method"),
            Column::Number("mean"),
            Column::Number("users"),
            Column::Number(&difference),
            Column::Number("p (Holm; raw)"),
        ];
        let summary = "Scores beside the loss, with intervals over users and tests";
        details(summary, "Scores with intervals and tests", &columns, &rows)
    }
}

//! Persons and streams: whose the texts are, what is copied, and what was learned of streams whose
//! truth is known.

use spring_data::synth::TextKind;
use spring_eval::{Difference, Measure, SummaryRow};

use super::{Table, group_name, mean_and_interval, p_holm};
use crate::words::number;

/// What a column says of a row.
type Cell<'c> = Box<dyn Fn(&SummaryRow) -> String + 'c>;

/// Scores of streams whose truth is known, in the order of the columns.
const OF_SELECTIONS: [Measure; 4] =
    [Measure::Precision, Measure::Recall, Measure::Clean, Measure::CleanRecall];
const OF_CHANGES: [Measure; 3] = [Measure::TurnDelay, Measure::Stale, Measure::StaleWritten];

/// `None` where there is nothing to tell.
pub(super) fn table(rows: &[&SummaryRow]) -> Option<Table> {
    let mut columns: Vec<(String, Cell<'_>)> = Vec::new();
    let mut add = |name: &str, cell: Cell<'static>| columns.push((name.to_owned(), cell));
    let difference = |of: fn(&SummaryRow) -> Option<Difference>| -> [Cell<'static>; 2] {
        let mean = move |row: &SummaryRow| {
            of(row).map_or("–".into(), |of| mean_and_interval(of.interval(), 3))
        };
        [Box::new(mean), Box::new(move |row: &SummaryRow| p_holm(of(row)))]
    };
    let has = |of: &dyn Fn(&SummaryRow) -> bool| rows.iter().any(|row| of(row));
    if has(&|row| row.attribution.is_some()) {
        add("attributed", measured(Measure::Attributed));
        let [mean, p] = difference(SummaryRow::attributed_above_base);
        add("above the base", mean);
        add("p (Holm)", p);
    }
    if has(&|row| row.attributed_above_other_user().is_some()) {
        let [mean, p] = difference(SummaryRow::attributed_above_other_user);
        add("above another user", mean);
        add("p (Holm)", p);
    }
    if has(&|row| row.copying.is_some()) {
        add("copied", Box::new(|row| number(row.copying.map(|of| of.training[1]), 3)));
        let retrieved = |row: &SummaryRow| row.copying.and_then(|of| of.retrieved);
        let share = move |row: &SummaryRow| number(retrieved(row).map(|of| of[1]), 3);
        add("copied of what was read", Box::new(share));
    }
    let is_measured = |row: &SummaryRow, measure: Measure| {
        row.measures.iter().any(|score| score.measure == measure)
    };
    for measure in OF_SELECTIONS {
        if has(&|row| is_measured(row, measure)) {
            add(measure.name(), measured(measure));
        }
    }
    for kind in kinds(rows) {
        let name = format!("taken: {}", kind.name().trim_start_matches("noise, "));
        add(&name, Box::new(move |row| number(row.taken(kind), 3)));
    }
    for measure in OF_CHANGES {
        if has(&|row| is_measured(row, measure)) {
            add(measure.name(), measured(measure));
        }
    }
    if columns.is_empty() {
        return None;
    }
    let title = format!("{}: persons and streams", group_name(rows));
    let mut table = Table::new(title, &["method"]);
    table.heading.extend(columns.iter().map(|(name, _)| name.clone()));
    let cells = |row: &&SummaryRow| {
        let cells = columns.iter().map(|(_, cell)| cell(row));
        std::iter::once(row.label.clone()).chain(cells).collect()
    };
    table.rows = rows.iter().map(cells).collect();
    table.notes.push("Means over users, with 95 % intervals in brackets.".into());
    Some(table)
}

/// A score with its interval.
fn measured(measure: Measure) -> Cell<'static> {
    Box::new(move |row| {
        let score = row.measures.iter().find(|score| score.measure == measure);
        score.map_or("–".into(), |of| mean_and_interval(of.score, measure.decimals()))
    })
}

/// The kinds of text, where streams have noise.
fn kinds(rows: &[&SummaryRow]) -> Vec<TextKind> {
    let with_noise = rows.iter().any(|row| row.has_noise());
    let of_rows = rows.iter().filter(|_| with_noise).flat_map(|row| &row.taken);
    let mut kinds: Vec<TextKind> = of_rows.map(|count| count.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

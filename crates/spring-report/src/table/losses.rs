//! What a run found first: losses, their cost, and scores of what was written.

use spring_eval::{AttributionScores, Summary, SummaryRow};

use super::{Sign, Table, group_name, interval, mean_and_interval, p_holm};
use crate::words::number;

pub(super) fn table(rows: &[&SummaryRow], summary: &Summary) -> Table {
    let users = rows.iter().map(|row| row.users).max().unwrap_or(0);
    let title = format!("{}, {users} users", group_name(rows));
    let difference = format!("difference to {}", summary.against);
    let heading = ["method", "nats/byte", "95 %", &difference, "p (Holm)", "forgetting", "tokens"];
    let mut table = Table::new(title, &heading);
    let heading = &mut table.heading;
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
    let cells =
        |row: &SummaryRow| {
            let (loss, difference) = (row.per_byte, row.to_against());
            let mut cells = vec![
                row.label.clone(),
                number(loss.map(|loss| loss.mean), 4),
                loss.map_or("–".into(), |loss| interval(loss, 4)),
                number(difference.map(|difference| difference.interval().mean), 4),
                p_holm(difference),
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
            cells.extend(row.metrics.iter().map(|metric| {
                metric.score.map_or("–".into(), |score| mean_and_interval(score, 3))
            }));
            cells
        };
    table.rows = rows.iter().map(|row| cells(row)).collect();
    let means = rows.iter().enumerate().filter_map(|(place, r)| Some((place, r.per_byte?.mean)));
    let best = means.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(place, _)| place);
    for (place, row) in rows.iter().enumerate() {
        let (bold, dagger) = (best == Some(place), row.best_within_tokens == Some(true));
        table.signs.insert((place, 1), Sign { bold, dagger });
    }
    table.notes.extend(rows.iter().find_map(|row| row.attribution).map(note));
    if rows.iter().any(|row| row.best_within_tokens == Some(true)) {
        let dagger = "† The lowest loss of all methods that train on at most as many tokens; those \
                      with others' adapters are left out.";
        table.notes.push(dagger.into());
    }
    if let Some(own) = &summary.in_place_of {
        table.notes.push(format!(
            "Differences are to {}, as asked for afterwards; the suite's own are to {own}.",
            summary.against
        ));
    }
    if !summary.contrasts.is_empty() {
        table.notes.push(
            "The suite declares which differences are tested; the others have no p.".to_owned(),
        );
    }
    table
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

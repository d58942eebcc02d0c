//! Scores beside the loss, a row for each score and method: intervals over users, and tests.

use spring_eval::{Measure, SummaryRow};

use super::{Table, group_name, interval, p_holm};
use crate::words::number;

/// `None` where there are none.
pub(super) fn table(rows: &[&SummaryRow], against: &str) -> Option<Table> {
    let title = format!("{}: scores beside the loss", group_name(rows));
    let difference = format!("difference to {against}");
    let heading = ["score", "method", "mean", "95 %", &difference, "95 %", "p (Holm)"];
    let mut table = Table::new(title, &heading);
    table.words = 2;
    for measure in Measure::ALL {
        let decimals = measure.decimals();
        for row in rows {
            let found = row.measures.iter().find(|score| score.measure == measure);
            let Some(found) = found else { continue };
            let difference = found.difference.map(|difference| difference.interval());
            table.rows.push(vec![
                measure.name().to_owned(),
                row.label.clone(),
                number(found.score.mean, decimals),
                interval(found.score, decimals),
                number(difference.map(|of| of.mean), decimals),
                difference.map_or("–".into(), |of| interval(of, decimals)),
                p_holm(found.difference),
            ]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

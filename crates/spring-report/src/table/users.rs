//! Whether a method is worse than the base for somebody.

use spring_eval::{Difference, SummaryRow, UserDifferences};

use super::{Table, group_name, interval, p_holm};
use crate::words::number;

/// `None` without the base.
pub(super) fn table(rows: &[&SummaryRow], against: &str) -> Option<Table> {
    if rows.iter().all(|row| row.users_to_base.is_none()) {
        return None;
    }
    let title = format!("{}: every method beside the base", group_name(rows));
    let (to, than) = (format!("worst user to {against}"), format!("users worse than {against}"));
    let heading = [
        "method",
        "difference to base",
        "95 %",
        "p (Holm)",
        "worst user to base",
        "users worse than base",
        &to,
        &than,
    ];
    let mut table = Table::new(title, &heading);
    let users = |of: &Option<UserDifferences>| {
        let worst = of.as_ref().and_then(UserDifferences::worst).map(|(_, least)| least);
        let worse = of.as_ref().map(|of| format!("{} of {}", of.worse(), of.users.len()));
        [number(worst, 4), worse.unwrap_or_else(|| "–".into())]
    };
    let with_losses = rows.iter().filter(|row| row.per_byte.is_some());
    table.rows = with_losses
        .map(|row| {
            let of = row.above_base.map(Difference::interval);
            let mut cells = vec![row.label.clone(), number(of.map(|of| of.mean), 4)];
            cells.push(of.map_or("–".into(), |of| interval(of, 4)));
            cells.push(p_holm(row.above_base));
            cells.extend(users(&row.users_to_base));
            cells.extend(users(&row.users_to_against));
            cells
        })
        .collect();
    Some(table)
}

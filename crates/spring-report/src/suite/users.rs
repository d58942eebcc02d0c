//! Whether a method is worse than the base for somebody.

use maud::{Markup, html};
use spring_eval::UserDifferences;

use super::{
    Group,
    tables::{least_p, tested},
};
use crate::markup::{Column, cell, cell_with, clean, count, none, number, table};

impl Group<'_> {
    /// Each method beside the base, on average and for the user who fares worst.
    pub(super) fn users_table(&self) -> Markup {
        if self.rows.iter().all(|row| row.users_to_base.is_none()) {
            return html! {};
        }
        let worst = |users: &Option<UserDifferences>| {
            let Some(users) = users else { return [none(), none()] };
            let worst = users.worst().map_or_else(none, |(user, difference)| {
                cell_with(number(difference, 4), clean(user))
            });
            [worst, cell(format!("{} of {}", users.worse(), users.users.len()))]
        };
        let rows: Vec<Vec<Markup>> = self
            .rows
            .iter()
            .filter(|row| row.per_byte.is_some())
            .map(|row| {
                let [difference, p, _] = tested(row.above_base);
                let users = worst(&row.users_to_base).into_iter();
                let users = users.chain(worst(&row.users_to_against));
                [cell(&row.label), difference, p].into_iter().chain(users).collect()
            })
            .collect();
        let against = self.against.map_or("", |row| row.label.as_str());
        let (to, than) =
            (format!("worst user to {against}"), format!("users worse than {against}"));
        let columns = [
            Column::Label("method"),
            Column::Number("difference to the base"),
            Column::Number("p (Holm; raw)"),
            Column::Number("worst user to the base"),
            Column::Number("users worse than the base"),
            Column::Number(&to),
            Column::Number(&than),
        ];
        html! {
            h3 { "Beside the base, user by user" } "\n"
            (table("Every method beside the base", &columns, &rows))
            p.note {
                "Nats per byte, below 0 is better. The worst user is the one with the largest \
                 difference, of " (count(self.users(), "user")) "; worse is who has more than 5e-7."
                (least_p(self.rows.iter().find_map(|row| row.above_base?.test())))
            }
            "\n"
        }
    }
}

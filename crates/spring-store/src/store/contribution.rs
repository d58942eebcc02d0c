//! Whether a user lets others start from what is learned of their texts.

use jiff::Timestamp;
use spring_memory::UserId;

use super::Store;
use crate::{
    Contribution, Result,
    backend::{Backend, ConsentRow, Durability, Fault, Outcome, Rows},
};

impl<B: Backend + ?Sized> Store<B> {
    /// What a user has said of contributing to priors; who has said nothing has not agreed.
    pub fn contribution(&self, user: &UserId) -> Result<Contribution> {
        self.read_user(user, |rows, row| contribution(rows, row.key))
    }

    /// Changes it from `at` on; the same again changes nothing. A prior that was learned already
    /// stays as it is.
    pub fn set_contribution(
        &self,
        user: &UserId,
        contributes: bool,
        at: Timestamp,
    ) -> Result<Contribution> {
        self.write_user(Durability::Power, user, |rows, row| {
            let there = contribution(&*rows, row.key)?;
            if there.since.is_none() || there.contributes != contributes {
                let said = ConsentRow { keep: contributes, since: at.as_second(), sum: 0 };
                rows.put_contribution(row.key, &said)?;
            }
            contribution(&*rows, row.key)
        })
    }
}

pub(super) fn contribution(rows: &dyn Rows, user: i64) -> Outcome<Contribution> {
    let Some(row) = rows.contribution(user)? else { return Ok(Contribution::default()) };
    let since = Timestamp::from_second(row.since);
    let since = since.map_err(|error| Fault::damaged("contributions", error))?;
    Ok(Contribution { contributes: row.keep, since: Some(since) })
}

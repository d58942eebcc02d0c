//! Whether a user lets conversations with a server be kept.

use jiff::Timestamp;
use spring_memory::{Interaction, UserId};

use super::{Store, encode::row_of, ingest::add, version::check_removals};
use crate::{
    Consent, Result, UserVersion,
    backend::{Backend, ConsentRow, Durability, Fault, Outcome, Rows},
};

impl<B: Backend + ?Sized> Store<B> {
    /// What a user has said; who has said nothing has not consented.
    pub fn consent(&self, user: &UserId) -> Result<Consent> {
        self.read_user(user, |rows, row| consent(rows, row.key))
    }

    /// Changes it from `at` on; the same again changes nothing.
    pub fn set_consent(
        &self,
        user: &UserId,
        keep_conversations: bool,
        at: Timestamp,
    ) -> Result<Consent> {
        self.write_user(Durability::Power, user, |rows, row| {
            let there = consent(&*rows, row.key)?;
            if there.since.is_none() || there.keep_conversations != keep_conversations {
                let since = at.as_second();
                let said = ConsentRow { keep: keep_conversations, since, sum: 0 };
                rows.put_consent(row.key, &said)?;
            }
            consent(&*rows, row.key)
        })
    }

    /// Keeps what was asked and answered as an interaction, if the user has consented; gives
    /// whether that is so. It is looked up in the same transaction, so that once
    /// [`set_consent`](Self::set_consent) has taken the consent back, nothing is kept any more.
    ///
    /// # Errors
    ///
    /// [`Error::Outdated`](crate::Error::Outdated) if a text of the user was removed since
    /// `version`, that of the memories that it was generated with: it may quote what was forgotten
    /// since. [`Error::DuplicateId`](crate::Error::DuplicateId) if its id is taken.
    pub fn keep_conversation(&self, version: &UserVersion, text: &Interaction) -> Result<bool> {
        let user = &version.user;
        self.write_user(Durability::Power, user, |rows, row| {
            if !consent(&*rows, row.key)?.keep_conversations {
                return Ok(false);
            }
            check_removals(version, row)?;
            let (_, text) = row_of(text.clone())?;
            if add(rows, row, user, 0, text)? {
                rows.put_user(row)?;
            }
            Ok(true)
        })
    }
}

pub(super) fn consent(rows: &dyn Rows, user: i64) -> Outcome<Consent> {
    let Some(row) = rows.consent(user)? else { return Ok(Consent::default()) };
    let since = Timestamp::from_second(row.since);
    let since = since.map_err(|error| Fault::damaged("consents", error))?;
    Ok(Consent { keep_conversations: row.keep, since: Some(since) })
}

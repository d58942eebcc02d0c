//! Records of generated texts.

use std::ops::ControlFlow;

use spring_memory::UserId;

use super::{
    Store,
    encode::{from_json, to_json},
    version::check_removals,
};
use crate::{
    Result, UserVersion,
    backend::{Backend, Durability, Outcome, Rows},
    record::AnswerRecord,
};

impl<B: Backend + ?Sized> Store<B> {
    /// Keeps the record of one generated text.
    ///
    /// # Errors
    ///
    /// [`Error::Outdated`](crate::Error::Outdated) if a text of the user was removed since
    /// `version`, that of the memories it was generated with: it may quote what was forgotten
    /// since.
    pub fn record_answer(&self, version: &UserVersion, answer: &AnswerRecord) -> Result<()> {
        let user = &version.user;
        self.write_user(Durability::Power, user, |rows, row| {
            check_removals(version, row)?;
            let record = to_json(&format!("the record of a text for user {user}"), answer)?;
            rows.put_answer(row.key, (&*record).into())
        })
    }

    /// The latest `limit` records of generated texts, newest first.
    pub fn answers(&self, user: &UserId, limit: usize) -> Result<Vec<AnswerRecord>> {
        self.read_user(user, |rows, row| {
            let mut answers = Vec::new();
            rows.answers(row.key, true, &mut |_, record| {
                if answers.len() == limit {
                    return Ok(ControlFlow::Break(()));
                }
                answers.push(from_json("answers", &record.value)?);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(answers)
        })
    }

    /// The newest record of a generated text that has `part` in it.
    pub fn find_answer(&self, user: &UserId, part: &str) -> Result<Option<AnswerRecord>> {
        self.newest_answer(user, |answer| answer.text.contains(part))
    }

    /// The record of a generated text by what whoever asked knows it by.
    pub fn answer(&self, user: &UserId, id: &str) -> Result<Option<AnswerRecord>> {
        self.newest_answer(user, |answer| answer.id.as_deref() == Some(id))
    }

    fn newest_answer(
        &self,
        user: &UserId,
        is_meant: impl Fn(&AnswerRecord) -> bool,
    ) -> Result<Option<AnswerRecord>> {
        self.read_user(user, |rows, row| {
            let mut found = None;
            rows.answers(row.key, true, &mut |_, record| {
                let answer: AnswerRecord = from_json("answers", &record.value)?;
                if !is_meant(&answer) {
                    return Ok(ControlFlow::Continue(()));
                }
                found = Some(answer);
                Ok(ControlFlow::Break(()))
            })?;
            Ok(found)
        })
    }
}

/// Hands every record to `take`, oldest first.
pub(super) fn each(
    rows: &dyn Rows,
    user: i64,
    mut take: impl FnMut(i64, &str) -> Outcome<()>,
) -> Outcome<()> {
    rows.answers(user, false, &mut |key, record| {
        take(key, &record.value)?;
        Ok(ControlFlow::Continue(()))
    })
}

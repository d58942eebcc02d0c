//! Who is in the state, and how much there is of them.

use spring_memory::UserId;

use super::{Store, answers, consent::consent, encode::time, version::version};
use crate::{
    Result, UserSize, UserSummary, UserVersion,
    backend::{Backend, Outcome, Rows, Texts, UserRow, Users},
};

impl<B: Backend + ?Sized> Store<B> {
    /// A page of users in the order of their names, after the one given.
    pub fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserSummary>> {
        self.read(|rows| {
            let mut page = Vec::new();
            for name in rows.users(Users::All, after, limit)? {
                let summary =
                    super::known(rows, &name).and_then(|user| summary(rows, &name, &user));
                page.push(summary.map_err(|fault| fault.of_user(&name))?);
            }
            Ok(page)
        })
    }

    /// One user.
    pub fn user(&self, user: &UserId) -> Result<UserSummary> {
        self.read_user(user, |rows, row| summary(rows, user, row))
    }

    /// Adds a user of whom there are no texts yet; false if there is one of this name.
    pub fn add_user(&self, user: &UserId) -> Result<bool> {
        self.write(|rows| {
            if rows.user(user)?.is_some() {
                return Ok(false);
            }
            let removals = rows.settings()?.removals;
            let row = rows.add_user(user, removals)?;
            rows.put_user(&row)?;
            Ok(true)
        })
    }

    /// A page of the users who have something to learn, in the order of their names, after the one
    /// given.
    pub fn users_to_adapt(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>> {
        self.read(|rows| rows.users(Users::Due, after, limit))
    }

    /// A page of those among them who have something new: a text in no period, or a period that no
    /// generation has learned, as after a crash. Who learns unasked takes these alone: what a
    /// rollback took back stays so until something new comes, or somebody asks.
    pub fn users_with_something_new(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>> {
        self.read(|rows| rows.users(Users::New, after, limit))
    }

    /// A page of the users whose generation in use is [unjudged](Self::unjudged), in the order of
    /// their names, after the one given. It reads no record, nor anything of the other users.
    pub fn users_with_something_unjudged(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>> {
        self.read(|rows| rows.users(Users::Unjudged, after, limit))
    }

    /// Which state of the user is there now: cheap, for whoever keeps what was made from an earlier
    /// one.
    pub fn version(&self, user: &UserId) -> Result<UserVersion> {
        self.read_user(user, |rows, row| version(rows, user, row))
    }

    /// How much room a user takes. It reads all of the user's texts.
    pub fn size(&self, user: &UserId) -> Result<UserSize> {
        self.read_user(user, |rows, row| {
            let mut size = UserSize::default();
            rows.interactions(row.key, Texts::BySeq, &mut |text| {
                let meta = text.meta.map_or(0, |meta| meta.len());
                size.texts +=
                    (text.prompt.len() + text.response.len() + text.id.len() + meta) as u64;
                Ok(())
            })?;
            for generation in rows.generations(row.key)? {
                size.records += generation.record;
                if let Some(memories) = generation.memories {
                    size.adapters += memories.adapter;
                    size.buffers += memories.buffer;
                }
            }
            answers::each(rows, row.key, |_, record| {
                size.records += record.len() as u64;
                Ok(())
            })?;
            Ok(size)
        })
    }
}

pub(super) fn summary(rows: &dyn Rows, name: &UserId, row: &UserRow) -> Outcome<UserSummary> {
    let extent = rows.extent(row.key)?;
    let at = |end: Option<(i64, i32)>| {
        end.map(|(seconds, nanoseconds)| time(seconds, nanoseconds)).transpose()
    };
    let in_use = match row.generation {
        0 => None,
        number => rows.generations(row.key)?.into_iter().find(|other| other.number == number),
    };
    Ok(UserSummary {
        user: name.clone(),
        interactions: extent.interactions,
        pending: row.pending,
        first: at(extent.first)?,
        last: at(extent.last)?,
        periods: u32::try_from(extent.periods).unwrap_or(u32::MAX),
        generation: row.generation,
        buffer: in_use.and_then(|row| row.memories).map_or(0, |memories| memories.buffered),
        consent: consent(rows, row.key)?.keep_conversations,
    })
}

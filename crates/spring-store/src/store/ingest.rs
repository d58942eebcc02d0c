//! Adding interactions: numbers, and ids that are there already.

use spring_memory::{Interaction, UserId};

use super::{
    Store,
    encode::{from_json, row_of},
    spool::Spool,
};
use crate::{
    Error, IngestReport, Result,
    backend::{Backend, Durability, Fault, InteractionRow, Outcome, RowsMut, Text, UserRow},
};

impl<B: Backend + ?Sized> Store<B> {
    /// Adds interactions, all of them or none. The same id with equal content is skipped.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateId`] with the place of the first whose id is taken by other content.
    pub fn ingest(
        &self,
        interactions: impl IntoIterator<Item = Interaction>,
    ) -> Result<IngestReport> {
        self.try_ingest(interactions.into_iter().map(Ok::<_, Error>))
    }

    /// The same from a source that may fail, such as a file. It is read to its end before anybody
    /// else is kept from writing.
    ///
    /// # Errors
    ///
    /// The first error of the source, or as [`ingest`](Self::ingest).
    pub fn try_ingest<E: From<Error>>(
        &self,
        interactions: impl IntoIterator<Item = Result<Interaction, E>>,
    ) -> Result<IngestReport, E> {
        let mut spool = Spool::new();
        for interaction in interactions {
            let added = row_of(interaction?).and_then(|(user, row)| spool.add(&user, &row));
            added.map_err(|fault| fault.at(self.backend.label()))?;
        }
        Ok(self.write(|rows| add_all(rows, &mut spool))?)
    }

    /// Puts a text in the place of the one of its id, if no period has that one yet; gives whether
    /// it did. The text gets a number of its own, so that what was computed of the other one does
    /// not become its.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUser`], or a text that would not read back.
    pub fn replace_pending(&self, user: &UserId, text: &Interaction) -> Result<bool> {
        self.write_user(Durability::Power, user, |rows, row| {
            let (_, text) = row_of(text.clone())?;
            let there = rows.interaction(row.key, Text::Id(&text.id))?;
            let Some(there) = there.filter(|there| there.place.is_none()) else {
                return Ok(false);
            };
            rows.delete_interaction(row.key, there.seq)?;
            rows.put_graph(row.key, None)?;
            row.pending = row.pending.saturating_sub(1);
            add(rows, row, user, 0, text)?;
            rows.put_user(row)?;
            Ok(true)
        })
    }
}

fn add_all(rows: &mut dyn RowsMut, spool: &mut Spool) -> Outcome<IngestReport> {
    let mut report = IngestReport::default();
    // Most sources have a user's interactions one behind the other.
    let mut latest: Option<(UserId, UserRow)> = None;
    spool.each(|index, name, row| {
        let mut user = match latest.take() {
            Some((same, user)) if same == name => user,
            other => {
                if let Some((_, user)) = other {
                    rows.put_user(&user)?;
                }
                match rows.user(&name).map_err(|fault| fault.of_user(&name))? {
                    Some(user) => user,
                    None => {
                        report.new_users += 1;
                        let removals = rows.settings()?.removals;
                        rows.add_user(&name, removals)?
                    }
                }
            }
        };
        let added = add(rows, &mut user, &name, index, row);
        match added.map_err(|fault| fault.of_user(&name))? {
            true => report.added += 1,
            false => report.skipped += 1,
        }
        latest = Some((name, user));
        Ok(())
    })?;
    if let Some((_, user)) = latest {
        rows.put_user(&user)?;
    }
    Ok(report)
}

/// Adds an interaction unless it is there; says whether it did.
pub(super) fn add(
    rows: &mut dyn RowsMut,
    user: &mut UserRow,
    name: &UserId,
    index: u64,
    row: InteractionRow,
) -> Outcome<bool> {
    match rows.interaction(user.key, Text::Id(&row.id))? {
        None => {
            rows.put_interaction(user.key, &InteractionRow { seq: user.next_seq, ..row })?;
            user.next_seq += 1;
            user.pending += 1;
            Ok(true)
        }
        Some(there) if is_same(&there, &row)? => Ok(false),
        Some(_) => {
            let id = spring_memory::InteractionId::new(row.id);
            let id = id.map_err(|error| Fault::damaged("interactions", error))?;
            Err(Error::DuplicateId { index, user: name.clone(), id }.into())
        }
    }
}

/// Whether two interactions of one user and id have the same content; `meta` counts as a value, not
/// as text.
fn is_same(one: &InteractionRow, other: &InteractionRow) -> Outcome<bool> {
    let value = |meta: &Option<String>| -> Outcome<Option<serde_json::Value>> {
        meta.as_ref().map(|meta| from_json("interactions", meta)).transpose()
    };
    let text = |row: &InteractionRow| {
        (row.seconds, row.nanoseconds) == (other.seconds, other.nanoseconds)
            && (row.prompt.as_str(), row.response.as_str())
                == (other.prompt.as_str(), other.response.as_str())
    };
    Ok(text(one) && (one.meta == other.meta || value(&one.meta)? == value(&other.meta)?))
}

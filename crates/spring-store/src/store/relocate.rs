//! A user from one state to another, by their rows.

use jiff::Timestamp;
use spring_memory::UserId;

use super::{
    Store, count_removal,
    digest::digest,
    generations::{marked, settle},
    keys, known, prior,
    transfer::{copy, is_unused},
};
use crate::{
    CopyError, Error, Forgotten, Result,
    backend::{Backend, Durability, Fault, KeyRow, Outcome, Rows, RowsMut, UserRow},
};

/// What became of a user who was to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// All of the user is there now.
    Added,
    /// It was there already, equal to the last bit.
    Equal,
    /// Another version of the user was there, and was replaced.
    Replaced {
        /// Keys of that user that the other state does not have or has revoked, and that open
        /// nothing any more.
        keys_revoked: u64,
    },
}

impl<B: Backend + ?Sized> Store<B> {
    /// Refuses a state of another base, or of other settings.
    pub(super) fn check_alike(&self, from: &Store) -> Result<()> {
        let refused = |source| Error::Copy { state: self.backend.label().into(), source };
        let (here, there) = (self.settings(), from.settings());
        let from = from.backend.label().to_owned();
        if here.fingerprint != there.fingerprint {
            let (here, there) = (here.model.clone(), there.model.clone());
            return Err(refused(CopyError::OtherBase { here, from, there }));
        }
        match here.config == there.config {
            true => Ok(()),
            false => Err(refused(CopyError::OtherSettings { from })),
        }
    }

    /// Gives this state all that another one of the same base and settings has of a user: texts,
    /// periods, generations and records of generated texts. What can be computed again, such as
    /// embeddings, is not copied. The copy is compared by its [digest](Self::digest).
    ///
    /// What was judged there of an equal user is judged here, too.
    ///
    /// The user is there whole afterwards, or as before. A user of whom there is nothing here but
    /// keys keeps them. Those of one who is replaced were given out for what was here: they are
    /// revoked unless they open the other state, too. No key that was revoked here opens anything
    /// again, and none that was revoked there opens the copy, whomever it speaks for: it is revoked
    /// here with the copy. For the other state's keys, see [`copy_keys`](Self::copy_keys).
    ///
    /// # Errors
    ///
    /// [`Error::Copy`] if the states differ in base or settings, if this one has another version of
    /// the user and it is not to be replaced, or if the user changed in the other one meanwhile.
    pub fn copy_user(&self, from: &Store, user: &UserId, replace: bool) -> Result<Copied> {
        let refused = |source| Error::Copy { state: self.backend.label().into(), source };
        let from_label = || from.backend.label().to_owned();
        self.check_alike(from)?;
        let (wanted, judged) = from.read_user(user, |rows, row| {
            Ok((digest(rows, user, row)?, marked(rows, row, false)?))
        })?;
        match self.digest(user) {
            Ok(digest) if digest == wanted => {
                self.settle_judged(user, &wanted, &judged)?;
                return Ok(Copied::Equal);
            }
            Ok(_) | Err(Error::UnknownUser { .. }) => {}
            Err(error) => return Err(error),
        }
        // Before others are kept from writing: there may be as many as users.
        let theirs = keys::by_hash(from.read(|rows| rows.keys())?);
        let outcome = self.write(|rows| {
            // Somebody may have written to the user since: what is there now decides.
            let old = match rows.user(user)? {
                Some(row) if !is_blank(rows, &row)? => {
                    if !replace {
                        let (user, from) = (user.clone(), from_label());
                        return Err(refused(CopyError::Differs { user, from }).into());
                    }
                    Some(remove(rows, user)?)
                }
                _ => None,
            };
            let mut result = Ok(());
            let read = from.read(|source| {
                // What is in the way here is not the other state's failure.
                result = copy(source, user, rows);
                Ok(())
            });
            read.map_err(Fault::Other)?;
            result?;
            let here = known(rows, user)?.key;
            // Those of gateways and administrators, too. Not even until the keys are copied may one
            // that was revoked there open what came from there.
            let Some(old) = old else {
                keys::revoke_as_of(rows, here, &theirs)?;
                return Ok(Copied::Added);
            };
            let mut keys_revoked = 0;
            for row in old {
                let revoked = match theirs.get(&row.hash) {
                    Some(theirs) => keys::revoked(theirs)?,
                    None => Some(Timestamp::now()),
                };
                let row = KeyRow { user: Some(here), ..row };
                keys_revoked += u64::from(revoked.is_some() && keys::revoked(&row)?.is_none());
                rows.put_key(&row)?;
                if let Some(at) = revoked {
                    keys::revoke(rows, row, at)?;
                }
            }
            keys::revoke_as_of(rows, here, &theirs)?;
            Ok(Copied::Replaced { keys_revoked })
        })?;
        if matches!(outcome, Copied::Replaced { .. }) {
            self.finished(Forgotten::default());
        }
        match self.digest(user)? == wanted {
            true => Ok(outcome),
            false => {
                let (user, from) = (user.clone(), from_label());
                Err(refused(CopyError::Changed { user, from }))
            }
        }
    }

    /// Takes the marks of generations that were judged in another state, where the user has this
    /// digest, which tells nothing of the marks: what was to stay there would be judged here again.
    fn settle_judged(&self, user: &UserId, wanted: &str, judged: &[u32]) -> Result<()> {
        let waiting = |rows: &dyn Rows, row: &UserRow| -> Outcome<Vec<u32>> {
            let mut waiting = marked(rows, row, true)?;
            waiting.retain(|number| judged.contains(number));
            Ok(waiting)
        };
        // Most have none, and nobody is kept from writing for them.
        if self.read_user(user, waiting)?.is_empty() {
            return Ok(());
        }
        self.write_user(Durability::Power, user, |rows, row| {
            // Who changed since may have other generations of these numbers.
            if digest(rows, user, row)? != wanted {
                return Ok(());
            }
            let waiting = waiting(rows, row)?;
            settle(rows, user, row.key, &waiting)
        })
    }
}

/// Whether nothing is kept of a user but the name, and keys. What was said of conversations counts,
/// unlike in an import, which leaves it: a copy is to be equal to the last bit.
fn is_blank(rows: &dyn Rows, row: &UserRow) -> Outcome<bool> {
    Ok(is_unused(rows, row)?
        && rows.consent(row.key)?.is_none()
        && rows.contribution(row.key)?.is_none())
}

/// Removes a user, and gives the keys that went along.
fn remove(rows: &mut dyn RowsMut, name: &UserId) -> Outcome<Vec<KeyRow>> {
    let UserRow { key, .. } = known(rows, name)?;
    let own = rows.keys()?.into_iter().filter(|row| row.user == Some(key)).collect();
    // Its texts are others by now: nobody would find what a prior knows of them.
    let may_know = prior::may_know(&*rows, key)?;
    prior::forget(rows, name, may_know, None)?;
    rows.delete_user(key)?;
    count_removal(rows)?;
    Ok(own)
}

//! A user from one state to another, by their rows.

use spring_memory::UserId;

use super::{Store, transfer::copy};
use crate::{
    Error, Result,
    backend::{Backend, Fault},
};

/// What became of a user who was to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// All of the user is there now.
    Added,
    /// It was there already, equal to the last bit.
    Equal,
    /// Another version of the user was there, and was replaced.
    Replaced,
}

impl<B: Backend + ?Sized> Store<B> {
    /// Gives this state all that another one of the same base and settings has of a user: texts,
    /// periods, generations and records of generated texts. What can be computed again, such as
    /// embeddings, is not copied. The copy is compared by its [digest](Self::digest).
    ///
    /// The user is there whole afterwards, or as before.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the states differ in base or settings, if this one has another version
    /// of the user and it is not to be replaced, or if the user changed in the other one meanwhile.
    pub fn copy_user(&self, from: &Store, user: &UserId, replace: bool) -> Result<Copied> {
        let refused = |reason: String| Error::State { state: self.backend.label().into(), reason };
        let (here, there) = (self.settings(), from.settings());
        if here.fingerprint != there.fingerprint {
            return Err(refused(format!(
                "made for the base model {}, and {} for another one, {}; only states of one base \
                 can be moved into each other",
                here.model,
                from.backend.label(),
                there.model
            )));
        }
        if here.config != there.config {
            return Err(refused(format!(
                "its settings differ from those of {}, under which the users have learned; `spring \
                 adapt --config` changes them",
                from.backend.label()
            )));
        }
        let wanted = from.digest(user)?;
        let outcome = match self.digest(user) {
            Ok(digest) if digest == wanted => return Ok(Copied::Equal),
            Ok(_) if !replace => {
                return Err(refused(format!(
                    "user {user} is there already and differs from the one in {}; remove one of \
                     them by `spring forget`, or say that this one is to be replaced (--replace)",
                    from.backend.label()
                )));
            }
            Ok(_) => {
                self.forget(user)?;
                Copied::Replaced
            }
            Err(Error::UnknownUser { .. }) => Copied::Added,
            Err(error) => return Err(error),
        };
        self.write(|rows| {
            let mut result = Ok(());
            let read = from.read(|source| {
                // What is in the way here is not the other state's failure.
                result = copy(source, user, rows);
                Ok(())
            });
            read.map_err(Fault::Other)?;
            result
        })?;
        match self.digest(user)? == wanted {
            true => Ok(outcome),
            false => Err(refused(format!(
                "user {user} changed in {} while being copied; run this again with --replace",
                from.backend.label()
            ))),
        }
    }
}

//! A user from one state to another, by their rows.

use spring_memory::UserId;

use super::{Store, transfer::copy};
use crate::{
    CopyError, Error, Result,
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
    /// [`Error::Copy`] if the states differ in base or settings, if this one has another version of
    /// the user and it is not to be replaced, or if the user changed in the other one meanwhile.
    pub fn copy_user(&self, from: &Store, user: &UserId, replace: bool) -> Result<Copied> {
        let refused = |source| Error::Copy { state: self.backend.label().into(), source };
        let (here, there) = (self.settings(), from.settings());
        let from_label = || from.backend.label().to_owned();
        if here.fingerprint != there.fingerprint {
            let (here, there) = (here.model.clone(), there.model.clone());
            return Err(refused(CopyError::OtherBase { here, from: from_label(), there }));
        }
        if here.config != there.config {
            return Err(refused(CopyError::OtherSettings { from: from_label() }));
        }
        let wanted = from.digest(user)?;
        let outcome = match self.digest(user) {
            Ok(digest) if digest == wanted => return Ok(Copied::Equal),
            Ok(_) if !replace => {
                let (user, from) = (user.clone(), from_label());
                return Err(refused(CopyError::Differs { user, from }));
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
            false => {
                let (user, from) = (user.clone(), from_label());
                Err(refused(CopyError::Changed { user, from }))
            }
        }
    }
}

//! A user's memories at one point in time.

use spring_memory::UserId;

use super::{Store, generations, version::version};
use crate::{
    EmbeddingMap, Result, RetrieverKind, UserSnapshot,
    backend::{Backend, Outcome, Rows, UserRow},
};

impl<B: Backend + ?Sized> Store<B> {
    /// A user's memories and the texts of their buffer, all of one point in time: those in use, or
    /// those of a generation.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`](crate::Error::UnknownRecord) if the number is not there,
    /// [`Error::Pruned`](crate::Error::Pruned) if it is no longer kept.
    pub fn recall(&self, user: &UserId, generation: Option<u32>) -> Result<UserSnapshot> {
        self.read_user(user, |rows, row| self.snapshot(rows, user, row, generation))
    }

    pub(super) fn snapshot(
        &self,
        rows: &dyn Rows,
        name: &UserId,
        user: &UserRow,
        generation: Option<u32>,
    ) -> Outcome<UserSnapshot> {
        let config = &self.settings.config;
        let generation = generations::get(rows, name, user, generation)?;
        let buffer = generation.as_ref().map_or(&[][..], |generation| &generation.buffer);
        let keys: Vec<u64> = buffer.iter().map(|item| item.key).collect();
        let calibrated = match &generation {
            Some(generation) if config.retrieval.retriever == RetrieverKind::Dense => {
                let made = generations::record(rows, name, user.key, generation.number)?;
                Some(made.record.config.retrieval)
            }
            _ => None,
        };
        let embeddings = match config.needs_embeddings() {
            true => self.known_embeddings(rows, user, &keys)?,
            false => EmbeddingMap::new(),
        };
        let texts = self.texts_by_seq(rows, name, user, &keys)?;
        let (version, prior) = (version(rows, name, user)?, self.prior_in_use(rows)?);
        Ok(UserSnapshot { version, generation, prior, calibrated, texts, embeddings })
    }
}

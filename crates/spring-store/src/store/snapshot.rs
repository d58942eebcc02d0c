//! A user's memories at one point in time.

use spring_memory::UserId;

use super::{Store, generations, version::version};
use crate::{EmbeddingMap, Result, RetrieverKind, UserSnapshot, backend::Backend};

impl<B: Backend + ?Sized> Store<B> {
    /// A user's memories and the texts of their buffer, all of one point in time: those in use, or
    /// those of a generation.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecord`](crate::Error::UnknownRecord) if the number is not there,
    /// [`Error::Pruned`](crate::Error::Pruned) if it is no longer kept.
    pub fn recall(&self, user: &UserId, generation: Option<u32>) -> Result<UserSnapshot> {
        let is_dense = self.settings.config.retrieval.retriever == RetrieverKind::Dense;
        self.read_user(user, |rows, row| {
            let generation = generations::get(rows, user, row, generation)?;
            let buffer = generation.as_ref().map_or(&[][..], |generation| &generation.buffer);
            let keys: Vec<u64> = buffer.iter().map(|item| item.key).collect();
            let calibrated = match &generation {
                Some(generation) if is_dense => {
                    let made = generations::record(rows, user, row.key, generation.number)?;
                    Some(made.record.config.retrieval)
                }
                _ => None,
            };
            let embeddings = match is_dense {
                true => self.known_embeddings(rows, row, &keys)?,
                false => EmbeddingMap::new(),
            };
            let texts = self.texts_by_seq(rows, user, row, &keys)?;
            let version = version(user, row);
            Ok(UserSnapshot { version, generation, calibrated, texts, embeddings })
        })
    }
}

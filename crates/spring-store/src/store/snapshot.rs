//! A user's memories at one point in time.

use std::collections::BTreeSet;

use spring_memory::UserId;

use super::{Store, generations, path::path, version::version};
use crate::{
    BankKind, EmbeddingMap, Result, RetrieverKind, StoredInteraction, UserSnapshot,
    backend::{Backend, Outcome, Rows, Texts, UserRow},
};

impl<B: Backend + ?Sized> Store<B> {
    /// A user's memories and the texts that are searched for a prompt, all of one point in time:
    /// those in use, or those of a generation.
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
        let texts = match (config.buffer.bank, &generation) {
            (BankKind::Buffer, _) | (_, None) => {
                let keys: Vec<u64> = buffer.iter().map(|item| item.key).collect();
                self.texts_by_seq(rows, name, user, &keys)?
            }
            (BankKind::History, Some(generation)) => {
                self.learned_by(rows, name, user, generation.number)?
            }
        };
        let calibrated = match &generation {
            Some(generation) if config.retrieval.retriever == RetrieverKind::Dense => {
                let made = generations::record(rows, name, user.key, generation.number)?;
                let made = made.record.config;
                // Of another bank it is another sample.
                (made.buffer.bank == config.buffer.bank).then_some(made.retrieval)
            }
            _ => None,
        };
        let embeddings = match config.needs_embeddings() {
            true => {
                let keys: Vec<u64> = texts.iter().map(|text| text.seq).collect();
                self.known_embeddings(rows, user, &keys)?
            }
            false => EmbeddingMap::new(),
        };
        // Of who has learned something it is no start, and its damage none of theirs.
        let prior = match &generation {
            None => self.prior_in_use(rows)?,
            Some(_) => None,
        };
        let version = version(rows, name, user)?;
        Ok(UserSnapshot { version, generation, prior, calibrated, texts, embeddings })
    }

    /// The texts of all periods that a generation and those before it have learned, held-out ones
    /// left out, by time, then sequence number; none of generation 0.
    pub fn learned_until(&self, user: &UserId, generation: u32) -> Result<Vec<StoredInteraction>> {
        self.read_user(user, |rows, row| self.learned_by(rows, user, row, generation))
    }

    fn learned_by(
        &self,
        rows: &dyn Rows,
        name: &UserId,
        user: &UserRow,
        generation: u32,
    ) -> Outcome<Vec<StoredInteraction>> {
        let generations = rows.generations(user.key)?;
        let periods: BTreeSet<u32> = path(&generations, generation).map(|row| row.period).collect();
        let mut texts = Vec::new();
        self.each_text(rows, name, user, Texts::ByTime, |text, place| {
            let is_learned =
                |(period, held_out): (u32, bool)| !held_out && periods.contains(&period);
            if place.is_some_and(is_learned) {
                texts.push(text);
            }
        })?;
        Ok(texts)
    }
}

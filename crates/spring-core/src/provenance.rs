//! Where what a user's model does came from: which texts it learned, when, and which of them a
//! given text is like.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use spring_drift::DriftScore;
use spring_memory::{DocumentFields, Interaction, UserId};

use crate::{
    Bm25Retriever, Result, Store, StoredInteraction,
    record::{AnswerRecord, LearnedPeriod},
};

/// A text that an adapter was trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LearnedText {
    /// Its sequence number.
    pub seq: u64,
    /// The text.
    pub interaction: Interaction,
    /// The period that selected it.
    pub period: u32,
    /// The generation that learned it first.
    pub generation: u32,
    /// When that was.
    pub learned: Timestamp,
    /// Its rank in the selection, from 1.
    pub rank: usize,
    /// Novelty, quality and drift score before it was learned, nats per token.
    #[serde(flatten)]
    pub score: DriftScore,
}

/// The periods that a generation came from, oldest first, its own last; none for 0.
///
/// # Errors
///
/// [`UnknownRecord`](spring_store::Error::UnknownRecord) if there is no such generation.
pub fn path_to(store: &Store, user: &UserId, generation: u32) -> Result<Vec<LearnedPeriod>> {
    let mut path = Vec::new();
    let mut number = generation;
    while number > 0 {
        let learned = store.record(user, number)?;
        number = learned.record.parent;
        path.push(learned);
    }
    path.reverse();
    Ok(path)
}

/// The texts that a generation was trained on, oldest period first, best first in each.
///
/// # Errors
///
/// As [`path_to`].
pub fn learned_texts(store: &Store, user: &UserId, generation: u32) -> Result<Vec<LearnedText>> {
    let mut learned = Vec::new();
    for LearnedPeriod { generation, record } in path_to(store, user, generation)? {
        let mut selected: Vec<_> =
            record.scores.iter().filter_map(|score| Some((score.selected?, score))).collect();
        selected.sort_by_key(|(rank, _)| *rank);
        let seqs: Vec<u64> = selected.iter().map(|(_, score)| score.seq).collect();
        let texts = store.interactions(user, &seqs)?;
        learned.extend(selected.iter().zip(texts).map(|((rank, score), text)| LearnedText {
            seq: score.seq,
            interaction: text.interaction,
            period: record.period,
            generation,
            learned: record.finished,
            rank: *rank,
            score: score.score,
        }));
    }
    Ok(learned)
}

/// Why a text may have been written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The newest record of a text that holds it: what was retrieved, what the gate decided, what
    /// each branch gave.
    pub answer: Option<AnswerRecord>,
    /// The generation that wrote it; where it is on no record, the one in use.
    pub generation: u32,
    /// The texts that this generation was trained on and that are most like it, best first.
    pub alike: Vec<AlikeText>,
}

/// A learned text that is like a given one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AlikeText {
    /// How like it is: its BM25 score.
    pub bm25: f64,
    /// The text.
    #[serde(flatten)]
    pub text: LearnedText,
}

/// Answers "why did the model write this?": the record, and the `k` learned texts that it is most
/// like.
///
/// Likeness is by words (BM25 over prompt and response): it shows what the adapter may have taken
/// it from, and proves nothing.
///
/// # Errors
///
/// If the state cannot be read, or its BM25 settings are out of range.
pub fn provenance(store: &Store, user: &UserId, text: &str, k: usize) -> Result<Provenance> {
    let answer = store.find_answer(user, text.trim())?;
    let generation = match &answer {
        Some(answer) => answer.generation,
        None => store.user(user)?.generation,
    };
    let learned = learned_texts(store, user, generation)?;
    let documents: Vec<StoredInteraction> = learned
        .iter()
        .map(|text| StoredInteraction::new(text.seq, text.interaction.clone()))
        .collect();
    let by_words =
        Bm25Retriever::new(store.settings().config.bm25.clone(), DocumentFields::Both, &documents)?;
    let mut by_seq: HashMap<u64, LearnedText> =
        learned.into_iter().map(|text| (text.seq, text)).collect();
    // Those that share a word with it: where most texts do, BM25 may be 0 or below.
    let hits = by_words.index().search(text, k, |_| true).into_iter();
    let alike = hits
        .filter_map(|hit| Some(AlikeText { bm25: hit.score, text: by_seq.remove(&hit.key)? }))
        .collect();
    Ok(Provenance { answer, generation, alike })
}

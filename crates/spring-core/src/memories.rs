//! The two memories of a user at one point in time, and the bank that retrieval searches.

use spring_memory::{Bm25Config, Bm25Index, BufferItem, Hit, UserId};
use spring_model::Adapter;

use crate::{Generation, Result, StateStore, StoredInteraction};

/// What a user's model consists of beside the base: the adapter, and the buffer of what it explains badly.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memories {
    /// The generation; 0 before the first period.
    pub generation: u32,
    /// The adapter; `None` before the first period.
    pub adapter: Option<Adapter>,
    /// The residual buffer, highest score first.
    pub buffer: Vec<BufferItem>,
    /// The gate's calibration sample: each buffer item's best score in a corpus without it.
    pub calibration: Vec<f64>,
}

impl Memories {
    /// Those of a stored generation.
    ///
    /// # Errors
    ///
    /// If the adapter's bytes are damaged.
    pub fn from_generation(generation: Generation) -> Result<Self> {
        Ok(Self {
            generation: generation.number,
            adapter: Some(Adapter::from_bytes(&generation.adapter)?),
            buffer: generation.buffer,
            calibration: generation.calibration,
        })
    }
}

/// The texts of a residual buffer, searchable by prompt (BM25). It is read at generation time and is no training data.
#[derive(Debug)]
pub struct RetrievalBank {
    index: Bm25Index,
    texts: Vec<StoredInteraction>,
}

impl RetrievalBank {
    /// Indexes the texts of a buffer; a document is the prompt, a line break, and the response.
    ///
    /// # Errors
    ///
    /// If the settings are out of range.
    pub fn new(config: &Bm25Config, texts: Vec<StoredInteraction>) -> Result<Self> {
        let mut index = Bm25Index::new(config.clone())?;
        for text in &texts {
            let interaction = &text.interaction;
            index.add(text.seq, &format!("{}\n{}", interaction.prompt, interaction.response));
        }
        Ok(Self { index, texts })
    }

    /// The `k` best texts for a prompt, best first; equal scores go to the newer.
    pub fn search(&self, prompt: &str, k: usize) -> Vec<Hit> {
        self.index.search(prompt, k, |_| true)
    }

    /// All texts of the bank, in the order of the buffer.
    pub fn texts(&self) -> &[StoredInteraction] {
        &self.texts
    }

    /// A text by its sequence number.
    pub fn text(&self, seq: u64) -> Option<&StoredInteraction> {
        self.texts.iter().find(|text| text.seq == seq)
    }

    /// Each text's best score in the bank without it: how alike this user's texts are to each other, which is what the
    /// gate's threshold is a quantile of.
    pub fn calibration(&self) -> Vec<f64> {
        self.texts
            .iter()
            .filter_map(|text| self.index.leave_one_out(text.seq, &text.interaction.prompt, 1))
            .collect()
    }
}

/// A user's memories from a state, and the bank over their buffer: those in use, or those of a generation.
///
/// # Errors
///
/// [`Error::UnknownUser`](crate::Error::UnknownUser), [`Error::UnknownRecord`](crate::Error::UnknownRecord), or a
/// state or adapter that cannot be read.
pub fn recall(
    store: &dyn StateStore,
    user: &UserId,
    generation: Option<u32>,
) -> Result<(Memories, RetrievalBank)> {
    let mut memories =
        store.generation(user, generation)?.map(Memories::from_generation).transpose()?.unwrap_or_default();
    let keys: Vec<u64> = memories.buffer.iter().map(|item| item.key).collect();
    let bank = RetrievalBank::new(&store.settings().config.bm25, store.interactions(user, &keys)?)?;
    // Recomputed, as the settings of BM25 may have changed since the period was learned.
    memories.calibration = bank.calibration();
    Ok((memories, bank))
}

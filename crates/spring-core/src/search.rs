//! Search over the whole history of one user.

use std::{collections::BTreeMap, fs::DirBuilder, path::Path};

use serde::Serialize;
use spring_memory::{
    GraphOrigin, HistoryConfig, HistoryIndex, Interaction, SearchFilter, SearchMode, SearchRequest,
    Tokenizer, UserId,
};

use crate::{
    EmbeddingMap, Error, History, HistoryEntry, LanguageModel, Result, Store, StoredInteraction,
    UserVersion,
    embedding::{embed_missing, embed_text, keep},
    progress::{Event, Progress, tell},
    retriever::without_template,
};

/// A text of the history, found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FoundText {
    /// BM25's score, the cosine similarity, or the sum of reciprocal ranks, by the mode.
    pub score: f64,
    /// Its sequence number.
    pub seq: u64,
    /// The period that it is in; none yet for a text that came after the last `adapt`.
    pub period: Option<u32>,
    /// Whether it is held out there.
    pub held_out: bool,
    /// The text.
    pub interaction: Interaction,
}

/// Embeddings computed between two transactions that keep them.
const KEPT_AT_ONCE: usize = 64;

/// One user's history, ready to be searched any number of times.
///
/// It holds this user's texts only. It is of the moment at which it was opened: open it again after
/// an ingest or a removal.
#[derive(Debug)]
pub struct HistorySearch {
    mode: SearchMode,
    index: HistoryIndex,
    entries: BTreeMap<u64, HistoryEntry>,
    embedded: usize,
    graph: GraphOrigin,
}

impl HistorySearch {
    /// Indexes a user's history for one mode, by the `[search]` and `[bm25]` settings of the state.
    ///
    /// Held-out texts are not indexed, and count in no statistic, unless `held_out` says so. Dense
    /// and hybrid search need the base `model`: each text is embedded once, and its embedding kept
    /// in the state if that can be written. From `search.dense.exact_below` embeddings on, a graph
    /// over them is kept beside the state; it is read back only if it is, to the byte, the one that
    /// the state knows, and built anew otherwise.
    ///
    /// # Errors
    ///
    /// [`UnknownUser`](spring_store::Error::UnknownUser), a mode without the model that it needs,
    /// or a request to stop; embeddings computed so far are kept.
    pub fn open(
        model: Option<&dyn LanguageModel>,
        store: &Store,
        user: &UserId,
        mode: SearchMode,
        held_out: bool,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        Self::open_with(model, store, user, mode, held_out, None, progress)
    }

    /// The same with another tokenizer than the setting `search.tokenizer`, such as one that stems.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        model: Option<&dyn LanguageModel>,
        store: &Store,
        user: &UserId,
        mode: SearchMode,
        held_out: bool,
        tokenizer: Option<Tokenizer>,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let config = store.settings().config.clone();
        let History { version, mut entries, .. } = store.history(user)?;
        entries.retain(|entry| held_out || !entry.held_out);
        let (mut embedded, mut embeddings) = (0, EmbeddingMap::new());
        if mode != SearchMode::Bm25 {
            let model = model.ok_or(spring_memory::SearchError::NoEmbedding)?;
            let seqs: Vec<u64> = entries.iter().map(|entry| entry.stored.seq).collect();
            embeddings = store.embeddings(user, &seqs)?;
            let missing: Vec<&StoredInteraction> = entries
                .iter()
                .map(|entry| &entry.stored)
                .filter(|text| !embeddings.contains_key(&text.seq))
                .collect();
            let mut keeps = true;
            for some in missing.chunks(KEPT_AT_ONCE) {
                tell(progress, Event::Embedding { done: embedded, texts: missing.len() })?;
                let new = embed_missing(model, some.iter().copied(), &EmbeddingMap::new())?;
                keeps = keeps && keep(store, &version, &new);
                embedded += new.len();
                embeddings.extend(new);
            }
        }
        let texts: Vec<StoredInteraction> = match config.search.template_share {
            Some(_) => entries.iter().map(|entry| entry.stored.clone()).collect(),
            None => Vec::new(),
        };
        // A person looks for words however they are written; the gate's scores stay what they are.
        let bm25 = config.bm25.clone().with_tokenizer(tokenizer.unwrap_or(config.search.tokenizer));
        let bm25 = without_template(&bm25, config.search.template_share, &texts);
        let mut index = HistoryIndex::new(
            HistoryConfig::default()
                .with_fields(config.search.fields)
                .with_bm25(bm25)
                .with_dense(config.search.dense),
        )?;
        for HistoryEntry { stored, period, .. } in &entries {
            let embedding = embeddings.get(&stored.seq).map(Vec::as_slice);
            index.add(stored.seq, &stored.interaction, *period, embedding)?;
        }
        // A graph with held-out texts in it would take the place of the one that is searched every
        // day.
        let graph =
            if held_out { GraphOrigin::NotNeeded } else { graph_of(&mut index, store, &version)? };
        let entries = entries.into_iter().map(|entry| (entry.stored.seq, entry)).collect();
        Ok(Self { mode, index, entries, embedded, graph })
    }

    /// The number of texts that are searched, before any filter.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many texts had to be embedded to open it.
    pub fn embedded(&self) -> usize {
        self.embedded
    }

    /// Where the graph over the embeddings came from.
    pub fn graph(&self) -> &GraphOrigin {
        &self.graph
    }

    /// The best texts that pass the filter, best first, the newer of equals first.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn search(
        &self,
        model: Option<&dyn LanguageModel>,
        query: &str,
        limit: usize,
        filter: &SearchFilter,
    ) -> Result<Vec<FoundText>> {
        let embedding = match (self.mode, model) {
            (SearchMode::Bm25, _) | (_, None) => None,
            (_, Some(model)) => Some(embed_text(model, query)?),
        };
        let request = SearchRequest::new(query, limit)
            .with_mode(self.mode, embedding.as_deref())
            .with_filter(filter.clone());
        let hits = self.index.search(&request)?;
        let found = hits.into_iter().filter_map(|hit| {
            let HistoryEntry { stored, period, held_out, .. } = self.entries.get(&hit.key)?;
            Some(FoundText {
                score: hit.score,
                seq: hit.key,
                period: *period,
                held_out: *held_out,
                interaction: stored.interaction.clone(),
            })
        });
        Ok(found.collect())
    }
}

/// Reads the graph over the embeddings where it is worth having, or builds and keeps it.
fn graph_of(index: &mut HistoryIndex, store: &Store, version: &UserVersion) -> Result<GraphOrigin> {
    let Some(dense) =
        index.dense_mut().filter(|dense| dense.len() >= dense.config().exact_below.max(1))
    else {
        return Ok(GraphOrigin::NotNeeded);
    };
    let user = version.user();
    let Some(place) = store.graph_place(user)? else {
        dense.refresh();
        return Ok(GraphOrigin::Rebuilt("the state has no file to keep it beside".into()));
    };
    let origin = match &place.stamp {
        Some(stamp) => dense.load_graph(&place.folder, &place.name, stamp),
        None => {
            dense.refresh();
            GraphOrigin::Rebuilt("there was none yet".into())
        }
    };
    if let GraphOrigin::Rebuilt(reason) = &origin {
        tracing::info!("graph over the embeddings of user {user} built anew: {reason}");
        let kept = make_folder(&place.folder)
            .and_then(|()| Ok(dense.save_graph(&place.folder, &place.name)?))
            .and_then(|stamp| stamp.map_or(Ok(()), |stamp| Ok(store.set_graph(version, &stamp)?)));
        if let Err(error) = kept {
            tracing::warn!("the graph over the embeddings of user {user} is not kept: {error}");
        }
    }
    Ok(origin)
}

/// What lies there tells which texts are alike: only their owner may enter the folder.
fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| Error::Io { path: folder.into(), source })
}

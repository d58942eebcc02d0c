//! Decoding: rows that join and leave at any time, each with its own context, length and adapter.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::{
    Adapter, CausalLm, Lora, ModelBackend, ModelError, Result, RowId, Session, cache::RowCache,
    lora::LoraRows, to_host::to_host, transformer::CachedRow,
};

/// A [`Session`] on a model of this crate.
///
/// It shares the model and owns all else, so that it can outlive the call that made it and move to
/// another thread. On the CPU a row's distributions are the same to the last bit alone and in any
/// company, and for any number of threads.
#[derive(Debug)]
pub struct DecodingSession<B: Backend> {
    model: Arc<CausalLm<B>>,
    rows: BTreeMap<RowId, Row<B>>,
    next: u64,
}

#[derive(Debug)]
struct Row<B: Backend> {
    lora: Option<Arc<Lora<B>>>,
    cache: RowCache<B>,
    /// What the row began with and has not read yet.
    unread: VecDeque<u32>,
    /// The pass that read the row's last token, and where in it the row's numbers are.
    log_probs: Option<(Arc<Vec<f32>>, Range<usize>)>,
}

impl<B: ModelBackend> CausalLm<B> {
    /// A session without rows.
    pub fn session(self: &Arc<Self>) -> DecodingSession<B> {
        DecodingSession { model: self.clone(), rows: BTreeMap::new(), next: 0 }
    }
}

fn unknown(row: RowId) -> ModelError {
    ModelError::Sequence(format!("there is no {row} in this session; has it left?"))
}

/// Refuses more tokens than a row has room for.
fn check_room<B: ModelBackend>(id: RowId, row: &Row<B>, wanted: usize) -> Result<()> {
    let room = row.cache.room();
    match wanted <= room {
        true => Ok(()),
        false => Err(ModelError::Sequence(format!(
            "{id} has room for {room} more tokens, not for {wanted}; ask for more when it joins"
        ))),
    }
}

/// Refuses a row that has not read what it began with.
fn check_read<B: ModelBackend>(id: RowId, row: &Row<B>) -> Result<()> {
    match row.unread.len() {
        0 => Ok(()),
        left => Err(ModelError::Sequence(format!(
            "{id} has {left} tokens of its context to read first"
        ))),
    }
}

impl<B: ModelBackend> DecodingSession<B> {
    /// A row that begins with a context, behind `pad` columns of padding: what it gives is, to the
    /// last bit on the CPU, what it gives as a row of a padded batch of such parts.
    fn begin_padded(
        &mut self,
        context: &[u32],
        adapter: Option<&Arc<Adapter>>,
        room: usize,
        pad: usize,
    ) -> Result<RowId> {
        if context.is_empty() {
            let reason = "decoding needs a context of at least one token";
            return Err(ModelError::Sequence(reason.into()));
        }
        self.model.config.check_ids(context)?;
        let capacity = context.len().saturating_add(room);
        let id = self.open(adapter.cloned(), capacity)?;
        if let Some(row) = self.rows.get_mut(&id) {
            // No token sees padding. Whole parts of it need not be computed; where it shares a part
            // with the context, products have its shape.
            let shared = pad % self.model.context_at_once();
            row.cache = RowCache::new(&self.model.config, capacity).padded(pad);
            row.cache.skip(pad - shared);
            row.unread = std::iter::repeat_n(0, shared).chain(context.iter().copied()).collect();
        }
        Ok(id)
    }

    /// Runs one pass over some rows, each with its tokens.
    fn run(&mut self, mut parts: Vec<(RowId, &[u32])>, wants_log_probs: bool) -> Result<()> {
        // Rows of one adapter beside each other form one span.
        let adapter = |row: &Row<B>| row.lora.as_ref().map(|lora| Arc::as_ptr(lora) as usize);
        parts.sort_by_key(|(id, _)| (self.rows.get(id).and_then(adapter), *id));
        let tokens: BTreeMap<RowId, &[u32]> = parts.iter().copied().collect();
        let mut taking_part: BTreeMap<RowId, &mut Row<B>> = self
            .rows
            .iter_mut()
            .filter(|(id, _)| tokens.contains_key(id))
            .map(|(id, row)| (*id, row))
            .collect();
        let mut rows: Vec<(&mut Row<B>, &[u32])> = parts
            .iter()
            .filter_map(|(id, tokens)| Some((taking_part.remove(id)?, *tokens)))
            .collect();

        let model = &self.model;
        let ids: Vec<i64> =
            rows.iter().flat_map(|(_, tokens)| *tokens).map(|id| i64::from(*id)).collect();
        let count = ids.len();
        let loras: Vec<Option<Arc<Lora<B>>>> =
            rows.iter().flat_map(|(row, tokens)| tokens.iter().map(|_| row.lora.clone())).collect();
        let loras: Vec<Option<&Lora<B>>> = loras.iter().map(Option::as_deref).collect();
        let lora = LoraRows::new(&loras);
        let mut cached: Vec<CachedRow<'_, B>> = rows
            .iter_mut()
            .map(|(row, tokens)| CachedRow { cache: &mut row.cache, length: tokens.len() })
            .collect();
        let numbers = model.workers.pass(B::SIDE_BY_SIDE, || {
            let tokens = TensorData::new(ids, [count]);
            let tokens = Tensor::<B, 1, Int>::from_data(tokens, &model.device);
            let hidden = model.transformer.forward_cached(tokens, &lora, &mut cached);
            if !wants_log_probs {
                return Ok(None);
            }
            let ends = cached.iter().scan(0, |end, row| {
                *end += row.length as i64;
                Some(*end - 1)
            });
            let ends: Vec<i64> = ends.collect();
            let hidden = match ends.len() == count {
                true => hidden,
                false => {
                    let ends = TensorData::new(ends, [cached.len()]);
                    hidden.select(0, Tensor::from_data(ends, &model.device))
                }
            };
            to_host(model.transformer.head().log_probs_of_texts(hidden)).map(Some)
        })?;
        let Some(numbers) = numbers.map(Arc::new) else { return Ok(()) };
        let vocabulary = model.config.vocab_size;
        for (i, (row, _)) in rows.iter_mut().enumerate() {
            row.log_probs = Some((numbers.clone(), i * vocabulary..(i + 1) * vocabulary));
        }
        Ok(())
    }
}

impl<B: ModelBackend> Session for DecodingSession<B> {
    fn open(&mut self, adapter: Option<Arc<Adapter>>, capacity: usize) -> Result<RowId> {
        self.model.config.check_length(capacity)?;
        let lora = adapter.map(|adapter| self.model.resident(&adapter)).transpose()?;
        let id = RowId(self.next);
        self.next += 1;
        let cache = RowCache::new(&self.model.config, capacity);
        self.rows.insert(id, Row { lora, cache, unread: VecDeque::new(), log_probs: None });
        Ok(id)
    }

    fn read(&mut self, row: RowId, tokens: &[u32]) -> Result<()> {
        self.model.config.check_ids(tokens)?;
        let own = self.rows.get_mut(&row).ok_or_else(|| unknown(row))?;
        check_read(row, own)?;
        check_room(row, own, tokens.len())?;
        own.cache.reserve(tokens.len(), &self.model.device);
        // Attention of a part holds [part, context] and not [context, context].
        let mut parts = tokens.chunks(self.model.context_at_once()).peekable();
        while let Some(part) = parts.next() {
            self.run(vec![(row, part)], parts.peek().is_none())?;
        }
        Ok(())
    }

    fn join_branches(
        &mut self,
        contexts: &[&[u32]],
        adapter: Option<&Arc<Adapter>>,
        room: usize,
    ) -> Result<Vec<RowId>> {
        let rows = self.begin_branches(contexts, adapter, room)?;
        for row in &rows {
            let read = loop {
                match self.read_on(*row) {
                    Ok(0) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            if let Err(error) = read {
                rows.into_iter().for_each(|row| self.leave(row));
                return Err(error);
            }
        }
        Ok(rows)
    }

    fn begin_branches(
        &mut self,
        contexts: &[&[u32]],
        adapter: Option<&Arc<Adapter>>,
        room: usize,
    ) -> Result<Vec<RowId>> {
        let longest = contexts.iter().map(|context| context.len()).max().unwrap_or(0);
        let mut rows = Vec::with_capacity(contexts.len());
        for context in contexts {
            match self.begin_padded(context, adapter, room, longest - context.len()) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    rows.into_iter().for_each(|row| self.leave(row));
                    return Err(error);
                }
            }
        }
        Ok(rows)
    }

    fn read_on(&mut self, row: RowId) -> Result<usize> {
        let at_once = self.model.context_at_once();
        let own = self.rows.get_mut(&row).ok_or_else(|| unknown(row))?;
        // All of it at once, so that nothing is copied when it grows.
        own.cache.reserve(own.unread.len(), &self.model.device);
        let part: Vec<u32> = own.unread.drain(..at_once.min(own.unread.len())).collect();
        let left = own.unread.len();
        if !part.is_empty() {
            self.run(vec![(row, &part)], left == 0)?;
        }
        Ok(left)
    }

    fn leave(&mut self, row: RowId) {
        self.rows.remove(&row);
    }

    fn step(&mut self, tokens: &[(RowId, u32)]) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (id, token) in tokens {
            let row = self.rows.get(id).ok_or_else(|| unknown(*id))?;
            check_read(*id, row)?;
            check_room(*id, row, 1)?;
            self.model.config.check_ids(&[*token])?;
            if !seen.insert(*id) {
                let reason = format!("{id} is named twice in one step");
                return Err(ModelError::Sequence(reason));
            }
        }
        if tokens.is_empty() {
            return Ok(());
        }
        let parts = tokens.iter().map(|(id, token)| (*id, std::slice::from_ref(token))).collect();
        self.run(parts, true)
    }

    fn log_probs(&self, row: RowId) -> Option<&[f32]> {
        let (numbers, range) = self.rows.get(&row)?.log_probs.as_ref()?;
        numbers.get(range.clone())
    }
}

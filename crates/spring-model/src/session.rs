//! Decoding: rows that join and leave at any time, each with its own context, length and adapter.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::{
    Adapter, CausalLm, ContextPart, Lora, ModelBackend, ModelError, Result, RowId, Session,
    cache::{Columns, RowCache},
    lora::LoraRows,
    to_host::to_host,
    transformer::CachedRow,
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
    /// Its first columns, as far as they were read as any other row reads them: in whole parts from
    /// the beginning.
    whole: usize,
    /// How many tokens of its text were known when it began to read the last of them.
    known: usize,
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

/// Tokens of a part of a context that other rows can begin with, at most. Where a row's numbers are
/// the same to the last bit, a pass reads no more than one part.
const PART: usize = 128;

impl<B: ModelBackend> DecodingSession<B> {
    fn part_tokens(&self) -> usize {
        self.model.context_at_once().min(PART)
    }

    /// A row that is to read a context.
    fn begin(
        &mut self,
        context: &[u32],
        adapter: Option<&Arc<Adapter>>,
        room: usize,
    ) -> Result<RowId> {
        if context.is_empty() {
            let reason = "decoding needs a context of at least one token";
            return Err(ModelError::Sequence(reason.into()));
        }
        self.model.config.check_ids(context)?;
        let capacity = context.len().saturating_add(room);
        let id = self.open(adapter.cloned(), capacity)?;
        if let Some(row) = self.rows.get_mut(&id) {
            row.unread = context.iter().copied().collect();
            row.known = context.len();
        }
        Ok(id)
    }

    /// Reads one part of what is known.
    fn read_part(&mut self, id: RowId, part: &[u32], wants_log_probs: bool) -> Result<()> {
        self.run(vec![(id, part)], wants_log_probs)?;
        let part_tokens = self.part_tokens();
        if let Some(row) = self.rows.get_mut(&id)
            && row.whole + part.len() == row.cache.len()
        {
            row.whole += part.len() - part.len() % part_tokens;
        }
        Ok(())
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
        let before: Vec<usize> = rows.iter().map(|(row, _)| row.cache.len()).collect();
        let forward = |rows: &mut [_]| model.forward_rows(rows, wants_log_probs);
        let least = model.rows_of_a_thread();
        let passes = model.workers.divided(B::SIDE_BY_SIDE, &mut rows, least, forward);
        let done: Result<()> = passes.into_iter().collect();
        if done.is_err() {
            // All rows or none: whoever asked tries again.
            rows.iter_mut().zip(before).for_each(|((row, _), len)| row.cache.back_to(len));
        }
        done
    }
}

impl<B: ModelBackend> CausalLm<B> {
    /// How many rows of a step a thread takes at least, before each thread takes a part of them
    /// through all layers; fewer rows are one pass, whose products the threads share.
    ///
    /// Threads that share each product wait for each other some hundred times a step, and what is
    /// between products has one of them; threads that do not each read all weights. So it is worth
    /// it where weights are in the cache, or where computing takes longer than reading them
    /// (docs/results/performance.md).
    fn rows_of_a_thread(&self) -> usize {
        const CACHED: u64 = 8 << 20;
        match self.transformer.holds_blocks() {
            true => 4,
            false if self.config.parameters() <= CACHED => 2,
            false => 16,
        }
    }

    /// Runs one pass over some rows, each with its tokens.
    fn forward_rows(
        &self,
        rows: &mut [(&mut Row<B>, &[u32])],
        wants_log_probs: bool,
    ) -> Result<()> {
        let ids: Vec<i64> =
            rows.iter().flat_map(|(_, tokens)| *tokens).map(|id| i64::from(*id)).collect();
        let count = ids.len();
        let loras: Vec<Option<Arc<Lora<B>>>> =
            rows.iter().flat_map(|(row, tokens)| tokens.iter().map(|_| row.lora.clone())).collect();
        let loras: Vec<Option<&Lora<B>>> = loras.iter().map(Option::as_deref).collect();
        let lora = LoraRows::new(&loras);
        let mut cached: Vec<CachedRow<'_, B>> = rows
            .iter_mut()
            .map(|(row, tokens)| CachedRow {
                cache: &mut row.cache,
                length: tokens.len(),
                known: row.known,
            })
            .collect();
        let tokens = TensorData::new(ids, [count]);
        let tokens = Tensor::<B, 1, Int>::from_data(tokens, &self.device);
        let hidden = self.transformer.forward_cached(tokens, &lora, &mut cached);
        if !wants_log_probs {
            return Ok(());
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
                hidden.select(0, Tensor::from_data(ends, &self.device))
            }
        };
        let numbers = Arc::new(to_host(self.transformer.head().log_probs_of_texts(hidden))?);
        let vocabulary = self.config.vocab_size;
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
        let unread = VecDeque::new();
        let row = Row { lora, cache, unread, whole: 0, known: 0, log_probs: None };
        self.rows.insert(id, row);
        Ok(id)
    }

    fn read(&mut self, row: RowId, tokens: &[u32]) -> Result<()> {
        self.model.config.check_ids(tokens)?;
        let own = self.rows.get_mut(&row).ok_or_else(|| unknown(row))?;
        check_read(row, own)?;
        check_room(row, own, tokens.len())?;
        own.cache.reserve(tokens.len(), &self.model.device);
        own.known = own.cache.len() + tokens.len();
        // Attention of a part holds [part, context] and not [context, context].
        let mut parts = tokens.chunks(self.model.context_at_once()).peekable();
        while let Some(part) = parts.next() {
            self.read_part(row, part, parts.peek().is_none())?;
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
        let mut rows = Vec::with_capacity(contexts.len());
        for context in contexts {
            match self.begin(context, adapter, room) {
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
            self.read_part(row, &part, left == 0)?;
        }
        Ok(left)
    }

    fn part_length(&self) -> Option<usize> {
        Some(self.part_tokens())
    }

    fn part(&self, row: RowId, index: usize) -> Option<ContextPart> {
        let length = self.part_tokens();
        let row = self.rows.get(&row)?;
        let columns = index.checked_mul(length)?..index.checked_add(1)?.checked_mul(length)?;
        if columns.end > row.whole || row.known > self.model.config.read_alike_up_to() {
            return None;
        }
        let columns = row.cache.copy(columns, &self.model.device);
        let bytes = columns.bytes();
        Some(ContextPart::new(columns, bytes))
    }

    fn begin_behind(&mut self, row: RowId, parts: &[ContextPart]) -> Result<usize> {
        let length = self.part_tokens();
        let own = self.rows.get_mut(&row).ok_or_else(|| unknown(row))?;
        let tokens = parts.len().saturating_mul(length);
        let refused = |reason: &str| Err(ModelError::Sequence(format!("{row} {reason}")));
        if own.cache.len() > 0 || own.unread.len() <= tokens {
            return refused(
                "can begin behind less than its context, and before it reads any of it",
            );
        }
        let columns: Vec<&Columns<B>> = parts.iter().filter_map(ContextPart::get).collect();
        if columns.len() < parts.len() || columns.iter().any(|part| part.length() != length) {
            return refused("was given parts of another session's contexts");
        }
        // What is kept was read in texts that are short enough to be read alike.
        if own.known > self.model.config.read_alike_up_to() {
            return Ok(0);
        }
        // All of it at once, so that nothing is copied when it grows.
        own.cache.reserve(own.unread.len(), &self.model.device);
        columns.into_iter().for_each(|part| own.cache.append(part, &self.model.device));
        own.unread.drain(..tokens);
        own.whole = tokens;
        Ok(parts.len())
    }

    fn fork(&mut self, row: RowId) -> Result<Option<RowId>> {
        let own = self.rows.get(&row).ok_or_else(|| unknown(row))?;
        check_read(row, own)?;
        let fork = Row {
            lora: own.lora.clone(),
            cache: own.cache.fork(&self.model.device),
            unread: VecDeque::new(),
            whole: own.whole,
            known: own.known,
            log_probs: own.log_probs.clone(),
        };
        let id = RowId(self.next);
        self.next += 1;
        self.rows.insert(id, fork);
        Ok(Some(id))
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

//! A model that remembers: what one method, seed or budget of a user has trained or scored already
//! is not computed again.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::ControlFlow,
    sync::Mutex,
    time::Instant,
};

use spring_lm::{
    AdaptOutcome, Adapter, Branch, BranchVisitor, LanguageModel, ModelError, Score, ScoreRow,
    Train, TrainRequest, TrainStep,
};

use crate::FusedLoss;

/// The most bytes of adapters that are kept for a user; what is trained beyond that may be trained
/// again.
const MOST_BYTES: usize = 256 << 20;

/// What was computed for one user, to be handed to every run of that user: other seeds and budgets
/// share the base's scores, the first period, and all that does not depend on them.
///
/// One run at a time uses it. Only whole calls are remembered, so that a number never depends on
/// what was asked before: rows that are scored together may differ in their last bits from rows
/// that are scored alone.
#[derive(Debug, Default)]
pub struct Memo {
    trained: Known<AdaptOutcome>,
    scored: Known<Vec<Vec<f32>>>,
    /// Rows of R through gate and mixture.
    rows: Known<Vec<FusedLoss>>,
    /// Seconds that what was found here had taken.
    saved: Mutex<f64>,
    /// Bytes of the adapters that are kept.
    bytes: Mutex<usize>,
}

/// Values, and the seconds that each took.
type Known<T> = Mutex<HashMap<u64, (T, f64)>>;

impl Memo {
    /// What is known under a key, or else what `compute` gives, which is known from then on if
    /// there is room for it.
    fn remember<T: Clone, E>(
        &self,
        known: &Known<T>,
        key: u64,
        has_room: impl FnOnce(&T) -> bool,
        compute: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let found = known.lock().ok().and_then(|known| known.get(&key).cloned());
        if let Some((value, seconds)) = found {
            if let Ok(mut saved) = self.saved.lock() {
                *saved += seconds;
            }
            return Ok(value);
        }
        // The lock is not held meanwhile: computing one thing may ask for others.
        let (before, started) = (self.saved_seconds(), Instant::now());
        let value = compute()?;
        let seconds = started.elapsed().as_secs_f64() + self.saved_seconds() - before;
        if has_room(&value)
            && let Ok(mut known) = known.lock()
        {
            known.insert(key, (value.clone(), seconds));
        }
        Ok(value)
    }

    /// Whether an adapter is to be kept, which counts it.
    fn has_room_for(&self, adapter: &Adapter) -> bool {
        self.bytes.lock().is_ok_and(|mut bytes| {
            let with = *bytes + adapter.num_params() * size_of::<f32>();
            let fits = with <= MOST_BYTES;
            if fits {
                *bytes = with;
            }
            fits
        })
    }

    /// Seconds that everything found here so far had taken when it was computed.
    pub(crate) fn saved_seconds(&self) -> f64 {
        self.saved.lock().map_or(0.0, |saved| *saved)
    }

    /// A row of R by its key.
    pub(crate) fn row<E>(
        &self,
        key: u64,
        compute: impl FnOnce() -> Result<Vec<FusedLoss>, E>,
    ) -> Result<Vec<FusedLoss>, E> {
        self.remember(&self.rows, key, |_| true, compute)
    }
}

/// A number that differs for different adapters, and 0 for none.
pub(crate) fn adapter_key(adapter: Option<&Adapter>) -> Result<u64, ModelError> {
    let Some(adapter) = adapter else { return Ok(0) };
    let mut hasher = DefaultHasher::new();
    adapter.to_bytes()?.hash(&mut hasher);
    Ok(hasher.finish().max(1))
}

/// Scores and trains as a model does, but for what the memo knows.
pub(crate) struct Remembering<'m> {
    pub(crate) model: &'m dyn LanguageModel,
    pub(crate) memo: &'m Memo,
}

impl Score for Remembering<'_> {
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut hasher = DefaultHasher::new();
        // Rows of one call mostly share their adapter.
        let mut keys: HashMap<*const Adapter, u64> = HashMap::new();
        for (sequence, adapter) in rows {
            let place = adapter.map_or(std::ptr::null(), std::ptr::from_ref);
            let key = match keys.get(&place) {
                Some(key) => *key,
                None => *keys.entry(place).or_insert(adapter_key(*adapter)?),
            };
            (key, &sequence.context, &sequence.response).hash(&mut hasher);
        }
        self.memo.remember(&self.memo.scored, hasher.finish(), |_| true, || self.model.score(rows))
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<(), ModelError> {
        self.model.score_branches(branches, response, visit)
    }
}

impl Train for Remembering<'_> {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome, ModelError> {
        let TrainRequest { start, lora, examples, config, seed, .. } = request;
        // A look ahead trains an adapter for each text: they would leave no room for those of
        // whole periods, which are asked for again.
        if examples.len() == 1 {
            return self.model.train(request, progress);
        }
        let mut hasher = DefaultHasher::new();
        (adapter_key(start)?, seed, format!("{lora:?} {config:?}")).hash(&mut hasher);
        for example in examples {
            (&example.context, &example.response).hash(&mut hasher);
        }
        let has_room = |outcome: &AdaptOutcome| self.memo.has_room_for(&outcome.adapter);
        self.memo.remember(&self.memo.trained, hasher.finish(), has_room, || {
            self.model.train(request, progress)
        })
    }
}

/// A stretch of time in which what was found in a memo counts as if it had been computed: what a
/// method costs does not depend on the methods before it.
pub(crate) struct Watch<'m> {
    memo: &'m Memo,
    started: Instant,
    saved: f64,
}

impl<'m> Watch<'m> {
    pub(crate) fn start(memo: &'m Memo) -> Self {
        Self { memo, started: Instant::now(), saved: memo.saved_seconds() }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64() + self.memo.saved_seconds() - self.saved
    }
}

//! The residual buffer: what of a user's history is kept for retrieval.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    BufferPolicy, Evicted, Residual, Standing,
    policy::{EvictionOrder, by_key, checked_standing},
};

/// The paper's N_max.
pub const DEFAULT_CAPACITY: usize = 200;

/// One interaction in the buffer, with the scores that it was last given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BufferItem {
    /// The interaction's key, unique in the buffer; the larger of two is the newer.
    pub key: u64,
    /// The period that it belongs to.
    pub period: u32,
    /// N, how much worse the adapter explains the response than the base does, nats per token.
    pub novelty: f64,
    /// Q, the base's mean log-likelihood of the response, nats per token.
    pub quality: f64,
    /// S, what the paper's policy orders by; usually N + α·Q.
    pub score: f64,
}

impl BufferItem {
    /// Of an interaction and its period, with novelty and quality in nats per token, and the score.
    pub fn new(key: u64, period: u32, novelty: f64, quality: f64, score: f64) -> Self {
        Self { key, period, novelty, quality, score }
    }

    pub(crate) fn check(&self) -> Result<(), BufferError> {
        for (name, value) in
            [("novelty", self.novelty), ("quality", self.quality), ("score", self.score)]
        {
            if !value.is_finite() {
                return Err(BufferError::NotFinite { key: self.key, name, value });
            }
        }
        Ok(())
    }
}

/// Why a buffer refused its input; it is unchanged then.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BufferError {
    /// A NaN or an infinity has no place in an order.
    #[error("buffer item {key}: {name} is {value}: score it again or leave it out")]
    NotFinite {
        /// The item's key.
        key: u64,
        /// `novelty`, `quality`, `score` or `rank`.
        name: &'static str,
        /// The value.
        value: f64,
    },
    /// The same key twice among the candidates.
    #[error("buffer item {key} occurs twice: pass each item once")]
    DuplicateKey {
        /// The key.
        key: u64,
    },
    /// The policy needs an embedding that there is not.
    #[error("buffer item {key} has no embedding: the diversity policy needs one of every item")]
    NoEmbedding {
        /// The item's key.
        key: u64,
    },
    /// The embedding has no direction.
    #[error("buffer item {key}: its embedding is zero or not finite: embed it again")]
    BadEmbedding {
        /// The item's key.
        key: u64,
    },
    /// Embeddings of different lengths cannot be compared.
    #[error(
        "buffer item {key}: its embedding has {found} dimensions, others have {expected}: \
         embed all with one model"
    )]
    Dimensions {
        /// The item's key.
        key: u64,
        /// The embedding's length.
        found: usize,
        /// That of the others.
        expected: usize,
    },
    /// A policy that gives items no standing and has no `retain` of its own.
    #[error("buffer policy {policy:?} gives items no standing: implement its `retain`")]
    NoRetain {
        /// The policy's name.
        policy: String,
    },
    /// A snapshot was made under another policy than the one it is restored with.
    #[error(
        "the buffer was kept by policy {found:?}, not {expected:?}: \
         restore it with its own policy, then change that"
    )]
    OtherPolicy {
        /// The snapshot's policy.
        found: String,
        /// The given policy.
        expected: String,
    },
    /// A snapshot holds more items than its own capacity.
    #[error("the buffer's snapshot holds {items} items for {capacity} places: it is damaged")]
    OverCapacity {
        /// The number of items.
        items: usize,
        /// The capacity.
        capacity: usize,
    },
}

impl BufferError {
    pub(crate) fn no_retain(policy: &str) -> Self {
        Self::NoRetain { policy: policy.to_owned() }
    }
}

/// Where a policy finds the vectors of items.
pub trait Embeddings {
    /// The embedding of the item with this key, if there is one.
    fn embedding(&self, key: u64) -> Option<&[f32]>;
}

/// For policies that need no embeddings.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEmbeddings;

impl Embeddings for NoEmbeddings {
    fn embedding(&self, _: u64) -> Option<&[f32]> {
        None
    }
}

impl Embeddings for BTreeMap<u64, Vec<f32>> {
    fn embedding(&self, key: u64) -> Option<&[f32]> {
        self.get(&key).map(Vec::as_slice)
    }
}

impl<S: std::hash::BuildHasher> Embeddings for HashMap<u64, Vec<f32>, S> {
    fn embedding(&self, key: u64) -> Option<&[f32]> {
        self.get(&key).map(Vec::as_slice)
    }
}

/// What a buffer is stored as: its policy's name, its capacity, its items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BufferSnapshot {
    /// [`BufferPolicy::name`].
    pub policy: String,
    /// The most items that it holds.
    pub capacity: usize,
    /// The items by ascending key.
    pub items: Vec<BufferItem>,
}

impl BufferSnapshot {
    /// Of a policy's name, the capacity, and the items in any order.
    pub fn new(policy: impl Into<String>, capacity: usize, mut items: Vec<BufferItem>) -> Self {
        items.sort_by_key(|item| item.key);
        Self { policy: policy.into(), capacity, items }
    }
}

/// At most `capacity` items, chosen by a [`BufferPolicy`].
///
/// ```
/// use spring_memory::{BufferItem, NoEmbeddings, ResidualBuffer};
/// let mut buffer = ResidualBuffer::new(2);
/// let item = |key, score| BufferItem::new(key, 1, 0.0, score, score);
/// let evicted = buffer.update(vec![item(1, -2.0), item(2, -3.0), item(3, -2.5)], &NoEmbeddings)?;
/// assert_eq!(evicted[0].item.key, 2);
/// assert_eq!(buffer.items().map(|item| item.key).collect::<Vec<_>>(), [1, 3]);
/// # Ok::<(), spring_memory::BufferError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ResidualBuffer {
    policy: Arc<dyn BufferPolicy>,
    capacity: usize,
    items: BTreeMap<u64, BufferItem>,
    /// Empty under a policy that gives no standings.
    order: EvictionOrder,
}

impl Default for ResidualBuffer {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl ResidualBuffer {
    /// An empty buffer under the paper's policy.
    pub fn new(capacity: usize) -> Self {
        Self::with_policy(capacity, Box::new(Residual))
    }

    /// An empty buffer under another policy.
    pub fn with_policy(capacity: usize, policy: Box<dyn BufferPolicy>) -> Self {
        Self {
            policy: policy.into(),
            capacity,
            items: BTreeMap::new(),
            order: EvictionOrder::default(),
        }
    }

    /// The buffer that the snapshot was taken of.
    ///
    /// # Errors
    /// Another policy's snapshot, or one that no buffer can have made.
    pub fn restore(
        snapshot: BufferSnapshot,
        policy: Box<dyn BufferPolicy>,
    ) -> Result<Self, BufferError> {
        let BufferSnapshot { policy: found, capacity, items } = snapshot;
        if found != policy.name() {
            return Err(BufferError::OtherPolicy { found, expected: policy.name().to_owned() });
        }
        if items.len() > capacity {
            return Err(BufferError::OverCapacity { items: items.len(), capacity });
        }
        let mut buffer = Self::with_policy(capacity, policy);
        for item in by_key(items)?.into_values() {
            let standing = checked_standing(buffer.policy(), &item)?;
            buffer.put(item, standing);
        }
        Ok(buffer)
    }

    /// What to store.
    pub fn snapshot(&self) -> BufferSnapshot {
        BufferSnapshot {
            policy: self.policy.name().to_owned(),
            capacity: self.capacity,
            items: self.items().copied().collect(),
        }
    }

    /// The most items that it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What decides who stays.
    pub fn policy(&self) -> &dyn BufferPolicy {
        self.policy.as_ref()
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items by ascending key.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &BufferItem> {
        self.items.values()
    }

    /// The item with this key.
    pub fn get(&self, key: u64) -> Option<&BufferItem> {
        self.items.get(&key)
    }

    /// Inserts new items, re-scores those that are there already, then lets items go until the rest
    /// fit. Returns those that went, new ones among them, by ascending key. O(log n) for each given
    /// and each evicted item under a policy with standings.
    ///
    /// # Errors
    /// A number that is not finite, a key given twice, a missing embedding; the buffer is unchanged
    /// then.
    pub fn update(
        &mut self,
        items: Vec<BufferItem>,
        embeddings: &dyn Embeddings,
    ) -> Result<Vec<Evicted>, BufferError> {
        let given = by_key(items)?;
        let mut standings = Vec::with_capacity(given.len());
        for item in given.values() {
            standings.push((*item, checked_standing(self.policy(), item)?));
        }
        if standings.iter().all(|(_, standing)| standing.is_some()) {
            for (item, standing) in standings {
                self.put(item, standing);
            }
            let evicted = self.order.evict_down_to(self.capacity);
            for gone in &evicted {
                self.items.remove(&gone.item.key);
            }
            return Ok(evicted);
        }
        let mut candidates = self.items.clone();
        candidates.extend(given);
        let retained =
            self.policy.retain(candidates.into_values().collect(), self.capacity, embeddings)?;
        self.items = retained.kept.into_iter().map(|item| (item.key, item)).collect();
        Ok(retained.evicted)
    }

    /// Takes an item out, as when its user forgets it; `None` when it is not there.
    pub fn remove(&mut self, key: u64) -> Option<BufferItem> {
        let item = self.items.remove(&key)?;
        if let Some(standing) = self.policy.standing(&item) {
            self.order.remove(key, standing);
        }
        Some(item)
    }

    fn put(&mut self, item: BufferItem, standing: Option<Standing>) {
        self.remove(item.key);
        self.items.insert(item.key, item);
        if let Some(standing) = standing {
            self.order.insert(item, standing);
        }
    }
}

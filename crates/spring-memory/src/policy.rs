//! Which items a full buffer keeps.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spring_numerics::{SettingError, key};

use crate::{BufferError, BufferItem, Embeddings};

/// What a policy made of its candidates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Retained {
    /// What stays, by ascending key.
    pub kept: Vec<BufferItem>,
    /// What goes and why, by ascending key.
    pub evicted: Vec<Evicted>,
}

impl Retained {
    /// Both parts of the candidates.
    pub fn new(kept: Vec<BufferItem>, evicted: Vec<Evicted>) -> Self {
        Self { kept, evicted }
    }
}

/// An item that a buffer let go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evicted {
    /// The item as it was scored last.
    pub item: BufferItem,
    /// Why it went.
    pub reason: EvictionReason,
}

impl Evicted {
    /// This item, for this reason.
    pub fn new(item: BufferItem, reason: EvictionReason) -> Self {
        Self { item, reason }
    }
}

/// Why an item was let go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EvictionReason {
    /// The buffer was full and the item stood last in its group (see [`Standing`]).
    Outranked {
        /// The item's own rank.
        rank: f64,
        /// The lowest rank that stayed in its group; `None` when nothing of the group stayed.
        lowest_kept: Option<f64>,
    },
    /// The buffer was full and another item says nearly the same.
    Redundant {
        /// The key of the kept item that is nearest.
        nearest: u64,
        /// The cosine distance to it, 0 to 2.
        distance: f64,
    },
}

impl fmt::Display for EvictionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outranked { rank, lowest_kept: Some(lowest) } => {
                write!(f, "rank {rank:.4}, the lowest kept has {lowest:.4}")
            }
            Self::Outranked { rank, lowest_kept: None } => {
                write!(f, "rank {rank:.4}, no room for its group")
            }
            Self::Redundant { nearest, distance } => {
                write!(f, "at cosine distance {distance:.4} of the kept item {nearest}")
            }
        }
    }
}

/// Where an item stands when a full buffer must let one go: the last of the largest group goes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// Groups share the capacity evenly as far as they can fill their parts; of equally large ones
    /// the smaller number gives way. A policy without groups puts everything into one.
    pub group: u32,
    /// The rank within the group; the lowest goes first, of equal ones the older. Finite.
    pub rank: f64,
}

impl Standing {
    /// At this rank of the only group.
    pub fn new(rank: f64) -> Self {
        Self { group: 0, rank }
    }

    /// The same in another group.
    #[must_use]
    pub fn with_group(self, group: u32) -> Self {
        Self { group, ..self }
    }
}

/// Which items a full buffer keeps. Deterministic: the same candidates in any order give the same
/// answer.
pub trait BufferPolicy: fmt::Debug + Send + Sync {
    /// The policy's name, as configuration files and records spell it.
    fn name(&self) -> &str;

    /// Where `item` stands, if that can be said without looking at the others: a buffer then keeps
    /// up with every change in O(log n). `None`, for every item, under a policy that compares items
    /// with each other; it must implement [`retain`](Self::retain) itself.
    fn standing(&self, item: &BufferItem) -> Option<Standing>;

    /// Keeps at most `capacity` of the candidates; all of them while they fit.
    ///
    /// # Errors
    /// A number that is not finite, a key that occurs twice, or a missing embedding, each naming
    /// the key.
    fn retain(
        &self,
        candidates: Vec<BufferItem>,
        capacity: usize,
        embeddings: &dyn Embeddings,
    ) -> Result<Retained, BufferError> {
        let _ = embeddings;
        let mut order = EvictionOrder::default();
        let items = by_key(candidates)?;
        for item in items.values() {
            let standing = checked_standing(self, item)?;
            order.insert(*item, standing.ok_or_else(|| BufferError::no_retain(self.name()))?);
        }
        let evicted = order.evict_down_to(capacity);
        Ok(Retained { kept: without(items, &evicted), evicted })
    }
}

/// Checks the candidates and sorts them.
pub(crate) fn by_key(
    candidates: Vec<BufferItem>,
) -> Result<BTreeMap<u64, BufferItem>, BufferError> {
    let mut items = BTreeMap::new();
    for item in candidates {
        item.check()?;
        if items.insert(item.key, item).is_some() {
            return Err(BufferError::DuplicateKey { key: item.key });
        }
    }
    Ok(items)
}

/// The item's standing, if its rank can be ordered.
pub(crate) fn checked_standing<P: BufferPolicy + ?Sized>(
    policy: &P,
    item: &BufferItem,
) -> Result<Option<Standing>, BufferError> {
    match policy.standing(item) {
        Some(Standing { rank, .. }) if !rank.is_finite() => {
            Err(BufferError::NotFinite { key: item.key, name: "rank", value: rank })
        }
        standing => Ok(standing),
    }
}

fn without(mut items: BTreeMap<u64, BufferItem>, evicted: &[Evicted]) -> Vec<BufferItem> {
    for evicted in evicted {
        items.remove(&evicted.item.key);
    }
    items.into_values().collect()
}

/// A finite rank with a total order in which −0 equals 0.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rank(f64);

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Adding 0 turns −0 into 0.
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

/// The items of a buffer in the order in which they would go; every change costs O(log n).
#[derive(Debug, Clone, Default)]
pub(crate) struct EvictionOrder {
    /// Per group by rank, then key.
    groups: BTreeMap<u32, BTreeMap<(Rank, u64), BufferItem>>,
    /// The largest group last, of equals the one with the smallest number.
    sizes: BTreeSet<(usize, Reverse<u32>)>,
    len: usize,
}

impl EvictionOrder {
    pub(crate) fn insert(&mut self, item: BufferItem, standing: Standing) {
        let group = self.groups.entry(standing.group).or_default();
        self.sizes.remove(&(group.len(), Reverse(standing.group)));
        let replaced = group.insert((Rank(standing.rank), item.key), item);
        self.sizes.insert((group.len(), Reverse(standing.group)));
        self.len += usize::from(replaced.is_none());
    }

    pub(crate) fn remove(&mut self, key: u64, standing: Standing) {
        let Some(group) = self.groups.get_mut(&standing.group) else { return };
        self.sizes.remove(&(group.len(), Reverse(standing.group)));
        let removed = group.remove(&(Rank(standing.rank), key));
        self.len -= usize::from(removed.is_some());
        if group.is_empty() {
            self.groups.remove(&standing.group);
        } else {
            self.sizes.insert((group.len(), Reverse(standing.group)));
        }
    }

    /// Lets items go until `capacity` are left; they come back by ascending key.
    pub(crate) fn evict_down_to(&mut self, capacity: usize) -> Vec<Evicted> {
        let mut gone = Vec::new();
        while self.len > capacity {
            let Some(&(_, Reverse(group))) = self.sizes.last() else { break };
            let last = self.groups.get(&group).and_then(|items| items.first_key_value());
            let Some((&(rank, key), &item)) = last else { break };
            self.remove(key, Standing { group, rank: rank.0 });
            gone.push((item, group, rank.0));
        }
        let mut evicted: Vec<Evicted> = gone
            .into_iter()
            .map(|(item, group, rank)| {
                let lowest = self.groups.get(&group).and_then(|items| items.first_key_value());
                let lowest_kept = lowest.map(|((rank, _), _)| rank.0);
                Evicted { item, reason: EvictionReason::Outranked { rank, lowest_kept } }
            })
            .collect();
        evicted.sort_unstable_by_key(|evicted| evicted.item.key);
        evicted
    }
}

/// The paper's policy and the default: the highest scores stay, of equal ones the newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Residual;

impl BufferPolicy for Residual {
    fn name(&self) -> &str {
        "residual"
    }

    fn standing(&self, item: &BufferItem) -> Option<Standing> {
        Some(Standing::new(item.score))
    }
}

/// A uniform random sample of everything offered so far, whatever its scores. An item's rank is a
/// pure function of seed and key, so the sample is the same for any order and grouping of arrivals
/// (bottom-k sampling).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reservoir {
    /// Another seed, another sample.
    pub seed: u64,
}

impl Reservoir {
    /// With this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl BufferPolicy for Reservoir {
    fn name(&self) -> &str {
        "reservoir"
    }

    fn standing(&self, item: &BufferItem) -> Option<Standing> {
        let hash = key::split(key::split(self.seed, 0) ^ item.key, 0);
        // The upper 53 bits, which a double holds exactly.
        Some(Standing::new((hash >> 11) as f64 / (1u64 << 53) as f64))
    }
}

/// The newest stay: those with the largest keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recency;

impl BufferPolicy for Recency {
    fn name(&self) -> &str {
        "recency"
    }

    fn standing(&self, item: &BufferItem) -> Option<Standing> {
        // Where keys are too large for a double to tell apart, ranks are equal and the key decides.
        Some(Standing::new(item.key as f64))
    }
}

/// Every period keeps an equal number as far as it has that many, the highest scores each; a
/// remainder goes to newer periods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BalancedPeriods;

impl BufferPolicy for BalancedPeriods {
    fn name(&self) -> &str {
        "balanced_periods"
    }

    fn standing(&self, item: &BufferItem) -> Option<Standing> {
        Some(Standing::new(item.score).with_group(item.period))
    }
}

/// Farthest-first traversal over embeddings (Gonzalez 1985): starts at the highest score and adds
/// the item whose nearest kept one is farthest, by cosine distance, of equals the higher score,
/// then the newer. O(n · capacity · dimensions) for each change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Diversity;

impl BufferPolicy for Diversity {
    fn name(&self) -> &str {
        "diversity"
    }

    fn standing(&self, _: &BufferItem) -> Option<Standing> {
        None
    }

    fn retain(
        &self,
        candidates: Vec<BufferItem>,
        capacity: usize,
        embeddings: &dyn Embeddings,
    ) -> Result<Retained, BufferError> {
        let items = by_key(candidates)?;
        if items.len() <= capacity {
            return Ok(Retained { kept: items.into_values().collect(), evicted: Vec::new() });
        }
        struct Candidate {
            item: BufferItem,
            direction: Vec<f64>,
            nearest: u64,
            distance: f64,
        }
        let mut open = Vec::with_capacity(items.len());
        let mut dimensions = None;
        for (&key, &item) in &items {
            let vector = embeddings.embedding(key).ok_or(BufferError::NoEmbedding { key })?;
            let expected = *dimensions.get_or_insert(vector.len());
            if vector.len() != expected {
                return Err(BufferError::Dimensions { key, found: vector.len(), expected });
            }
            let direction = direction(vector).ok_or(BufferError::BadEmbedding { key })?;
            open.push(Candidate { item, direction, nearest: key, distance: f64::INFINITY });
        }
        while items.len() - open.len() < capacity {
            let farthest = open.iter().enumerate().max_by(|(_, a), (_, b)| {
                a.distance
                    .total_cmp(&b.distance)
                    .then(Rank(a.item.score).cmp(&Rank(b.item.score)))
                    .then(a.item.key.cmp(&b.item.key))
            });
            let Some((place, _)) = farthest else { break };
            let chosen = open.swap_remove(place);
            for candidate in &mut open {
                let cosine: f64 =
                    candidate.direction.iter().zip(&chosen.direction).map(|(a, b)| a * b).sum();
                let distance = 1.0 - cosine.clamp(-1.0, 1.0);
                if distance < candidate.distance {
                    (candidate.distance, candidate.nearest) = (distance, chosen.item.key);
                }
            }
        }
        let mut evicted: Vec<Evicted> = open
            .into_iter()
            .map(|Candidate { item, nearest, distance, .. }| {
                let reason = if capacity == 0 {
                    EvictionReason::Outranked { rank: item.score, lowest_kept: None }
                } else {
                    EvictionReason::Redundant { nearest, distance }
                };
                Evicted { item, reason }
            })
            .collect();
        evicted.sort_unstable_by_key(|evicted| evicted.item.key);
        Ok(Retained { kept: without(items, &evicted), evicted })
    }
}

/// The vector at length 1; `None` for one that is zero or not finite.
fn direction(vector: &[f32]) -> Option<Vec<f64>> {
    let norm = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    (norm.is_finite() && norm > 0.0).then(|| vector.iter().map(|&x| f64::from(x) / norm).collect())
}

/// A policy by name, for configuration files: `"residual"`, `"reservoir"`, `{"kind": "reservoir",
/// "seed": 7}`. `{"reservoir": {"seed": 7}}`, as earlier versions wrote it, is read too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
#[non_exhaustive]
pub enum BufferPolicyConfig {
    /// [`Residual`], the paper's.
    #[default]
    Residual,
    /// [`Reservoir`].
    Reservoir {
        /// Its seed. Default 0.
        seed: u64,
    },
    /// [`Recency`].
    Recency,
    /// [`BalancedPeriods`].
    BalancedPeriods,
    /// [`Diversity`].
    Diversity,
}

impl BufferPolicyConfig {
    /// The policy itself.
    ///
    /// # Errors
    /// For settings out of their range: none today.
    pub fn init(&self) -> Result<Box<dyn BufferPolicy>, SettingError> {
        Ok(match *self {
            Self::Residual => Box::new(Residual),
            Self::Reservoir { seed } => Box::new(Reservoir { seed }),
            Self::Recency => Box::new(Recency),
            Self::BalancedPeriods => Box::new(BalancedPeriods),
            Self::Diversity => Box::new(Diversity),
        })
    }

    /// The name that chooses it in a configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Residual => "residual",
            Self::Reservoir { .. } => "reservoir",
            Self::Recency => "recency",
            Self::BalancedPeriods => "balanced_periods",
            Self::Diversity => "diversity",
        }
    }
}

/// What a [`BufferPolicyConfig`] is read from: by a JSON value, as a table has two spellings.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum PolicyTable {
    // With braces, or unknown keys would pass.
    Residual {},
    Reservoir {
        #[serde(default)]
        seed: u64,
    },
    Recency {},
    BalancedPeriods {},
    Diversity {},
}

impl TryFrom<Value> for BufferPolicyConfig {
    type Error = serde_json::Error;

    fn try_from(mut value: Value) -> Result<Self, Self::Error> {
        if value.is_string() {
            value = json!({"kind": value});
        } else if let Some(settings) = value.as_object_mut().filter(|table| table.len() == 1)
            && let Some(Value::Object(mut reservoir)) = settings.remove("reservoir")
        {
            reservoir.insert("kind".to_owned(), "reservoir".into());
            value = Value::Object(reservoir);
        }
        Ok(match serde_json::from_value(value)? {
            PolicyTable::Residual {} => Self::Residual,
            PolicyTable::Reservoir { seed } => Self::Reservoir { seed },
            PolicyTable::Recency {} => Self::Recency,
            PolicyTable::BalancedPeriods {} => Self::BalancedPeriods,
            PolicyTable::Diversity {} => Self::Diversity,
        })
    }
}

impl From<BufferPolicyConfig> for Value {
    fn from(config: BufferPolicyConfig) -> Self {
        match config {
            BufferPolicyConfig::Reservoir { seed } => json!({"kind": "reservoir", "seed": seed}),
            named => named.name().into(),
        }
    }
}

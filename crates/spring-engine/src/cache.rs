//! A cache with a budget: what was used longest ago goes first, what is pinned stays.
//!
//! Written here: the crates with such caches count entries or know no pins.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Values by key, at most `budget` bytes of them beside those that are pinned.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    budget: u64,
    bytes: u64,
    evicted: u64,
    clock: u64,
    entries: HashMap<K, Entry<V>>,
    /// Those that may go, by when they were last used.
    order: BTreeMap<u64, K>,
    pinned: HashMap<K, usize>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            budget,
            bytes: 0,
            evicted: 0,
            clock: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            pinned: HashMap::new(),
        }
    }

    /// A value, which counts as used now.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        if self.order.remove(&entry.used).is_some() {
            self.order.insert(self.clock, key.clone());
        }
        entry.used = self.clock;
        Some(&entry.value)
    }

    /// Puts a value in place of the key's last one; gives the keys that went for it. One that is
    /// larger than the budget goes itself, unless it is pinned.
    pub(crate) fn insert(&mut self, key: K, value: V, bytes: u64) -> Vec<K> {
        self.remove(&key);
        let is_pinned = self.pinned.contains_key(&key);
        if bytes > self.budget && !is_pinned {
            return vec![key];
        }
        self.clock += 1;
        self.bytes += bytes;
        if !is_pinned {
            self.order.insert(self.clock, key.clone());
        }
        self.entries.insert(key, Entry { value, bytes, used: self.clock });
        self.evict()
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        self.bytes -= entry.bytes;
        Some(entry.value)
    }

    /// Keeps a key's value, now or later, until it is unpinned as often as it was pinned.
    pub(crate) fn pin(&mut self, key: &K) {
        *self.pinned.entry(key.clone()).or_insert(0) += 1;
        if let Some(entry) = self.entries.get(key) {
            self.order.remove(&entry.used);
        }
    }

    pub(crate) fn unpin(&mut self, key: &K) {
        let Some(count) = self.pinned.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            self.pinned.remove(key);
            if let Some(entry) = self.entries.get(key) {
                self.order.insert(entry.used, key.clone());
            }
            self.evict();
        }
    }

    fn evict(&mut self) -> Vec<K> {
        let mut evicted = Vec::new();
        while self.bytes > self.budget {
            let Some((_, key)) = self.order.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.bytes;
                self.evicted += 1;
                evicted.push(key);
            }
        }
        evicted
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_pinned_stays() {
        let mut cache = Cache::new(10);
        for key in ["a", "b", "c"] {
            cache.insert(key, key, 3);
        }
        assert_eq!(cache.get(&"a"), Some(&"a"));
        cache.pin(&"c");
        cache.insert("d", "d", 3);
        assert!(!cache.contains(&"b"), "the oldest");
        cache.insert("e", "e", 7);
        // What is pinned is kept, the others went for the new one.
        assert!(cache.contains(&"c") && cache.contains(&"e") && cache.len() == 2);
        assert_eq!((cache.bytes(), cache.evicted()), (10, 3));
        cache.insert("f", "f", 11);
        assert!(!cache.contains(&"f"), "it is larger than the budget");
        cache.unpin(&"c");
        cache.insert("g", "g", 3);
        assert!(!cache.contains(&"c"), "it is older than e");
    }

    proptest! {
        #[test]
        fn the_budget_holds_whatever_is_done(
            steps in prop::collection::vec((0u8..5, 0u8..6, 0u64..8), 0..80),
        ) {
            let mut cache = Cache::new(12);
            let mut sizes: HashMap<u8, u64> = HashMap::new();
            for (what, key, bytes) in steps {
                match what {
                    0 | 1 => {
                        cache.insert(key, key, bytes);
                        sizes.insert(key, bytes);
                    }
                    2 => { cache.get(&key); }
                    3 => cache.pin(&key),
                    _ => cache.unpin(&key),
                }
                let kept: u64 =
                    sizes.iter().filter(|(key, _)| cache.contains(key)).map(|(_, b)| b).sum();
                prop_assert_eq!(kept, cache.bytes());
                let pinned: u64 = cache
                    .pinned
                    .keys()
                    .filter(|key| cache.contains(key))
                    .map(|key| sizes[key])
                    .sum();
                prop_assert!(cache.bytes() <= cache.budget.max(pinned));
                let free = cache.entries.keys().filter(|k| !cache.pinned.contains_key(k)).count();
                prop_assert_eq!(free, cache.order.len());
            }
        }
    }
}

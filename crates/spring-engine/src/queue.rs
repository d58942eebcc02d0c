//! Who waits: bounded, and in turns.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use crate::Whose;

/// Items by key. Keys take turns, and the items of a key come in their order.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lanes: HashMap<String, VecDeque<T>>,
    /// The keys that have anything waiting; the first is next.
    turns: VecDeque<String>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn push(&mut self, key: String, item: T) {
        match self.lanes.get_mut(&key) {
            Some(lane) => lane.push_back(item),
            None => {
                self.turns.push_back(key.clone());
                self.lanes.insert(key, VecDeque::from([item]));
            }
        }
    }

    /// All that waits, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().flatten()
    }

    /// What is next.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.lanes.get(self.turns.front()?)?.front()
    }

    /// Takes what is next; its key then stands at the end.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let item = lane.pop_front();
        match lane.is_empty() {
            true => drop(self.lanes.remove(&key)),
            false => self.turns.push_back(key),
        }
        item
    }

    /// Takes out what is not to stay.
    pub(crate) fn take_unless(&mut self, mut stays: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut() {
            if lane.iter().all(&mut stays) {
                continue;
            }
            for item in std::mem::take(lane) {
                match stays(&item) {
                    true => lane.push_back(item),
                    false => taken.push(item),
                }
            }
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        self.turns.retain(|key| self.lanes.contains_key(key));
        taken
    }
}

/// How many places there are to wait in.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    most_per_key: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_key: HashMap<String, usize>,
}

/// A place in the queue; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    key: String,
}

impl Places {
    pub(crate) fn new(most: usize, most_per_key: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_key, taken: Mutex::default() })
    }

    /// Takes a place for a key; if there is none, says whose queue is full and how long it is.
    pub(crate) fn take(self: &Arc<Self>, key: &str) -> Result<Place, (Whose, usize)> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_key.get(key).copied().unwrap_or(0);
        if own >= self.most_per_key {
            return Err((Whose::Key, own));
        }
        if taken.all >= self.most {
            return Err((Whose::Everybody, taken.all));
        }
        taken.all += 1;
        taken.by_key.insert(key.to_owned(), own + 1);
        Ok(Place { places: self.clone(), key: key.to_owned() })
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(own) = taken.by_key.get_mut(&self.key) {
            *own -= 1;
            if *own == 0 {
                taken.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_turns_whatever_each_has_waiting() {
        let mut queue = FairQueue::default();
        for (key, item) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)] {
            queue.push(key.into(), item);
        }
        assert_eq!(queue.peek(), Some(&1));
        let all: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(all, [1, 4, 5, 2, 6, 3]);
        assert!(queue.peek().is_none());
    }

    #[test]
    fn what_leaves_the_queue_leaves_the_others_in_their_order() {
        let mut queue = FairQueue::default();
        for item in 0..9 {
            queue.push(["a", "b", "c"][item % 3].into(), item);
        }
        let mut taken = queue.take_unless(|item| item % 2 == 0 && item % 3 != 2);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2, 3, 5, 7, 8]);
        let rest: Vec<usize> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [0, 4, 6]);
    }

    #[test]
    fn places_are_bounded_for_each_key_and_in_all_and_are_given_back() {
        let places = Places::new(3, 2);
        let held = [places.take("a").unwrap(), places.take("a").unwrap()];
        assert_eq!(places.take("a").unwrap_err(), (Whose::Key, 2));
        let other = places.take("b").unwrap();
        assert_eq!(places.take("c").unwrap_err(), (Whose::Everybody, 3));
        drop(held);
        assert_eq!(places.taken(), 1);
        assert!(places.take("a").is_ok());
        drop(other);
        assert!(places.taken.lock().unwrap().by_key.is_empty(), "no key is remembered");
    }
}

//! Keys that were asked for lately, so that not every request asks the service.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Key, KeyHash, Service, ServiceResult};

/// How long what the service said counts: a key that was made or revoked is heard of after that.
const FRESH: Duration = Duration::from_secs(1);

/// The most tokens that are remembered, those of nobody among them.
const MOST: usize = 4096;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// There are no keys.
    Open,
    /// That of a key.
    Key(Key),
    /// That of no key, or none.
    Nobody,
}

#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    any: Option<(bool, Instant)>,
    known: HashMap<KeyHash, (Option<Key>, Instant)>,
}

impl State {
    /// Whether there are keys, if that is known. Where there were any, there are: who is removed
    /// with the last key does not open the server to everybody.
    fn any(&self, now: Instant) -> Option<bool> {
        let (any, since) = self.any?;
        (any || is_fresh(since, now)).then_some(any)
    }

    fn find(&self, token: Option<&KeyHash>, now: Instant) -> Option<Found> {
        if !self.any(now)? {
            return Some(Found::Open);
        }
        let Some(token) = token else { return Some(Found::Nobody) };
        let (key, since) = self.known.get(token)?;
        is_fresh(*since, now).then(|| key.clone().map_or(Found::Nobody, Found::Key))
    }

    fn learn(&mut self, any: bool, token: Option<KeyHash>, key: Option<Key>, now: Instant) {
        let any = any || self.any.is_some_and(|(any, _)| any);
        self.any = Some((any, now));
        let Some(token) = token.filter(|_| any) else { return };
        if self.known.len() >= MOST {
            self.known.retain(|_, (_, since)| is_fresh(*since, now));
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(token, (key, now));
    }
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < FRESH
}

impl Keys {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a token is, if the service has said so within the last second.
    pub fn known(&self, token: Option<&KeyHash>, now: Instant) -> Option<Found> {
        self.state().find(token, now)
    }

    /// What a token is, as the service says and is remembered from `now` on, when it was asked.
    pub fn ask(
        &self,
        token: Option<KeyHash>,
        now: Instant,
        service: &dyn Service,
    ) -> ServiceResult<Found> {
        let any = self.state().any(now);
        let any = any.map_or_else(|| service.has_keys(), Ok)?;
        let key = match &token {
            Some(hash) if any => service.key(hash)?,
            _ => None,
        };
        let mut state = self.state();
        state.learn(any, token, key.clone(), now);
        Ok(match (key, state.any(now)) {
            (Some(key), _) => Found::Key(key),
            (None, Some(false)) => Found::Open,
            (None, _) => Found::Nobody,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Access;

    #[test]
    fn what_was_said_counts_for_a_second() {
        let mut state = State::default();
        let (now, token) = (Instant::now(), KeyHash::of("a"));
        let key = Key::new("a", Access::Admin);
        assert_eq!(state.find(Some(&token), now), None);
        state.learn(true, Some(token), Some(key.clone()), now);
        let later = now + Duration::from_millis(900);
        assert_eq!(state.find(Some(&token), later), Some(Found::Key(key)));
        assert_eq!(state.find(None, later), Some(Found::Nobody));
        assert_eq!(state.find(Some(&token), now + FRESH), None);
    }

    #[test]
    fn a_server_that_had_keys_stays_closed() {
        let mut state = State::default();
        let now = Instant::now();
        state.learn(false, None, None, now);
        assert_eq!(state.find(None, now), Some(Found::Open));
        assert_eq!(state.find(None, now + FRESH), None);
        state.learn(true, None, None, now);
        state.learn(false, None, None, now);
        assert_eq!(state.find(None, now + 100 * FRESH), Some(Found::Nobody));
    }

    #[test]
    fn tokens_of_nobody_do_not_pile_up() {
        let mut state = State::default();
        for token in 0..2 * MOST {
            state.learn(true, Some(KeyHash::of(&token.to_string())), None, Instant::now());
        }
        assert!(state.known.len() <= MOST);
    }
}

//! How many answers there may be at once, of a key and in all, and how often a key may ask.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Limits,
    error::{ApiError, ApiResult},
};

/// What part of the mean interval a new one is.
const NEW_SHARE: f64 = 0.1;

#[derive(Debug)]
pub(crate) struct Admission {
    all: usize,
    per_key: usize,
    per_minute: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    active: usize,
    keys: HashMap<String, KeyState>,
    /// Mean seconds between the ends of two answers, while there were any.
    interval: Option<f64>,
    /// When the last answer ended or, if there was none then, the first one after it began.
    last: Option<Instant>,
}

#[derive(Debug)]
struct KeyState {
    active: usize,
    /// Requests that it may make now.
    tokens: f64,
    refilled: Instant,
}

/// Room for the answers of a request, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    key: String,
    answers: usize,
}

impl Admission {
    pub fn new(limits: &Limits) -> Self {
        Self {
            all: limits.answers,
            per_key: limits.answers_per_key,
            per_minute: limits.requests_per_minute,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request of a key.
    pub fn request(&self, key: &str, now: Instant) -> ApiResult<()> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let (most, per_second) = (f64::from(self.per_minute), f64::from(self.per_minute) / 60.0);
        let mut state = self.state();
        // Those that could make all their requests now are as those that never asked.
        state.keys.retain(|_, of| {
            of.active > 0
                || of.tokens + now.saturating_duration_since(of.refilled).as_secs_f64() * per_second
                    < most
        });
        let of = state.keys.entry(key.to_owned()).or_insert_with(|| KeyState::new(most, now));
        let since = now.saturating_duration_since(of.refilled).as_secs_f64();
        of.tokens = (of.tokens + since * per_second).min(most);
        of.refilled = now;
        if of.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - of.tokens) / per_second);
            let message = format!("this key may make {} requests a minute", self.per_minute);
            return Err(ApiError::slow_down(message, wait));
        }
        of.tokens -= 1.0;
        Ok(())
    }

    /// Makes room for the answers of a request.
    pub fn admit(self: &Arc<Self>, key: &str, answers: usize, now: Instant) -> ApiResult<Permit> {
        let mut state = self.state();
        let of_key = state.keys.get(key).map_or(0, |of| of.active);
        // A request with more answers than fit is never admitted, so it is wrong, not early.
        if answers > self.per_key.min(self.all) {
            return Err(ApiError::invalid(
                "n",
                format!("at most {} answers fit into one request", self.per_key.min(self.all)),
            ));
        }
        if of_key + answers > self.per_key {
            let message = format!(
                "{of_key} answers of this key are waiting or being written, and at most {} may",
                self.per_key
            );
            return Err(ApiError::slow_down(message, state.wait(of_key)));
        }
        if state.active + answers > self.all {
            return Err(ApiError::overloaded(state.wait(state.active)));
        }
        if state.active == 0 {
            state.last = Some(now);
        }
        state.active += answers;
        let most = f64::from(self.per_minute);
        let of = state.keys.entry(key.to_owned()).or_insert_with(|| KeyState::new(most, now));
        of.active += answers;
        Ok(Permit { admission: Arc::clone(self), key: key.to_owned(), answers })
    }

    /// Answers that are waiting or being written.
    pub fn active(&self) -> usize {
        self.state().active
    }

    fn leave(&self, key: &str, answers: usize, now: Instant) {
        let mut state = self.state();
        state.active -= answers;
        if let Some(last) = state.last.replace(now) {
            let each = now.saturating_duration_since(last).as_secs_f64() / answers.max(1) as f64;
            let mean = state.interval.unwrap_or(each);
            state.interval = Some(mean + NEW_SHARE * (each - mean));
        }
        if let Some(of) = state.keys.get_mut(key) {
            of.active -= answers;
            if of.active == 0 && self.per_minute == 0 {
                state.keys.remove(key);
            }
        }
    }
}

impl State {
    /// Time until half of this many answers have ended, at the rate that was measured.
    fn wait(&self, answers: usize) -> Duration {
        let seconds = self.interval.unwrap_or(1.0) * (answers as f64 / 2.0).max(1.0);
        Duration::from_secs_f64(seconds.clamp(0.1, 120.0))
    }
}

impl KeyState {
    fn new(tokens: f64, now: Instant) -> Self {
        Self { active: 0, tokens, refilled: now }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(&self.key, self.answers, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission::new(&limits))
    }

    #[test]
    fn a_key_that_asks_too_much_does_not_take_the_others_room() {
        let limits = Limits { answers: 10, answers_per_key: 2, ..Limits::default() };
        let admission = admission(limits);
        let now = Instant::now();
        let first = admission.admit("a", 1, now).unwrap();
        let _second = admission.admit("a", 1, now).unwrap();
        assert_eq!(admission.admit("a", 1, now).unwrap_err().code, "slow_down");
        admission.admit("b", 2, now).unwrap();
        drop(first);
        admission.admit("a", 1, now).unwrap();
    }

    #[test]
    fn when_everything_is_full_nobody_is_let_in() {
        let limits = Limits { answers: 2, answers_per_key: 2, ..Limits::default() };
        let admission = admission(limits);
        let now = Instant::now();
        let _full = admission.admit("a", 2, now).unwrap();
        let error = admission.admit("b", 1, now).unwrap_err();
        assert_eq!((error.code, error.status.as_u16()), ("server_is_overloaded", 503));
        assert!(error.retry_after.unwrap() <= Duration::from_secs(120));
    }

    #[test]
    fn requests_of_a_minute_come_back_with_time() {
        let limits = Limits { requests_per_minute: 60, ..Limits::default() };
        let admission = admission(limits);
        let now = Instant::now();
        for _ in 0..60 {
            admission.request("a", now).unwrap();
        }
        let error = admission.request("a", now).unwrap_err();
        assert_eq!(error.code, "slow_down");
        assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
        admission.request("b", now).unwrap();
        admission.request("a", now + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn what_is_kept_of_keys_does_not_grow() {
        let admission = admission(Limits { requests_per_minute: 60, ..Limits::default() });
        let now = Instant::now();
        for key in 0..1000_u32 {
            admission.request(&key.to_string(), now).unwrap();
        }
        admission.request("last", now + Duration::from_secs(60)).unwrap();
        assert_eq!(admission.state().keys.len(), 1);
    }
}

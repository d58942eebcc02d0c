//! How many answers there may be at once, of a key and in all.

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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    active: usize,
    /// Those of each key.
    keys: HashMap<String, usize>,
    /// Mean seconds between the ends of two answers, while there were any.
    interval: Option<f64>,
    /// When the last answer ended or, if there was none then, the first one after it began.
    last: Option<Instant>,
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
        Self { all: limits.answers, per_key: limits.answers_per_key, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for the answers of a request.
    pub fn admit(self: &Arc<Self>, key: &str, answers: usize, now: Instant) -> ApiResult<Permit> {
        let mut state = self.state();
        let of_key = state.keys.get(key).copied().unwrap_or_default();
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
        *state.keys.entry(key.to_owned()).or_default() += answers;
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
            *of -= answers;
            if *of == 0 {
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
    fn what_is_kept_of_keys_does_not_grow() {
        let admission = admission(Limits::default());
        for key in 0..1000_u32 {
            admission.admit(&key.to_string(), 1, Instant::now()).unwrap();
        }
        assert!(admission.state().keys.is_empty());
    }
}

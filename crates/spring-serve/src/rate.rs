//! How often a key may ask, and how many of its requests may be open.
//!
//! By hand, as the limiter with keys of the crate governor has one quota for all of them, and here
//! each may have its own.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::{
    Asker, Limits,
    error::{ApiError, ApiResult},
};

/// After this many keys it is looked which of them need not be remembered.
const SWEEP: usize = 64;

/// When to try again if too many requests are open: it cannot be known when one of them ends.
const OPEN_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Rates {
    per_minute: u32,
    at_once: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: HashMap<String, KeyState>,
    sweep_at: usize,
}

/// A bucket that fills within a minute.
#[derive(Debug)]
struct KeyState {
    per_minute: u32,
    /// Requests that it may make now.
    tokens: f64,
    refilled: Instant,
    /// Requests that are open.
    open: u32,
    /// What was asked for and is worked on behind its answer.
    behind: u32,
}

/// Limits of a key's own; `None`: as the server's are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnLimits {
    pub per_minute: Option<u32>,
    pub at_once: Option<u32>,
}

/// What a key has left of a minute's requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quota {
    limit: u32,
    remaining: u32,
    /// Until all of them are there again.
    reset: Duration,
}

/// What a request is among those of its key that are open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One that begins much work, an answer or an adaptation: with what is worked on behind the
    /// answers there are at most as many as requests may be open.
    Work,
    /// Any other. What is worked on does not count against it, as it may be what looks how that
    /// goes, or what stops it.
    Light,
}

impl Kind {
    /// Of a path by its pattern.
    pub fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions"
            | "/v1/completions"
            | "/v1/embeddings"
            | "/v1/users/{user}/adapt" => Self::Work,
            _ => Self::Light,
        }
    }
}

/// A request that counts as open until it is dropped: with its answer, and with all that still
/// works for it, as an act that goes on after its client has gone. Or what was asked for and is
/// worked on behind its answer, which is counted apart.
#[derive(Debug)]
pub(crate) struct Open {
    rates: Arc<Rates>,
    key: String,
    is_behind: bool,
    pub quota: Option<Quota>,
}

/// A request that is one too many.
#[derive(Debug)]
pub(crate) struct TooMany {
    error: Box<ApiError>,
    quota: Option<Quota>,
}

impl Rates {
    pub fn new(limits: &Limits) -> Self {
        let state = State { keys: HashMap::new(), sweep_at: SWEEP };
        let (per_minute, at_once) = (limits.requests_per_minute, limits.requests_at_once);
        Self { per_minute, at_once, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, which is open until what this gives is dropped.
    pub fn request(
        self: &Arc<Self>,
        key: &str,
        own: OwnLimits,
        kind: Kind,
        now: Instant,
    ) -> Result<Open, TooMany> {
        let per_minute = own.per_minute.unwrap_or(self.per_minute);
        let at_once = own.at_once.unwrap_or(self.at_once);
        let mut state = self.state();
        state.sweep(now);
        let of = state.keys.entry(key.to_owned());
        let of = of.or_insert_with(|| KeyState::new(per_minute, now));
        of.refill(per_minute, now);
        let open = match kind {
            Kind::Work => of.open.saturating_add(of.behind),
            Kind::Light => of.open,
        };
        if at_once > 0 && open >= at_once {
            let message = match open - of.open {
                0 => format!("{open} requests of this key are open, and at most {at_once} may be"),
                behind => format!(
                    "{open} requests of this key are open, {behind} of them adaptations that it \
                     asked for, and at most {at_once} may be"
                ),
            };
            return Err(of.too_many(message, OPEN_WAIT));
        }
        if per_minute > 0 && of.tokens < 1.0 {
            let message = format!("this key may make {per_minute} requests a minute");
            return Err(of.too_many(message, of.time_for(1.0 - of.tokens)));
        }
        of.tokens -= 1.0;
        of.open += 1;
        let (rates, key, quota) = (Arc::clone(self), key.to_owned(), of.quota());
        Ok(Open { rates, key, is_behind: false, quota })
    }

    /// Counts work behind the answer to a request that was counted already.
    fn work(self: &Arc<Self>, key: &str, per_minute: u32, now: Instant) -> Open {
        let new = || KeyState::new(per_minute, now);
        self.state().keys.entry(key.to_owned()).or_insert_with(new).behind += 1;
        Open { rates: Arc::clone(self), key: key.to_owned(), is_behind: true, quota: None }
    }
}

impl State {
    /// Those that could make all their requests now are as those that never asked.
    fn sweep(&mut self, now: Instant) {
        if self.keys.len() >= self.sweep_at {
            self.keys.retain(|_, of| {
                of.refill(of.per_minute, now);
                of.open > 0 || of.behind > 0 || of.tokens < f64::from(of.per_minute)
            });
            self.sweep_at = SWEEP.max(2 * self.keys.len());
        }
    }
}

impl KeyState {
    fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute, tokens: f64::from(per_minute), refilled: now, open: 0, behind: 0 }
    }

    fn refill(&mut self, per_minute: u32, now: Instant) {
        let since = now.saturating_duration_since(self.refilled).as_secs_f64();
        let most = f64::from(per_minute);
        // Without a limit nothing is counted.
        let tokens = if self.per_minute == 0 { most } else { self.tokens };
        self.tokens = (tokens + since * most / 60.0).clamp(0.0, most);
        (self.per_minute, self.refilled) = (per_minute, now);
    }

    fn time_for(&self, tokens: f64) -> Duration {
        Duration::from_secs_f64(tokens.max(0.0) * 60.0 / f64::from(self.per_minute.max(1)))
    }

    fn too_many(&self, message: String, wait: Duration) -> TooMany {
        TooMany { error: Box::new(ApiError::rate_limited(message, wait)), quota: self.quota() }
    }

    fn quota(&self) -> Option<Quota> {
        let limit = self.per_minute;
        (limit > 0).then(|| Quota {
            limit,
            // Between 0 and the limit.
            remaining: self.tokens.max(0.0) as u32,
            reset: self.time_for(f64::from(limit) - self.tokens),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(of) = self.rates.state().keys.get_mut(&self.key) {
            let count = if self.is_behind { &mut of.behind } else { &mut of.open };
            *count = count.saturating_sub(1);
        }
    }
}

impl Quota {
    /// Says it in OpenAI's headers.
    fn tell(self, headers: &mut HeaderMap) {
        for (name, value) in [
            ("x-ratelimit-limit-requests", self.limit.to_string()),
            ("x-ratelimit-remaining-requests", self.remaining.to_string()),
            ("x-ratelimit-reset-requests", in_words(self.reset)),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// As Go writes it, which OpenAI does: `250ms`, `7s`, `6m0s`.
fn in_words(time: Duration) -> String {
    let milliseconds = time.as_millis();
    let seconds = milliseconds.div_ceil(1000);
    match (milliseconds, seconds) {
        (..1000, _) => format!("{milliseconds}ms"),
        (_, ..60) => format!("{seconds}s"),
        _ => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

impl IntoResponse for TooMany {
    fn into_response(self) -> Response {
        let mut response = (*self.error).into_response();
        if let Some(quota) = self.quota {
            quota.tell(response.headers_mut());
        }
        response
    }
}

tokio::task_local! {
    /// The request that a task works for.
    static WORKS_FOR: Arc<Open>;
}

/// The request that this task works for: what works on elsewhere holds it meanwhile.
pub(crate) fn current() -> Option<Arc<Open>> {
    WORKS_FOR.try_with(Arc::clone).ok()
}

/// Whoever sent the request that this task works for.
pub(crate) fn asker() -> ApiResult<Asker> {
    let open = current().ok_or_else(|| ApiError::internal("a request that is not counted"))?;
    Ok(open.asker())
}

/// A task that works for the same request as this one, and goes on without it.
pub(crate) fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match current() {
        Some(open) => tokio::spawn(open.work(work)),
        None => tokio::spawn(work),
    }
}

impl Open {
    /// Whoever sent it, for work that begins later.
    fn asker(&self) -> Asker {
        let per_minute = self.quota.map_or(0, |quota| quota.limit);
        let (rates, key) = (Arc::clone(&self.rates), self.key.clone());
        Asker::new(move || rates.work(&key, per_minute, Instant::now()))
    }

    /// Work for this request.
    pub fn work<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        WORKS_FOR.scope(self, work)
    }

    /// Goes with an answer to its last byte.
    pub fn until_the_end_of(self: Arc<Self>, mut response: Response) -> Response {
        if let Some(quota) = self.quota {
            quota.tell(response.headers_mut());
        }
        response.map(|body| Body::new(Counted { body, _open: self }))
    }
}

/// The body of a request that counts as open.
struct Counted {
    body: Body,
    _open: Arc<Open>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::PATHS;

    fn rates(requests_per_minute: u32, requests_at_once: u32) -> Arc<Rates> {
        let limits = Limits { requests_per_minute, requests_at_once, ..Limits::default() };
        Arc::new(Rates::new(&limits))
    }

    const NONE: OwnLimits = OwnLimits { per_minute: None, at_once: None };

    #[test]
    fn requests_of_a_minute_come_back_with_time() {
        let rates = rates(60, 0);
        let now = Instant::now();
        for left in (0..60).rev() {
            let quota = rates.request("a", NONE, Kind::Work, now).unwrap().quota.unwrap();
            assert_eq!((quota.limit, quota.remaining), (60, left));
        }
        let TooMany { error, quota } = rates.request("a", NONE, Kind::Work, now).unwrap_err();
        assert_eq!((error.code, error.status.as_u16()), ("rate_limit_exceeded", 429));
        assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
        assert_eq!(quota.unwrap().reset, Duration::from_secs(60));
        rates.request("b", NONE, Kind::Work, now).unwrap();
        rates.request("a", NONE, Kind::Work, now + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn a_key_may_have_limits_of_its_own() {
        let rates = rates(1, 1);
        let now = Instant::now();
        let own = OwnLimits { per_minute: Some(0), at_once: Some(2) };
        let _first = rates.request("a", own, Kind::Work, now).unwrap();
        let second = rates.request("a", own, Kind::Work, now).unwrap();
        assert_eq!(second.quota, None);
        let full = rates.request("a", own, Kind::Work, now).unwrap_err();
        assert_eq!((full.error.code, full.quota), ("rate_limit_exceeded", None));
        drop(second);
        rates.request("a", own, Kind::Work, now).unwrap();
        // Those of the server count for the others.
        rates.request("b", NONE, Kind::Work, now).unwrap();
        assert!(rates.request("b", NONE, Kind::Work, now).is_err());
    }

    #[test]
    fn work_behind_answers_counts_against_other_work_alone() {
        let rates = rates(0, 1);
        let now = Instant::now();
        let ask = |key: &str, kind| rates.request(key, NONE, kind, now);
        let asker = ask("a", Kind::Work).unwrap().asker();
        // It only waits.
        ask("a", Kind::Work).unwrap();
        let working = asker.works();
        let full = ask("a", Kind::Work).unwrap_err().error;
        assert_eq!(full.code, "rate_limit_exceeded");
        assert!(full.message.contains("1 of them adaptations"), "{}", full.message);
        ask("b", Kind::Work).unwrap();
        // What looks at it, or stops it: at most one at once, too.
        let light = ask("a", Kind::Light).unwrap();
        assert!(ask("a", Kind::Light).is_err());
        drop(light);
        drop(working);
        let open = ask("a", Kind::Work).unwrap();
        // What is asked for is done, though others of the key's requests are open by then.
        let _working = asker.works();
        assert!(ask("a", Kind::Light).is_err());
        drop(open);
        assert!(ask("a", Kind::Work).is_err());
        ask("a", Kind::Light).unwrap();
    }

    #[test]
    fn what_is_work_is_among_the_paths() {
        let work = PATHS.iter().filter(|path| Kind::of(path) == Kind::Work);
        let expected =
            ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/users/{user}/adapt"];
        assert_eq!(work.copied().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_limit_that_comes_while_it_serves_begins_full() {
        let rates = rates(0, 0);
        let now = Instant::now();
        rates.request("a", NONE, Kind::Work, now).unwrap();
        let own = OwnLimits { per_minute: Some(2), ..NONE };
        let quota = rates.request("a", own, Kind::Work, now).unwrap().quota.unwrap();
        assert_eq!(quota.remaining, 1);
    }

    #[test]
    fn what_is_kept_of_keys_does_not_grow() {
        let rates = rates(60, 0);
        let now = Instant::now();
        for key in 0..1000_u32 {
            let later = now + Duration::from_secs(2 * u64::from(key));
            rates.request(&key.to_string(), NONE, Kind::Work, later).unwrap();
        }
        assert!(rates.state().keys.len() <= SWEEP);
    }

    #[test]
    fn times_are_written_as_openai_writes_them() {
        for (milliseconds, words) in [
            (0, "0ms"),
            (250, "250ms"),
            (1000, "1s"),
            (6500, "7s"),
            (59_500, "1m0s"),
            (360_000, "6m0s"),
        ] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), words);
        }
    }
}

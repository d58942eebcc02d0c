//! What an engine has done, as numbers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use spring_core::record::Ending;

/// How many durations were at most so long.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// Upper ends of the buckets, seconds, rising; a last bucket without end follows.
    pub bounds: &'static [f64],
    /// Durations in each bucket, one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all durations, seconds.
    pub sum: f64,
}

/// From a millisecond to two minutes.
const SHORT: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0,
    10.0, 20.0, 40.0, 80.0, 120.0,
];
/// From a tenth of a second to an hour.
const LONG: &[f64] =
    &[0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0, 1800.0, 3600.0];

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += seconds;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// How texts ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endings {
    /// By an end token or a stop string.
    pub stop: u64,
    /// At the most tokens.
    pub length: u64,
    /// Cut off because the engine ended.
    pub cut: u64,
}

/// The cache of people's models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Requests whose person was ready, in the generation in use.
    pub hits: u64,
    /// Requests whose person had to be read from the state.
    pub misses: u64,
    /// People who went to make room.
    pub evicted: u64,
    /// People who are ready.
    pub people: usize,
    /// Bytes that they take.
    pub bytes: u64,
}

/// The cache of keys and values of what contexts began with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefixStats {
    /// Tokens of contexts that it was asked for.
    pub queried: u64,
    /// Those of them that it had, and that were not read again.
    pub hit: u64,
    /// Parts of contexts that went to make room.
    pub evicted: u64,
    /// Parts of contexts that are kept.
    pub parts: usize,
    /// Bytes that they take.
    pub bytes: u64,
}

/// What an engine has done since it started, and what it is doing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests in the batch.
    pub running: usize,
    /// Rows of the batch that are taken.
    pub rows: usize,
    /// Adapters that the requests in the batch are answered with, each once.
    pub running_adapters: usize,
    /// Adapters that those which wait will be answered with, each once.
    pub waiting_adapters: usize,
    /// Tokens that these rows may come to hold, and how many the batch may.
    pub tokens: [usize; 2],
    /// Requests that wait, or are being made ready to.
    pub waiting: usize,
    /// Requests that were taken.
    pub requests: u64,
    /// Requests that were refused because a queue was full.
    pub refused: u64,
    /// Requests whose reader went, or read too slowly.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Texts that were written to their end.
    pub texts: Endings,
    /// Tokens of contexts that were read, retrieved texts and the second branch's prompt included,
    /// what the cache had and what several texts share not.
    pub prompt_tokens: u64,
    /// Tokens that were written.
    pub generated_tokens: u64,
    /// Passes that wrote a token of each row that goes on.
    pub steps: u64,
    /// From the request to its first token.
    pub time_to_first_token: Histogram,
    /// Between two tokens of a text.
    pub time_between_tokens: Histogram,
    /// In the queue.
    pub queue_time: Histogram,
    /// From the queue to the first token.
    pub prefill_time: Histogram,
    /// From the first token to the end.
    pub decode_time: Histogram,
    /// From the request to the end.
    pub whole_time: Histogram,
    /// People's models.
    pub cache: CacheStats,
    /// What contexts began with.
    pub prefixes: PrefixStats,
    /// Adaptations that ended well.
    pub adaptations: u64,
    /// Adaptations that failed.
    pub failed_adaptations: u64,
}

impl Stats {
    fn new() -> Self {
        Self {
            running: 0,
            rows: 0,
            running_adapters: 0,
            waiting_adapters: 0,
            tokens: [0; 2],
            waiting: 0,
            requests: 0,
            refused: 0,
            cancelled: 0,
            failed: 0,
            texts: Endings::default(),
            prompt_tokens: 0,
            generated_tokens: 0,
            steps: 0,
            time_to_first_token: Histogram::new(SHORT),
            time_between_tokens: Histogram::new(SHORT),
            queue_time: Histogram::new(SHORT),
            prefill_time: Histogram::new(SHORT),
            decode_time: Histogram::new(LONG),
            whole_time: Histogram::new(LONG),
            cache: CacheStats::default(),
            prefixes: PrefixStats::default(),
            adaptations: 0,
            failed_adaptations: 0,
        }
    }
}

/// The numbers while they grow.
#[derive(Debug)]
pub(crate) struct Counters(Mutex<Counted>);

#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) stats: Stats,
    /// Seconds between two requests that leave the batch while others wait for it: a moving mean.
    seconds_each: Option<f64>,
    last_left: Option<Instant>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Counted { stats: Stats::new(), seconds_each: None, last_left: None }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much the newest request weighs in the mean.
const NEWEST: f64 = 0.1;

impl Counted {
    /// A text has ended.
    pub(crate) fn ended(&mut self, ending: Ending) {
        let texts = &mut self.stats.texts;
        match ending {
            Ending::EndToken | Ending::StopString => texts.stop += 1,
            Ending::Length => texts.length += 1,
            Ending::Stopped => texts.cut += 1,
        }
    }

    /// A request has left the batch.
    pub(crate) fn left(&mut self, now: Instant) {
        if let Some(last) = self.last_left.replace(now) {
            let seconds = now.duration_since(last).as_secs_f64();
            let mean = self.seconds_each.unwrap_or(seconds);
            self.seconds_each = Some(mean + NEWEST * (seconds - mean));
        }
    }

    /// The batch is empty: the time until the next request leaves it is not the batch's.
    pub(crate) fn idle(&mut self) {
        self.last_left = None;
    }

    /// When a request has probably got through that many others, as far as that is known.
    pub(crate) fn wait_behind(&self, waiting: usize) -> Duration {
        let seconds = self.seconds_each.unwrap_or(1.0) * (waiting as f64 + 1.0);
        Duration::from_secs_f64(seconds.ceil().clamp(1.0, 120.0))
    }

    pub(crate) fn add(&mut self, which: Time, duration: Duration) {
        let stats = &mut self.stats;
        let histogram = match which {
            Time::ToFirstToken => &mut stats.time_to_first_token,
            Time::BetweenTokens => &mut stats.time_between_tokens,
            Time::Queue => &mut stats.queue_time,
            Time::Prefill => &mut stats.prefill_time,
            Time::Decode => &mut stats.decode_time,
            Time::Whole => &mut stats.whole_time,
        };
        histogram.add(duration);
    }
}

/// Which duration it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Time {
    ToFirstToken,
    BetweenTokens,
    Queue,
    Prefill,
    Decode,
    Whole,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_their_buckets() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for seconds in [0.05, 0.1, 0.5, 3.0] {
            histogram.add(Duration::from_secs_f64(seconds));
        }
        assert_eq!(histogram.counts, [2, 1, 1]);
        assert_eq!((histogram.count(), histogram.sum), (4, 3.65));
    }

    #[test]
    fn the_wait_follows_the_rate_and_stays_within_what_clients_obey() {
        let counters = Counters::new();
        let mut counted = counters.lock();
        assert_eq!(counted.wait_behind(0), Duration::from_secs(1));
        let begin = Instant::now();
        for i in 0..50 {
            counted.left(begin + Duration::from_secs(2 * i));
        }
        assert_eq!(counted.wait_behind(9), Duration::from_secs(20));
        assert_eq!(counted.wait_behind(1000), Duration::from_secs(120));
    }
}

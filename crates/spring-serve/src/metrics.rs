//! What is counted, in Prometheus' text format, under vLLM's names with `spring_` in front.
//!
//! By hand, since half of it is a snapshot that the engine gives when asked, and since the crates
//! for it hold every time series in an object of its own.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, StatusCode};

use crate::{FinishReason, Stats, clock::now};

/// Bounds of waiting and of whole answers, seconds.
const LONG: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
];

/// Bounds of the time between two tokens, seconds.
const SHORT: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5];

#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (count, bound) in self.counts.iter().zip(self.bounds) {
            below += count;
            line(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"));
        }
        let all: u64 = self.counts.iter().sum();
        line(out, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {all}"));
        let labels = braces(labels);
        line(out, format_args!("{name}_sum{labels} {}", self.sum));
        line(out, format_args!("{name}_count{labels} {all}"));
    }
}

/// The times of an answer, one for each histogram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Span {
    /// From admission to the first token.
    FirstToken,
    /// Between two tokens.
    BetweenTokens,
    /// From admission to the end.
    Whole,
    /// From admission to the start of prefill.
    Queue,
    /// From there to the first token.
    Prefill,
    /// From there to the end.
    Decode,
}

const SPANS: [(&str, &str, &[f64]); 6] = [
    ("spring_time_to_first_token_seconds", "From admission to the first token.", LONG),
    ("spring_inter_token_latency_seconds", "Between two tokens.", SHORT),
    ("spring_e2e_request_latency_seconds", "From admission to the end.", LONG),
    ("spring_request_queue_time_seconds", "From admission to the start of prefill.", LONG),
    ("spring_request_prefill_time_seconds", "From there to the first token.", LONG),
    ("spring_request_decode_time_seconds", "From there to the end.", LONG),
];

#[derive(Debug)]
pub(crate) struct Metrics {
    in_flight: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// By base, as all below: users are not labels.
    models: BTreeMap<String, OfModel>,
    requests: BTreeMap<(&'static str, String, u16), u64>,
    durations: BTreeMap<&'static str, Histogram>,
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct OfModel {
    prompt_tokens: u64,
    generation_tokens: u64,
    success: [u64; 2],
    cancelled: u64,
    failed: u64,
    spans: Vec<Histogram>,
}

impl Default for OfModel {
    fn default() -> Self {
        Self {
            prompt_tokens: 0,
            generation_tokens: 0,
            success: [0; 2],
            cancelled: 0,
            failed: 0,
            spans: SPANS.iter().map(|(_, _, bounds)| Histogram::new(bounds)).collect(),
        }
    }
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn new() -> Self {
        Self { in_flight: AtomicU64::new(0), counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `model` is one of the service's: a client cannot make up any number of them.
    fn of<T>(&self, model: &str, change: impl FnOnce(&mut OfModel) -> T) -> T {
        let mut counts = self.counts();
        if !counts.models.contains_key(model) {
            counts.models.insert(model.to_owned(), OfModel::default());
        }
        change(counts.models.entry(model.to_owned()).or_default())
    }

    pub fn request_begins(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// The head of an answer was sent; a stream goes on.
    pub fn request_ended(
        &self,
        method: &Method,
        path: &'static str,
        status: StatusCode,
        time: Duration,
    ) {
        let method = match *method {
            Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD => {
                method.to_string()
            }
            _ => "other".to_owned(),
        };
        let mut counts = self.counts();
        *counts.requests.entry((path, method, status.as_u16())).or_default() += 1;
        counts.durations.entry(path).or_insert_with(|| Histogram::new(LONG)).add(time);
    }

    pub fn refused(&self, code: &'static str) {
        *self.counts().refused.entry(code).or_default() += 1;
    }

    pub fn tokens(&self, model: &str, prompt: u64, generation: u64) {
        self.of(model, |of| {
            of.prompt_tokens += prompt;
            of.generation_tokens += generation;
        });
    }

    pub fn span(&self, model: &str, span: Span, time: Duration) {
        self.of(model, |of| of.spans[span as usize].add(time));
    }

    pub fn finished(&self, model: &str, reason: FinishReason) {
        self.of(model, |of| of.success[reason as usize] += 1);
    }

    /// The client went, or the answer was cut.
    pub fn cancelled(&self, model: &str) {
        self.of(model, |of| of.cancelled += 1);
    }

    pub fn failed(&self, model: &str) {
        self.of(model, |of| of.failed += 1);
    }

    /// The whole page.
    pub fn text(&self, model: &str, stats: &Stats) -> String {
        let mut out = String::new();
        engine(&mut out, model, stats);
        let counts = self.counts();
        of_models(&mut out, &counts.models);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let help = "HTTP requests whose answer has not begun.";
        one(&mut out, "spring_http_requests_in_flight", "gauge", help, "", in_flight as f64);
        head(&mut out, "spring_http_requests_total", "counter", "HTTP requests.");
        for ((path, method, status), count) in &counts.requests {
            let labels = format!("method=\"{method}\",path=\"{path}\",status=\"{status}\"");
            line(&mut out, format_args!("spring_http_requests_total{{{labels}}} {count}"));
        }
        let name = "spring_http_request_duration_seconds";
        head(&mut out, name, "histogram", "Time to the head of an answer.");
        for (path, durations) in &counts.durations {
            durations.write(&mut out, name, &format!("path=\"{path}\""));
        }
        let name = "spring_requests_refused_total";
        head(&mut out, name, "counter", "Requests that were refused, by the error's code.");
        for (code, count) in &counts.refused {
            line(&mut out, format_args!("{name}{{code=\"{code}\"}} {count}"));
        }
        out
    }
}

fn of_models(out: &mut String, models: &BTreeMap<String, OfModel>) {
    let labels = |model: &str| format!("model_name=\"{}\"", escape(model));
    let counter = |out: &mut String, name: &str, help: &str, value: fn(&OfModel) -> u64| {
        head(out, name, "counter", help);
        for (model, of) in models {
            line(out, format_args!("{name}{{{}}} {}", labels(model), value(of)));
        }
    };
    counter(out, "spring_prompt_tokens_total", "Prompt tokens read.", |of| of.prompt_tokens);
    counter(out, "spring_generation_tokens_total", "Tokens written.", |of| of.generation_tokens);
    let help = "Answers whose client went, or that were cut.";
    counter(out, "spring_request_cancelled_total", help, |of| of.cancelled);
    let help = "Answers that an error ended.";
    counter(out, "spring_request_failed_total", help, |of| of.failed);
    let name = "spring_request_success_total";
    head(out, name, "counter", "Choices that were written to their end.");
    for (model, of) in models {
        for (reason, count) in ["stop", "length"].iter().zip(of.success) {
            let labels = labels(model);
            line(out, format_args!("{name}{{{labels},finished_reason=\"{reason}\"}} {count}"));
        }
    }
    for (index, (name, help, _)) in SPANS.iter().enumerate() {
        head(out, name, "histogram", help);
        for (model, of) in models {
            of.spans[index].write(out, name, &labels(model));
        }
    }
}

fn engine(out: &mut String, model: &str, stats: &Stats) {
    let labels = format!("model_name=\"{}\"", escape(model));
    let rows: [(&str, &str, &str, f64); 17] = [
        ("spring_num_requests_running", "gauge", "Answers being written.", stats.running as f64),
        ("spring_num_requests_waiting", "gauge", "Answers that wait.", stats.waiting as f64),
        (
            "spring_kv_cache_usage_perc",
            "gauge",
            "Used part of the memory for keys and values, 0 to 1.",
            stats.kv_cache_usage,
        ),
        (
            "spring_prefix_cache_queries_total",
            "counter",
            "Prompt tokens looked for in the prefix cache.",
            stats.prefix_cache_queries as f64,
        ),
        (
            "spring_prefix_cache_hits_total",
            "counter",
            "Prompt tokens found there.",
            stats.prefix_cache_hits as f64,
        ),
        (
            "spring_prefix_cache_bytes",
            "gauge",
            "Bytes of the prefix cache.",
            stats.prefix_cache_bytes as f64,
        ),
        (
            "spring_prefix_cache_evictions_total",
            "counter",
            "Parts of prompts that went from the prefix cache to make room.",
            stats.prefix_cache_evictions as f64,
        ),
        (
            "spring_lora_adapters_running",
            "gauge",
            "Adapters of the answers being written, each once.",
            stats.running_adapters as f64,
        ),
        (
            "spring_lora_adapters_waiting",
            "gauge",
            "Adapters of the answers that wait, each once.",
            stats.waiting_adapters as f64,
        ),
        ("spring_adapters_loaded", "gauge", "Adapters in memory.", stats.adapters_loaded as f64),
        ("spring_adapter_bytes", "gauge", "Their bytes.", stats.adapter_bytes as f64),
        ("spring_adapter_loads_total", "counter", "Loaded adapters.", stats.adapter_loads as f64),
        (
            "spring_adapter_evictions_total",
            "counter",
            "Adapters that went from memory to make room.",
            stats.adapter_evictions as f64,
        ),
        (
            "spring_adaptations_waiting",
            "gauge",
            "Adaptations that wait.",
            stats.adaptations_waiting as f64,
        ),
        (
            "spring_adaptations_running",
            "gauge",
            "Adaptations that run.",
            stats.adaptations_running as f64,
        ),
        (
            "spring_adaptations_done_total",
            "counter",
            "Adaptations that ended well.",
            stats.adaptations_done as f64,
        ),
        (
            "spring_adaptations_failed_total",
            "counter",
            "Adaptations that failed.",
            stats.adaptations_failed as f64,
        ),
    ];
    for (name, kind, help, value) in rows {
        one(out, name, kind, help, &labels, value);
    }
    // vLLM lists the adapters' names in these labels; here they are people's, so both are empty: a
    // count in their place would be read as a name.
    let most = stats.most_adapters;
    let labels = format!(
        "{labels},max_lora=\"{most}\",running_lora_adapters=\"\",waiting_lora_adapters=\"\""
    );
    let help = "The time; max_lora is the rows of the batch, and no adapter is named.";
    one(out, "spring_lora_requests_info", "gauge", help, &labels, now() as f64);
}

fn one(out: &mut String, name: &str, kind: &str, help: &str, labels: &str, value: f64) {
    head(out, name, kind, help);
    line(out, format_args!("{name}{} {value}", braces(labels)));
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn braces(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A text takes all that is written to it.
    let _ = writeln!(out, "{text}");
}

/// A label's value.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_below_each_bound() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for milliseconds in [50, 100, 500, 5000] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let mut out = String::new();
        histogram.write(&mut out, "t", "a=\"b\"");
        assert_eq!(
            out,
            "t_bucket{a=\"b\",le=\"0.1\"} 2\nt_bucket{a=\"b\",le=\"1\"} 3\n\
             t_bucket{a=\"b\",le=\"+Inf\"} 4\nt_sum{a=\"b\"} 5.65\nt_count{a=\"b\"} 4\n"
        );
    }

    #[test]
    fn adapters_are_counted_and_not_named() {
        let stats = Stats {
            running_adapters: 3,
            waiting_adapters: 2,
            most_adapters: 32,
            prefix_cache_evictions: 5,
            adapter_evictions: 4,
            ..Stats::default()
        };
        let text = Metrics::new().text("m", &stats);
        let info = "spring_lora_requests_info{model_name=\"m\",max_lora=\"32\",\
                    running_lora_adapters=\"\",waiting_lora_adapters=\"\"} 1";
        for line in [
            info,
            "spring_lora_adapters_running{model_name=\"m\"} 3\n",
            "spring_lora_adapters_waiting{model_name=\"m\"} 2\n",
            "spring_prefix_cache_evictions_total{model_name=\"m\"} 5\n",
            "spring_adapter_evictions_total{model_name=\"m\"} 4\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_models_name_cannot_forge_a_line() {
        let metrics = Metrics::new();
        metrics.tokens("a\"} 1\nb", 1, 2);
        let text = metrics.text("a\"} 1\nb", &Stats::default());
        assert!(text.contains(r#"spring_prompt_tokens_total{model_name="a\"} 1\nb"} 1"#), "{text}");
        assert!(text.lines().all(|line| !line.starts_with('b')), "{text}");
    }
}

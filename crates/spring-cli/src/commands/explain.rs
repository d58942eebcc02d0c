//! `spring explain`, and the tables it shares with the demo.

use std::collections::HashMap;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use spring_core::{
    Access, Config, DecodingConfig, LearnedText, PeriodSignal, RetrieverKind, Store,
    StoredInteraction, UserSummary, drift_signal, learned_texts, path_to, provenance,
    record::{AnswerRecord, LearnedPeriod, PeriodRecord, ScoredText},
    spring_drift::DriftReading,
    spring_memory::{BufferItem, UserId},
};

use crate::{
    args::{Args, ExplainArgs},
    files,
    output::{self, excerpt, number},
    session,
};

/// Answers shown.
const ANSWERS: usize = 3;

pub fn run(args: &Args, command: &ExplainArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadOnly)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let summary = store.user(&user)?;
    if command.text.is_some() || command.text_file.is_some() {
        let text = files::given(command.text.as_deref(), command.text_file.as_deref())?;
        return why(args, &store, &user, &text, command.rows);
    }
    if command.since.is_some() || command.until.is_some() {
        return learned_between(args, &store, &summary, command);
    }
    let signal_config = store.settings().config.drift.signal;
    if let Some(number) = command.generation_id {
        let learned = store.record(&user, number)?;
        let mut signals = drift_signal(signal_config, &path_to(&store, &user, number)?)?;
        signals.retain(|signal| signal.generation == number);
        if args.json {
            return output::json(
                &json!({"user": summary, "periods": [learned], "signals": signals}),
            );
        }
        let texts = texts_of(&store, &user, &learned.record)?;
        return period(&learned, signals.first(), &texts, command.rows);
    }
    let mut records = store.period_records(&user, None)?;
    // Running over all periods, whichever are shown.
    let mut signals = drift_signal(signal_config, &records)?;
    if let Some(number) = command.period {
        // The error names the periods there are, if this one is unknown.
        records = store.period_records(&user, Some(number))?;
        signals.retain(|signal| signal.period == number);
    }
    let generation = store.generation(&user, None)?;
    let answers = store.answers(&user, ANSWERS)?;
    let (buffer, calibration) = match &generation {
        Some(generation) => (generation.buffer.as_slice(), generation.calibration.as_slice()),
        None => (&[][..], &[][..]),
    };
    if args.json {
        return output::json(&json!({
            "user": summary, "periods": records, "signals": signals, "buffer": buffer,
            "calibration": calibration,
            "answers": answers
        }));
    }
    if records.is_empty() {
        output::line(&format!(
            "user {user}: {} interactions, nothing learned yet; run `spring adapt`",
            summary.interactions
        ))?;
    }
    for learned in &records {
        let signal = signals.iter().find(|signal| signal.generation == learned.generation);
        period(learned, signal, &texts_of(&store, &user, &learned.record)?, command.rows)?;
    }
    if let (None, Some(generation)) = (command.period, &generation) {
        let made_by = store.record(&user, generation.number)?.record.config;
        let keys: Vec<u64> = buffer.iter().map(|item| item.key).collect();
        let texts = by_seq(store.interactions(&user, &keys)?);
        buffer_table(buffer, &made_by, &texts, command.rows)?;
        for record in &answers {
            output::line(&format!("\nAnswer of {}: {}", record.time, excerpt(&record.text, 100)))?;
            answer(record, &texts, command.rows)?;
        }
    }
    Ok(())
}

/// What was chosen by name, with its settings.
fn method(config: &Config) -> String {
    let Config { drift, buffer, retrieval, gate, fusion, .. } = config;
    let retriever = match retrieval.retriever {
        RetrieverKind::Bm25 => {
            format!("bm25 ({}, fields {})", settings(&config.bm25), chosen(&retrieval.fields))
        }
        RetrieverKind::Dense => RetrieverKind::Dense.name().to_owned(),
    };
    let parts = [
        ("scorer", chosen(&drift.scorer)),
        ("selection", chosen(&drift.selection)),
        ("buffer", format!("{} of {}", chosen(&buffer.policy), buffer.capacity)),
        ("retriever", retriever),
        ("gate", chosen(gate)),
        ("mixture", format!("{}, λ {}", chosen(&fusion.space), chosen(&fusion.lambda))),
        ("decoding", decoding(&config.decoding)),
    ];
    parts.map(|(part, choice)| format!("{part} {choice}")).join("; ")
}

/// Penalties and sampler in words.
fn decoding(config: &DecodingConfig) -> String {
    let sampler = match config.sampler.temperature {
        0.0 => "greedy".to_owned(),
        _ => format!("drawn ({})", settings(&config.sampler)),
    };
    format!("{sampler}, penalties ({})", settings(&config.penalties))
}

/// `{"kind": "margin", "margin": 2}` as "margin (margin 2)".
fn chosen(choice: &impl Serialize) -> String {
    let value = value_of(choice);
    if !value.is_object() {
        return plain(&value);
    }
    let (kind, rest) = (value.get("kind").map(plain).unwrap_or_default(), settings(choice));
    if rest.is_empty() { kind } else { format!("{kind} ({rest})") }
}

/// Settings without their kind and without those that are off: "margin 2, k 2".
fn settings(of: &impl Serialize) -> String {
    let Value::Object(settings) = value_of(of) else { return String::new() };
    let is_on =
        |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let settings = settings.iter().filter(|(key, value)| *key != "kind" && is_on(value));
    settings.map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
}

/// Through text, where an f32 has as few digits as identify it.
fn value_of(value: &impl Serialize) -> Value {
    serde_json::to_string(value).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(name) => name.clone(),
        Value::Object(settings) if settings.contains_key("kind") => chosen(value),
        other => other.to_string(),
    }
}

/// "mean novelty −0.41 nats/token (95 %: −0.50 to −0.32)", then whether the user is drifting and
/// why.
pub fn drift(reading: &DriftReading) -> String {
    let band =
        reading.band.map_or(String::new(), |(low, high)| format!(" (95 %: {low:.3} to {high:.3})"));
    let drifting = if reading.drifting { "drifting" } else { "not drifting" };
    format!("recent mean N {:.3} nats/token{band}; {drifting}: {}", reading.mean, reading.evidence)
}

/// Why the model wrote a text, or may write it.
fn why(args: &Args, store: &Store, user: &UserId, text: &str, rows: usize) -> Result<()> {
    let found = provenance(store, user, text, rows)?;
    if args.json {
        return output::json(&json!({"user": user, "text": text, "provenance": found}));
    }
    match &found.answer {
        Some(record) => {
            output::line(&format!(
                "Written on {} to the prompt: {}",
                record.time,
                excerpt(&record.prompt, 80)
            ))?;
            let found: Vec<u64> = record.retrieved.iter().map(|found| found.seq).collect();
            answer(record, &by_seq(store.interactions(user, &found)?), rows)?;
        }
        None => output::line("No recorded answer contains this; what was learned may explain it.")?,
    }
    if found.generation == 0 {
        return output::line("\nIt is the base model's: nothing of this user had been learned.");
    }
    output::line(&format!(
        "\nLearned by generation {} or before it, most like this text first (by shared words; a \
         resemblance is not a proof)",
        found.generation
    ))?;
    learned_table(found.alike.iter().map(|alike| (Some(alike.bm25), &alike.text)))
}

/// What was learned of the texts of a time.
fn learned_between(
    args: &Args,
    store: &Store,
    summary: &UserSummary,
    command: &ExplainArgs,
) -> Result<()> {
    let in_time = |text: &LearnedText| {
        let time = text.interaction.time;
        command.since.is_none_or(|since| time >= since)
            && command.until.is_none_or(|until| time < until)
    };
    let mut learned = learned_texts(store, &summary.user, summary.generation)?;
    learned.retain(in_time);
    if args.json {
        return output::json(&json!({
            "user": summary, "since": command.since, "until": command.until, "learned": learned
        }));
    }
    let name =
        |time: Option<Timestamp>, none: &str| time.map_or(none.to_owned(), |time| time.to_string());
    output::line(&format!(
        "{} texts written from {} to {} were learned (generation {} in use)",
        learned.len(),
        name(command.since, "the beginning"),
        name(command.until, "now"),
        summary.generation
    ))?;
    if learned.is_empty() {
        return Ok(());
    }
    learned_table(learned.iter().take(command.rows).map(|text| (None, text)))?;
    match learned.len().checked_sub(command.rows) {
        Some(more @ 1..) => output::line(&format!("  … and {more} more (--rows shows them)")),
        _ => Ok(()),
    }
}

fn learned_table<'a>(texts: impl Iterator<Item = (Option<f64>, &'a LearnedText)>) -> Result<()> {
    let mut table = output::table(&[
        "written",
        "id",
        "period",
        "generation",
        "learned",
        "N",
        "Q",
        "S",
        "BM25",
        "text",
    ]);
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    for (score, text) in texts {
        table.add_row([
            day(text.interaction.time),
            excerpt(text.interaction.id.as_str(), 24),
            text.period.to_string(),
            text.generation.to_string(),
            day(text.learned),
            format!("{:.3}", text.score.novelty),
            format!("{:.3}", text.score.quality),
            format!("{:.3}", text.score.score),
            number(score),
            excerpt(&text.interaction.response, 50),
        ]);
    }
    output::line(&table.to_string())
}

/// The texts of a period by sequence number.
pub fn texts_of(
    store: &Store,
    user: &UserId,
    record: &PeriodRecord,
) -> Result<HashMap<u64, StoredInteraction>> {
    let keys: Vec<u64> = record.scores.iter().map(|score| score.seq).collect();
    Ok(by_seq(store.interactions(user, &keys)?))
}

pub fn by_seq(texts: Vec<StoredInteraction>) -> HashMap<u64, StoredInteraction> {
    texts.into_iter().map(|text| (text.seq, text)).collect()
}

/// One period: what was selected and why, how it was learned, and the drift signal after it, where
/// there is one.
pub fn period(
    learned: &LearnedPeriod,
    signal: Option<&PeriodSignal>,
    texts: &HashMap<u64, StoredInteraction>,
    rows: usize,
) -> Result<()> {
    let record = &learned.record;
    let statistics = &record.statistics;
    output::line(&format!(
        "\nPeriod {} (generation {} from {}): {} texts to learn from, {} held out",
        record.period,
        learned.generation,
        record.parent,
        record.scores.len(),
        record.held_out
    ))?;
    output::line(&format!("  by {}", method(&record.config)))?;
    output::line(&format!(
        "  selected {}: {}",
        record.selection.selected, record.selection.reason
    ))?;
    output::line(&format!(
        "  novelty N: mean {}, sd {}; weighted quality αQ: sd {}; rank correlation of S with N {}, \
         with Q {}",
        number(statistics.novelty_mean),
        number(statistics.novelty_sd),
        number(statistics.weighted_quality_sd),
        number(statistics.score_novelty_correlation),
        number(statistics.score_quality_correlation)
    ))?;
    if let Some(signal) = signal {
        output::line(&format!("  drift signal: {}", drift(&signal.reading)))?;
    }
    let losses: Vec<String> =
        record.update.losses.iter().map(|loss| format!("{loss:.3}")).collect();
    output::line(&format!(
        "  learned in {} steps over {} tokens; loss {} nats/token",
        record.update.steps,
        record.update.tokens,
        losses.join(" → ")
    ))?;
    let mut scores: Vec<&ScoredText> = record.scores.iter().collect();
    scores.sort_by(|a, b| {
        let rank = |s: &ScoredText| s.selected.unwrap_or(usize::MAX);
        rank(a).cmp(&rank(b)).then(b.score.score.total_cmp(&a.score.score))
    });
    let mut table = output::table(&["rank", "id", "N", "Q", "S", "text"]);
    for score in scores.iter().take(rows) {
        let text = texts.get(&score.seq).map_or("", |text| text.interaction.response.as_str());
        table.add_row([
            score.selected.map_or("not selected".into(), |rank| rank.to_string()),
            excerpt(score.id.as_str(), 24),
            format!("{:.3}", score.score.novelty),
            format!("{:.3}", score.score.quality),
            format!("{:.3}", score.score.score),
            excerpt(text, 60),
        ]);
    }
    output::line(&table.to_string())?;
    if scores.len() > rows {
        output::line(&format!("  … and {} more (--rows shows them)", scores.len() - rows))?;
    }
    for evicted in record.evicted.iter().take(rows) {
        output::line(&format!("  left the buffer: text {}, {}", evicted.item.key, evicted.reason))?;
    }
    output::line(&format!("  gate: {}", record.gate_rule()))
}

/// What stayed in the buffer under these settings.
pub fn buffer_table(
    buffer: &[BufferItem],
    config: &Config,
    texts: &HashMap<u64, StoredInteraction>,
    rows: usize,
) -> Result<()> {
    let policy = config.buffer.policy;
    let kept = match policy.name() {
        "residual" => "those with the highest S after the update",
        "reservoir" => "a random sample of what was selected",
        "recency" => "the newest",
        "balanced_periods" => "those with the highest S of each period",
        "diversity" => "those least like each other",
        other => other,
    };
    output::line(&format!(
        "\nBuffer: {} texts of at most {} by policy {}: {kept}; the highest S first",
        buffer.len(),
        config.buffer.capacity,
        policy.name()
    ))?;
    let mut table = output::table(&["period", "N", "Q", "S", "text"]);
    for item in buffer.iter().take(rows) {
        let text = texts.get(&item.key).map_or("", |text| text.interaction.response.as_str());
        table.add_row([
            item.period.to_string(),
            format!("{:.3}", item.novelty),
            format!("{:.3}", item.quality),
            format!("{:.3}", item.score),
            excerpt(text, 70),
        ]);
    }
    output::line(&table.to_string())
}

/// Why an answer is as it is; at most `tokens` of its tokens are shown.
pub fn answer(
    record: &AnswerRecord,
    texts: &HashMap<u64, StoredInteraction>,
    tokens: usize,
) -> Result<()> {
    output::line(&format!("gate {}", record.gate.reason))?;
    let mut table = output::table(&["retrieved", record.retriever.as_str(), "used", "text"]);
    for found in record.retrieved.iter().take(5) {
        let text = texts.get(&found.seq).map_or("(no longer in the buffer)".into(), |text| {
            excerpt(&format!("{} {}", text.interaction.prompt, text.interaction.response), 70)
        });
        let used = if found.used { "yes" } else { "no" };
        table.add_row([
            excerpt(found.id.as_str(), 24),
            format!("{:.3}", found.score),
            used.into(),
            text,
        ]);
    }
    if !record.retrieved.is_empty() {
        output::line(&table.to_string())?;
    }
    output::line(&match record.retrieval_share() {
        Some(share) => format!(
            "{:.0} % of the probability of the {} tokens came from the branch with the retrieved \
             texts (generation {}{})",
            100.0 * share,
            record.trace.len(),
            record.generation,
            record.fusion.map_or(String::new(), |fusion| {
                format!("; mixture {}, λ {}", chosen(&fusion.space), chosen(&fusion.lambda))
            })
        ),
        None => format!("one branch: adapter generation {}, no retrieved text", record.generation),
    })?;
    if let Some(config) = &record.decoding {
        output::line(&format!("tokens {}", decoding(config)))?;
    }
    token_table(record, tokens)
}

/// Where the first tokens of an answer of two branches came from.
fn token_table(record: &AnswerRecord, rows: usize) -> Result<()> {
    if record.trace.is_empty() || rows == 0 {
        return Ok(());
    }
    let mut table =
        output::table(&["token", "λ", "from retrieved texts", "divergence of the branches, nats"]);
    for token in record.trace.iter().take(rows) {
        let text = match token.text.as_str() {
            "" => format!("number {}", token.token),
            text => format!("{text:?}"),
        };
        table.add_row([
            text,
            format!("{:.3}", token.lambda),
            format!("{:.0} %", 100.0 * token.retrieval_share),
            number(token.divergence.map(f64::from)),
        ]);
    }
    output::line(&table.to_string())?;
    match record.trace.len().checked_sub(rows) {
        Some(more @ 1..) => output::line(&format!("  … and {more} more (--json has them all)")),
        _ => Ok(()),
    }
}

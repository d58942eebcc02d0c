//! `spring explain`, and the tables it shares with the demo.

mod learned;
mod settings;

use std::collections::HashMap;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use spring_core::{
    Access, BankKind, Config, GenerationSummary, PeriodSignal, Store, StoredInteraction,
    drift_signal, path_to,
    record::{AnswerRecord, LearnedPeriod, PeriodRecord, ScoredText},
    spring_drift::DriftReading,
    spring_fuse::{Calibration, Gains},
    spring_memory::{BufferItem, UserId},
};

use self::{
    learned::{learned_between, why},
    settings::{decoding, method, mixture, settings},
};
use crate::{
    args::{Args, ExplainArgs},
    files,
    output::{self, excerpt, number},
    session,
};

/// Answers shown.
const ANSWERS: usize = 3;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Rows of each table.
    pub rows: usize,
    /// Whether the method's own terms are, beside what they mean.
    pub terms: bool,
}

/// What the letters of the method's terms stand for.
pub const TERMS: &str = "N: how much worse the adapter explains a text than the base does; Q: how \
                         well the\nbase explains it; both in nats per token. S, the drift score: \
                         N + α·Q.";

pub fn run(args: &Args, command: &ExplainArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadOnly)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let summary = store.user(&user)?;
    let shown = Shown { rows: command.rows, terms: command.terms };
    if command.text.is_some() || command.text_file.is_some() {
        let text = files::given(command.text.as_deref(), command.text_file.as_deref())?;
        return why(args, &store, &user, &text, shown);
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
        return period(&learned, signals.first(), &texts, shown);
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
        Some(generation) => (generation.buffer.as_slice(), generation.calibration.clone()),
        None => (&[][..], Calibration::default()),
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
            "user {user}: {}, {}",
            output::count(summary.interactions, "interaction"),
            nothing_learned(&store.generations(&user)?)
        ))?;
    }
    if command.terms && !records.is_empty() {
        output::line(TERMS)?;
    }
    for learned in &records {
        let signal = signals.iter().find(|signal| signal.generation == learned.generation);
        period(learned, signal, &texts_of(&store, &user, &learned.record)?, shown)?;
    }
    if let (None, Some(generation)) = (command.period, &generation) {
        let made_by = store.record(&user, generation.number)?.record.config;
        let keys: Vec<u64> = buffer.iter().map(|item| item.key).collect();
        let texts = by_seq(store.interactions(&user, &keys)?);
        buffer_table(buffer, &made_by, &texts, shown)?;
        if let Some(gains) = &calibration.gains {
            gains_table(gains)?;
        }
        let searched = match store.settings().config.buffer.bank {
            BankKind::Buffer => texts,
            BankKind::History => by_seq(store.learned_until(&user, generation.number)?),
        };
        for record in &answers {
            let text = excerpt(&record.text, 100);
            output::line(&format!("\nAnswer of {}: {text}", minute(record.time)))?;
            answer(record, &searched, shown)?;
        }
    }
    Ok(())
}

/// Whether the user is drifting and why; with terms after "recent mean N −0.41 nats/token (95 %:
/// −0.50 to −0.32)".
pub fn drift(reading: &DriftReading, terms: bool) -> String {
    if !terms {
        let drifting = if reading.drifting { "drifting" } else { "not drifting" };
        return format!("{drifting}: {}", reading.evidence);
    }
    let band =
        reading.band.map_or(String::new(), |(low, high)| format!(" (95 %: {low:.3} to {high:.3})"));
    let drifting = if reading.drifting { "drifting" } else { "not drifting" };
    format!("recent mean N {:.3} nats/token{band}; {drifting}: {}", reading.mean, reading.evidence)
}

/// A time to the minute, in UTC.
fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
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
    shown: Shown,
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
    if shown.terms {
        output::line(&format!("  by {}", method(&record.config)))?;
    }
    output::line(&format!(
        "  selected {}: {}",
        record.selection.selected, record.selection.reason
    ))?;
    if shown.terms {
        output::line(&format!(
            "  novelty N: mean {}, sd {}; weighted quality αQ: sd {}; rank correlation of S with \
             N {}, with Q {}",
            number(statistics.novelty_mean),
            number(statistics.novelty_sd),
            number(statistics.weighted_quality_sd),
            number(statistics.score_novelty_correlation),
            number(statistics.score_quality_correlation)
        ))?;
    }
    if let Some(signal) = signal {
        output::line(&format!("  drift signal: {}", drift(&signal.reading, shown.terms)))?;
    }
    let losses: Vec<String> =
        record.update.losses.iter().map(|loss| format!("{loss:.3}")).collect();
    // Nothing was trained for an adapter that was imported.
    if record.update.steps > 0 {
        output::line(&format!(
            "  learned in {} steps over {} tokens; loss {} nats/token",
            record.update.steps,
            record.update.tokens,
            losses.join(" → ")
        ))?;
    }
    let mut scores: Vec<&ScoredText> = record.scores.iter().collect();
    scores.sort_by(|a, b| {
        let rank = |s: &ScoredText| s.selected.unwrap_or(usize::MAX);
        rank(a).cmp(&rank(b)).then(b.score.score.total_cmp(&a.score.score))
    });
    let text_of = |seq: u64| texts.get(&seq).map_or("", |t| t.interaction.response.as_str());
    let mut table = Scored::table(&["rank", "id"], &[1], shown.terms);
    for score in scores.iter().take(shown.rows) {
        let rank = score.selected.map_or("not learned".into(), |rank| rank.to_string());
        let scored = Scored(score.score.novelty, score.score.quality, score.score.score);
        let id = excerpt(score.id.as_str(), 24);
        table.add_row(scored.row(vec![rank, id], text_of(score.seq), shown.terms));
    }
    if !scores.is_empty() {
        output::line(&table.to_string())?;
    }
    if scores.len() > shown.rows {
        output::line(&format!("  … and {} more (--rows shows them)", scores.len() - shown.rows))?;
    }
    for evicted in record.evicted.iter().take(shown.rows) {
        output::line(&format!("  left the buffer: text {}, {}", evicted.item.key, evicted.reason))?;
    }
    output::line(&format!("  gate: {}", record.gate_rule()))
}

/// A text's novelty, quality and drift score, in columns that are shown with the method's terms.
struct Scored(f64, f64, f64);

impl Scored {
    /// A table with some columns, those of the terms, and one of texts.
    fn table(first: &[&str], wraps: &[usize], terms: bool) -> comfy_table::Table {
        let terms: &[&str] = if terms { &["N", "Q", "S"] } else { &[] };
        let headings = [first, terms, &["text"]].concat();
        output::table(&headings, &[wraps, &[headings.len() - 1]].concat())
    }

    fn row(&self, mut cells: Vec<String>, text: &str, terms: bool) -> Vec<String> {
        if terms {
            cells.extend([self.0, self.1, self.2].map(|value| format!("{value:.3}")));
        }
        cells.push(excerpt(text, 70));
        cells
    }
}

/// What stayed in the buffer under these settings.
pub fn buffer_table(
    buffer: &[BufferItem],
    config: &Config,
    texts: &HashMap<u64, StoredInteraction>,
    shown: Shown,
) -> Result<()> {
    let policy = config.buffer.policy;
    let kept = match policy.name() {
        "residual" => "the highest drift scores",
        "reservoir" => "a random sample of what was selected",
        "recency" => "the newest",
        "balanced_periods" => "the highest drift scores of each period",
        "diversity" => "those least like each other",
        other => other,
    };
    output::line(&format!(
        "\nBuffer: {} texts of at most {} by policy {}: {kept}",
        buffer.len(),
        config.buffer.capacity,
        policy.name()
    ))?;
    let mut table = Scored::table(&["period"], &[], shown.terms);
    for item in buffer.iter().take(shown.rows) {
        let text = texts.get(&item.key).map_or("", |text| text.interaction.response.as_str());
        let scored = Scored(item.novelty, item.quality, item.score);
        table.add_row(scored.row(vec![item.period.to_string()], text, shown.terms));
    }
    output::line(&table.to_string())
}

/// What reading along has gained for texts of the past, and what a prompt can expect of it.
fn gains_table(gains: &Gains) -> Result<()> {
    let texts = output::count(gains.texts.len() as u64, "text");
    // What cannot be read as a curve decides nothing, and answers say so.
    let Ok(curve) = gains.curve() else { return Ok(()) };
    let opens = match curve.opens_at() {
        None => "at no score a gain is expected".to_owned(),
        Some(score) if score <= 0.0 => "a gain is expected at every score".to_owned(),
        Some(score) => format!("a gain is expected above a best score of {score:.3}"),
    };
    output::line(&format!("\nGain of reading along, measured on {texts} of the past: {opens}"))?;
    let headings = ["best score", "expected gain, nats/token", "at λ"];
    let mut table = output::table(&headings, &[]);
    let mut scores: Vec<f64> = gains.texts.iter().map(|text| text.score).collect();
    scores.sort_by(f64::total_cmp);
    scores.dedup();
    let last = scores.len().saturating_sub(1);
    let mut quartiles: Vec<usize> = (0..=4).map(|quarter| quarter * last / 4).collect();
    quartiles.dedup();
    for score in quartiles.into_iter().filter_map(|place| scores.get(place)) {
        let expected = curve.at(*score);
        table.add_row([
            format!("{score:.3}"),
            format!("{:+.4}", expected.nats),
            format!("{:.2}", expected.lambda),
        ]);
    }
    output::line(&table.to_string())
}

/// Why there is nothing to show of what a user's generation in use has learned.
pub(super) fn nothing_learned(generations: &[GenerationSummary]) -> &'static str {
    match generations {
        [] => "nothing learned yet; run `spring adapt`",
        _ => {
            "the base alone is in use, after a rollback: `spring inspect` lists the generations, \
             and `spring rollback --to N` takes one of them"
        }
    }
}

/// Warns that the base alone answers, where it does.
pub(super) fn warn_of_base(store: &Store, user: &UserId) -> Result<()> {
    let summary = store.user(user)?;
    if summary.generation > 0 {
        return Ok(());
    }
    if let Some(prior) = store.prior()? {
        output::say(&format!(
            "spring: warning: user {user}: nothing of the user's own is in use, so prior {} \
             answers, which was learned from others",
            prior.number
        ));
        return Ok(());
    }
    let why = match summary.interactions {
        0 => "there is no history; this is the base model",
        _ => nothing_learned(&store.generations(user)?),
    };
    output::say(&format!("spring: warning: user {user}: {why}"));
    Ok(())
}

/// Why an answer is as it is; with terms also where at most as many of its tokens as rows came
/// from.
pub fn answer(
    record: &AnswerRecord,
    texts: &HashMap<u64, StoredInteraction>,
    shown: Shown,
) -> Result<()> {
    output::line(&format!("gate {}", record.gate.reason))?;
    let mut table =
        output::table(&["retrieved", record.retriever.as_str(), "used", "text"], &[0, 3]);
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
    let mixture = record
        .fusion
        .filter(|_| shown.terms)
        .map_or(String::new(), |fusion| format!("; mixture {}", mixture(&fusion)));
    output::line(&match record.retrieval_share() {
        Some(share) => format!(
            "{:.0} % of the probability of the {} tokens came from the branch with the retrieved \
             texts (generation {}{mixture})",
            100.0 * share,
            record.trace.len(),
            record.generation,
        ),
        None => match record.fusion.and_then(|fusion| fusion.contrasting()) {
            Some(contrast) => format!(
                "adapter generation {} contrasted with the base ({}), no retrieved text",
                record.generation,
                settings(&contrast),
            ),
            None => {
                format!("one branch: adapter generation {}, no retrieved text", record.generation)
            }
        },
    })?;
    if !shown.terms {
        return Ok(());
    }
    if let Some(config) = &record.decoding {
        output::line(&format!("tokens {}", decoding(config)))?;
    }
    token_table(record, shown.rows)
}

/// Where the first tokens of an answer of two branches came from.
fn token_table(record: &AnswerRecord, rows: usize) -> Result<()> {
    if record.trace.is_empty() || rows == 0 {
        return Ok(());
    }
    let headings = ["token", "λ", "from retrieved texts", "divergence of the branches, nats"];
    let mut table = output::table(&headings, &[0, 3]);
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

//! `spring inspect`

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, PeriodSignal, drift_signal, record::LearnedPeriod};

use crate::{
    args::{Args, InspectUserArgs},
    output::{self, number},
    session,
};

pub fn run(args: &Args, command: &InspectUserArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadOnly)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let summary = store.user(&user)?;
    let size = store.size(&user)?;
    let generations = store.generations(&user)?;
    let records = store.period_records(&user, None)?;
    let signals = drift_signal(store.settings().config.drift.signal, &records)?;
    let drift: Vec<Drift> = records.iter().map(|learned| Drift::of(learned, &signals)).collect();
    let current = store.generation(&user, None)?;
    let mut by_period = BTreeMap::<u32, usize>::new();
    for item in current.iter().flat_map(|generation| &generation.buffer) {
        *by_period.entry(item.period).or_default() += 1;
    }
    if args.json {
        return output::json(&json!({
            "user": summary, "bytes": size, "generations": generations, "drift": drift,
            "signal": signals.last(), "buffer_by_period": by_period
        }));
    }
    output::line(&format!(
        "{user}: {} ({} not learned yet), {}, generation {} in use",
        output::count(summary.interactions, "text"),
        summary.pending,
        output::count(summary.periods, "period"),
        summary.generation
    ))?;
    let kilobytes = |bytes: u64| format!("{:.1} kB", bytes as f64 / 1e3);
    output::line(&format!(
        "texts {}, adapters {}, buffers {}, records {}",
        kilobytes(size.texts),
        kilobytes(size.adapters),
        kilobytes(size.buffers),
        kilobytes(size.records)
    ))?;
    if generations.is_empty() {
        return output::line("nothing learned yet; run `spring adapt`");
    }

    output::line("\nGenerations")?;
    let mut table = output::table(&["generation", "from", "period", "adapter", "buffer", ""], &[5]);
    for generation in &generations {
        let state = match (generation.current, generation.on_path) {
            (true, _) => "in use",
            (_, true) => "before it",
            _ => "left by a rollback",
        };
        let kept = |value: Option<String>| value.unwrap_or("not kept".into());
        let from = match generation.parent {
            0 if store.record(&user, generation.number)?.record.prior.is_some() => "a prior".into(),
            0 => "the base".into(),
            parent => parent.to_string(),
        };
        table.add_row([
            generation.number.to_string(),
            from,
            generation.period.to_string(),
            kept(generation.adapter_bytes.map(kilobytes)),
            kept(generation.buffer.map(|items| format!("{items} texts"))),
            state.into(),
        ]);
    }
    output::line(&table.to_string())?;

    output::line("\nPeriods; the loss is that of the texts learned, in nats per token")?;
    let headings = ["period", "learned on", "texts", "learned", "drifting", "loss"];
    let mut table = output::table(&headings, &[]);
    for period in &drift {
        table.add_row([
            period.period.to_string(),
            period.learned.strftime("%Y-%m-%d %H:%M").to_string(),
            period.texts.to_string(),
            period.selected.to_string(),
            period
                .signal
                .as_ref()
                .map_or("–", |signal| if signal.reading.drifting { "yes" } else { "no" })
                .into(),
            match (period.first_loss, period.last_loss) {
                (Some(first), Some(last)) => format!("{first:.3} → {last:.3}"),
                _ => "–".into(),
            },
        ]);
    }
    output::line(&table.to_string())?;
    if command.terms {
        output::line(super::explain::TERMS)?;
        output::line("Recent N is its running mean, with the 95 % band.")?;
        let headings = ["period", "mean N", "recent N", "mean Q", "gate"];
        let mut table = output::table(&headings, &[4]);
        for period in &drift {
            table.add_row([
                period.period.to_string(),
                number(period.novelty),
                period.recent(),
                number(period.quality),
                period.rule.clone(),
            ]);
        }
        output::line(&table.to_string())?;
    }
    output::line(&match signals.last() {
        Some(signal) => format!("Now: {}", super::explain::drift(&signal.reading, command.terms)),
        None => {
            "No drift signal yet: it begins with the second period, when there is an adapter to \
             compare with"
                .into()
        }
    })?;

    let parts: Vec<String> =
        by_period.iter().map(|(period, count)| format!("{count} of period {period}")).collect();
    output::line(&format!("\nBuffer: {} texts; {}", summary.buffer, parts.join(", ")))
}

/// One learned period in a line.
#[derive(Debug, serde::Serialize)]
struct Drift {
    period: u32,
    generation: u32,
    learned: jiff::Timestamp,
    texts: usize,
    selected: usize,
    novelty: Option<f64>,
    quality: Option<f64>,
    first_loss: Option<f32>,
    last_loss: Option<f32>,
    gate: Option<f64>,
    /// The running signal after the period.
    signal: Option<PeriodSignal>,
    #[serde(skip)]
    rule: String,
}

impl Drift {
    fn of(LearnedPeriod { generation, record }: &LearnedPeriod, signals: &[PeriodSignal]) -> Self {
        // Without an adapter nothing is novel to it.
        let had_adapter = record.scores.iter().any(|score| score.adapter.is_some());
        Self {
            period: record.period,
            generation: *generation,
            learned: record.finished,
            texts: record.scores.len(),
            selected: record.selection.selected,
            novelty: record.statistics.novelty_mean.filter(|_| had_adapter),
            quality: record.statistics.quality_mean,
            first_loss: record.update.losses.first().copied(),
            last_loss: record.update.losses.last().copied(),
            gate: record.gate_threshold,
            signal: signals.iter().find(|signal| signal.generation == *generation).cloned(),
            rule: record.gate_rule(),
        }
    }

    /// "−0.412 [−0.500, −0.324]"
    fn recent(&self) -> String {
        let Some(reading) = self.signal.as_ref().map(|signal| &signal.reading) else {
            return number(None);
        };
        let band =
            reading.band.map_or(String::new(), |(low, high)| format!(" [{low:.3}, {high:.3}]"));
        format!("{:.3}{band}", reading.mean)
    }
}

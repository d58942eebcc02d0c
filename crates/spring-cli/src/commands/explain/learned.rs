//! What was learned that may explain a text, and what of a time was learned.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use spring_core::{
    LearnedText, Store, UserSummary, learned_texts, provenance, spring_memory::UserId,
};

use super::{Shown, TERMS, answer, by_seq, minute};
use crate::{
    args::{Args, ExplainArgs},
    output::{self, excerpt, number},
};

/// Why the model wrote a text, or may write it.
pub(super) fn why(
    args: &Args,
    store: &Store,
    user: &UserId,
    text: &str,
    shown: Shown,
) -> Result<()> {
    let found = provenance(store, user, text, shown.rows)?;
    if args.json {
        return output::json(&json!({"user": user, "text": text, "provenance": found}));
    }
    match &found.answer {
        Some(record) => {
            output::line(&format!(
                "Written on {} to the prompt: {}",
                minute(record.time),
                excerpt(&record.prompt, 80)
            ))?;
            let found: Vec<u64> = record.retrieved.iter().map(|found| found.seq).collect();
            answer(record, &by_seq(store.interactions(user, &found)?), shown)?;
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
    let alike: Vec<_> = found.alike.iter().map(|a| (Some(a.bm25), &a.text)).collect();
    learned_table(&alike, shown.terms)
}

/// What was learned of the texts of a time.
pub(super) fn learned_between(
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
    let rows: Vec<_> = learned.iter().take(command.rows).map(|text| (None, text)).collect();
    learned_table(&rows, command.terms)?;
    match learned.len().checked_sub(command.rows) {
        Some(more @ 1..) => output::line(&format!("  … and {more} more (--rows shows them)")),
        _ => Ok(()),
    }
}

/// Texts that were learned, each with how much it is like another one, where that was asked.
fn learned_table(texts: &[(Option<f64>, &LearnedText)], terms: bool) -> Result<()> {
    let mut table = output::table(&["written", "id", "period", "text"], &[1, 3]);
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    for (_, text) in texts {
        table.add_row([
            day(text.interaction.time),
            excerpt(text.interaction.id.as_str(), 24),
            text.period.to_string(),
            excerpt(&text.interaction.response, 80),
        ]);
    }
    output::line(&table.to_string())?;
    if !terms {
        return Ok(());
    }
    output::line(TERMS)?;
    let headings = ["id", "generation", "learned", "N", "Q", "S", "BM25"];
    let mut table = output::table(&headings, &[0]);
    for (score, text) in texts {
        table.add_row([
            excerpt(text.interaction.id.as_str(), 24),
            text.generation.to_string(),
            day(text.learned),
            format!("{:.3}", text.score.novelty),
            format!("{:.3}", text.score.quality),
            format!("{:.3}", text.score.score),
            number(*score),
        ]);
    }
    output::line(&table.to_string())
}

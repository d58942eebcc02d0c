//! The tables of a suite for the terminal: losses, costs, scores of generated texts.

use anyhow::Result;
use spring_eval::{Candidate, Summary, SummaryRow};
use spring_metrics::Interval;

use crate::output::{self, number};

pub fn print(summary: &Summary) -> Result<()> {
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for row in &summary.rows {
        let group = (row.data.as_str(), row.budget.name());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for (data, budget) in groups {
        let rows: Vec<&SummaryRow> = summary
            .rows
            .iter()
            .filter(|row| (row.data.as_str(), row.budget.name()) == (data, budget))
            .collect();
        let users = rows.iter().map(|row| row.users).max().unwrap_or(0);
        output::line(&format!("\n{data}, budget {budget}, mean over {users} users"))?;
        losses(&rows)?;
        noise(&rows)?;
        turn(&rows)?;
        scores(&rows)?;
    }
    choices(summary)?;
    if summary.rows.iter().all(|row| row.per_byte.is_none()) {
        return Ok(());
    }
    output::line(&format!(
        "differences are to {}, below 0 is better; forgetting: mean over i of the best\n\
         R[t][i] less R[T][i], nats per byte",
        summary.against
    ))?;
    if let Some(own) = &summary.in_place_of {
        output::line(&format!(
            "as asked for afterwards; the suite's own differences are to {own}"
        ))?;
    }
    Ok(())
}

fn wide(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.4}"))
}

fn interval(of: Option<Interval>, decimals: usize) -> String {
    of.map_or("–".into(), |of| format!("{:.decimals$} to {:.decimals$}", of.low, of.high))
}

/// Losses with their tests, and what they cost; methods that have none are in neither table.
fn losses(rows: &[&SummaryRow]) -> Result<()> {
    let rows: Vec<&SummaryRow> = rows.iter().copied().filter(|r| r.per_byte.is_some()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    output::line("loss on the newest test part after the first period")?;
    let headings = ["method", "nats/byte", "95 %", "difference", "p (Holm)"];
    let mut table = output::table(&headings, &[0]);
    for row in &rows {
        let test = row.difference;
        table.add_row([
            row.label.clone(),
            wide(row.per_byte.map(|loss| loss.mean)),
            interval(row.per_byte, 4),
            wide(test.map(|test| test.difference.mean)),
            number(test.map(|test| test.p_holm)),
        ]);
    }
    output::line(&table.to_string())?;
    let headings = ["method", "nats/token", "detectable", "forgetting", "tokens"];
    let mut table = output::table(&headings, &[0]);
    for row in &rows {
        table.add_row([
            row.label.clone(),
            number(row.per_token),
            wide(row.difference.and_then(|test| test.minimum_detectable)),
            wide(row.continual.forgetting),
            row.tokens.map_or("–".into(), |tokens| format!("{tokens:.0}")),
        ]);
    }
    output::line(&table.to_string())?;
    if let Some(test) = rows.iter().find_map(|row| row.difference) {
        let users = test.difference.users;
        let least = format!(
            "the smallest corrected p that {users} users can give is {:.4}",
            test.least_p_holm
        );
        output::line(&match test.can_be_significant() {
            true => least,
            false => format!("{least}:\nno difference can be significant at 0.05"),
        })?;
    }
    for row in rows {
        let Some(test) = row.adapter_difference.filter(|_| row.adapter_alone.is_some()) else {
            continue;
        };
        output::line(&format!(
            "{}, adapters alone: {:.4} (p {:.3}, corrected {:.3})",
            row.label, test.difference.mean, test.p, test.p_holm
        ))?;
    }
    Ok(())
}

/// What was learned of streams whose noise is known.
fn noise(rows: &[&SummaryRow]) -> Result<()> {
    if !rows.iter().any(|row| row.has_noise()) {
        return Ok(());
    }
    let mut kinds: Vec<_> =
        rows.iter().flat_map(|row| row.taken.iter().map(|count| count.kind)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    output::line("what was learned, of the later periods")?;
    let mut table = output::table(&["method", "without noise", "by chance", "found"], &[0]);
    let mut headings = vec!["method"];
    headings.extend(kinds.iter().map(|kind| kind.name().trim_start_matches("noise, ")));
    let mut of_kinds = output::table(&headings, &[0]);
    for row in rows {
        let truth = |place: usize| number(row.synthetic.and_then(|of| of[place]));
        table.add_row([row.label.clone(), truth(2), truth(3), truth(5)]);
        let shares = kinds.iter().map(|kind| number(row.taken(*kind)));
        of_kinds.add_row(std::iter::once(row.label.clone()).chain(shares));
    }
    output::line(&table.to_string())?;
    output::line(&of_kinds.to_string())?;
    output::line(
        "without noise: share of what was learned; found: share of what is no noise\n\
         that was learned; below: the share of each kind that was learned",
    )
}

/// How soon the person after a turning point was learned.
fn turn(rows: &[&SummaryRow]) -> Result<()> {
    if !rows.iter().any(|row| row.turn.is_some()) {
        return Ok(());
    }
    output::line("after the turning point")?;
    let headings = ["method", "nats/byte", "gained", "delay", "stale", "stale, written"];
    let mut table = output::table(&headings, &[0]);
    for row in rows {
        let turn = row.turn;
        table.add_row([
            row.label.clone(),
            wide(turn.map(|turn| turn.loss)),
            wide(turn.map(|turn| turn.gain)),
            number(turn.and_then(|turn| turn.delay)),
            number(row.synthetic.and_then(|of| of[4])),
            number(turn.and_then(|turn| turn.stale_written)),
        ]);
    }
    output::line(&table.to_string())?;
    output::line(
        "delay: periods until 80 % of the gain; stale: how often the first person's texts gained\n\
         more than the second's (0.5: no preference)",
    )
}

/// Scores of generated texts: the built-in metrics in one table, the suite's own in another.
fn scores(rows: &[&SummaryRow]) -> Result<()> {
    if rows.iter().any(|row| row.generated.is_some()) {
        output::line("texts that were written")?;
        let headings = ["method", "ROUGE-1", "ROUGE-2", "ROUGE-L", "METEOR"];
        let mut table = output::table(&headings, &[0]);
        for row in rows {
            let texts = row.generated;
            table.add_row([
                row.label.clone(),
                number(texts.map(|texts| texts.rouge1)),
                number(texts.map(|texts| texts.rouge2)),
                number(texts.map(|texts| texts.rouge_l)),
                number(texts.map(|texts| texts.meteor)),
            ]);
        }
        output::line(&table.to_string())?;
    }
    persons(rows)?;
    // A row for each, as a suite may have many.
    let own = rows.iter().flat_map(|row| row.metrics.iter().map(move |metric| (*row, metric)));
    let own: Vec<_> = own.collect();
    if own.is_empty() {
        return Ok(());
    }
    let mut table = output::table(&["metric", "method", "mean", "95 %"], &[0, 1]);
    for (row, metric) in own {
        let lower = if metric.higher_is_better { "" } else { " (lower is better)" };
        table.add_row([
            format!("{}{lower}", metric.name),
            row.label.clone(),
            number(metric.score.map(|score| score.mean)),
            interval(metric.score, 3),
        ]);
    }
    output::line(&table.to_string())
}

/// Whether the texts are the person's, and whether they are copied.
fn persons(rows: &[&SummaryRow]) -> Result<()> {
    let whose = rows.iter().find_map(|row| row.attribution);
    let has_copies = rows.iter().any(|row| row.copying.is_some());
    if whose.is_none() && !has_copies {
        return Ok(());
    }
    let headings = ["method", "attributed", "95 %", "p (Holm)", "copied"];
    let mut table = output::table(&headings, &[0]);
    for row in rows {
        let whose = row.attribution;
        table.add_row([
            row.label.clone(),
            number(whose.map(|whose| whose.generated.mean)),
            interval(whose.map(|whose| whose.generated), 3),
            number(whose.and_then(|whose| whose.above_base).map(|test| test.p_holm)),
            number(row.copying.map(|copied| copied.training[1])),
        ]);
    }
    output::line(&table.to_string())?;
    for row in rows {
        let Some(test) = row.attribution.and_then(|whose| whose.above_other_user) else {
            continue;
        };
        output::line(&format!(
            "{}, attributed above another user's adapter: {:.3} (p {:.3}, corrected {:.3})",
            row.label, test.difference.mean, test.p, test.p_holm
        ))?;
    }
    if let Some(whose) = whose {
        output::line(&format!(
            "attributed to their user: of real held-out texts {:.3} ({}), by chance {:.3}\n\
             as a mean over users; p is against the base; a verbatim copy counts as attributed",
            whose.real.mean,
            interval(Some(whose.real), 3),
            whose.chance
        ))?;
    }
    if !has_copies {
        return Ok(());
    }
    output::line(
        "copied: the longest passage that a text to learn from has word for word,\n\
         as a share of the generated text",
    )
}

fn choices(summary: &Summary) -> Result<()> {
    if summary.choices.is_empty() {
        return Ok(());
    }
    output::line("\nsettings, chosen on other users than those above (nats/byte there):")?;
    let last = |candidate: &&Candidate| {
        let of = |other: &&Candidate| {
            (&other.choice, &other.data, other.budget)
                == (&candidate.choice, &candidate.data, candidate.budget)
        };
        candidate.best
            && summary.choices.iter().filter(of).all(|other| other.stage <= candidate.stage)
    };
    for candidate in summary.choices.iter().filter(last) {
        let (choice, budget) = (&candidate.choice, candidate.budget.name());
        let data = candidate.data.as_ref().map_or(String::new(), |data| format!("{data}, "));
        output::line(&format!(
            "{choice}, {data}budget {budget}: {} ({:.4}, {} users; choices.csv has the others)",
            candidate.method, candidate.per_byte, candidate.users
        ))?;
    }
    Ok(())
}

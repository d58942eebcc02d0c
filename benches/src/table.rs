//! What was measured, as a table in Markdown.

use std::fmt::Write as _;

use crate::{
    plan::{Comparison, Unit},
    protocol::Reply,
};

/// What one system took.
#[derive(Debug)]
pub struct Measured {
    /// The system and its version.
    pub system: String,
    /// A reply for each round.
    pub rounds: Vec<Reply>,
    /// The most memory that it has had, in bytes.
    pub peak: Option<u64>,
}

/// One table for some comparisons; a column for each system, and beside each peer the ratio to it.
pub fn render(rows: &[(&Comparison, &[Measured])]) -> String {
    let mut systems: Vec<&str> = Vec::new();
    for measured in rows.iter().flat_map(|(_, measured)| measured.iter()) {
        if !systems.contains(&measured.system.as_str()) {
            systems.push(&measured.system);
        }
    }
    let mut out = String::from("| work | in |");
    for (i, system) in systems.iter().enumerate() {
        let _ = write!(out, " {system} |{}", if i > 0 { " × |" } else { "" });
    }
    let columns = 2 + 2 * systems.len() - 1;
    let _ = writeln!(out, "\n{}|", "|---".repeat(columns));
    for (comparison, measured) in rows {
        let Some(ours) = measured.first() else { continue };
        let parts = ours.rounds.first().map_or(&[][..], |reply| &reply.parts);
        for (i, (part, _)) in parts.iter().enumerate() {
            let name = comparison.work.name();
            let unit = comparison.unit(part);
            let part = if part == name { String::new() } else { format!(", {part}") };
            let values = |of: &Measured| -> Vec<f64> {
                let seconds = of.rounds.iter().filter_map(|reply| Some(reply.parts.get(i)?.1));
                seconds.map(|seconds| unit.value(seconds)).collect()
            };
            let title = format!("{name}, {}{part}", comparison.title);
            let ratio = |ours: f64, peer: f64| match unit {
                Unit::PerSecond(..) => ours / peer,
                Unit::Milliseconds(..) => peer / ours,
            };
            line(&mut out, &title, &unit.name(), &systems, measured, values, ratio);
        }
        let facts = ours.rounds.first().map_or(&[][..], |reply| &reply.facts);
        for (i, (fact, _)) in facts.iter().enumerate() {
            let values = |of: &Measured| -> Vec<f64> {
                of.rounds.iter().filter_map(|reply| Some(reply.facts.get(i)?.1)).collect()
            };
            let title = format!("{}, {}", comparison.work.name(), comparison.title);
            line(&mut out, &title, fact, &systems, measured, values, |ours, peer| ours / peer);
        }
        let title = format!("{}, {}", comparison.work.name(), comparison.title);
        let values = |of: &Measured| of.peak.map(|bytes| bytes as f64 / 1e6).into_iter().collect();
        line(&mut out, &title, "peak memory, MB", &systems, measured, values, |ours, peer| {
            ours / peer
        });
    }
    out
}

impl Unit {
    fn value(self, seconds: f64) -> f64 {
        match self {
            Self::PerSecond(count, _) => count as f64 / seconds,
            Self::Milliseconds(count, _) => seconds * 1e3 / count as f64,
        }
    }

    fn name(self) -> String {
        match self {
            Self::PerSecond(_, of) => format!("{of}/s"),
            Self::Milliseconds(_, of) => format!("ms/{of}"),
        }
    }
}

/// A row: each system's median with its range, and the ratio of this project's to it.
fn line(
    out: &mut String,
    title: &str,
    unit: &str,
    systems: &[&str],
    measured: &[Measured],
    values: impl Fn(&Measured) -> Vec<f64>,
    ratio: impl Fn(f64, f64) -> f64,
) {
    let _ = write!(out, "| {title} | {unit} |");
    let ours = measured.first().and_then(|ours| median(values(ours)));
    for (i, system) in systems.iter().enumerate() {
        let of = measured.iter().find(|measured| measured.system == *system);
        let values = of.map(&values).unwrap_or_default();
        let middle = median(values.clone());
        let _ = write!(out, " {} |", cell(&values));
        if i > 0 {
            let times = ours.zip(middle).map(|(ours, peer)| ratio(ours, peer));
            let _ =
                write!(out, " {} |", times.map_or(String::new(), |times| format!("{times:.2}")));
        }
    }
    out.push('\n');
}

/// The median, and the range where there is one.
fn cell(values: &[f64]) -> String {
    let Some(middle) = median(values.to_vec()) else { return String::new() };
    let (least, most) =
        values.iter().fold((f64::INFINITY, 0f64), |(least, most), x| (least.min(*x), most.max(*x)));
    match least == most {
        true => number(middle),
        false => format!("{} ({}–{})", number(middle), number(least), number(most)),
    }
}

/// Three digits that count.
fn number(x: f64) -> String {
    match x.abs() {
        x_abs if x_abs >= 100.0 => format!("{x:.0}"),
        x_abs if x_abs >= 10.0 => format!("{x:.1}"),
        x_abs if x_abs >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

/// The middle value; the mean of the two in the middle if their number is even.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[last / 2] + values[last.div_ceil(2)]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::System, work::Work};

    fn measured(system: &str, seconds: &[f64], peak: u64) -> Measured {
        let rounds = seconds
            .iter()
            .map(|seconds| Reply { parts: vec![("prefill".into(), *seconds)], ..Reply::default() })
            .collect();
        Measured { system: system.into(), rounds, peak: Some(peak) }
    }

    #[test]
    fn a_peer_that_takes_twice_as_long_has_ratio_two() {
        let comparison = |unit| Comparison {
            title: "512 tokens".into(),
            work: Work::Prefill { model: "m".into(), tokens: vec![] },
            systems: vec![System::Ours, System::Candle],
            units: vec![("", unit)],
            tolerance: 0.0,
            rounds: 1,
        };
        let systems =
            [measured("ours", &[1.0, 0.5, 4.0], 10_000_000), measured("peer", &[2.0], 20_000_000)];
        for (unit, ours, peer) in [
            (Unit::PerSecond(512, "tokens"), "512 (128–1024)", "256"),
            (Unit::Milliseconds(100, "token"), "10.0 (5.00–40.0)", "20.0"),
        ] {
            let comparison = comparison(unit);
            let table = render(&[(&comparison, &systems)]);
            let lines: Vec<&str> = table.lines().collect();
            assert_eq!(lines[0], "| work | in | ours | peer | × |");
            assert_eq!(lines[1], "|---|---|---|---|---|");
            assert!(lines[2].ends_with(&format!("| {ours} | {peer} | 2.00 |")), "{}", lines[2]);
            assert_eq!(lines[3], "| prefill, 512 tokens | peak memory, MB | 10.0 | 20.0 | 0.50 |");
        }
    }

    #[test]
    fn medians_of_odd_and_even_numbers_and_of_none() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}

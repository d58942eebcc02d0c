//! How well new texts are predicted.

use maud::{Markup, html};
use spring_eval::{Loss, PeriodLosses};

use super::Page;
use crate::{
    Result,
    looks::known,
    markup::{Column, bold_if, cell, cell_with, count, figure, key, listed, number, table},
    plots::{self, Line},
};

/// Fewer held-out texts than this in a period, and the page warns of chance.
const FEW: usize = 30;

/// The four ways to predict a text, in the order of tables and legends: as comparisons call them,
/// and here.
const METHODS: [(&str, &str); 4] = [
    ("base", "base"),
    ("static", "static adapter"),
    ("spring_adapter", "SPRInG's adapter"),
    ("spring", "SPRInG as it generates"),
];

fn losses_of(losses: &PeriodLosses) -> [Loss; 4] {
    [losses.base, losses.static_adapter, losses.adapter, losses.spring.fused]
}

impl Page<'_> {
    pub(super) fn losses(&self) -> Result<Markup> {
        let losses = self.report.losses;
        if losses.is_empty() {
            return Ok(html! {
                p {
                    "No texts were held out, so there is nothing to test on. "
                    code { "spring adapt --hold-out 0.1" }
                    " sets aside the latest tenth of each period."
                }
                "\n"
            });
        }
        let lines: Vec<Line> = METHODS
            .iter()
            .enumerate()
            .map(|(i, (method, _))| Line {
                color: known(method).color,
                mark: known(method).mark,
                points: losses.iter().map(|l| (l.period, losses_of(l)[i].perplexity())).collect(),
            })
            .collect();
        let legend = html! {
            @for (method, name) in METHODS {
                (key(known(method).ink, known(method).mark.sign(), name))
            }
        };
        let plot = figure(
            "Perplexity of held-out texts per period, for four methods; the table below has the \
             numbers",
            &legend,
            plots::lines("held-out perplexity", "perplexity", &lines)?,
            "Perplexity of each period's held-out texts; the axis does not start at 0. Compare \
             lines within a period: a period whose texts are harder lifts all of them.",
        );
        Ok(html! {
            p {
                "The latest texts of each period are held out: nothing learns from them. They are \
                 predicted right after the period was learned. " em { "Perplexity" } " is e to the \
                 power of the nats per token: the model is as unsure as if it chose among that \
                 many equally likely tokens at each step. Lower is better. The "
                em { "static adapter" } " learned the first period and was never updated."
            }
            "\n"
            p.finding { (self.verdict()) } "\n"
            (plot)
            (self.loss_table())
        })
    }

    fn loss_table(&self) -> Markup {
        let losses = self.report.losses;
        let row = |name: String, of: [Loss; 4], open: usize| {
            let least = of.iter().map(shown).min().unwrap_or(i64::MAX);
            let loss = |loss: &Loss| {
                let perplexity = number(loss.perplexity(), 1);
                let best = shown(loss) == least;
                cell_with(bold_if(best, &perplexity), number(loss.per_token(), 3))
            };
            let texts = cell_with(of[0].texts, count(of[0].tokens, "token"));
            let mut cells = vec![cell(name), texts];
            cells.extend(of.iter().map(loss));
            cells.push(cell(format!("{open} of {}", of[0].texts)));
            cells
        };
        let mut rows: Vec<_> = losses
            .iter()
            .map(|l| row(l.period.to_string(), losses_of(l), l.spring.open_fused.texts))
            .collect();
        if losses.len() > 1 {
            let open = losses.iter().map(|l| l.spring.open_fused.texts).sum();
            rows.push(row("all".into(), total(losses.iter()), open));
        }
        let mut columns = vec![Column::Word("period"), Column::Number("held-out texts")];
        columns.extend(METHODS.iter().map(|(_, name)| Column::Number(name)));
        columns.push(Column::Number("gate open"));
        html! {
            (table("Losses on held-out texts", &columns, &rows))
            p.note {
                "Upper number: perplexity; lower: nats per token, end tokens included. The best \
                 of a row is bold. “Gate open” counts the texts for which retrieval took part."
            }
            "\n"
        }
    }

    /// Where SPRInG is better than the adapter of the first period, where it is worse, and what
    /// retrieval did.
    fn verdict(&self) -> String {
        let losses = self.report.losses;
        let first = self.report.periods.first().map(|period| period.period);
        let later: Vec<&PeriodLosses> = losses.iter().filter(|l| Some(l.period) != first).collect();
        let mut sentences = Vec::new();
        if later.is_empty() {
            sentences.push(
                "Only the first period has held-out texts, and there SPRInG's adapter and the \
                 static one are the same."
                    .to_owned(),
            );
        } else {
            sentences.extend(against_static(&later));
        }
        let fused: Loss = losses.iter().map(|l| l.spring.open_fused).sum();
        let alone: Loss = losses.iter().map(|l| l.spring.open_adapter).sum();
        sentences.push(match fused.texts {
            0 => "The gate stayed closed for every held-out text, so retrieval changed nothing."
                .into(),
            n => format!(
                "Where the gate opened ({}, the first period's included), reading the buffer along \
                 made the prediction {}.",
                count(n, "text"),
                compared(gain(&fused, &alone)),
            ),
        });
        if let Some(fewest) = losses.iter().map(|l| l.base.texts).min().filter(|n| *n < FEW) {
            sentences.push(format!(
                "Some periods have as few as {}: small differences can be chance.",
                count(fewest, "held-out text")
            ));
        }
        sentences.join(" ")
    }
}

/// SPRInG against the adapter of the first period: period by period, and over all later texts.
fn against_static(later: &[&PeriodLosses]) -> [String; 2] {
    let among = |wanted: fn(i64) -> bool| {
        let gain = |l: &PeriodLosses| gain(&l.spring.fused, &l.static_adapter);
        let found: Vec<_> = later.iter().filter(|l| wanted(gain(l))).collect();
        let periods: Vec<String> = found.iter().map(|l| l.period.to_string()).collect();
        let by: Vec<String> = found.iter().map(|l| thousandths(gain(l))).collect();
        let plural = if found.len() == 1 { "" } else { "s" };
        (!found.is_empty())
            .then(|| format!("in period{plural} {} (by {})", listed(&periods), listed(&by)))
    };
    let none = || "in no period".to_owned();
    let parts: Vec<String> = [
        Some(format!("better {}", among(|gain| gain > 0).unwrap_or_else(none))),
        Some(format!("worse {}", among(|gain| gain < 0).unwrap_or_else(none))),
        among(|gain| gain == 0).map(|_| "equal elsewhere".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let [_, fixed, adapter, spring] = total(later.iter().copied());
    [
        format!(
            "Against the static adapter, in nats per token, SPRInG as it generates is {}.",
            parts.join("; ")
        ),
        format!(
            "Over all held-out texts after the first period it is {} (perplexity {} against {}); \
             its adapter without retrieval is {}.",
            compared(gain(&spring, &fixed)),
            number(spring.perplexity(), 1),
            number(fixed.perplexity(), 1),
            compared(gain(&adapter, &fixed)),
        ),
    ]
}

pub(super) fn total<'l>(losses: impl Iterator<Item = &'l PeriodLosses> + Clone) -> [Loss; 4] {
    std::array::from_fn(|i| losses.clone().map(|l| losses_of(l)[i]).sum())
}

/// Nats per token in thousandths, as the page shows them: what looks equal is called equal.
fn shown(loss: &Loss) -> i64 {
    (1e3 * loss.per_token()).round() as i64
}

/// By how many thousandths of a nat per token `ours` is better.
fn gain(ours: &Loss, other: &Loss) -> i64 {
    shown(other) - shown(ours)
}

fn thousandths(gain: i64) -> String {
    number(gain.abs() as f64 / 1e3, 3)
}

fn compared(gain: i64) -> String {
    match gain {
        0 => "neither better nor worse".into(),
        gain => {
            let direction = if gain > 0 { "better" } else { "worse" };
            format!("{direction} by {} nats per token", thousandths(gain))
        }
    }
}

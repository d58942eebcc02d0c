//! The plots of one data set and budget: losses over time, the matrices R, drift.

use maud::{Markup, html};
use spring_eval::{RunLine, SummaryRow};

use super::Group;
use crate::{
    Result,
    looks::Look,
    markup::{clean, count, figure, key, number},
    plots::{self, Line},
};

/// Methods with a line of their own in a plot; more could not be told apart.
const LINES: usize = 12;

type Matrix = Vec<Vec<Option<f64>>>;

impl Group<'_> {
    pub(super) fn over_time(&self) -> Result<Markup> {
        let shown: Vec<_> = self.plotted().collect();
        if shown.is_empty() {
            return Ok(html! {});
        }
        let plotted = self.lines_over_time();
        let legend = html! {
            @for row in &shown {
                @let look = self.looks.get(&row.method);
                (key(look.ink, look.mark.sign(), &row.label))
            }
        };
        let with_losses = self.rows.iter().filter(|row| row.per_byte.is_some()).count();
        let rest = match with_losses.saturating_sub(LINES) {
            0 => String::new(),
            n => format!(" {n} more methods are in the tables only."),
        };
        let plot = figure(
            "Loss per period for each method; the matrices below have the numbers",
            &legend,
            plots::lines("loss over time", "nats per byte", &plotted)?,
            &format!(
                "Loss on each period's test part right after that period, mean over users and \
                 seeds; the axis does not start at 0. Compare methods within a period: its texts \
                 may be harder than another's.{rest}"
            ),
        );
        Ok(html! { h3 { "Loss over time" } "\n" (plot) })
    }

    /// The first methods that have losses.
    pub(super) fn plotted(&self) -> impl Iterator<Item = &SummaryRow> {
        self.rows.iter().copied().filter(|row| row.per_byte.is_some()).take(LINES)
    }

    /// A line for each of them.
    pub(super) fn lines_over_time(&self) -> Vec<Line> {
        self.plotted()
            .map(|row| {
                let Look { color, mark, .. } = self.looks.get(&row.method);
                Line { color, mark, points: self.diagonal(&row.runs) }
            })
            .collect()
    }

    /// Periods, and the mean loss of a method right after each.
    fn diagonal(&self, method: &str) -> Vec<(u32, f64)> {
        let runs: Vec<_> =
            self.lines.iter().filter_map(|line| line.run.methods.get(method)).collect();
        let periods = runs.iter().map(|run| run.matrix.len()).max().unwrap_or(0);
        let points = (0..periods).map(|t| {
            let losses = runs.iter().filter_map(|run| run.matrix.get(t)?.get(t));
            (t as u32 + 1, mean(losses.map(|loss| loss.per_byte())).unwrap_or(f64::NAN))
        });
        points.filter(|(_, mean)| mean.is_finite()).collect()
    }

    /// R of every method, and how many runs it is the mean of.
    fn all_matrices(&self) -> (Vec<(&SummaryRow, Matrix)>, usize) {
        let periods = self.lines.iter().map(|line| line.run.periods.len()).max().unwrap_or(0);
        let full: Vec<&RunLine> =
            self.lines.iter().copied().filter(|line| line.run.periods.len() == periods).collect();
        let cells = |method: &str| -> Matrix {
            let cell = |t: usize, i: usize| {
                let value = |line: &&RunLine| {
                    Some(line.run.methods.get(method)?.matrix.get(t)?.get(i)?.per_byte())
                };
                mean(full.iter().filter_map(value))
            };
            (0..periods).map(|t| (0..periods).map(|i| cell(t, i)).collect()).collect()
        };
        let rows = self.rows.iter().filter(|row| row.per_byte.is_some());
        (rows.map(|row| (*row, cells(&row.runs))).collect(), full.len())
    }

    pub(super) fn matrices(&self) -> Markup {
        let (all, full) = self.all_matrices();
        if all.is_empty() {
            return html! {};
        }
        let periods = all.first().map_or(0, |(_, matrix)| matrix.len());
        let values =
            || all.iter().flat_map(|(_, matrix)| matrix.iter().flatten().flatten().copied());
        let range = values().fold(f64::INFINITY, f64::min)..=values().fold(0.0, f64::max);
        let ticks: Vec<String> = (1..=periods).map(|t| t.to_string()).collect();
        html! {
            h3 { "The matrices R" } "\n"
            p.note {
                "Row: after learning that period; column: the test part of that period. Nats per \
                 byte, mean over the " (count(full, "run")) " with " (periods) " periods; \
                 dark is worse, one scale for all."
            }
            "\n"
            div.maps {
                @for (row, matrix) in &all {
                    @let label = clean(&row.label);
                    figure {
                        figcaption { (label) }
                        div role="img" aria-label={ "R of " (label) } {
                            (heat_map(matrix, &ticks, &ticks, 3, &range))
                        }
                    }
                    "\n"
                }
            }
            "\n"
        }
    }

    pub(super) fn drift(&self) -> Markup {
        let mut users: Vec<(&str, Matrix)> = Vec::new();
        for line in &self.lines {
            let novelty: Vec<Option<f64>> =
                line.run.periods.iter().map(|period| period.novelty).collect();
            let name = line.key.user.as_str();
            match users.iter_mut().find(|(user, _)| *user == name) {
                Some((_, seeds)) => seeds.push(novelty),
                None => users.push((name, vec![novelty])),
            }
        }
        let periods = users.iter().flat_map(|(_, seeds)| seeds).map(Vec::len).max().unwrap_or(0);
        let of = |seeds: &Matrix, t: usize| mean(seeds.iter().filter_map(|seed| *seed.get(t)?));
        let matrix: Matrix =
            users.iter().map(|(_, seeds)| (0..periods).map(|t| of(seeds, t)).collect()).collect();
        let values = || matrix.iter().flatten().flatten().copied();
        if values().next().is_none() {
            return html! {};
        }
        let least = values().fold(f64::INFINITY, f64::min);
        let largest = values().fold(f64::NEG_INFINITY, f64::max);
        let ticks: Vec<String> = (1..=periods).map(|t| t.to_string()).collect();
        let names: Vec<String> = users.iter().map(|(user, _)| (*user).to_owned()).collect();
        let map = heat_map(&matrix, &names, &ticks, 2, &(least..=largest));
        let caption = "Mean novelty N of each user's texts before the period was learned, nats per \
                       token. Dark is new to SPRInG's adapter; below 0 the adapter explains the \
                       texts better than the base does.";
        html! {
            h3 { "Drift over time" } "\n"
            (figure("Mean novelty per user and period", &html! {}, map.into_string(), caption))
        }
    }
}

/// Of no value there is none.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Numbers in shaded cells, as SVG that follows the page's colours.
fn heat_map(
    cells: &[Vec<Option<f64>>],
    rows: &[String],
    columns: &[String],
    decimals: usize,
    range: &std::ops::RangeInclusive<f64>,
) -> Markup {
    const CELL: (usize, usize) = (52, 26);
    let longest = rows.iter().map(|row| row.chars().count().min(24)).max().unwrap_or(0);
    let left = 14 + 7 * longest;
    let (width, height) = (left + CELL.0 * columns.len() + 2, 22 + CELL.1 * rows.len());
    let words = |x: usize, y: usize, anchor: &str, words: &str| {
        html! {
            text x=(x) y=(y) text-anchor=(anchor) fill="#3A3F47" font-size="12" { (clean(words)) }
        }
    };
    let span = range.end() - range.start();
    let shade = |value: f64| if span > 0.0 { (value - range.start()) / span } else { 0.0 };
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}"))
        {
            @for (i, column) in columns.iter().enumerate() {
                (words(left + CELL.0 * i + CELL.0 / 2, 14, "middle", column))
            }
            @for (t, (row, values)) in rows.iter().zip(cells).enumerate() {
                @let y = 20 + CELL.1 * t;
                (words(left - 8, y + 17, "end", &row.chars().take(24).collect::<String>()))
                @for (i, value) in values.iter().enumerate() {
                    @if let Some(value) = value.filter(|value| value.is_finite()) {
                        @let x = left + CELL.0 * i;
                        rect x=(x) y=(y) width=(CELL.0 - 2) height=(CELL.1 - 2) fill="#0062A6"
                            fill-opacity=(format!("{:.2}", 0.05 + 0.5 * shade(value))) {}
                        (words(x + CELL.0 / 2, y + 17, "middle", &number(value, decimals)))
                    }
                }
            }
        }
    }
}

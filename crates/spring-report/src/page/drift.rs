//! What was new, and what was selected of it.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};
use spring_core::{
    ColdStart, NoveltyReference,
    record::{PeriodRecord, ScoredText},
    spring_drift::{ScorerConfig, Standardize},
};

use super::{Page, date, label};
use crate::{
    Result,
    markup::{
        Column, cell, clean, count, details, excerpt, facts, figure, folded_table, key, number,
    },
    plots,
};

impl Page<'_> {
    pub(super) fn drift(&self) -> Result<Markup> {
        let Some(last) = self.report.periods.last() else {
            return Ok(html! { p { "Nothing was scored yet." } "\n" });
        };
        let texts = || self.report.periods.iter().flat_map(|period| &period.scores);
        let had_adapter = texts().any(|text| text.adapter.is_some());
        let terms = [
            (
                "N, novelty",
                match last.config.drift.reference {
                    NoveltyReference::Base => {
                        "How much worse the adapter explains the text than the base does, nats per \
                         token. Above 0 the base alone would do better: the text is unlike what \
                         the adapter learned."
                    }
                    NoveltyReference::Population => {
                        "How much worse the adapter explains the text than an adapter learned from \
                         other people does, nats per token. Above 0 the text is more like theirs \
                         than like what the adapter learned."
                    }
                }
                .to_owned(),
            ),
            (
                "Q, quality",
                "The log-likelihood under the base, nats per token. It is below 0; far below, the \
                 text is rare language or noise."
                    .to_owned(),
            ),
            ("S, drift score", format!("{} The highest are learned.", score_in_words(last))),
        ];
        let has_rest = texts().any(|text| text.selected.is_none());
        let has_cutoff = self.report.periods.iter().any(|p| p.selection.cutoff.is_some());
        let legend = html! {
            (key("blue", "●", "selected"))
            @if has_rest { (key("grey", "○", "not selected")) }
            @if has_cutoff { (key("text", "╌╌", "lowest S selected")) }
        };
        let caption = match had_adapter {
            true => {
                "One point per text, upright lines between periods; held-out texts are not scored. \
                 A run of points that stand higher in the lower panel than those before is a \
                 change of style. Before the first update there is no adapter and N is 0."
            }
            false => {
                "One point per text; held-out texts are not scored. There was no adapter yet, so N \
                 is 0 for all; it is drawn from the second period on."
            }
        };
        let plot = figure(
            match had_adapter {
                true => {
                    "Drift score and novelty of every text in the order of time; the tables below \
                     have the numbers"
                }
                false => {
                    "Drift score of every text in the order of time; the tables below have the \
                     numbers"
                }
            },
            &legend,
            plots::drift(self.report.periods)?,
            caption,
        );
        Ok(html! {
            p {
                "Before an update, every text of the period gets a score from two log-likelihoods: \
                 its own under the frozen base, and under the adapter as it was."
            }
            "\n"
            dl.terms { @for (term, means) in &terms { dt { (term) } dd { (clean(means)) } } } "\n"
            (plot)
        })
    }

    pub(super) fn periods(&self) -> Result<Markup> {
        if self.report.periods.is_empty() {
            return Ok(html! { p { "No period has been learned yet." } "\n" });
        }
        let periods = self.report.periods.iter().map(|period| self.period(period));
        let periods = periods.collect::<Result<Vec<_>>>()?;
        Ok(html! { @for period in &periods { (period) } })
    }

    fn period(&self, period: &PeriodRecord) -> Result<Markup> {
        let statistics = &period.statistics;
        let mut selected: Vec<_> =
            period.scores.iter().filter(|text| text.selected.is_some()).collect();
        selected.sort_by_key(|text| text.selected);
        let mut left: Vec<_> =
            period.scores.iter().filter(|text| text.selected.is_none()).collect();
        left.sort_by(|a, b| b.score.score.total_cmp(&a.score.score));

        // N is 0 for all where there was no adapter.
        let had_adapter = period.scores.iter().any(|text| text.adapter.is_some());
        let columns = |first: Option<Column<'static>>| {
            let terms = [Column::Number("Q"), Column::Number("S")];
            let terms = had_adapter.then_some(Column::Number("N")).into_iter().chain(terms);
            first.into_iter().chain(terms).chain(self.text_columns()).collect::<Vec<_>>()
        };
        let row = |text: &ScoredText| {
            let rank = text.selected.map(|rank| cell(rank.to_string()));
            let terms = [text.score.quality, text.score.score];
            let terms = had_adapter.then_some(text.score.novelty).into_iter().chain(terms);
            let terms = terms.map(|term| cell(number(term, 3)));
            rank.into_iter().chain(terms).chain(self.text_cells(text.seq)).collect::<Vec<_>>()
        };
        let taken: Vec<_> = selected.into_iter().map(row).collect();
        let left: Vec<_> = left.into_iter().map(row).collect();
        let spread = facts(&[
            ("mean N, nats/token", number(statistics.novelty_mean, 3)),
            ("sd(N), nats/token", number(statistics.novelty_sd, 3)),
            ("sd(αQ), nats/token", number(statistics.weighted_quality_sd, 3)),
            ("rank correlation of S with N", number(statistics.score_novelty_correlation, 2)),
            ("rank correlation of S with Q", number(statistics.score_quality_correlation, 2)),
        ]);
        Ok(html! {
            h3 { "Period " (period.period) } "\n"
            p { (self.counts(period)) } "\n"
            (training(period)?)
            @if taken.is_empty() {
                p { "Nothing was selected." } "\n"
            } @else {
                @let label = format!("Selected texts of period {}", period.period);
                (folded_table(&label, &columns(Some(Column::Number("rank"))), &taken))
            }
            @if !left.is_empty() {
                @let summary =
                    format!("{} not selected, highest S first", count(left.len(), "text"));
                @let label = format!("Texts of period {} that were not selected", period.period);
                (details(&summary, &label, &columns(None), &left))
            }
            @if had_adapter { (spread) }
            p.note { (who_decided(period)) } "\n"
        })
    }

    /// Texts, dates, the rule, and how labels fared.
    fn counts(&self, period: &PeriodRecord) -> Markup {
        let dates: Vec<String> =
            period.scores.iter().filter_map(|text| Some(date(self.text(text.seq)?))).collect();
        let when = match (dates.iter().min(), dates.iter().max()) {
            (Some(first), Some(last)) => format!(", {first} to {last}"),
            _ => String::new(),
        };
        let mut by_label: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for text in &period.scores {
            if let Some(label) = self.text(text.seq).and_then(label) {
                let (taken, all) = by_label.entry(label).or_default();
                *taken += usize::from(text.selected.is_some());
                *all += 1;
            }
        }
        let between = |place: usize| match by_label.len() - place {
            1 => "",
            2 => " and ",
            _ => ", ",
        };
        html! {
            (count(period.scores.len(), "text")) " scored" (when) "; "
            (period.selection.selected) " selected, " (period.held_out) " held out. Rule: "
            (clean(&period.selection.reason)) "."
            @if !by_label.is_empty() {
                " By label, which the method never sees, it took "
                @for (place, (label, (taken, all))) in by_label.iter().enumerate() {
                    (taken) " of " (all) " " bdi { (excerpt(label, 40)) } (between(place))
                }
                "."
            }
        }
    }
}

fn score_in_words(period: &PeriodRecord) -> String {
    match period.config.drift.scorer {
        ScorerConfig::Spring { alpha, standardize } => {
            let formula = match alpha.finite() {
                Some(alpha) => format!("S = N + {alpha}·Q"),
                None => "S = Q".into(),
            };
            match standardize {
                Standardize::Period => format!("{formula}, of z-scores within the period."),
                _ => format!("{formula}, nats per token."),
            }
        }
        ScorerConfig::Lookahead { .. }
            if period.scores.iter().all(|text| text.lookahead.is_none()) =>
        {
            "Everything was learned, and nothing had to be chosen.".into()
        }
        ScorerConfig::Lookahead { recent, .. } => format!(
            "S = what learning from the text alone gains on up to {recent} of the latest others, \
             nats per token."
        ),
        other => format!("Of the scorer “{}”.", other.name()),
    }
}

/// Which of the two terms decided the order.
fn who_decided(period: &PeriodRecord) -> String {
    let statistics = &period.statistics;
    if period.scores.iter().all(|text| text.adapter.is_none()) {
        let why = "There was no adapter yet, so N is 0 for all";
        return match period.config.drift.cold_start {
            ColdStart::All => format!("{why} and everything was learned."),
            ColdStart::Select => format!("{why} and Q alone decided."),
        };
    }
    match (statistics.score_novelty_correlation, statistics.score_quality_correlation) {
        (Some(novelty), Some(quality)) => {
            let most = if novelty > quality { "novelty" } else { "quality" };
            format!("The order by S followed {most} more closely.")
        }
        _ => "The scores do not vary enough to say which term decided.".into(),
    }
}

fn training(period: &PeriodRecord) -> Result<Markup> {
    let update = &period.update;
    let loss = |loss: f32| number(f64::from(loss), 3);
    let losses = match update.losses.as_slice() {
        [] => String::new(),
        [only] => format!(": mean loss {} nats per token", loss(*only)),
        [first, .., last] => format!(": loss {} → {} nats per token", loss(*first), loss(*last)),
    };
    let line = plots::sparkline(&update.losses)?;
    Ok(html! {
        div.spark {
            (PreEscaped(line))
            span {
                "Training" (losses) " over " (count(update.steps, "step")) ", "
                (count(update.tokens, "response token")) ", " (number(update.seconds, 1)) " s"
            }
        }
        "\n"
    })
}

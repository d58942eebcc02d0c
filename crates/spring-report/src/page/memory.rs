//! The buffer, and the gate before it.

use std::collections::BTreeMap;

use maud::{Markup, html};
use spring_core::spring_fuse::GateConfig;

use super::Page;
use crate::{
    Result, UserReport,
    markup::{Column, cell, count, figure, folded_table, number, table},
    plots::{self, Marker},
};

impl Page<'_> {
    pub(super) fn buffer(&self) -> Markup {
        let UserReport { periods, buffer, .. } = self.report;
        let Some(last) = periods.last() else {
            return html! { p { "The buffer is empty." } "\n" };
        };
        let evicted: Vec<Vec<Markup>> = periods
            .iter()
            .flat_map(|period| period.evicted.iter().map(move |evicted| (period.period, evicted)))
            .map(|(period, evicted)| {
                let mut cells = vec![cell(period.to_string()), cell(evicted.reason.to_string())];
                cells.extend(self.item_cells(&evicted.item));
                cells
            })
            .collect();
        html! {
            p {
                "Selected texts compete for " (count(last.config.buffer.capacity, "place"))
                " by their S under the adapter " em { "after" } " the update: what it still \
                 explains badly stays. They are read at generation time and are not training data."
            }
            "\n"
            @if buffer.is_empty() {
                p { "The buffer is empty." } "\n"
            } @else {
                (self.buffer_by_period())
                h3 { "What stayed" } "\n"
                @let rows: Vec<_> = buffer.iter().map(|item| self.item_cells(item)).collect();
                (folded_table("The buffer", &self.item_columns(), &rows))
            }
            h3 { "What was evicted" } "\n"
            @if evicted.is_empty() {
                p { "Nothing: so far everything fitted." } "\n"
            } @else {
                @let first = [Column::Word("evicted in period"), Column::Label("why")];
                @let columns: Vec<_> = first.into_iter().chain(self.item_columns()).collect();
                (folded_table("Evicted texts", &columns, &evicted))
            }
        }
    }

    fn buffer_by_period(&self) -> Markup {
        let mut by_period: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for item in self.report.buffer {
            by_period.entry(item.period).or_default().push(item.score);
        }
        let rows: Vec<Vec<Markup>> = by_period
            .iter()
            .map(|(period, scores)| {
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                let numbers = [number(mean, 3), number(highest, 3)];
                [period.to_string(), scores.len().to_string()]
                    .into_iter()
                    .chain(numbers)
                    .map(cell)
                    .collect()
            })
            .collect();
        let columns = [
            Column::Word("from period"),
            Column::Number("texts that stayed"),
            Column::Number("mean S"),
            Column::Number("highest S"),
        ];
        table("The buffer by period", &columns, &rows)
    }

    pub(super) fn gate(&self) -> Result<Markup> {
        let UserReport { periods, calibration, answer, .. } = self.report;
        let intro = html! {
            p {
                "A prompt is compared with the buffer by BM25: shared words, rare ones counting \
                 more. How high is high enough differs from person to person, so the gate asks how \
                 alike this person's own texts are: each text of the buffer looks for its best \
                 match among the others."
            }
            "\n"
        };
        let Some(last) = periods.last() else {
            return Ok(html! { (intro) p { "There is no sample yet." } "\n" });
        };
        let rule = match (last.gate_threshold, last.config.gate) {
            (Some(threshold), GateConfig::Quantile { quantile, .. }) => format!(
                "The threshold σ is the {quantile} quantile of these scores: {}. A text that \
                 scores less is not read.",
                number(threshold, 2)
            ),
            (Some(threshold), _) => {
                format!(
                    "The threshold σ is {}. A text that scores less is not read.",
                    number(threshold, 2)
                )
            }
            (None, GateConfig::Quantile { min_calibration, .. })
                if calibration.len() < min_calibration =>
            {
                format!(
                    "There is no threshold: {} in the sample, and at least {min_calibration} are \
                     needed. The gate stays closed.",
                    count(calibration.len(), "score")
                )
            }
            (None, _) => "This gate has no threshold that is known beforehand.".into(),
        };
        let mut markers = Vec::new();
        if let Some(value) = last.gate_threshold {
            let label = format!("σ = {}", number(value, 2));
            markers.push(Marker { color: plots::RED, value, label });
        }
        if let Some(best) = answer.and_then(|answer| answer.retrieved.first()) {
            let label = format!("the prompt below: {}", number(best.score, 2));
            markers.push(Marker { color: plots::GREEN, value: best.score, label });
        }
        let plot = plots::histogram("gate", "BM25 score of the best match", calibration, &markers)?;
        let caption = "Best match of each text of the buffer among the others. Prompts whose best \
                       match lies right of σ open the gate.";
        let label = "Histogram of the gate's calibration sample with the threshold";
        Ok(html! {
            (intro)
            p { (rule) } "\n"
            @if !plot.is_empty() { (figure(label, &html! {}, plot, caption)) }
        })
    }
}

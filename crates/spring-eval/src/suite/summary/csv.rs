//! `summary.csv` and `choices.csv`.

use std::borrow::Cow;

use spring_data::synth::TextKind;
use spring_metrics::{Interval, PairedTest};

use super::{
    super::table::{self, number, text},
    Difference, Measure, Summary, SummaryRow,
};
use crate::Result;

impl Summary {
    /// The candidates of all choices as CSV, with a heading; the last column, the data set, is
    /// there where a choice is made on each.
    ///
    /// # Errors
    ///
    /// [`Error::Table`](crate::Error::Table) if memory runs out.
    pub fn choices_csv(&self) -> Result<String> {
        let heading =
            ["choice", "stage", "budget", "method", "users", "nats_per_byte", "best", "data"];
        let by_data = self.choices.iter().any(|candidate| candidate.data.is_some());
        let columns = if by_data { heading.len() } else { heading.len() - 1 };
        let rows = self.choices.iter().map(|candidate| {
            let mut cells = vec![
                text(&candidate.choice),
                candidate.stage.to_string().into(),
                candidate.budget.name().into(),
                text(candidate.method.name()),
                candidate.users.to_string().into(),
                number(candidate.per_byte),
                candidate.best.to_string().into(),
                text(candidate.data.as_deref().unwrap_or_default()),
            ];
            cells.truncate(columns);
            cells
        });
        table::csv(&heading[..columns], rows)
    }

    /// The table as CSV, with a heading.
    ///
    /// # Errors
    ///
    /// [`Error::Table`](crate::Error::Table) if memory runs out.
    pub fn csv(&self) -> Result<String> {
        let own = self.rows.first().map_or(&[][..], |row| &row.metrics);
        let own = own.iter().flat_map(|metric| {
            ["", "_low_95", "_high_95"].map(|end| format!("{}{end}", metric.name))
        });
        // Columns are added behind those of older versions, the suite's own metrics among them.
        let heading = HEADING.map(str::to_owned).into_iter().chain(own);
        let heading: Vec<String> =
            heading.chain(BESIDE.map(str::to_owned)).chain(measure_columns()).collect();
        table::csv(&heading, self.rows.iter().map(|row| self.cells(row)))
    }

    fn cells<'s>(&'s self, row: &'s SummaryRow) -> Vec<Cow<'s, str>> {
        let [to_against, alone] = [row.to_against(), row.adapters_to_against()].map(tested);
        let test = row.difference;
        let generated = row.generated;
        let whole = |count: usize| count as f64;
        let names = [
            text(&row.data),
            row.budget.name().into(),
            text(&row.method),
            row.users.to_string().into(),
            number(row.per_byte.map(|loss| loss.mean)),
            number(row.per_byte.map(|loss| loss.low)),
            number(row.per_byte.map(|loss| loss.high)),
            number(row.per_token),
            number(row.adapter_alone.map(|alone| alone[0])),
            number(row.adapter_alone.map(|alone| alone[1])),
            text(&self.against),
        ];
        let limits = [test.map(|t| t.least_p_holm), test.and_then(|t| t.minimum_detectable)];
        let rest = [
            row.continual.average,
            row.continual.backward_transfer,
            row.continual.forward_transfer,
            row.continual.forgetting,
            row.tokens,
            row.learned,
            row.open,
            Some(row.seconds),
            generated.map(|t| t.rouge1),
            generated.map(|t| t.rouge2),
            generated.map(|t| t.rouge_l),
            generated.map(|t| t.meteor),
            row.labels.map(|l| l.accuracy),
            row.labels.map(|l| l.f1),
            row.numbers.map(|n| n.mae),
            row.numbers.map(|n| n.rmse),
            row.numbers.map(|n| whole(n.unreadable)),
        ];
        let detection = [
            row.detection.map(|d| whole(d.changes)),
            row.detection.map(|d| whole(d.found)),
            row.detection.and_then(|d| d.mean_delay),
            row.detection.map(|d| whole(d.false_alarms)),
        ];
        let [precision, recall, clean, by_chance, stale, clean_recall] =
            row.synthetic.unwrap_or_default();
        let synthetic = [precision, recall, clean, by_chance, stale];
        let noise = NOISE.map(|kind| row.taken(kind));
        let turn = row.turn;
        let turn = [
            turn.map(|t| whole(t.users)),
            turn.map(|t| whole(t.learned)),
            turn.and_then(|t| t.delay),
            turn.map(|t| t.gain),
            turn.map(|t| t.loss),
            turn.and_then(|t| t.stale_written),
        ];
        let own = row.metrics.iter().flat_map(|metric| {
            let score = metric.score;
            [score.map(|s| s.mean), score.map(|s| s.low), score.map(|s| s.high)]
        });
        let whose = row.attribution;
        let above = tested(row.attributed_above_base());
        let other = tested(row.attributed_above_other_user());
        let copied = row.copying;
        let retrieved = copied.and_then(|copied| copied.retrieved);
        let generated = interval(whose.map(|whose| whose.generated));
        let real = interval(whose.map(|whose| whose.real));
        let persons = [
            whose.map(|w| w.chance),
            copied.map(|c| c.training[0]),
            copied.map(|c| c.training[1]),
            retrieved.map(|r| r[0]),
            retrieved.map(|r| r[1]),
        ];
        let numbers = to_against.into_iter().chain(limits).chain(alone).chain(rest);
        let numbers = numbers.chain(synthetic).chain(detection);
        let numbers = numbers.chain(generated).chain(above).chain(other).chain(real);
        let numbers = numbers.chain(persons).chain([clean_recall]).chain(noise).chain(turn);
        let numbers = numbers.chain(own).map(number);
        let beside = beside(row).into_iter().chain(measures(row).into_iter().map(number));
        names.into_iter().chain(numbers).chain(beside).collect()
    }
}

/// Mean and ends.
fn interval(of: Option<Interval>) -> [Option<f64>; 3] {
    [of.map(|of| of.mean), of.map(|of| of.low), of.map(|of| of.high)]
}

/// The same of a difference, and its p, alone and corrected.
fn tested(of: Option<Difference>) -> [Option<f64>; 5] {
    let [mean, low, high] = interval(of.map(Difference::interval));
    let test: Option<PairedTest> = of.and_then(Difference::test);
    [mean, low, high, test.map(|test| test.p), test.map(|test| test.p_holm)]
}

/// The cells of [`BESIDE`].
fn beside<'s>(row: &SummaryRow) -> Vec<Cow<'s, str>> {
    let users = [&row.users_to_base, &row.users_to_against].map(Option::as_ref);
    let users = users.into_iter().flat_map(|users| {
        let worst = users.and_then(|users| users.worst()).map(|(_, difference)| difference);
        let worse = users.map(|users| users.worse().to_string());
        [number(worst), worse.map_or_else(Cow::default, Cow::Owned)]
    });
    let best = row.best_within_tokens.map(|best| if best { "true" } else { "false" });
    let base = tested(row.above_base).into_iter().map(number);
    base.chain(users).chain([best.unwrap_or_default().into()]).collect()
}

/// The cells of [`measure_columns`].
fn measures(row: &SummaryRow) -> Vec<Option<f64>> {
    let cells = Measure::ALL.into_iter().flat_map(|measure| {
        let score = row.measures.iter().find(|score| score.measure == measure);
        let [_, low, high] = interval(score.map(|score| score.score));
        let ends = (!has_interval(measure)).then_some([low, high]);
        ends.into_iter().flatten().chain(tested(score.and_then(|score| score.difference)))
    });
    cells.collect()
}

/// Whether the interval has its columns in [`HEADING`].
fn has_interval(measure: Measure) -> bool {
    measure == Measure::Attributed
}

/// The columns of scores beside the loss: their intervals, and their differences with tests.
fn measure_columns() -> impl Iterator<Item = String> {
    Measure::ALL.into_iter().flat_map(|measure| {
        let ends = ["_low_95", "_high_95"].into_iter().filter(move |_| !has_interval(measure));
        let test =
            ["", "_low_95", "_high_95", "_p", "_p_holm"].map(|end| format!("_difference{end}"));
        let ends = ends.map(str::to_owned).chain(test);
        ends.map(move |end| format!("{}{end}", measure.column()))
    })
}

/// The kinds of noise, in the order of their columns.
const NOISE: [TextKind; 5] = [
    TextKind::Forwarded,
    TextKind::Garbled,
    TextKind::OddDay,
    TextKind::OtherPerson,
    TextKind::PastedCode,
];

/// The columns of `summary.csv`; docs/formats.md says what each is.
const HEADING: [&str; 82] = [
    "data",
    "budget",
    "method",
    "users",
    "nats_per_byte",
    "low_95",
    "high_95",
    "nats_per_token",
    "adapter_nats_per_byte",
    "adapter_nats_per_token",
    "against",
    "difference",
    "difference_low_95",
    "difference_high_95",
    "p",
    "p_holm",
    "least_p_holm",
    "minimum_detectable",
    "adapter_difference",
    "adapter_difference_low_95",
    "adapter_difference_high_95",
    "adapter_p",
    "adapter_p_holm",
    "average",
    "backward_transfer",
    "forward_transfer",
    "forgetting",
    "tokens_trained",
    "learned_share",
    "gate_open_share",
    "seconds",
    "rouge1",
    "rouge2",
    "rougeL",
    "meteor",
    "accuracy",
    "f1",
    "mae",
    "rmse",
    "unreadable",
    "selection_precision",
    "selection_recall",
    "selection_clean",
    "clean_by_chance",
    "stale_rate",
    "changes",
    "changes_found",
    "detection_delay",
    "false_alarms",
    "attributed",
    "attributed_low_95",
    "attributed_high_95",
    "attributed_above_base",
    "attributed_above_base_low_95",
    "attributed_above_base_high_95",
    "attributed_p",
    "attributed_p_holm",
    "attributed_above_other_user",
    "attributed_above_other_user_low_95",
    "attributed_above_other_user_high_95",
    "attributed_above_other_user_p",
    "attributed_above_other_user_p_holm",
    "attribution_accuracy",
    "attribution_accuracy_low_95",
    "attribution_accuracy_high_95",
    "attribution_chance",
    "copied_training",
    "copied_training_share",
    "copied_retrieved",
    "copied_retrieved_share",
    "clean_recall",
    "taken_forwarded",
    "taken_garbled",
    "taken_odd_day",
    "taken_other_person",
    "taken_pasted_code",
    "turn_users",
    "turn_learned",
    "turn_delay",
    "turn_gain",
    "turn_loss",
    "stale_written",
];

/// The columns of methods beside the base and beside each other, behind the suite's own metrics.
const BESIDE: [&str; 10] = [
    "above_base",
    "above_base_low_95",
    "above_base_high_95",
    "above_base_p",
    "above_base_p_holm",
    "worst_user_to_base",
    "users_worse_than_base",
    "worst_user_to_against",
    "users_worse_than_against",
    "best_within_tokens",
];

/// Whether the table has a column of a name.
pub(in crate::suite) fn is_column(name: &str) -> bool {
    HEADING.contains(&name)
        || BESIDE.contains(&name)
        || measure_columns().any(|column| column == name)
}

//! `summary.csv` and `choices.csv`.

use std::borrow::Cow;

use spring_data::synth::TextKind;

use super::{
    super::table::{self, number, text},
    Summary, SummaryRow,
};
use crate::Result;

impl Summary {
    /// The candidates of all choices as CSV, with a heading.
    ///
    /// # Errors
    ///
    /// [`Error::Table`](crate::Error::Table) if memory runs out.
    pub fn choices_csv(&self) -> Result<String> {
        let heading = ["choice", "stage", "budget", "method", "users", "nats_per_byte", "best"];
        let rows = self.choices.iter().map(|candidate| {
            vec![
                text(&candidate.choice),
                candidate.stage.to_string().into(),
                candidate.budget.name().into(),
                text(candidate.method.name()),
                candidate.users.to_string().into(),
                number(candidate.per_byte),
                candidate.best.to_string().into(),
            ]
        });
        table::csv(&heading, rows)
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
        let heading: Vec<String> = HEADING.map(str::to_owned).into_iter().chain(own).collect();
        table::csv(&heading, self.rows.iter().map(|row| self.cells(row)))
    }

    fn cells<'s>(&'s self, row: &'s SummaryRow) -> Vec<Cow<'s, str>> {
        let (test, alone) = (row.difference, row.adapter_difference);
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
        let numbers = [
            test.map(|t| t.difference.mean),
            test.map(|t| t.difference.low),
            test.map(|t| t.difference.high),
            test.map(|t| t.p),
            test.map(|t| t.p_holm),
            test.map(|t| t.least_p_holm),
            test.and_then(|t| t.minimum_detectable),
            alone.map(|t| t.difference.mean),
            alone.map(|t| t.difference.low),
            alone.map(|t| t.difference.high),
            alone.map(|t| t.p),
            alone.map(|t| t.p_holm),
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
        let above = whose.and_then(|whose| whose.above_base);
        let other = whose.and_then(|whose| whose.above_other_user);
        let copied = row.copying;
        let retrieved = copied.and_then(|copied| copied.retrieved);
        let persons = [
            whose.map(|w| w.generated.mean),
            whose.map(|w| w.generated.low),
            whose.map(|w| w.generated.high),
            above.map(|t| t.difference.mean),
            above.map(|t| t.difference.low),
            above.map(|t| t.difference.high),
            above.map(|t| t.p),
            above.map(|t| t.p_holm),
            other.map(|t| t.difference.mean),
            other.map(|t| t.difference.low),
            other.map(|t| t.difference.high),
            other.map(|t| t.p),
            other.map(|t| t.p_holm),
            whose.map(|w| w.real.mean),
            whose.map(|w| w.real.low),
            whose.map(|w| w.real.high),
            whose.map(|w| w.chance),
            copied.map(|c| c.training[0]),
            copied.map(|c| c.training[1]),
            retrieved.map(|r| r[0]),
            retrieved.map(|r| r[1]),
        ];
        let numbers = numbers.into_iter().chain(synthetic).chain(detection);
        let numbers = numbers.chain(persons).chain([clean_recall]).chain(noise).chain(turn);
        let numbers = numbers.chain(own).map(number);
        names.into_iter().chain(numbers).collect()
    }
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

/// Whether the table has a column of a name.
pub(in crate::suite) fn is_column(name: &str) -> bool {
    HEADING.contains(&name)
}

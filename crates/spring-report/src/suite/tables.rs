//! The tables of one data set and budget.

use maud::{Markup, html};
use spring_data::synth::TextKind;
use spring_eval::{Difference, Measure, SummaryRow};
use spring_metrics::{ContinualScores, PairedTest};

use super::{Group, scores::measured};
use crate::markup::{
    Column, bold_if, cell, cell_with, clean, count, details, interval, none, number, percent, table,
};

/// A difference with its interval, p after and before Holm's correction, and what would be found.
pub(super) fn tested(difference: Option<Difference>) -> [Markup; 3] {
    let Some(difference) = difference else { return [none(), none(), none()] };
    let of = difference.interval();
    let mean = cell_with(number(of.mean, 4), interval(of, 4));
    let Some(test) = difference.test() else { return [mean, none(), none()] };
    [
        mean,
        cell_with(number(test.p_holm, 3), number(test.p, 3)),
        cell(number(test.minimum_detectable, 4)),
    ]
}

impl Group<'_> {
    pub(super) fn main_table(&self) -> Markup {
        let loss = |row: &SummaryRow| row.per_byte.map_or(f64::INFINITY, |loss| loss.mean);
        let best = self.rows.iter().map(|row| loss(row)).fold(f64::INFINITY, f64::min);
        let rows: Vec<Vec<Markup>> =
            self.rows.iter().map(|row| main_row(row, loss(row) == best)).collect();
        let generated = match (self.rows[0].labels, self.rows[0].numbers) {
            (Some(_), _) => "accuracy; F1",
            (_, Some(_)) => "MAE; RMSE",
            _ => "ROUGE-L; METEOR",
        };
        let columns = [
            Column::Label("method"),
            Column::Number("nats per byte"),
            Column::Number("nats per token"),
            Column::Number("difference"),
            Column::Number("p (Holm; raw)"),
            Column::Number("detectable"),
            Column::Number("tokens trained"),
            Column::Number("gate open"),
            Column::Number("seconds"),
            Column::Number(generated),
        ];
        let against = self.against.map_or("", |row| row.label.as_str());
        html! {
            (table("Losses of all methods", &columns, &rows))
            p.note {
                "Loss on each period's test part right after that period, without the first one; \
                 means over " (count(self.users(), "user")) " with the 95\u{a0}% \
                 interval of a bootstrap over users; lower is better. “adapter”: without the \
                 retrieved texts. “Difference” is to " (clean(against)) ": below 0 is better than \
                 it. “Detectable”: the smallest true difference that this number of users would \
                 show with 80\u{a0}% power after the correction for all methods that are \
                 tested."
                (least_p(self.rows.iter().find_map(|row| row.difference)))
                @if !self.summary.contrasts.is_empty() {
                    " The suite declares which differences are tested: of "
                    (clean(&self.summary.contrasts.join(", "))) "; the others have no p."
                }
                " †: the lowest of all methods that train on at most as many tokens; those with \
                 others' adapters are left out."
            }
            "\n"
        }
    }

    /// Users of the method with most.
    pub(super) fn users(&self) -> usize {
        self.rows.iter().map(|row| row.users).max().unwrap_or(0)
    }

    /// The suite's own metrics of the generated texts.
    pub(super) fn texts_table(&self) -> Markup {
        let metrics = &self.rows[0].metrics;
        if metrics.is_empty() {
            return html! {};
        }
        let mean = |row: &SummaryRow, place: usize| Some(row.metrics.get(place)?.score?.mean);
        let best = |place: usize| {
            let means = self.rows.iter().filter_map(|row| mean(row, place));
            match metrics[place].higher_is_better {
                true => means.max_by(f64::total_cmp),
                false => means.min_by(f64::total_cmp),
            }
        };
        let cells = |row: &SummaryRow| -> Vec<Markup> {
            let scores = (0..metrics.len()).map(|place| {
                let Some(score) = row.metrics.get(place).and_then(|metric| metric.score) else {
                    return none();
                };
                let is_best = Some(score.mean) == best(place);
                html! {
                    (bold_if(is_best, &number(score.mean, 3)))
                    span.sub { (interval(score, 3)) }
                }
            });
            std::iter::once(cell(&row.label)).chain(scores).collect()
        };
        let rows: Vec<Vec<Markup>> = self.rows.iter().map(|row| cells(row)).collect();
        let columns: Vec<Column<'_>> = std::iter::once(Column::Label("method"))
            .chain(metrics.iter().map(|metric| Column::Number(&metric.name)))
            .collect();
        let lower: Vec<&str> = metrics
            .iter()
            .filter(|metric| !metric.higher_is_better)
            .map(|metric| metric.name.as_str())
            .collect();
        html! {
            h3 { "Metrics of one's own" } "\n"
            (table("The suite's own metrics of the generated texts", &columns, &rows))
            p.note {
                "Means over users with the 95\u{a0}% interval of a bootstrap over users; higher is \
                 better"
                @if !lower.is_empty() { ", but for " (clean(&lower.join(", "))) " lower" }
                "."
            }
            "\n"
        }
    }

    /// Whether generated texts are the person's, and whether they are copied.
    pub(super) fn persons_table(&self) -> Markup {
        let whose = self.rows.iter().find_map(|row| row.attribution);
        let has_copies = self.rows.iter().any(|row| row.copying.is_some());
        if whose.is_none() && !has_copies {
            return html! {};
        }
        let has_others = self.rows.iter().any(|row| row.attributed_above_other_user().is_some());
        let passage = |passage: Option<[f64; 2]>| match passage {
            Some([characters, share]) => cell_with(number(characters, 1), percent(share)),
            None => none(),
        };
        let cells = |row: &SummaryRow| {
            let whose = row.attribution;
            let attributed = match whose.map(|whose| whose.generated) {
                Some(own) => cell_with(number(own.mean, 3), interval(own, 3)),
                None => none(),
            };
            let [above, p, _] = tested(row.attributed_above_base());
            let training = passage(row.copying.map(|copied| copied.training));
            let retrieved = passage(row.copying.and_then(|copied| copied.retrieved));
            let mut cells = vec![cell(&row.label), attributed, above, p];
            if has_others {
                let [above, p, _] = tested(row.attributed_above_other_user());
                cells.extend([above, p]);
            }
            cells.extend([training, retrieved]);
            cells
        };
        let rows: Vec<Vec<Markup>> = self.rows.iter().map(|row| cells(row)).collect();
        let mut columns = vec![
            Column::Label("method"),
            Column::Number("attributed"),
            Column::Number("above the base"),
            Column::Number("p (Holm; raw)"),
        ];
        if has_others {
            columns.extend(["above another user's", "p (Holm; raw)"].map(Column::Number));
        }
        let copied = ["copied from own texts", "copied from what was read"];
        columns.extend(copied.map(Column::Number));
        html! {
            h3 { "Whose texts they are" } "\n"
            (table("Attribution and copying of the generated texts", &columns, &rows))
            p.note {
                @if let Some(whose) = whose {
                    "Attributed: share of the generated texts that a classifier of the users' real \
                     texts takes for their user's. Of the users' own held-out texts it is "
                    (number(whose.real.mean, 3)) " (" (interval(whose.real, 3)) "), by chance "
                    (number(whose.chance, 3)) " as a mean over users. The classifier knows the \
                     texts that the methods learn and retrieve, so a verbatim copy counts as \
                     attributed: read it together with what is copied. "
                }
                @if has_copies {
                    "Copied: characters of the longest passage that stands in a text of the user \
                     word for word, and its share of the generated text; what was read counts for \
                     the texts for which something was. What the base shares with them is \
                     commonplace."
                }
            }
            "\n"
        }
    }

    /// What was learned against what was learned, where the method of the tests writes with
    /// retrieval.
    pub(super) fn adapter_table(&self) -> Markup {
        let against = self.against.and_then(|row| Some((row, row.adapter_alone?[0])));
        let Some((against, alone)) = against else { return html! {} };
        let first = vec![cell(&against.label), cell(number(alone, 4)), none(), none(), none()];
        let others = self.rows.iter().filter_map(|row| {
            let test = Some(row.adapters_to_against()?);
            let alone = row.adapter_alone.map(|alone| alone[0]);
            let alone = alone.or(row.per_byte.map(|loss| loss.mean));
            let names = [cell(&row.label), cell(number(alone, 4))];
            Some(names.into_iter().chain(tested(test)).collect())
        });
        let rows: Vec<Vec<Markup>> = std::iter::once(first).chain(others).collect();
        let columns = [
            Column::Label("method"),
            Column::Number("nats per byte"),
            Column::Number("difference"),
            Column::Number("p (Holm; raw)"),
            Column::Number("detectable"),
        ];
        html! {
            h3 { "The adapters alone" } "\n"
            (table("Losses of the adapters alone", &columns, &rows))
            p.note {
                "The same without any retrieved text, on both sides of each difference: what was \
                 learned, apart from what is read."
                (least_p(self.rows.iter().find_map(|row| row.adapter_difference)))
            }
            "\n"
        }
    }

    pub(super) fn continual_table(&self) -> Markup {
        let rows: Vec<Vec<Markup>> = self
            .rows
            .iter()
            .map(|row| {
                let ContinualScores {
                    average,
                    backward_transfer,
                    forward_transfer,
                    forgetting,
                    ..
                } = row.continual;
                let numbers = [average, backward_transfer, forward_transfer, forgetting];
                let numbers = numbers.map(|value| cell(number(value, 4)));
                std::iter::once(cell(&row.label)).chain(numbers).collect()
            })
            .collect();
        let names = ContinualScores::DEFINITIONS.map(|(name, _)| Column::Number(name));
        let columns = [vec![Column::Label("method")], names.to_vec()].concat();
        let meaning = ContinualScores::DEFINITIONS.map(|(name, means)| format!("{name}: {means}"));
        html! {
            h3 { "Over all periods" } "\n"
            (table("Continual metrics", &columns, &rows))
            p.note { "Nats per byte. " (meaning.join("; ")) "." } "\n"
        }
    }

    /// What is known where the truth of every text is known.
    pub(super) fn synthetic_table(&self) -> Markup {
        let rows: Vec<Vec<Markup>> = self
            .rows
            .iter()
            .filter_map(|row| {
                let [_, _, _, by_chance, _, _] = row.synthetic?;
                Some(vec![
                    cell(&row.label),
                    measured(row, Measure::Precision),
                    measured(row, Measure::Recall),
                    measured(row, Measure::Clean),
                    cell(number(by_chance, 3)),
                    measured(row, Measure::CleanRecall),
                    measured(row, Measure::Stale),
                ])
            })
            .collect();
        if rows.is_empty() {
            return html! {};
        }
        let columns = [
            Column::Label("method"),
            Column::Number("precision"),
            Column::Number("recall"),
            Column::Number("without noise"),
            Column::Number("without noise by chance"),
            Column::Number("of those without noise"),
            Column::Number("stale-preference rate"),
        ];
        html! {
            h3 { "Against the truth" } "\n"
            (table("Selections against the truth", &columns, &rows))
            p.note {
                "Later periods alone. Precision and recall are for new preference; then the share \
                 without noise of what was learned, the same of all there was, and the share that \
                 was learned of what is no noise; means over users with their 95\u{a0}% \
                 intervals."
                @if let Some(found) = self.rows[0].detection {
                    " SPRInG's novelty rang for " (found.found) " of " (found.changes)
                    " true changes"
                    @if let Some(delay) = found.mean_delay {
                        ", after " (number(delay, 1)) " texts on average"
                    }
                    ", and " (count(found.false_alarms, "time")) " besides."
                }
            }
            "\n"
            (self.taken_table())
            (self.turn_table())
            (self.kinds_table())
        }
    }

    /// The kinds of text of a known truth.
    pub(super) fn kinds(&self) -> Vec<TextKind> {
        let of_rows = self.rows.iter().flat_map(|row| &row.taken);
        let mut kinds: Vec<TextKind> = of_rows.map(|count| count.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// How much of each kind of text was learned.
    fn taken_table(&self) -> Markup {
        let kinds = self.kinds();
        if !self.rows.iter().any(|row| row.has_noise()) {
            return html! {};
        }
        let cells = |row: &SummaryRow| -> Vec<Markup> {
            let shares = kinds
                .iter()
                .map(|kind| row.taken(*kind).map_or_else(none, |share| cell(percent(share))));
            std::iter::once(cell(&row.label)).chain(shares).collect()
        };
        let rows: Vec<Vec<Markup>> = self.rows.iter().map(|row| cells(row)).collect();
        let columns: Vec<Column<'_>> = std::iter::once(Column::Label("method"))
            .chain(kinds.iter().map(|kind| Column::Number(kind.name())))
            .collect();
        let texts = self.rows.iter().map(|row| row.taken.iter().map(|count| count.texts).sum());
        html! {
            h3 { "What was learned of each kind of text" } "\n"
            (table("Shares of each kind of text that were learned", &columns, &rows))
            p.note {
                "Later periods alone, all users and seeds together: "
                (count(texts.max().unwrap_or(0), "text")) "."
            }
            "\n"
        }
    }

    /// How the person after a turning point was learned.
    fn turn_table(&self) -> Markup {
        let rows: Vec<Vec<Markup>> = self
            .rows
            .iter()
            .filter_map(|row| {
                let turn = row.turn?;
                let delay = row.measures.iter().find(|of| of.measure == Measure::TurnDelay);
                let users = format!("{} of {}", turn.learned, turn.users);
                let below = match delay {
                    Some(delay) => format!("{users}; {}", interval(delay.score, 2)),
                    None => users,
                };
                Some(vec![
                    cell(&row.label),
                    measured(row, Measure::TurnLoss),
                    measured(row, Measure::TurnGain),
                    cell_with(number(turn.delay, 2), below),
                    measured(row, Measure::Stale),
                    measured(row, Measure::StaleWritten),
                ])
            })
            .collect();
        if rows.is_empty() {
            return html! {};
        }
        let columns = [
            Column::Label("method"),
            Column::Number("nats per byte after it"),
            Column::Number("gained by the end"),
            Column::Number("delay (users)"),
            Column::Number("stale-preference rate"),
            Column::Number("stale, of what was written"),
        ];
        html! {
            h3 { "After the turning point" } "\n"
            (table("How the second person was learned", &columns, &rows))
            p.note {
                "The second person's test texts: the loss right after each period; how much lower \
                 the loss on all of them is at the end than right before the turning point; the \
                 periods until 80\u{a0}% of that was reached, over the users for whom anything \
                 was. Stale: the share of pairs of a test text of the first and one of the second \
                 person in which the adapter's gain over the base is larger on the first's; 0.5 \
                 is no preference. Of what was written: the share that is attributed to the first \
                 person."
            }
            "\n"
        }
    }

    /// How each kind of text of a known truth was scored.
    fn kinds_table(&self) -> Markup {
        let all = self.rows.iter().flat_map(|row| row.kinds.iter().map(move |kind| (row, kind)));
        let rows: Vec<Vec<Markup>> = all
            .map(|(row, kind)| {
                let share = percent(kind.selected as f64 / kind.texts as f64);
                let texts = kind.texts.to_string();
                let words: [&str; 4] = [&row.label, kind.kind.name(), &texts, &share];
                let terms = [kind.novelty, kind.quality, kind.score];
                let terms = terms.map(|value| cell(number(value, 3)));
                words.map(cell).into_iter().chain(terms).collect()
            })
            .collect();
        if rows.is_empty() {
            return html! {};
        }
        let columns = [
            Column::Label("method"),
            Column::Word("texts"),
            Column::Number("number"),
            Column::Number("selected"),
            Column::Number("N"),
            Column::Number("Q"),
            Column::Number("S"),
        ];
        let summary =
            "How each kind of text was scored: means before learning, over users and seeds";
        details(summary, "Scores by kind of text", &columns, &rows)
    }
}

fn main_row(row: &SummaryRow, best: bool) -> Vec<Markup> {
    let beside = |value: Option<f64>, decimals| {
        html! {
            @if let Some(value) = value { span.sub { "adapter " (number(value, decimals)) } }
        }
    };
    let alone = row.adapter_alone;
    let pair = |a: f64, b: f64| cell_with(number(a, 3), number(b, 3));
    let names = [
        cell(&row.label),
        html! {
            (bold_if(best, &number(row.per_byte.map(|loss| loss.mean), 4)))
            @if row.best_within_tokens == Some(true) { " †" }
            (beside(alone.map(|alone| alone[0]), 4))
            @if let Some(loss) = row.per_byte { span.sub { (interval(loss, 4)) } }
        },
        html! { (number(row.per_token, 3)) (beside(alone.map(|alone| alone[1]), 3)) },
    ];
    let costs = [
        match row.learned {
            Some(learned) => cell_with(number(row.tokens, 0), percent(learned)),
            None => cell(number(row.tokens, 0)),
        },
        row.open.map_or_else(none, |open| cell(percent(open))),
        cell(number(row.seconds, 1)),
        match (row.labels, row.numbers, row.generated) {
            (Some(labels), _, _) => pair(labels.accuracy, labels.f1),
            (_, Some(numbers), _) => pair(numbers.mae, numbers.rmse),
            (_, _, Some(texts)) => pair(texts.rouge_l, texts.meteor),
            _ => none(),
        },
    ];
    names.into_iter().chain(tested(row.to_against())).chain(costs).collect()
}

/// What the smallest p of a table can be.
pub(super) fn least_p(test: Option<PairedTest>) -> Markup {
    let Some(test) = test else { return html! {} };
    let least = number(test.least_p_holm, 4);
    let users = count(test.difference.users, "user");
    let said = format!("The smallest corrected p that {users} can give is {least}");
    match test.can_be_significant() {
        true => html! { " " (said) "." },
        false => html! {
            " " strong {
                (said) ": here no difference can be significant at 0.05, however large it is."
            }
        },
    }
}

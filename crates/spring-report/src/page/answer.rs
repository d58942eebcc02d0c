//! A generated text.

use maud::{Markup, html};
use spring_core::record::{AnswerRecord, Ending};

use super::Page;
use crate::markup::{Column, bold_if, cell, clean, folded_table, number, percent};

impl Page<'_> {
    pub(super) fn answer(&self) -> Markup {
        let Some(answer) = self.report.answer else {
            return html! { p { "No text has been generated yet." } "\n" };
        };
        let mut columns = vec![Column::Number("BM25"), Column::Word("read")];
        columns.extend(self.text_columns());
        let found: Vec<Vec<Markup>> = answer
            .retrieved
            .iter()
            .map(|found| {
                let read = bold_if(found.used, if found.used { "yes" } else { "no" });
                let cells = [cell(number(found.score, 2)), read];
                cells.into_iter().chain(self.text_cells(found.seq)).collect()
            })
            .collect();
        let ended = match answer.ended {
            Ending::EndToken => "The model ended the text itself.",
            Ending::Length => "The text was cut off at the token limit.",
            Ending::StopString => "The text ended at a stop string.",
            Ending::Stopped => "Generation was stopped early.",
        };
        let by = match answer.generation {
            0 => "the base, without an adapter".to_owned(),
            n => format!("the adapter of generation {n}"),
        };
        html! {
            h3 { "The prompt" } "\n"
            blockquote { (clean(&answer.prompt)) } "\n"
            h3 { "The gate" } "\n"
            p { (gate_in_words(answer)) } "\n"
            p.note { "On record: " (clean(&answer.gate.reason)) "." } "\n"
            @if !found.is_empty() { (folded_table("What retrieval found", &columns, &found)) }
            h3 { "The text" } "\n"
            (self.written(answer))
            @if let Some(really) = self.really_written(answer) {
                h3 { "What the person wrote" } "\n"
                blockquote { (clean(really)) } "\n"
            }
            p.note {
                "Written with " (by) " on " (answer.time.strftime("%Y-%m-%d").to_string()) ". "
                (ended)
            }
            "\n"
            @if !answer.cuts.is_empty() {
                p { "Not everything fitted into the model's context:" } "\n"
                ul { @for cut in &answer.cuts { li { (clean(&cut.to_string())) } } } "\n"
            }
        }
    }

    /// The person's own answer, where the prompt is that of one of their texts.
    fn really_written(&self, answer: &AnswerRecord) -> Option<&str> {
        let asked = self.report.texts.values().map(|text| &text.interaction);
        let own = asked.filter(|text| text.prompt == answer.prompt);
        own.max_by_key(|text| text.time).map(|text| text.response.as_str())
    }

    /// The text, each token shaded by what came from the retrieval branch.
    fn written(&self, answer: &AnswerRecord) -> Markup {
        let tokens = self.report.tokens;
        let (Some(mean), true) = (answer.retrieval_share(), tokens.len() == answer.trace.len())
        else {
            return html! { div.written { (clean(&answer.text)) } "\n" };
        };
        let shares = answer.trace.iter().map(|trace| trace.retrieval_share);
        let shares =
            shares.map(|share| if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 });
        let shade = |share: f32| format!("--s:{share:.2}");
        html! {
            p.legend {
                "Share of a token's probability that came through retrieval: 0\u{a0}% "
                span.scale {
                    @for i in 0u8..=4 { span style=(shade(f32::from(i) / 4.0)) {} }
                }
                " 100\u{a0}%. At " (percent(mean_lambda(answer))) " both branches found the token \
                 equally likely. Mean over the text: " strong { (percent(mean)) } "."
            }
            "\n"
            div.written {
                @for (token, share) in tokens.iter().zip(shares) {
                    @let title = format!("{} through retrieval", percent(share.into()));
                    span style=(shade(share)) title=(title) { (clean(token)) }
                }
            }
            "\n"
        }
    }
}

fn gate_in_words(answer: &AnswerRecord) -> Markup {
    let best = answer.retrieved.first().map(|found| number(found.score, 2));
    let threshold = answer.gate.threshold.map(|threshold| number(threshold, 2));
    let scores = match (best, threshold) {
        (Some(best), Some(threshold)) => {
            format!("the best match in the buffer scored {best}, the threshold is {threshold}")
        }
        (Some(best), None) => format!("the best match in the buffer scored {best}"),
        (None, _) => "nothing in the buffer shares a word with the prompt".into(),
    };
    let read = answer.retrieved.iter().filter(|found| found.used).count();
    let (state, rest) = match (answer.gate.open, read) {
        (false, _) => ("closed", "The adapter wrote alone.".to_owned()),
        (true, 0) => (
            "opened",
            "But no text of the buffer fitted into the context, so the adapter wrote alone.".into(),
        ),
        (true, n) => {
            let texts = if n == 1 { "1 text was".into() } else { format!("{n} texts were") };
            let rest = format!(
                "{texts} read along with the prompt, and each token's probability is a mixture of \
                 two branches, with and without."
            );
            ("opened", rest)
        }
    };
    let stayed = if state == "closed" { "stayed " } else { "" };
    let contrast = match answer.fusion.and_then(|fusion| fusion.contrasting()) {
        Some(_) => {
            " What the adapter has learned was pushed further, by its contrast with the base."
        }
        None => "",
    };
    html! { "The gate " (stayed) strong { (state) } ": " (scores) ". " (rest) (contrast) }
}

/// The weight of the retrieval branch, which is fixed unless it was set to adapt.
fn mean_lambda(answer: &AnswerRecord) -> f64 {
    let lambdas = answer.trace.iter().map(|trace| f64::from(trace.lambda));
    lambdas.sum::<f64>() / answer.trace.len() as f64
}

//! The page about one user: its frame, its summary, and how it shows a text.

mod answer;
mod drift;
mod losses;
mod manner;
mod memory;

use maud::{Markup, html};
use spring_core::{StoredInteraction, spring_memory::BufferItem};

use crate::{
    Result, UserReport,
    markup::{Column, cell, clean, excerpt, facts, links, number, page, percent, section},
};

/// Characters of a text that a table shows; on a narrow window the end is clipped.
const EXCERPT: usize = 120;

/// The page's parts share the report and whether its texts carry labels.
pub(crate) struct Page<'a> {
    report: UserReport<'a>,
    labelled: bool,
}

impl<'a> Page<'a> {
    pub(crate) fn new(report: UserReport<'a>) -> Self {
        let labelled = report.texts.values().any(|text| label(text).is_some());
        Self { report, labelled }
    }

    pub(crate) fn html(&self) -> Result<String> {
        let sections = [
            ("manner", "How does this person write?", self.manner()),
            ("learned", "How well are new texts predicted?", self.losses()?),
            ("drift", "What was new, and when?", self.drift()?),
            ("periods", "What was selected, and why?", self.periods()?),
            ("buffer", "What is in the buffer?", self.buffer()),
            ("gate", "When does the gate open?", self.gate()?),
            ("text", "A generated text", self.answer()),
        ];
        let user = clean(self.report.user.as_str());
        let main = html! {
            h1 { "What SPRInG learned of " bdi { (user) } } "\n"
            (self.summary())
            (links(sections.iter().map(|(id, title, _)| (*id, *title))))
            @for (id, title, body) in &sections { (section(id, title, body)) }
        };
        let footer = html! {
            "Base model: " (clean(self.report.model))
            ". Log-likelihoods are natural logarithms: 1 nat is 1.44 bits. Dates are in UTC."
        };
        Ok(page(&format!("What SPRInG learned of {user}"), &main, &footer))
    }

    fn summary(&self) -> Markup {
        let UserReport { periods, losses, buffer, answer, .. } = self.report;
        let about = html! {
            p {
                "The base model (" (clean(self.report.model)) ") never changes. SPRInG gives it \
                 two memories of this one person. The first is an " em { "adapter" } ": a small \
                 set of extra weights, trained after each period of time; after the first one, \
                 only on the texts that bring something new. The second is a " em { "buffer" }
                ": the texts that the adapter still explains worst, kept word for word. At \
                 generation a strict "
                em { "gate" } " decides whether texts of the buffer resemble the prompt enough to \
                 be read along; if none does, the adapter writes alone."
            }
            "\n"
        };
        let Some(last) = periods.last() else {
            return html! { (about) p.finding { "No period has been learned yet." } "\n" };
        };
        let scored: usize = periods.iter().map(|period| period.scores.len()).sum();
        let selected: usize = periods.iter().map(|period| period.selection.selected).sum();
        let held_out: usize = periods.iter().map(|period| period.held_out).sum();
        let mut numbers = vec![
            ("periods learned", periods.len().to_string()),
            ("texts learned, of those scored", format!("{selected} of {scored}")),
            ("texts held out for testing", held_out.to_string()),
            (
                "texts in the buffer, of places",
                format!("{} of {}", buffer.len(), last.config.buffer.capacity),
            ),
        ];
        if !losses.is_empty() {
            let [base, fixed, _, spring] = losses::total(losses.iter());
            numbers.push(("perplexity of the base", number(base.perplexity(), 1)));
            numbers.push(("perplexity, static adapter", number(fixed.perplexity(), 1)));
            numbers.push(("perplexity, SPRInG", number(spring.perplexity(), 1)));
        }
        if let Some(answer) = answer {
            let share = answer.retrieval_share().map_or("gate closed".into(), percent);
            numbers.push(("of the generated text came through retrieval", share));
        }
        html! { (about) (facts(&numbers)) }
    }

    fn text(&self, seq: u64) -> Option<&'a StoredInteraction> {
        self.report.texts.get(&seq)
    }

    fn text_columns(&self) -> Vec<Column<'static>> {
        let label = self.labelled.then_some(Column::Label("label (not seen by the method)"));
        [Column::Word("date")].into_iter().chain(label).chain([Column::Text("text")]).collect()
    }

    /// Date, label where texts have them, and the beginning of what the person wrote.
    fn text_cells(&self, seq: u64) -> Vec<Markup> {
        let text = self.text(seq);
        let mut cells = vec![cell(text.map_or("–".into(), date))];
        if self.labelled {
            let label = text.and_then(label);
            cells.push(cell(label.map_or("–".into(), |label| excerpt(&label, 40))));
        }
        let begin = |text: &StoredInteraction| excerpt(&text.interaction.response, EXCERPT);
        cells.push(cell(text.map_or(format!("text {seq}"), begin)));
        cells
    }

    fn item_columns(&self) -> Vec<Column<'static>> {
        let terms = [
            Column::Word("from period"),
            Column::Number("N"),
            Column::Number("Q"),
            Column::Number("S"),
        ];
        terms.into_iter().chain(self.text_columns()).collect()
    }

    fn item_cells(&self, item: &BufferItem) -> Vec<Markup> {
        let terms = [item.novelty, item.quality, item.score].map(|term| cell(number(term, 3)));
        let period = cell(item.period.to_string());
        std::iter::once(period).chain(terms).chain(self.text_cells(item.key)).collect()
    }
}

fn date(text: &StoredInteraction) -> String {
    text.interaction.time.strftime("%Y-%m-%d").to_string()
}

/// What the data's author noted about a text.
fn label(text: &StoredInteraction) -> Option<String> {
    match text.interaction.meta.as_ref()?.get("label")? {
        serde_json::Value::Null => None,
        serde_json::Value::String(label) => Some(label.clone()),
        other => Some(other.to_string()),
    }
}

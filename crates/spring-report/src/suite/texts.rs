//! Generated texts to look at: the base's, the methods' and the person's own, side by side.

use maud::{Markup, html};
use spring_eval::{GeneratedText, SummaryRow};

use super::Group;
use crate::markup::{Column, cell, clean, table};

/// Texts on a page.
const TEXTS: usize = 12;

/// Characters of a text at most, and of the prompt beside it.
const LONGEST: usize = 1_000;
const LONGEST_PROMPT: usize = 300;

/// Texts that answer the same prompt.
struct Answers<'s> {
    user: &'s str,
    /// Nothing where the suite does not run the base.
    base: Option<&'s str>,
    method: &'s GeneratedText,
    /// Of a further method, nothing where there is none.
    further: Option<&'s str>,
}

impl Group<'_> {
    /// The method whose texts are shown beside those of the base and of `against`: the one that the
    /// suite names, or the first variant of SPRInG where `against` is none.
    fn shown_too(&self) -> Option<&SummaryRow> {
        let against = self.against?;
        let is_spring = |row: &SummaryRow| row.runs.starts_with("spring");
        let found = match &self.summary.show {
            Some(name) => self.rows.iter().find(|row| row.method == *name),
            None if is_spring(against) => None,
            None => self.rows.iter().find(|row| is_spring(row)),
        };
        found.copied().filter(|row| row.method != against.method && row.method != "base")
    }

    /// Some texts of the method that the others are tested against, beside others' and the
    /// person's own.
    pub(super) fn side_by_side(&self) -> Markup {
        let Some(row) = self.against else { return html! {} };
        let further = self.shown_too();
        let found = self.answers(&row.runs, further.map(|row| row.runs.as_str()));
        if found.is_empty() {
            return html! {};
        }
        // Runs of older versions do not say what was asked.
        let has_prompts = found.iter().any(|of| of.method.prompt.is_some());
        let of = |text: Option<&str>| text.map_or_else(|| cell("–"), |text| whole(text, LONGEST));
        let rows: Vec<Vec<Markup>> = found
            .iter()
            .map(|answers| {
                let GeneratedText { period, predicted, written, prompt, .. } = answers.method;
                let prompt = || match prompt {
                    Some(prompt) => whole(prompt, LONGEST_PROMPT),
                    None => cell("–"),
                };
                let mut cells = vec![cell(answers.user), cell(period.to_string())];
                cells.extend(has_prompts.then(prompt));
                cells.extend([of(answers.base), of(Some(predicted))]);
                cells.extend(further.map(|_| of(answers.further)));
                cells.push(of(Some(written)));
                cells
            })
            .collect();
        let mut columns = vec![Column::Word("user"), Column::Number("period")];
        columns.extend(has_prompts.then_some(Column::Text("prompt")));
        columns.extend([Column::Text("base"), Column::Text(&row.label)]);
        columns.extend(further.map(|row| Column::Text(&row.label)));
        columns.push(Column::Text("what the person wrote"));
        html! {
            h3 { "Texts side by side" } "\n"
            (table("Generated texts beside the person's own", &columns, &rows))
            p.note {
                "The latest texts of each user in turn, of the first seed; not chosen by their \
                 scores."
            }
            "\n"
        }
    }

    /// The latest text of each user, then the one before it, and so on; those of the first seed.
    fn answers(&self, method: &str, further: Option<&str>) -> Vec<Answers<'_>> {
        let seed = self.lines.first().map(|line| line.key.seed);
        let lines = self.lines.iter().filter(|line| Some(line.key.seed) == seed);
        let users: Vec<(&str, [&[GeneratedText]; 3])> = lines
            .map(|line| {
                let of = |name: &str| {
                    line.run.methods.get(name).map_or(&[][..], |run| run.generated.as_slice())
                };
                (line.key.user.as_str(), [of("base"), of(method), further.map_or(&[][..], of)])
            })
            .collect();
        let most = users.iter().map(|(_, [_, texts, _])| texts.len()).max().unwrap_or(0);
        let of_all = (0..most).flat_map(|back| {
            users.iter().filter_map(move |&(user, [base, texts, further])| {
                let place = texts.len().checked_sub(back + 1)?;
                let method = &texts[place];
                // All answer the same prompts in the same order.
                let same = |others: &'_ [GeneratedText]| {
                    others.get(place).is_some_and(|other| other.written == method.written)
                };
                let base = same(base).then(|| base[place].predicted.as_str());
                let further = same(further).then(|| further[place].predicted.as_str());
                Some(Answers { user, base, method, further })
            })
        });
        of_all.take(TEXTS).collect()
    }
}

/// A text with its line breaks, unless it is too long for a page.
fn whole(text: &str, longest: usize) -> Markup {
    let end = text.char_indices().nth(longest).map(|(place, _)| place);
    html! {
        span.verbatim {
            (clean(&text[..end.unwrap_or(text.len())])) @if end.is_some() { "…" }
        }
    }
}

//! Generated texts to look at: the base's, the method's and the person's own, side by side.

use maud::{Markup, html};
use spring_eval::GeneratedText;

use super::Group;
use crate::markup::{Column, cell, clean, table};

/// Texts on a page.
const TEXTS: usize = 12;

/// Characters of a text at most.
const LONGEST: usize = 1_000;

/// Texts that answer the same prompt.
struct Answers<'s> {
    user: &'s str,
    /// Nothing where the suite does not run the base.
    base: Option<&'s str>,
    method: &'s GeneratedText,
}

impl Group<'_> {
    /// Some texts of the method that the others are tested against.
    pub(super) fn side_by_side(&self) -> Markup {
        let Some(row) = self.against else { return html! {} };
        let found = self.answers(&row.runs);
        if found.is_empty() {
            return html! {};
        }
        let rows: Vec<Vec<Markup>> = found
            .iter()
            .map(|of| {
                let GeneratedText { period, predicted, written, .. } = of.method;
                vec![
                    cell(of.user),
                    cell(period.to_string()),
                    of.base.map_or_else(|| cell("–"), whole),
                    whole(predicted),
                    whole(written),
                ]
            })
            .collect();
        let columns = [
            Column::Word("user"),
            Column::Number("period"),
            Column::Text("base"),
            Column::Text(&row.label),
            Column::Text("what the person wrote"),
        ];
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
    fn answers(&self, method: &str) -> Vec<Answers<'_>> {
        let seed = self.lines.first().map(|line| line.key.seed);
        let lines = self.lines.iter().filter(|line| Some(line.key.seed) == seed);
        let users: Vec<(&str, &[GeneratedText], &[GeneratedText])> = lines
            .map(|line| {
                let of = |name: &str| {
                    line.run.methods.get(name).map_or(&[][..], |run| run.generated.as_slice())
                };
                (line.key.user.as_str(), of("base"), of(method))
            })
            .collect();
        let most = users.iter().map(|(_, _, texts)| texts.len()).max().unwrap_or(0);
        let of_all = (0..most).flat_map(|back| {
            users.iter().filter_map(move |&(user, base, texts)| {
                let place = texts.len().checked_sub(back + 1)?;
                let method = &texts[place];
                // Both answer the same prompts in the same order.
                let base = base.get(place).filter(|base| base.written == method.written);
                Some(Answers { user, base: base.map(|base| base.predicted.as_str()), method })
            })
        });
        of_all.take(TEXTS).collect()
    }
}

/// A text with its line breaks, unless it is too long for a page.
fn whole(text: &str) -> Markup {
    let end = text.char_indices().nth(LONGEST).map(|(place, _)| place);
    html! {
        span.verbatim {
            (clean(&text[..end.unwrap_or(text.len())])) @if end.is_some() { "…" }
        }
    }
}

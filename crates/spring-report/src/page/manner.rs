//! How a person writes, in what anybody can count: length, beginnings, endings.

use std::collections::BTreeMap;

use maud::{Markup, html};
use spring_core::StoredInteraction;

use super::Page;
use crate::{
    markup::{Column, cell, excerpt, number, percent, table},
    words::count,
};

/// Words of a last line that may be a signature.
const SIGNATURE: usize = 5;

/// Texts of a half, at least, for halves to be compared.
const OF_A_HALF: usize = 5;

impl Page<'_> {
    pub(super) fn manner(&self) -> Markup {
        let mut texts: Vec<&StoredInteraction> = self.report.texts.values().collect();
        texts.sort_by_key(|text| (text.interaction.time, text.seq));
        if texts.is_empty() {
            return html! { p { "No text has been read yet." } "\n" };
        }
        let (earlier, later) = texts.split_at(texts.len() / 2);
        let mut groups = vec![("all", Manner::of(&texts))];
        if earlier.len() >= OF_A_HALF {
            groups.push(("the earlier half", Manner::of(earlier)));
            groups.push(("the later half", Manner::of(later)));
        }
        let rows: Vec<Vec<Markup>> = groups.iter().map(|(name, manner)| manner.row(name)).collect();
        let columns = [
            Column::Label("texts"),
            Column::Number("words, median"),
            Column::Number("begin with a small letter"),
            Column::Label("first word, most often"),
            Column::Label("last line, most often"),
        ];
        html! {
            p {
                "Counted in the " (count(texts.len(), "text")) " that were learned or held out. \
                 It is what to compare a generated text with."
            }
            "\n"
            (table("How this person writes", &columns, &rows))
        }
    }
}

struct Manner {
    texts: usize,
    words: usize,
    small: usize,
    first: Option<(String, usize)>,
    last: Option<(String, usize)>,
}

impl Manner {
    fn of(texts: &[&StoredInteraction]) -> Self {
        let written = || texts.iter().map(|text| text.interaction.response.trim());
        let mut words: Vec<usize> = written().map(|text| text.split_whitespace().count()).collect();
        words.sort_unstable();
        let small = |text: &&str| text.chars().next().is_some_and(char::is_lowercase);
        let first = |text: &str| {
            let word = text.split_whitespace().next()?;
            Some(word.trim_matches(|sign: char| !sign.is_alphanumeric()).to_lowercase())
        };
        // What ends a text of one line is no signature.
        let last = |text: &str| {
            let (_, line) = text.rsplit_once('\n')?;
            let words = line.split_whitespace().count();
            (1..=SIGNATURE).contains(&words).then(|| line.trim().to_owned())
        };
        Self {
            texts: texts.len(),
            words: words.get(words.len() / 2).copied().unwrap_or(0),
            small: written().filter(small).count(),
            first: most_frequent(written().filter_map(first)),
            last: most_frequent(written().filter_map(last)),
        }
    }

    fn row(&self, name: &str) -> Vec<Markup> {
        let often = |found: &Option<(String, usize)>| match found {
            Some((what, times)) => {
                format!("“{}”, {times} of {}", excerpt(what, 40), self.texts)
            }
            None => "–".into(),
        };
        [
            format!("{name} ({})", self.texts),
            number(self.words as f64, 0),
            percent(self.small as f64 / self.texts.max(1) as f64),
            often(&self.first),
            often(&self.last),
        ]
        .map(cell)
        .into()
    }
}

/// What comes up most often, if it does so more than once; of equals the first in the alphabet.
fn most_frequent(all: impl Iterator<Item = String>) -> Option<(String, usize)> {
    let mut counts = BTreeMap::<String, usize>::new();
    for one in all.filter(|one| !one.is_empty()) {
        *counts.entry(one).or_default() += 1;
    }
    let most = counts.into_iter().rev().max_by_key(|(_, times)| *times);
    most.filter(|(_, times)| *times > 1)
}

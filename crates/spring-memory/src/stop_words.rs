//! The terms that prompts share because one template wrote them.

use std::collections::{BTreeMap, BTreeSet};

use crate::Tokenizer;

/// The terms that at least `share` (0 to 1) of the texts contain: with a user's prompts, the words
/// of the template that they were made from. They say nothing about the content, and with
/// rank_bm25's positive replacement of a negative idf they would still earn score. Empty for fewer
/// than two texts, which share everything by chance.
///
/// ```
/// use spring_memory::{Tokenizer, template_stop_words};
/// let prompts = ["Write a mail about lunch", "Write a mail about rent"];
/// let words = template_stop_words(prompts, Tokenizer::Whitespace, 0.9);
/// assert_eq!(Vec::from_iter(words), ["Write", "a", "about", "mail"]);
/// ```
pub fn template_stop_words<'t>(
    texts: impl IntoIterator<Item = &'t str>,
    tokenizer: Tokenizer,
    share: f64,
) -> BTreeSet<String> {
    let mut frequencies: BTreeMap<String, usize> = BTreeMap::new();
    let mut texts_seen = 0;
    for text in texts {
        texts_seen += 1;
        let terms: BTreeSet<_> = tokenizer.terms(text).into_iter().collect();
        for term in terms {
            *frequencies.entry(term.into_owned()).or_default() += 1;
        }
    }
    let needed = share * texts_seen as f64;
    frequencies
        .into_iter()
        .filter(|&(_, frequency)| texts_seen > 1 && frequency as f64 >= needed)
        .map(|(term, _)| term)
        .collect()
}

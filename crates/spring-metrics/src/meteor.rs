//! METEOR as nltk's `single_meteor_score` computes it with an empty WordNet: Lavie & Agarwal,
//! "METEOR: An Automatic Metric for MT Evaluation with High Levels of Correlation with Human
//! Judgments", 2007.

use std::collections::HashMap;

use spring_numerics::whitespace::split_as_python;

use crate::porter;

const ALPHA: f64 = 0.9;
const BETA: f64 = 3.0;
const GAMMA: f64 = 0.5;

/// Scores a prediction against a reference, 0 to 1; an empty text gives 0.
///
/// Words are what white space separates, in lower case and with their punctuation. Equal words are
/// aligned first, then equal stems; from the back, each to the latest free one, which is nltk's
/// order.
pub fn meteor(prediction: &str, reference: &str) -> f64 {
    let (mut prediction, mut reference) = (words(prediction), words(reference));
    let (predicted, expected) = (prediction.len(), reference.len());
    let mut matches = align(&mut prediction, &mut reference);
    for (_, word) in prediction.iter_mut().chain(&mut reference) {
        *word = porter::stem(word);
    }
    matches.extend(align(&mut prediction, &mut reference));
    if matches.is_empty() {
        return 0.0;
    }
    matches.sort_unstable();
    let count = matches.len() as f64;
    let chunks = 1 + matches.windows(2).filter(|w| (w[0].0 + 1, w[0].1 + 1) != w[1]).count();
    let (precision, recall) = (count / predicted as f64, count / expected as f64);
    let mean = precision * recall / (ALPHA * precision + (1.0 - ALPHA) * recall);
    (1.0 - GAMMA * (chunks as f64 / count).powf(BETA)) * mean
}

type Words = Vec<(usize, String)>;

fn words(text: &str) -> Words {
    split_as_python(text).map(str::to_lowercase).enumerate().collect()
}

/// Pairs of positions of equal words; what is paired leaves both lists.
fn align(prediction: &mut Words, reference: &mut Words) -> Vec<(usize, usize)> {
    let mut free: HashMap<&str, Vec<usize>> = HashMap::new();
    for (position, word) in &*reference {
        free.entry(word).or_default().push(*position);
    }
    let latest =
        |(position, word): &(usize, String)| Some((*position, free.get_mut(word.as_str())?.pop()?));
    let matches: Vec<(usize, usize)> = prediction.iter().rev().filter_map(latest).collect();
    let (mut from, mut to): (Vec<usize>, Vec<usize>) = matches.iter().copied().unzip();
    from.sort_unstable();
    to.sort_unstable();
    prediction.retain(|(position, _)| from.binary_search(position).is_err());
    reference.retain(|(position, _)| to.binary_search(position).is_err());
    matches
}

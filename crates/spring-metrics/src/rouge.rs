//! ROUGE-1, ROUGE-2 and ROUGE-L as the package `rouge_score` computes them without stemming: C.-Y.
//! Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004.

use std::collections::HashMap;

/// F-measures of one prediction, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Rouge {
    /// Over single words.
    pub rouge1: f64,
    /// Over pairs of neighbouring words.
    pub rouge2: f64,
    /// Over the longest common subsequence of words.
    pub rouge_l: f64,
}

/// Scores a prediction against a reference. Words are the runs of a-z and 0-9 in the lower-cased
/// text; an empty text gives 0.
pub fn rouge(prediction: &str, reference: &str) -> Rouge {
    let (prediction, reference) = (prediction.to_lowercase(), reference.to_lowercase());
    let (prediction, reference) = (words(&prediction), words(&reference));
    Rouge {
        rouge1: ngrams(&prediction, &reference, 1),
        rouge2: ngrams(&prediction, &reference, 2),
        rouge_l: f_measure(
            longest_common(&prediction, &reference),
            prediction.len(),
            reference.len(),
        ),
    }
}

fn words(text: &str) -> Vec<&str> {
    let other = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit());
    text.split(other).filter(|word| !word.is_empty()).collect()
}

fn ngrams(prediction: &[&str], reference: &[&str], n: usize) -> f64 {
    let mut left: HashMap<&[&str], usize> = HashMap::new();
    for ngram in reference.windows(n) {
        *left.entry(ngram).or_default() += 1;
    }
    let mut hits = 0;
    for ngram in prediction.windows(n) {
        if let Some(count) = left.get_mut(ngram).filter(|count| **count > 0) {
            *count -= 1;
            hits += 1;
        }
    }
    let of = |words: &[&str]| (words.len() + 1).saturating_sub(n);
    f_measure(hits, of(prediction), of(reference))
}

/// The length of the longest common subsequence, in two rows of the usual table.
fn longest_common(a: &[&str], b: &[&str]) -> usize {
    let mut above = vec![0; b.len() + 1];
    let mut row = above.clone();
    for word in a {
        for (j, other) in b.iter().enumerate() {
            row[j + 1] = if word == other { above[j] + 1 } else { row[j].max(above[j + 1]) };
        }
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

fn f_measure(hits: usize, predicted: usize, expected: usize) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    let (precision, recall) = (hits as f64 / predicted as f64, hits as f64 / expected as f64);
    2.0 * precision * recall / (precision + recall)
}

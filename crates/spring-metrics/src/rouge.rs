//! ROUGE-1, ROUGE-2 and ROUGE-L as the package `rouge_score` computes them without stemming: C.-Y.
//! Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004.
//!
//! Hand-written, because the crate `rougers` 0.2.1, which has the same numbers on the fixtures,
//! falls back to the quadratic table where long texts have many different words.

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
///
/// Texts of m and n words take O(m + n) memory and at most m · n / 512 steps for ROUGE-L: some
/// seconds for two texts of half a million words each.
pub fn rouge(prediction: &str, reference: &str) -> Rouge {
    let (prediction, reference) = (prediction.to_lowercase(), reference.to_lowercase());
    let mut ids = HashMap::new();
    let prediction = numbered(&prediction, &mut ids);
    let reference = numbered(&reference, &mut ids);
    let (predicted, expected) = (prediction.len(), reference.len());
    let kinds = ids.len();
    drop(ids);
    Rouge {
        rouge1: ngrams(&prediction, &reference, 1),
        rouge2: ngrams(&prediction, &reference, 2),
        rouge_l: f_measure(longest_common(&prediction, &reference, kinds), predicted, expected),
    }
}

/// The words of a text; equal words have equal numbers.
fn numbered<'t>(text: &'t str, ids: &mut HashMap<&'t str, u32>) -> Vec<u32> {
    let other = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit());
    let words = text.split(other).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let next = ids.len() as u32;
            *ids.entry(word).or_insert(next)
        })
        .collect()
}

fn ngrams(prediction: &[u32], reference: &[u32], n: usize) -> f64 {
    let mut left: HashMap<&[u32], usize> = HashMap::new();
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
    let of = |words: &[u32]| (words.len() + 1).saturating_sub(n);
    f_measure(hits, of(prediction), of(reference))
}

/// Integers that hold the bits of a block of columns.
const WORDS: usize = 8;

/// The length of the longest common subsequence of words below `kinds`, 512 columns of the usual
/// table at a time: H. Hyyrö, "Bit-parallel LCS-length computation revisited", 2004.
///
/// A column's bit is 0 where the length grows from the column before it. The usual order is row
/// after row, with a mask of all columns for every word; this one is block after block, with masks
/// of the block's own words and one bit of carry for every row, so that memory stays linear.
fn longest_common(a: &[u32], b: &[u32], kinds: usize) -> usize {
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[head..], &b[head..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
    // A word of one text alone is in no common sequence.
    let shared = |text: &[u32], other: &[u32]| -> Vec<u32> {
        let mut is_there = vec![false; kinds];
        other.iter().for_each(|word| is_there[*word as usize] = true);
        text.iter().copied().filter(|word| is_there[*word as usize]).collect()
    };
    let (a, b) = (shared(a, b), shared(b, a));
    let (rows, columns) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut carries = vec![false; rows.len()];
    // Which mask a word has in the block; the first one is that of all others, without a column.
    let mut mask_of = vec![0u16; kinds];
    let mut masks = Vec::with_capacity(64 * WORDS + 1);
    let mut length = 0;
    for block in columns.chunks(64 * WORDS) {
        masks.clear();
        masks.push([0u64; WORDS]);
        for (column, word) in block.iter().enumerate() {
            let place = &mut mask_of[*word as usize];
            if *place == 0 {
                *place = masks.len() as u16;
                masks.push([0; WORDS]);
            }
            masks[usize::from(*place)][column / 64] |= 1 << (column % 64);
        }
        let mut bits = [u64::MAX; WORDS];
        for (word, carried) in rows.iter().zip(&mut carries) {
            let place = mask_of[*word as usize];
            if place == 0 && !*carried {
                continue;
            }
            let mut carry = *carried;
            for (bits, mask) in bits.iter_mut().zip(&masks[usize::from(place)]) {
                let sum;
                (sum, carry) = bits.carrying_add(*bits & mask, carry);
                *bits = sum | (*bits & !mask);
            }
            *carried = carry;
        }
        // Columns behind the last one match nothing, so their bits stay 1.
        length += bits.iter().map(|bits| bits.count_zeros() as usize).sum::<usize>();
        block.iter().for_each(|word| mask_of[*word as usize] = 0);
    }
    head + length + tail
}

fn f_measure(hits: usize, predicted: usize, expected: usize) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    let (precision, recall) = (hits as f64 / predicted as f64, hits as f64 / expected as f64);
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The usual table, in two rows.
    fn by_the_table(a: &[u32], b: &[u32]) -> usize {
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

    #[test]
    fn many_columns_at_a_time_give_the_table_s_length() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for round in 0..300 {
            let kinds = [1, 2, 5, 40, 1000][round % 5];
            let mut words = || -> Vec<u32> {
                let length = [0, 1, 63, 64, 65, 300, 513, 1100][rng.random_range(0..8)];
                (0..length).map(|_| rng.random_range(0..kinds)).collect()
            };
            let (a, b) = (words(), words());
            let length = longest_common(&a, &b, kinds as usize);
            assert_eq!(length, by_the_table(&a, &b), "{a:?} {b:?}");
        }
    }
}

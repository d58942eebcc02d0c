//! A user's stream in periods, each with a training part and a held-out test part.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use spring_core::{StoredInteraction, period_ranges};

/// Test texts at least this alike to a training text are dropped.
pub const NEAR_DUPLICATE: f64 = 0.8;

/// One period of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The period, from 1.
    pub period: u32,
    /// What may be learned.
    pub train: Vec<StoredInteraction>,
    /// The latest texts, set aside; near-duplicates of training texts are gone.
    pub test: Vec<StoredInteraction>,
    /// How many near-duplicates are gone.
    pub dropped: usize,
}

/// How a stream was cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    /// Periods of equal count.
    pub periods: u32,
    /// Part of each, its latest texts, that is the test part.
    pub hold_out: f64,
}

/// Cuts a stream, given in the order of time, as the state would.
pub fn split(texts: &[StoredInteraction], config: SplitConfig) -> Vec<Split> {
    let ranges = period_ranges(texts.len(), config.periods, config.hold_out);
    let training: Vec<&StoredInteraction> =
        ranges.iter().flat_map(|(train, _)| &texts[train.clone()]).collect();
    ranges
        .iter()
        .zip(1..)
        .map(|((train, test), period)| {
            let mut test = texts[test.clone()].to_vec();
            let dropped = drop_near_duplicates(&mut test, &training);
            Split { period, train: texts[train.clone()].to_vec(), test, dropped }
        })
        .collect()
}

/// Takes test texts away that nearly equal a training text; returns how many.
pub(crate) fn drop_near_duplicates(
    test: &mut Vec<StoredInteraction>,
    training: &[&StoredInteraction],
) -> usize {
    let training: Vec<HashSet<&str>> = training.iter().map(|text| words(text)).collect();
    let before = test.len();
    test.retain(|text| {
        let own = words(text);
        !training.iter().any(|other| jaccard(&own, other) > NEAR_DUPLICATE)
    });
    before - test.len()
}

fn words(text: &StoredInteraction) -> HashSet<&str> {
    text.interaction.response.split_whitespace().collect()
}

fn jaccard(a: &HashSet<&str>, b: &HashSet<&str>) -> f64 {
    let both = a.intersection(b).count();
    let either = a.len() + b.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spring_core::spring_memory::Interaction;

    fn text(seq: u64, response: &str) -> StoredInteraction {
        let interaction: Interaction = serde_json::from_value(serde_json::json!({
            "user": "u", "id": format!("i{seq}"), "time": "2024-01-01T00:00:00Z", "prompt": "p", "response": response
        }))
        .unwrap();
        StoredInteraction { seq, interaction, base: None }
    }

    #[test]
    fn near_duplicates_of_training_texts_leave_the_test_part() {
        let common = "one two three four five six seven eight nine ten";
        let mut texts: Vec<_> =
            (0..10).map(|i| text(i, &format!("text number {i} of a short stream"))).collect();
        texts[2] = text(2, common);
        texts[8] = text(8, &format!("{common} eleven"));
        texts[9] = text(9, "something else altogether");
        let config = SplitConfig { periods: 1, hold_out: 0.2 };
        let splits = split(&texts, config);
        assert_eq!((splits.len(), splits[0].train.len(), splits[0].dropped), (1, 8, 1));
        assert_eq!(splits[0].test.iter().map(|t| t.seq).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn likeness_is_jaccard() {
        let set = |words: &'static str| words.split(' ').collect::<HashSet<_>>();
        assert_eq!(jaccard(&set("a b c"), &set("b c d")), 0.5);
        assert_eq!(jaccard(&HashSet::new(), &HashSet::new()), 0.0);
    }
}

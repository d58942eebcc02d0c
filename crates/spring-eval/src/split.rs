//! A user's stream in periods, each with a training part and a held-out test part.

use std::{collections::HashSet, ops::Range};

use serde::{Deserialize, Serialize};
use spring_core::{Period, StoredInteraction, period_ranges, spring_memory::Interaction};
use spring_data::Stream;

/// Test texts more alike than this to a training text are dropped.
pub const NEAR_DUPLICATE: f64 = 0.8;
/// Responses of fewer words, such as labels and ratings, are alike by chance: there the prompts
/// must be alike as well.
const FEW_WORDS: usize = 5;

/// A stream's texts, numbered from 1 in the order of time as a state would number them.
pub fn stored(stream: &Stream) -> Vec<StoredInteraction> {
    let numbered = stream.texts.iter().cloned().zip(1..);
    numbered.map(|(interaction, seq)| StoredInteraction::new(seq, interaction)).collect()
}

/// One period of a user.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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

impl Split {
    /// What a [`Learner`](spring_core::Learner) learns of it.
    pub(crate) fn learnable(&self) -> Period<'_> {
        Period::new(self.period, &self.train).holding_out(self.test.len())
    }
}

/// How a stream was cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SplitConfig {
    /// Periods of equal count.
    pub periods: u32,
    /// Part of each, its latest texts, that is the test part.
    pub hold_out: f64,
}

impl SplitConfig {
    /// Periods of equal count, and the part of each that is held out.
    pub fn new(periods: u32, hold_out: f64) -> Self {
        Self { periods, hold_out }
    }
}

/// Cuts a stream, given in the order of time, as the state would.
pub fn split(texts: &[StoredInteraction], config: SplitConfig) -> Vec<Split> {
    split_at(texts, &period_ranges(texts.len(), config.periods, config.hold_out))
}

fn split_at(texts: &[StoredInteraction], ranges: &[(Range<usize>, Range<usize>)]) -> Vec<Split> {
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

/// How streams are cut for the matrix R\[t\]\[i\].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PeriodRule {
    /// Most periods. Default 5.
    pub periods: u32,
    /// Part of each period, its latest texts, that is the test part. Default 0.1.
    pub hold_out: f64,
    /// Fewest texts of a training part. Default 8.
    pub min_train: usize,
    /// Fewest texts of a test part, which is made larger than `hold_out` for it; near-duplicates do
    /// not count. Default 2.
    pub min_test: usize,
}

impl Default for PeriodRule {
    fn default() -> Self {
        Self { periods: 5, hold_out: 0.1, min_train: 8, min_test: 2 }
    }
}

spring_numerics::setters! {
    PeriodRule {
        with_periods(periods: u32);
        with_hold_out(hold_out: f64);
        with_min_train(min_train: usize);
        with_min_test(min_test: usize);
    }
}

impl PeriodRule {
    /// Cuts a stream into as many periods as its texts allow, at most `periods` and at least 2.
    ///
    /// # Errors
    ///
    /// The reason why not even two periods are possible.
    pub fn cut(&self, texts: &[StoredInteraction]) -> Result<Vec<Split>, String> {
        let most =
            (texts.len() / (self.min_train + self.min_test).max(1)).min(self.periods as usize);
        let fits = |splits: &Vec<Split>| {
            splits.iter().all(|s| s.train.len() >= self.min_train && s.test.len() >= self.min_test)
        };
        let cuts = (2..=most as u32).rev().map(|periods| self.cut_into(texts, periods));
        cuts.into_iter().find(fits).ok_or_else(|| {
            format!(
                "{} texts give no two periods of at least {} training and {} test texts without \
                 near-duplicates",
                texts.len(),
                self.min_train,
                self.min_test
            )
        })
    }

    /// Test parts that near-duplicates leave too small grow as long as their training part allows
    /// it.
    fn cut_into(&self, texts: &[StoredInteraction], periods: u32) -> Vec<Split> {
        let whole = period_ranges(texts.len(), periods, self.hold_out);
        let mut held_out: Vec<usize> =
            whole.iter().map(|(_, test)| test.len().max(self.min_test)).collect();
        loop {
            let ranges: Vec<_> = whole
                .iter()
                .zip(&held_out)
                .map(|((train, test), held_out)| {
                    let from = test.end - (*held_out).min(test.end - train.start);
                    (train.start..from, from..test.end)
                })
                .collect();
            let splits = split_at(texts, &ranges);
            let short = |split: &Split| {
                split.test.len() < self.min_test && split.train.len() > self.min_train
            };
            if !splits.iter().any(short) {
                return splits;
            }
            splits
                .iter()
                .zip(&mut held_out)
                .for_each(|(split, held_out)| *held_out += usize::from(short(split)));
        }
    }
}

/// Takes test texts away that nearly equal a training text; returns how many.
pub(crate) fn drop_near_duplicates(
    test: &mut Vec<StoredInteraction>,
    training: &[&StoredInteraction],
) -> usize {
    let training = Known::of(training.iter().map(|text| &text.interaction));
    let before = test.len();
    test.retain(|text| !training.has_like(&text.interaction));
    before - test.len()
}

/// Texts by their words, to tell what nearly equals one of them.
pub(crate) struct Known<'t>(Vec<[HashSet<&'t str>; 2]>);

impl<'t> Known<'t> {
    pub(crate) fn of(texts: impl IntoIterator<Item = &'t Interaction>) -> Self {
        Self(texts.into_iter().map(words).collect())
    }

    pub(crate) fn has_like(&self, text: &Interaction) -> bool {
        let [prompt, response] = words(text);
        let alike = |a: &HashSet<&str>, b: &HashSet<&str>| a == b || jaccard(a, b) > NEAR_DUPLICATE;
        self.0.iter().any(|[other_prompt, other]| {
            alike(&response, other) && (response.len() >= FEW_WORDS || alike(&prompt, other_prompt))
        })
    }
}

/// The words of prompt and response.
fn words(text: &Interaction) -> [HashSet<&str>; 2] {
    [&text.prompt, &text.response].map(|text| text.split_whitespace().collect())
}

fn jaccard(a: &HashSet<&str>, b: &HashSet<&str>) -> f64 {
    let both = a.intersection(b).count();
    let either = a.len() + b.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seq: u64, response: &str) -> StoredInteraction {
        let interaction: Interaction = serde_json::from_value(serde_json::json!({
            "user": "u", "id": format!("i{seq}"), "time": "2024-01-01T00:00:00Z",
            "prompt": "p", "response": response
        }))
        .unwrap();
        StoredInteraction::new(seq, interaction)
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
    fn equal_labels_of_different_texts_are_no_duplicates() {
        let rating = |seq: u64, prompt: &str| {
            let mut text = text(seq, "5");
            text.interaction.prompt = prompt.into();
            text
        };
        let texts: Vec<_> = (0..9)
            .map(|i| rating(i, &format!("what is the score of review {i} {}", i * i)))
            .collect();
        let config = SplitConfig { periods: 1, hold_out: 0.2 };
        let kept = |texts: &[StoredInteraction]| split(texts, config)[0].test.len();
        assert_eq!(kept(&[texts.clone(), vec![rating(9, "is this one as good")]].concat()), 2);
        assert_eq!(
            kept(&[texts.clone(), vec![rating(9, &texts[3].interaction.prompt)]].concat()),
            1
        );
    }

    #[test]
    fn a_stream_gets_as_many_periods_as_it_can_fill() {
        let words = ["moss", "boat", "rain", "lamp", "road", "salt", "wind"];
        let stream = |n: u64| -> Vec<StoredInteraction> {
            let word = |i: u64, step: u64| words[(i * step % 7) as usize];
            (0..n)
                .map(|i| text(i, &format!("{i} {} {} n{}", word(i, 1), word(i, 3), i * i)))
                .collect()
        };
        let rule = PeriodRule::default();
        let sizes = |n| {
            let splits = rule.cut(&stream(n)).unwrap();
            splits.iter().map(|s| (s.train.len(), s.test.len())).collect::<Vec<_>>()
        };
        assert_eq!(sizes(20), [(8, 2), (8, 2)]);
        assert_eq!(sizes(49), [(11, 2), (10, 2), (10, 2), (10, 2)]);
        assert_eq!(sizes(200), [(36, 4); 5]);
        assert!(rule.cut(&stream(19)).unwrap_err().starts_with("19 texts give no two periods"));
        // A near-duplicate in the last test part costs a period, and there a training text.
        let mut texts = stream(30);
        texts[29] = text(29, &texts[0].interaction.response);
        let splits = rule.cut(&texts).unwrap();
        assert_eq!((splits.len(), splits[1].dropped, splits[1].test.len()), (2, 1, 2));
    }

    #[test]
    fn likeness_is_jaccard() {
        let set = |words: &'static str| words.split(' ').collect::<HashSet<_>>();
        assert_eq!(jaccard(&set("a b c"), &set("b c d")), 0.5);
        assert_eq!(jaccard(&HashSet::new(), &HashSet::new()), 0.0);
    }
}

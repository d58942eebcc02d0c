//! ROUGE and METEOR of texts.

use serde::{Deserialize, Serialize};
use spring_numerics::setters;

use crate::{Rouge, meteor, rouge};

/// The scores of a text, or their means over some texts; each 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TextScores {
    /// F-measure of ROUGE-1.
    pub rouge1: f64,
    /// F-measure of ROUGE-2.
    pub rouge2: f64,
    /// F-measure of ROUGE-L.
    #[serde(rename = "rougeL")]
    pub rouge_l: f64,
    /// METEOR.
    pub meteor: f64,
}

setters! {
    TextScores {
        with_rouge1(rouge1: f64);
        with_rouge2(rouge2: f64);
        with_rouge_l(rouge_l: f64);
        with_meteor(meteor: f64);
    }
}

impl TextScores {
    /// The scores of one prediction.
    pub fn of(prediction: &str, reference: &str) -> Self {
        let Rouge { rouge1, rouge2, rouge_l } = rouge(prediction, reference);
        Self { rouge1, rouge2, rouge_l, meteor: meteor(prediction, reference) }
    }

    /// The mean; `None` of nothing.
    pub fn mean(scores: &[Self]) -> Option<Self> {
        let of =
            |value: fn(&Self) -> f64| scores.iter().map(value).sum::<f64>() / scores.len() as f64;
        (!scores.is_empty()).then(|| Self {
            rouge1: of(|s| s.rouge1),
            rouge2: of(|s| s.rouge2),
            rouge_l: of(|s| s.rouge_l),
            meteor: of(|s| s.meteor),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity_with_rouge_score_and_nltk() {
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/metrics.json")).unwrap();
        let pairs = fixture["pairs"].as_array().unwrap();
        assert!(pairs.len() > 50);
        for pair in pairs {
            let text = |key: &str| pair[key].as_str().unwrap();
            let scores = TextScores::of(text("prediction"), text("reference"));
            let scores = serde_json::to_value(scores).unwrap();
            for metric in ["rouge1", "rouge2", "rougeL", "meteor"] {
                let (ours, theirs) =
                    (scores[metric].as_f64().unwrap(), pair[metric].as_f64().unwrap());
                assert!(
                    (ours - theirs).abs() < 1e-6,
                    "{metric}: {ours} instead of {theirs} for {pair}"
                );
            }
        }
    }

    /// A line of a file may have a megabyte: half a million words, or one.
    #[test]
    fn long_texts_are_scored_in_seconds() {
        let begin = std::time::Instant::now();
        let (one, other) = ("a b ".repeat(1 << 17), "b c d ".repeat(1 << 16));
        let scores = TextScores::of(&one, &other);
        // The b of the other text are a common sequence, and it has no a.
        let expected = 2.0 * 65_536.0 / (262_144.0 + 196_608.0);
        assert!((scores.rouge_l - expected).abs() < 1e-12);
        assert_eq!(TextScores::of(&one, &one).rouge_l, 1.0);
        let word = "x".repeat(1 << 20);
        assert_eq!(TextScores::of(&word, &word).rouge_l, 1.0);
        let kinds: String = (0..100_000).map(|kind| format!("w{kind} ")).collect();
        let turned: String = (0..100_000).rev().map(|kind| format!("w{kind} ")).collect();
        assert!((TextScores::of(&kinds, &turned).rouge_l - 1e-5).abs() < 1e-12);
        assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
    }

    #[test]
    fn means() {
        let scores = [TextScores::of("a b", "a b"), TextScores::of("", "a")];
        let mean = TextScores::mean(&scores).unwrap();
        assert_eq!((mean.rouge1, mean.rouge_l), (0.5, 0.5));
        assert_eq!(TextScores::mean(&[]), None);
    }
}

//! Accuracy and F1 of predicted labels, MAE and RMSE of predicted numbers: LaMP-1, LaMP-2 and
//! LaMP-3.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

/// How well labels were predicted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LabelScores {
    /// Share of equal labels.
    pub accuracy: f64,
    /// Unweighted mean over the labels of the references of F1 = 2·TP / (2·TP + FP + FN).
    pub f1: f64,
}

/// Compares labels as texts, without white space around them; `None` if there are none. Both slices
/// have the same length.
///
/// F1 is the macro average over the labels that occur among the references. LaMP averages over all
/// labels of the task: a label that the references lack counts 0 there and is left out here.
pub fn label_scores(predictions: &[String], references: &[String]) -> Option<LabelScores> {
    #[derive(Default)]
    struct Counts {
        hits: usize,
        predicted: usize,
        expected: usize,
    }
    let mut labels: HashMap<&str, Counts> = HashMap::new();
    let (mut pairs, mut hits) = (0usize, 0usize);
    for (prediction, reference) in predictions.iter().zip(references) {
        let (prediction, reference) = (prediction.trim(), reference.trim());
        labels.entry(prediction).or_default().predicted += 1;
        let label = labels.entry(reference).or_default();
        label.expected += 1;
        label.hits += usize::from(prediction == reference);
        pairs += 1;
        hits += usize::from(prediction == reference);
    }
    // In order, so that the sum is the same to the last bit.
    let expected: BTreeMap<&str, Counts> =
        labels.into_iter().filter(|(_, counts)| counts.expected > 0).collect();
    let f1 = |counts: &Counts| {
        2.0 * counts.hits as f64 / (counts.predicted as f64 + counts.expected as f64)
    };
    (pairs > 0).then(|| LabelScores {
        accuracy: hits as f64 / pairs as f64,
        f1: expected.values().map(f1).sum::<f64>() / expected.len() as f64,
    })
}

/// The ends of LaMP-3's scale.
const SCALE: [f64; 2] = [1.0, 5.0];

/// How far numbers were from the truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NumberScores {
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Predictions that were not numbers; each counts as the end of the scale, 1 or 5, that is
    /// farther from its reference.
    pub unreadable: usize,
}

/// Compares ratings from 1 to 5. A prediction that is not a number counts as the end of that scale
/// that is farther from its reference, as in LaMP's evaluation, whatever references there are;
/// `None` if there is nothing to compare or a reference is not a finite number. Both slices have
/// the same length.
pub fn number_scores(predictions: &[String], references: &[String]) -> Option<NumberScores> {
    let number = |text: &String| text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
    let references: Vec<f64> = references.iter().map(number).collect::<Option<_>>()?;
    if references.is_empty() {
        return None;
    }
    let mut unreadable = 0;
    let errors: Vec<f64> = predictions
        .iter()
        .zip(&references)
        .map(|(prediction, reference)| match number(prediction) {
            Some(prediction) => (prediction - reference).abs(),
            None => {
                unreadable += 1;
                SCALE.iter().map(|end| (end - reference).abs()).fold(0.0, f64::max)
            }
        })
        .collect();
    let n = errors.len() as f64;
    Some(NumberScores {
        mae: errors.iter().sum::<f64>() / n,
        rmse: (errors.iter().map(|e| e * e).sum::<f64>() / n).sqrt(),
        unreadable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn labels() {
        let references = texts(["a", "a", "b", "c"]);
        let scores = label_scores(&texts(["a ", "b", "b", "x"]), &references).unwrap();
        assert_eq!(scores.accuracy, 0.5);
        // a: 2·1/(1+2), b: 2·1/(2+1), c: 0.
        assert!((scores.f1 - (2.0 / 3.0 + 2.0 / 3.0) / 3.0).abs() < 1e-15);
        assert_eq!(label_scores(&[], &[]), None);
    }

    #[test]
    fn numbers() {
        let references = texts(["1", "5.0", "4"]);
        let scores = number_scores(&texts(["2", "great", " 4 "]), &references).unwrap();
        assert_eq!((scores.mae, scores.unreadable), (5.0 / 3.0, 1));
        assert!((scores.rmse - (17.0f64 / 3.0).sqrt()).abs() < 1e-15);
        // The scale ends at 1 and 5, whatever occurs among the references.
        let scores = number_scores(&texts(["good", "bad"]), &texts(["4", "3"])).unwrap();
        assert_eq!((scores.mae, scores.unreadable), ((3.0 + 2.0) / 2.0, 2));
        assert_eq!(number_scores(&texts(["1"]), &texts(["one"])), None);
        assert_eq!(number_scores(&[], &[]), None);
    }
}

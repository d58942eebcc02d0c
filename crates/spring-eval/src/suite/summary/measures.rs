//! Scores beside the loss of which every user has one: with intervals over users, and tests.

use std::collections::BTreeMap;

use serde::Serialize;
use spring_metrics::{Interval, TextScores, UserScores, average_seeds, bootstrap, paired_test};

use super::{SEED, difference::Difference};
use crate::{MethodRun, RunLine, SyntheticScores};

/// A score beside the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measure {
    /// F-measure of ROUGE-1, mean over the user's generated texts.
    Rouge1,
    /// The same of ROUGE-2.
    Rouge2,
    /// The same of ROUGE-L.
    RougeL,
    /// METEOR, mean over the same texts.
    Meteor,
    /// Share of the generated texts that are attributed to their user.
    Attributed,
    /// Precision of the selection for new preference, mean over the later periods; so are the next
    /// three and the stale rate.
    Precision,
    /// Recall of the selection for new preference.
    Recall,
    /// Share of the selected texts that are no noise.
    Clean,
    /// Share of the texts that are no noise that were selected.
    CleanRecall,
    /// Nats per byte of the person after a turning point, right after each period.
    TurnLoss,
    /// How much that person's loss fell from the turning point to the end, nats per byte.
    TurnGain,
    /// Periods until 80 % of that was reached; of users with a gain alone.
    TurnDelay,
    /// The stale-preference rate.
    Stale,
    /// Share of the texts written after a turning point that are attributed to the person before.
    StaleWritten,
}

impl Measure {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 14] = [
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
        Self::Meteor,
        Self::Attributed,
        Self::Precision,
        Self::Recall,
        Self::Clean,
        Self::CleanRecall,
        Self::TurnLoss,
        Self::TurnGain,
        Self::TurnDelay,
        Self::Stale,
        Self::StaleWritten,
    ];

    /// The column of its mean in `summary.csv`.
    pub fn column(self) -> &'static str {
        match self {
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
            Self::Meteor => "meteor",
            Self::Attributed => "attributed",
            Self::Precision => "selection_precision",
            Self::Recall => "selection_recall",
            Self::Clean => "selection_clean",
            Self::CleanRecall => "clean_recall",
            Self::TurnLoss => "turn_loss",
            Self::TurnGain => "turn_gain",
            Self::TurnDelay => "turn_delay",
            Self::Stale => "stale_rate",
            Self::StaleWritten => "stale_written",
        }
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rouge1 => "ROUGE-1",
            Self::Rouge2 => "ROUGE-2",
            Self::RougeL => "ROUGE-L",
            Self::Meteor => "METEOR",
            Self::Attributed => "attributed",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::Clean => "clean",
            Self::CleanRecall => "clean learned",
            Self::TurnLoss => "loss after the turn",
            Self::TurnGain => "gain after the turn",
            Self::TurnDelay => "delay",
            Self::Stale => "stale",
            Self::StaleWritten => "stale, written",
        }
    }

    /// Decimals that it is shown with: as many as losses have, if it is one.
    pub fn decimals(self) -> usize {
        match self {
            Self::TurnLoss | Self::TurnGain => 4,
            _ => 3,
        }
    }
}

/// A score of a method: its mean over the users who have one, and how it differs from the method
/// that the others are tested against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MeasureScore {
    /// Which score.
    pub measure: Measure,
    /// Mean over users, each user's seeds averaged first, and its interval.
    pub score: Interval,
    /// Less that of the method in `against`, over the users who have both; `None` for that method
    /// itself.
    pub difference: Option<Difference>,
}

/// A method's scores of every user, seeds averaged; no entry where nobody has one.
pub(super) type UserMeasures = BTreeMap<Measure, UserScores>;

/// All scores of a method.
pub(super) fn user_measures(lines: &[&RunLine], method: &str) -> UserMeasures {
    let mut values: BTreeMap<Measure, Vec<(&str, f64)>> = BTreeMap::new();
    for line in lines {
        let Some(run) = line.run.methods.get(method) else { continue };
        for (measure, value) in of_run(run, line) {
            if value.is_finite() {
                values.entry(measure).or_default().push((line.key.user.as_str(), value));
            }
        }
    }
    values.into_iter().map(|(measure, values)| (measure, average_seeds(values))).collect()
}

/// What a run has.
fn of_run(run: &MethodRun, line: &RunLine) -> Vec<(Measure, f64)> {
    let texts = run.generated.iter();
    let texts: Vec<TextScores> =
        texts.map(|text| TextScores::of(&text.predicted, &text.written)).collect();
    let texts = TextScores::mean(&texts);
    // The first period is learned whole.
    let later = |value: fn(&SyntheticScores) -> Option<f64>| -> Option<f64> {
        let scores: Vec<f64> = run.synthetic.iter().skip(1).filter_map(value).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    };
    let turn = line.run.turn.and_then(|turn| run.turn(turn));
    let value = |measure: Measure| match measure {
        Measure::Rouge1 => texts.map(|texts| texts.rouge1),
        Measure::Rouge2 => texts.map(|texts| texts.rouge2),
        Measure::RougeL => texts.map(|texts| texts.rouge_l),
        Measure::Meteor => texts.map(|texts| texts.meteor),
        Measure::Attributed => run.attributed,
        Measure::Precision => later(|scores| scores.selection.precision),
        Measure::Recall => later(|scores| scores.selection.recall),
        Measure::Clean => later(|scores| scores.selection.clean),
        Measure::CleanRecall => later(|scores| scores.selection.clean_recall),
        Measure::TurnLoss => turn.map(|turn| turn.loss),
        Measure::TurnGain => turn.map(|turn| turn.gain),
        Measure::TurnDelay => turn.and_then(|turn| turn.delay).map(|delay| delay as f64),
        Measure::Stale => later(|scores| scores.stale),
        Measure::StaleWritten => run.stale_written,
    };
    let found = Measure::ALL.into_iter().filter_map(|measure| Some((measure, value(measure)?)));
    found.collect()
}

/// Each score with its interval; `reference` are those of the method to test against, `None` for
/// that method itself.
pub(super) fn scores(own: &UserMeasures, reference: Option<&UserMeasures>) -> Vec<MeasureScore> {
    let scores = own.iter().filter_map(|(&measure, users)| {
        let other = reference.and_then(|reference| reference.get(&measure));
        let test = other.and_then(|other| paired_test(users, other, SEED));
        let difference = test.map(Difference::Tested);
        Some(MeasureScore { measure, score: bootstrap(users, SEED)?, difference })
    });
    scores.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A line of one seed with one method "m", whose texts are attributed as often as is said.
    fn line(user: &str, seed: u64, attributed: f64, predicted: &str) -> RunLine {
        let line = json!({
            "data": "d", "budget": "epochs", "seed": seed, "user": user,
            "run": { "user": user, "periods": [], "detection": null, "methods": { "m": {
                "matrix": [], "selected": [], "tokens": [], "open": [], "seconds": 0.0,
                "attributed": attributed,
                "generated": [{ "period": 1, "predicted": predicted, "written": "a b c d" }],
                "synthetic": [
                    { "selection": selection(1.0), "stale": 0.0 },
                    { "selection": selection(0.25), "stale": null },
                    { "selection": selection(0.75), "stale": 0.5 },
                ],
            } } },
        });
        serde_json::from_value(line).unwrap()
    }

    fn selection(recall: f64) -> serde_json::Value {
        json!({ "precision": null, "recall": recall, "clean": 0.5, "clean_by_chance": 0.5 })
    }

    #[test]
    fn every_user_has_one_score_of_the_later_periods_and_of_all_seeds() {
        let lines = [
            line("ada", 0, 0.0, "a b c d"),
            line("ada", 1, 1.0, "a b x y"),
            line("bob", 0, 1.0, "nothing of it"),
        ];
        let lines: Vec<&RunLine> = lines.iter().collect();
        let found = user_measures(&lines, "m");
        let of = |measure: Measure| -> Vec<f64> { found[&measure].values().copied().collect() };
        assert_eq!(of(Measure::Attributed), [0.5, 1.0]);
        // All unigrams of one text, and half of those of the other.
        assert_eq!(of(Measure::Rouge1), [0.75, 0.0]);
        // Without the first period, which is learned whole; and the last one alone has a rate.
        assert_eq!((of(Measure::Recall), of(Measure::Stale)), (vec![0.5; 2], vec![0.5; 2]));
        for missing in [Measure::Precision, Measure::CleanRecall, Measure::TurnDelay] {
            assert!(!found.contains_key(&missing), "{missing:?}");
        }
        assert!(user_measures(&lines, "other").is_empty());
    }

    #[test]
    fn a_difference_is_over_the_users_who_have_both() {
        let users = |scores: &[(&str, f64)]| -> UserMeasures {
            let scores = scores.iter().map(|(user, score)| ((*user).to_owned(), *score));
            [(Measure::TurnDelay, scores.collect())].into()
        };
        let own = users(&[("ada", 1.0), ("bob", 2.0), ("cleo", 6.0)]);
        let reference = users(&[("ada", 2.0), ("bob", 4.0)]);
        let found = scores(&own, Some(&reference));
        assert_eq!((found.len(), found[0].score.mean, found[0].score.users), (1, 3.0, 3));
        let test = found[0].difference.unwrap().test().unwrap();
        assert_eq!((test.difference.mean, test.difference.users, test.p), (-1.5, 2, 0.5));
        assert_eq!(scores(&own, None)[0].difference, None);
        assert_eq!(scores(&own, Some(&UserMeasures::new()))[0].difference, None);
    }

    #[test]
    fn every_measure_has_a_mean_in_the_table() {
        for measure in Measure::ALL {
            assert!(super::super::is_column(measure.column()), "{measure:?}");
        }
    }
}

//! Selections and statistics against plain restatements of their definitions.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_drift::{Alpha, DriftError, DriftScore, Observation, ScoreStatistics, Selection};

fn score(value: f64) -> DriftScore {
    DriftScore::new(0.0, 0.0, value)
}

fn at(order: u64) -> Observation {
    Observation::new(0.0, None, order)
}

/// Scores with the position as the time.
fn stream(values: &[f64]) -> (Vec<DriftScore>, Vec<Observation>) {
    (values.iter().map(|&v| score(v)).collect(), (0..values.len() as u64).map(at).collect())
}

fn indices(selection: Selection, values: &[f64]) -> Vec<usize> {
    let (scores, observations) = stream(values);
    selection.select(&scores, &observations).unwrap().indices
}

#[test]
fn each_selection_by_hand() {
    let values = [0.5, -1.0, 2.0, 0.5];
    assert_eq!(indices(Selection::default(), &values), [2, 3], "ceil(1.2) = 2, tie to the newer");
    assert_eq!(indices(Selection::TopCount { count: 3 }, &values), [2, 3, 0]);
    assert_eq!(indices(Selection::TopCount { count: 9 }, &values), [2, 3, 0, 1]);
    assert_eq!(indices(Selection::Threshold { threshold: 0.5 }, &values), [2, 3, 0]);
    assert_eq!(indices(Selection::All {}, &values), [2, 3, 0, 1]);
    assert!(indices(Selection::default(), &[]).is_empty());
}

#[test]
fn the_cutoff_is_what_had_to_be_reached() {
    let (scores, observations) = stream(&[0.5, -1.0, 2.0]);
    let cutoff = |selection: Selection| selection.select(&scores, &observations).unwrap().cutoff;
    assert_eq!(cutoff(Selection::TopCount { count: 2 }), Some(0.5));
    assert_eq!(cutoff(Selection::Threshold { threshold: 0.25 }), Some(0.25));
    assert_eq!(cutoff(Selection::TopCount { count: 0 }), None);
    assert_eq!(cutoff(Selection::All {}), None);
    let reason = Selection::default().select(&scores, &observations).unwrap().reason;
    assert_eq!(reason, "the best 30 % of 3 by score: 1 taken, the lowest at 2.0000");
}

#[test]
fn ties_go_to_the_newer_then_to_the_later() {
    let scores = [score(0.0), score(-0.0), score(0.0)];
    let selected = Selection::All {}.select(&scores, &[at(5), at(8), at(5)]).unwrap();
    assert_eq!(selected.indices, [1, 2, 0]);
}

#[test]
fn whole_products_are_not_rounded_up() {
    // In floats 0.07 * 100 = 7.000000000000001, 0.55 * 100 = 55.00000000000001 and 0.1 * 3 > 0.3.
    for (fraction, n, expected) in [
        (0.07, 100, 7),
        (0.55, 100, 55),
        (0.3, 10, 3),
        (0.1, 30, 3),
        (0.3, 11, 4),
        (0.0, 5, 0),
        (1.0, 5, 5),
        (1e-9, 5, 1),
    ] {
        let taken = indices(Selection::TopFraction { fraction }, &vec![0.0; n]);
        assert_eq!(taken.len(), expected, "{fraction} of {n}");
    }
}

#[test]
fn bad_settings_and_input_are_named() {
    let (mut scores, observations) = stream(&[0.0, 1.0]);
    for fraction in [-0.1, 1.1, f64::NAN] {
        let error = Selection::TopFraction { fraction }.select(&scores, &observations).unwrap_err();
        assert!(
            matches!(&error, DriftError::Setting(setting) if setting.name == "fraction"),
            "{error}"
        );
    }
    let error = Selection::Threshold { threshold: f64::INFINITY }
        .select(&scores, &observations)
        .unwrap_err();
    assert!(
        matches!(&error, DriftError::Setting(setting) if setting.name == "threshold"),
        "{error}"
    );
    let error = Selection::All {}.select(&scores, &observations[1..]).unwrap_err();
    assert_eq!(error, DriftError::LengthMismatch { scores: 2, observations: 1 });
    scores[1].score = f64::NAN;
    let error = Selection::All {}.select(&scores, &observations).unwrap_err();
    assert!(matches!(error, DriftError::NotFinite { index: 1, field: "score", .. }), "{error}");
    assert!(ScoreStatistics::of(&scores, Alpha::default()).is_err());
}

#[test]
fn selections_are_chosen_by_name() {
    assert_eq!("top_fraction".parse(), Ok(Selection::TopFraction { fraction: 0.3 }));
    assert_eq!("all".parse(), Ok(Selection::All {}));
    let error = "top_count".parse::<Selection>().unwrap_err().to_string();
    assert!(error.contains("count"), "{error}");
    assert!(serde_json::from_str::<Selection>(r#"{"kind": "all", "fraction": 0.1}"#).is_err());
}

#[test]
fn statistics_by_hand() {
    let scores: Vec<DriftScore> =
        [(1.0, -2.0, 3.0), (2.0, -4.0, 2.0), (3.0, -4.0, 2.0), (6.0, -6.0, 1.0)]
            .map(|(novelty, quality, score)| DriftScore::new(novelty, quality, score))
            .into();
    let of = ScoreStatistics::of(&scores, Alpha::default()).unwrap();
    assert_eq!((of.n, of.novelty_mean, of.quality_mean), (4, Some(3.0), Some(-4.0)));
    assert!((of.novelty_sd.unwrap() - (14.0f64 / 3.0).sqrt()).abs() < 1e-12);
    assert!((of.weighted_quality_sd.unwrap() - 0.5 * (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(of.score_quality_correlation, Some(1.0));
    // Ranks 4, 2.5, 2.5, 1 against 1, 2, 3, 4: covariance -4.5, variances 4.5 and 5.
    assert!((of.score_novelty_correlation.unwrap() + 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-12);
    assert_eq!(
        ScoreStatistics::of(&scores, Alpha::QUALITY_ONLY).unwrap().weighted_quality_sd,
        None
    );
}

#[test]
fn what_is_undefined_is_none() {
    let of = |n: usize| ScoreStatistics::of(&vec![score(1.0); n], Alpha::default()).unwrap();
    assert_eq!((of(0).novelty_mean, of(1).novelty_mean), (None, Some(0.0)));
    assert_eq!((of(1).novelty_sd, of(2).novelty_sd), (None, Some(0.0)));
    assert_eq!(of(3).score_novelty_correlation, None);
}

prop_compose! {
    /// Few distinct values, so that ties are common.
    fn tied_values()(values in prop::collection::vec(-4i32..4, 0..40)) -> Vec<f64> {
        values.into_iter().map(f64::from).collect()
    }
}

proptest! {
    #[test]
    fn the_fraction_is_the_ceiling(percent in 0usize..=100, n in 0usize..500) {
        let taken =
            indices(Selection::TopFraction { fraction: percent as f64 / 100.0 }, &vec![0.0; n]);
        prop_assert_eq!(taken.len(), (percent * n).div_ceil(100));
    }

    /// Nothing that was left out beats anything that was taken, and the taken ones are in order.
    #[test]
    fn what_is_taken_is_best(values in tied_values(), count in 0usize..50) {
        let taken = indices(Selection::TopCount { count }, &values);
        prop_assert_eq!(taken.len(), count.min(values.len()));
        let key = |index: usize| (values[index] as i64, index);
        prop_assert!(taken.windows(2).all(|pair| key(pair[0]) > key(pair[1])));
        if let Some(&last) = taken.last() {
            let left_out = (0..values.len()).filter(|index| !taken.contains(index));
            prop_assert!(left_out.into_iter().all(|index| key(index) < key(last)));
        }
    }

    #[test]
    fn a_threshold_takes_what_reaches_it(values in tied_values(), threshold in -4i32..4) {
        let threshold = f64::from(threshold);
        let mut taken = indices(Selection::Threshold { threshold }, &values);
        taken.sort_unstable();
        let reached: Vec<usize> =
            (0..values.len()).filter(|&index| values[index] >= threshold).collect();
        prop_assert_eq!(taken, reached);
    }

    /// Rank correlation is symmetric in direction and blind to any monotonic change of scale.
    #[test]
    fn rank_correlation_sees_ranks_only(
        pairs in prop::collection::vec((-9i32..9, -9i32..9), 2..30),
    ) {
        let of = |change: fn(f64) -> f64| {
            let scores: Vec<DriftScore> = pairs
                .iter()
                .map(|&(novelty, score)| {
                    DriftScore::new(f64::from(novelty), 0.0, change(f64::from(score)))
                })
                .collect();
            ScoreStatistics::of(&scores, Alpha::default()).unwrap().score_novelty_correlation
        };
        let plain = of(|v| v);
        prop_assert_eq!(plain, of(|v| v.powi(3) + 5.0));
        if let (Some(plain), Some(reversed)) = (plain, of(|v| -v)) {
            prop_assert!((plain + reversed).abs() < 1e-12 && plain.abs() <= 1.0);
        }
    }
}

//! Gate and λ calibrated by use: the isotonic curve of the gains, and what comes of it.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_fuse::{
    Calibration, Candidate, FuseError, Gains, GateConfig, GateDecision, Lambda, MixtureConfig,
    Otherwise, Space, TextGain, isotonic,
};

fn gains(lambdas: &[f64], texts: &[(f64, &[f64])]) -> Gains {
    let text =
        |(key, (score, gains)): (u64, &(f64, &[f64]))| TextGain::new(key, *score, gains.to_vec());
    Gains::new("here", lambdas.to_vec(), (1..).zip(texts).map(text).collect())
}

/// Eight texts of scores 1 to 8: the lower four lose half a nat at λ 0.5, the upper ones gain it.
fn halves() -> Gains {
    let texts = (1..=8).map(|i| {
        let gain: &[f64] = if i <= 4 { &[-0.5] } else { &[0.5] };
        (f64::from(i), gain)
    });
    gains(&[0.5], &texts.collect::<Vec<_>>())
}

fn decide(config: GateConfig, scores: &[f64], gains: Option<Gains>) -> GateDecision {
    let candidates: Vec<Candidate> = scores.iter().map(|score| Candidate::new(*score)).collect();
    config.init().unwrap().decide(&candidates, &Calibration::new(vec![]).with_gains(gains))
}

fn calibrated(otherwise: Otherwise) -> GateConfig {
    GateConfig::Calibrated { k: 2, min_texts: 8, otherwise }
}

#[test]
fn neighbours_that_fall_are_pooled() {
    assert_eq!(isotonic(&[1.0, 3.0, 2.0, 4.0], &[1.0; 4]), [1.0, 2.5, 2.5, 4.0]);
    assert_eq!(isotonic(&[4.0, 3.0, 2.0, 1.0], &[1.0; 4]), [2.5; 4]);
    assert_eq!(isotonic(&[3.0, 1.0], &[1.0, 3.0]), [1.5; 2], "(3·1 + 1·3) / 4");
    // A pool of two falls below the one before it, which joins it.
    assert_eq!(isotonic(&[2.0, 3.0, 0.0], &[1.0, 1.0, 2.0]), [1.25; 3], "(2 + 3 + 0) / 4");
    assert_eq!(isotonic(&[], &[]), [] as [f64; 0]);
}

proptest! {
    /// Against the formula of Robertson, Wright and Dykstra: the highest, over where a block may
    /// begin, of the lowest mean, over where it may end.
    #[test]
    fn pooling_gives_the_highest_of_the_lowest_means(
        points in prop::collection::vec((-9.0..9.0f64, 0.5..4.0f64), 1..12),
    ) {
        let (values, weights): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let mean = |from: usize, to: usize| {
            let part = &points[from..=to];
            part.iter().map(|(value, weight)| value * weight).sum::<f64>()
                / part.iter().map(|(_, weight)| weight).sum::<f64>()
        };
        for (i, fitted) in isotonic(&values, &weights).into_iter().enumerate() {
            let lowest = |from| (i..points.len()).map(|to| mean(from, to)).fold(f64::MAX, f64::min);
            let expected = (0..=i).map(lowest).fold(f64::MIN, f64::max);
            prop_assert!((fitted - expected).abs() < 1e-9, "{fitted} at {i}, not {expected}");
        }
    }
}

/// Eight texts count as much as the mean of all, which is 0: ±0.5 becomes ±0.25.
#[test]
fn the_gate_opens_above_the_crossing_alone() {
    let gate = calibrated(Otherwise::Never);
    let open = decide(gate, &[5.0, 2.0, 1.0], Some(halves()));
    assert_eq!(open.kept, [0, 1], "the k best are read, as when it was measured: {}", open.reason);
    assert_eq!((open.threshold, open.margin), (Some(4.5), Some(0.5)));
    assert_eq!((open.expected_gain, open.lambda), (Some(0.25), Some(0.5)));
    assert!(open.reason.contains("gain 0.2500 nats per token at λ 0.50 by 8 texts"));
    assert!(decide(gate, &[4.75], Some(halves())).open, "half-way to the next: 0.125");
    for score in [1.0, 4.0, 4.5] {
        let closed = decide(gate, &[score, 1.0], Some(halves()));
        assert!(!closed.open && closed.kept.is_empty(), "{score}: {}", closed.reason);
        assert_eq!(closed.threshold, Some(4.5));
        assert!(closed.expected_gain.unwrap() <= 0.0);
    }
    // Below and above all that was measured it is as at the ends.
    assert_eq!(decide(gate, &[0.5], Some(halves())).expected_gain, Some(-0.25));
    assert_eq!(decide(gate, &[99.0], Some(halves())).expected_gain, Some(0.25));
    // What shares no word is never read, and a NaN closes every gate.
    assert_eq!(decide(gate, &[0.0], Some(halves())).threshold, Some(4.5));
    assert!(!decide(gate, &[f64::NAN], Some(halves())).open);
    assert_eq!(decide(gate, &[f64::NAN], Some(halves())).margin, None);
}

#[test]
fn where_all_texts_gain_it_is_open_for_all_and_where_none_does_for_none() {
    let all = |gain: f64| {
        let gain = [gain];
        let texts: Vec<(f64, &[f64])> = (1..=8).map(|i| (f64::from(i), &gain[..])).collect();
        gains(&[0.5], &texts)
    };
    let gate = calibrated(Otherwise::Never);
    assert_eq!(decide(gate, &[0.25], Some(all(0.5))).threshold, Some(0.0));
    assert!(decide(gate, &[0.25], Some(all(0.5))).open);
    let never = decide(gate, &[99.0], Some(all(-0.5)));
    assert_eq!((never.open, never.threshold, never.expected_gain), (false, None, Some(-0.5)));
    // Equal scores are one point.
    let same: Vec<(f64, &[f64])> =
        (0..8).map(|i| (1.0, if i < 6 { &[1.0][..] } else { &[-1.0][..] })).collect();
    assert_eq!(decide(gate, &[1.0], Some(gains(&[0.5], &same))).expected_gain, Some(0.5));
}

#[test]
fn with_too_few_texts_the_gate_in_its_place_decides() {
    let mut few = halves();
    few.texts.truncate(7);
    let open = decide(calibrated(Otherwise::Always), &[1.0, 0.5, 0.25], Some(few.clone()));
    assert_eq!((open.kept, open.expected_gain), (vec![0, 1], None));
    assert!(open.reason.contains("7 texts with a measured gain, and at least 8 are needed"));
    assert!(!decide(calibrated(Otherwise::Never), &[9.0], Some(few)).open);
    let none = decide(calibrated(Otherwise::Quantile), &[9.0], None);
    assert!(!none.open && none.reason.contains("0 calibration scores"), "{}", none.reason);
    assert!(none.reason.contains("no gain was measured"), "{}", none.reason);
}

/// The lower half of the scores gains 0.25 at λ 0.25 and loses 0.5 at 0.75; the upper half gains
/// 0.5 and 1. Means 0.375 and 0.25; half-way to them: 0.3125 and −0.125, 0.4375 and 0.625.
fn two_lambdas() -> Gains {
    let texts = (1..=8).map(|i| {
        let gain: &[f64] = if i <= 4 { &[0.25, -0.5] } else { &[0.5, 1.0] };
        (f64::from(i), gain)
    });
    gains(&[0.25, 0.75], &texts.collect::<Vec<_>>())
}

#[test]
fn lambda_is_the_one_of_the_highest_expected_gain() {
    let lambda: Lambda = "calibrated".parse().unwrap();
    assert_eq!(lambda, Lambda::Calibrated { otherwise: 0.5 });
    let calibration = Calibration::new(vec![]).with_gains(two_lambdas());
    for (score, expected, weights) in [(2.0, 0.3125, [0.75, 0.25]), (8.0, 0.625, [0.25, 0.75])] {
        let by_gate = decide(calibrated(Otherwise::Never), &[score], Some(two_lambdas()));
        let always = decide(GateConfig::Always { k: 2 }, &[score], Some(two_lambdas()));
        let by_lambda = lambda.informed(always, Some(score), &calibration);
        let said = format!("expected to gain {expected:.4} nats per token at λ {:.2}", weights[1]);
        assert!(by_lambda.reason.contains(&said), "{}", by_lambda.reason);
        for decision in [by_gate, by_lambda] {
            assert_eq!(decision.expected_gain, Some(expected));
            assert_eq!(&*lambda.weights(2, Some(&decision)).unwrap(), &weights);
        }
    }
    // Another λ asks for nothing, and a closed gate needs none.
    let always = || decide(GateConfig::Always { k: 2 }, &[2.0], None);
    assert_eq!(Lambda::Fixed(0.3).informed(always(), Some(2.0), &calibration), always());
    let closed = decide(GateConfig::Never {}, &[2.0], None);
    assert_eq!(lambda.informed(closed.clone(), Some(2.0), &calibration), closed);
    // Without gains it is the one in its place.
    let unmeasured = lambda.informed(always(), Some(2.0), &Calibration::default());
    assert_eq!(&*lambda.weights(2, Some(&unmeasured)).unwrap(), &[0.5, 0.5]);
    let contrastive = Space::Contrastive { beta: 0.5, plausibility: 0.1 };
    assert!(MixtureConfig::default().with_space(contrastive).with_lambda(lambda).init().is_err());
    assert!(Lambda::Calibrated { otherwise: 1.5 }.weights(2, None).is_err());
}

#[test]
fn between_two_measured_lambdas_the_gain_is_on_the_line() {
    let measured = gains(&[0.5, 1.0], &[(1.0, &[0.5, 0.25])]);
    let at = |lambda| measured.at_lambda(lambda).map(|gains| gains.texts[0].gains.clone());
    assert_eq!(at(0.25), Some(vec![0.25]), "half-way from 0 at λ = 0");
    assert_eq!(at(0.5), Some(vec![0.5]));
    assert_eq!(at(0.75), Some(vec![0.375]));
    assert_eq!(at(1.0), Some(vec![0.25]));
    assert_eq!((at(0.0), at(1.5), at(f64::NAN)), (None, None, None));
    assert_eq!(measured.at_lambda(0.25).unwrap().lambdas, [0.25]);
    assert_eq!(Gains::grid()[4], 0.5, "the default λ was measured itself");
}

#[test]
fn gains_that_nobody_measured_are_refused() {
    assert_eq!(gains(&[0.5], &[]).curve().unwrap_err(), FuseError::EmptySample);
    for wrong in [
        gains(&[0.5, 0.5], &[(1.0, &[0.0, 0.0])]),
        gains(&[0.0], &[(1.0, &[0.0])]),
        gains(&[1.5], &[(1.0, &[0.0])]),
        gains(&[0.5], &[(1.0, &[0.0, 1.0])]),
        gains(&[0.5], &[(f64::NAN, &[0.0])]),
        gains(&[0.5], &[(1.0, &[f64::NEG_INFINITY])]),
    ] {
        assert!(wrong.check().is_err() && wrong.curve().is_err(), "{wrong:?}");
    }
}

/// What was written before there were gains, and what is written without them, are lists.
#[test]
fn scores_alone_are_written_as_before() {
    let scores: Calibration = serde_json::from_str("[3.0, 1.5]").unwrap();
    assert_eq!(scores, Calibration::new(vec![3.0, 1.5]));
    assert_eq!(serde_json::to_string(&scores).unwrap(), "[3.0,1.5]");
    let both = scores.with_gains(two_lambdas());
    let json = serde_json::to_string(&both).unwrap();
    assert!(json.starts_with(r#"{"scores":[3.0,1.5],"gains":{"measured_under":"here","#), "{json}");
    assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), both);
    for wrong in [r#"{"scores": []}"#, "[null]", r#"{"scores": [], "gains": {}, "x": 1}"#, "3"] {
        assert!(serde_json::from_str::<Calibration>(wrong).is_err(), "{wrong}");
    }
    let decision = decide(GateConfig::Always { k: 2 }, &[1.0], None);
    let json = serde_json::to_string(&decision).unwrap();
    assert!(!json.contains("expected_gain") && !json.contains("lambda"), "{json}");
    assert_eq!(serde_json::from_str::<GateDecision>(&json).unwrap(), decision);
    let measured = decide(calibrated(Otherwise::Never), &[8.0], Some(halves()));
    let json = serde_json::to_string(&measured).unwrap();
    assert_eq!(serde_json::from_str::<GateDecision>(&json).unwrap(), measured);
}

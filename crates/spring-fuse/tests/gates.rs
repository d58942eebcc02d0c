//! Gates and the calibration quantile.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_fuse::{Calibration, Candidate, FuseError, GateConfig, GateDecision, Lambda};

fn candidates(scores: &[f64]) -> Vec<Candidate> {
    scores.iter().map(|&score| Candidate::new(score)).collect()
}

fn decide(config: GateConfig, scores: &[f64], sample: &[f64]) -> GateDecision {
    config.init().unwrap().decide(&candidates(scores), &Calibration::new(sample.to_vec()))
}

const EIGHT: [f64; 8] = [8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0];

#[test]
fn the_default_gate_is_the_third_quartile() {
    let decision = decide(GateConfig::default(), &[7.0, 6.25, 6.25], &EIGHT);
    assert_eq!(decision.kept, [0, 1], "the threshold itself is enough, and k is 2");
    assert_eq!(
        (decision.open, decision.threshold, decision.margin),
        (true, Some(6.25), Some(0.75))
    );
    let closed = decide(GateConfig::default(), &[6.0], &EIGHT);
    assert_eq!((closed.open, closed.threshold, closed.margin), (false, Some(6.25), Some(-0.25)));
    assert!(
        closed.reason.contains("6.2500") && closed.reason.contains("below"),
        "{}",
        closed.reason
    );
}

#[test]
fn too_little_calibration_closes_the_gate_and_says_so() {
    let decision = decide(GateConfig::default(), &[99.0], &EIGHT[..7]);
    assert!(!decision.open && decision.kept.is_empty());
    assert_eq!(decision.reason, "closed: 7 calibration scores, and at least 8 are needed");
}

#[test]
fn each_kind_by_hand() {
    let scores = [5.0, 4.5, 1.0, -1.0];
    let kept = |config| decide(config, &scores, &[]).kept;
    assert_eq!(kept(GateConfig::Fixed { threshold: 4.75, k: 2 }), [0]);
    assert_eq!(
        kept(GateConfig::Fixed { threshold: -9.0, k: 9 }),
        [0, 1, 2],
        "a score must be above 0"
    );
    assert_eq!(kept(GateConfig::Margin { margin: 3.5, k: 2 }), [0, 1], "the runner-up has 1.0");
    assert_eq!(
        kept(GateConfig::Margin { margin: 0.6, k: 1 }),
        [] as [usize; 0],
        "5.0 is below 4.5 + 0.6"
    );
    assert_eq!(kept(GateConfig::Always { k: 2 }), [0, 1]);
    assert_eq!(kept(GateConfig::Never {}), [] as [usize; 0]);
    assert_eq!(decide(GateConfig::Margin { margin: 2.0, k: 2 }, &[2.5], &[]).threshold, Some(2.0));
}

#[test]
fn input_that_cannot_be_ranked_closes_every_gate() {
    for config in [
        GateConfig::Quantile { quantile: 0.0, min_calibration: 0, k: 2 },
        GateConfig::Fixed { threshold: -9.0, k: 2 },
        GateConfig::Margin { margin: 0.0, k: 2 },
        GateConfig::Always { k: 2 },
    ] {
        let nan = decide(config, &[3.0, f64::NAN], &[0.5]);
        assert!(
            !nan.open && nan.reason.contains("candidate 1 is NaN"),
            "{config:?}: {}",
            nan.reason
        );
        let unsorted = decide(config, &[3.0, 4.0], &[0.5]);
        assert!(
            !unsorted.open && unsorted.reason.contains("rank order"),
            "{config:?}: {}",
            unsorted.reason
        );
        assert!(!decide(config, &[], &[0.5]).open);
        assert!(!decide(config, &[0.0], &[-1.0]).open);
        assert!(decide(config, &[3.0], &[0.5]).open, "{config:?} opens at all");
    }
    let broken = decide(GateConfig::default(), &[99.0], &[f64::NAN; 8]);
    assert!(!broken.open && broken.reason.contains("NaN"), "{}", broken.reason);
}

#[test]
fn gates_are_chosen_by_name() {
    for name in ["quantile", "always", "never"] {
        assert_eq!(name.parse::<GateConfig>().unwrap().init().unwrap().name(), name);
    }
    assert_eq!("quantile".parse(), Ok(GateConfig::default()));
    assert!("fixed".parse::<GateConfig>().unwrap_err().to_string().contains("threshold"));
    assert!(serde_json::from_str::<GateConfig>(r#"{"kind": "never", "k": 2}"#).is_err());
    let config: GateConfig = serde_json::from_str(r#"{"kind": "margin", "margin": 1}"#).unwrap();
    assert_eq!(config, GateConfig::Margin { margin: 1.0, k: 2 });
    assert_eq!(
        serde_json::from_str::<GateConfig>(&serde_json::to_string(&config).unwrap()).unwrap(),
        config
    );
}

#[test]
fn bad_settings_are_named() {
    let setting = |config: GateConfig| match config.init().err() {
        Some(error) => error.name,
        None => panic!("{config:?} was taken"),
    };
    assert_eq!(
        setting(GateConfig::Quantile { quantile: 1.1, min_calibration: 8, k: 2 }),
        "quantile"
    );
    assert_eq!(setting(GateConfig::Fixed { threshold: f64::NAN, k: 2 }), "threshold");
    assert_eq!(setting(GateConfig::Margin { margin: -1.0, k: 2 }), "margin");
    assert_eq!(Calibration::default().quantile(0.5), Err(FuseError::EmptySample));
}

#[test]
fn lambda_follows_the_gate() {
    let lambda = Lambda::Gate { low: 0.2, high: 0.8 };
    let weights = |scores: &[f64], threshold| {
        let decision = decide(GateConfig::Fixed { threshold, k: 2 }, scores, &[]);
        lambda.weights(2, Some(&decision)).unwrap().to_vec()
    };
    assert_eq!(weights(&[2.0], 3.0), [1.0, 0.0], "closed: no retrieval");
    assert_eq!(weights(&[3.0], 3.0), [0.8, 0.2]);
    let half = weights(&[6.0], 3.0)[1];
    assert!((half - 0.5).abs() < 1e-6, "half of the score lies above the threshold: {half}");
    assert!((weights(&[6.0], -3.0)[1] - 0.8).abs() < 1e-6);
    assert_eq!(lambda.weights(2, None).unwrap().to_vec(), [0.5, 0.5]);
    assert_eq!(Lambda::default().weights(3, None).unwrap().to_vec(), [0.5, 0.25, 0.25]);
    assert!(Lambda::Fixed(1.5).weights(2, None).is_err());
}

proptest! {
    /// Against the definition by weights of neighbours: numpy's `linear`.
    #[test]
    fn the_quantile_is_numpys(sample in prop::collection::vec(-1e3..1e3, 1..60), q in 0.0..=1.0) {
        let quantile = Calibration::new(sample.clone()).quantile(q).unwrap();
        let mut sorted = sample;
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let position = q * (sorted.len() - 1) as f64;
        let naive: f64 = sorted
            .iter()
            .enumerate()
            .map(|(index, value)| value * (1.0 - (index as f64 - position).abs()).max(0.0))
            .sum();
        prop_assert!((quantile - naive).abs() < 1e-9, "{} {}", quantile, naive);
    }

    /// A stricter gate keeps no more, and a better best score never closes a gate that was open.
    #[test]
    fn gates_are_monotonic(
        mut scores in prop::collection::vec(-2.0..9.0, 1..6),
        sample in prop::collection::vec(0.0..9.0, 8..30),
        low in 0.0..1.0,
        step in 0.0..1.0,
        better in 0.0..5.0,
    ) {
        scores.sort_by(|a: &f64, b| b.partial_cmp(a).unwrap());
        let strictness = |level: f64| {
            [
                GateConfig::Quantile { quantile: level.min(1.0), min_calibration: 8, k: 2 },
                GateConfig::Fixed { threshold: level * 9.0, k: 2 },
                GateConfig::Margin { margin: level * 4.0, k: 2 },
            ]
        };
        for (lax, strict) in strictness(low).into_iter().zip(strictness(low + step)) {
            let lax_kept = decide(lax, &scores, &sample).kept;
            let kept = decide(strict, &scores, &sample).kept;
            prop_assert!(kept.len() <= lax_kept.len() && kept == lax_kept[..kept.len()]);
            let mut improved = scores.clone();
            improved[0] += better;
            if !kept.is_empty() {
                prop_assert!(decide(strict, &improved, &sample).open);
            }
        }
    }

    #[test]
    fn decisions_agree_with_themselves(
        mut scores in prop::collection::vec(-2.0..9.0, 0..6),
        sample in prop::collection::vec(-1.0..9.0, 0..20),
    ) {
        scores.sort_by(|a: &f64, b| b.partial_cmp(a).unwrap());
        for name in ["quantile", "always", "never"] {
            let decision = decide(name.parse().unwrap(), &scores, &sample);
            prop_assert_eq!(decision.open, !decision.kept.is_empty());
            prop_assert_eq!(decision.reason.starts_with("open"), decision.open);
            prop_assert!(
                decision.kept.len() <= 2 && decision.kept.iter().all(|&index| scores[index] > 0.0)
            );
            if let Some(threshold) = decision.threshold {
                prop_assert!(decision.kept.iter().all(|&index| scores[index] >= threshold));
                prop_assert!((decision.margin.unwrap() - (scores[0] - threshold)).abs() < 1e-12);
            }
            let json = serde_json::to_string(&decision).unwrap();
            prop_assert_eq!(
                serde_json::from_str::<GateDecision>(&json).unwrap().kept,
                decision.kept
            );
        }
    }
}

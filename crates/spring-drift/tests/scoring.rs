//! Scorers: values by hand, laws over generated input, names in configurations.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_drift::{
    Alpha, DriftError, DriftScore, DriftScorer, Observation, ScorerConfig, Spring, Standardize,
};

const NAMES: [&str; 7] = ["spring", "loss", "novelty", "quality", "recency", "random", "lookahead"];

/// One that every scorer can score.
fn observation(base: f64, adapter: Option<f64>, order: u64) -> Observation {
    Observation::new(base, adapter, order).with_lookahead(Some(0.25 * order as f64))
}

fn scorer(name: &str) -> Box<dyn DriftScorer> {
    name.parse::<ScorerConfig>().unwrap().init().unwrap()
}

fn values(scores: &[DriftScore]) -> Vec<f64> {
    scores.iter().map(|s| s.score).collect()
}

prop_compose! {
    fn any_observation()(
        base in -20.0..0.0,
        adapter in proptest::option::of(-20.0..0.0),
        order in 0u64..1000,
    ) -> Observation {
        observation(base, adapter, order)
    }
}

#[test]
fn each_scorer_by_hand() {
    let input = [observation(-3.0, Some(-4.0), 7), observation(-2.0, None, 9)];
    let expected = [
        ("spring", [1.0 + 0.5 * -3.0, 0.5 * -2.0]),
        ("loss", [4.0, 2.0]),
        ("novelty", [1.0, 0.0]),
        ("quality", [-3.0, -2.0]),
        ("recency", [7.0, 9.0]),
        ("lookahead", [1.75, 2.25]),
    ];
    for (name, expected) in expected {
        let scores = scorer(name).score(&input).unwrap();
        assert_eq!(values(&scores), expected, "{name}");
        assert_eq!((scores[0].novelty, scores[0].quality), (1.0, -3.0), "{name}");
        assert_eq!((scores[1].novelty, scores[1].quality), (0.0, -2.0), "{name}");
    }
}

#[test]
fn against_a_population_novelty_is_of_the_person_and_quality_as_before() {
    // New to the base and to the adapter alike, but usual among people of the domain; and as usual
    // among them as to the base.
    let usual = observation(-5.0, Some(-4.0), 0).with_population(Some(-2.0));
    let own = observation(-5.0, Some(-4.0), 1).with_population(Some(-5.0));
    let without = observation(-5.0, None, 2).with_population(Some(-2.0));
    assert_eq!([usual, own, without].map(|o| o.novelty()), [2.0, -1.0, 0.0]);
    for (name, expected) in
        [("novelty", [2.0, -1.0, 0.0]), ("quality", [-5.0; 3]), ("spring", [-0.5, -3.5, -2.5])]
    {
        assert_eq!(values(&scorer(name).score(&[usual, own, without]).unwrap()), expected);
    }
}

#[test]
fn a_lookahead_is_measured_for_all_and_within_bounds() {
    let measured = observation(-1.0, Some(-2.0), 0);
    let result = scorer("lookahead").score(&[measured, measured.with_lookahead(None)]);
    assert_eq!(result, Err(DriftError::NoLookahead { index: 1 }));
    let gains = [-0.5, 0.0, 0.125].map(|gain| measured.with_lookahead(Some(gain)));
    assert_eq!(values(&scorer("lookahead").score(&gains).unwrap()), [-0.5, 0.0, 0.125]);
    let read = |json: &str| serde_json::from_str::<ScorerConfig>(json).unwrap();
    let config = read(r#"{"kind": "lookahead", "recent": 8}"#);
    assert_eq!(config, ScorerConfig::Lookahead { steps: 1, recent: 8 });
    assert_eq!(read("\"lookahead\""), ScorerConfig::Lookahead { steps: 1, recent: 4 });
    for (steps, recent, name) in
        [(0, 4, "steps"), (17, 4, "steps"), (1, 0, "recent"), (1, 65, "recent")]
    {
        let error = ScorerConfig::Lookahead { steps, recent }.init().err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
    }
}

/// What was written before there were these fields reads as before, and is written as before.
#[test]
fn an_observation_without_further_measurements_is_written_as_ever() {
    let json = r#"{"base":-3.0,"adapter":null,"order":7}"#;
    let plain = Observation::new(-3.0, None, 7);
    assert_eq!(serde_json::from_str::<Observation>(json).unwrap(), plain);
    assert_eq!(serde_json::to_string(&plain).unwrap(), json);
    let full = plain.with_population(Some(-2.5)).with_lookahead(Some(0.5));
    let again = serde_json::from_str(&serde_json::to_string(&full).unwrap()).unwrap();
    assert_eq!(full, again);
}

#[test]
fn standardized_terms_have_equal_say() {
    let input: Vec<Observation> = [(-1.0, -1.1), (-9.0, -8.8), (-4.0, -4.3)]
        .map(|(base, adapter)| observation(base, Some(adapter), 0))
        .into();
    let z = |values: [f64; 3]| {
        let mean = values.iter().sum::<f64>() / 3.0;
        let sd = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 2.0).sqrt();
        values.map(|v| (v - mean) / sd)
    };
    let (novelty, quality) = (z([0.1, -0.2, 0.3]), z([-1.0, -9.0, -4.0]));
    let spring = Spring::default()
        .with_alpha(Alpha::new(2.0).unwrap())
        .with_standardize(Standardize::Period);
    for (index, score) in spring.score(&input).unwrap().iter().enumerate() {
        assert!((score.score - (novelty[index] + 2.0 * quality[index])).abs() < 1e-12);
        assert_eq!(score.quality, input[index].base);
    }
}

#[test]
fn a_term_without_spread_counts_as_nothing() {
    let spring = Spring::default().with_standardize(Standardize::Period);
    // A novelty that differs by rounding alone: -0.1 - -0.4 is not exactly -0.4 - -0.7.
    let input = [observation(-0.1, Some(-0.4), 0), observation(-0.4, Some(-0.7), 1)];
    assert_ne!(input[0].novelty(), input[1].novelty());
    let scores = spring.score(&input).unwrap();
    let z = 0.5 * 0.5_f64.sqrt();
    assert!(
        (scores[0].score - z).abs() < 1e-12 && (scores[1].score + z).abs() < 1e-12,
        "{scores:?}"
    );
    assert_eq!(values(&spring.score(&input[..1]).unwrap()), [0.0]);
}

#[test]
fn what_is_not_finite_is_refused_by_every_scorer() {
    for name in NAMES {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let sound = observation(-1.0, Some(-1.0), 0);
            for (broken, field) in [
                (observation(bad, None, 0), "base"),
                (observation(-1.0, Some(bad), 0), "adapter"),
                (sound.with_population(Some(bad)), "population"),
                (sound.with_lookahead(Some(bad)), "lookahead"),
            ] {
                let result = scorer(name).score(&[observation(-1.0, None, 0), broken]);
                let Err(DriftError::NotFinite { index: 1, field: named, .. }) = result else {
                    panic!("{name}: {result:?}");
                };
                assert_eq!(named, field);
            }
        }
        let overflow = scorer(name).score(&[observation(f64::MAX, Some(f64::MIN), 0)]);
        assert!(
            matches!(overflow, Err(DriftError::NotFinite { index: 0, field: "novelty", .. })),
            "{overflow:?}"
        );
    }
    let spring = Spring::default().with_alpha(Alpha::new(f64::MAX).unwrap());
    let overflow = spring.score(&[observation(-2.0, None, 0)]);
    assert!(
        matches!(overflow, Err(DriftError::NotFinite { index: 0, field: "score", .. })),
        "{overflow:?}"
    );
}

#[test]
fn scorers_are_chosen_by_name() {
    for name in NAMES {
        assert_eq!(scorer(name).name(), name);
        let by_table: ScorerConfig =
            serde_json::from_value(serde_json::json!({ "kind": name })).unwrap();
        let by_name: ScorerConfig = serde_json::from_value(serde_json::json!(name)).unwrap();
        assert_eq!(by_table, by_name);
        let unknown = serde_json::json!({ "kind": name, "alpah": 1.0 });
        let error = serde_json::from_value::<ScorerConfig>(unknown).unwrap_err().to_string();
        assert!(error.contains("alpah"), "{error}");
        let again: ScorerConfig =
            serde_json::from_str(&serde_json::to_string(&by_table).unwrap()).unwrap();
        assert_eq!(again, by_table);
    }
    assert_eq!("spring".parse(), Ok(ScorerConfig::default()));
    let error = "sprong".parse::<ScorerConfig>().unwrap_err().to_string();
    assert!(error.contains("sprong") && error.contains("recency"), "{error}");
}

#[test]
fn alpha_is_a_number_or_inf() {
    let read = |json: &str| serde_json::from_str::<Alpha>(json).map_err(|error| error.to_string());
    assert_eq!(read("0.25"), Ok(Alpha::new(0.25).unwrap()));
    assert_eq!(read("2"), Ok(Alpha::new(2.0).unwrap()));
    assert_eq!(read("\"inf\""), Ok(Alpha::QUALITY_ONLY));
    for bad in ["-1", "\"0.5\"", "\"nan\"", "null", "[]"] {
        assert!(read(bad).unwrap_err().contains("\"inf\""), "{bad}");
    }
    assert!(
        "nan".parse::<Alpha>().is_err()
            && "".parse::<Alpha>().is_err()
            && "-inf".parse::<Alpha>().is_err()
    );
    assert_eq!(serde_json::to_string(&Alpha::QUALITY_ONLY).unwrap(), "\"inf\"");
    assert_eq!(serde_json::to_string(&Alpha::default()).unwrap(), "0.5");
}

proptest! {
    #[test]
    fn alpha_survives_writing(value in prop_oneof![0.0..1e300, Just(f64::INFINITY), Just(-0.0)]) {
        let alpha = Alpha::new(value).unwrap();
        prop_assert_eq!(alpha.to_string().parse(), Ok(alpha));
        let json = serde_json::to_string(&alpha).unwrap();
        prop_assert_eq!(serde_json::from_str::<Alpha>(&json).unwrap(), alpha);
    }

    /// S is quality alone at α = ∞ and novelty alone at α = 0, whatever the input.
    #[test]
    fn the_ends_of_alpha(input in prop::collection::vec(any_observation(), 0..20)) {
        for (alpha, name) in [(0.0, "novelty"), (f64::INFINITY, "quality")] {
            let spring = Spring::default().with_alpha(Alpha::new(alpha).unwrap());
            prop_assert_eq!(spring.score(&input).unwrap(), scorer(name).score(&input).unwrap());
        }
    }

    /// No scorer looks at the position: shuffled input gives the shuffled scores.
    #[test]
    fn scores_follow_their_observation(
        (input, shuffled) in prop::collection::vec(any_observation(), 1..20)
            .prop_flat_map(|input| {
                let indices: Vec<usize> = (0..input.len()).collect();
                (Just(input), Just(indices).prop_shuffle())
            })
    ) {
        let moved: Vec<Observation> = shuffled.iter().map(|&index| input[index]).collect();
        let configs = NAMES.map(|name| name.parse().unwrap());
        let standardized =
            ScorerConfig::Spring { alpha: Alpha::default(), standardize: Standardize::Period };
        for config in configs.into_iter().chain([standardized]) {
            let scores = config.init().unwrap().score(&input).unwrap();
            for (score, &index) in
                config.init().unwrap().score(&moved).unwrap().iter().zip(&shuffled)
            {
                prop_assert!((score.score - scores[index].score).abs() < 1e-9);
                prop_assert_eq!(score.novelty, scores[index].novelty);
            }
        }
    }

    /// z-scores do not depend on the unit or the zero of the likelihoods.
    #[test]
    fn standardized_scores_have_no_unit(
        input in prop::collection::vec((-9.0..-1.0, -9.0..-1.0), 3..20),
        scale in 0.1..10.0,
        shift in -5.0..5.0,
    ) {
        let spring = Spring::default().with_standardize(Standardize::Period);
        let at = |scale: f64, shift: f64| -> Vec<f64> {
            let observations: Vec<Observation> = input
                .iter()
                .map(|&(base, adapter)| observation(base * scale + shift, Some(adapter * scale), 0))
                .collect();
            values(&spring.score(&observations).unwrap())
        };
        for (plain, changed) in at(1.0, 0.0).iter().zip(at(scale, shift)) {
            prop_assert!((plain - changed).abs() < 1e-6, "{plain} {changed}");
        }
    }

    #[test]
    fn random_is_a_function_of_seed_and_order(
        seed: u64,
        other: u64,
        orders in prop::collection::hash_set(any::<u64>(), 2..20),
    ) {
        let input: Vec<Observation> =
            orders.iter().map(|&order| observation(-1.0, None, order)).collect();
        let at =
            |seed| values(&ScorerConfig::Random { seed }.init().unwrap().score(&input).unwrap());
        prop_assert_eq!(at(seed), at(seed));
        prop_assert!(at(seed).iter().all(|score| (0.0..1.0).contains(score)));
        prop_assume!(seed != other);
        prop_assert_ne!(at(seed), at(other));
        prop_assert_ne!(at(seed)[0], at(seed)[1]);
    }
}

//! Penalties and samplers.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_fuse::{FuseError, Penalties, SamplerConfig, log_softmax};

const NEG_INF: f32 = f32::NEG_INFINITY;

fn log_probs(logits: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; logits.len()];
    log_softmax(logits, &mut out).unwrap();
    out
}

fn choose(config: SamplerConfig, log_probs: &[f32], step: u64) -> usize {
    config.init().unwrap().choose(&mut log_probs.to_vec(), step).unwrap() as usize
}

/// How often each token is drawn in a number of steps.
fn counts(config: SamplerConfig, log_probs: &[f32], steps: u64) -> Vec<u32> {
    let (mut sampler, mut counts) = (config.init().unwrap(), vec![0; log_probs.len()]);
    for step in 0..steps {
        counts[sampler.choose(&mut log_probs.to_vec(), step).unwrap() as usize] += 1;
    }
    counts
}

fn warm() -> SamplerConfig {
    SamplerConfig::default().with_temperature(1.0).with_seed(7)
}

#[test]
fn penalties_by_hand() {
    let apply = |penalties: Penalties, history: &[u32]| {
        let mut values = [-1.0, -2.0, -3.0, 0.5];
        penalties.init().unwrap().apply(&mut values, history).unwrap();
        values
    };
    assert_eq!(
        apply(Penalties::NONE.with_repetition(2.0), &[1, 3, 1]),
        [-1.0, -2.625, -3.0, -0.4375]
    );
    assert_eq!(apply(Penalties::NONE.with_frequency(0.5), &[1, 0, 1]), [-1.5, -3.0, -3.0, 0.5]);
    assert_eq!(apply(Penalties::NONE.with_presence(0.5), &[1, 0, 1]), [-1.5, -2.5, -3.0, 0.5]);
    assert_eq!(apply(Penalties::NONE, &[0, 1, 2, 3]), [-1.0, -2.0, -3.0, 0.5]);
    assert_eq!(apply(Penalties::default(), &[]), [-1.0, -2.0, -3.0, 0.5]);
}

#[test]
fn penalties_refuse_what_they_cannot_apply() {
    let mut values = [-1.0, -2.0];
    let mut penalizer = Penalties::default().init().unwrap();
    let error = penalizer.apply(&mut values, &[0, 2]).unwrap_err();
    assert_eq!(
        (error, values),
        (FuseError::UnknownToken { token: 2, vocabulary: 2 }, [-1.0, -2.0])
    );
    for bad in [
        Penalties::NONE.with_repetition(0.0),
        Penalties::NONE.with_repetition(f32::NAN),
        Penalties::NONE.with_frequency(f32::INFINITY),
    ] {
        assert!(bad.init().is_err(), "{bad:?}");
    }
    assert!(serde_json::from_str::<Penalties>(r#"{"repetition_penalty": 1.1}"#).is_err());
    assert_eq!(serde_json::from_str::<Penalties>("{}").unwrap().repetition, 1.2);
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let mut values = [-3.0, -1.0, -2.0, -1.0];
    let token = SamplerConfig::default().init().unwrap().choose(&mut values, 0);
    assert_eq!((token, values), (Ok(1), [-3.0, -1.0, -2.0, -1.0]), "and leaves the values alone");
    assert_eq!(choose(SamplerConfig::default(), &[NEG_INF, -9.0], 0), 1);
}

#[test]
fn each_filter_by_hand() {
    let values: Vec<f32> = [0.125f32, 0.5, 0.125, 0.25].map(f32::ln).into();
    // None of them is as rare as a tenth.
    let kept = |config| {
        let counts = counts(config, &values, 200);
        (0..4).filter(|&token| counts[token] > 0).collect::<Vec<usize>>()
    };
    assert_eq!(kept(warm().with_top_k(Some(3))), [0, 1, 3], "tie to the lower id");
    assert_eq!(kept(warm().with_top_p(Some(0.7))), [1, 3]);
    assert_eq!(kept(warm().with_top_p(Some(0.8))), [0, 1, 3]);
    assert_eq!(kept(warm().with_min_p(Some(0.4))), [1, 3]);
    assert_eq!(
        kept(warm().with_top_k(Some(2)).with_top_p(Some(0.66))),
        [1],
        "top-p sees 2/3 and 1/3"
    );
    assert_eq!(
        kept(warm().with_temperature(0.1).with_min_p(Some(0.4))),
        [1],
        "min-p sees the tempered"
    );
    assert_eq!(kept(warm()), [0, 1, 2, 3]);

    let equals = [-2.0, -1.0, -3.0, -1.0];
    let likeliest = counts(warm().with_min_p(Some(1.0)), &equals, 50);
    assert!(
        likeliest[0] + likeliest[2] == 0 && likeliest[1] > 0 && likeliest[3] > 0,
        "{likeliest:?}"
    );
    let zeros = counts(warm().with_top_k(Some(2)), &[-0.0, 0.0, -1.0], 50);
    assert!(zeros[0] > 0 && zeros[1] > 0 && zeros[2] == 0, "0 and -0 are equal: {zeros:?}");
}

#[test]
fn another_seed_draws_otherwise() {
    let even = log_probs(&[0.0; 100]);
    let draws = |seed| -> Vec<usize> {
        (0..20).map(|step| choose(warm().with_seed(seed), &even, step)).collect()
    };
    assert_ne!(draws(1), draws(2));
}

#[test]
fn what_holds_no_choice_is_an_error() {
    for config in [SamplerConfig::default(), warm()] {
        let choose =
            |values: &[f32]| config.init().unwrap().choose(&mut values.to_vec(), 0).unwrap_err();
        assert_eq!(choose(&[NEG_INF; 3]), FuseError::NoMass("log_probs"));
        assert_eq!(choose(&[]), FuseError::NoMass("log_probs"));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut values = vec![-1.0; 40];
            values[35] = bad;
            assert!(matches!(choose(&values), FuseError::NotFinite { index: 35, .. }));
            assert!(matches!(choose(&[bad; 3]), FuseError::NotFinite { index: 0, .. }));
        }
    }
    for bad in [
        warm().with_temperature(-1.0),
        warm().with_temperature(f32::NAN),
        warm().with_top_k(Some(0)),
        warm().with_top_p(Some(0.0)),
        warm().with_min_p(Some(1.5)),
    ] {
        assert!(bad.init().is_err(), "{bad:?}");
    }
    assert!(serde_json::from_str::<SamplerConfig>(r#"{"topk": 3}"#).is_err());
}

/// The tokens left and their probabilities: the filters one after the other, each by its definition
/// on the renormalised rest. `None` if rounding decides where top-p ends.
fn by_definition(config: SamplerConfig, values: &[f32]) -> Option<Vec<(usize, f64)>> {
    let highest = values.iter().copied().fold(NEG_INF, f32::max);
    let weight = |token: usize| f64::from((values[token] - highest) / config.temperature).exp();
    let mut ranked: Vec<usize> =
        (0..values.len()).filter(|&token| values[token] > NEG_INF).collect();
    ranked.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    ranked.truncate(config.top_k.unwrap_or(usize::MAX));
    let total: f64 = ranked.iter().map(|&token| weight(token)).sum();
    if let Some(p) = config.top_p.filter(|&p| p < 1.0).map(f64::from) {
        let mut sum = 0.0;
        let mut count = 0;
        while sum / total < p && count < ranked.len() {
            sum += weight(ranked[count]);
            count += 1;
            if (sum / total - p).abs() <= 1e-6 {
                return None;
            }
        }
        ranked.truncate(count);
    }
    ranked.retain(|&token| weight(token) >= f64::from(config.min_p.unwrap_or(0.0)));
    let mass: f64 = ranked.iter().map(|&token| weight(token)).sum();
    Some(ranked.into_iter().map(|token| (token, weight(token) / mass)).collect())
}

#[test]
fn draws_follow_the_probabilities() {
    const DRAWS: u32 = 20_000;
    let log = |probabilities: &[f32]| probabilities.iter().map(|p| p.ln()).collect::<Vec<f32>>();
    let few = log(&[0.1, 0.6, 0.3]);
    // Six are equal, four of which top-p keeps.
    let equals = log(&[0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.06, 0.04]);
    // Two are heavier than the equals, five of which are kept.
    let heavier = log(&[0.2, 0.14, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08]);
    let many: Vec<f32> =
        log_probs(&(0..40).map(|token| (token * 17 % 40) as f32 * 0.1).collect::<Vec<f32>>());
    let top_p = |p| warm().with_top_p(Some(p));
    for (config, values) in [
        (warm(), &few),
        (warm().with_temperature(2.0), &few),
        (warm().with_top_k(Some(2)), &few),
        (top_p(0.65), &equals),
        (top_p(0.95).with_min_p(Some(0.3)), &equals),
        (top_p(0.7), &heavier),
        (top_p(0.1), &many),
        (top_p(0.5), &many),
        (top_p(0.9).with_top_k(Some(20)).with_min_p(Some(0.2)), &many),
    ] {
        let counts = counts(config, values, u64::from(DRAWS));
        let mut expected = vec![0.0; values.len()];
        for (token, p) in by_definition(config, values).unwrap() {
            expected[token] = p;
        }
        for (count, p) in counts.iter().zip(expected) {
            // Five standard deviations; the draws are seeded, so this passes or fails for good.
            let deviation: f64 = f64::from(*count) / f64::from(DRAWS) - p;
            let limit = 5.0 * (p * (1.0 - p) / f64::from(DRAWS)).sqrt();
            assert!(deviation.abs() <= limit, "{config:?} {p} {counts:?}");
        }
    }
}

/// Every draw, and there are many, is of a token that the filters leave.
fn follows_the_definition(config: SamplerConfig, values: &[f32]) -> Result<(), TestCaseError> {
    let Some(left) = by_definition(config, values) else {
        return Err(TestCaseError::reject("rounding decides"));
    };
    for step in 0..20 {
        let token = choose(config, values, step);
        prop_assert!(left.iter().any(|(left, _)| *left == token), "{token} {config:?}");
    }
    Ok(())
}

/// Large enough for every shortcut: many blocks, few likely tokens.
fn large() -> Vec<f32> {
    log_probs(
        &(0..30_011).map(|token| ((token * 7919) % 30_011) as f32 * 4e-3).collect::<Vec<f32>>(),
    )
}

#[test]
fn filters_are_their_definitions_on_a_large_vocabulary() {
    for temperature in [0.1, 0.7, 2.0] {
        for top_k in [None, Some(1), Some(40), Some(1000)] {
            for (top_p, min_p) in
                [(None, None), (Some(0.5), None), (Some(0.95), Some(0.3)), (None, Some(0.2))]
            {
                let config = SamplerConfig::default()
                    .with_temperature(temperature)
                    .with_top_k(top_k)
                    .with_top_p(top_p)
                    .with_min_p(min_p)
                    .with_seed(1);
                follows_the_definition(config, &large()).unwrap();
            }
        }
    }
}

/// Where all tokens are alike, a filter's last one is decided by the ids alone, and almost all must
/// be looked at.
#[test]
fn filters_are_their_definitions_on_a_flat_distribution() {
    let flat = log_probs(&[0.0; 5003]);
    let uneven = log_probs(&(0..5003).map(|token| (token % 7) as f32 * 1e-3).collect::<Vec<f32>>());
    for values in [flat, uneven] {
        for top_k in [None, Some(1), Some(4001)] {
            for (top_p, min_p) in
                [(Some(0.94), None), (Some(0.3), Some(0.999)), (None, Some(0.999))]
            {
                let config = SamplerConfig::default()
                    .with_temperature(0.9)
                    .with_top_k(top_k)
                    .with_top_p(top_p)
                    .with_min_p(min_p)
                    .with_seed(1);
                follows_the_definition(config, &values).unwrap();
            }
        }
    }
}

#[test]
fn draws_reach_all_of_a_large_vocabulary() {
    const TOKENS: usize = 10_000;
    let even = log_probs(&[0.0; TOKENS]);
    let mut sampler = warm().init().unwrap();
    let mut counts = [0u32; 10];
    for step in 0..2000 {
        counts[sampler.choose(&mut even.clone(), step).unwrap() as usize * 10 / TOKENS] += 1;
    }
    // 200 expected in each tenth, with a standard deviation of 13.
    assert!(counts.iter().all(|&count| (140..260).contains(&count)), "{counts:?}");
}

prop_compose! {
    fn distribution()(
        logits in prop::collection::vec(prop_oneof![9 => -8.0f32..8.0, 1 => Just(NEG_INF)], 1..300),
        possible in -8.0f32..8.0,
    ) -> Vec<f32> {
        let mut logits = logits;
        logits[0] = possible;
        log_probs(&logits)
    }
}

prop_compose! {
    fn sampling()(
        temperature in 0.1f32..3.0,
        top_k in prop::option::of(1usize..50),
        top_p in prop::option::of(0.01f32..=1.0),
        min_p in prop::option::of(0.0f32..=1.0),
        seed: u64,
    ) -> SamplerConfig {
        SamplerConfig::default()
            .with_temperature(temperature)
            .with_top_k(top_k)
            .with_top_p(top_p)
            .with_min_p(min_p)
            .with_seed(seed)
    }
}

proptest! {
    #[test]
    fn greedy_is_the_first_maximum(values in distribution()) {
        let token = choose(SamplerConfig::default(), &values, 0);
        let best = values.iter().copied().fold(NEG_INF, f32::max);
        prop_assert_eq!(Some(token), values.iter().position(|&value| value == best));
    }

    #[test]
    fn draws_are_functions_of_seed_and_step(
        values in distribution(),
        config in sampling(),
        step: u64,
    ) {
        let first = choose(config, &values, step);
        prop_assert_eq!(first, choose(config, &values, step));
        // Nor does it matter what the same sampler chose before.
        let mut sampler = config.init().unwrap();
        sampler.choose(&mut values.clone(), step.wrapping_add(1)).unwrap();
        prop_assert_eq!(sampler.choose(&mut values.clone(), step).unwrap() as usize, first);
    }

    #[test]
    fn filters_are_their_definitions(values in distribution(), config in sampling()) {
        follows_the_definition(config, &values)?;
    }

    /// Penalties touch the tokens seen and no others, in whatever order these came.
    #[test]
    fn penalties_touch_what_was_seen(
        values in distribution(),
        history in prop::collection::vec(0usize..300, 0..20),
        repetition in 0.5f32..2.0,
        frequency in -1.0f32..1.0,
        presence in -1.0f32..1.0,
    ) {
        let mut history: Vec<u32> =
            history.iter().map(|token| (token % values.len()) as u32).collect();
        let mut penalizer = Penalties::default()
            .with_repetition(repetition)
            .with_frequency(frequency)
            .with_presence(presence)
            .init()
            .unwrap();
        let mut apply = |history: &[u32]| {
            let mut out = values.clone();
            penalizer.apply(&mut out, history).unwrap();
            out
        };
        let penalized = apply(&history);
        let possible: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let zero = possible.iter().sum::<f32>() / possible.len() as f32;
        for (token, (&before, &after)) in values.iter().zip(&penalized).enumerate() {
            let count = history.iter().filter(|&&seen| seen as usize == token).count() as f32;
            let above = before - zero;
            let repeated = zero + if above < 0.0 { above * repetition } else { above / repetition };
            let expected =
                if count == 0.0 { before } else { repeated - presence - frequency * count };
            prop_assert!(
                (after - expected).abs() < 1e-3 * expected.abs().max(1.0) || after == expected
            );
        }
        history.reverse();
        prop_assert_eq!(apply(&history), penalized);
    }
}

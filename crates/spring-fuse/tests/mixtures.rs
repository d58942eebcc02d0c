//! Mixtures, λ and the divergence, against plain `f64` restatements of their definitions.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_fuse::{
    Contrastive, FuseError, Lambda, LogLinear, MixTrace, Mixture, MixtureConfig, Probability,
    Space, jensen_shannon, log_softmax,
};

const NEG_INF: f32 = f32::NEG_INFINITY;

fn log_probs(logits: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; logits.len()];
    log_softmax(logits, &mut out).unwrap();
    out
}

fn mix(
    mixture: &mut dyn Mixture,
    branches: &[Vec<f32>],
    weights: &[f32],
) -> Result<(Vec<f32>, MixTrace), FuseError> {
    let branches: Vec<&[f32]> = branches.iter().map(Vec::as_slice).collect();
    let mut out = vec![f32::NAN; branches[0].len()];
    let trace = mixture.mix(&branches, weights, &mut out)?;
    Ok((out, trace))
}

fn all_mixtures() -> [Box<dyn Mixture>; 4] {
    let lambda = Lambda::Divergence { agree: 0.1, disagree: 0.9 };
    let diverging = MixtureConfig::default().with_lambda(lambda).init().unwrap();
    [Box::new(Probability), Box::new(LogLinear), Box::new(Contrastive::default()), diverging]
}

fn sum_of_probabilities(log_probs: &[f32]) -> f64 {
    log_probs.iter().map(|&log_prob| f64::from(log_prob).exp()).sum()
}

fn normalized(values: &[f64]) -> Vec<f64> {
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = highest + values.iter().map(|value| (value - highest).exp()).sum::<f64>().ln();
    values.iter().map(|value| value - log_sum).collect()
}

fn close(actual: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    for (&actual, &expected) in actual.iter().zip(expected) {
        let error = (f64::from(actual) - expected).abs();
        prop_assert!(
            error < 1e-5 + 2e-6 * expected.abs() || f64::from(actual) == expected,
            "{actual} {expected}"
        );
    }
    Ok(())
}

prop_compose! {
    fn logits(vocabulary: usize)(
        logits in prop::collection::vec(
            prop_oneof![9 => -30.0f32..30.0, 1 => Just(NEG_INF)],
            vocabulary,
        ),
    ) -> Vec<f32> {
        logits
    }
}

/// 2 to 4 branches over one vocabulary, all of whose last token is possible.
fn branches() -> impl Strategy<Value = Vec<Vec<f32>>> {
    (2usize..=4, 1usize..70).prop_flat_map(|(count, vocabulary)| {
        prop::collection::vec(logits(vocabulary), count).prop_map(|mut branches| {
            for branch in &mut branches {
                *branch.last_mut().unwrap() = 1.0;
                *branch = log_probs(branch);
            }
            branches
        })
    })
}

/// Branches with weights that are all above 0.
fn weighted() -> impl Strategy<Value = (Vec<Vec<f32>>, Vec<f32>)> {
    branches().prop_flat_map(|branches| {
        let weights = prop::collection::vec(0.05f32..1.0, branches.len());
        (
            Just(branches),
            weights.prop_map(|weights| {
                let sum: f32 = weights.iter().sum();
                weights.iter().map(|weight| weight / sum).collect()
            }),
        )
    })
}

#[test]
fn two_branches_by_hand() {
    let branches =
        [log_probs(&[0.75f32.ln(), 0.25f32.ln()]), log_probs(&[0.25f32.ln(), 0.75f32.ln()])];
    let (out, trace) = mix(&mut Probability, &branches, &[0.75, 0.25]).unwrap();
    assert!((out[0].exp() - 0.625).abs() < 1e-6 && (out[1].exp() - 0.375).abs() < 1e-6);
    let views: [&[f32]; 2] = [&branches[0], &branches[1]];
    let shares = trace.shares(&views, 0).unwrap();
    assert!(
        (shares[0] - 0.9).abs() < 1e-6 && (shares[1] - 0.1).abs() < 1e-6,
        "0.5625 of 0.625: {shares:?}"
    );
    let (out, _) = mix(&mut LogLinear, &branches, &[0.5, 0.5]).unwrap();
    assert!((out[0].exp() - 0.5).abs() < 1e-6);
    let (out, _) = mix(
        &mut Contrastive::default().with_beta(1.0).with_plausibility(0.1),
        &branches,
        &[0.5, 0.5],
    )
    .unwrap();
    assert!(
        (out[0].exp() - (1.0 / 12.0) / (1.0 / 12.0 + 2.25)).abs() < 1e-6,
        "p1^2 / p0, normalised"
    );
    let (out, _) = mix(
        &mut Contrastive::default().with_beta(1.0).with_plausibility(0.5),
        &branches,
        &[0.5, 0.5],
    )
    .unwrap();
    assert_eq!(out, [NEG_INF, 0.0], "a third of the best is not plausible at 0.5");
}

#[test]
fn probabilities_mix_far_below_what_f32_can_hold() {
    let far = vec![0.0, -1e4, -1e4];
    let (out, _) =
        mix(&mut Probability, &[far.clone(), vec![0.0, -1e4 - 1.0, NEG_INF]], &[0.5, 0.5]).unwrap();
    let expected = [0.0, -1e4 + 0.5f64.ln() + (-1.0f64).exp().ln_1p(), -1e4 + 0.5f64.ln()];
    for (actual, expected) in out.iter().zip(expected) {
        assert!((f64::from(*actual) - expected).abs() < 1e-3, "{actual} {expected}");
    }
}

#[test]
fn the_divergence_by_hand() {
    let js = |a: &[f32], b: &[f32]| jensen_shannon(&[a, b]).unwrap();
    let (a, b) = ([0.0, NEG_INF], [NEG_INF, 0.0]);
    assert!((js(&a, &b) - 2f32.ln()).abs() < 1e-6, "nothing in common");
    assert!(js(&a, &a) < 1e-6);
    let (a, b) =
        (log_probs(&[0.75f32.ln(), 0.25f32.ln()]), log_probs(&[0.25f32.ln(), 0.75f32.ln()]));
    let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
    assert!((f64::from(js(&a, &b)) - expected).abs() < 1e-6);
}

#[test]
fn lambda_moves_with_the_divergence() {
    let config =
        MixtureConfig::default().with_lambda(Lambda::Divergence { agree: 0.2, disagree: 0.6 });
    let weights = config.lambda.weights(2, None).unwrap();
    assert!((weights[1] - 0.4).abs() < 1e-6, "the middle");
    let mut mixture = config.init().unwrap();
    let agreed = mix(&mut *mixture, &[vec![0.0, NEG_INF], vec![0.0, NEG_INF]], &weights).unwrap().1;
    assert!((agreed.weights[1] - 0.2).abs() < 1e-6 && agreed.divergence.unwrap() < 1e-6);
    let (out, opposed) =
        mix(&mut *mixture, &[vec![0.0, NEG_INF], vec![NEG_INF, 0.0]], &weights).unwrap();
    assert!((opposed.weights[1] - 0.6).abs() < 1e-6 && (out[1].exp() - 0.6).abs() < 1e-6);
    let three = [vec![0.0, NEG_INF], vec![0.0, NEG_INF], vec![0.0, NEG_INF]];
    let moved = mix(&mut *mixture, &three, &[0.5, 0.375, 0.125]).unwrap().1.weights;
    assert!(
        (moved[1] - 0.15).abs() < 1e-6 && (moved[2] - 0.05).abs() < 1e-6,
        "three to one: {moved:?}"
    );
}

#[test]
fn what_cannot_be_mixed_is_refused() {
    let even = vec![0.5f32.ln(); 2];
    for mut mixture in all_mixtures() {
        let mut error = |branches: &[Vec<f32>], weights: &[f32]| {
            mix(&mut *mixture, branches, weights).unwrap_err()
        };
        assert_eq!(error(std::slice::from_ref(&even), &[1.0]), FuseError::BranchCount(1));
        assert_eq!(error(&vec![even.clone(); 9], &[0.0; 9]), FuseError::BranchCount(9));
        let uneven = error(&[even.clone(), vec![0.0]], &[0.5, 0.5]);
        assert!(
            matches!(uneven, FuseError::LengthMismatch { expected: 2, actual: 1, .. }),
            "{uneven}"
        );
        for weights in [[0.6, 0.5], [-0.5, 1.5], [f32::NAN, 0.5], [0.0, 0.0]] {
            let refused = error(&[even.clone(), even.clone()], &weights);
            assert!(matches!(refused, FuseError::InvalidWeights { .. }), "{refused}");
        }
        for (bad, weights) in
            [(f32::NAN, [0.5, 0.5]), (f32::INFINITY, [0.5, 0.5]), (f32::NAN, [0.0, 1.0])]
        {
            let refused = error(&[even.clone(), vec![-1.0, bad]], &weights);
            assert!(matches!(refused, FuseError::NotFinite { index: 1, .. }), "{refused}");
        }
        let empty = error(&[vec![NEG_INF; 2], vec![NEG_INF; 2]], &[0.5, 0.5]);
        assert!(matches!(empty, FuseError::NoMass(_)), "{empty}");
    }
    let disjoint = mix(&mut LogLinear, &[vec![0.0, NEG_INF], vec![NEG_INF, 0.0]], &[0.5, 0.5]);
    assert!(matches!(disjoint, Err(FuseError::NoMass(_))));
}

/// With the divergence as without it: only a branch that has weight must be a distribution.
#[test]
fn a_branch_without_weight_may_hold_anything() {
    let good = [log_probs(&[1.0, 0.0, 0.5]), log_probs(&[0.0, 2.0, 0.5])];
    for config in [
        MixtureConfig::default().with_trace_divergence(true),
        MixtureConfig::default().with_lambda(Lambda::Divergence { agree: 0.2, disagree: 0.8 }),
    ] {
        let mut mixture = config.init().unwrap();
        let mut of = |branches: &[Vec<f32>], weights: &[f32]| mix(&mut *mixture, branches, weights);
        for bad in [f32::NAN, f32::INFINITY] {
            let bad = vec![0.0, bad, 0.0];
            let (out, trace) = of(&[good[0].clone(), bad.clone()], &[1.0, 0.0]).unwrap();
            assert_eq!((out, trace.divergence), (good[0].clone(), None));
            // Beside two others it is as if it were not there.
            let three =
                of(&[good[0].clone(), good[1].clone(), bad.clone()], &[0.5, 0.5, 0.0]).unwrap();
            let two = of(&good, &[0.5, 0.5]).unwrap();
            assert_eq!((&three.0, three.1.divergence), (&two.0, two.1.divergence));
            assert_eq!(three.1.weights[..2], two.1.weights[..]);
            assert!(two.1.divergence.is_some_and(|divergence| divergence > 0.01));
            let refused = of(&[good[0].clone(), bad.clone()], &[0.5, 0.5]).unwrap_err();
            assert!(matches!(refused, FuseError::NotFinite { index: 1, .. }), "{refused}");
        }
    }
}

#[test]
fn shares_name_what_they_cannot_tell() {
    let branches: [&[f32]; 2] = [&[0.0, NEG_INF], &[0.0, NEG_INF]];
    let trace = Probability.mix(&branches, &[0.5, 0.5], &mut [0.0; 2]).unwrap();
    assert_eq!(
        trace.shares(&branches, 2),
        Err(FuseError::UnknownToken { token: 2, vocabulary: 2 })
    );
    assert_eq!(trace.shares(&branches, 1), Err(FuseError::NoMass("shares")));
    assert!(matches!(trace.shares(&branches[..1], 0), Err(FuseError::LengthMismatch { .. })));
    let json = serde_json::to_string(&trace).unwrap();
    assert_eq!(json, r#"{"weights":[0.5,0.5],"divergence":null}"#);
    assert_eq!(serde_json::from_str::<MixTrace>(&json).unwrap(), trace);
}

#[test]
fn configurations_have_names_and_defaults() {
    let read = |json: &str| serde_json::from_str::<MixtureConfig>(json);
    assert_eq!(
        read("{}").unwrap(),
        MixtureConfig::default()
            .with_space(Space::Probability {})
            .with_lambda(Lambda::Fixed(0.5))
            .with_trace_divergence(false)
    );
    for name in ["probability", "logit", "contrastive"] {
        let config = read(&format!(r#"{{"space": "{name}", "lambda": 0}}"#)).unwrap();
        assert_eq!(config.init().unwrap().name(), name);
        assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }
    assert_eq!(
        read(r#"{"lambda": "gate"}"#).unwrap().lambda,
        Lambda::Gate { low: 0.25, high: 0.75 }
    );
    assert_eq!("divergence".parse(), Ok(Lambda::Divergence { agree: 0.25, disagree: 0.75 }));
    assert_eq!("0.3".parse(), Ok(Lambda::Fixed(0.3)));
    for bad in [
        r#"{"lamda": 1}"#,
        r#"{"space": "probabilty"}"#,
        r#"{"space": {"kind": "logit", "beta": 1}}"#,
        r#"{"lambda": {"kind": "gate", "lo": 1}}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    for bad in [
        r#"{"lambda": 1.5}"#,
        r#"{"space": "contrastive", "lambda": "gate"}"#,
        r#"{"space": {"kind": "contrastive", "beta": -1}}"#,
    ] {
        assert!(read(bad).unwrap().init().is_err(), "{bad}");
    }
    let traced = MixtureConfig::default().with_trace_divergence(true);
    let trace = mix(&mut *traced.init().unwrap(), &[vec![0.0], vec![0.0]], &[0.5, 0.5]).unwrap().1;
    assert!(trace.divergence.unwrap() < 1e-6);
}

/// Several blocks and a rest.
#[test]
fn large_vocabularies_are_mixed_by_the_definition() {
    const VOCABULARY: usize = 5003;
    let logits = |step: usize| -> Vec<f32> {
        (0..VOCABULARY).map(|token| ((token * step) % VOCABULARY) as f32 * 5e-3).collect()
    };
    let branches = [log_probs(&logits(17)), log_probs(&logits(311))];
    let exact = |branch: usize, token: usize| f64::from(branches[branch][token]);
    let over_tokens = |f: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..VOCABULARY).map(f).collect() };
    let (out, _) = mix(&mut Probability, &branches, &[0.25, 0.75]).unwrap();
    close(
        &out,
        &over_tokens(&|token| (0.25 * exact(0, token).exp() + 0.75 * exact(1, token).exp()).ln()),
    )
    .unwrap();
    let (out, _) = mix(&mut LogLinear, &branches, &[0.25, 0.75]).unwrap();
    close(
        &out,
        &normalized(&over_tokens(&|token| 0.25 * exact(0, token) + 0.75 * exact(1, token))),
    )
    .unwrap();
    let entropy = |branch: usize, token: usize| {
        let mean = (exact(0, token).exp() + exact(1, token).exp()) / 2.0;
        exact(branch, token).exp() * (exact(branch, token) - mean.ln()) / 2.0
    };
    let expected: f64 = over_tokens(&|token| entropy(0, token) + entropy(1, token)).iter().sum();
    let divergence = jensen_shannon(&[&branches[0], &branches[1]]).unwrap();
    assert!((f64::from(divergence) - expected).abs() < 1e-6, "{divergence} {expected}");
}

proptest! {
    #[test]
    fn log_softmax_is_its_definition(logits in logits(100), shift in -1e4f32..1e4) {
        prop_assume!(logits.iter().any(|&logit| logit > NEG_INF));
        // What is compared is the softmax of the shifted values as f32 holds them.
        let shifted: Vec<f32> = logits.iter().map(|logit| logit + shift).collect();
        let exact = normalized(&shifted.iter().map(|&logit| f64::from(logit)).collect::<Vec<_>>());
        let out = log_probs(&shifted);
        close(&out, &exact)?;
        prop_assert!((sum_of_probabilities(&out) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn every_mixture_is_a_distribution((branches, weights) in weighted()) {
        for mut mixture in all_mixtures() {
            let (out, _) = mix(&mut *mixture, &branches, &weights).unwrap();
            let sum = sum_of_probabilities(&out);
            prop_assert!((sum - 1.0).abs() < 1e-5, "{}: {sum}", mixture.name());
            prop_assert!(out.iter().all(|&value| value < 1e-5));
        }
    }

    #[test]
    fn mixtures_are_their_definitions((branches, weights) in weighted(), beta in 0.0f32..3.0) {
        let exact = |token: usize, branch: usize| f64::from(branches[branch][token]);
        let over_tokens =
            |f: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..branches[0].len()).map(f).collect() };
        let weighted_sum = |f: &dyn Fn(usize) -> f64| -> f64 {
            weights.iter().enumerate().map(|(branch, &weight)| f64::from(weight) * f(branch)).sum()
        };
        let (out, _) = mix(&mut Probability, &branches, &weights).unwrap();
        close(
            &out,
            &over_tokens(&|token| weighted_sum(&|branch| exact(token, branch).exp()).ln()),
        )?;
        let (out, _) = mix(&mut LogLinear, &branches, &weights).unwrap();
        close(
            &out,
            &normalized(&over_tokens(&|token| weighted_sum(&|branch| exact(token, branch)))),
        )?;
        let contrast = Contrastive::default().with_beta(beta).with_plausibility(f32::MIN_POSITIVE);
        let (out, _) = mix(&mut { contrast }, &branches[..2], &[0.5, 0.5]).unwrap();
        let difference = over_tokens(&|token| match exact(token, 1) {
            f64::NEG_INFINITY => f64::NEG_INFINITY,
            with => with + f64::from(beta) * (with - exact(token, 0).max(-1e4)),
        });
        for (&actual, &expected) in out.iter().zip(&normalized(&difference)) {
            // z0 at its floor makes numbers of 1e4, which f32 holds to 1e-3.
            prop_assert!(
                (f64::from(actual) - expected).abs() < 0.02 || f64::from(actual) == expected,
                "{actual} {expected}"
            );
        }
    }

    /// All the weight on one branch gives that branch bit for bit, in every space and under every
    /// λ.
    #[test]
    fn the_ends_of_lambda_are_exact(branches in branches(), chosen in 0usize..4) {
        let chosen = chosen % branches.len();
        let weights: Vec<f32> =
            (0..branches.len()).map(|branch| if branch == chosen { 1.0 } else { 0.0 }).collect();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for mut mixture in all_mixtures() {
            let (out, _) = mix(&mut *mixture, &branches, &weights).unwrap();
            prop_assert_eq!(bits(&out), bits(&branches[chosen]));
        }
        for (lambda, branch) in [(0.0, 0), (1.0, 1)] {
            let weights = Lambda::Fixed(lambda).weights(2, None).unwrap();
            let (out, _) = mix(&mut Probability, &branches[..2], &weights).unwrap();
            prop_assert_eq!(bits(&out), bits(&branches[branch]));
        }
    }

    /// Renaming the tokens renames the result.
    #[test]
    fn tokens_have_no_order(
        ((branches, weights), order) in weighted().prop_flat_map(|(branches, weights)| {
            let order: Vec<usize> = (0..branches[0].len()).collect();
            (Just((branches, weights)), Just(order).prop_shuffle())
        })
    ) {
        let renamed: Vec<Vec<f32>> = branches
            .iter()
            .map(|branch| order.iter().map(|&token| branch[token]).collect())
            .collect();
        for mut mixture in all_mixtures() {
            let (plain, _) = mix(&mut *mixture, &branches, &weights).unwrap();
            let (out, _) = mix(&mut *mixture, &renamed, &weights).unwrap();
            for (new, &token) in out.iter().zip(&order) {
                prop_assert!(
                    (new - plain[token]).abs() < 1e-4 || *new == plain[token],
                    "{}",
                    mixture.name()
                );
            }
        }
    }

    /// The order of the branches does not matter where none is special.
    #[test]
    fn branches_have_no_order((branches, weights) in weighted()) {
        let (mut turned, mut turned_weights) = (branches.clone(), weights.clone());
        turned.reverse();
        turned_weights.reverse();
        let spaces: [Box<dyn Mixture>; 2] = [Box::new(Probability), Box::new(LogLinear)];
        for mut mixture in spaces {
            let (plain, _) = mix(&mut *mixture, &branches, &weights).unwrap();
            let (out, _) = mix(&mut *mixture, &turned, &turned_weights).unwrap();
            for (a, b) in plain.iter().zip(&out) {
                prop_assert!((a - b).abs() < 1e-4 || a == b);
            }
        }
    }

    #[test]
    fn the_divergence_is_its_definition(branches in branches()) {
        let views: Vec<&[f32]> = branches.iter().map(Vec::as_slice).collect();
        let n = branches.len() as f64;
        let exact: f64 = (0..branches[0].len())
            .map(|token| {
                let p: Vec<f64> =
                    branches.iter().map(|branch| f64::from(branch[token]).exp()).collect();
                let mean = p.iter().sum::<f64>() / n;
                p.iter().filter(|&&p| p > 0.0).map(|p| p * (p / mean).ln()).sum::<f64>() / n
            })
            .sum();
        let divergence = jensen_shannon(&views).unwrap();
        prop_assert!((f64::from(divergence) - exact).abs() < 1e-5, "{divergence} {exact}");
        prop_assert!((0.0..=n.ln() as f32).contains(&divergence));
    }

    #[test]
    fn shares_add_up_and_follow_bayes((branches, weights) in weighted()) {
        let views: Vec<&[f32]> = branches.iter().map(Vec::as_slice).collect();
        let mut out = vec![0.0; branches[0].len()];
        let trace = Probability.mix(&views, &weights, &mut out).unwrap();
        let token = branches[0].len() - 1;
        let shares = trace.shares(&views, token as u32).unwrap();
        prop_assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        for (branch, share) in shares.iter().enumerate() {
            let expected = weights[branch] * (branches[branch][token] - out[token]).exp();
            prop_assert!((share - expected).abs() < 1e-4, "{share} {expected}");
        }
    }
}

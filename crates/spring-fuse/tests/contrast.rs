//! The contrast with the base, against plain `f64` restatements of its definition.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_fuse::{Contrast, FuseError, MixtureConfig, Space, Tail, log_softmax};

const NEG_INF: f32 = f32::NEG_INFINITY;

fn log_probs(logits: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; logits.len()];
    log_softmax(logits, &mut out).unwrap();
    out
}

fn apply(contrast: Contrast, personal: &[f32], base: &[f32]) -> Result<Vec<f32>, FuseError> {
    let mut out = vec![f32::NAN; personal.len()];
    contrast.apply(personal, base, &mut out)?;
    Ok(out)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn likeliest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, token| if values[token] > values[best] { token } else { best })
}

/// The definition in `f64`; what is plausible is decided as `f32` has it.
fn by_definition(contrast: Contrast, personal: &[f32], base: &[f32]) -> Vec<f64> {
    let highest = personal.iter().copied().fold(NEG_INF, f32::max);
    let in_head = |token: usize| personal[token] >= highest + contrast.plausibility.ln();
    let z = |token: usize| {
        let (p, p0) = (f64::from(personal[token]), f64::from(base[token]).max(-1e4));
        p + f64::from(contrast.weight) * (p - p0)
    };
    let head: Vec<usize> = (0..personal.len()).filter(|token| in_head(*token)).collect();
    let top = head.iter().map(|token| z(*token)).fold(f64::NEG_INFINITY, f64::max);
    let log_sum = top + head.iter().map(|token| (z(*token) - top).exp()).sum::<f64>().ln();
    let mass: f64 = head.iter().map(|token| f64::from(personal[*token]).exp()).sum();
    let value = |token: usize| match (in_head(token), contrast.tail) {
        (true, Tail::Keep) => z(token) - log_sum + mass.ln(),
        (true, _) => z(token) - log_sum,
        (false, Tail::Keep) => f64::from(personal[token]),
        (false, _) => f64::NEG_INFINITY,
    };
    (0..personal.len()).map(value).collect()
}

prop_compose! {
    fn logits(vocabulary: usize)(
        logits in prop::collection::vec(
            prop_oneof![9 => -12.0f32..12.0, 1 => Just(NEG_INF)],
            vocabulary,
        ),
    ) -> Vec<f32> {
        logits
    }
}

/// A person's distribution and the base's, which both give the last token something.
fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1usize..70).prop_flat_map(|vocabulary| (logits(vocabulary), logits(vocabulary))).prop_map(
        |(mut personal, mut base)| {
            for branch in [&mut personal, &mut base] {
                *branch.last_mut().unwrap() = 1.0;
                *branch = log_probs(branch);
            }
            (personal, base)
        },
    )
}

fn contrasts() -> impl Strategy<Value = Contrast> {
    let tails = prop_oneof![Just(Tail::Keep), Just(Tail::Drop)];
    (0.01f32..3.0, 1e-4f32..=1.0, tails).prop_map(|(weight, plausibility, tail)| {
        Contrast::default().with_weight(weight).with_plausibility(plausibility).with_tail(tail)
    })
}

/// p = 1/2, 3/8, 1/8 and p₀ = 1/4, 3/8, 3/8 with γ = 1: p²/p₀ is 1 and 3/8 over the head of the
/// first two, which is 8 to 3.
#[test]
fn three_tokens_by_hand() {
    let personal = log_probs(&[0.5f32, 0.375, 0.125].map(f32::ln));
    let base = log_probs(&[0.25f32, 0.375, 0.375].map(f32::ln));
    let contrast = Contrast::default().with_weight(1.0).with_plausibility(0.3);
    let probabilities = |contrast: Contrast| -> Vec<f32> {
        apply(contrast, &personal, &base).unwrap().iter().map(|value| value.exp()).collect()
    };
    let close = |actual: &[f32], expected: [f32; 3]| {
        actual.iter().zip(expected).all(|(actual, expected)| (actual - expected).abs() < 1e-6)
    };
    let dropped = probabilities(contrast.with_tail(Tail::Drop));
    assert!(close(&dropped, [8.0 / 11.0, 3.0 / 11.0, 0.0]), "{dropped:?}");
    // The head has 7/8 to share, and the last token keeps its 1/8.
    let kept = probabilities(contrast);
    assert!(close(&kept, [7.0 / 11.0, 21.0 / 88.0, 0.125]), "{kept:?}");
    // At 1/5 the last token is plausible, with p²/p₀ = 1/24, whatever becomes of a tail.
    let whole = [24.0 / 34.0, 9.0 / 34.0, 1.0 / 34.0];
    for tail in [Tail::Keep, Tail::Drop] {
        let all = probabilities(contrast.with_plausibility(0.2).with_tail(tail));
        assert!(close(&all, whole), "{all:?}");
    }
    // Half the weight: p·(p/p₀)^½.
    let half = probabilities(contrast.with_weight(0.5).with_tail(Tail::Drop));
    let first = 0.5 * 2f32.sqrt() / (0.5 * 2f32.sqrt() + 0.375);
    assert!(close(&half, [first, 1.0 - first, 0.0]), "{half:?}");
}

/// Several blocks of a kernel and a rest.
#[test]
fn large_vocabularies_follow_the_definition() {
    const VOCABULARY: usize = 5003;
    let logits = |step: usize| -> Vec<f32> {
        (0..VOCABULARY).map(|token| ((token * step) % VOCABULARY) as f32 * 1e-3).collect()
    };
    let (personal, base) = (log_probs(&logits(7)), log_probs(&logits(31)));
    for tail in [Tail::Keep, Tail::Drop] {
        let contrast = Contrast::default().with_tail(tail);
        let out = apply(contrast, &personal, &base).unwrap();
        let expected = by_definition(contrast, &personal, &base);
        for (actual, expected) in out.iter().zip(&expected) {
            let actual = f64::from(*actual);
            assert!((actual - expected).abs() < 2e-5 || actual == *expected, "{actual} {expected}");
        }
    }
}

/// What the base excludes wins by much, and stays a number.
#[test]
fn a_token_that_the_base_excludes_wins() {
    let (personal, base) = (log_probs(&[0.0, 0.0]), [0.0, NEG_INF]);
    let out = apply(Contrast::default(), &personal, &base).unwrap();
    assert!(out[1] == 0.0 && out[0] < -1000.0, "{out:?}");
}

#[test]
fn what_cannot_be_contrasted_is_refused() {
    let even = [0.5f32.ln(); 2];
    let on = Contrast::default();
    let mut short = [0.0];
    let mismatch = on.apply(&even, &even, &mut short).unwrap_err();
    assert!(matches!(mismatch, FuseError::LengthMismatch { what: "personal", .. }), "{mismatch}");
    let mismatch = apply(on, &even, &even[..1]).unwrap_err();
    assert!(
        matches!(mismatch, FuseError::LengthMismatch { what: "base", expected: 2, actual: 1 }),
        "{mismatch}"
    );
    for bad in [f32::NAN, f32::INFINITY] {
        let bad = [-1.0, bad];
        for (personal, base, culprit) in [(bad, even, "personal"), (even, bad, "base")] {
            let error = apply(on, &personal, &base).unwrap_err();
            assert!(
                matches!(error, FuseError::NotFinite { what, index: 1, .. } if what == culprit),
                "{error}"
            );
        }
        // Without a weight nobody looks at the base.
        assert_eq!(apply(on.with_weight(0.0), &even, &bad).unwrap(), even);
    }
    let nothing = [NEG_INF; 2];
    assert_eq!(apply(on, &nothing, &even), Err(FuseError::NoMass("personal")));
    assert_eq!(apply(on, &even, &nothing), Err(FuseError::NoMass("base")));
    for bad in [
        on.with_weight(-0.5),
        on.with_weight(f32::NAN),
        on.with_weight(f32::INFINITY),
        on.with_plausibility(0.0),
        on.with_plausibility(1.5),
    ] {
        assert!(matches!(apply(bad, &even, &even), Err(FuseError::Setting(_))), "{bad:?}");
        let error = MixtureConfig::default().with_contrast(Some(bad)).init().err().unwrap();
        assert!(error.to_string().starts_with("contrast."), "{error}");
    }
}

#[test]
fn configurations_have_defaults_and_a_short_form() {
    let read = |json: &str| serde_json::from_str::<MixtureConfig>(json);
    let of = |json: &str| read(&format!(r#"{{"contrast": {json}}}"#)).unwrap().contrast.unwrap();
    assert_eq!(of("{}"), Contrast::default());
    let Contrast { weight, plausibility, tail, .. } = Contrast::default();
    assert_eq!((weight, plausibility, tail), (0.5, 0.1, Tail::Keep));
    assert_eq!(of("0.25"), Contrast::default().with_weight(0.25));
    assert_eq!(of("2"), Contrast::default().with_weight(2.0));
    assert_eq!(of("-1").weight, -1.0, "init refuses it");
    let all = Contrast::default().with_weight(1.5).with_plausibility(0.25).with_tail(Tail::Drop);
    let json = r#"{"weight":1.5,"plausibility":0.25,"tail":"drop"}"#;
    assert_eq!((of(json), serde_json::to_string(&all).unwrap()), (all, json.into()));
    for bad in [r#""strong""#, r#"{"wait": 1}"#, r#"{"tail": "cut"}"#, "[1]", "true"] {
        assert!(read(&format!(r#"{{"contrast": {bad}}}"#)).is_err(), "{bad}");
    }
    // Where it is not chosen, what is written is as it was before there was such a setting.
    let plain = serde_json::to_string(&MixtureConfig::default()).unwrap();
    assert!(!plain.contains("contrast"), "{plain}");
    assert_eq!(read(r#"{"contrast": null}"#).unwrap(), MixtureConfig::default());

    let config = MixtureConfig::default().with_contrast(Some(all));
    assert_eq!((config.contrasting(), MixtureConfig::default().contrasting()), (Some(all), None));
    assert_eq!(config.with_contrast(Some(all.with_weight(0.0))).contrasting(), None);
    assert_eq!(config.init().unwrap().name(), "probability");
    // What the contrastive space takes away must not be strengthened before.
    let space: Space = "contrastive".parse().unwrap();
    let error = config.with_space(space).init().err().unwrap().to_string();
    assert!(error.starts_with("contrast.weight = 1.5 is not allowed"), "{error}");
    assert!(config.with_contrast(Some(all.with_weight(0.0))).with_space(space).init().is_ok());
}

proptest! {
    #[test]
    fn the_contrast_is_its_definition(
        (personal, base) in pair(),
        contrast in contrasts(),
    ) {
        let out = apply(contrast, &personal, &base).unwrap();
        let expected = by_definition(contrast, &personal, &base);
        for (&actual, &expected) in out.iter().zip(&expected) {
            let actual = f64::from(actual);
            // z₀ at its floor makes numbers of 1e4, which f32 holds to 1e-3.
            prop_assert!(
                (actual - expected).abs() < 0.02 || actual == expected,
                "{actual} {expected}"
            );
        }
        let sum: f64 = out.iter().map(|value| f64::from(*value).exp()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    #[test]
    fn without_a_weight_nothing_changes((personal, base) in pair(), contrast in contrasts()) {
        let out = apply(contrast.with_weight(0.0), &personal, &base).unwrap();
        prop_assert_eq!(bits(&out), bits(&personal));
    }

    /// Nothing was learned, or one token alone is plausible.
    #[test]
    fn a_kept_tail_leaves_what_has_no_contrast((personal, base) in pair(), weight in 0.01f32..3.0) {
        let contrast = Contrast::default().with_weight(weight);
        let unlearned = apply(contrast, &personal, &personal).unwrap();
        let highest = personal.iter().copied().fold(NEG_INF, f32::max);
        let alone = personal.iter().filter(|value| **value == highest).count() == 1;
        let narrow = apply(contrast.with_plausibility(1.0), &personal, &base).unwrap();
        for (&expected, (&unlearned, &narrow)) in
            personal.iter().zip(unlearned.iter().zip(&narrow))
        {
            prop_assert!((unlearned - expected).abs() < 1e-4 || unlearned == expected);
            prop_assert!(!alone || (narrow - expected).abs() < 1e-4 || narrow == expected);
        }
    }

    /// And keeps every token possible that was.
    #[test]
    fn the_tail_does_not_change_the_likeliest((personal, base) in pair(), contrast in contrasts()) {
        let kept = apply(contrast.with_tail(Tail::Keep), &personal, &base).unwrap();
        let dropped = apply(contrast.with_tail(Tail::Drop), &personal, &base).unwrap();
        prop_assert!(kept[likeliest(&dropped)] >= kept[likeliest(&kept)] - 1e-5);
        for (&kept, &personal) in kept.iter().zip(&personal) {
            prop_assert_eq!(kept > NEG_INF, personal > NEG_INF);
        }
    }
}

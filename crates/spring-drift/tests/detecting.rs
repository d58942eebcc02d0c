//! Change detection, the drift signal and adaptive selection.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use spring_drift::{
    Change, DetectorConfig, DriftError, DriftScorer, DriftSignal, Observation, Scenario, Selection,
    SignalConfig, Spring, StreamConfig,
};

const NAMES: [&str; 2] = ["page_hinkley", "adwin"];

fn alarms(name: &str, novelties: &[f64]) -> Vec<Change> {
    let mut detector = name.parse::<DetectorConfig>().unwrap().init().unwrap();
    novelties.iter().filter_map(|&novelty| detector.update(novelty).unwrap()).collect()
}

/// Shares of streams whose alarms satisfy `condition`.
fn share(name: &str, config: StreamConfig, condition: impl Fn(&[Change]) -> bool) -> f64 {
    const STREAMS: u64 = 100;
    (0..STREAMS).filter(|&seed| condition(&alarms(name, &config.generate(seed)))).count() as f64
        / STREAMS as f64
}

#[test]
fn clear_changes_are_found_soon_and_in_their_direction() {
    for name in NAMES {
        let sudden = StreamConfig::new(Scenario::Sudden).with_shift(0.6);
        let found = |alarms: &[Change]| {
            alarms.iter().any(|a| a.is_rise() && (200..220).contains(&a.detected))
        };
        assert!(share(name, sudden, found) > 0.95, "{name}");
        let recurring = StreamConfig::new(Scenario::Recurring).with_shift(0.6);
        let fall = |alarms: &[Change]| {
            alarms.iter().any(|a| !a.is_rise() && (200..230).contains(&a.detected))
        };
        assert!(share(name, recurring, fall) > 0.9, "{name}");
    }
}

#[test]
fn calm_streams_are_left_alone_mostly() {
    for name in NAMES {
        let alarmed = share(name, StreamConfig::new(Scenario::None), |alarms| !alarms.is_empty());
        assert!(alarmed < 0.5, "{name}: {alarmed} of the streams of 400");
        assert!(alarms(name, &[-0.4; 500]).is_empty(), "{name}: a level without spread");
    }
}

#[test]
fn a_change_is_described() {
    for name in NAMES {
        let stream: Vec<f64> =
            (0..120).map(|i| f64::from(i % 2) * 0.1 + if i < 60 { 0.0 } else { 1.0 }).collect();
        let found = alarms(name, &stream);
        let first = found.first().unwrap();
        assert!(first.is_rise() && first.detected < 70, "{name}: {first:?}");
        assert!(
            first.since.abs_diff(60) <= 3 && first.since <= first.detected,
            "{name}: {first:?}"
        );
        assert!(
            (first.before - 0.05).abs() < 0.1 && (first.after - 1.05).abs() < 0.5,
            "{name}: {first:?}"
        );
    }
}

#[test]
fn one_odd_text_is_no_change() {
    for name in NAMES {
        let mut stream: Vec<f64> = (0..60).map(|i| f64::from(i % 2) * 0.2).collect();
        stream[40] = 3.0;
        assert!(alarms(name, &stream).is_empty(), "{name}");
    }
}

#[test]
fn bad_novelties_and_settings_are_named() {
    for name in NAMES {
        let mut detector = name.parse::<DetectorConfig>().unwrap().init().unwrap();
        assert_eq!(detector.name(), name);
        detector.update(0.0).unwrap();
        let error = detector.update(f64::NAN).unwrap_err();
        assert!(
            matches!(error, DriftError::NotFinite { index: 1, field: "novelty", .. }),
            "{error}"
        );
    }
    let page_hinkley = |tolerance, threshold, warm_up| DetectorConfig::PageHinkley {
        tolerance,
        threshold,
        warm_up,
    };
    let adwin = |confidence, range| DetectorConfig::Adwin { confidence, range };
    for (config, name) in [
        (page_hinkley(-1.0, 9.0, 15), "tolerance"),
        (page_hinkley(0.25, f64::NAN, 15), "threshold"),
        (page_hinkley(0.25, 9.0, 1), "warm_up"),
        (adwin(1.0, 1.0), "confidence"),
        (adwin(0.5, f64::INFINITY), "range"),
    ] {
        let error = config.init().err().unwrap();
        assert!(error.name == name, "{error}");
    }
    assert!(DriftSignal::new(DetectorConfig::default(), 1).is_err());
    assert!(SignalConfig::default().with_window(1).init().is_err());
    assert!(serde_json::from_str::<SignalConfig>(r#"{"windw": 9}"#).is_err());
    assert!(serde_json::from_str::<DetectorConfig>(r#"{"kind": "adwin", "delta": 0.1}"#).is_err());
}

#[test]
fn the_signal_starts_and_stops() {
    let mut signal = DriftSignal::new(DetectorConfig::default(), 20).unwrap();
    let level = |step: usize| if (60..120).contains(&step) { 0.5 } else { -0.4 };
    let mut readings = Vec::new();
    for step in 0..180 {
        readings.push(signal.update(level(step) + if step % 2 == 0 { 0.1 } else { -0.1 }).unwrap());
    }
    assert!(readings[..60].iter().all(|reading| !reading.drifting));
    assert!(readings[70..120].iter().all(|reading| reading.drifting));
    assert!(readings[135..].iter().all(|reading| !reading.drifting));
    assert!(
        readings[10].evidence.contains("too few") && readings[50].evidence.contains("no change")
    );
    assert!(readings[100].evidence.contains("rose from -0.4"), "{}", readings[100].evidence);
    assert!(readings[170].evidence.contains("fell from"), "{}", readings[170].evidence);
}

#[test]
fn the_band_is_students() {
    let mut signal = DriftSignal::new(DetectorConfig::default(), 3).unwrap();
    assert_eq!(signal.update(9.0).unwrap().band, None);
    for value in [1.0, 2.0] {
        signal.update(value).unwrap();
    }
    let reading = signal.update(3.0).unwrap();
    let (low, high) = reading.band.unwrap();
    assert_eq!((reading.seen, reading.mean), (4, 2.0), "the last three");
    assert!((high - 2.0 - 4.303 / 3f64.sqrt()).abs() < 1e-3 && (low + high - 4.0).abs() < 1e-9);
}

fn period(novelties: &[f64]) -> Vec<Observation> {
    let observe =
        |(order, &novelty): (u64, &f64)| Observation::new(-3.0, Some(-3.0 - novelty), order);
    (0..).zip(novelties).map(observe).collect()
}

#[test]
fn adaptive_selection_takes_much_at_a_turn_and_little_in_calm() {
    let wobble =
        |level: f64| -> Vec<f64> { (0..40).map(|i| level + f64::from(i % 4) * 0.05).collect() };
    let select = |earlier: &[f64], now: &[f64]| {
        let observations = period(now);
        let scores = Spring::default().score(&observations).unwrap();
        "adaptive"
            .parse::<Selection>()
            .unwrap()
            .select_after(earlier, &scores, &observations)
            .unwrap()
    };
    let calm = select(&wobble(-0.4), &wobble(-0.4));
    assert_eq!(calm.indices.len(), 6, "{}", calm.reason);
    let turn = select(&wobble(-0.4), &wobble(0.4));
    assert_eq!(turn.indices.len(), 24, "{}", turn.reason);
    assert!(
        calm.reason.starts_with("calm") && turn.reason.starts_with("a turn"),
        "{} {}",
        calm.reason,
        turn.reason
    );
    let caught_up = select(&wobble(0.4), &wobble(-0.4));
    assert_eq!(caught_up.indices.len(), 6, "a fall is not a turn: {}", caught_up.reason);
    let first = select(&[], &wobble(-0.4));
    assert!(first.indices.len() == 24 && first.reason.starts_with("too early"), "{}", first.reason);
}

/// Ten texts a period are fewer than a detector warms up on: after a change it goes by that.
#[test]
fn adaptive_selection_with_short_periods_goes_by_the_last_change() {
    let levels = [-0.4, -0.4, -0.4, 0.6, 0.6, -0.4, -0.4, -0.4];
    let stream: Vec<f64> = levels
        .iter()
        .flat_map(|level| (0..10).map(move |i| level + f64::from(i % 4) * 0.05))
        .collect();
    let select = |period: usize| {
        let observations = self::period(&stream[10 * period..10 * (period + 1)]);
        let scores = Spring::default().score(&observations).unwrap();
        let selection: Selection = "adaptive".parse().unwrap();
        selection.select_after(&stream[..10 * period], &scores, &observations).unwrap()
    };
    for (period, taken, reason) in [
        (0, 6, "too early to tell a turn from calm, after 0 novelties (page_hinkley)"),
        (1, 6, "too early to tell a turn from calm, after 10 novelties (page_hinkley)"),
        (2, 2, "calm, no rise"),
        (3, 6, "a turn, novelty rises from -0.33"),
        (4, 6, "still a turn, novelty rose from -0.33"),
        (5, 2, "calm, no rise"),
        (6, 2, "calm, novelty fell from 0.66"),
        (7, 2, "calm, no rise"),
    ] {
        let selected = select(period);
        assert!(selected.reason.starts_with(reason), "period {period}: {}", selected.reason);
        assert_eq!(selected.indices.len(), taken, "period {period}: {}", selected.reason);
    }
    assert!(select(4).reason.contains("10 novelties ago, too few"), "{}", select(4).reason);
}

/// The texts that raised the alarm are the first of the new level: with as many more as the warm-up
/// needs beside them, the next change is seen.
#[test]
fn a_new_level_begins_with_what_showed_it() {
    let wobble = |level: f64, count: u32| (0..count).map(move |i| level + f64::from(i % 2) * 0.1);
    let mut detector = DetectorConfig::default().init().unwrap();
    let mut stream = wobble(0.0, 30).chain(wobble(1.0, 15));
    let change = stream.find_map(|novelty| detector.update(novelty).unwrap()).unwrap();
    let shown = change.detected + 1 - change.since;
    assert!(change.since.abs_diff(30) <= 1 && shown >= 3 && !detector.is_ready(), "{change:?}");
    for (seen, novelty) in (shown + 1..=15).zip(stream) {
        assert_eq!(detector.update(novelty).unwrap(), None);
        assert_eq!(detector.is_ready(), seen >= 15, "after {seen}");
    }
}

#[test]
fn adaptive_selection_goes_by_time_not_position() {
    let mut observations = period(&[[-0.4, -0.3].repeat(15), [0.5, 0.6].repeat(5)].concat());
    let earlier = [-0.4, -0.3].repeat(20);
    let selection: Selection = "adaptive".parse().unwrap();
    let taken = |observations: &[Observation]| {
        let scores = Spring::default().score(observations).unwrap();
        selection.select_after(&earlier, &scores, observations).unwrap().reason
    };
    let reason = taken(&observations);
    observations.reverse();
    assert_eq!(taken(&observations), reason);
    assert!(selection.select_after(&[f64::NAN], &[], &[]).is_err());
}

#[test]
fn the_scenarios_are_what_they_say() {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for scenario in Scenario::ALL {
        let config = StreamConfig::new(scenario).with_shift(1.0).with_odd(0.0).with_length(4000);
        let stream = config.generate(1);
        assert_eq!(stream, config.generate(1));
        assert_ne!(stream, config.generate(2));
        let quarters: Vec<f64> = stream.chunks(1000).map(mean).collect();
        let expected = match scenario {
            Scenario::None => [0.0, 0.0, 0.0, 0.0],
            Scenario::Sudden => [0.0, 0.0, 1.0, 1.0],
            Scenario::Gradual => [0.0, 0.0, 0.5, 1.0],
            Scenario::Recurring => [0.0, 1.0, 0.0, 1.0],
            other => panic!("{other:?} has no expectation here"),
        };
        for (quarter, expected) in quarters.iter().zip(expected) {
            assert!((quarter + 0.4 - expected).abs() < 0.05, "{scenario:?}: {quarters:?}");
        }
    }
}

proptest! {
    /// The Page-Hinkley test has no unit and no zero; its alarms come at the same texts.
    #[test]
    fn page_hinkley_has_no_unit(seed: u64, scale in 0.1..10.0, shift in -5.0..5.0) {
        let stream = StreamConfig::new(Scenario::Recurring).with_shift(0.45).generate(seed);
        let moved: Vec<f64> = stream.iter().map(|value| value * scale + shift).collect();
        let at =
            |alarms: Vec<Change>| alarms.iter().map(|a| (a.detected, a.since)).collect::<Vec<_>>();
        prop_assert_eq!(at(alarms("page_hinkley", &stream)), at(alarms("page_hinkley", &moved)));
    }

    /// What a detector reports are means over the stretches that it names.
    #[test]
    fn changes_are_consistent(stream in prop::collection::vec(-3.0..3.0, 0..300)) {
        for name in NAMES {
            for change in alarms(name, &stream) {
                prop_assert!(
                    change.since <= change.detected && (change.detected as usize) < stream.len()
                );
                let part = &stream[change.since as usize..=change.detected as usize];
                let mean = part.iter().sum::<f64>() / part.len() as f64;
                prop_assert!((mean - change.after).abs() < 1e-9, "{name}: {mean} {change:?}");
            }
        }
    }

    #[test]
    fn the_signal_is_a_function_of_the_stream(seed: u64) {
        let stream = StreamConfig::new(Scenario::Sudden).generate(seed);
        let run = || {
            let mut signal = DriftSignal::new(DetectorConfig::default(), 20).unwrap();
            stream.iter().map(|&novelty| signal.update(novelty).unwrap()).collect::<Vec<_>>()
        };
        let readings = run();
        prop_assert_eq!(&readings, &run());
        for reading in readings {
            prop_assert!(
                reading.band.is_none_or(|(low, high)| low <= reading.mean && reading.mean <= high)
            );
            prop_assert!(
                !reading.drifting || reading.change.is_some_and(|change| change.is_rise())
            );
        }
    }
}

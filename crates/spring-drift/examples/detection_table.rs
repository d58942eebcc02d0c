//! How late change detectors are and how often they are wrong, on generated streams: a Markdown
//! table. Delays are in texts, false alarms per thousand texts.
//!
//! `cargo run --release -p spring-drift --example detection_table [seed of the first stream]`

use spring_drift::{
    Change, DetectorConfig, DriftError, DriftScorer, Observation, Scenario, Selection, Spring,
    StreamConfig,
};

const STREAMS: u64 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let first_seed: u64 = std::env::args().nth(1).map_or(Ok(0), |argument| argument.parse())?;
    println!(
        "| stream | spread | shift | detector | changes found | median delay | 90 % within | false \
         alarms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for scenario in Scenario::ALL {
        let shifts: &[f64] = if scenario == Scenario::None { &[0.0] } else { &[0.5, 1.0, 2.0] };
        for &shift in shifts {
            rows(StreamConfig::new(scenario).with_shift(shift * 0.3), first_seed)?;
        }
    }
    // The same streams in another unit.
    for spread in [0.1, 1.0] {
        rows(StreamConfig::new(Scenario::None).with_spread(spread).with_shift(0.0), first_seed)?;
        rows(
            StreamConfig::new(Scenario::Sudden).with_spread(spread).with_shift(spread),
            first_seed,
        )?;
    }
    println!();
    println!(
        "| shift in the turning period | calm periods taken for turns | turning periods found | \
         texts selected |"
    );
    println!("| --- | --- | --- | --- |");
    for shift in [0.5, 1.0, 2.0] {
        adaptive_row(shift, first_seed)?;
    }
    Ok(())
}

/// Ten periods of 40 texts, of which the seventh alone lies higher: by its end the adapter has
/// caught up. The first has no adapter, and what it selects is not counted.
fn adaptive_row(shift: f64, first_seed: u64) -> Result<(), DriftError> {
    const PERIOD: usize = 40;
    const TURN: usize = 6;
    let (mut calm_flagged, mut turns_flagged, mut selected) = (0, 0, 0);
    let (calm, turning) = (0.15, 0.6);
    let selection = Selection::Adaptive { calm, turning, detector: DetectorConfig::default() };
    for seed in first_seed..first_seed + STREAMS {
        let config = StreamConfig::new(Scenario::None);
        let mut novelties = config.generate(seed);
        novelties[TURN * PERIOD..(TURN + 1) * PERIOD]
            .iter_mut()
            .for_each(|n| *n += shift * config.spread);
        for period in 1..novelties.len() / PERIOD {
            let start = period * PERIOD;
            let observe =
                |order: usize| Observation::new(-3.0, Some(-3.0 - novelties[order]), order as u64);
            let observations: Vec<Observation> = (start..start + PERIOD).map(observe).collect();
            let scores = Spring::default().score(&observations)?;
            // The first period had no adapter, so its novelties are not known.
            let taken = selection
                .select_after(&novelties[PERIOD..start], &scores, &observations)?
                .indices
                .len();
            selected += taken;
            let flagged = usize::from(taken as f64 > calm * PERIOD as f64);
            match period {
                // Nothing comes before it, so it is always taken for one.
                1 => {}
                TURN => turns_flagged += flagged,
                _ => calm_flagged += flagged,
            }
        }
    }
    let percent = |count: usize, periods: u64| 100.0 * count as f64 / (STREAMS * periods) as f64;
    let (calm, turns) = (percent(calm_flagged, 7), percent(turns_flagged, 1));
    let selected = percent(selected, 9 * PERIOD as u64);
    println!("| {shift:.1} sd | {calm:.0} % | {turns:.0} % | {selected:.0} % |");
    Ok(())
}

fn rows(config: StreamConfig, first_seed: u64) -> Result<(), DriftError> {
    let StreamConfig { scenario, spread, shift, .. } = config;
    for name in ["page_hinkley", "adwin"] {
        let outcome = Outcome::of(config, name.parse()?, first_seed)?;
        println!("| {scenario:?} | {spread} | {:.1} sd | {name} | {outcome} |", shift / spread);
    }
    Ok(())
}

/// What a detector did on all streams of one kind.
#[derive(Default)]
struct Outcome {
    changes: usize,
    /// From the first text at the new level to the alarm; only of the changes that were found.
    delays: Vec<usize>,
    false_alarms: usize,
    texts: usize,
}

impl Outcome {
    fn of(
        config: StreamConfig,
        detector: DetectorConfig,
        first_seed: u64,
    ) -> Result<Self, DriftError> {
        let mut outcome = Self::default();
        for seed in first_seed..first_seed + STREAMS {
            let mut detector = detector.init()?;
            let mut alarms = Vec::new();
            for novelty in config.generate(seed) {
                alarms.extend(detector.update(novelty)?);
            }
            outcome.add(&alarms, &config.scenario.changes(config.length), config.length);
        }
        outcome.delays.sort_unstable();
        Ok(outcome)
    }

    /// The first alarm in the right direction after a change and before the next finds it. Later
    /// ones in that direction repeat it and are neither; all others are false.
    fn add(&mut self, alarms: &[Change], changes: &[(usize, bool)], length: usize) {
        self.texts += length;
        self.changes += changes.len();
        let mut found = vec![false; changes.len()];
        for alarm in alarms {
            let at = alarm.detected as usize;
            let current = changes.iter().rposition(|&(start, _)| start <= at);
            match current {
                Some(index) if changes[index].1 == alarm.is_rise() => {
                    if !found[index] {
                        self.delays.push(at - changes[index].0);
                    }
                    found[index] = true;
                }
                _ => self.false_alarms += 1,
            }
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |share: f64| self.delays.get((self.delays.len() as f64 * share) as usize);
        let delay = |share| at(share).map_or("-".to_owned(), usize::to_string);
        let found = if self.changes == 0 {
            "-".to_owned()
        } else {
            format!("{:.0} %", 100.0 * self.delays.len() as f64 / self.changes as f64)
        };
        let false_alarms = 1000.0 * self.false_alarms as f64 / self.texts as f64;
        write!(f, "{found} | {} | {} | {false_alarms:.2}", delay(0.5), delay(0.9))
    }
}

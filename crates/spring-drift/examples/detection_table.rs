//! How late change detectors are and how often they are wrong, on generated streams: a Markdown table.
//!
//! `cargo run --release -p spring-drift --example detection_table [seed of the first stream]`

use spring_drift::{Change, DetectorConfig, DriftError, Scenario, StreamConfig};

const STREAMS: u64 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let first_seed: u64 = std::env::args().nth(1).map_or(Ok(0), |argument| argument.parse())?;
    let detectors: [DetectorConfig; 2] = ["page_hinkley".parse()?, "adwin".parse()?];
    println!(
        "| stream | shift | detector | changes found | median delay | 90 % within | false alarms per 1000 |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for scenario in Scenario::ALL {
        let shifts: &[f64] = if scenario == Scenario::None { &[0.0] } else { &[0.15, 0.3, 0.6] };
        for &shift in shifts {
            let config = StreamConfig { shift, ..StreamConfig::new(scenario) };
            for detector in detectors {
                let outcome = Outcome::of(config, detector, first_seed)?;
                let name = detector.init()?.name();
                println!("| {scenario:?} | {:.1} sd | {name} | {outcome} |", shift / config.spread);
            }
        }
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
    fn of(config: StreamConfig, detector: DetectorConfig, first_seed: u64) -> Result<Self, DriftError> {
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

    /// The first alarm in the right direction after a change and before the next finds it. Later ones in that direction
    /// repeat it and are neither; all others are false.
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

//! Whether a user is drifting, from the records of what was learned.

use serde::Serialize;
use spring_drift::{DriftReading, SignalConfig};

use crate::{Result, record::LearnedPeriod};

/// The drift signal after the last text of a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PeriodSignal {
    /// The period.
    pub period: u32,
    /// The generation that learned it.
    pub generation: u32,
    /// The running mean novelty with its band, whether the user is drifting, and why it is said;
    /// texts are counted from the first that an adapter was there for.
    #[serde(flatten)]
    pub reading: DriftReading,
}

/// The running drift signal over some periods of one user, oldest first: after each that had an
/// adapter of the user's to be novel to, so not after a first one.
///
/// Novelties are those before each text was learned, in nats per token whatever `drift.length`
/// says, so that periods learned under different settings compare.
///
/// # Errors
///
/// If the settings are out of range, or a record holds a log-likelihood that is not finite.
pub fn drift_signal(config: SignalConfig, learned: &[LearnedPeriod]) -> Result<Vec<PeriodSignal>> {
    let mut signal = config.init()?;
    let mut after = Vec::new();
    for LearnedPeriod { generation, record } in learned {
        let mut reading = None;
        // Against a prior, novelty is of another level.
        if record.prior.is_some() {
            continue;
        }
        for score in &record.scores {
            if let Some(adapter) = score.adapter {
                reading = Some(signal.update(score.base - adapter)?);
            }
        }
        after.extend(reading.map(|reading| PeriodSignal {
            period: record.period,
            generation: *generation,
            reading,
        }));
    }
    Ok(after)
}
